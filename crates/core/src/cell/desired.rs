//! What the route should hold now: which groups are attached, and with which weights.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use okra_api::{RouteOutcome, names::ADOPT_RULE_ANNOTATION, route::REMEMBERED_INTENTS};

use super::{
    grouping::VersionedGroup,
    observed::{DesiredRoute, ObservedRoute, RouteGroup},
    plan::{Action, Planner},
    route_object::fingerprint_of,
    steps::share_at,
    weights::{share_of, split},
};
use crate::{
    planted::{Planted, is_planted},
    version::{self, Version},
};

/// What a group must show before it gets weight that it does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// A registered target: the rule does not exist yet, so health cannot be seen.
    FirstDeployment,
    /// One healthy target; no reading counts as one, the router's own look decides.
    WayBack,
    /// The health floor, for a version that is about to have this share in percent.
    Floor(i32),
}

/// The groups of one version, by what can be done with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Side {
    /// Have weight, or may get it.
    carry: Vec<VersionedGroup>,
    /// Are attached at 0 and not healthy enough yet.
    entering: Vec<VersionedGroup>,
    /// Are not attached yet.
    absent: Vec<VersionedGroup>,
    /// Are drained by a person.
    drained: Vec<VersionedGroup>,
    /// What the gate asks for.
    min_healthy: u32,
    /// What is asked of those that come late, once all traffic is back.
    late: BTreeMap<String, u32>,
}

impl Side {
    fn names(&self) -> Vec<&str> {
        self.carry.iter().map(|group| group.name.as_str()).collect()
    }

    fn min_healthy(&self, group: &VersionedGroup) -> u32 {
        self.late.get(&group.name).copied().unwrap_or(self.min_healthy)
    }

    fn contains(&self, name: &str) -> bool {
        [&self.carry, &self.entering, &self.absent, &self.drained]
            .iter()
            .any(|groups| groups.iter().any(|group| group.name == name))
    }
}

