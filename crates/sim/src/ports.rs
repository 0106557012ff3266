//! The ports that a process is given. Every call waits until the simulator lets it through.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use okra_core::planted::{Planted, is_planted};
use okra_core::route::{Capabilities, Change, GroupHealth, Intent, Observed};
use okra_judge::record::{Decision, Event};
use okra_provider::{
    Backend, BackendError, CallContext, Clock, DecisionLog, Deletion, EventNote, EventSink, Key, Kind, Leadership,
    NotLeader, RouterError, RouterErrorKind, TrafficRouter, WatchEvent, router::alb_capabilities,
};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::{
    api_server::{ApiAnswer, ApiCall},
    limiter::{CallKind, Limiter},
    world::{Call, LbAnswer, LbCall, Life, Pending, Watcher, World},
};

/// How long a change may take to reach the data path.
pub const SETTLE: SignedDuration = SignedDuration::from_secs(10);
/// How long a call waits for the rate limit.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A process's side of everything.
#[derive(Clone, Debug)]
pub struct Ports {
    /// What all share.
    pub world: Arc<World>,
    /// Whose side.
    pub life: Life,
    /// The rate limiter of this process.
    pub limiter: Arc<Limiter>,
}

impl Ports {
    fn begin(&self, call: Call) {
        let now = self.world.now();
        self.world.with(|state| state.calls.push(Pending { life: self.life, ready: now, since: now, call }));
        self.world.called.notify_one();
    }

    async fn api(&self, kind: &Kind, call: ApiCall) -> ApiAnswer {
        let (answer, answered) = oneshot::channel();
        self.begin(Call::Api { kind: kind.clone(), call, answer, done: None });
        answered.await.unwrap_or_else(|_| Err(BackendError::Unreachable("the connection was lost".to_owned())))
    }

    async fn one(&self, kind: &Kind, call: ApiCall) -> Result<Value, BackendError> {
        Ok(self.api(kind, call).await?.pop().unwrap_or_default())
    }

    async fn lb(&self, intent: &Intent, call: LbCall, timeout: Duration) -> Result<LbAnswer, RouterError> {
        let (answer, answered) = oneshot::channel();
        let deadline = self.world.now() + timeout.as_millis() as u64;
        self.begin(Call::Lb { intent: Box::new(intent.clone()), call, deadline, answer, done: None });
        let lost = || RouterError::new(RouterErrorKind::Unreachable, "Timeout", "no answer in time");
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(lost()),
        }
    }

    async fn limited(
        &self,
        intent: &Intent,
        call: LbCall,
        kind: CallKind,
        context: &CallContext,
    ) -> Result<LbAnswer, RouterError> {
        let permit = self.limiter.acquire(context.lane, kind, LONGEST_WAIT).await.map_err(|waited| {
            RouterError::new(RouterErrorKind::Throttled, "RateLimitWait", format!("failed to call: {waited}"))
        })?;
        // Right before the call goes out, after any waiting.
        if kind == CallKind::Mutate
            && !is_planted(Planted::LeaseCheckSkipped)
            && let Err(error) = context.leadership.permits(context.timeout)
        {
            self.limiter.refund(permit);
            return Err(error.into());
        }
        let answer = self.lb(intent, call, context.timeout).await;
        match &answer {
            Err(error) if error.kind == RouterErrorKind::Throttled => self.limiter.throttled(permit),
            Err(error) if error.kind == RouterErrorKind::Unreachable => {}
            _ => self.limiter.answered(permit),
        }
        answer
    }
}

#[async_trait]
impl Backend for Ports {
    async fn list(&self, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Value>, BackendError> {
        self.api(kind, ApiCall::List(namespace.map(str::to_owned))).await
    }

    fn watch(&self, kind: &Kind, _: Option<&str>) -> BoxStream<'static, WatchEvent> {
        let (events, told) = mpsc::unbounded_channel();
        let (life, kind) = (self.life, kind.clone());
        self.world.with(|state| {
            let place = state.api.place(&kind);
            state.watches.push(Watcher { life, kind, place, told: None, ready: 0, held: 0, events });
        });
        self.world.called.notify_one();
        stream::unfold(told, |mut told| async { told.recv().await.map(|event| (event, told)) }).boxed()
    }

    async fn get(&self, kind: &Kind, key: &Key) -> Result<Value, BackendError> {
        self.one(kind, ApiCall::Get(key.clone())).await
    }

    async fn create(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        self.one(kind, ApiCall::Create(object.clone())).await
    }

    async fn update(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        self.one(kind, ApiCall::Update(object.clone())).await
    }

    async fn update_status(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        self.one(kind, ApiCall::UpdateStatus(object.clone())).await
    }

    async fn merge_patch(&self, kind: &Kind, key: &Key, patch: &Value) -> Result<Value, BackendError> {
        self.one(kind, ApiCall::MergePatch(key.clone(), patch.clone())).await
    }

    async fn delete(&self, kind: &Kind, key: &Key, deletion: &Deletion) -> Result<(), BackendError> {
        self.one(kind, ApiCall::Delete(key.clone(), deletion.clone())).await.map(drop)
    }
}

#[async_trait]
impl TrafficRouter for Ports {
    fn capabilities(&self) -> Capabilities {
        alb_capabilities(SETTLE)
    }

    async fn observe(&self, intent: &Intent, call: &CallContext) -> Result<Observed, RouterError> {
        match self.limited(intent, LbCall::Observe, CallKind::Describe, call).await? {
            LbAnswer::Observed(observed) => Ok(*observed),
            LbAnswer::Applied | LbAnswer::Health(_) => Ok(Observed::default()),
        }
    }

    async fn apply(&self, intent: &Intent, change: &Change, call: &CallContext) -> Result<(), RouterError> {
        self.limited(intent, LbCall::Apply(Box::new(change.clone())), CallKind::Mutate, call).await.map(drop)
    }

    async fn health(&self, intent: &Intent, group: &str, call: &CallContext) -> Result<GroupHealth, RouterError> {
        match self.limited(intent, LbCall::Health(group.to_owned()), CallKind::Describe, call).await? {
            LbAnswer::Health(health) => Ok(health),
            LbAnswer::Applied | LbAnswer::Observed(_) => Ok(GroupHealth::default()),
        }
    }
}

impl Clock for Ports {
    fn now(&self) -> Timestamp {
        self.world.time_of(self.life.process)
    }
}

impl Leadership for Ports {
    fn permits(&self, timeout: Duration) -> Result<(), NotLeader> {
        self.world.permits(self.life, timeout)
    }
}

impl DecisionLog for Ports {
    fn append(&self, decision: &Value) {
        if let Some((_, decision)) = Decision::parse(&self.life.name(), decision) {
            let now = self.world.now();
            self.world.with(|state| state.note(now, Event::Decision(decision)));
        }
    }
}

#[async_trait]
impl EventSink for Ports {
    async fn publish(&self, _: EventNote) {}
}
