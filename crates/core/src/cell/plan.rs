//! The plan: what to do now, what to say, and when to look again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use okra_api::{
    BlockedVersion, CellStatus, TargetGroupSelector,
    analysis::{AnalysisRunSpec, ExperimentSpec},
    cell_status::{RolloutOutcome, RolloutStatus},
    condition::{self, reason},
    route::RouteHealth,
};

use super::{
    check, conclude,
    grouping::{Grouping, VersionedGroup},
    observed::{DesiredRoute, ObservedCell, ObservedGroup, ObservedRoute},
    steps::{self, RolloutStep},
    validated::ValidatedCell,
};
use crate::{
    analysis::Annotations,
    route::Capabilities,
    version::{self, Version},
};

/// One thing to do. Concrete: whoever carries it out decides nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The traffic action.
    WriteRoute {
        /// What the route object's spec should be.
        desired: Box<DesiredRoute>,
        /// Whether it gives everything back to the version that the stored status calls stable.
        takes_back: bool,
    },
    /// Create a Pause of this name, owned by the Cell.
    CreatePause {
        /// Its name.
        name: String,
        /// When it expires; `None`: when a person resumes.
        expire_time: Option<Timestamp>,
        /// The rollout's id.
        rollout: String,
        /// The step's index.
        step: i32,
    },
    /// Set a Pause's phase to Cancelled.
    CancelPause {
        /// Its name.
        name: String,
    },
    /// Delete a Pause of an earlier rollout.
    DeletePause {
        /// Its name.
        name: String,
    },
    /// Put versions on the Cell's blocklist.
    Block(Vec<BlockedVersion>),
    /// Take a version off the Cell's blocklist, in whatever spelling it stands there.
    Unblock {
        /// The version.
        version: String,
    },
    /// Create an AnalysisRun of this name, owned by the Cell.
    CreateRun {
        /// Its name.
        name: String,
        /// What it measures.
        spec: Box<AnalysisRunSpec>,
        /// Its annotations: the profiles that its templates choose.
        annotations: Annotations,
        /// The rollout's id.
        rollout: String,
        /// The step's index; `None`: it runs in the background.
        step: Option<i32>,
    },
    /// Create an Experiment of this name, owned by the Cell.
    CreateExperiment {
        /// Its name.
        name: String,
        /// What runs, and what is measured.
        spec: Box<ExperimentSpec>,
        /// The rollout's id.
        rollout: String,
        /// The step's index.
        step: i32,
    },
    /// Ask a run to end.
    TerminateRun {
        /// Its name.
        name: String,
    },
    /// Delete a run of an earlier rollout.
    DeleteRun {
        /// Its name.
        name: String,
    },
}

impl Action {
    /// Whether it is carried out before the status is written, or after it.
    ///
    /// The status remembers how far the rollout is, so it is written before the traffic moves: a crash between the
    /// two leads to the same write, never to a weight of an earlier step. What the status does not remember (a block,
    /// a child) comes before it, and is done again without effect. So does the traffic that goes back: nobody waits for
    /// a note about it, no raise that was decided earlier goes out meanwhile, and after a crash its cause is still there.
    pub fn precedes_status(&self) -> bool {
        match self {
            Self::WriteRoute { takes_back: false, .. } | Self::CancelPause { .. } => {
                crate::planted::is_planted(crate::planted::Planted::StatusAfterAction)
            }
            Self::WriteRoute { takes_back: true, .. }
            | Self::CreatePause { .. }
            | Self::DeletePause { .. }
            | Self::Block(_)
            | Self::Unblock { .. }
            | Self::CreateRun { .. }
            | Self::CreateExperiment { .. }
            | Self::TerminateRun { .. }
            | Self::DeleteRun { .. } => true,
        }
    }
}

/// One thing worth telling a person: becomes an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether something is wrong.
    pub warning: bool,
    /// The machine-readable cause.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// What the plan waits for, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanReport {
    /// One sentence: where the Cell stands.
    pub headline: String,
    /// What it waits for and why, the most important first.
    pub waits: Vec<String>,
}

/// What to do now, what to say, and when to look again.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Plan {
    /// In this order, with the status written in between (see [`Action::precedes_status`]). At most one of them
    /// changes traffic.
    pub actions: Vec<Action>,
    /// The whole next status.
    pub status: CellStatus,
    /// What it waits for.
    pub report: PlanReport,
    /// Events, to be told after the status is written.
    pub notes: Vec<Note>,
    /// When to look again without a change; `None`: only when something changes.
    pub wake_at: Option<Timestamp>,
}

/// Something that the Cell waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// One of the reasons.
    pub reason: &'static str,
    /// In a sentence.
    pub text: String,
    /// Whether the progress deadline counts: waiting for machines, not for people or timers.
    pub deadline: bool,
}

