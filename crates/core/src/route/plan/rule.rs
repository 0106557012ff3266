//! What to do about a rule that was read.

use jiff::Timestamp;
use okra_api::{
    condition::reason,
    names::{ADOPT_RULE_ANNOTATION, CELL_TAG, OWNER_TAG},
    route::RouteOutcome,
};

use super::{
    RouteInput, RoutePlan,
    gate::{self, Floor, Gate},
    outcome, words,
};
use crate::planted::{Planted, is_planted};
use crate::route::{
    Adopt, Change, Conditions, Lane, Observed, ObservedRule, Sticky, fingerprint,
    weights::{self, Step, Weights},
};

pub(super) fn plan(input: &RouteInput, observed: &Observed, now: Timestamp) -> RoutePlan {
    // A rule that was found by its ARN but lost our tags is not ours any more.
    let lost = observed.ours.as_ref().filter(|rule| !input.intent.owns(rule));
    match observed.ours.as_ref().filter(|rule| input.intent.owns(rule)) {
        Some(rule) => own(input, rule, observed.in_the_way.as_ref(), now),
        None => match observed.in_the_way.as_ref().or(lost) {
            Some(other) => other_rule(input, other, now),
            None => create(input, now),
        },
    }
}

fn create(input: &RouteInput, now: Timestamp) -> RoutePlan {
    let intent = &input.intent;
    let weights = intent.weights();
    if weights.len() > input.capabilities.max_groups {
        return too_many(input, weights.len(), now);
    }
    let serving: Vec<String> = weights.keys().filter(|id| weights::serves(&weights, id)).cloned().collect();
    let gate = gate::gate(input, &serving, Floor::Registered, now);
    if let Some(plan) = stopped(input, gate, now) {
        return plan;
    }
    let entry = gate::may_enter(input, |_| false, now);
    if let Some(plan) = stopped(input, entry, now) {
        return plan;
    }
    let sticky = intent.stickiness.map(Sticky::normal);
    let after = intent.fingerprint();
    outcome::change(input, now, Change::Create { weights, stickiness: sticky }, Lane::Promote, after)
}

/// What to do at a gate that is not open.
fn stopped(input: &RouteInput, gate: Gate, now: Timestamp) -> Option<RoutePlan> {
    match gate {
        Gate::Open => None,
        Gate::Ask(ids) => Some(outcome::ask(input, ids, gate::lane(input))),
        Gate::Gone(message) => Some(outcome::refused(input, now, reason::REFUSED, message)),
        Gate::Shut(message, ids) => Some(outcome::waits_for_health(input, now, message, ids)),
    }
}

/// Something that is not ours stands at the priority.
fn other_rule(input: &RouteInput, rule: &ObservedRule, now: Timestamp) -> RoutePlan {
    let intent = &input.intent;
    if rule.owner_tag.as_deref() == Some(intent.installation.as_str()) {
        return outcome::refused(input, now, reason::RULE_TAKEN, taken(rule));
    }
    if !may_adopt(&intent.adopt, rule) {
        return outcome::refused(input, now, reason::FOREIGN_RULE, not_ours(rule));
    }
    let wanted = intent.weights();
    let unknown = weights::removed(&rule.weights, &wanted);
    if !unknown.is_empty() {
        let message = format!(
            "rule {} is not adopted: it forwards to target groups that are unknown here: {}; make an object for each, \
             or take them out of the rule",
            rule.id,
            unknown.join(", ")
        );
        return outcome::refused(input, now, reason::FOREIGN_RULE, message);
    }
    let after = words::fingerprint_of(input, rule);
    outcome::change(input, now, Change::Adopt { rule: rule.id.clone() }, Lane::Promote, after)
}

/// Whether the annotation lets us take this rule.
pub(crate) fn may_adopt(adopt: &Adopt, rule: &ObservedRule) -> bool {
    match adopt {
        Adopt::No => false,
        Adopt::Untagged => rule.owner_tag.is_none() && rule.cell_tag.is_none(),
        Adopt::Installation(id) => rule.owner_tag.as_ref() == Some(id),
    }
}

pub(super) fn taken(rule: &ObservedRule) -> String {
    format!(
        "rule {} at priority {} belongs to {} of this installation: choose another priority, or delete that object",
        rule.id,
        rule.priority,
        rule.cell_tag.as_deref().unwrap_or("an unnamed object"),
    )
}

