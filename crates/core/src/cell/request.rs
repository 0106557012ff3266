//! What a person asks, carried out once.

use okra_api::{
    PausePhase, Request, RouteOutcome, RunPhase, Verb, cell_status::RolloutOutcome, condition::reason,
    names::REQUEST_ANNOTATION, request::RequestRecord,
};

use super::{
    plan::{Action, Planner},
    transition::Start,
};
use crate::{
    planted::{Planted, is_planted},
    version::{self, Version},
};

impl Planner<'_> {
    /// Acts on the request in the Cell's annotation, if it is a new one.
    pub fn answer_request(&mut self) {
        let annotations = self.observed.cell.metadata.annotations.as_ref();
        let Some(text) = annotations.and_then(|annotations| annotations.get(REQUEST_ANNOTATION)) else { return };
        let request: Request = match serde_json::from_str(text) {
            Ok(request) => request,
            Err(error) => {
                let text =
                    format!("annotation {REQUEST_ANNOTATION} cannot be read: {error}: use okractl to make requests");
                return self.wait_for_person(reason::INVALID_SPEC, text);
            }
        };
        let known = self.status.last_request.as_ref().is_some_and(|last| last.id == request.id);
        if known && !is_planted(Planted::RequestRepeated) {
            return;
        }
        let answer = self.carry_out(&request);
        let accepted = answer.is_ok();
        let message = answer.unwrap_or_else(|refusal| refusal);
        let by = name_of(&request.user);
        let verb = request.verb.as_str();
        self.note(
            !accepted,
            if accepted { "RequestAccepted" } else { "RequestRefused" },
            format!("{verb} by {by}: {message}"),
        );
        self.status.last_request = Some(RequestRecord {
            id: request.id,
            verb: request.verb,
            user: request.user,
            at: self.now,
            accepted,
            message,
        });
    }

    fn carry_out(&mut self, request: &Request) -> Result<String, String> {
        self.check_sight(request)?;
        match request.verb {
            Verb::Promote => self.promote(request),
            Verb::Pause => self.pause(request),
            Verb::Resume => self.resume(request),
            Verb::Abort => self.abort(request),
            Verb::Undo => self.undo(request),
            Verb::Retry => self.retry(request),
            Verb::Unblock => self.unblock_version(request),
        }
    }

    /// Refuses a request for another rollout or step than the present one.
    fn check_sight(&self, request: &Request) -> Result<(), String> {
        if is_planted(Planted::SightIgnored) {
            return Ok(());
        }
        let present = self.status.rollout.as_ref();
        if let Some(seen) =
            request.rollout_id.as_ref().filter(|seen| present.is_none_or(|rollout| rollout.id != **seen))
        {
            let now = present.map_or("there is none".to_owned(), |rollout| format!("it is {} now", rollout.id));
            return Err(format!("refused: it was asked of rollout {seen}, and {now}; look again"));
        }
        let step = present.map(|rollout| rollout.current_step_index);
        match request.step {
            Some(seen) if request.verb == Verb::Promote && step != Some(seen) => Err(format!(
                "refused: it was asked at step {}, and the rollout has moved on; look again",
                seen.saturating_add(1)
            )),
            _ => Ok(()),
        }
    }

    fn need_moving(&self, instead: &str) -> Result<Version, String> {
        self.canary().ok_or_else(|| format!("refused: no rollout is under way{instead}"))
    }

    fn promote(&mut self, request: &Request) -> Result<String, String> {
        self.need_moving("")?;
        let total = self.steps().len();
        let full = request.args.get("full").is_some_and(|full| full == "true");
        let skipped = self.step_words();
        self.leave_step();
        self.status.hold = None;
        if let Some(rollout) = self.status.rollout.as_mut() {
            name_of(&request.user).clone_into(&mut rollout.by);
        }
        if full {
            self.drop_background();
            let total = i32::try_from(total).unwrap_or(i32::MAX);
            if let Some(rollout) = self.status.rollout.as_mut() {
                rollout.current_step_index = total;
            }
            return Ok("all remaining steps are skipped".to_owned());
        }
        if self.step_index() >= total {
            return Err("refused: all steps are done already".to_owned());
        }
        self.next_step();
        Ok(format!("{skipped} is skipped"))
    }

    fn pause(&mut self, request: &Request) -> Result<String, String> {
        self.need_moving("; set spec.suspend to keep one from beginning")?;
        if self.is_rollback() {
            return Err(
                "refused: traffic is going back, that is not held up; pin another version with spec.version".to_owned()
            );
        }
        if self.status.hold.is_some() {
            return Err("refused: the rollout is held already".to_owned());
        }
        if is_planted(Planted::PauseIgnored) {
            return Ok("the weights are held".to_owned());
        }
        self.hold(
            reason::PAUSED_BY_PERSON,
            "a person paused the rollout: resume goes on, abort goes back".to_owned(),
            name_of(&request.user),
        );
        Ok("the weights are held".to_owned())
    }

    fn resume(&mut self, request: &Request) -> Result<String, String> {
        if let Some(answer) = self.resolve_foreign_edit(request)? {
            return Ok(answer);
        }
        let Some(hold) = self.status.hold.clone() else { return self.resume_pause_step() };
        if hold.reason == reason::STATE_LOST {
            let (_, heavy) = self.split_sides().ok_or("refused: the rule is not split any more; look again")?;
            self.status.stable_version = Some(heavy.to_string());
            self.status.hold = None;
            return Ok(format!("{heavy} is stable"));
        }
        self.status.hold = None;
        if hold.reason == reason::PAUSED_BY_PERSON {
            return Ok("the rollout goes on".to_owned());
        }
        // Inconclusive, or failed and held: going on means that this verdict no longer counts.
        let mut dropped = Vec::new();
        if self.run_is_bad(&self.background_name()) {
            self.drop_background();
            dropped.push("the background analysis".to_owned());
        }
        let current = self.moving().and_then(|rollout| rollout.current_step_run.clone());
        if current.is_some_and(|name| self.run_is_bad(&name)) {
            dropped.push(self.step_words());
            self.next_step();
        }
        if let Some(rollout) = self.status.rollout.as_mut() {
            name_of(&request.user).clone_into(&mut rollout.by);
        }
        Ok(format!("the rollout goes on without {}", dropped.join(" and ")))
    }

    fn resume_pause_step(&mut self) -> Result<String, String> {
        self.need_moving("")?;
        let name = self.child_name("pause");
        let running = self
            .observed
            .pauses
            .get(&name)
            .is_some_and(|pause| !matches!(pause.phase, Some(PausePhase::Expired | PausePhase::Cancelled)));
        if !running {
            return Err("refused: the rollout is not paused".to_owned());
        }
        let words = self.step_words();
        self.leave_step();
        self.next_step();
        Ok(format!("{words}: the pause is over"))
    }

    /// `resume --accept-weights | --restore` after a foreign edit.
    fn resolve_foreign_edit(&mut self, request: &Request) -> Result<Option<String>, String> {
        let accept = request.args.get("acceptWeights").is_some_and(|value| value == "true");
        let restore = request.args.get("restore").is_some_and(|value| value == "true");
        let foreign = self.route().filter(|route| route.outcome() == Some(RouteOutcome::Foreign));
        let Some(route) = foreign else {
            return if accept || restore {
                Err("refused: nobody else has changed the rule".to_owned())
            } else {
                Ok(None)
            };
        };
        if restore {
            self.overwrite = route.status.foreign.as_ref().map(|foreign| foreign.fingerprint.clone());
            return Ok(Some("the rule is written back".to_owned()));
        }
        if !accept {
            return Err(
                "refused: somebody else changed the rule: say --accept-weights to keep it, --restore to write it back"
                    .to_owned(),
            );
        }
        let mut weights = std::collections::BTreeMap::new();
        for weight in &route.status.weights {
            let known = route.desired.groups.iter().find(|group| group.id == weight.id);
            let known = known.ok_or_else(|| {
                format!("refused: the rule names {}, which this Cell does not know: use --restore", weight.id)
            })?;
            weights.insert(known.name.clone(), weight.weight);
        }
        self.overwrite = route.status.foreign.as_ref().map(|foreign| foreign.fingerprint.clone());
        self.status.accepted_weights = weights;
        Ok(Some("the weights count as they are until the next weight step".to_owned()))
    }

    fn abort(&mut self, request: &Request) -> Result<String, String> {
        let version = self.need_moving("; use undo after it succeeded")?;
        if self.stable().is_none() {
            return Err("refused: this is the first deployment, there is nothing to go back to".to_owned());
        }
        if self.is_rollback() {
            return Err("refused: traffic is going back already; pin another version with spec.version".to_owned());
        }
        if !is_planted(Planted::AbortIgnored) {
            self.block(&version, &format!("aborted by {}", name_of(&request.user)));
            self.end(RolloutOutcome::Aborted, "a person aborted it", name_of(&request.user));
        }
        self.overwrite = self.foreign_fingerprint();
        Ok(format!(
            "all traffic goes back to {}; {version} is blocked",
            self.status.stable_version.clone().unwrap_or_default()
        ))
    }

    fn undo(&mut self, request: &Request) -> Result<String, String> {
        if self.status.hold.as_ref().is_some_and(|hold| hold.reason == reason::STATE_LOST) {
            let (low, _) = self.split_sides().ok_or("refused: the rule is not split any more; look again")?;
            self.status.stable_version = Some(low.to_string());
            self.status.hold = None;
            self.block_newer(&low, &request.user);
            return Ok(format!("all traffic goes back to {low}"));
        }
        if self.moving().is_some() {
            return Err("refused: a rollout is under way; use abort".to_owned());
        }
        let stable = self.stable().ok_or("refused: nothing serves yet")?;
        let older = |text: &String| version::parse(text).is_ok_and(|version| version < stable);
        let to = request.args.get("to").cloned().or_else(|| {
            let succeeded = self.status.history.iter().filter(|record| record.outcome == RolloutOutcome::Succeeded);
            succeeded.filter_map(|record| record.previous_version.clone()).find(older)
        });
        let to = to.ok_or("refused: there is no version before; say --to VERSION")?;
        let to = version::parse(&to).map_err(|error| format!("refused: {error}"))?;
        if to >= stable {
            return Err(format!("refused: {to} is not older than {stable}"));
        }
        if self.grouping.of(&to).is_empty() {
            return Err(format!("refused: no target group of {to} is left"));
        }
        if self.is_blocked(&to) {
            return Err(format!("refused: {to} is blocked: unblock it first, or say --to VERSION"));
        }
        self.block_newer(&to, &request.user);
        self.begin(&to, Start::AtOnce, "a person went back");
        if let Some(rollout) = self.status.rollout.as_mut() {
            name_of(&request.user).clone_into(&mut rollout.by);
        }
        Ok(format!("all traffic goes back to {to}; newer versions are blocked"))
    }

    fn retry(&mut self, request: &Request) -> Result<String, String> {
        let last = self.status.rollout.clone().ok_or("refused: there was no rollout yet")?;
        let version = version::parse(&last.version).map_err(|error| format!("refused: {error}"))?;
        if self.stable().as_ref() == Some(&version) {
            return Err(format!("refused: {version} is stable already"));
        }
        self.unblock(&version);
        if self.moving().is_some() {
            let stable = self.stable().ok_or("refused: the first deployment is under way")?;
            self.end(RolloutOutcome::Superseded, "a person began it again", name_of(&request.user));
            self.finish();
            let back = version < stable;
            self.begin(&version, if back { Start::AtOnce } else { Start::Steps }, "a person began it again");
        }
        Ok(format!("{version} begins again at step 1"))
    }

    fn unblock_version(&mut self, request: &Request) -> Result<String, String> {
        let text = request.args.get("version").ok_or("refused: say which version")?;
        let version = version::parse(text).map_err(|error| format!("refused: {error}"))?;
        if !self.is_blocked(&version) {
            return Err(format!("refused: {version} is not blocked"));
        }
        self.unblock(&version);
        Ok(format!("{version} may get traffic again"))
    }

    /// Blocks every version above this one that has target groups, and the one that serves.
    fn block_newer(&mut self, than: &Version, user: &str) {
        let newer: Vec<Version> = self.grouping.versions().filter(|version| *version > than).cloned().collect();
        let cause = format!("undone by {}", name_of(user));
        let stable = self.stable().filter(|stable| stable > than);
        for version in newer.into_iter().chain(stable) {
            self.block(&version, &cause);
        }
    }

    /// The two versions of a split rule: the lower one, and the one with more weight.
    fn split_sides(&self) -> Option<(Version, Version)> {
        let mut shares: std::collections::BTreeMap<Version, i32> = std::collections::BTreeMap::new();
        for group in self.grouping.all() {
            let weight = self.current(group).filter(|weight| *weight > 0);
            if let Some(weight) = weight {
                *shares.entry(group.version.clone()).or_default() += weight;
            }
        }
        let low = shares.keys().next().cloned()?;
        let heavy = shares.iter().max_by_key(|(version, weight)| (**weight, std::cmp::Reverse(*version)))?.0.clone();
        Some((low, heavy))
    }

    /// Ends what the current step waits for.
    fn leave_step(&mut self) {
        let Some(name) = self.moving().and_then(|rollout| rollout.current_step_run.clone()) else { return };
        if self.observed.pauses.contains_key(&name) {
            self.actions.push(Action::CancelPause { name });
        } else if self
            .observed
            .runs
            .get(&name)
            .is_some_and(|run| matches!(run.phase, RunPhase::Pending | RunPhase::Running))
        {
            self.actions.push(Action::TerminateRun { name });
        }
    }

    fn drop_background(&mut self) {
        let name = self.background_name();
        if self.observed.runs.get(&name).is_some_and(|run| matches!(run.phase, RunPhase::Pending | RunPhase::Running)) {
            self.actions.push(Action::TerminateRun { name });
        }
        if let Some(rollout) = self.status.rollout.as_mut() {
            rollout.analysis = None;
        }
    }

    fn run_is_bad(&self, name: &str) -> bool {
        self.observed
            .runs
            .get(name)
            .is_some_and(|run| matches!(run.phase, RunPhase::Failed | RunPhase::Error | RunPhase::Inconclusive))
    }

    fn foreign_fingerprint(&self) -> Option<String> {
        let route = self.route().filter(|route| route.outcome() == Some(RouteOutcome::Foreign))?;
        route.status.foreign.as_ref().map(|foreign| foreign.fingerprint.clone())
    }
}

fn name_of(user: &str) -> &str {
    if user.is_empty() { "somebody" } else { user }
}
