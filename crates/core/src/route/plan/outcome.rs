//! The plans that say what is, and the status of every plan.

use std::collections::BTreeMap;

use jiff::Timestamp;
use okra_api::{
    condition::{self, NewCondition, READY, VALID, reason},
    route::{ForeignState, REMEMBERED_INTENTS, RouteHealth, RouteOutcome, RouteStatus, RouteWeight},
};

use super::{RECHECK, RouteInput, RoutePlan, SOON, gate, words};
use crate::planted::{Planted, is_planted};
use crate::route::{Change, Lane, ObservedRule};

/// The longest message that the schema allows, in characters.
const MAX_MESSAGE: usize = 2048;
/// So many groups that are gone and not asked for are remembered.
const MOST_GONE: usize = 16;

/// A plan that asks for nothing, changes nothing and has nothing new to say.
fn as_before(input: &RouteInput, report: String) -> RoutePlan {
    RoutePlan {
        observe: false,
        read_health: Vec::new(),
        change: None,
        record_first: false,
        lane: Lane::Verify,
        status: input.previous.clone(),
        report,
        waits_for: Vec::new(),
        release: false,
        warning: None,
        wake_at: None,
    }
}

/// A plan that asks for nothing and changes nothing.
fn still(input: &RouteInput, now: Timestamp, status: RouteStatus, report: String) -> RoutePlan {
    let plan = as_before(input, report);
    RoutePlan { status: settle_times(input, status, now), ..plan }
}

/// Reads the router first.
pub(super) fn observe(input: &RouteInput, lane: Lane) -> RoutePlan {
    let plan = as_before(input, "reads the rule".into());
    RoutePlan { observe: true, lane, ..plan }
}

/// Reads health first.
pub(super) fn ask(input: &RouteInput, ids: Vec<String>, lane: Lane) -> RoutePlan {
    let names: Vec<String> = ids.iter().map(|id| input.name_of(id)).collect();
    let plan = as_before(input, format!("reads the health of {}", names.join(", ")));
    RoutePlan { read_health: ids, lane, ..plan }
}

/// Nothing is new.
pub(super) fn unchanged(input: &RouteInput, wake_at: Option<Timestamp>) -> RoutePlan {
    let plan = as_before(input, input.previous.message.clone());
    RoutePlan { wake_at, ..plan }
}

/// The rule holds the intent, as far as the last look knows.
pub(super) fn resting(input: &RouteInput, look: Timestamp, now: Timestamp) -> RoutePlan {
    let mut status = input.previous.clone();
    status.health = health(input);
    let below = gate::watched_below(input);
    let drift = look.checked_add(input.drift_interval).ok();
    let poll = (!below.is_empty()).then(|| now.checked_add(gate::poll_interval(input, now)).ok()).flatten();
    let report = match below.as_slice() {
        [] => "the router holds what is asked for".to_owned(),
        ids => {
            let names: Vec<String> = ids.iter().map(|id| input.name_of(id)).collect();
            format!("the router holds what is asked for; waits for health of {}", names.join(", "))
        }
    };
    let plan = still(input, now, status, report);
    RoutePlan { waits_for: below, wake_at: [drift, poll].into_iter().flatten().min(), ..plan }
}

/// The rule was read and holds the intent.
pub(super) fn verified(input: &RouteInput, rule: &ObservedRule, now: Timestamp) -> RoutePlan {
    let mut status = answered(input, Some(rule));
    status.verified = Some(words::fingerprint_of(input, rule));
    status.foreign = None;
    set_outcome(&mut status, input.generation, now, RouteOutcome::Verified, reason::AS_DESIRED, String::new());
    let mut settled = input.clone();
    settled.previous = settle_times(input, status, now);
    resting(&settled, now, now)
}

/// The router was read, and there is no rule.
pub(super) fn absent(input: &RouteInput, now: Timestamp) -> RoutePlan {
    let mut status = answered(input, None);
    set_outcome(&mut status, input.generation, now, RouteOutcome::Verified, reason::AS_DESIRED, String::new());
    let mut settled = input.clone();
    settled.previous = settle_times(input, status, now);
    resting(&settled, now, now)
}

/// It cannot be done.
pub(super) fn refused(input: &RouteInput, now: Timestamp, reason: &str, message: String) -> RoutePlan {
    let mut status = current(input);
    set_outcome(&mut status, input.generation, now, RouteOutcome::Refused, reason, message.clone());
    let plan = still(input, now, status, message);
    RoutePlan { wake_at: now.checked_add(RECHECK).ok(), ..plan }
}

