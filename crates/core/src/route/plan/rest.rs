//! What to do when the router was not read: often nothing at all. A route at rest costs no call.

use jiff::Timestamp;
use okra_api::route::RouteOutcome;

use super::{
    RECHECK, RouteInput, RoutePlan,
    gate::{self, Floor, Gate, age},
    outcome,
};
use crate::route::Lane;

pub(super) fn plan(input: &RouteInput, now: Timestamp) -> RoutePlan {
    let Some(look) = input.last_look.filter(|_| input.same_generation()) else {
        // The reading before a change goes with the change, behind the changes of its lane: for a wave of changes that
        // wait for AWS's rate, readings that went before them would use up what they wait for.
        let lane = if input.way_back == Some(true) { Lane::Rollback } else { Lane::Promote };
        return outcome::observe(input, lane);
    };
    match input.previous.outcome {
        Some(RouteOutcome::Verified) => verified(input, look, now),
        Some(RouteOutcome::Refused | RouteOutcome::Foreign) if age(look, now) < RECHECK => {
            outcome::unchanged(input, look.checked_add(RECHECK).ok())
        }
        Some(RouteOutcome::Refused | RouteOutcome::Foreign) => outcome::observe(input, Lane::Drift),
        Some(RouteOutcome::NotYet) if !input.waits_for.is_empty() && age(look, now) < input.drift_interval => {
            waiting(input, now)
        }
        Some(RouteOutcome::NotYet) | None => outcome::observe(input, Lane::Verify),
    }
}

/// The rule held the intent at the last look.
fn verified(input: &RouteInput, look: Timestamp, now: Timestamp) -> RoutePlan {
    if age(look, now) >= input.drift_interval {
        return outcome::observe(input, Lane::Drift);
    }
    let polls = gate::polls(input, now);
    if !polls.is_empty() {
        // Looks again and again at those who are not healthy yet must not go before the changes of those who are.
        return outcome::ask(input, polls, Lane::Promote);
    }
    outcome::resting(input, look, now)
}

/// Only health was missing at the last look: no need to read the rule before it is there.
fn waiting(input: &RouteInput, now: Timestamp) -> RoutePlan {
    // As at that look: where nothing was attached, health could not be seen.
    let floor = if input.previous.weights.is_empty() { Floor::Registered } else { Floor::Healthy };
    match gate::gate(input, &input.waits_for, floor, now) {
        Gate::Ask(ids) if input.way_back == Some(true) => outcome::ask(input, ids, Lane::Rollback),
        Gate::Ask(ids) => outcome::ask(input, ids, Lane::Promote),
        Gate::Shut(message, ids) => outcome::waits_for_health(input, now, message, ids),
        Gate::Open | Gate::Gone(_) => outcome::observe(input, Lane::Verify),
    }
}
