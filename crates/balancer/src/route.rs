//! The routing table in use: rules made ready for matching, groups with their state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::runtime::Handle;

use crate::choice::SmoothChoice;
use crate::conditions::{Matcher, RequestFacts};
use crate::health::Checker;
use crate::stats::{GroupCounters, GroupHealth};
use crate::sticky;
use crate::table::{Action, Group, HealthSource, RoutingTable, WeightedGroup};
use crate::upstream::Backend;

/// A table and all that belongs to it. A request takes what it needs at its start and lets go of the rest, so the end
/// of the last request on an old table is no event that anything waits for.
#[derive(Debug)]
pub(crate) struct ActiveTable {
    pub(crate) table: Arc<RoutingTable>,
    rules: Vec<ActiveRule>,
    groups: BTreeMap<String, Arc<ActiveGroup>>,
}

#[derive(Debug)]
struct ActiveRule {
    name: String,
    matcher: Matcher,
    action: ActiveAction,
}

#[derive(Debug)]
enum ActiveAction {
    Forward(Arc<Forward>),
    Fixed(StatusCode, Bytes),
}

/// Groups by weight.
#[derive(Debug)]
pub(crate) struct Forward {
    weights: Vec<WeightedGroup>,
    entries: Vec<Entry>,
    choice: Arc<SmoothChoice>,
    stickiness: Option<Duration>,
}

#[derive(Debug)]
struct Entry {
    group: Arc<ActiveGroup>,
    weight: u32,
    key: String,
}

/// What a table says about a request.
#[derive(Debug)]
pub(crate) enum Decision {
    Forward(Arc<Forward>),
    Fixed(StatusCode, Bytes),
    Unmatched,
}

impl ActiveTable {
    pub(crate) fn empty() -> Self {
        Self { table: Arc::default(), rules: Vec::new(), groups: BTreeMap::new() }
    }

    /// Takes a table that passed validation. What did not change keeps its state: the turn of the weighted choice,
    /// the health and the idle connections of a target.
    pub(crate) fn build(
        table: RoutingTable,
        old: &Self,
        counters: &mut BTreeMap<String, Arc<GroupCounters>>,
        runtime: &Handle,
    ) -> Self {
        let groups: BTreeMap<_, _> = table
            .groups
            .iter()
            .map(|(name, group)| {
                let counters = Arc::clone(counters.entry(name.clone()).or_default());
                let group = ActiveGroup::build(name, group, old.groups.get(name), counters, runtime);
                (name.clone(), group)
            })
            .collect();
        let mut sorted: Vec<_> = table.rules.iter().collect();
        sorted.sort_by_key(|rule| rule.priority);
        let rules = sorted
            .into_iter()
            .map(|rule| ActiveRule {
                name: rule.name.clone(),
                matcher: Matcher::new(rule.conditions.clone()),
                action: match &rule.action {
                    Action::Fixed { status, body } => ActiveAction::Fixed(
                        StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                        Bytes::copy_from_slice(body.as_bytes()),
                    ),
                    Action::Forward { groups: weights, stickiness } => {
                        let choice = old.choice_of(&rule.name, weights);
                        ActiveAction::Forward(Arc::new(Forward::build(weights, *stickiness, choice, &groups)))
                    }
                },
            })
            .collect();
        Self { table: Arc::new(table), rules, groups }
    }

    fn choice_of(&self, rule: &str, weights: &[WeightedGroup]) -> Option<Arc<SmoothChoice>> {
        self.rules.iter().filter(|old| old.name == rule).find_map(|old| match &old.action {
            ActiveAction::Forward(forward) if forward.weights == weights => Some(Arc::clone(&forward.choice)),
            _ => None,
        })
    }

    pub(crate) fn decide(&self, facts: &RequestFacts<'_>) -> Decision {
        match self.rules.iter().find(|rule| rule.matcher.matches(facts)).map(|rule| &rule.action) {
            Some(ActiveAction::Forward(forward)) => Decision::Forward(Arc::clone(forward)),
            Some(ActiveAction::Fixed(status, body)) => Decision::Fixed(*status, body.clone()),
            None => Decision::Unmatched,
        }
    }

    pub(crate) fn group(&self, name: &str) -> Option<&Arc<ActiveGroup>> {
        self.groups.get(name)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = (&String, &Arc<ActiveGroup>)> {
        self.groups.iter()
    }
}

/// The group of one request.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) group: Arc<ActiveGroup>,
    /// To be set on the answer when the action is sticky.
    pub(crate) cookie: Option<HeaderValue>,
}

