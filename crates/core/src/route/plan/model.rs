//! A listener in memory and the loop of a controller around the plan, for tests.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use okra_api::route::{DeletionPolicy, RouteOutcome, RouteStatus};

use super::*;
use crate::route::{Adopt, Conditions, IntentGroup, ObservedRule, Place, check, weights};

pub(super) const OWNER: &str = "prod/web";
pub(super) const HOME: &str = "home";

pub(super) fn group(id: &str, weight: i32, min_healthy: Option<u32>) -> IntentGroup {
    IntentGroup { name: format!("web-{id}"), id: id.into(), weight, min_healthy, health_path: None }
}

pub(super) fn conditions(host: &str) -> Conditions {
    Conditions { hosts: vec![host.into()], ..Conditions::default() }
}

pub(super) fn held(text: &str) -> BTreeMap<String, i32> {
    let pairs = text.split_whitespace().map(|pair| pair.split_once(':').unwrap());
    pairs.map(|(id, weight)| (id.to_owned(), weight.parse().unwrap())).collect()
}

/// `a:80 b:20`, each with a floor of one healthy target.
pub(super) fn intent(groups: &str) -> Intent {
    let groups = groups.split_whitespace().map(|pair| pair.split_once(':').unwrap());
    Intent {
        owner: OWNER.into(),
        installation: HOME.into(),
        place: Place::Alb {
            listener_arn: "listener".into(),
            role_arn: None,
            priority: 10,
            conditions: conditions("web.example.com"),
        },
        groups: groups.map(|(id, weight)| group(id, weight.parse().unwrap(), Some(1))).collect(),
        stickiness: None,
        known_rule: None,
        adopt: Adopt::No,
    }
}

pub(super) fn rule(id: &str, priority: i32, weights: &str) -> ObservedRule {
    ObservedRule {
        id: id.into(),
        priority,
        conditions: conditions("web.example.com"),
        weights: held(weights),
        cell_tag: Some(OWNER.into()),
        owner_tag: Some(HOME.into()),
        ..ObservedRule::default()
    }
}

pub(super) fn healthy(count: u32) -> GroupHealth {
    GroupHealth { healthy: count, total: 3, gone: false }
}

/// A listener, an object and what its controller remembers.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) rules: Vec<ObservedRule>,
    pub(super) health: BTreeMap<String, GroupHealth>,
    pub(super) input: RouteInput,
    pub(super) now: Timestamp,
    pub(super) changes: Vec<Change>,
    /// The weights after each change of them.
    pub(super) history: Vec<(weights::Weights, weights::Weights)>,
    pub(super) status_writes: usize,
    pub(super) looks: usize,
    pub(super) health_reads: usize,
    /// The finalizer went.
    pub(super) released: bool,
    pub(super) warning: Option<String>,
    /// The router forgets to show changes.
    pub(super) blind: bool,
    /// The process ends after a change, before its status is written.
    pub(super) crash_after_change: bool,
}

impl World {
    pub(super) fn new(intent: Intent) -> Self {
        let input = RouteInput {
            intent,
            generation: 1,
            previous: RouteStatus::default(),
            capabilities: Capabilities {
                max_groups: 5,
                max_weight: 999,
                settle: SignedDuration::ZERO,
                keeps_connections: true,
                sees_health: true,
            },
            observed: None,
            last_look: None,
            health: BTreeMap::new(),
            waiting_since: None,
            waits_for: Vec::new(),
            sent: None,
            deleting: None,
            deletion_policy: DeletionPolicy::Retain,
            failure: None,
            health_of: Vec::new(),
            overwrite: None,
            way_back: None,
            former_intents: None,
            claimed_by: None,
            drift_interval: SignedDuration::from_mins(5),
        };
        Self {
            rules: Vec::new(),
            health: BTreeMap::new(),
            input,
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            changes: Vec::new(),
            history: Vec::new(),
            status_writes: 0,
            looks: 0,
            health_reads: 0,
            released: false,
            warning: None,
            blind: false,
            crash_after_change: false,
        }
    }

    /// A new spec.
    pub(super) fn apply(&mut self, intent: Intent) {
        self.input.intent = intent;
        self.input.generation += 1;
        self.input.last_look = None;
        self.input.waits_for.clear();
        self.input.waiting_since = None;
        self.input.sent = None;
    }

    /// The process starts again.
    pub(super) fn restart(&mut self) {
        self.input.observed = None;
        self.input.last_look = None;
        self.input.health.clear();
        self.input.waits_for.clear();
        self.input.waiting_since = None;
        self.input.sent = None;
        self.crash_after_change = false;
    }

