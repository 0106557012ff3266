//! How a rollout goes from step to step.

use jiff::{SignedDuration, Timestamp};
use okra_api::{PausePhase, RunPhase, cell_status::RolloutOutcome, condition::reason};

use super::{
    observed::ObservedRun,
    plan::{Action, Planner},
    steps::{RolloutStep, share_at},
};
use crate::planted::{Planted, is_planted};

/// What became of a step.
enum Progress {
    Done,
    Waits,
}

impl Planner<'_> {
    /// Advances the rollout as far as it goes now.
    pub fn advance(&mut self) {
        if self.is_winding_back() {
            return self.wind_back();
        }
        if self.moving().is_none() && self.status.hold.is_none() {
            return;
        }
        if self.fails_while_held() {
            return self.conclude_advance();
        }
        if let Some(why) = self.frozen().filter(|_| !self.is_rollback()) {
            self.take_back_share();
            let reason = self.frozen_reason();
            return self.wait_for_person(reason, why);
        }
        if !self.is_canary_ready() {
            self.share = 0;
            return;
        }
        if !self.is_background_in_order() {
            return self.conclude_advance();
        }
        while self.moving().is_some() && self.status.hold.is_none() {
            let (steps, index) = (self.steps(), self.step_index());
            self.set_share(share_at(&steps, index + usize::from(is_planted(Planted::ShareOneStepAhead))));
            let progress = match steps.get(index) {
                None => {
                    self.complete();
                    Progress::Waits
                }
                Some(RolloutStep::SetWeight(_) | RolloutStep::StepWeight(_)) => self.weight_step(),
                Some(RolloutStep::Pause(duration)) => self.pause_step(*duration),
                Some(RolloutStep::Analysis) => self.run_step("analysis", "AnalysisRun"),
                Some(RolloutStep::Experiment) => self.run_step("experiment", "Experiment"),
            };
            match progress {
                Progress::Done => self.next_step(),
                Progress::Waits => break,
            }
        }
        self.conclude_advance();
    }

    /// A step that failed goes back at once; one that holds says so.
    fn conclude_advance(&mut self) {
        if self.is_winding_back() {
            self.wind_back();
        } else if let Some(hold) = self.status.hold.clone().filter(|_| self.waits.is_empty()) {
            let reason = self.frozen_reason();
            self.wait_for_person(reason, hold.message);
        }
    }

    /// The reason of the hold, as one of the constants.
    pub fn frozen_reason(&self) -> &'static str {
        let known = [reason::PAUSED_BY_PERSON, reason::INCONCLUSIVE, reason::HELD_ON_FAILURE, reason::STATE_LOST];
        let hold = self.status.hold.as_ref().map(|hold| hold.reason.as_str());
        known.into_iter().find(|known| Some(*known) == hold).unwrap_or(reason::SUSPENDED)
    }

    fn set_share(&mut self, share: i32) {
        self.share = share;
        if let Some(rollout) = self.status.rollout.as_mut()
            && rollout.canary_weight != share
        {
            rollout.canary_weight = share;
            self.status.accepted_weights.clear();
        }
    }

    /// A raise that the route does not ask for, or that is taken back, because nothing may move is not due any more,
    /// whatever else changes meanwhile.
    fn take_back_share(&mut self) {
        let Some(held) = self.frozen_share().filter(|held| *held < self.share) else { return };
        self.share = held;
        if let Some(rollout) = self.status.rollout.as_mut() {
            rollout.canary_weight = held;
        }
    }

    /// The current step is done.
    pub fn next_step(&mut self) {
        let now = self.now;
        if let Some(rollout) = self.status.rollout.as_mut() {
            rollout.current_step_index = rollout.current_step_index.saturating_add(1);
            rollout.step_started_at = now;
            rollout.current_step_run = None;
        }
        self.status.waiting_since = None;
    }

    fn wind_back(&mut self) {
        self.share = 0;
        match self.desired() {
            Some(desired) if self.is_settled(&desired) => {
                let stable = self.status.stable_version.clone().unwrap_or_default();
                self.note(false, "TrafficBack", format!("all traffic is back at {stable}"));
                self.finish();
            }
            Some(_) => self.wait_for_route(),
            None => self.wait(reason::NOTHING_HEALTHY, "no stable target group is left to take the traffic back"),
        }
    }

    /// The canary has all traffic: is it verified?
    fn complete(&mut self) {
        if let Some(share) = self.accepted_share().filter(|share| *share < 100) {
            // Nothing comes after that would give it the rest, and a version without all traffic is not stable.
            if let Some(rollout) = self.status.rollout.as_mut() {
                rollout.canary_weight = share;
            }
            let text = format!("the weights stay as a person accepted them, with {share} % for the new version");
            let text = format!("{text}: resume gives it all traffic, abort goes back");
            return self.hold(reason::PAUSED_BY_PERSON, text, "");
        }
        if !self.canary_carries() {
            return;
        }
        match self.desired() {
            Some(desired) if self.is_settled(&desired) => {
                let Some(rollout) = self.status.rollout.as_mut() else { return };
                rollout.outcome = Some(RolloutOutcome::Succeeded);
                let version = rollout.version.clone();
                self.note(false, "RolloutSucceeded", format!("{version} serves all traffic and is stable"));
                self.status.stable_version = Some(version);
                self.end_runs();
                self.finish();
            }
            Some(_) => self.wait_for_route(),
            None => self.wait(reason::NOTHING_HEALTHY, "no target group can take the traffic"),
        }
    }

    fn weight_step(&mut self) -> Progress {
        if !self.canary_carries() {
            return Progress::Waits;
        }
        match self.desired() {
            Some(desired) if self.is_settled(&desired) || is_planted(Planted::StepDoneBeforeReadBack) => Progress::Done,
            Some(_) => {
                self.wait_for_route();
                Progress::Waits
            }
            None => {
                self.wait(reason::NOTHING_HEALTHY, "no target group can take the traffic");
                Progress::Waits
            }
        }
    }

    fn pause_step(&mut self, duration: Option<SignedDuration>) -> Progress {
        let name = self.child_name("pause");
        self.set_run(&name);
        match self.observed.pauses.get(&name) {
            Some(pause) if matches!(pause.phase, Some(PausePhase::Expired | PausePhase::Cancelled)) => Progress::Done,
            Some(pause) => {
                self.wait_for_pause(pause.expire_time);
                Progress::Waits
            }
            None => {
                let Some(rollout) = self.moving() else { return Progress::Waits };
                let expire_time = duration.and_then(|duration| rollout.step_started_at.checked_add(duration).ok());
                let (rollout, step) = (rollout.id.clone(), rollout.current_step_index);
                self.actions.push(Action::CreatePause { name, expire_time, rollout, step });
                self.wait_for_pause(expire_time);
                Progress::Waits
            }
        }
    }

    fn wait_for_pause(&mut self, expire_time: Option<Timestamp>) {
        let until = expire_time.map_or("until a person resumes".to_owned(), |at| format!("until {at}"));
        self.wait_for_person(reason::PAUSE_STEP, format!("{}: pause {until}", self.step_words()));
    }

    fn run_step(&mut self, suffix: &str, kind: &str) -> Progress {
        let name = self.child_name(suffix);
        self.set_run(&name);
        let Some(run) = self.observed.runs.get(&name) else {
            if kind == "AnalysisRun" {
                self.make_step_run(&name);
            } else {
                self.make_experiment(&name);
            }
            return Progress::Waits;
        };
        let because = because(run);
        match run.phase {
            RunPhase::Successful => return Progress::Done,
            RunPhase::Error if is_planted(Planted::ErrorCountsAsPass) => return Progress::Done,
            RunPhase::Failed | RunPhase::Error => self.fail(&format!("{kind} {name} ended {:?}{because}", run.phase)),
            RunPhase::Inconclusive => {
                let text = format!("{kind} {name} could not tell{because}: resume goes on, abort goes back");
                self.hold(reason::INCONCLUSIVE, text, "");
            }
            RunPhase::Pending => {
                // Whoever carries runs out has not begun: the progress deadline counts.
                let text = format!("{}: {kind} {name} is {:?}{because}", self.step_words(), run.phase);
                self.wait(reason::ROLLING_OUT, text);
            }
            RunPhase::Running => {
                let text = format!("{}: {kind} {name} is {:?}{because}", self.step_words(), run.phase);
                self.wait_for_person(reason::ROLLING_OUT, text);
            }
        }
        Progress::Waits
    }

    /// An analysis that fails while the rollout is held goes back as it would without the hold (safety.md L3). Whoever
    /// holds a failure, or suspends the Cell, wants nothing to move.
    fn fails_while_held(&mut self) -> bool {
        let held = [reason::PAUSED_BY_PERSON, reason::INCONCLUSIVE];
        let is_held = self.status.hold.as_ref().is_some_and(|hold| held.contains(&hold.reason.as_str()));
        let Some(rollout) = self.moving().filter(|_| is_held && !self.spec.suspend) else { return false };
        let background = rollout.analysis.as_ref().map(|_| self.background_name());
        let names = background.into_iter().chain(rollout.current_step_run.clone());
        let runs = names.filter_map(|name| Some((self.observed.runs.get(&name)?, name)));
        let failed = runs.into_iter().find(|(run, _)| matches!(run.phase, RunPhase::Failed | RunPhase::Error));
        let Some((run, name)) = failed else { return false };
        let because = because(run);
        self.fail(&format!("{name} ended {:?}{because}", run.phase));
        true
    }

    /// Judges the background analysis. Without it a rollout that asks for one may not go on.
    fn is_background_in_order(&mut self) -> bool {
        let index = self.moving().map_or(0, |rollout| rollout.current_step_index);
        let analysis = self.moving().and_then(|rollout| rollout.analysis.as_ref());
        let is_due = analysis.is_some_and(|analysis| index >= analysis.starting_step.unwrap_or(0));
        let done = self.step_index() >= self.steps().len();
        let falls_back = || self.stable().is_none_or(|stable| self.grouping.of(&stable).is_empty());
        if !is_due || done && falls_back() {
            return true;
        }
        let name = self.background_name();
        let Some(run) = self.observed.runs.get(&name) else {
            if done {
                return true;
            }
            self.make_background_run(&name);
            return false;
        };
        let because = because(run);
        match run.phase {
            RunPhase::Failed | RunPhase::Error => {
                self.fail(&format!("background AnalysisRun {name} ended {:?}{because}", run.phase));
                false
            }
            RunPhase::Inconclusive => {
                let text =
                    format!("background AnalysisRun {name} could not tell{because}: resume goes on, abort goes back");
                self.hold(reason::INCONCLUSIVE, text, "");
                false
            }
            RunPhase::Successful | RunPhase::Pending | RunPhase::Running => true,
        }
    }

    /// Name of the background AnalysisRun.
    pub fn background_name(&self) -> String {
        format!("{}bg", self.child_prefix())
    }

    /// Name of the current step's Pause, AnalysisRun or Experiment.
    pub fn child_name(&self, suffix: &str) -> String {
        format!("{}{}-{suffix}", self.child_prefix(), self.step_index())
    }

    fn set_run(&mut self, name: &str) {
        if let Some(rollout) = self.status.rollout.as_mut() {
            rollout.current_step_run = Some(name.to_owned());
        }
    }

    /// "step 2 of 5".
    pub fn step_words(&self) -> String {
        format!("step {} of {}", self.step_index().saturating_add(1), self.steps().len())
    }
}

/// What a run says of its end, as the tail of a sentence; empty when it says nothing.
fn because(run: &ObservedRun) -> String {
    if run.message.is_empty() { String::new() } else { format!(": {}", run.message) }
}
