//! A route without target groups: the rule is looked at and nothing is written. A Cell asks for this before its
//! first deployment: there may be a rule with traffic on it.

use jiff::Timestamp;
use okra_api::condition::reason;

use super::{
    RouteInput, RoutePlan, outcome, rest,
    rule::{may_adopt, not_ours, taken},
};

pub(super) fn plan(input: &RouteInput, now: Timestamp) -> RoutePlan {
    let Some(observed) = &input.observed else { return rest::plan(input, now) };
    let intent = &input.intent;
    if let Some(rule) = observed.ours.as_ref().filter(|rule| intent.owns(rule)) {
        return outcome::verified(input, rule, now);
    }
    match observed.in_the_way.as_ref().or(observed.ours.as_ref()) {
        None => outcome::absent(input, now),
        Some(rule) if may_adopt(&intent.adopt, rule) => outcome::verified(input, rule, now),
        Some(rule) if rule.owner_tag.as_deref() == Some(intent.installation.as_str()) => {
            outcome::refused(input, now, reason::RULE_TAKEN, taken(rule))
        }
        Some(rule) => outcome::refused(input, now, reason::FOREIGN_RULE, not_ours(rule)),
    }
}
