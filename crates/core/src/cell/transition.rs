//! When a rollout begins and when it ends.

use std::collections::BTreeMap;

use okra_api::{
    BlockedVersion, RunPhase,
    cell::StrategyType,
    cell_status::{Hold, RolloutOutcome, RolloutRecord, RolloutStatus},
    condition::reason,
};

use super::plan::{Action, Planner};
use crate::{
    planted::{Planted, is_planted},
    version::Version,
};

/// How many finished rollouts the status keeps.
const HISTORY: usize = 10;

/// Why a rollout begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With the strategy's steps.
    Steps,
    /// All traffic at once: a first deployment, a roll-back, a fall-back.
    AtOnce,
}

impl Planner<'_> {
    /// Finds out which version serves when the status does not say: from the weights that the rule has.
    pub fn recover_stable(&mut self) {
        if self.stable().is_some() || self.moving().is_some() || self.status.hold.is_some() {
            return;
        }
        let Some(route) = self.route() else { return };
        let weights: BTreeMap<String, i32> = if route.desired.groups.is_empty() {
            route.status.weights.iter().map(|weight| (weight.id.clone(), weight.weight)).collect()
        } else {
            route.desired.groups.iter().map(|group| (group.id.clone(), group.weight)).collect()
        };
        let mut shares: BTreeMap<Version, i32> = BTreeMap::new();
        let mut unknown = Vec::new();
        for (id, weight) in weights.iter().filter(|(_, weight)| **weight > 0) {
            match self.grouping.by_id(id) {
                Some(group) => *shares.entry(group.version.clone()).or_default() += weight,
                None => unknown.push(id.as_str()),
            }
        }
        if !unknown.is_empty() {
            let text = format!(
                "the rule forwards to {}, which no selected target group object names: create one for each",
                unknown.join(" and ")
            );
            return self.wait(reason::INVALID_TARGET_GROUPS, text);
        }
        let mut versions = shares.into_iter();
        match (versions.next(), versions.next()) {
            (Some((version, _)), None) => {
                self.note(
                    false,
                    "StableVersionFound",
                    format!("the rule sends all traffic to {version}: it is stable"),
                );
                self.status.stable_version = Some(version.to_string());
            }
            (Some((low, a)), Some((high, b))) => self.hold(
                reason::STATE_LOST,
                format!(
                    "the status was lost while the rule is split ({low}: {a}, {high}: {b}): resume makes the side with \
                     more weight stable, undo goes back to the lower version"
                ),
                "",
            ),
            (None, _) => {}
        }
    }

    /// Begins or ends a rollout where that is due.
    pub fn transition(&mut self) {
        if self.status.hold.as_ref().is_some_and(|hold| hold.reason == reason::STATE_LOST) {
            return;
        }
        self.remember_health();
        match self.stable() {
            None if self.moving().is_some() => self.reconsider_first(),
            None => self.first_deployment(),
            Some(stable) if self.grouping.of(&stable).is_empty() => self.fall_back(&stable),
            Some(_) if self.is_winding_back() => {}
            Some(stable) if self.moving().is_some() => self.reconsider(&stable),
            Some(stable) => self.look_for_next(&stable),
        }
        self.say_when_nobody_serves();
    }

    /// The stable version has groups, and none of them can take the traffic that groups of it that went away had.
    fn say_when_nobody_serves(&mut self) {
        let Some(stable) = self.stable().filter(|_| self.rollout().is_none()) else { return };
        let groups = self.grouping.of(&stable);
        let serves = |weight: Option<i32>| weight.is_some_and(|weight| weight > 0);
        if groups.is_empty() || groups.iter().any(|group| serves(self.current(group))) {
            return;
        }
        let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        let text = format!("waits for a healthy target group of {stable} to take the traffic: {}", names.join(", "));
        self.wait(reason::NOTHING_HEALTHY, text);
    }

    /// Takes down how many healthy targets the serving groups had when the rollout began.
    fn remember_health(&mut self) {
        let (Some(rollout), Some(stable), Some(route)) = (self.moving(), self.stable(), self.route()) else { return };
        if !rollout.healthy_at_start.is_empty() {
            return;
        }
        let serving: Vec<&str> = self
            .grouping
            .of(&stable)
            .iter()
            .filter(|group| self.current(group).is_some_and(|weight| weight > 0))
            .map(|group| group.name.as_str())
            .collect();
        // The router reads the health that it is asked for before it says Verified; the time of a reading whose
        // counts are the same as before is not written.
        let asked = |name: &&&str| route.is_verified() && route.desired.health_of.contains(**name);
        let read: BTreeMap<String, u32> = serving
            .iter()
            .filter(asked)
            .filter_map(|name| route.health(name))
            .map(|health| (health.name.clone(), health.healthy))
            .collect();
        if read.len() == serving.len()
            && let Some(rollout) = self.status.rollout.as_mut()
        {
            rollout.healthy_at_start = read;
        }
    }

    fn first_deployment(&mut self) {
        if self.frozen().is_some() || !self.waits.is_empty() {
            return;
        }
        let Some(version) = self.best_version(self.spec.replicas) else {
            let text = self.missing_groups();
            return self.wait(reason::WAITING_FOR_TARGET_GROUPS, text);
        };
        match self.route() {
            None => {
                // Nobody knows yet whether there is a rule with traffic on it: look before anything is written.
                self.look_only = true;
                self.wait(reason::WAITING_FOR_ROUTE, "looks at the load balancer before the first deployment");
            }
            Some(route) if route.is_verified() && self.fits(&version) => {
                self.begin(&version, Start::AtOnce, "first deployment");
            }
            Some(route) if route.is_verified() => {}
            Some(_) => {
                self.look_only = true;
                self.wait_for_route();
            }
        }
    }

    /// A first deployment whose target groups went away before it was done starts over.
    fn reconsider_first(&mut self) {
        let gone = self.canary().is_none_or(|canary| self.grouping.of(&canary).is_empty());
        if gone {
            self.end(RolloutOutcome::Withdrawn, "its target groups went away", "");
            self.finish();
        }
    }

    /// All groups of the stable version are gone.
    fn fall_back(&mut self, stable: &Version) {
        let failed = self.failed_canary();
        let fit = |version: &&Version| !self.is_blocked(version) && failed.as_ref() != Some(*version);
        let Some(next) = self.grouping.versions().find(fit).cloned() else {
            let text = match failed {
                Some(canary) => format!(
                    "no target group of {stable} is left, and the analysis of {canary} failed: the rule stays as it is"
                ),
                None => format!(
                    "no target group of {stable} or of any version that is not blocked is left: the rule stays as it is"
                ),
            };
            return self.wait(reason::NO_TARGET_GROUPS, text);
        };
        let why = format!("the target groups of {stable} are gone");
        if self.canary().as_ref() == Some(&next) && !self.is_winding_back() {
            let total = i32::try_from(self.steps().len()).unwrap_or(i32::MAX);
            if let Some(rollout) = self.status.rollout.as_mut()
                && rollout.current_step_index < total
            {
                rollout.current_step_index = total;
                rollout.reason.clone_from(&why);
                // Whatever its analysis comes to, there is nothing to go back to.
                rollout.current_step_run = None;
                self.end_runs();
                self.note(true, "FallBack", format!("{why}: all traffic goes to {next}"));
            }
            self.status.hold = None;
            return;
        }
        if self.rollout().is_some() {
            if self.moving().is_some() {
                self.end(RolloutOutcome::Withdrawn, &why, "");
            }
            self.finish();
        }
        self.status.hold = None;
        self.begin(&next, Start::AtOnce, &why);
        self.note(true, "FallBack", format!("{why}: all traffic goes to {next}"));
    }

    /// The canary that a failed analysis holds: until a person decides it takes no traffic over, as if it were
    /// blocked (safety.md S4).
    pub fn failed_canary(&self) -> Option<Version> {
        let hold = self.status.hold.as_ref()?;
        self.canary().filter(|_| hold.reason == reason::HELD_ON_FAILURE)
    }

    /// Whether the moving rollout may go on.
    fn reconsider(&mut self, stable: &Version) {
        let Some(canary) = self.canary() else {
            return self.end(RolloutOutcome::Withdrawn, "its version cannot be read", "");
        };
        let needed = if self.is_rollback() { 1 } else { self.spec.replicas };
        let there = self.grouping.of(&canary).len();
        let pin = self.spec.pin.clone();
        if there < needed {
            let text = format!("{there} of {needed} target groups of {canary} are left");
            self.end(RolloutOutcome::Withdrawn, &text, "");
        } else if self.is_blocked(&canary) && pin.as_ref() != Some(&canary) && !self.is_rollback() {
            self.end(RolloutOutcome::Aborted, &format!("{canary} was put on the blocklist"), "");
        } else if let Some(pin) = pin.filter(|pin| *pin != canary) {
            self.end(RolloutOutcome::Superseded, &format!("spec.version asks for {pin}"), "");
        } else if self.spec.pin.is_none() && !self.is_rollback() && self.frozen().is_none() {
            let newer = self.best_version(self.spec.replicas).filter(|best| *best > canary && *best > *stable);
            if let Some(newer) = newer {
                self.end(RolloutOutcome::Superseded, &format!("{newer} is complete and newer"), "");
            }
        }
    }

    /// At rest: is there a version to go to?
    fn look_for_next(&mut self, stable: &Version) {
        if let Some(pin) = self.spec.pin.clone() {
            return self.follow_pin(stable, &pin);
        }
        if self.is_blocked(stable) {
            // What has too few groups would be withdrawn at once, and begun again.
            let complete = |version: &&Version| {
                let needed = if **version < *stable { 1 } else { self.spec.replicas };
                self.grouping.of(version).len() >= needed
            };
            let others = self.grouping.versions().filter(|version| *version != stable);
            let next = others.filter(|version| !self.is_blocked(version)).find(complete).cloned();
            return match next {
                Some(next) if self.fits(&next) => self.begin(&next, Start::AtOnce, &format!("{stable} is blocked")),
                Some(_) => {}
                None => self.wait_for_person(
                    reason::VERSION_BLOCKED,
                    format!("{stable} is blocked and serves: there is no other complete version to go to"),
                ),
            };
        }
        if self.spec.suspend {
            return;
        }
        let next = self.best_version(self.spec.replicas).filter(|best| best > stable);
        if let Some(next) = next
            && self.fits(&next)
        {
            let reason = format!("{} target groups are there", self.grouping.of(&next).len());
            self.begin(&next, Start::Steps, &reason);
        }
    }

    fn follow_pin(&mut self, stable: &Version, pin: &Version) {
        if pin == stable {
            return;
        }
        let back = pin < stable;
        if self.spec.suspend && !back {
            return;
        }
        let failed = self.status.rollout.as_ref().is_some_and(|last| {
            crate::version::parse(&last.version).is_ok_and(|version| version == *pin)
                && matches!(last.outcome, Some(RolloutOutcome::Failed | RolloutOutcome::Aborted))
        });
        if failed && self.is_blocked(pin) {
            let text = format!(
                "spec.version asks for {pin}, which failed and is blocked: okractl retry, or pin another version"
            );
            return self.wait_for_person(reason::VERSION_BLOCKED, text);
        }
        let needed = if back { 1 } else { self.spec.replicas };
        let there = self.grouping.of(pin).len();
        if there < needed {
            let lacks = self.held_back.get(pin).map(|groups| format!("; not ready: {}", groups.join("; ")));
            let lacks = lacks.unwrap_or_default();
            let text = format!("spec.version asks for {pin}, which has {there} of {needed} target groups{lacks}");
            return self.wait(reason::WAITING_FOR_TARGET_GROUPS, text);
        }
        if self.fits(pin) {
            let start = if back { Start::AtOnce } else { Start::Steps };
            self.begin(pin, start, &format!("spec.version asks for {pin}"));
        }
    }

    /// Whether the router can hold the stable groups and what `version` needs. Says so when it cannot.
    fn fits(&mut self, version: &Version) -> bool {
        let stable = self.stable().map_or(0, |stable| self.grouping.of(&stable).len());
        let back = self.stable().is_some_and(|stable| *version < stable);
        let needed = if back { 1 } else { self.spec.replicas };
        let room = self.router.max_groups;
        if stable.min(room).saturating_add(needed) <= room || stable == 0 {
            return true;
        }
        let text = format!(
            "{stable} stable and {needed} new target groups are {} at once, and one action holds {room}: use fewer \
             clusters per version, or one target group for several clusters",
            stable.saturating_add(needed)
        );
        self.wait(reason::CAPACITY_EXCEEDED, text);
        false
    }

    /// The version to go to: the pin, or the highest complete one that is not blocked.
    fn best_version(&self, replicas: usize) -> Option<Version> {
        let complete = |version: &&Version| self.grouping.of(version).len() >= replicas;
        if let Some(pin) = &self.spec.pin {
            return Some(pin).filter(complete).cloned();
        }
        let may = |version: &&Version| !self.is_blocked(version) || is_planted(Planted::BlockedVersionBegins);
        self.grouping.versions().filter(complete).find(may).cloned()
    }

    /// Says how many target groups each version has, where none has enough.
    fn missing_groups(&self) -> String {
        let needed = self.spec.replicas;
        let there: Vec<String> = self
            .grouping
            .versions()
            .map(|version| {
                let blocked = if self.is_blocked(version) { ", blocked" } else { "" };
                format!("{version}: {}{blocked}", self.grouping.of(version).len())
            })
            .collect();
        let there = if there.is_empty() { "none is there".to_owned() } else { there.join("; ") };
        let text = format!("waits for {needed} target group(s) of one version ({there})");
        let held_back: Vec<String> = self.held_back.values().flatten().cloned().collect();
        if held_back.is_empty() { text } else { format!("{text}; not ready: {}", held_back.join("; ")) }
    }

    /// Begins a rollout.
    pub fn begin(&mut self, version: &Version, start: Start, why: &str) {
        let count = self.status.rollout_count.saturating_add(1);
        self.status.rollout_count = count;
        let steps = start == Start::Steps;
        let canary = steps && self.spec.strategy == StrategyType::Canary;
        let blue_green = steps && self.spec.strategy == StrategyType::BlueGreen;
        let rollout = RolloutStatus {
            id: format!("{version}-{count}"),
            version: version.to_string(),
            previous_version: self.status.stable_version.clone(),
            started_at: self.now,
            step_started_at: self.now,
            strategy: self.spec.strategy,
            steps: if canary { self.spec.steps.clone() } else { Vec::new() },
            blue_green_steps: if blue_green { self.spec.blue_green_steps.clone() } else { Vec::new() },
            analysis: self.spec.analysis.clone().filter(|_| canary),
            selector: self.spec.selector.clone(),
            steps_total: i32::try_from(match (canary, blue_green) {
                (true, _) => self.spec.steps.len(),
                (_, true) => self.spec.blue_green_steps.len(),
                _ => 0,
            })
            .unwrap_or(i32::MAX),
            reason: why.to_owned(),
            ..RolloutStatus::default()
        };
        let from = self.status.stable_version.clone().map(|stable| format!(" from {stable}")).unwrap_or_default();
        self.note(false, "RolloutStarted", format!("rollout {}: {version}{from}: {why}", rollout.id));
        self.status.rollout = Some(rollout);
        self.status.hold = None;
        self.status.accepted_weights.clear();
        self.share = 0;
        let old: Vec<String> = self.observed.pauses.keys().cloned().collect();
        self.actions.extend(old.into_iter().map(|name| Action::DeletePause { name }));
    }

    /// Decides how the moving rollout ends. Its traffic goes back from now on.
    pub fn end(&mut self, outcome: RolloutOutcome, why: &str, by: &str) {
        let Some(rollout) = self.status.rollout.as_mut() else { return };
        rollout.outcome = Some(outcome);
        why.clone_into(&mut rollout.reason);
        if !by.is_empty() {
            by.clone_into(&mut rollout.by);
        }
        let (id, version) = (rollout.id.clone(), rollout.version.clone());
        self.status.hold = None;
        self.status.accepted_weights.clear();
        self.share = 0;
        self.end_runs();
        let warning = matches!(outcome, RolloutOutcome::Failed | RolloutOutcome::Withdrawn);
        self.note(warning, "RolloutEnded", format!("rollout {id}: {version}: {outcome:?}: {why}"));
    }

    /// Nothing of this rollout is measured any more.
    pub fn end_runs(&mut self) {
        let runs = self.live_runs().into_iter();
        self.actions.extend(runs.map(|name| Action::TerminateRun { name }));
    }

    /// The runs of this rollout that still measure.
    fn live_runs(&self) -> Vec<String> {
        let prefix = self.child_prefix();
        let live = |phase: RunPhase| matches!(phase, RunPhase::Pending | RunPhase::Running);
        let of_this = self.observed.runs.iter().filter(|(name, run)| name.starts_with(&prefix) && live(run.phase));
        of_this.map(|(name, _)| name.clone()).collect()
    }

    /// What the names of this rollout's children begin with. The counter makes it new for every rollout, so a
    /// name never carries an old verdict.
    pub fn child_prefix(&self) -> String {
        let cell = self.observed.cell.metadata.name.as_deref().unwrap_or("cell");
        let cell: String = cell.chars().take(200).collect();
        let count = if is_planted(Planted::PauseNameReused) { 0 } else { self.status.rollout_count };
        format!("{cell}-r{count}-")
    }

    /// The rollout's traffic came to rest.
    pub fn finish(&mut self) {
        let now = self.now;
        let Some(rollout) = self.status.rollout.as_mut() else { return };
        rollout.finished_at = Some(now);
        rollout.current_step_run = None;
        let record = RolloutRecord {
            id: rollout.id.clone(),
            version: rollout.version.clone(),
            previous_version: rollout.previous_version.clone(),
            outcome: rollout.outcome.unwrap_or(RolloutOutcome::Succeeded),
            reason: rollout.reason.clone(),
            by: rollout.by.clone(),
            started_at: rollout.started_at,
            finished_at: now,
        };
        self.status.history.insert(0, record);
        self.collect_runs();
        self.status.history.truncate(HISTORY);
        // What comes next is decided with the selector of the spec: look again at once.
        self.wake(now);
    }

    /// A step failed.
    pub fn fail(&mut self, why: &str) {
        let Some(version) = self.canary() else { return };
        if self.spec.on_failure == okra_api::cell::OnFailure::Hold {
            let text = format!("{why}; onFailure is Hold: the weights stay until resume, abort or retry");
            return self.hold(reason::HELD_ON_FAILURE, text, "");
        }
        self.block(&version, why);
        self.end(RolloutOutcome::Failed, why, "");
    }

    /// Puts a version on the blocklist.
    pub fn block(&mut self, version: &Version, cause: &str) {
        if !self.is_blocked(version) {
            let item = BlockedVersion { version: version.to_string(), cause: cause.to_owned(), time: Some(self.now) };
            match self
                .actions
                .iter_mut()
                .find_map(|action| if let Action::Block(items) = action { Some(items) } else { None })
            {
                Some(items) => items.push(item),
                None => self.actions.push(Action::Block(vec![item])),
            }
            self.blocked.push(version.clone());
        }
    }

    /// Takes a version off the blocklist.
    pub fn unblock(&mut self, version: &Version) {
        if self.is_blocked(version) {
            self.actions.push(Action::Unblock { version: version.to_string() });
            self.blocked.retain(|blocked| blocked != version);
        }
    }

    /// Holds the weights until a person decides.
    pub fn hold(&mut self, reason: &'static str, message: String, by: &str) {
        self.note(true, reason, message.clone());
        self.status.hold = Some(Hold { reason: reason.to_owned(), message, by: by.to_owned(), since: self.now });
    }
}
