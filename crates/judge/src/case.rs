//! The record, read once for all checks: which object was how when, and what a call meant for which Cell.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use okra_api::names::CELL_TAG;
use serde_json::Value;

use crate::record::{Entry, Event, LbCall, Quiet, Record, RuleState};
use crate::rules::{CellRules, Rules};
use crate::view::{CellView, Meta};

/// An object as somebody saw it.
#[derive(Clone, Debug)]
pub(crate) struct Sighting<'a> {
    /// Position of the entry in the record.
    pub(crate) position: usize,
    pub(crate) at: Timestamp,
    pub(crate) kind: &'a str,
    /// `<namespace>/<name>`.
    pub(crate) key: String,
    /// `null` once it is gone.
    pub(crate) object: &'a Value,
}

/// A Cell as it was from an entry on.
#[derive(Clone, Debug)]
pub(crate) struct CellState {
    pub(crate) position: usize,
    pub(crate) at: Timestamp,
    /// `None` once it is gone.
    pub(crate) view: Option<CellView>,
}

/// The object of a target group as it was from an entry on.
#[derive(Clone, Debug)]
pub(crate) struct GroupState<'a> {
    pub(crate) position: usize,
    pub(crate) at: Timestamp,
    /// Whether it is gone, or is being deleted.
    pub(crate) leaves: bool,
    /// `null` once it is gone.
    pub(crate) object: &'a Value,
}

/// A record with its rules, indexed.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub(crate) record: &'a Record,
    pub(crate) rules: &'a Rules,
    pub(crate) sightings: Vec<Sighting<'a>>,
    /// Cell to its states, in order.
    pub(crate) cells: BTreeMap<String, Vec<CellState>>,
    /// Id of a target group to the states of its object, in order.
    groups: BTreeMap<&'a str, Vec<GroupState<'a>>>,
}

const NULL: &Value = &Value::Null;

impl<'a> Case<'a> {
    pub(crate) fn new(record: &'a Record, rules: &'a Rules) -> Self {
        let mut newest: BTreeMap<(&str, String), u64> = BTreeMap::new();
        let mut sightings: Vec<Sighting<'a>> = Vec::new();
        for (position, entry) in record.entries.iter().enumerate() {
            let Some(sighting) = sighting(position, entry) else { continue };
            let version = Meta::of(sighting.object).resource_version.and_then(|version| version.parse::<u64>().ok());
            if let Some(version) = version {
                // A watch tells of states that the audit log has told of before: they are no news.
                let known = newest.entry((sighting.kind, sighting.key.clone())).or_default();
                if version <= *known {
                    continue;
                }
                *known = version;
            }
            sightings.push(sighting);
        }
        let mut cells: BTreeMap<String, Vec<CellState>> = BTreeMap::new();
        for sighting in sightings.iter().filter(|sighting| sighting.kind == "Cell") {
            let view = if sighting.object.is_null() { None } else { CellView::of(sighting.object) };
            if view.is_none() && !sighting.object.is_null() {
                continue;
            }
            let state = CellState { position: sighting.position, at: sighting.at, view };
            cells.entry(sighting.key.clone()).or_default().push(state);
        }
        let groups = group_states(&sightings);
        Self { record, rules, sightings, cells, groups }
    }

