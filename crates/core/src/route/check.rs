//! The invariants of safety.md over a plan: a second look at the one change, by other means than the plan's own.

use jiff::Timestamp;
use okra_api::condition::reason;

use crate::planted::{Planted, is_planted};

use super::{
    Change, Intent, Observed, ObservedRule, RouteInput, RoutePlan,
    plan::{Failure, age, failed, may_adopt},
    weights::{self, Weights},
};

/// Gives the plan back when its change breaks none of S1, S2, S3, S11 and S12; else a plan that changes nothing and
/// says which was broken. A breach is a fault of Okra's own.
#[must_use]
pub fn check(input: &RouteInput, plan: RoutePlan, now: Timestamp) -> RoutePlan {
    let Some(change) = &plan.change else { return plan };
    let Err(breach) = judge(input, change, now) else { return plan };
    let message = format!("a plan broke an invariant and was not carried out ({breach}): {}; report this", plan.report);
    let refused = Failure::Refused(reason::INVARIANT_BREACH);
    RoutePlan {
        observe: false,
        read_health: Vec::new(),
        change: None,
        record_first: false,
        status: failed(&input.previous, input.generation, refused, message.clone(), now),
        warning: Some(message.clone()),
        report: message,
        waits_for: Vec::new(),
        release: false,
        wake_at: now.checked_add(super::plan::RECHECK).ok(),
        ..plan
    }
}

fn judge(input: &RouteInput, change: &Change, now: Timestamp) -> Result<(), String> {
    let observed = input.observed.as_ref().ok_or("S10: nothing was read before the write")?;
    owned(&input.intent, observed, change)?;
    let Some(after) = change.weights() else { return Ok(()) };
    legal(input, after)?;
    let empty = Weights::new();
    let before = observed.ours.as_ref().map_or(&empty, |rule| &rule.weights);
    healthy(input, before, after, now)?;
    removals(input, observed, before, after)
}

/// S1 and S2.
fn legal(input: &RouteInput, after: &Weights) -> Result<(), String> {
    let capabilities = &input.capabilities;
    if let Some((id, weight)) = after.iter().find(|(_, weight)| !(0..=capabilities.max_weight).contains(*weight)) {
        return Err(format!("S1: weight {weight} of {id}"));
    }
    if !weights::any_serves(after) {
        return Err("S1: all weights are 0".into());
    }
    if after.len() > capabilities.max_groups {
        return Err(format!("S2: {} target groups", after.len()));
    }
    Ok(())
}

/// S3.
fn healthy(input: &RouteInput, before: &Weights, after: &Weights, now: Timestamp) -> Result<(), String> {
    if !input.capabilities.sees_health || is_planted(Planted::HealthFloorIgnored) {
        return Ok(());
    }
    for id in weights::raised(before, after) {
        let floor = input.intent.groups.iter().find(|group| group.id == id).and_then(|group| group.min_healthy);
        let Some(need) = floor.filter(|need| *need > 0) else { continue };
        let fresh = input.health.get(&id).filter(|reading| age(reading.at, now) < input.health_counts_for());
        let good = fresh.is_some_and(|reading| {
            let health = reading.health;
            !health.gone && if before.is_empty() { health.total > 0 } else { health.healthy >= need }
        });
        if !good {
            return Err(format!("S3: raises {id} below its health floor of {need}"));
        }
    }
    Ok(())
}

/// S11.
fn owned(intent: &Intent, observed: &Observed, change: &Change) -> Result<(), String> {
    let ours = |rule: &String| {
        let own = observed.ours.as_ref().is_some_and(|own| own.id == *rule && intent.owns(own));
        if own { Ok(()) } else { Err(format!("S11: {rule} does not carry the tags of {}", intent.owner)) }
    };
    match change {
        Change::Create { .. } if observed.in_the_way.is_some() || observed.ours.is_some() => {
            Err("S11: there is a rule already".into())
        }
        Change::Create { .. } => Ok(()),
        Change::Modify { rule, .. } | Change::Remove { rule } => ours(rule),
        Change::Move { rule } if observed.in_the_way.is_none() => ours(rule),
        Change::Move { .. } => Err("S11: the priority is taken".into()),
        Change::Adopt { rule } => {
            let candidates: [Option<&ObservedRule>; 2] = [observed.in_the_way.as_ref(), observed.ours.as_ref()];
            let free = candidates.into_iter().flatten().any(|other| {
                other.id == *rule
                    && may_adopt(&intent.adopt, other)
                    && other.owner_tag.as_deref() != Some(intent.installation.as_str())
            });
            if free { Ok(()) } else { Err(format!("S11: {rule} may not be adopted")) }
        }
    }
}

/// S12.
fn removals(input: &RouteInput, observed: &Observed, before: &Weights, after: &Weights) -> Result<(), String> {
    let removed = weights::removed(before, after);
    if removed.is_empty() || weights::raised(before, after).is_empty() {
        return Ok(());
    }
    let sticky = input.intent.stickiness.is_some_and(|sticky| sticky.enabled)
        || observed.ours.as_ref().is_some_and(|rule| rule.stickiness.enabled);
    if sticky && weights::is_rollback(before, after) {
        return Ok(());
    }
    Err(format!("S12: removes {} in the call that raises others", removed.join(", ")))
}