/// Decides. Total and deterministic; the same input gives the same plan.
pub fn plan(observed: &ObservedCell, now: Timestamp) -> Plan {
    let status = observed.cell.status.clone().unwrap_or_default();
    if observed.cell.metadata.deletion_timestamp.is_some() {
        // The rule's fate is in the route object already: nothing may move any more (S7).
        let report = PlanReport { headline: "the Cell is being deleted".to_owned(), waits: Vec::new() };
        return Plan { actions: Vec::new(), status, report, notes: Vec::new(), wake_at: None };
    }
    let spec = match ValidatedCell::new(&observed.cell.spec) {
        Ok(spec) => spec,
        Err(errors) => return conclude::invalid(observed, &errors, now),
    };
    let Some(router) = observed.router.clone() else { return conclude::unsupported(observed, now) };
    let mut planner = Planner::new(observed, spec, router, status, now);
    planner.answer_request();
    planner.recover_stable();
    planner.transition();
    planner.advance();
    planner.write_route();
    planner.retire();
    let plan = planner.conclude();
    match check::check(observed, &plan) {
        breaches if breaches.is_empty() => plan,
        breaches => conclude::breached(observed, plan, &breaches, now),
    }
}

/// The working state of one plan. `status` starts as the last one and becomes the next one.
pub(super) struct Planner<'a> {
    pub observed: &'a ObservedCell,
    pub spec: ValidatedCell,
    pub router: Capabilities,
    pub now: Timestamp,
    pub status: CellStatus,
    pub grouping: Grouping,
    /// Versions whose groups do not count yet, with each group and what its cluster lacks.
    pub held_back: BTreeMap<Version, Vec<String>>,
    pub blocked: Vec<Version>,
    pub actions: Vec<Action>,
    pub notes: Vec<Note>,
    pub waits: Vec<Wait>,
    /// The canary's total share that is due now, in percent.
    pub share: i32,
    /// Only look at the rule: nothing is known about it yet.
    pub look_only: bool,
    /// Fingerprint of a foreign state that a person lets be overwritten.
    pub overwrite: Option<String>,
    pub wake_at: Option<Timestamp>,
}

impl<'a> Planner<'a> {
    fn new(
        observed: &'a ObservedCell,
        spec: ValidatedCell,
        router: Capabilities,
        status: CellStatus,
        now: Timestamp,
    ) -> Self {
        let rollout = status.rollout.as_ref().filter(|rollout| rollout.finished_at.is_none());
        let selector = rollout.map_or(&spec.selector, |rollout| &rollout.selector);
        let mut groups = observed.groups.clone();
        for group in groups.iter_mut().filter(|group| is_gone(observed, group)) {
            group.id = Err("is gone: the load balancer says there is no such target group".to_owned());
        }
        let held_back = hold_back(observed, &status, selector, &mut groups);
        let grouping = Grouping::new(&groups, selector);
        let blocked = observed.blocked.iter().filter_map(|item| version::parse(&item.version).ok()).collect();
        let share = rollout.map_or(0, |rollout| rollout.canary_weight);
        Self {
            observed,
            spec,
            router,
            now,
            status,
            grouping,
            held_back,
            blocked,
            actions: Vec::new(),
            notes: Vec::new(),
            waits: Vec::new(),
            share,
            look_only: false,
            overwrite: None,
            wake_at: None,
        }
    }

    /// The version that serves.
    pub fn stable(&self) -> Option<Version> {
        self.status.stable_version.as_deref().and_then(|text| version::parse(text).ok())
    }

    /// The rollout whose traffic has not come to rest.
    pub fn rollout(&self) -> Option<&RolloutStatus> {
        self.status.rollout.as_ref().filter(|rollout| rollout.finished_at.is_none())
    }

    /// The rollout that goes on: its end is not decided.
    pub fn moving(&self) -> Option<&RolloutStatus> {
        self.rollout().filter(|rollout| rollout.outcome.is_none())
    }

    /// Whether traffic is on its way back.
    pub fn is_winding_back(&self) -> bool {
        self.rollout()
            .is_some_and(|rollout| rollout.outcome.is_some_and(|outcome| outcome != RolloutOutcome::Succeeded))
    }

    /// The version that the moving rollout brings.
    pub fn canary(&self) -> Option<Version> {
        self.moving().and_then(|rollout| version::parse(&rollout.version).ok())
    }

    /// Whether the moving rollout brings a version older than the one that serves.
    pub fn is_rollback(&self) -> bool {
        matches!((self.canary(), self.stable()), (Some(canary), Some(stable)) if canary < stable)
    }

    /// The steps of the moving rollout.
    pub fn steps(&self) -> Vec<RolloutStep> {
        self.moving().map(steps::of_rollout).unwrap_or_default()
    }

    /// The index of the current step.
    pub fn step_index(&self) -> usize {
        self.moving().map_or(0, |rollout| usize::try_from(rollout.current_step_index).unwrap_or(0))
    }

    /// Why weights must not move now, except towards safety.
    pub fn frozen(&self) -> Option<String> {
        if let Some(hold) = &self.status.hold {
            return Some(hold.message.clone());
        }
        self.spec.suspend.then(|| "spec.suspend is set: unset it to go on".to_owned())
    }

