//! What is checked while a run goes on, beside the judge: what only the simulator knows of.

use std::collections::{BTreeMap, BTreeSet};

use okra_api::{RouteOutcome, condition::reason};
use okra_judge::record::{Event, LbCall};
use serde_json::{Value, json};

use crate::{
    api_server::Changed,
    balancer::OKRA,
    driver::Driver,
    ports::SETTLE,
    story::{Story, What, cell_name},
    world::millis,
};

/// Weights by ARN.
type Weights = BTreeMap<String, i64>;

/// What is remembered for the checks.
#[derive(Debug, Default)]
pub struct Watch {
    cells: usize,
    /// Whether somebody else edits rules in this story.
    foreign: bool,
    /// Whether clocks are off: then nothing is said of intervals.
    skewed: bool,
    /// Groups that the story takes away.
    taken: BTreeSet<String>,
    /// Every state that okra gave to a rule.
    own: BTreeMap<String, BTreeSet<Weights>>,
    /// The weights that the last read of a Cell's rule showed, and to whom: a load balancer's write is not
    /// conditional, so what somebody else did after that read is written over by a write that is on its way.
    shown: BTreeMap<String, (String, Weights)>,
    /// When a group of a rule last had weight.
    served: BTreeMap<(String, String), u64>,
    read: usize,
}

impl Watch {
    pub fn new(story: &Story) -> Self {
        let any = |what: fn(&What) -> bool| story.happenings.iter().any(|happening| what(&happening.what));
        let taken = story.happenings.iter().filter_map(|happening| match &happening.what {
            What::Remove(group) | What::Gone(group) | What::Select(group, false) | What::Spoil(group, true) => {
                Some(group.arn())
            }
            _ => None,
        });
        Self {
            cells: story.cells.len(),
            foreign: any(|what| matches!(what, What::Foreign { .. })),
            skewed: any(|what| matches!(what, What::Jump { .. })),
            taken: taken.collect(),
            ..Self::default()
        }
    }

    /// A process read the rule of a Cell.
    pub fn read_rule(&mut self, cell: &str, process: &str, weights: &BTreeMap<String, i32>) {
        let weights = weights.iter().map(|(group, weight)| (group.clone(), i64::from(*weight))).collect();
        self.shown.insert(cell.to_owned(), (process.to_owned(), weights));
    }

    /// Judges one call of the load balancer.
    fn judge(&mut self, call: &LbCall, asked: bool, now: u64) -> Option<(&'static str, String)> {
        let (Some(before), Some(after)) = (&call.before, &call.after) else {
            if let Some(after) = &call.after {
                self.own.entry(after.arn.clone()).or_default().insert(after.weights.clone());
            }
            return None;
        };
        for (group, _) in before.weights.iter().chain(&after.weights).filter(|(_, weight)| **weight > 0) {
            self.served.insert((before.arn.clone(), group.clone()), now);
        }
        if call.caller != OKRA || before.weights == after.weights {
            return None;
        }
        let own = self.own.entry(before.arn.clone()).or_default();
        let owner = before.tags.get(okra_api::names::CELL_TAG).map(String::as_str).unwrap_or_default();
        let knew = |(process, weights): &(String, Weights)| *process == call.process && *weights == before.weights;
        let overwritten = !own.contains(&before.weights) && !asked && self.shown.get(owner).is_some_and(knew);
        own.insert(after.weights.clone());
        if overwritten {
            return Some(("foreign", format!("{:?} was set by somebody else and is written over", before.weights)));
        }
        let settle = SETTLE.as_millis() as u64;
        let early = before.weights.iter().find(|(group, weight)| {
            let last = self.served.get(&(before.arn.clone(), (*group).clone())).copied().unwrap_or(0);
            let removed = **weight == 0 && !after.weights.contains_key(*group) && !self.taken.contains(*group);
            removed && last > 0 && now.saturating_sub(last) < settle
        });
        let (group, _) = early.filter(|_| !self.skewed)?;
        Some(("settle", format!("{group} is detached before the data path has followed its weight of 0")))
    }
}

impl Driver {
    /// Judges what arrived at the load balancer since the last look.
    pub fn watch_write(&mut self) {
        let read = self.watch.read;
        let calls: Vec<(u64, LbCall)> = self.world.with(|state| {
            let entries = state.record.entries.iter().skip(read);
            entries
                .filter_map(|entry| match &entry.event {
                    Event::Call(call) if call.error.is_none() && (call.before.is_some() || call.after.is_some()) => {
                        Some((millis(entry.at), call.clone()))
                    }
                    _ => None,
                })
                .collect()
        });
        self.watch.read = self.world.with(|state| state.record.entries.len());
        for (at, call) in calls {
            let owner = call.after.as_ref().and_then(|rule| rule.tags.get(okra_api::names::CELL_TAG)).cloned();
            let cell =
                (0..self.watch.cells).find(|cell| owner.as_deref() == Some(&format!("default/{}", cell_name(*cell))));
            let asked = cell.is_some_and(|cell| self.asked.contains_key(&cell));
            if let Some((invariant, text)) = self.watch.judge(&call, asked, at) {
                self.breach(invariant, text);
            }
        }
    }

    /// What no status may ever say.
    pub fn watch_over(&mut self, changed: &Changed) {
        if changed.gone {
            return;
        }
        let conditions = changed.object.pointer("/status/conditions").and_then(Value::as_array);
        let breach = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition.get("reason").and_then(Value::as_str) == Some(reason::INVARIANT_BREACH));
        let text = breach.and_then(|condition| condition.get("message")?.as_str()).map(str::to_owned);
        if let Some(text) = text {
            self.breach_once("own-check", format!("{} {}: {text}", changed.kind, changed.key));
        }
        if let Some(text) = answered_for_nothing(changed) {
            self.breach_once("S7", format!("{} {}: {text}", changed.kind, changed.key));
        }
        let outcome = changed.object.pointer("/status/outcome");
        if !self.watch.foreign && outcome == Some(&json!(RouteOutcome::Foreign)) {
            let text = "nobody else changed the rule, and the route says that somebody did";
            self.breach_once("foreign", format!("{} {}: {text}", changed.kind, changed.key));
        }
    }

    fn breach_once(&mut self, invariant: &'static str, text: String) {
        if self.breaches.iter().all(|known| known.text != text) {
            self.breach(invariant, text);
        }
    }
}

/// A person was told that the rollout stops, and the same status lets it go on.
fn answered_for_nothing(changed: &Changed) -> Option<String> {
    let before = changed.before.as_deref();
    let of = |path: &str| changed.object.pointer(path).filter(|value| !value.is_null());
    let same = |path: &str| before.and_then(|before| before.pointer(path)) == of(path);
    let accepted = of("/status/lastRequest/accepted") == Some(&json!(true));
    if !accepted || same("/status/lastRequest/id") || !same("/status/rollout/id") {
        return None;
    }
    let verb = of("/status/lastRequest/verb")?.as_str()?;
    let ends = of("/status/rollout/outcome").is_some();
    let stops = match verb {
        "abort" => ends,
        "pause" => ends || of("/status/hold").is_some(),
        _ => true,
    };
    (!stops).then(|| format!("{verb} is answered, and the rollout goes on"))
}