/// Somebody else changed the rule.
pub(super) fn foreign(input: &RouteInput, rule: &ObservedRule, now: Timestamp) -> RoutePlan {
    let fingerprint = words::fingerprint_of(input, rule);
    let difference = truncate(words::difference(input, rule), 1024);
    let known = input.previous.foreign.as_ref().filter(|foreign| foreign.fingerprint == fingerprint);
    let since = known.map_or(now, |foreign| foreign.since);
    let message = format!(
        "somebody else changed the rule: {difference}; nothing is written until a person decides: \
         okractl resume --accept-weights keeps what is there, okractl resume --restore puts back what is asked for"
    );
    let mut status = answered(input, Some(rule));
    status.foreign = Some(ForeignState { fingerprint, difference, since });
    set_outcome(&mut status, input.generation, now, RouteOutcome::Foreign, reason::FOREIGN_EDIT, message.clone());
    let plan = still(input, now, status, message);
    RoutePlan { wake_at: now.checked_add(RECHECK).ok(), ..plan }
}

/// Waits, and looks again at `wake_at`.
pub(super) fn waits(input: &RouteInput, now: Timestamp, message: String, wake_at: Option<Timestamp>) -> RoutePlan {
    not_yet(input, now, reason::WAITING_FOR_ROUTE, message, wake_at)
}

/// Waits for healthy targets.
pub(super) fn waits_for_health(input: &RouteInput, now: Timestamp, message: String, ids: Vec<String>) -> RoutePlan {
    let wake_at = now.checked_add(gate::poll_interval(input, now)).ok();
    let plan = not_yet(input, now, reason::WAITING_FOR_HEALTH, message, wake_at);
    RoutePlan { waits_for: ids, ..plan }
}

fn not_yet(input: &RouteInput, now: Timestamp, reason: &str, message: String, wake_at: Option<Timestamp>) -> RoutePlan {
    let mut status = current(input);
    status.foreign = None;
    set_outcome(&mut status, input.generation, now, RouteOutcome::NotYet, reason, message.clone());
    let plan = still(input, now, status, message);
    RoutePlan { wake_at, ..plan }
}

/// A change. `after` is the fingerprint of the state that it leads to.
pub(super) fn change(input: &RouteInput, now: Timestamp, change: Change, lane: Lane, after: String) -> RoutePlan {
    if let Some(wake_at) = lagging(input, &change, now) {
        let message = "the router took the change and does not show it yet".to_owned();
        return waits(input, now, message, Some(wake_at));
    }
    let report = words::change(input, &change);
    let plan = not_yet(input, now, reason::WAITING_FOR_ROUTE, report, now.checked_add(SOON).ok());
    let mut status = plan.status;
    // What the spec asks for is in the spec: whoever changes it next remembers that there.
    let kept = input.former_intents.is_some() && after == input.intent.fingerprint();
    let known = match &change {
        Change::Adopt { .. } => status.verified.replace(after.clone()) == Some(after),
        Change::Remove { .. } => true,
        Change::Create { .. } | Change::Modify { .. } | Change::Move { .. } => remember(&mut status, after),
    };
    RoutePlan {
        status,
        change: Some(change),
        lane,
        record_first: !known && !kept && !is_planted(Planted::IntentNotRemembered),
        ..plan
    }
}

/// Puts a fingerprint last among the recent intents; whether it was among them.
fn remember(status: &mut RouteStatus, fingerprint: String) -> bool {
    let count = status.recent_intents.len();
    status.recent_intents.retain(|recent| *recent != fingerprint);
    let known = status.recent_intents.len() < count;
    status.recent_intents.push(fingerprint);
    let surplus = status.recent_intents.len().saturating_sub(REMEMBERED_INTENTS);
    status.recent_intents.drain(..surplus);
    known
}

/// Until when to wait for a change that the router took a moment ago to show.
fn lagging(input: &RouteInput, change: &Change, now: Timestamp) -> Option<Timestamp> {
    let sent = input.sent.as_ref().filter(|sent| sent.change == *change)?;
    (gate::age(sent.at, now) < super::READ_LAG).then(|| now.checked_add(SOON).ok()).flatten()
}

/// The previous status with what is known now.
fn current(input: &RouteInput) -> RouteStatus {
    match &input.observed {
        Some(observed) => answered(input, observed.ours.as_ref().filter(|rule| input.intent.owns(rule))),
        None => RouteStatus { health: health(input), ..input.previous.clone() },
    }
}

/// The previous status with what was read now; without a rule, that there is none.
fn answered(input: &RouteInput, rule: Option<&ObservedRule>) -> RouteStatus {
    let mut status = input.previous.clone();
    status.health = health(input);
    if let Some(rule) = rule {
        status.rule_arn = Some(rule.id.clone());
        status.weights = weights(input, &rule.weights);
    } else {
        status.rule_arn = None;
        status.weights = Vec::new();
    }
    status
}

