//! What is told of a reconcile: events, the decision log, and the status of a call that failed.

use jiff::Timestamp;
use okra_api::{
    RouteOutcome, RouteStatus,
    condition::{self, NewCondition, READY, reason},
};
use okra_core::route::{Change, Failure, RoutePlan};
use okra_provider::{EventNote, Key, Kind, RouterError, RouterErrorKind};
use serde_json::{Value, json};

/// The object that events are about.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) kind: Kind,
    pub(super) key: Key,
    pub(super) uid: String,
    pub(super) generation: i64,
}

impl Subject {
    fn note(&self, warning: bool, reason: &str, action: &str, message: &str) -> EventNote {
        EventNote {
            kind: self.kind.clone(),
            key: self.key.clone(),
            uid: self.uid.clone(),
            warning,
            reason: reason.to_owned(),
            action: action.to_owned(),
            message: message.to_owned(),
        }
    }

    /// A change that the router took.
    pub(super) fn changed(&self, change: &Change, report: &str) -> EventNote {
        let reason = match change {
            Change::Create { .. } => "RuleCreated",
            Change::Modify { weights: Some(_), .. } => "TrafficShifted",
            Change::Modify { .. } => "RuleModified",
            Change::Move { .. } => "RuleMoved",
            Change::Adopt { .. } => "RuleAdopted",
            Change::Remove { .. } => "RuleRemoved",
        };
        self.note(false, reason, change.action(), report)
    }

    /// Something that no status can say any more.
    pub(super) fn warned(&self, message: &str) -> EventNote {
        self.note(true, "RuleNotRemoved", "RemoveRule", message)
    }

    /// A decision that differs from the one before, if it does: another outcome, or another reason for it.
    pub(super) fn decided(&self, before: &RouteStatus, after: &RouteStatus) -> Option<EventNote> {
        let (old, new) = (decision(before), decision(after));
        if old == new {
            return None;
        }
        let (outcome, reason) = new?;
        let warning = matches!(outcome, RouteOutcome::Refused | RouteOutcome::Foreign) || reason == reason::UNREACHABLE;
        let ready = condition::find(&after.conditions, READY)?;
        Some(self.note(warning, &reason, "VerifyTraffic", &ready.message))
    }

    /// A change about to be sent, for the decision log.
    pub(super) fn decision(&self, change: &Change, plan: &RoutePlan, now: Timestamp) -> Value {
        json!({
            "at": now.to_string(),
            "kind": self.kind.kind,
            "object": self.key.to_string(),
            "uid": self.uid,
            "generation": self.generation,
            "action": change.action(),
            "weights": change.weights(),
            "lane": format!("{:?}", plan.lane),
            "report": plan.report,
        })
    }
}

fn decision(status: &RouteStatus) -> Option<(RouteOutcome, String)> {
    let reason = condition::find(&status.conditions, READY).map(|ready| ready.reason.clone());
    Some((status.outcome?, reason?))
}

/// Whether two statuses tell of the same decision about the same spec, in whatever words.
pub(super) fn same_decision(a: &RouteStatus, b: &RouteStatus) -> bool {
    a.observed_generation == b.observed_generation && decision(a) == decision(b)
}

/// What a failed call makes of the status.
pub(super) fn failure(error: &RouterError) -> Failure<'static> {
    match error.kind {
        RouterErrorKind::Throttled
        | RouterErrorKind::Unreachable
        | RouterErrorKind::RuleNotFound
        | RouterErrorKind::NotLeader => Failure::NotYet(reason::UNREACHABLE),
        RouterErrorKind::Denied
        | RouterErrorKind::ListenerNotFound
        | RouterErrorKind::GroupNotFound
        | RouterErrorKind::Refused => Failure::Refused(reason::REFUSED),
    }
}

/// The status of a rule that was verified and cannot be looked at just now: what was verified stays verified.
pub(super) fn out_of_sight(status: &RouteStatus, generation: i64, message: String, now: Timestamp) -> RouteStatus {
    let mut status = status.clone();
    let new = NewCondition { type_: READY, status: Some(false), reason: reason::UNREACHABLE, message };
    condition::set(&mut status.conditions, now, Some(generation), new);
    status
}