pub(super) fn not_ours(rule: &ObservedRule) -> String {
    let (owner, adopt) = match (&rule.owner_tag, &rule.cell_tag) {
        (Some(owner), _) => (format!("has tag {OWNER_TAG}={owner}"), owner.as_str()),
        (None, Some(cell)) => (format!("has tag {CELL_TAG}={cell} but no tag {OWNER_TAG}"), ""),
        (None, None) => ("has no tag of Okra".to_owned(), "true"),
    };
    let remedy = match adopt {
        "" => "or remove that tag".to_owned(),
        adopt => format!("or adopt it with annotation {ADOPT_RULE_ANNOTATION}: {adopt:?}"),
    };
    format!("rule {} stands at priority {} and {owner}: choose another priority, {remedy}", rule.id, rule.priority)
}

fn too_many(input: &RouteInput, count: usize, now: Timestamp) -> RoutePlan {
    let message = format!(
        "{count} target groups are more than the {} that one action of this router can hold: take some out first",
        input.capabilities.max_groups
    );
    outcome::refused(input, now, reason::CAPACITY_EXCEEDED, message)
}

/// The rule with our tags.
fn own(input: &RouteInput, rule: &ObservedRule, in_the_way: Option<&ObservedRule>, now: Timestamp) -> RoutePlan {
    let delta = Delta::of(input, rule);
    if delta.is_none() {
        return hold(input, rule, now);
    }
    let status = &input.previous;
    // Without any memory (a lost status) there is nothing to compare with, and the tags say that it is ours.
    let remembers = status.verified.is_some() || !status.recent_intents.is_empty();
    if remembers && !words::is_known(input, rule) && !is_planted(Planted::ForeignEditOverwritten) {
        return outcome::foreign(input, rule, now);
    }
    if delta.priority && in_the_way.is_none() {
        let priority = input.intent.place.priority();
        let after = after(input, rule, priority, None, None, None);
        return outcome::change(input, now, Change::Move { rule: rule.id.clone() }, Lane::Promote, after);
    }
    let plan = content(input, rule, &delta, now);
    match in_the_way {
        // The content goes first: a way back must not wait for a place.
        Some(other) if delta.priority && plan.is_none() => {
            let message = if input.intent.owns(other) || other.owner_tag == rule.owner_tag {
                taken(other)
            } else {
                not_ours_either(other)
            };
            outcome::refused(input, now, reason::RULE_TAKEN, message)
        }
        _ => plan.unwrap_or_else(|| hold(input, rule, now)),
    }
}

fn not_ours_either(rule: &ObservedRule) -> String {
    format!("rule {} stands at priority {}: choose another priority, or move that rule", rule.id, rule.priority)
}

/// The rule holds the intent; perhaps health is to be read.
fn hold(input: &RouteInput, rule: &ObservedRule, now: Timestamp) -> RoutePlan {
    let status = &input.previous;
    let drift = input.same_generation() && status.outcome == Some(RouteOutcome::Verified);
    let lane = if drift { Lane::Drift } else { Lane::Verify };
    let ids = gate::after_look(input, drift, now);
    let plan = outcome::verified(input, rule, now);
    // The status with the answer stands in the plan already: it counts even when the health cannot be read.
    if ids.is_empty() { plan } else { RoutePlan { read_health: ids, lane, ..plan } }
}

/// In what a rule differs from the intent.
struct Delta {
    priority: bool,
    weights: Option<Weights>,
    conditions: Option<Conditions>,
    stickiness: Option<Sticky>,
}

impl Delta {
    fn of(input: &RouteInput, rule: &ObservedRule) -> Self {
        let intent = &input.intent;
        let wanted = intent.weights();
        let conditions = intent.place.conditions().canonical();
        let differs = rule.conditions.clone().canonical() != conditions;
        Self {
            priority: rule.priority != intent.place.priority(),
            weights: (rule.weights != wanted).then_some(wanted),
            conditions: differs.then_some(conditions),
            stickiness: intent.stickiness.map(Sticky::normal).filter(|sticky| *sticky != rule.stickiness.normal()),
        }
    }

    fn is_none(&self) -> bool {
        !self.priority && self.weights.is_none() && self.conditions.is_none() && self.stickiness.is_none()
    }
}

/// What can be done about the weights now.
enum Shift {
    None,
    Set(Weights),
    Wait(Box<RoutePlan>),
    Stop(Box<RoutePlan>),
}

