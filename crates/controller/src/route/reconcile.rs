//! One reconcile of one route object.

use std::{future::Future, sync::Arc, time::Duration};

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use okra_api::{
    RouteOutcome, RouteStatus,
    condition::reason,
    names::{ADOPT_RULE_ANNOTATION, ROUTE_FINALIZER},
    route::DeletionPolicy,
};
use okra_core::field::FieldError;
use okra_core::route::{
    Adopt, Change, DELETION_PATIENCE, Failure, GroupHealth, Identity, Intent, Lane, Observed, Reading, RouteInput,
    RoutePlan, Sent, check, failed, plan, same_but_for_times,
};
use okra_provider::{
    BackendError, CallContext, EventNote, Key, Kind, RouterError, RouterErrorKind, TrafficRouter, router::Disposition,
};
use serde_json::json;

use super::{
    RouteController, RouteKind,
    fence::Fence,
    memory::Memory,
    report::{self, Subject},
};
use crate::reconciler::{Next, ReconcileError};

/// So many changes are made in one reconcile, each read back; what is left is done in the next.
const MAX_CHANGES: usize = 3;
/// A plan asks for a read, for health, and then decides: more steps than these between two changes are a fault.
const MAX_STEPS: usize = 24;

/// A failure of the same kind is not written again within this time.
const FAILURE_REPEAT: SignedDuration = SignedDuration::from_secs(60);

pub(super) struct Run<'a, K> {
    controller: &'a RouteController<K>,
    key: &'a Key,
    subject: Subject,
    object: Arc<K>,
    memory: Memory,
    /// The status that the last plan left; the one in `object` is the one that was written.
    status: RouteStatus,
    observed: Option<Observed>,
    failure: Option<String>,
    notes: Vec<EventNote>,
}

/// How the loop over plans goes on.
enum Step {
    Again,
    Done(Next),
}

impl<'a, K: RouteKind> Run<'a, K> {
    pub(super) fn new(controller: &'a RouteController<K>, key: &'a Key, object: Arc<K>, memory: Memory) -> Self {
        let meta = object.meta();
        let subject = Subject {
            kind: Kind::of::<K>(),
            key: key.clone(),
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
        };
        let status = object.status().cloned().unwrap_or_default();
        Self { controller, key, subject, object, memory, status, observed: None, failure: None, notes: Vec::new() }
    }

    pub(super) fn into_memory(self) -> Memory {
        self.memory
    }

    pub(super) async fn reconcile(&mut self) -> Result<Next, ReconcileError> {
        let before = self.status.clone();
        let next = self.run().await;
        // Events come after the status, and tell of what was written, even when a later step failed.
        let after = self.object.status().cloned().unwrap_or_default();
        self.notes.extend(self.subject.decided(&before, &after));
        for note in std::mem::take(&mut self.notes) {
            self.controller.context.events.publish(note).await;
        }
        next
    }

    async fn run(&mut self) -> Result<Next, ReconcileError> {
        let deleting = self.deleting();
        if deleting.is_some() && !self.has_finalizer() {
            return Ok(Next::IDLE);
        }
        let Some(router) = self.controller.context.router.clone() else {
            return self.cannot(reason::UNSUPPORTED_INGRESS, K::WITHOUT_ROUTER.to_owned()).await;
        };
        let intent = match self.object.intent(&self.identity()) {
            Ok(intent) => intent,
            Err(faults) => return self.cannot(reason::INVALID_SPEC, FieldError::join(&faults)).await,
        };
        if deleting.is_none() && self.object.deletion_policy() == DeletionPolicy::Delete && !self.has_finalizer() {
            self.add_finalizer().await?;
        }
        self.memory.begin(self.object.meta().uid.as_deref(), self.subject.generation, &intent);
        let mut changes = 0;
        for _ in 0..MAX_STEPS {
            let now = self.now();
            let input = self.input(&intent, router.as_ref());
            let plan = check(&input, plan(&input, now), now);
            if plan.change.is_some() {
                if changes == MAX_CHANGES {
                    self.write(plan.status).await?;
                    return Ok(Next::at(now));
                }
                changes += 1;
            }
            if let Step::Done(next) = self.carry_out(router.as_ref(), &intent, plan).await? {
                return Ok(next);
            }
        }
        Err(ReconcileError {
            category: "Bug",
            disposition: Disposition::Bug,
            message: format!("the plan of {} {} does not come to rest", self.subject.kind, self.key),
        })
    }