    /// The sightings of a kind.
    pub(crate) fn of_kind<'b>(&'b self, kind: &'b str) -> impl Iterator<Item = &'b Sighting<'a>> {
        self.sightings.iter().filter(move |sighting| sighting.kind == kind)
    }

    /// Every state of a Cell that okra may have gone by when it did what this entry shows: the last one that it must
    /// have known, and those within the slack. Empty when nothing is known, or the Cell was gone.
    pub(crate) fn states_around(&self, cell: &str, position: usize, at: Timestamp) -> Vec<&CellView> {
        let states = self.cells.get(cell).map(Vec::as_slice).unwrap_or_default();
        let slack = self.rules.slack;
        let (early, late) = (minus(at, slack), plus(at, slack));
        let before = states.partition_point(|state| state.position < position);
        let (past, future) = states.split_at(before.min(states.len()));
        let known = past.iter().rposition(|state| state.at <= early).unwrap_or(0);
        let within = past.iter().skip(known);
        // Without slack the order of the entries is the truth, also at one and the same time.
        let next = future.iter().take_while(|state| slack > SignedDuration::ZERO && state.at <= late);
        let around: Vec<&CellState> = within.chain(next).collect();
        if around.iter().any(|state| state.view.is_none()) {
            return Vec::new();
        }
        around.into_iter().filter_map(|state| state.view.as_ref()).collect()
    }

    /// Every write of okra that says what a Cell's rule should be, carried out or not, with what the rule had before.
    pub(crate) fn shifts(&self) -> Vec<Shift<'a>> {
        let mut own: BTreeMap<&str, &BTreeMap<String, i64>> = BTreeMap::new();
        let mut shifts = Vec::new();
        for (position, entry) in self.record.entries.iter().enumerate() {
            let Event::Call(call) = &entry.event else { continue };
            let Some(wanted) = self.rules.wanted(call) else { continue };
            let Some((key, cell)) = self.rules.cell_of(wanted) else { continue };
            // A rule that somebody deleted is made again with what it had.
            let before = call.before.as_ref().map(|rule| &rule.weights).or_else(|| own.get(key).copied());
            let (seq, at, wanted) = (entry.seq, entry.at, &wanted.weights);
            shifts.push(Shift { position, seq, at, key, cell, before, wanted });
            if let Some(after) = call.after.as_ref().filter(|_| call.error.is_none()) {
                own.insert(key, &after.weights);
            }
        }
        shifts
    }

    /// The same of what okra decided to write, by its decision log.
    pub(crate) fn decided_shifts(&self) -> Vec<Shift<'a>> {
        let mut held = Held::default();
        let mut shifts = Vec::new();
        for (position, entry) in self.record.entries.iter().enumerate() {
            match &entry.event {
                Event::Call(call) => held.see(call),
                Event::Decision(decision) if !decision.weights.is_empty() => {
                    let Some((key, cell)) = self.rules.cells.get_key_value(&decision.object) else { continue };
                    let before = held.get(key);
                    let (seq, at, wanted) = (entry.seq, entry.at, &decision.weights);
                    shifts.push(Shift { position, seq, at, key, cell, before, wanted });
                }
                _ => {}
            }
        }
        shifts
    }

    /// Whether every target group of a Cell's version is gone: its object, or the group itself as the rules say. okra
    /// may see it late, and after a group is back: what was gone within the slack counts.
    pub(crate) fn is_gone(&self, cell: &str, version: &str, position: usize) -> bool {
        let (Some(rules), Some(entry)) = (self.rules.cells.get(cell), self.record.entries.get(position)) else {
            return false;
        };
        let own = rules.versions.iter().filter(|(_, own)| own.as_str() == version).map(|(group, _)| group.as_str());
        let groups: Vec<&str> = own.collect();
        let early = minus(entry.at, self.rules.slack);
        let changes = groups.iter().flat_map(|group| self.group_states(group));
        let recent =
            changes.filter(|state| state.position <= position && state.at >= early).map(|state| state.position);
        let absent = |group: &&str, position| rules.is_taken(group) || self.is_absent(group, position);
        !groups.is_empty()
            && recent.chain([position]).any(|position| groups.iter().all(|group| absent(group, position)))
    }

    /// Whether the object of a target group is gone at a position, or is not there yet.
    fn is_absent(&self, group: &str, position: usize) -> bool {
        let states = self.group_states(group);
        let known = states.get(..states.partition_point(|state| state.position <= position)).unwrap_or_default();
        known.last().map_or_else(|| self.not_yet_there(position)(group), |state| state.leaves)
    }

    /// How the object of a target group changed, in order.
    pub(crate) fn group_states(&self, group: &str) -> &[GroupState<'a>] {
        self.groups.get(group).map(Vec::as_slice).unwrap_or_default()
    }

    /// Tells of a target group's id whether it is not there yet at a position: objects of others were seen, and none of
    /// it.
    pub(crate) fn not_yet_there(&self, position: usize) -> impl Fn(&str) -> bool {
        let seen = move |states: &[GroupState<'_>]| states.first().is_some_and(|state| state.position <= position);
        let any = self.groups.values().any(|states| seen(states));
        move |group| any && !seen(self.group_states(group))
    }

    /// Where the intent of a Cell's route that held at a position was seen first; `None`: no route object was seen.
    pub(crate) fn intent_position(&self, cell: &str, position: usize) -> Option<usize> {
        let mut since = None;
        let routes = self.of_kind("AWSApplicationLoadBalancerConfig").filter(|seen| seen.key == cell);
        for seen in routes.take_while(|seen| seen.position < position) {
            let generation = Meta::of(seen.object).generation;
            if since.is_none_or(|(known, _)| known != generation) {
                since = Some((generation, seen.position));
            }
        }
        since.map(|(_, position)| position)
    }

    /// The ids of target groups whose object was seen and is gone, or is being deleted, at a position.
    pub(crate) fn gone_groups(&self, position: usize) -> BTreeSet<&'a str> {
        let last = |states: &[GroupState<'_>]| {
            states.iter().take_while(|state| state.position <= position).last().is_some_and(|state| state.leaves)
        };
        self.groups.iter().filter(|(_, states)| last(states)).map(|(group, _)| *group).collect()
    }

    /// Every stretch in which inputs and faults had stopped.
    pub(crate) fn calms(&self) -> Vec<Calm> {
        self.calms_but(usize::MAX)
    }

    /// The same, when the entry at one position does not count as an input.
    pub(crate) fn calms_but(&self, position: usize) -> Vec<Calm> {
        let mut calms: Vec<Calm> = Vec::new();
        let mut open = false;
        for (at_position, entry) in self.record.entries.iter().enumerate() {
            if let Some(calm) = calms.last_mut().filter(|_| open) {
                calm.till = entry.at;
                calm.end = at_position;
            }
            if let Event::Quiet(Quiet { cloud_gone }) = &entry.event {
                let (from, start) = (entry.at, at_position);
                calms.push(Calm { from, till: from, start, end: start, cloud_gone: *cloud_gone });
                open = true;
            } else if at_position != position && self.is_input(&entry.event) {
                open = false;
            }
        }
        calms
    }

    /// What a Cell's rule held last, as anybody's calls showed it up to a position.
    pub(crate) fn weights_at(&self, cell: &str, position: usize) -> Option<&'a BTreeMap<String, i64>> {
        let known = self.record.entries.get(..=position).unwrap_or(&self.record.entries);
        let mut held = Held::default();
        for entry in known {
            if let Event::Call(call) = &entry.event {
                held.see(call);
            }
        }
        held.get(cell)
    }

    /// Whether an object, `<kind> <namespace>/<name>`, is gone or being deleted when okra does what a position shows.
    pub(crate) fn leaves(&self, object: &str, position: usize) -> bool {
        let Some((kind, key)) = object.split_once(' ') else { return false };
        let till = self.record.entries.get(position).map_or(Timestamp::MIN, |entry| plus(entry.at, self.rules.slack));
        let known = |seen: &&Sighting<'_>| {
            seen.key == key
                && (seen.position <= position || (self.rules.slack > SignedDuration::ZERO && seen.at <= till))
        };
        let last = self.of_kind(kind).filter(known).last();
        last.is_some_and(|seen| seen.object.is_null() || Meta::of(seen.object).deletion_timestamp.is_some())
    }

    /// Whether the source of API requests tells which resourceVersion was sent.
    pub(crate) fn tells_sent_versions(&self) -> bool {
        self.record.entries.iter().any(|entry| matches!(&entry.event, Event::Api(call) if call.sent_version.is_some()))
    }

    /// The seq of the entry at a position.
    pub(crate) fn seq(&self, position: usize) -> u64 {
        self.record.entries.get(position).map_or(0, |entry| entry.seq)
    }

    /// A Cell as it was seen last up to a position; `None` when it was not, or is gone.
    pub(crate) fn cell_at(&self, cell: &str, position: usize) -> Option<&CellView> {
        let states = self.cells.get(cell)?;
        let known = states.partition_point(|state| state.position <= position);
        states.get(known.checked_sub(1)?)?.view.as_ref()
    }

    /// Whether an event is an input or a fault, so that it is not quiet any more.
    pub(crate) fn is_input(&self, event: &Event) -> bool {
        match event {
            Event::Call(call) => {
                let writes = !call.operation.starts_with("Describe") && !call.operation.starts_with("Get");
                writes && !self.rules.is_ours(call) && (call.before.is_some() || call.after.is_some())
            }
            Event::Life(_) | Event::Asked(_) | Event::WatchSilent(_) => true,
            Event::Api(call) => {
                let bookkeeping = matches!(call.kind.as_str(), "Lease" | "Event" | "");
                call.is_write() && call.accepted() && !self.rules.is_own_api(call) && !bookkeeping
            }
            // Health follows from what is attached: it changes by itself.
            _ => false,
        }
    }
}

