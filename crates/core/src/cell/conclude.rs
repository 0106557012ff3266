//! What the Cell says of itself: phase, message, conditions, target groups.

use jiff::Timestamp;
use okra_api::{
    Cell, RouteOutcome,
    cell_status::{CellPhase, RolloutOutcome, RolloutStatus, TargetGroupState},
    condition::{self, NewCondition, reason},
};

use crate::field::FieldError;

use super::{
    bounds,
    check::Breach,
    observed::{DesiredRoute, ObservedCell},
    plan::{self, Action, Note, Plan, PlanReport, Planner},
};

/// So many target groups are told in a status.
const TARGET_GROUPS: usize = 128;
/// So many target groups that are left out are named.
const LEFT_OUT: usize = 20;

/// What condition `TrafficVerified` says until the load balancer has answered.
const UNANSWERED: &str = "the load balancer has not answered with the weights that are asked for";

/// The plan for a Cell that cannot be acted on: nothing moves, and the Cell says why.
pub(super) fn invalid(observed: &ObservedCell, errors: &[FieldError], now: Timestamp) -> Plan {
    cannot_act(&observed.cell, condition::VALID, reason::INVALID_SPEC, FieldError::join(errors), now)
}

/// The plan for a Cell whose router is not there.
pub(super) fn unsupported(observed: &ObservedCell, now: Timestamp) -> Plan {
    let type_ = observed.cell.spec.ingress.type_;
    let text = format!(
        "spec.ingress.type: there is no router for {type_:?} here: Local needs the directory store (--store dir:PATH), \
         AWSApplicationLoadBalancer is there on both stores"
    );
    cannot_act(&observed.cell, condition::VALID, reason::UNSUPPORTED_INGRESS, text, now)
}

/// The plan for a Cell whose surroundings cannot be acted on (an object in the way, one that cannot be read): nothing
/// moves, and the Cell says why.
pub fn refuse(cell: &Cell, why: String, now: Timestamp) -> Plan {
    cannot_act(cell, condition::VALID, reason::MALFORMED, why, now)
}

fn cannot_act(cell: &Cell, type_: &str, why: &'static str, text: String, now: Timestamp) -> Plan {
    let mut status = cell.status.clone().unwrap_or_default();
    let generation = cell.metadata.generation;
    let changed = status.message != text;
    status.observed_generation = generation;
    status.phase = Some(CellPhase::Degraded);
    status.message.clone_from(&text);
    for (type_, value) in [(type_, false), (condition::READY, false), (condition::DEGRADED, true)] {
        let new = NewCondition { type_, status: Some(value), reason: why, message: text.clone() };
        condition::set(&mut status.conditions, now, generation, new);
    }
    let notes = if changed { vec![Note { warning: true, reason: why, message: text.clone() }] } else { Vec::new() };
    bounds::fit(&mut status);
    let report = PlanReport { headline: text.clone(), waits: vec![text] };
    Plan { actions: Vec::new(), status, report, notes, wake_at: None }
}

/// A plan that broke an invariant: nothing of it is carried out.
pub(super) fn breached(observed: &ObservedCell, plan: Plan, breaches: &[Breach], now: Timestamp) -> Plan {
    let text: Vec<String> = breaches.iter().map(|breach| format!("{}: {}", breach.invariant, breach.message)).collect();
    let text = format!("a plan was refused because it broke an invariant, please report it: {}", text.join("; "));
    drop(plan);
    cannot_act(&observed.cell, condition::READY, reason::INVARIANT_BREACH, text, now)
}