/// The next change of weights, conditions and stickiness, in one call; `None`: they are as they should be.
fn content(input: &RouteInput, rule: &ObservedRule, delta: &Delta, now: Timestamp) -> Option<RoutePlan> {
    let (weights, waiting) = match &delta.weights {
        None => (None, None),
        Some(wanted) => match shift(input, rule, wanted, now) {
            Shift::None => (None, None),
            Shift::Set(weights) => (Some(weights), None),
            Shift::Wait(plan) => (None, Some(*plan)),
            Shift::Stop(plan) => return Some(*plan),
        },
    };
    // Conditions and stickiness do not wait for the weights: they apply at once with the weights unchanged.
    if weights.is_none() && delta.conditions.is_none() && delta.stickiness.is_none() {
        return waiting;
    }
    let looks_back = || weights.as_ref().is_some_and(|weights| weights::is_rollback(&rule.weights, weights));
    let rollback = input.way_back.unwrap_or_else(looks_back);
    let lane = if rollback { Lane::Rollback } else { Lane::Promote };
    let after = after(input, rule, rule.priority, weights.as_ref(), delta.conditions.as_ref(), delta.stickiness);
    let change = Change::Modify {
        rule: rule.id.clone(),
        weights,
        conditions: delta.conditions.clone(),
        stickiness: delta.stickiness,
    };
    Some(outcome::change(input, now, change, lane, after))
}

fn shift(input: &RouteInput, rule: &ObservedRule, wanted: &Weights, now: Timestamp) -> Shift {
    let max_groups = input.capabilities.max_groups;
    let sticky = input.intent.stickiness.unwrap_or(rule.stickiness).enabled || rule.stickiness.enabled;
    match weights::step(&rule.weights, wanted, sticky, max_groups) {
        Step::Done => Shift::None,
        Step::TooMany(count) => Shift::Stop(Box::new(too_many(input, count, now))),
        Step::Detach(weights) => match settles_at(input, rule, now) {
            Some(wake_at) => {
                let message = "waits until the last change has settled in the data path, then detaches".to_owned();
                Shift::Wait(Box::new(outcome::waits(input, now, message, Some(wake_at))))
            }
            None => Shift::Set(weights),
        },
        Step::Set(weights) => {
            let entry = gate::may_enter(input, |id| rule.weights.contains_key(id), now);
            match stopped(input, entry, now) {
                Some(plan) => Shift::Stop(Box::new(plan)),
                None => raise(input, rule, wanted, weights, now),
            }
        }
    }
}

/// Until when the data path may still follow what the rule held before; `None`: it follows it now.
fn settles_at(input: &RouteInput, rule: &ObservedRule, now: Timestamp) -> Option<Timestamp> {
    let settle = input.capabilities.settle;
    if settle.is_zero() || is_planted(Planted::DetachedTooEarly) {
        return None;
    }
    let status = &input.previous;
    let seen = status.weights.iter().map(|weight| (&weight.id, &weight.weight)).collect::<Vec<_>>();
    let same =
        seen.len() == rule.weights.len() && seen.iter().all(|(id, weight)| rule.weights.get(*id) == Some(weight));
    let since = status.read_at.filter(|_| same).unwrap_or(now);
    since.checked_add(settle).ok().filter(|end| *end > now)
}

/// Weights whose raises pass the health gate.
fn raise(input: &RouteInput, rule: &ObservedRule, wanted: &Weights, weights: Weights, now: Timestamp) -> Shift {
    // Nothing is attached yet (the rule redirects, say): as for a new rule, health cannot be seen before.
    let floor = if rule.weights.is_empty() { Floor::Registered } else { Floor::Healthy };
    let raised = weights::raised(&rule.weights, &weights);
    let gate = gate::gate(input, &raised, floor, now);
    let attached = match &gate {
        // A group that no rule names has no health: it is attached at weight 0 first.
        Gate::Shut(_, ids) if ids.iter().any(|id| !rule.weights.contains_key(id)) => {
            weights::attach(&rule.weights, wanted, input.capabilities.max_groups)
        }
        _ => None,
    };
    let waits = matches!(gate, Gate::Shut(..));
    match (attached, stopped(input, gate, now)) {
        (Some(attached), _) => Shift::Set(attached),
        (None, None) => Shift::Set(weights),
        (None, Some(plan)) if waits => Shift::Wait(Box::new(plan)),
        (None, Some(plan)) => Shift::Stop(Box::new(plan)),
    }
}

/// The fingerprint of the state that a change of this rule leads to.
fn after(
    input: &RouteInput,
    rule: &ObservedRule,
    priority: i32,
    weights: Option<&Weights>,
    conditions: Option<&Conditions>,
    stickiness: Option<Sticky>,
) -> String {
    let sticky = input.intent.stickiness.map(|_| stickiness.unwrap_or(rule.stickiness));
    fingerprint(priority, conditions.unwrap_or(&rule.conditions), weights.unwrap_or(&rule.weights), sticky)
}