impl Forward {
    fn build(
        weights: &[WeightedGroup],
        stickiness: Option<Duration>,
        choice: Option<Arc<SmoothChoice>>,
        groups: &BTreeMap<String, Arc<ActiveGroup>>,
    ) -> Self {
        let entries: Vec<_> = weights
            .iter()
            .filter_map(|weighted| {
                let group = Arc::clone(groups.get(&weighted.group)?);
                Some(Entry { group, weight: weighted.weight, key: sticky::group_key(&weighted.group) })
            })
            .collect();
        let choice =
            choice.unwrap_or_else(|| Arc::new(SmoothChoice::new(entries.iter().map(|entry| entry.weight).collect())));
        Self { weights: weights.to_vec(), entries, choice, stickiness }
    }

    /// `None` cannot be with a table that passed validation.
    pub(crate) fn choose(&self, headers: &HeaderMap) -> Option<Chosen> {
        let Some(time) = self.stickiness else {
            let entry = self.entries.get(self.choice.next()?)?;
            return Some(Chosen { group: Arc::clone(&entry.group), cookie: None });
        };
        let held = sticky::keys(headers)
            .find_map(|key| self.entries.iter().find(|entry| entry.weight > 0 && entry.key == key));
        let entry = match held {
            Some(entry) => entry,
            None => self.entries.get(self.choice.next()?)?,
        };
        Some(Chosen { group: Arc::clone(&entry.group), cookie: sticky::cookie(&entry.key, time) })
    }
}

/// A group with its state.
#[derive(Debug)]
pub(crate) struct ActiveGroup {
    pub(crate) name: String,
    pub(crate) counters: Arc<GroupCounters>,
    definition: Group,
    backends: Vec<Arc<Backend>>,
    turn: AtomicUsize,
    /// In the order of `backends`; empty when health is given from outside.
    checkers: Vec<Arc<Checker>>,
}

impl ActiveGroup {
    fn build(
        name: &str,
        definition: &Group,
        old: Option<&Arc<Self>>,
        counters: Arc<GroupCounters>,
        runtime: &Handle,
    ) -> Arc<Self> {
        if let Some(old) = old.filter(|old| old.definition == *definition) {
            return Arc::clone(old);
        }
        let backends: Vec<_> = definition
            .targets
            .iter()
            .map(|target| {
                old.and_then(|old| old.backend(&target.address).cloned())
                    .unwrap_or_else(|| Arc::new(Backend::new(target.address.clone(), Arc::clone(&counters))))
            })
            .collect();
        let checkers = match &definition.health {
            HealthSource::Given => Vec::new(),
            HealthSource::Active(check) => backends
                .iter()
                .map(|backend| {
                    old.filter(|old| old.definition.health == definition.health)
                        .and_then(|old| old.checker(&backend.address))
                        .unwrap_or_else(|| {
                            let (name, backend) = (name.to_owned(), Arc::clone(backend));
                            Arc::new(Checker::start(runtime, name, backend, check.clone()))
                        })
                })
                .collect(),
        };
        let turn = AtomicUsize::new(old.map_or(0, |old| old.turn.load(Relaxed)));
        Arc::new(Self { name: name.to_owned(), counters, definition: definition.clone(), backends, turn, checkers })
    }

    pub(crate) fn backend(&self, address: &str) -> Option<&Arc<Backend>> {
        self.backends.iter().find(|backend| backend.address == address)
    }

    fn checker(&self, address: &str) -> Option<Arc<Checker>> {
        let index = self.backends.iter().position(|backend| backend.address == address)?;
        self.checkers.get(index).cloned()
    }

    pub(crate) fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    pub(crate) fn is_checked(&self) -> bool {
        matches!(self.definition.health, HealthSource::Active(_))
    }

    /// The next target in turn among the healthy ones, or among all when none is healthy (an ALB fails open in the
    /// same way). `None` when the group has no targets.
    pub(crate) fn pick(&self) -> Option<Arc<Backend>> {
        let turn = self.turn.fetch_add(1, Relaxed);
        let healthy = self.backends.iter().filter(|backend| backend.is_healthy());
        let count = healthy.clone().count();
        if count == 0 {
            return self.backends.get(turn.checked_rem(self.backends.len())?).cloned();
        }
        // Health may have changed since it was counted; then any target is as good as the next.
        healthy.clone().nth(turn.checked_rem(count)?).or_else(|| self.backends.first()).cloned()
    }

    pub(crate) fn health(&self) -> GroupHealth {
        let healthy = self.backends.iter().filter(|backend| backend.is_healthy()).count();
        GroupHealth { healthy: healthy as u32, total: self.backends.len() as u32 }
    }
}