/// What the rules of Cells hold.
#[derive(Debug, Default)]
pub(crate) struct Held<'a> {
    weights: BTreeMap<&'a str, &'a BTreeMap<String, i64>>,
}

impl<'a> Held<'a> {
    /// Takes a call into account. The answer of a read may be late: it counts only where no write is known.
    pub(crate) fn see(&mut self, call: &'a LbCall) {
        let cell = |rule: &'a RuleState| rule.tags.get(CELL_TAG).map(String::as_str);
        let reads = call.operation.starts_with("Describe");
        for rule in call.after.iter().chain(&call.answered) {
            let Some(cell) = cell(rule) else { continue };
            if reads {
                self.weights.entry(cell).or_insert(&rule.weights);
            } else {
                self.weights.insert(cell, &rule.weights);
            }
        }
        if let Some(cell) = call.before.as_ref().and_then(cell).filter(|_| call.operation == "DeleteRule")
            && call.error.is_none()
        {
            self.weights.remove(cell);
        }
    }

    /// What the rule of a Cell holds.
    pub(crate) fn get(&self, cell: &str) -> Option<&'a BTreeMap<String, i64>> {
        self.weights.get(cell).copied()
    }
}

/// A stretch in which inputs and faults had stopped: positions and times of its first and last entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calm {
    pub(crate) from: Timestamp,
    pub(crate) till: Timestamp,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) cloud_gone: bool,
}