    fn now(&self) -> Timestamp {
        self.controller.context.clock.now()
    }

    fn deleting(&self) -> Option<Timestamp> {
        self.object.meta().deletion_timestamp.as_ref().map(|time| time.0)
    }

    fn identity(&self) -> Identity {
        let annotations = self.object.meta().annotations.as_ref();
        let adopt = annotations.and_then(|annotations| annotations.get(ADOPT_RULE_ANNOTATION));
        Identity {
            owner: self.key.to_string(),
            installation: self.controller.context.installation.clone(),
            known_rule: self.status.rule_arn.clone(),
            adopt: Adopt::from_annotation(adopt.map(String::as_str)),
        }
    }

    fn input(&self, intent: &Intent, router: &dyn TrafficRouter) -> RouteInput {
        RouteInput {
            intent: intent.clone(),
            generation: self.subject.generation,
            previous: self.status.clone(),
            capabilities: router.capabilities(),
            observed: self.observed.clone(),
            last_look: self.memory.last_look,
            health: self.memory.health.clone(),
            waiting_since: self.memory.waiting_since,
            waits_for: self.memory.waits_for.clone(),
            sent: self.memory.sent.clone(),
            deleting: self.deleting(),
            deletion_policy: self.object.deletion_policy(),
            failure: self.failure.clone(),
            health_of: self.object.health_of().to_vec(),
            overwrite: self.object.overwrite().map(str::to_owned),
            way_back: self.object.way_back(),
            former_intents: self.object.former_intents().map(<[String]>::to_vec),
            claimed_by: self.controller.claimed_by(&self.object),
            drift_interval: self.controller.drift_interval(self.memory.last_look),
        }
    }

    /// Carries a plan out: takes no decision.
    async fn carry_out(
        &mut self,
        router: &dyn TrafficRouter,
        intent: &Intent,
        plan: RoutePlan,
    ) -> Result<Step, ReconcileError> {
        if plan.observe {
            return self.observe(router, intent, plan.lane).await;
        }
        if !plan.read_health.is_empty() {
            return self.read_health(router, intent, plan).await;
        }
        if let Some(change) = plan.change.clone() {
            return self.change(router, intent, change, plan).await;
        }
        self.finish(plan).await.map(Step::Done)
    }

    async fn finish(&mut self, plan: RoutePlan) -> Result<Next, ReconcileError> {
        let now = self.now();
        self.memory.rest(&plan, now);
        if let Some(warning) = &plan.warning {
            tracing::warn!(kind = %self.subject.kind, object = %self.key, "{warning}");
        }
        if plan.release {
            self.notes.extend(plan.warning.as_deref().map(|warning| self.subject.warned(warning)));
            self.remove_finalizer().await?;
            return Ok(Next::IDLE);
        }
        self.write(plan.status).await?;
        Ok(Next { wake_at: plan.wake_at })
    }

    async fn observe(
        &mut self,
        router: &dyn TrafficRouter,
        intent: &Intent,
        lane: Lane,
    ) -> Result<Step, ReconcileError> {
        match self.limited(router.observe(intent, &self.call(lane))).await {
            Ok(observed) => {
                self.observed = Some(observed);
                self.memory.last_look = Some(self.now());
                Ok(Step::Again)
            }
            Err(error) => self.call_failed(error, true).await,
        }
    }