impl Planner<'_> {
    /// Puts the plan together.
    pub fn conclude(mut self) -> Plan {
        self.status.observed_generation = self.observed.cell.metadata.generation;
        self.status.desired_version =
            self.moving().map(|rollout| rollout.version.clone()).or_else(|| self.status.stable_version.clone());
        self.status.blocked_versions = {
            let mut blocked = self.blocked.clone();
            blocked.sort();
            blocked.dedup();
            blocked.iter().map(ToString::to_string).collect()
        };
        self.note_foreign_edit();
        self.note_refusal();
        self.wait_for_rebalancing();
        let overdue = self.is_overdue();
        self.status.phase = Some(self.phase(overdue));
        let headline = self.headline();
        let held_back = self.held_back_words();
        self.status.message = match self.waits.first() {
            Some(wait) => wait.text.clone(),
            None => std::iter::once(headline.clone()).chain(held_back.clone()).collect::<Vec<_>>().join("; "),
        };
        self.status.target_groups = self.target_group_states();
        self.set_conditions(overdue);
        bounds::fit(&mut self.status);
        let waits = self.waits.iter().map(|wait| wait.text.clone()).chain(held_back).collect();
        let report = PlanReport { headline, waits };
        Plan { actions: self.actions, status: self.status, report, notes: self.notes, wake_at: self.wake_at }
    }

    /// Which versions could come if their clusters were ready, and what those lack; the highest first.
    fn held_back_words(&self) -> Vec<String> {
        let may = self.held_back.iter().rev().filter(|(version, _)| !self.is_blocked(version));
        may.map(|(version, groups)| format!("{version} waits for its clusters: {}", named(groups))).collect()
    }

    /// Whether this plan asks the router for something new.
    fn writes_route(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::WriteRoute { .. }))
    }

    /// At rest too the weights are only right once the load balancer said so.
    fn wait_for_rebalancing(&mut self) {
        let pending = self.writes_route() || self.route().is_some_and(|route| !route.is_verified());
        let said = self.waits.iter().any(|wait| wait.reason == reason::WAITING_FOR_ROUTE);
        let rests = self.stable().is_some() && self.rollout().is_none() && self.status.hold.is_none();
        if pending && rests && !said {
            self.wait_for_route();
        }
    }

    fn is_foreign(&self) -> bool {
        self.route().is_some_and(|route| route.outcome() == Some(RouteOutcome::Foreign)) && self.overwrite.is_none()
    }

    fn note_foreign_edit(&mut self) {
        if !self.is_foreign() {
            return;
        }
        let difference =
            self.route().and_then(|route| route.status.foreign.as_ref()).map(|foreign| foreign.difference.clone());
        let text = format!(
            "somebody else changed the rule ({}): okractl resume --accept-weights keeps it, okractl resume --restore writes it back",
            difference.unwrap_or_default()
        );
        let wait = super::plan::Wait { reason: reason::FOREIGN_EDIT, text, deadline: false };
        self.waits.insert(0, wait);
    }

    /// A refusal is the first thing to know, whatever else is waited for: a pause, say.
    fn note_refusal(&mut self) {
        let route = self.route().filter(|route| route.outcome() == Some(RouteOutcome::Refused) && !self.writes_route());
        let Some(text) = route.map(|route| route.status.message.clone()) else { return };
        self.waits.retain(|wait| wait.text != text);
        self.waits.insert(0, super::plan::Wait { reason: reason::REFUSED, text, deadline: true });
    }

    /// Keeps the time since when machines are waited for, and tells whether it is over the deadline.
    fn is_overdue(&mut self) -> bool {
        if !self.waits.iter().any(|wait| wait.deadline) {
            self.status.waiting_since = None;
            return false;
        }
        let since = *self.status.waiting_since.get_or_insert(self.now);
        let deadline = self.spec.progress_deadline;
        if self.now.duration_since(since) >= deadline {
            return true;
        }
        if let Ok(at) = since.checked_add(deadline) {
            self.wake(at);
        }
        false
    }

    fn phase(&self, overdue: bool) -> CellPhase {
        let degraded = [
            reason::NO_TARGET_GROUPS,
            reason::CAPACITY_EXCEEDED,
            reason::REFUSED,
            reason::FOREIGN_RULE,
            reason::RULE_TAKEN,
            reason::INVALID_SPEC,
            reason::INVARIANT_BREACH,
            reason::UNSUPPORTED_INGRESS,
            reason::NOTHING_HEALTHY,
        ];
        // A foreign edit holds the way back, too: that is nothing that ends by itself.
        if self.is_winding_back() && !self.is_foreign() {
            CellPhase::RollingBack
        } else if overdue || self.waits.iter().any(|wait| degraded.contains(&wait.reason)) {
            CellPhase::Degraded
        } else if self.is_paused() {
            CellPhase::Paused
        } else if self.is_rollback() {
            CellPhase::RollingBack
        } else if self.moving().is_some() || self.waits.iter().any(|wait| wait.reason == reason::WAITING_FOR_ROUTE) {
            CellPhase::Progressing
        } else if self.stable().is_none() {
            CellPhase::Pending
        } else if self.failed().is_some() {
            CellPhase::Failed
        } else {
            CellPhase::Healthy
        }
    }

    /// The last rollout, where it is over and its version was taken back.
    fn failed(&self) -> Option<&RolloutStatus> {
        let last = self.status.rollout.as_ref().filter(|rollout| rollout.finished_at.is_some())?;
        matches!(last.outcome, Some(RolloutOutcome::Failed | RolloutOutcome::Aborted)).then_some(last)
    }

    fn is_paused(&self) -> bool {
        let in_pause_step = self.moving().is_some() && self.waits.iter().any(|wait| wait.reason == reason::PAUSE_STEP);
        let suspended = self.moving().is_some() && self.spec.suspend;
        self.status.hold.is_some() || self.is_foreign() || in_pause_step || suspended
    }

    fn headline(&self) -> String {
        match (self.rollout(), &self.status.stable_version) {
            (Some(rollout), stable) if rollout.outcome.is_none() => {
                let from = stable.as_ref().map(|stable| format!(" from {stable}")).unwrap_or_default();
                format!("rolls out {}{from}: {}, {} % of the traffic", rollout.version, self.step_words(), self.share)
            }
            (Some(rollout), Some(stable)) => {
                format!("takes the traffic of {} back to {stable}: {}", rollout.version, rollout.reason)
            }
            (_, Some(stable)) => match self.failed() {
                Some(failed) => format!("{} was taken back: {}; {stable} serves", failed.version, failed.reason),
                None => format!("{stable} serves"),
            },
            (_, None) => "nothing serves yet".to_owned(),
        }
    }

    /// The route as it will be asked for.
    fn asked(&self) -> Option<&DesiredRoute> {
        let written = self
            .actions
            .iter()
            .find_map(|action| if let Action::WriteRoute { desired, .. } = action { Some(&**desired) } else { None });
        written.or_else(|| self.route().map(|route| &route.desired))
    }

    fn target_group_states(&self) -> Vec<TargetGroupState> {
        let asked = self.asked();
        let at_start = self.status.rollout.as_ref().map(|rollout| &rollout.healthy_at_start);
        let state = |group: &super::VersionedGroup| {
            let health = self.route().and_then(|route| route.health(&group.name));
            TargetGroupState {
                name: group.name.clone(),
                version: group.version.to_string(),
                weight: self.route().and_then(|route| {
                    route.status.weights.iter().find(|weight| weight.id == group.id).map(|weight| weight.weight)
                }),
                desired_weight: asked.and_then(|route| route.weight(&group.name)),
                healthy_targets: health.map(|health| health.healthy),
                total_targets: health.map(|health| health.total),
                healthy_at_start: at_start.and_then(|counts| counts.get(&group.name)).copied(),
                read_at: health.map(|health| health.read_at),
            }
        };
        // Where there are too many for the status, those that the rule holds are told.
        let is_attached =
            |group: &&super::VersionedGroup| asked.is_some_and(|route| route.weight(&group.name).is_some());
        let (mut told, others): (Vec<_>, Vec<_>) = self.grouping.all().partition(is_attached);
        told.extend(others);
        told.truncate(TARGET_GROUPS);
        told.sort_by(|a, b| (&a.version, &a.name).cmp(&(&b.version, &b.name)));
        told.into_iter().map(state).collect()
    }

    fn set_conditions(&mut self, overdue: bool) {
        let phase = self.status.phase;
        let text = self.status.message.clone();
        let waits = self.waits.first().map(|wait| wait.reason);
        let writes = self.writes_route();
        let settled = !writes && self.route().is_some_and(super::ObservedRoute::is_verified);
        let rested = if phase == Some(CellPhase::Failed) { reason::ROLLOUT_FAILED } else { reason::AS_DESIRED };
        let ready = settled && matches!(phase, Some(CellPhase::Healthy | CellPhase::Failed));
        self.set(condition::READY, ready, rested, waits.unwrap_or(reason::ROLLING_OUT), text.clone());
        let (back, forth) = (phase == Some(CellPhase::RollingBack), phase == Some(CellPhase::Progressing));
        let moves = if back { reason::ROLLING_BACK } else { reason::ROLLING_OUT };
        self.set(condition::PROGRESSING, back || forth, moves, waits.unwrap_or(reason::AS_DESIRED), text.clone());
        let paused = phase == Some(CellPhase::Paused);
        let only_if = |holds: bool| if holds { text.clone() } else { String::new() };
        self.set(condition::PAUSED, paused, waits.unwrap_or(reason::PAUSE_STEP), reason::AS_DESIRED, only_if(paused));
        let degraded = phase == Some(CellPhase::Degraded);
        let late = if overdue { Some(reason::PROGRESS_DEADLINE_EXCEEDED) } else { waits };
        let why = late.unwrap_or(reason::AS_DESIRED);
        self.set(condition::DEGRADED, degraded, why, reason::AS_DESIRED, only_if(degraded));
        let left_out = self.left_out();
        let all = left_out.is_empty();
        self.set(condition::VALID, all, reason::AS_DESIRED, reason::INVALID_TARGET_GROUPS, left_out);
        // What is about to be asked for is not answered: said now, it needs no write of its own afterwards.
        let (verified, text) = if writes { (Some(false), UNANSWERED.to_owned()) } else { self.traffic_verified() };
        let unverified = waits.unwrap_or(reason::WAITING_FOR_ROUTE);
        self.set(condition::TRAFFIC_VERIFIED, verified, reason::AS_DESIRED, unverified, text);
        let (ready, why, text) = self.rollback_ready();
        self.set(condition::ROLLBACK_READY, ready, why, why, text);
    }

    fn left_out(&self) -> String {
        let all = &self.grouping.left_out;
        let told = all.iter().take(LEFT_OUT).map(String::as_str).collect::<Vec<_>>().join("; ");
        match all.len().saturating_sub(LEFT_OUT) {
            0 => told,
            more => format!("{told}; and {more} more"),
        }
    }

    /// Sets one condition: `holds` or not (`None`: unknown), with the reason for either case.
    fn set(
        &mut self,
        type_: &str,
        holds: impl Into<Option<bool>>,
        if_true: &'static str,
        if_not: &'static str,
        message: String,
    ) {
        let status = holds.into();
        let reason = if status == Some(true) { if_true } else { if_not };
        let generation = self.observed.cell.metadata.generation;
        let new = NewCondition { type_, status, reason, message };
        condition::set(&mut self.status.conditions, self.now, generation, new);
    }

    fn traffic_verified(&self) -> (Option<bool>, String) {
        let Some(route) = self.route() else { return (None, "there is no rule yet".to_owned()) };
        match route.outcome() {
            Some(RouteOutcome::Verified) if !route.desired.groups.is_empty() => {
                (Some(true), "the load balancer answered with the weights that are asked for".to_owned())
            }
            Some(RouteOutcome::NotYet) if !plan::waits_for_health(route) => (Some(false), UNANSWERED.to_owned()),
            Some(outcome) if !route.status.message.is_empty() => {
                (Some(false), format!("{outcome:?}: {}", route.status.message))
            }
            _ => (Some(false), UNANSWERED.to_owned()),
        }
    }

    /// Whether the version before could take the traffic back now.
    fn rollback_ready(&self) -> (Option<bool>, &'static str, String) {
        let Some(rollout) = self.status.rollout.as_ref() else {
            return (Some(false), reason::NO_PREVIOUS_VERSION, "there was no version before".to_owned());
        };
        let before = rollout.previous_version.as_deref().and_then(|text| crate::version::parse(text).ok());
        let Some(before) = before else {
            return (Some(false), reason::NO_PREVIOUS_VERSION, "there was no version before".to_owned());
        };
        let groups = self.grouping.of(&before);
        let attached = groups.iter().filter(|group| self.current(group).is_some()).count();
        if attached == 0 {
            return (Some(false), reason::NO_PREVIOUS_VERSION, format!("{before} is not attached any more"));
        }
        let reading = |group: &super::VersionedGroup| {
            self.route().and_then(|route| route.health(&group.name)).map(|health| u64::from(health.healthy))
        };
        let healthy: Option<u64> = groups.iter().map(reading).sum();
        let at_start: u64 = rollout.healthy_at_start.values().copied().map(u64::from).sum();
        match healthy {
            None => (None, reason::WAITING_FOR_HEALTH, format!("the health of {before} was not read yet")),
            Some(healthy) if healthy > 0 && healthy >= at_start => {
                (Some(true), reason::AS_DESIRED, format!("{before}: {healthy} of {at_start} healthy"))
            }
            Some(healthy) => {
                (Some(false), reason::PREVIOUS_VERSION_SHRUNK, format!("{before}: {healthy} of {at_start} healthy"))
            }
        }
    }
}

/// The first few of a list.
fn named(all: &[String]) -> String {
    let shown = all.iter().take(4).cloned().collect::<Vec<_>>().join("; ");
    match all.len().saturating_sub(4) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}
