//! What a plan says of weights and rules, and the fingerprints of what it saw.

use std::collections::BTreeMap;

use super::RouteInput;
use crate::route::{Change, Conditions, ObservedRule, Sticky, fingerprint};

/// The fingerprint of a rule. Stickiness counts when the intent sets it.
pub(super) fn fingerprint_of(input: &RouteInput, rule: &ObservedRule) -> String {
    let sticky = input.intent.stickiness.map(|_| rule.stickiness);
    fingerprint(rule.priority, &rule.conditions, &rule.weights, sticky)
}

/// Whether the rule holds a state that this object knows as its own: what was verified last, an intent that it sent
/// or recorded to send, or a foreign state that a person lets it overwrite.
///
/// When the intent begins to set stickiness, what was noted last was noted without it, and counts; what was noted
/// longer ago does not, or an edit of the stickiness alone would be taken for our own.
pub(super) fn is_known(input: &RouteInput, rule: &ObservedRule) -> bool {
    let print = |sticky| fingerprint(rule.priority, &rule.conditions, &rule.weights, sticky);
    let status = &input.previous;
    let always = || status.verified.iter().chain(&input.overwrite);
    let former = input.former_intents.as_deref().unwrap_or_default();
    let (with, without) = (print(Some(rule.stickiness)), print(None));
    let last = status.recent_intents.last().into_iter().chain(former.last()).chain(always());
    let mut all = status.recent_intents.iter().chain(former).chain(always());
    last.into_iter().any(|known| *known == without)
        || match input.intent.stickiness {
            Some(_) => all.any(|known| *known == with),
            None => all.any(|known| *known == with || *known == without),
        }
}

/// What a change does.
pub(super) fn change(input: &RouteInput, change: &Change) -> String {
    let priority = input.intent.place.priority();
    let held = input.observed.as_ref().and_then(|observed| observed.ours.as_ref()).map(|rule| &rule.weights);
    match change {
        Change::Create { weights, .. } => format!("creates the rule: {}", shift(input, &BTreeMap::new(), weights)),
        Change::Modify { weights, conditions, stickiness, .. } => {
            let empty = BTreeMap::new();
            let shift = weights.as_ref().map(|weights| shift(input, held.unwrap_or(&empty), weights));
            let conditions =
                conditions.as_ref().map(|conditions| format!("conditions {}", conditions_words(conditions)));
            let sticky = stickiness.map(|sticky| format!("stickiness {}", sticky_words(sticky)));
            let parts: Vec<String> = [shift, conditions, sticky].into_iter().flatten().collect();
            format!("sets {}", parts.join("; "))
        }
        Change::Move { rule } => format!("moves the rule to priority {priority}: {rule}"),
        Change::Adopt { rule } => format!("adopts the rule at priority {priority}: {rule}"),
        Change::Remove { rule } => format!("removes the rule: {rule}"),
    }
}

/// `web-1 80 -> 60, web-2 attached at 40, web-0 detached`.
fn shift(input: &RouteInput, before: &BTreeMap<String, i32>, after: &BTreeMap<String, i32>) -> String {
    let row = |id: &String| {
        let name = input.name_of(id);
        match (before.get(id), after.get(id)) {
            (Some(old), Some(new)) if old == new => None,
            (Some(old), Some(new)) => Some(format!("{name} {old} -> {new}")),
            (None, Some(new)) => Some(format!("{name} attached at {new}")),
            (_, None) => Some(format!("{name} detached")),
        }
    };
    let added = after.keys().filter(|id| !before.contains_key(*id));
    let rows: Vec<String> = before.keys().chain(added).filter_map(row).collect();
    rows.join(", ")
}

/// How a rule differs from the intent.
pub(super) fn difference(input: &RouteInput, rule: &ObservedRule) -> String {
    let intent = &input.intent;
    let (priority, conditions) = (intent.place.priority(), intent.place.conditions().canonical());
    let mut parts = Vec::new();
    if rule.priority != priority {
        parts.push(format!("priority is {}, should be {priority}", rule.priority));
    }
    let wanted = intent.weights();
    let row = |id: &String| {
        let name = input.name_of(id);
        match (rule.weights.get(id), wanted.get(id)) {
            (Some(is), Some(should)) if is == should => None,
            (Some(is), Some(should)) => Some(format!("weight of {name} is {is}, should be {should}")),
            (Some(is), None) => Some(format!("{name} is attached with weight {is}, should not be")),
            (None, Some(should)) => Some(format!("{name} is not attached, should be with weight {should}")),
            (None, None) => None,
        }
    };
    let missing = wanted.keys().filter(|id| !rule.weights.contains_key(*id));
    parts.extend(rule.weights.keys().chain(missing).filter_map(row));
    let held = rule.conditions.clone().canonical();
    if held != conditions {
        parts.push(format!("conditions are {}, should be {}", conditions_words(&held), conditions_words(&conditions)));
    }
    if let Some(sticky) = intent.stickiness.filter(|sticky| sticky.normal() != rule.stickiness.normal()) {
        parts.push(format!("stickiness is {}, should be {}", sticky_words(rule.stickiness), sticky_words(sticky)));
    }
    parts.join(", ")
}

fn sticky_words(sticky: Sticky) -> String {
    if sticky.enabled { format!("on for {} s", sticky.seconds) } else { "off".to_owned() }
}

fn conditions_words(conditions: &Conditions) -> String {
    let list = |name: &str, values: &[String]| (!values.is_empty()).then(|| format!("{name} {}", values.join(" or ")));
    let headers =
        conditions.headers.iter().map(|(name, values)| Some(format!("header {name}: {}", values.join(" or "))));
    let queries = conditions.query_strings.iter().map(|(key, value)| Some(format!("query {key}={value}")));
    let lists = [
        list("host", &conditions.hosts),
        list("path", &conditions.path_patterns),
        list("method", &conditions.methods),
        list("source", &conditions.source_ips),
        list("other", &conditions.other),
    ];
    let parts: Vec<String> = lists.into_iter().chain(headers).chain(queries).flatten().collect();
    if parts.is_empty() { "none".to_owned() } else { format!("({})", parts.join(" and ")) }
}
