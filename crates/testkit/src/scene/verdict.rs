//! What is judged at the end of a scene.

use okra_judge::{
    CellRules, Rules, examine,
    record::{Entry, Event, LbCall},
};

use super::{Scene, sources};
use crate::load::Load;

/// Operations that change a load balancer.
pub(super) const WRITES: [&str; 6] =
    ["CreateRule", "ModifyRule", "DeleteRule", "SetRulePriorities", "AddTags", "RemoveTags"];

impl Scene {
    fn own_calls(&self) -> Vec<LbCall> {
        let calls = self.front.record().entries.into_iter().filter_map(|entry| match entry.event {
            Event::Call(call) if self.is_okrad(&call.caller) && call.error.is_none() => Some(call),
            _ => None,
        });
        calls.collect()
    }

    /// The calls with which okrad changed the load balancer, in order; refused ones do not count.
    pub fn writes(&self) -> Vec<LbCall> {
        self.own_calls().into_iter().filter(|call| WRITES.contains(&call.operation.as_str())).collect()
    }

    /// The operations with which okrad changed the load balancer after its first `from` changes.
    pub fn operations_since(&self, from: usize) -> Vec<String> {
        self.writes().into_iter().skip(from).map(|call| call.operation).collect()
    }

    pub(super) fn looks(&self) -> usize {
        self.own_calls().iter().filter(|call| call.operation == "DescribeRules").count()
    }

    /// The last `count` calls, changes of a Cell's state and notes, one line each, for the reader of a failure.
    pub fn told(&self, count: usize) -> String {
        let mut lines: Vec<String> =
            self.front.record().entries.iter().rev().filter_map(|entry| self.line(entry)).take(count).collect();
        lines.reverse();
        lines.join("\n")
    }

    fn line(&self, entry: &Entry) -> Option<String> {
        let text = match &entry.event {
            Event::Call(call) => {
                let rule = call.after.as_ref().or_else(|| call.answered.iter().find(|rule| !rule.weights.is_empty()));
                let weights = rule.map(|rule| self.named(&rule.weights));
                let health = call.health.as_ref().map(|health| (health.healthy, health.total));
                let error = call.error.as_deref().unwrap_or_default();
                format!("{} {} {error} {weights:?} {health:?}", call.caller, call.operation)
            }
            Event::Object(seen) => {
                let at = |pointer: &str| seen.object.pointer(pointer).cloned().unwrap_or_default();
                format!(
                    "{} {}: {} {} step {} message {}",
                    seen.kind,
                    seen.name,
                    at("/status/phase"),
                    at("/status/rollout/id"),
                    at("/status/rollout/currentStepIndex"),
                    at("/status/message")
                )
            }
            Event::Note { text } => text.clone(),
            // Too many to print, or told by others than the front, for the judge alone.
            _ => return None,
        };
        Some(format!("{} {} {text}", entry.seq, entry.at))
    }

    /// The end of a scene under load: nothing failed, everything was as allowed, and okrad stops cleanly.
    pub async fn end(mut self, load: Load, cell: &str, shares: &[u32]) {
        let summary = load.stop().await;
        assert_eq!((summary.failed, summary.first_failure), (0, None));
        self.judge(cell, shares);
        assert_eq!(self.stop_okrad().await, 0);
    }

    /// Judges everything that happened: `shares` are the canary's shares that the plan allows. No okrad may have
    /// ended by itself, and no call may have changed nothing.
    pub fn judge(&mut self, cell: &str, shares: &[u32]) {
        let versions: Vec<(&str, &str)> =
            self.versions.iter().map(|(arn, version)| (arn.as_str(), version.as_str())).collect();
        let mut rules = CellRules::new(shares.iter().copied(), versions);
        rules.gone.clone_from(&self.gone);
        rules.away.clone_from(&self.away);
        self.judge_cells([(cell.to_owned(), rules)]);
    }

    /// The same for these Cells, by their names.
    pub fn judge_cells(&mut self, cells: impl IntoIterator<Item = (String, CellRules)>) {
        self.assert_okrad_runs();
        let rules = Rules::alb(&self.namespace, &self.namespace);
        let mut rules =
            cells.into_iter().fold(rules, |rules, (cell, own)| rules.cell(&format!("{}/{cell}", self.namespace), own));
        rules.adoptable.extend(self.adoptable.iter().cloned());
        let record = self.record();
        let users = sources::users(&record);
        rules.process_of = self.callers(&users);
        rules.callers.extend(rules.process_of.keys().cloned());
        rules.secret_namespaces = self.also.iter().chain([&self.namespace]).cloned().collect();
        rules.planted = self.planted(&users);
        // Without an okrad there is neither its log nor its Lease.
        let sources: &[&str] = if users.is_empty() { &["S1", "S11"] } else { &["S1", "S9", "S10", "S11", "S17"] };
        rules.processes = users;
        if self.rested {
            rules.limits = sources::limits();
        }
        let judged = examine(&record, &rules);
        let mut words: Vec<String> = judged.violations.iter().map(ToString::to_string).collect();
        if !self.writes().is_empty() {
            // Else a source has run dry, and its checks would be silent for ever.
            let dry = sources.iter().filter(|name| judged.coverage[**name] == 0);
            words.extend(dry.map(|name| format!("{name} had nothing to judge")));
        }
        // One that is gone has no weights, and one that pauses for a time never rests.
        if self.rested && judged.coverage["L1"] + judged.coverage["L4"] == 0 {
            words.push("neither L1 nor L4 had anything to judge".to_owned());
        }
        let idle = |call: &&LbCall| call.operation == "ModifyRule" && call.before == call.after;
        words.extend(self.writes().iter().filter(idle).map(|call| format!("a call that changes nothing: {call:?}")));
        assert!(words.is_empty(), "the judge found: {}\ncalls:\n{}", words.join("\n"), self.told(60));
    }
}