/// A write, done or decided, that says what a Cell's rule should be.
#[derive(Clone, Debug)]
pub(crate) struct Shift<'a> {
    pub(crate) position: usize,
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) key: &'a str,
    pub(crate) cell: &'a CellRules,
    pub(crate) before: Option<&'a BTreeMap<String, i64>>,
    pub(crate) wanted: &'a BTreeMap<String, i64>,
}

impl Shift<'_> {
    /// The share of a version after and before, as parts of [`WHOLE`].
    pub(crate) fn share(&self, version: &str) -> (i64, i64) {
        let before = self.before.map_or(0, |weights| share(self.cell, weights, version));
        (share(self.cell, self.wanted, version), before)
    }

    /// Whether the share of a version rises.
    pub(crate) fn raises(&self, version: &str) -> bool {
        let (after, before) = self.share(version);
        after > before + ROUNDING
    }

    /// The versions whose share rises.
    pub(crate) fn raised(&self) -> Vec<&str> {
        let versions = self.cell.by_version(self.wanted).into_keys();
        versions.filter(|version| self.raises(version)).collect()
    }
}

/// A whole, in the parts in which shares are counted.
pub(crate) const WHOLE: i64 = 1_000_000;
/// What the division by the sum of the weights loses.
const ROUNDING: i64 = 2;

/// The share of a version in a rule, as parts of [`WHOLE`].
pub(crate) fn share(cell: &CellRules, weights: &BTreeMap<String, i64>, version: &str) -> i64 {
    let total: i64 = weights.values().sum();
    let own = cell.by_version(weights).get(version).copied().unwrap_or(0);
    if total > 0 { own.saturating_mul(WHOLE) / total } else { 0 }
}

/// Whether a share in parts of [`WHOLE`] is more than so many percent.
pub(crate) fn exceeds(share: i64, percent: i64) -> bool {
    share > percent * (WHOLE / 100) + ROUNDING
}

fn group_states<'a>(sightings: &[Sighting<'a>]) -> BTreeMap<&'a str, Vec<GroupState<'a>>> {
    let mut ids: BTreeMap<&str, &'a str> = BTreeMap::new();
    let mut states: BTreeMap<&'a str, Vec<GroupState<'a>>> = BTreeMap::new();
    for seen in sightings.iter().filter(|seen| matches!(seen.kind, "AWSTargetGroup" | "TargetGroup")) {
        let id = seen.object.pointer("/spec/arn").or_else(|| seen.object.pointer("/spec/endpoint/url"));
        if let Some(id) = id.and_then(Value::as_str) {
            ids.insert(&seen.key, id);
        }
        let Some(id) = ids.get(seen.key.as_str()) else { continue };
        let leaves = seen.object.is_null() || Meta::of(seen.object).deletion_timestamp.is_some();
        let state = GroupState { position: seen.position, at: seen.at, leaves, object: seen.object };
        states.entry(id).or_default().push(state);
    }
    states
}

fn sighting(position: usize, entry: &Entry) -> Option<Sighting<'_>> {
    let at = entry.at;
    match &entry.event {
        Event::Object(seen) => Some(Sighting {
            position,
            at,
            kind: &seen.kind,
            key: format!("{}/{}", seen.namespace, seen.name),
            object: &seen.object,
        }),
        Event::Api(call) if call.is_write() && call.accepted() && (call.gone || !call.after.is_null()) => {
            let object = if call.gone { NULL } else { &call.after };
            Some(Sighting { position, at, kind: &call.kind, key: call.key(), object })
        }
        _ => None,
    }
}

/// A time that much later; the last one there is when that is out of range.
pub(crate) fn plus(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// A time that much earlier; the first one there is when that is out of range.
pub(crate) fn minus(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}