fn weights(input: &RouteInput, held: &BTreeMap<String, i32>) -> Vec<RouteWeight> {
    let rows = held.iter().map(|(id, weight)| RouteWeight { name: input.name_of(id), id: id.clone(), weight: *weight });
    let mut rows: Vec<RouteWeight> = rows.collect();
    rows.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    rows
}

/// Health of the intent's groups, and the other groups that are gone. A reading with the same counts as the last one
/// written is no news.
fn health(input: &RouteInput) -> Vec<RouteHealth> {
    let row = |name: &String, id: &String| {
        let same_group = |old: &&RouteHealth| old.name == *name && (old.id == *id || old.id.is_empty());
        let old = input.previous.health.iter().find(same_group).cloned();
        let Some(reading) = input.health.get(id) else { return old };
        let new = RouteHealth {
            name: name.clone(),
            id: id.clone(),
            healthy: reading.health.healthy,
            total: reading.health.total,
            gone: reading.health.gone,
            read_at: reading.at,
        };
        let same = |old: &RouteHealth| (old.healthy, old.total, old.gone) == (new.healthy, new.total, new.gone);
        Some(old.filter(same).unwrap_or(new))
    };
    let own = input.intent.groups.iter().filter_map(|group| row(&group.name, &group.id));
    let is_back = |id: &String| input.health.get(id).is_some_and(|reading| !reading.health.gone);
    let gone = input.gone_elsewhere().filter(|old| !is_back(&old.id)).take(MOST_GONE).cloned();
    own.chain(gone).collect()
}

fn set_outcome(
    status: &mut RouteStatus,
    generation: i64,
    now: Timestamp,
    outcome: RouteOutcome,
    reason: &str,
    message: String,
) {
    let message = truncate(message, MAX_MESSAGE);
    status.observed_generation = Some(generation);
    status.outcome = Some(outcome);
    status.message.clone_from(&message);
    let valid = reason != reason::INVALID_SPEC;
    let conditions = &mut status.conditions;
    let ready = outcome == RouteOutcome::Verified;
    let said = if ready { "the router holds what is asked for".to_owned() } else { message.clone() };
    let new = NewCondition { type_: READY, status: Some(ready), reason, message: said };
    condition::set(conditions, now, Some(generation), new);
    let (reason, message) =
        if valid { (reason::AS_DESIRED, "the spec can be acted on".to_owned()) } else { (reason, message) };
    let new = NewCondition { type_: VALID, status: Some(valid), reason, message };
    condition::set(conditions, now, Some(generation), new);
}

/// Times are written only together with another change: the previous status when nothing else changed, else the
/// new one with the time of this read.
fn settle_times(input: &RouteInput, mut status: RouteStatus, now: Timestamp) -> RouteStatus {
    if same_but_for_times(&input.previous, &status) {
        return input.previous.clone();
    }
    if input.observed.is_some() {
        status.read_at = Some(now);
        if status.outcome == Some(RouteOutcome::Verified) {
            status.verified_at = Some(now);
        }
    }
    status
}

/// Whether two statuses say the same, times apart.
pub fn same_but_for_times(a: &RouteStatus, b: &RouteStatus) -> bool {
    timeless(a) == timeless(b)
}

fn timeless(status: &RouteStatus) -> RouteStatus {
    let mut status = status.clone();
    status.read_at = None;
    status.verified_at = None;
    for health in &mut status.health {
        health.read_at = Timestamp::UNIX_EPOCH;
    }
    for condition in &mut status.conditions {
        condition.last_transition_time.0 = Timestamp::UNIX_EPOCH;
    }
    status
}

fn truncate(text: String, most: usize) -> String {
    match text.char_indices().nth(most.saturating_sub(1)) {
        Some((end, _)) if text.chars().count() > most => format!("{}\u{2026}", text.get(..end).unwrap_or_default()),
        _ => text,
    }
}

/// Why nothing could be planned or carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure<'a> {
    /// It cannot be done until somebody mends something: the reason.
    Refused(&'a str),
    /// It may go better next time: the reason.
    NotYet(&'a str),
}

/// The status after a failure outside of a plan: a bad spec, or a call that failed. Answers of before stay.
pub fn failed(
    previous: &RouteStatus,
    generation: i64,
    failure: Failure<'_>,
    message: String,
    now: Timestamp,
) -> RouteStatus {
    let mut status = previous.clone();
    let (outcome, reason) = match failure {
        Failure::Refused(reason) => (RouteOutcome::Refused, reason),
        Failure::NotYet(reason) => (RouteOutcome::NotYet, reason),
    };
    set_outcome(&mut status, generation, now, outcome, reason, message);
    if same_but_for_times(previous, &status) { previous.clone() } else { status }
}