impl Planner<'_> {
    /// What the route should hold; `None`: nothing can take the traffic, so nothing is said.
    pub fn desired(&self) -> Option<DesiredRoute> {
        let (stable, canary) = self.sides();
        let share = if canary.carry.is_empty() { 0 } else { self.share };
        // With no stable group to carry the rest, a canary still gets no more than its step gives it.
        let needs_stable = share < 100 && matches!(self.canary_gate(), Gate::Floor(_));
        let weights = if stable.carry.is_empty() && needs_stable {
            None
        } else {
            split(&stable.names(), &canary.names(), share, self.router.max_weight)
        };
        let mut route = self.empty_route();
        if weights.is_none() {
            // Nobody can take the traffic: whoever has it keeps it, and the others are attached to become healthy.
            let holding = self.route().into_iter().flat_map(|route| &route.desired.groups);
            route.groups = holding.filter(|group| group.weight > 0).cloned().collect();
            if route.groups.is_empty() {
                return None;
            }
        }
        let weights = weights.map(|weights| self.accepted(weights)).unwrap_or_default();
        let mut health_of: BTreeSet<String> = BTreeSet::new();
        let room = self.router.max_groups.saturating_sub(self.leaving());
        let mut add = |group: &VersionedGroup, weight: i32, min_healthy: u32| {
            let is_there = route.groups.iter().any(|there| there.name == group.name);
            if is_there || route.groups.len() >= if weight > 0 { self.router.max_groups } else { room } {
                return false;
            }
            route.groups.push(RouteGroup {
                name: group.name.clone(),
                id: group.id.clone(),
                weight,
                min_healthy: Some(min_healthy),
                health_path: group.health_path.clone(),
            });
            true
        };
        let weight_of = |group: &VersionedGroup| weights.get(&group.name).copied().unwrap_or(0);
        // Who has or gets weight comes first, who may be left out for want of room last.
        for side in [&stable, &canary] {
            for group in &side.carry {
                add(group, weight_of(group), side.min_healthy(group));
            }
        }
        let parked = self.parked(&stable, &canary);
        for group in parked.iter().filter(|group| !self.may_be_detached(group)) {
            add(group, 0, 1);
        }
        for side in [&stable, &canary] {
            for group in side.entering.iter().chain(&side.absent) {
                if add(group, 0, side.min_healthy(group)) {
                    health_of.insert(group.name.clone());
                }
            }
        }
        for group in stable.drained.iter().chain(&canary.drained).filter(|group| self.current(group).is_some()) {
            add(group, 0, 1);
        }
        for group in parked.iter().filter(|group| self.may_be_detached(group) && self.keeps_parked(group)) {
            add(group, 0, 1);
        }
        if self.moving().is_some() && !self.has_begun() {
            // What the serving side has when the rollout begins: the measure for floors and for the way back.
            health_of.extend(stable.carry.iter().map(|group| group.name.clone()));
        }
        route.health_of = health_of;
        Some(route)
    }

    /// The stable and the canary side. During a first deployment there is only a canary.
    fn sides(&self) -> (Side, Side) {
        let canary = self.canary().map(|version| self.side(&version, self.canary_gate())).unwrap_or_default();
        let stable = self.stable().map(|version| self.side(&version, self.stable_gate(&version))).unwrap_or_default();
        (stable, canary)
    }

    fn canary_gate(&self) -> Gate {
        let stable_is_gone = self.stable().is_some_and(|stable| self.grouping.of(&stable).is_empty());
        if self.stable().is_none() {
            Gate::FirstDeployment
        } else if self.is_rollback() || stable_is_gone {
            Gate::WayBack
        } else {
            Gate::Floor(self.gated_share())
        }
    }

    fn stable_gate(&self, stable: &Version) -> Gate {
        let serves = self.grouping.of(stable).iter().any(|group| self.current(group).is_some_and(|weight| weight > 0));
        if self.is_winding_back() || !serves { Gate::WayBack } else { Gate::Floor(100 - self.share) }
    }

    /// Whether all traffic is back, by the intent and by the router's answer: a group that comes now is none that the
    /// way back needs, and keeps to the floor.
    fn is_back(&self) -> bool {
        let back = if self.is_winding_back() {
            self.stable()
        } else {
            self.canary().filter(|_| self.canary_gate() == Gate::WayBack)
        };
        let is_other = |name: &str| self.grouping.by_name(name).map(|group| &group.version) != back.as_ref();
        let mut asked = self.route().into_iter().flat_map(|route| &route.desired.groups);
        let mut held = self.route().into_iter().flat_map(|route| &route.status.weights);
        back.is_some()
            && !asked.any(|group| group.weight > 0 && is_other(&group.name))
            && !held.any(|group| group.weight > 0 && is_other(&group.name))
    }

    /// The share that the canary's floor is computed for: the present one, before the first raise the first one.
    fn gated_share(&self) -> i32 {
        let steps = self.steps();
        if self.share > 0 {
            return self.share;
        }
        (self.step_index()..=steps.len()).map(|index| share_at(&steps, index)).find(|share| *share > 0).unwrap_or(100)
    }

    /// Sorts the groups of one version by what can be done with them.
    fn side(&self, version: &Version, gate: Gate) -> Side {
        let at_start = self.moving().and_then(|rollout| rollout.healthy_at_start.values().max().copied());
        let min_healthy = match gate {
            Gate::FirstDeployment | Gate::WayBack => 1,
            Gate::Floor(share) => self.spec.floor.needed(at_start, share),
        };
        let mut side = Side { min_healthy, ..Side::default() };
        let groups = self.grouping.of(version);
        let all_drained = groups.iter().all(|group| group.drained);
        // On the way back a group that was asked to drain and still has its weight serves as before.
        let serves = |group: &VersionedGroup| {
            let asked = self.current(group).is_some_and(|weight| weight > 0);
            asked || gate == Gate::WayBack && group.drained && self.holds(group)
        };
        let any_serves = groups.iter().any(serves);
        // Drained by a person; but never the last one that serves, or that could when none does. On the way back one
        // healthy target is enough to take what the canary had, not what a drained group has: that one waits.
        let is_drained = |group: &VersionedGroup| {
            let last = all_drained && (serves(group) || !any_serves);
            group.drained && !last && !(gate == Gate::WayBack && serves(group))
        };
        let floorless = is_planted(Planted::HealthFloorIgnored);
        let floor = if self.is_back() && any_serves { self.spec.floor.needed(at_start, 100) } else { 1 };
        for group in groups {
            let is_late = gate == Gate::WayBack && floor > 1 && self.current(group).is_some() && !serves(group);
            if is_late {
                side.late.insert(group.name.clone(), floor);
            }
            let healthy = self.route().and_then(|route| route.health(&group.name)).map(|health| health.healthy);
            let place = match (gate, self.current(group)) {
                _ if is_drained(group) => &mut side.drained,
                (Gate::FirstDeployment, _) => &mut side.carry,
                (Gate::WayBack, Some(_)) if is_late && healthy.is_none_or(|h| h < floor) => &mut side.entering,
                (Gate::WayBack, Some(_)) if healthy != Some(0) => &mut side.carry,
                (Gate::Floor(_), Some(weight)) if weight > 0 => &mut side.carry,
                (Gate::Floor(_), Some(_)) if healthy.is_some_and(|healthy| healthy >= min_healthy) || floorless => {
                    &mut side.carry
                }
                (_, Some(_)) => &mut side.entering,
                (_, None) => &mut side.absent,
            };
            place.push(group.clone());
        }
        if side.carry.is_empty() && gate == Gate::WayBack {
            // Nobody looks healthy. Whoever has weight is asked for all the same: the router's look decides, and
            // says so when nothing may move.
            let (holding, rest) = std::mem::take(&mut side.entering).into_iter().partition(serves);
            side.carry = holding;
            side.entering = rest;
        }
        side
    }

    /// Whether enough groups of the moving rollout's version are attached and healthy for its steps to begin.
    /// Says what is missing.
    pub fn is_canary_ready(&mut self) -> bool {
        if self.has_begun() {
            return true;
        }
        let (stable, canary) = self.sides();
        let Some(version) = self.canary() else { return false };
        let needed =
            if self.canary_gate() == Gate::WayBack || self.stable().is_none() { 1 } else { self.spec.replicas };
        let measured = match self.spec.floor {
            super::validated::Floor::Percent(_) if matches!(self.canary_gate(), Gate::Floor(_)) => {
                stable.carry.is_empty() || self.moving().is_some_and(|rollout| !rollout.healthy_at_start.is_empty())
            }
            _ => true,
        };
        let lacks: Vec<String> = match self.canary_gate() {
            Gate::Floor(_) | Gate::FirstDeployment => {
                let unready = |group: &VersionedGroup| {
                    self.observed.unready.get(&group.name).map(|why| format!("{}: {why}", group.name))
                };
                canary.carry.iter().filter_map(unready).collect()
            }
            Gate::WayBack => Vec::new(),
        };
        if canary.carry.len().saturating_sub(lacks.len()) >= needed && measured {
            return true;
        }
        if !lacks.is_empty() {
            let text = format!("waits for the clusters of {version}: {}", lacks.join("; "));
            self.wait(okra_api::condition::reason::WAITING_FOR_CLUSTERS, text);
            return false;
        }
        if !self.desired().is_some_and(|desired| self.is_settled(&desired)) {
            self.wait_for_route();
        }
        let missing: Vec<String> = canary
            .entering
            .iter()
            .chain(&canary.absent)
            .map(|group| match self.route().and_then(|route| route.health(&group.name)) {
                Some(health) => format!("{}: {} of {} healthy", group.name, health.healthy, health.total),
                None => format!("{}: not read yet", group.name),
            })
            .collect();
        let text = format!(
            "waits for healthy targets of {version} ({}; each group needs {})",
            missing.join(", "),
            canary.min_healthy
        );
        self.wait(okra_api::condition::reason::WAITING_FOR_HEALTH, text);
        false
    }

    /// Whether a group of the canary can have the share that is due; a person may have skipped the wait for it. Says so
    /// when none can: a step without its weight is not done.
    pub fn canary_carries(&mut self) -> bool {
        let (_, canary) = self.sides();
        if self.share == 0 || !canary.carry.is_empty() {
            return true;
        }
        if !self.desired().is_some_and(|desired| self.is_settled(&desired)) {
            self.wait_for_route();
        }
        let version = self.canary().map(|version| version.to_string()).unwrap_or_default();
        let text = format!("waits for healthy targets of {version} (each group needs {})", canary.min_healthy);
        self.wait(okra_api::condition::reason::WAITING_FOR_HEALTH, text);
        false
    }

    /// Whether the moving rollout is past its attach phase.
    fn has_begun(&self) -> bool {
        self.moving().is_some_and(|rollout| rollout.canary_weight > 0 || rollout.current_step_index > 0)
    }

    /// Weights that a person accepted, as long as they name the same groups.
    fn accepted(&self, weights: BTreeMap<String, i32>) -> BTreeMap<String, i32> {
        let accepted = &self.status.accepted_weights;
        let same = !accepted.is_empty()
            && weights.iter().filter(|(_, weight)| **weight > 0).all(|(name, _)| accepted.contains_key(name));
        if same { accepted.clone() } else { weights }
    }

    /// Attached groups that belong to neither side.
    fn parked(&self, stable: &Side, canary: &Side) -> Vec<VersionedGroup> {
        self.grouping
            .all()
            .filter(|group| self.current(group).is_some())
            .filter(|group| !stable.contains(&group.name) && !canary.contains(&group.name))
            .cloned()
            .collect()
    }

    /// Whether the router answered that a group has weight.
    fn holds(&self, group: &VersionedGroup) -> bool {
        let held = self.route().into_iter().flat_map(|route| &route.status.weights);
        held.into_iter().any(|held| held.id == group.id && held.weight > 0)
    }

    /// How long a parked group has had no weight, as the load balancer answered; `None`: it may still have some.
    fn parked_for(&self, group: &VersionedGroup) -> Option<SignedDuration> {
        let entry = self.status.retired_target_groups.iter().find(|retired| retired.name == group.name)?;
        (self.current(group) == Some(0)).then(|| self.now.duration_since(entry.zero_since))
    }

    /// How many groups the rule holds with weight that are not there any more: they go to 0 first and keep their room
    /// until that has settled.
    fn leaving(&self) -> usize {
        let held = self.route().into_iter().flat_map(|route| &route.status.weights);
        held.filter(|held| held.weight > 0 && self.grouping.by_id(&held.id).is_none()).count()
    }

    /// Whether the load balancer's data path had time to follow (settle): before that nothing is detached.
    fn may_be_detached(&self, group: &VersionedGroup) -> bool {
        self.parked_for(group).is_some_and(|age| age >= self.router.settle || is_planted(Planted::DetachedTooEarly))
    }

    /// Whether a parked group that could be detached stays: until its time is over or the next rollout begins.
    fn keeps_parked(&self, group: &VersionedGroup) -> bool {
        let rolling = self.moving().is_some() && !self.is_rollback();
        let over = |after| self.parked_for(group).is_some_and(|age| age >= after);
        !rolling && !self.spec.retire_after.is_some_and(over)
    }

    /// The route without groups: where it is and what goes with it.
    fn empty_route(&self) -> DesiredRoute {
        let annotations = self.observed.cell.metadata.annotations.as_ref();
        DesiredRoute {
            place: self.spec.place.clone(),
            groups: Vec::new(),
            health_of: BTreeSet::new(),
            overwrite: None,
            way_back: self.is_winding_back() || self.canary_gate() == Gate::WayBack,
            former: Vec::new(),
            deletion_policy: self.spec.deletion_policy,
            adopt: annotations.and_then(|annotations| annotations.get(ADOPT_RULE_ANNOTATION)).cloned(),
        }
    }

    /// The route as it is asked for now, with what the spec says about its place.
    fn unchanged_route(&self) -> DesiredRoute {
        let own = self.route().map(|route| route.desired.clone()).unwrap_or_default();
        DesiredRoute { groups: own.groups, health_of: own.health_of, overwrite: own.overwrite, ..self.empty_route() }
    }

    /// What is asked for while nothing may move: the same as before; but a raise of the canary that the router has
    /// not answered yet is taken back to what it holds. What somebody else made of the rule is nothing to go back to,
    /// unless a person accepted it.
    fn frozen_route(&self) -> DesiredRoute {
        let mut route = self.unchanged_route();
        let accepted = !self.status.accepted_weights.is_empty();
        let is_ours = |route: &&ObservedRoute| accepted || route.outcome() != Some(RouteOutcome::Foreign);
        let Some(observed) = self.route().filter(|route| !route.is_verified()).filter(is_ours) else { return route };
        let held: BTreeMap<String, i32> =
            observed.status.weights.iter().map(|weight| (weight.name.clone(), weight.weight)).collect();
        let share = |weights: &BTreeMap<String, i32>| -> i64 {
            let canary = self.canary().map(|version| self.grouping.of(&version)).unwrap_or_default();
            canary.iter().map(|group| share_of(weights, &group.name)).sum()
        };
        let all_known = held.keys().all(|name| route.weight(name).is_some());
        if held.is_empty() || !all_known || share(&route.weights()) <= share(&held) {
            return route;
        }
        // What the router told of last may be older than an intent that lowered the canary: then its step before counts.
        let is_old =
            observed.status.observed_generation.is_none_or(|told| told < observed.generation.saturating_sub(1));
        let before = self.share_before();
        let weights = if is_old && share(&held) > i64::from(before) * 10_000 {
            self.split_of(&route, &held, before).unwrap_or(held)
        } else {
            held
        };
        for group in &mut route.groups {
            group.weight = weights.get(&group.name).copied().unwrap_or(0);
        }
        route
    }

    /// The share that the canary had before its current step, in percent.
    fn share_before(&self) -> i32 {
        self.step_index().checked_sub(1).map_or(0, |index| share_at(&self.steps(), index))
    }

    /// The groups of a route with this share in percent for the canary, and the rest for the others that have weight.
    fn split_of(
        &self,
        route: &DesiredRoute,
        held: &BTreeMap<String, i32>,
        share: i32,
    ) -> Option<BTreeMap<String, i32>> {
        let canary = self.canary();
        let has_weight = |name: &&str| {
            route.weight(name).is_some_and(|weight| weight > 0) || held.get(*name).is_some_and(|weight| *weight > 0)
        };
        let is_canary = |name: &&str| self.grouping.by_name(name).map(|group| &group.version) == canary.as_ref();
        let names = route.groups.iter().map(|group| group.name.as_str()).filter(has_weight);
        let (canary, others): (Vec<&str>, Vec<&str>) = names.partition(is_canary);
        if others.is_empty() { None } else { split(&others, &canary, share, self.router.max_weight) }
    }

    /// The canary's share in percent that the route keeps while nothing may move; `None`: a person accepted other
    /// weights, or it cannot be told any more whose they are.
    pub fn frozen_share(&self) -> Option<i32> {
        self.route().filter(|_| self.status.accepted_weights.is_empty())?;
        let weights = self.frozen_route().weights();
        let all_known = weights.iter().all(|(name, weight)| *weight == 0 || self.version_of(name).is_some());
        all_known.then(|| self.canary_percent(&weights)).flatten()
    }

    /// The canary's share in percent by what a person accepted; `None`: nobody did.
    pub fn accepted_share(&self) -> Option<i32> {
        self.canary_percent(&self.status.accepted_weights)
    }

    /// The share of the canary's groups, those that left among them, rounded down.
    fn canary_percent(&self, weights: &BTreeMap<String, i32>) -> Option<i32> {
        let canary = self.canary()?;
        let own = weights.iter().filter(|(name, _)| self.version_of(name).as_ref() == Some(&canary));
        let own: i64 = own.map(|(_, weight)| i64::from(*weight)).sum();
        let total: i64 = weights.values().map(|weight| i64::from(*weight)).sum();
        i32::try_from(own.saturating_mul(100).checked_div(total)?).ok()
    }

    /// The version of a group, also of one that left.
    fn version_of(&self, name: &str) -> Option<Version> {
        let told = || self.status.target_groups.iter().find(|group| group.name == name);
        match self.grouping.by_name(name) {
            Some(group) => Some(group.version.clone()),
            None => told().and_then(|group| version::parse(&group.version).ok()),
        }
    }

    /// Asks the router for what is due, if that is not what it is asked for already.
    pub fn write_route(&mut self) {
        let desired = if self.look_only {
            Some(self.empty_route())
        } else if self.stable().is_none() && self.moving().is_none() {
            self.route().map(|_| self.unchanged_route())
        } else if self.is_frozen_still() {
            Some(self.frozen_route())
        } else {
            self.desired().or_else(|| self.route().map(|_| self.unchanged_route()))
        };
        let Some(mut desired) = desired else { return };
        if let Some(route) = self.route() {
            desired.overwrite = self.overwrite.clone().or_else(|| route.desired.overwrite.clone());
            if route.desired.same_request(&desired) && self.overwrite.is_none() {
                return;
            }
            let moved = route.desired.place != desired.place;
            if moved && route.desired.weights() != desired.weights() && !route.desired.groups.is_empty() {
                // Changed conditions apply at once, with the weights as they are.
                desired = self.unchanged_route();
            }
            if route.desired.same_request(&desired) && route.desired.overwrite == desired.overwrite {
                return;
            }
        }
        desired.former = self.former_intents();
        let takes_back = self.takes_back(&desired);
        let write = Action::WriteRoute { desired: Box::new(desired), takes_back };
        // Nothing else comes before the way back, a block of the version neither.
        let place = if takes_back { 0 } else { self.actions.len() };
        self.actions.insert(place, write);
    }

    /// Whether a route ends a rollout by giving everything to the version that the stored status calls stable. Nobody
    /// has to remember it before it is done: the cause is there until the status says that it was seen.
    fn takes_back(&self, desired: &DesiredRoute) -> bool {
        let stored = self.observed.cell.status.as_ref().and_then(|status| status.stable_version.as_ref());
        let Some(stable) = stored.and_then(|stable| version::parse(stable).ok()) else { return false };
        let is_stable = |name: &str| self.version_of(name).as_ref() == Some(&stable);
        let mut weighted = desired.groups.iter().filter(|group| group.weight > 0).peekable();
        self.is_winding_back() && weighted.peek().is_some() && weighted.all(|group| is_stable(&group.name))
    }

    /// What the route was asked for until now: a late write of it may still arrive, and is then known as our own.
    fn former_intents(&self) -> Vec<String> {
        let Some(route) = self.route().filter(|_| !is_planted(Planted::IntentNotRemembered)) else { return Vec::new() };
        let mut former = route.desired.former.clone();
        if let Some(last) = fingerprint_of(&route.desired) {
            former.retain(|known| *known != last);
            former.push(last);
        }
        let surplus = former.len().saturating_sub(REMEMBERED_INTENTS);
        former.split_off(surplus)
    }

    /// Whether weights are frozen and every group that has weight is still there; or nobody is who may take over.
    fn is_frozen_still(&self) -> bool {
        let Some(route) = self.route() else { return false };
        let weighted = route.desired.groups.iter().filter(|group| group.weight > 0);
        let all_there =
            weighted.into_iter().all(|group| self.grouping.by_name(&group.name).is_some_and(|own| own.id == group.id));
        let way_back = self.is_winding_back() || self.is_rollback();
        let stable_gone = self.stable().is_some_and(|stable| self.grouping.of(&stable).is_empty());
        let stays = if stable_gone { self.failed_canary().is_some() } else { all_there };
        self.frozen().is_some() && !way_back && stays && !route.desired.groups.is_empty()
    }

    /// Keeps the book of groups that no longer serve.
    pub fn retire(&mut self) {
        let Some(route) = self.route().filter(|route| route.is_verified()) else { return };
        let now = self.now;
        // Until the data path has followed, requests still come, however short the drain.
        let safe = now.checked_add(self.spec.drain.max(self.router.settle)).unwrap_or(now);
        let serving =
            |version: &Version| self.stable().as_ref() == Some(version) || self.canary().as_ref() == Some(version);
        let resting: Vec<(String, String)> = route
            .desired
            .groups
            .iter()
            .filter(|group| group.weight == 0 && !route.desired.health_of.contains(&group.name))
            .filter_map(|group| self.grouping.by_name(&group.name))
            .filter(|group| !serving(&group.version))
            .map(|group| (group.name.clone(), group.version.to_string()))
            .collect();
        let attached: BTreeSet<&str> = route.desired.groups.iter().map(|group| group.name.as_str()).collect();
        let weighted: BTreeSet<&str> =
            route.desired.groups.iter().filter(|group| group.weight > 0).map(|group| group.name.as_str()).collect();
        let exists: BTreeSet<String> = self.observed.groups.iter().map(|group| group.name.clone()).collect();
        let book = &mut self.status.retired_target_groups;
        book.retain(|entry| exists.contains(&entry.name) && !weighted.contains(entry.name.as_str()));
        for entry in book.iter_mut() {
            match (attached.contains(entry.name.as_str()), entry.detached_at) {
                (false, None) => entry.detached_at = Some(now),
                (true, Some(_)) => entry.detached_at = None,
                _ => {}
            }
        }
        for (name, version) in resting {
            if !book.iter().any(|entry| entry.name == name) {
                book.push(okra_api::cell_status::RetiredTargetGroup {
                    name,
                    version,
                    zero_since: now,
                    detached_at: None,
                    safe_to_destroy_at: safe,
                });
            }
        }
        book.sort_by(|a, b| a.name.cmp(&b.name));
        book.truncate(64);
        self.wake_for_retirement();
    }

    /// Looks again when a parked group may be detached.
    fn wake_for_retirement(&mut self) {
        let after = match (self.moving().is_some(), self.spec.retire_after) {
            (true, _) => Some(self.router.settle),
            (false, Some(after)) => Some(after.max(self.router.settle)),
            (false, None) => None,
        };
        let Some(after) = after else { return };
        let attached = self.status.retired_target_groups.iter().filter(|entry| entry.detached_at.is_none());
        let next =
            attached.filter_map(|entry| entry.zero_since.checked_add(after).ok()).filter(|at| *at > self.now).min();
        if let Some(at) = next {
            self.wake(at);
        }
    }
}