    pub(super) fn observe(&self) -> Observed {
        let intent = &self.input.intent;
        let ours = self.rules.iter().find(|rule| intent.owns(rule)).cloned();
        let other = |rule: &&ObservedRule| {
            rule.priority == intent.place.priority() && ours.as_ref().is_none_or(|own| own.id != rule.id)
        };
        Observed { in_the_way: self.rules.iter().find(other).cloned(), ours }
    }

    fn read_health(&self, id: &str) -> GroupHealth {
        self.health.get(id).copied().unwrap_or(healthy(3))
    }

    /// One reconcile: reads, changes and reads again until the plan rests. Gives the last plan.
    pub(super) fn reconcile(&mut self) -> RoutePlan {
        self.input.observed = None;
        for _ in 0..40 {
            let planned = plan(&self.input, self.now);
            assert_eq!(planned, plan(&self.input, self.now), "the same input gives the same plan");
            let plan = check(&self.input, planned.clone(), self.now);
            assert_eq!(plan, planned, "no plan breaks an invariant");
            if plan.observe {
                self.looks += 1;
                self.input.observed = Some(self.observe());
                self.input.last_look = Some(self.now);
            } else if !plan.read_health.is_empty() {
                for id in &plan.read_health {
                    self.health_reads += 1;
                    let reading = Reading { health: self.read_health(id), at: self.now };
                    self.input.health.insert(id.clone(), reading);
                }
            } else if let Some(change) = plan.change.clone() {
                if plan.record_first {
                    self.write(&plan);
                }
                self.carry_out(&change);
                if self.crash_after_change {
                    self.restart();
                    return plan;
                }
                self.input.previous = plan.status;
                self.input.observed = None;
                self.input.last_look = None;
                self.input.sent = Some(Sent { change, at: self.now });
            } else {
                self.write(&plan);
                if plan.waits_for.is_empty() {
                    self.input.waiting_since = None;
                } else {
                    self.input.waiting_since.get_or_insert(self.now);
                }
                self.input.waits_for.clone_from(&plan.waits_for);
                self.released |= plan.release;
                self.warning.clone_from(&plan.warning);
                return plan;
            }
        }
        panic!("the plan does not come to rest: {:?}", self.changes);
    }

    /// Reconciles whenever the plan wakes, until it says `outcome` or the passes are used up.
    pub(super) fn run(&mut self, passes: usize) -> RoutePlan {
        for _ in 1..passes {
            let plan = self.reconcile();
            match self.outcome() {
                Some(RouteOutcome::NotYet) | None => self.now = plan.wake_at.unwrap(),
                _ => return plan,
            }
        }
        self.reconcile()
    }

    pub(super) fn outcome(&self) -> Option<RouteOutcome> {
        self.input.previous.outcome
    }

    fn write(&mut self, plan: &RoutePlan) {
        if plan.status != self.input.previous {
            self.status_writes += 1;
        }
        self.input.previous = plan.status.clone();
    }

    fn carry_out(&mut self, change: &Change) {
        self.changes.push(change.clone());
        if self.blind {
            return;
        }
        let intent = self.input.intent.clone();
        let before = self.observe().ours.map(|rule| rule.weights).unwrap_or_default();
        match change {
            Change::Create { weights, stickiness } => self.rules.push(ObservedRule {
                id: "made".into(),
                priority: intent.place.priority(),
                conditions: intent.place.conditions(),
                weights: weights.clone(),
                stickiness: stickiness.unwrap_or_default(),
                cell_tag: Some(intent.owner.clone()),
                owner_tag: Some(intent.installation.clone()),
            }),
            Change::Remove { rule } => self.rules.retain(|held| held.id != *rule),
            Change::Modify { rule, .. } | Change::Move { rule } | Change::Adopt { rule } => {
                let held = self.rules.iter_mut().find(|held| held.id == *rule).unwrap();
                match change {
                    Change::Modify { weights, conditions, stickiness, .. } => {
                        held.weights = weights.clone().unwrap_or(held.weights.clone());
                        held.conditions = conditions.clone().unwrap_or(held.conditions.clone());
                        held.stickiness = stickiness.unwrap_or(held.stickiness);
                    }
                    Change::Move { .. } => held.priority = intent.place.priority(),
                    _ => {
                        held.cell_tag = Some(intent.owner.clone());
                        held.owner_tag = Some(intent.installation.clone());
                    }
                }
            }
        }
        if let Some(after) = change.weights() {
            self.history.push((before, after.clone()));
        }
    }
}