    async fn read_health(
        &mut self,
        router: &dyn TrafficRouter,
        intent: &Intent,
        plan: RoutePlan,
    ) -> Result<Step, ReconcileError> {
        // All at once: when calls wait for the rate limit, the first reading would be old when the last one comes.
        let calls = plan.read_health.iter().map(|id| self.sure_health_of(router, intent, id, plan.lane));
        let answers = join_all(calls).await;
        let (mut failure, now) = (None, self.now());
        for (id, answer) in plan.read_health.iter().zip(answers) {
            match answer {
                Ok(health) => _ = self.memory.health.insert(id.clone(), Reading { health, at: now }),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let Some(error) = failure else { return Ok(Step::Again) };
        // What the rule held was read before: it counts although the health is not known.
        self.status = plan.status;
        self.call_failed(error, true).await
    }

    /// Reads the health of a group and keeps it. Whether there is such a group.
    async fn read_health_of(
        &mut self,
        router: &dyn TrafficRouter,
        intent: &Intent,
        id: &str,
        lane: Lane,
    ) -> Result<bool, RouterError> {
        let health = self.sure_health_of(router, intent, id, lane).await?;
        self.memory.health.insert(id.to_owned(), Reading { health, at: self.now() });
        Ok(!health.gone)
    }

    /// Traffic leaves a group that is gone at once, so that the first answer that says so is asked for again.
    async fn sure_health_of(
        &self,
        router: &dyn TrafficRouter,
        intent: &Intent,
        id: &str,
        lane: Lane,
    ) -> Result<GroupHealth, RouterError> {
        let health = self.health_of(router, intent, id, lane).await?;
        if health.gone && !self.memory.health.get(id).is_some_and(|last| last.health.gone) {
            return self.health_of(router, intent, id, lane).await;
        }
        Ok(health)
    }

    async fn health_of(
        &self,
        router: &dyn TrafficRouter,
        intent: &Intent,
        id: &str,
        lane: Lane,
    ) -> Result<GroupHealth, RouterError> {
        match self.limited(router.health(intent, id, &self.call(lane))).await {
            Err(error) if error.kind == RouterErrorKind::GroupNotFound => {
                Ok(GroupHealth { gone: true, ..GroupHealth::default() })
            }
            answer => answer,
        }
    }

    async fn change(
        &mut self,
        router: &dyn TrafficRouter,
        intent: &Intent,
        change: Change,
        plan: RoutePlan,
    ) -> Result<Step, ReconcileError> {
        if plan.record_first {
            self.write(plan.status.clone()).await?;
        }
        self.confirm().await?;
        if !self.fence().is_current() {
            // The spec was changed while we looked: what is about to be sent is not wanted any more.
            return Ok(Step::Done(Next::at(self.now())));
        }
        self.controller.context.decisions.append(&self.subject.decision(&change, &plan, self.now()));
        tracing::info!(
            kind = %self.subject.kind,
            object = %self.key,
            generation = self.subject.generation,
            lane = ?plan.lane,
            rule = self.status.rule_arn.as_deref().unwrap_or_default(),
            action = change.action(),
            "{}",
            plan.report
        );
        self.status = plan.status;
        self.observed = None;
        match self.limited(router.apply(intent, &change, &self.call(plan.lane))).await {
            Ok(()) => {
                self.notes.push(self.subject.changed(&change, &plan.report));
                self.memory.sent = Some(Sent { change, at: self.now() });
                self.memory.last_look = None;
                Ok(Step::Again)
            }
            Err(error) if error.kind == RouterErrorKind::GroupNotFound && self.finds_gone(router, intent).await => {
                Ok(Step::Again)
            }
            Err(error) => self.call_failed(error, false).await,
        }
    }

    /// The router does not know one of the groups: asks for each that the rule did not hold. Whether it found one.
    async fn finds_gone(&mut self, router: &dyn TrafficRouter, intent: &Intent) -> bool {
        let held = |id: &String| self.status.weights.iter().any(|weight| weight.id == *id);
        let new: Vec<String> = intent.groups.iter().map(|group| group.id.clone()).filter(|id| !held(id)).collect();
        let mut found = false;
        for id in new {
            // An answer that does not come tells nothing: the failure of the change is reported.
            found |= self.read_health_of(router, intent, &id, Lane::Verify).await.is_ok_and(|is_there| !is_there);
        }
        found
    }

    /// Before the first change of a process, reads the object past the cache, whose first list can be older than what
    /// the okrad before this one wrote (safety.md S10): its weights could be those of before an abort. What this
    /// process writes, the cache itself waits for.
    async fn confirm(&mut self) -> Result<(), ReconcileError> {
        if !self.memory.confirmed {
            self.controller.context.store.confirm(&*self.object).await?;
            self.memory.confirmed = true;
        }
        Ok(())
    }

    fn fence(&self) -> Arc<Fence<K>> {
        let controller = self.controller;
        Fence::new(&controller.cache, self.key, &*self.object, &controller.context.leadership)
    }

    /// Says in the status what failed, and gives the error to the queue for its backoff.
    async fn call_failed(&mut self, error: RouterError, read: bool) -> Result<Step, ReconcileError> {
        let now = self.now();
        self.memory.distrust();
        self.observed = None;
        if error.kind == RouterErrorKind::NotLeader {
            // Either the lease is not ours any more, or the object is another one by now: then it is its turn.
            return if self.fence().is_current() { Err(error.into()) } else { Ok(Step::Done(Next::at(now))) };
        }
        if self.deleting().is_some() {
            self.failure = Some(error.message);
            return Ok(Step::Again);
        }
        let message = format!("failed to {} the rule: {}", if read { "read" } else { "change" }, error.message);
        let failure = report::failure(&error);
        let generation = self.subject.generation;
        let verified =
            self.status.outcome == Some(RouteOutcome::Verified) && self.status.observed_generation == Some(generation);
        let status = if read && verified && matches!(failure, Failure::NotYet(_)) {
            report::out_of_sight(&self.status, generation, message, now)
        } else {
            failed(&self.status, generation, failure, message, now)
        };
        self.write_failure(status, now).await?;
        Err(error.into())
    }

    /// Writes the status of a failure, unless one of the same kind was written a moment ago: words that change from
    /// call to call must not become a write each, since every write wakes the object at once.
    async fn write_failure(&mut self, status: RouteStatus, now: Timestamp) -> Result<(), ReconcileError> {
        let written = self.object.status().cloned().unwrap_or_default();
        let recent = self.memory.failure_written.is_some_and(|at| now.duration_since(at).abs() < FAILURE_REPEAT);
        if recent && report::same_decision(&written, &status) {
            return Ok(());
        }
        self.memory.failure_written = Some(now);
        self.write(status).await
    }

    /// The object cannot be acted on at all. When it is being deleted it may go; its rule, if it has one, stays.
    async fn cannot(&mut self, reason: &str, message: String) -> Result<Next, ReconcileError> {
        self.memory = Memory::default();
        if self.deleting().is_some() {
            if self.object.deletion_policy() == DeletionPolicy::Delete
                && let Some(rule) = &self.status.rule_arn
            {
                let warning = format!("rule {rule} was not removed and stays on the load balancer: {message}");
                self.notes.push(self.subject.warned(&warning));
            }
            self.remove_finalizer().await?;
            return Ok(Next::IDLE);
        }
        let now = self.now();
        let status = failed(&self.status, self.subject.generation, Failure::Refused(reason), message, now);
        self.write(status).await?;
        Ok(Next::IDLE)
    }

    fn call(&self, lane: Lane) -> CallContext {
        CallContext { lane, timeout: self.controller.context.call_timeout, leadership: self.fence() }
    }

    /// A call; during a deletion (safety.md L5) it ends when the deletion's patience does, even while it waits for a rate limit.
    async fn limited<T>(&self, call: impl Future<Output = Result<T, RouterError>>) -> Result<T, RouterError> {
        let Some(since) = self.deleting() else { return call.await };
        let left = DELETION_PATIENCE - self.now().duration_since(since);
        let left = Duration::try_from(left).unwrap_or_default().max(Duration::from_secs(1));
        tokio::time::timeout(left, call).await.unwrap_or_else(|_| {
            let message = format!("no answer within {} s", left.as_secs());
            Err(RouterError::new(RouterErrorKind::Unreachable, "Timeout", message))
        })
    }

    /// Writes the status when it says something new.
    async fn write(&mut self, status: RouteStatus) -> Result<(), ReconcileError> {
        let written = self.object.status().cloned().unwrap_or_default();
        if !same_but_for_times(&written, &status) {
            let mut object = (*self.object).clone();
            object.set_status(status.clone());
            self.object = Arc::new(self.controller.context.store.update_status(&object).await?);
        }
        self.status = status;
        Ok(())
    }

    fn has_finalizer(&self) -> bool {
        self.finalizers().iter().any(|finalizer| finalizer == ROUTE_FINALIZER)
    }

    fn finalizers(&self) -> &[String] {
        self.object.meta().finalizers.as_deref().unwrap_or_default()
    }

    async fn add_finalizer(&mut self) -> Result<(), ReconcileError> {
        let mut finalizers = self.finalizers().to_vec();
        finalizers.push(ROUTE_FINALIZER.to_owned());
        let object = self.patch_finalizers(finalizers).await?;
        self.object = Arc::new(object);
        Ok(())
    }

    async fn remove_finalizer(&mut self) -> Result<(), ReconcileError> {
        let left = self.finalizers().iter().filter(|finalizer| *finalizer != ROUTE_FINALIZER).cloned().collect();
        match self.patch_finalizers(left).await {
            Ok(_) | Err(BackendError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn patch_finalizers(&self, finalizers: Vec<String>) -> Result<K, BackendError> {
        let version = self.object.meta().resource_version.clone();
        let patch = json!({ "metadata": { "resourceVersion": version, "finalizers": finalizers } });
        self.controller.context.store.merge_patch(self.key, &patch).await
    }
}
