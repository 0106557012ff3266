//! The invariants of `safety.md` over a plan. A breach refuses the plan and says so; nothing is "fixed up".

use std::collections::BTreeMap;

use okra_api::cell_status::RolloutOutcome;

use super::{
    observed::{DesiredRoute, ObservedCell},
    plan::{Action, Plan},
    steps::{self, share_at},
    weights::share_of,
};
use crate::version::{self, Version};

/// An invariant that a plan would break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Its number in `safety.md`.
    pub invariant: &'static str,
    /// What the plan would do.
    pub message: String,
}

/// Every invariant that the plan would break.
pub fn check(observed: &ObservedCell, plan: &Plan) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let routes: Vec<&DesiredRoute> = plan
        .actions
        .iter()
        .filter_map(|action| if let Action::WriteRoute { desired, .. } = action { Some(&**desired) } else { None })
        .collect();
    if routes.len() > 1 {
        breaches.push(Breach { invariant: "S12", message: "two traffic actions in one plan".to_owned() });
    }
    for route in routes.into_iter().filter(|route| !route.groups.is_empty()) {
        breaches.extend(check_action(observed, route));
        breaches.extend(check_shares(observed, plan, route));
    }
    breaches
}

/// S1, S2: what any action must look like.
fn check_action(observed: &ObservedCell, route: &DesiredRoute) -> Vec<Breach> {
    let Some(router) = &observed.router else { return Vec::new() };
    let mut breaches = Vec::new();
    let outside = route.groups.iter().find(|group| group.weight < 0 || group.weight > router.max_weight);
    if let Some(group) = outside {
        breaches.push(Breach { invariant: "S1", message: format!("weight {} for {}", group.weight, group.name) });
    }
    if route.groups.iter().all(|group| group.weight == 0) {
        breaches.push(Breach { invariant: "S1", message: "all weights are zero".to_owned() });
    }
    if route.groups.len() > router.max_groups {
        breaches.push(Breach { invariant: "S2", message: format!("{} groups in one action", route.groups.len()) });
    }
    breaches
}

/// S4 to S7: who may have how much.
fn check_shares(observed: &ObservedCell, plan: &Plan, route: &DesiredRoute) -> Vec<Breach> {
    // What a group had whose version nobody knows any more may go to any.
    let (before, lost) = observed.route.as_ref().map(|route| shares(observed, &route.desired)).unwrap_or_default();
    let lost = if before.is_empty() { 0 } else { lost };
    let (after, _) = shares(observed, route);
    // Shares are rounded down, each group's for itself.
    let groups = observed.route.as_ref().map_or(0, |route| route.desired.groups.len());
    let rounding = i64::try_from(groups).unwrap_or(i64::MAX);
    let raised = |version: &Version| {
        let had = before.get(version).copied().unwrap_or(0);
        after.get(version).copied().unwrap_or(0) > had.saturating_add(lost).saturating_add(rounding)
    };
    let status = &plan.status;
    let rollout = status.rollout.as_ref().filter(|rollout| rollout.finished_at.is_none());
    let canary = rollout.and_then(|rollout| version::parse(&rollout.version).ok());
    let stable = status.stable_version.as_deref().and_then(|text| version::parse(text).ok());
    let pinned = observed.cell.spec.version.as_deref().and_then(|text| version::parse(text).ok());
    let mut breaches = Vec::new();
    for item in &observed.blocked {
        let Ok(blocked) = version::parse(&item.version) else { continue };
        let unblocked = plan.actions.iter().any(|action| {
            matches!(action, Action::Unblock { version } if version::parse(version).is_ok_and(|v| v == blocked))
        });
        // The version that serves takes back what another one had, blocked or not: traffic must go somewhere.
        let serves = stable.as_ref() == Some(&blocked);
        if raised(&blocked) && !unblocked && !serves && pinned.as_ref() != Some(&blocked) {
            breaches.push(Breach { invariant: "S6", message: format!("{blocked} is blocked and would get more") });
        }
    }
    if let (Some(rollout), Some(canary)) = (rollout, canary)
        && status.accepted_weights.is_empty()
        && status.stable_version.is_some()
    {
        let due = match rollout.outcome {
            None => share_at(&steps::of_rollout(rollout), usize::try_from(rollout.current_step_index).unwrap_or(0)),
            Some(RolloutOutcome::Succeeded) => 100,
            Some(_) => 0,
        };
        let share = after.get(&canary).copied().unwrap_or(0);
        if share > i64::from(due) * 10_000 && raised(&canary) {
            breaches.push(Breach { invariant: "S4", message: format!("{canary} would get more than {due} %") });
        }
        if status.hold.is_some() && raised(&canary) {
            breaches.push(Breach { invariant: "S7", message: format!("{canary} would get more while it is held") });
        }
    }
    breaches
}

/// Version to share, and the share of groups whose version nobody knows, in parts of a million.
fn shares(observed: &ObservedCell, route: &DesiredRoute) -> (BTreeMap<Version, i64>, i64) {
    let weights = route.weights();
    let (mut shares, mut lost) = (BTreeMap::new(), 0_i64);
    let Some(status) = observed.cell.status.as_ref() else { return (shares, lost) };
    let selector = status
        .rollout
        .as_ref()
        .filter(|rollout| rollout.finished_at.is_none())
        .map(|rollout| &rollout.selector)
        .or_else(|| selector(observed));
    let Some(selector) = selector else { return (shares, lost) };
    for group in route.groups.iter().filter(|group| group.weight > 0) {
        let object = observed.groups.iter().find(|object| object.name == group.name);
        let label = object.and_then(|object| selector.version_labels().find_map(|label| object.labels.get(label)));
        let told = || status.target_groups.iter().find(|told| told.name == group.name).map(|told| &told.version);
        let share = share_of(&weights, &group.name);
        match label.or_else(told).and_then(|label| version::parse(label).ok()) {
            Some(version) => *shares.entry(version).or_insert(0) += share,
            None => lost = lost.saturating_add(share),
        }
    }
    (shares, lost)
}

fn selector(observed: &ObservedCell) -> Option<&okra_api::TargetGroupSelector> {
    let ingress = &observed.cell.spec.ingress;
    ingress
        .aws_application_load_balancer
        .as_ref()
        .map(|alb| &alb.target_group_selector)
        .or_else(|| ingress.local.as_ref().map(|local| &local.target_group_selector))
}
