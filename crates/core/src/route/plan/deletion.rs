//! What becomes of the rule when its object is deleted.

use jiff::Timestamp;
use okra_api::{
    condition::reason,
    route::{DeletionPolicy, RouteOutcome},
};

use super::{DELETION_PATIENCE, RouteInput, RoutePlan, SOON, outcome};
use crate::route::{Change, Lane};

pub(super) fn plan(input: &RouteInput, since: Timestamp, now: Timestamp) -> RoutePlan {
    if input.deletion_policy == DeletionPolicy::Retain {
        return release(input, "the rule stays, as deletionPolicy says".into(), None);
    }
    let deadline = since.checked_add(DELETION_PATIENCE).unwrap_or(Timestamp::MAX);
    if let Some(failure) = &input.failure {
        return failing(input, failure, deadline, now);
    }
    let Some(observed) = &input.observed else { return outcome::observe(input, Lane::Verify) };
    let Some(rule) = observed.ours.as_ref().filter(|rule| input.intent.owns(rule)) else {
        return release(input, "no rule of this object is left".into(), None);
    };
    let change = Change::Remove { rule: rule.id.clone() };
    if input.sent.as_ref().is_some_and(|sent| sent.change == change) && now >= deadline {
        return failing(input, "the router took its removal and still shows it", deadline, now);
    }
    outcome::change(input, now, change, Lane::Promote, String::new())
}

fn failing(input: &RouteInput, failure: &str, deadline: Timestamp, now: Timestamp) -> RoutePlan {
    let rule = input.previous.rule_arn.as_deref().unwrap_or("of this object");
    if now >= deadline {
        let warning =
            format!("rule {rule} was not removed and stays on the load balancer: {failure}; remove it by hand");
        return release(input, warning.clone(), Some(warning));
    }
    let message = format!("rule {rule} is not removed yet: {failure}");
    let wake_at = now.checked_add(SOON).map_or(deadline, |soon| soon.min(deadline));
    let failure = outcome::Failure::NotYet(reason::UNREACHABLE);
    let status = outcome::failed(&input.previous, input.generation, failure, message.clone(), now);
    debug_assert_ne!(status.outcome, Some(RouteOutcome::Verified));
    RoutePlan { status, report: message, ..outcome::unchanged(input, Some(wake_at)) }
}

fn release(input: &RouteInput, report: String, warning: Option<String>) -> RoutePlan {
    RoutePlan { release: true, report, warning, ..outcome::unchanged(input, None) }
}