    /// Whether a version is on the blocklist, or goes there in this plan.
    pub fn is_blocked(&self, version: &Version) -> bool {
        self.blocked.contains(version)
    }

    pub fn route(&self) -> Option<&'a ObservedRoute> {
        self.observed.route.as_ref()
    }

    /// The weight that a group has by the last intent; by the router's answer when there is no intent yet.
    /// `None`: it is not attached.
    pub fn current(&self, group: &VersionedGroup) -> Option<i32> {
        let route = self.route()?;
        if route.desired.groups.is_empty() {
            return route.status.weights.iter().find(|weight| weight.id == group.id).map(|weight| weight.weight);
        }
        route.desired.groups.iter().find(|own| own.name == group.name && own.id == group.id).map(|own| own.weight)
    }

    /// Whether the router answered with exactly this request.
    pub fn is_settled(&self, desired: &DesiredRoute) -> bool {
        self.route().is_some_and(|route| route.desired.same_request(desired) && route.is_verified())
    }

    pub fn wait(&mut self, reason: &'static str, text: impl Into<String>) {
        self.waits.push(Wait { reason, text: text.into(), deadline: true });
    }

    /// Waiting for people or timers: the progress deadline does not count.
    pub fn wait_for_person(&mut self, reason: &'static str, text: impl Into<String>) {
        self.waits.push(Wait { reason, text: text.into(), deadline: false });
    }

    pub fn note(&mut self, warning: bool, reason: &'static str, message: impl Into<String>) {
        self.notes.push(Note { warning, reason, message: message.into() });
    }

    /// Look again at this time at the latest.
    pub fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Says why the router has not answered with what is asked.
    pub fn wait_for_route(&mut self) {
        let (reason, text) = match self.route() {
            Some(route) if route.outcome() == Some(okra_api::RouteOutcome::Refused) => {
                (refusal(route), route.status.message.clone())
            }
            // What the router waits for is worth a word; that a change is on its way is not, each word is a write.
            Some(route) if waits_for_health(route) => (reason::WAITING_FOR_ROUTE, route.status.message.clone()),
            _ => (reason::WAITING_FOR_ROUTE, "waits for the load balancer to answer with the new weights".to_owned()),
        };
        self.wait(reason, text);
    }
}

/// Takes out the groups that do not count yet, because their clusters are not ready. What is attached, what was, and
/// every version below the one that serves counts: what serves is not taken away, and no way back waits.
fn hold_back(
    observed: &ObservedCell,
    status: &CellStatus,
    selector: &TargetGroupSelector,
    groups: &mut Vec<ObservedGroup>,
) -> BTreeMap<Version, Vec<String>> {
    let mut held_back = BTreeMap::<Version, Vec<String>>::new();
    if observed.unready.is_empty() {
        return held_back;
    }
    let stable = status.stable_version.as_deref().and_then(|text| version::parse(text).ok());
    let knows = |name: &str| {
        let attached = observed.route.iter().flat_map(|route| &route.desired.groups).any(|group| group.name == name);
        attached || status.retired_target_groups.iter().any(|retired| retired.name == name)
    };
    groups.retain(|group| {
        let Some(why) = observed.unready.get(&group.name).filter(|_| !knows(&group.name)) else { return true };
        let label = selector.version_labels().find_map(|label| group.labels.get(label));
        let version = label.and_then(|label| version::parse(label).ok());
        let Some(version) = version.filter(|version| stable.as_ref().is_none_or(|stable| version >= stable)) else {
            return true;
        };
        held_back.entry(version).or_default().push(format!("{}: {why}", group.name));
        false
    });
    held_back
}

/// Whether the router says that there is no such target group. An object that names another one since is not meant.
fn is_gone(observed: &ObservedCell, group: &ObservedGroup) -> bool {
    let same = |health: &&RouteHealth| health.id.is_empty() || group.id.as_ref() == Ok(&health.id);
    let rows = observed.route.iter().flat_map(|route| &route.status.health);
    rows.filter(|health| health.gone && health.name == group.name).any(|health| same(&health))
}

/// Whether the router waits for healthy targets before it goes on.
pub(super) fn waits_for_health(route: &ObservedRoute) -> bool {
    let ready = condition::find(&route.status.conditions, condition::READY);
    route.outcome() == Some(okra_api::RouteOutcome::NotYet)
        && ready.is_some_and(|ready| ready.reason != reason::WAITING_FOR_ROUTE)
}

/// Why a route is refused, in the route's own reason.
fn refusal(route: &ObservedRoute) -> &'static str {
    let known = [
        reason::FOREIGN_RULE,
        reason::RULE_TAKEN,
        reason::CAPACITY_EXCEEDED,
        reason::UNSUPPORTED_INGRESS,
        reason::INVALID_SPEC,
        reason::INVARIANT_BREACH,
    ];
    let own = condition::find(&route.status.conditions, condition::READY).map(|ready| ready.reason.as_str());
    known.into_iter().find(|known| Some(*known) == own).unwrap_or(reason::REFUSED)
}
