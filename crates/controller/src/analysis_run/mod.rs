//! The controller of AnalysisRuns: lets the engine say what is due, has it measured, writes down what came of it.
//!
//! A measurement is taken beside the reconcile, so that a metric server that hangs holds up neither its own run's other
//! metrics nor anything else; when it is over, the run is woken.

mod flights;
mod jobs;
pub mod measure;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use k8s_openapi::api::batch::v1::Job;
use okra_api::{AnalysisRun, RunPhase};
use okra_core::analysis::{self, Event, NoData, Observed, Plan, Secrets as Resolved, missing_key, secret_keys};
use okra_provider::{Cache, Clock, EventNote, EventSink, Key, Kind, Lookup, MetricProvider, Store, metric::Secrets};

use self::flights::Flights;
use crate::{
    argo,
    reconciler::{Changed, Next, ReconcileError, Reconciler},
};

/// What the controller of AnalysisRuns needs of the world.
#[derive(Clone)]
pub struct AnalysisRunContext {
    /// Where the objects are.
    pub store: Store,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who measures.
    pub provider: Arc<dyn MetricProvider>,
    /// Where Secrets are read.
    pub secrets: Arc<dyn Secrets>,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// Instance id label of the runs that count; empty: those without the label.
    pub instance_id: String,
}

/// The controller of AnalysisRuns.
pub struct AnalysisRunController {
    context: AnalysisRunContext,
    runs: Cache<AnalysisRun>,
    /// Watched from the first metric on that is a Job: who has none needs no right to see them.
    jobs: OnceLock<Cache<Job>>,
    flights: Flights,
}

impl fmt::Debug for AnalysisRunController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnalysisRunController").finish_non_exhaustive()
    }
}

impl AnalysisRunController {
    /// A controller; starts the watch of AnalysisRuns, within the tokio runtime that it is called in.
    pub fn new(context: AnalysisRunContext) -> Self {
        Self { runs: context.store.cache(), jobs: OnceLock::new(), flights: Flights::new(), context }
    }

    /// The Secrets that the run names, read anew in each pass as Argo does.
    async fn secrets(&self, run: &AnalysisRun) -> Resolved {
        let keys = secret_keys(&run.spec.args);
        let namespace = run.metadata.namespace.clone().unwrap_or_default();
        let mut read = BTreeMap::new();
        for name in keys.iter().map(|key| &key.name) {
            if !read.contains_key(name) {
                read.insert(name.clone(), self.context.secrets.secret(&namespace, name).await);
            }
        }
        let value = |name: &str, key: &str| match read.get(name) {
            Some(Ok(data)) => Ok(data.get(key).map(|value| value.expose().to_owned())),
            Some(Err(error)) => Err(error.clone()),
            None => Ok(None),
        };
        Resolved::new(keys.into_iter().map(|key| {
            let found = value(&key.name, &key.key).and_then(|value| value.ok_or_else(|| missing_key(&key)));
            (key, found)
        }))
    }

    async fn look(&self, key: &Key, run: &AnalysisRun) -> Result<Next, ReconcileError> {
        let uid = run.metadata.uid.clone().unwrap_or_default();
        let over = run.status.as_ref().and_then(|status| status.phase).is_some_and(RunPhase::is_completed);
        let secrets = if over { Resolved::default() } else { self.secrets(run).await };
        let sight = self.flights.of(key, &uid);
        let ready = if over { BTreeSet::new() } else { self.jobs_that_are_over(run) };
        let observed = Observed {
            spec: &run.spec,
            status: run.status.as_ref(),
            results: &sight.landed,
            outstanding: &sight.outstanding,
            ready: &ready,
            secrets: &secrets,
            no_data: NoData::IsError,
        };
        let plan = analysis::assess(observed, self.context.clock.now());
        if plan.hold_results {
            return Ok(Next { wake_at: plan.wake_at });
        }
        if plan.expired {
            self.flights.forget_run(key);
            self.context.store.delete(run).await?;
            return Ok(Next::IDLE);
        }
        argo::write_status(&self.context.store, run, run.status.as_ref(), &plan.status).await?;
        let written = sight.landed.iter().map(|taken| taken.take.name.as_str());
        self.flights.forget(key, written.chain(plan.abandon.iter().map(String::as_str)));
        let Plan { status, take, wake_at, events, trimmed, .. } = plan;
        for take in take {
            self.begin(key, &uid, run, take);
        }
        for event in events {
            self.tell(key, &uid, event).await;
        }
        for metric in trimmed.into_iter().map(|trimmed| trimmed.metric) {
            let kept = status.metric_results.iter().find(|result| result.name == metric);
            self.tidy(run, &metric, kept.map_or(0, |result| result.measurements.len())).await;
        }
        if status.phase.is_some_and(RunPhase::is_completed) {
            self.flights.forget_run(key);
        }
        Ok(Next { wake_at })
    }

    fn begin(&self, key: &Key, uid: &str, run: &AnalysisRun, take: analysis::Take) {
        let AnalysisRunContext { provider, clock, store, .. } = &self.context;
        let (name, request) = (take.name.clone(), measure::request(run, &take));
        tracing::debug!(object = %key, ?take, "Measures");
        let measurement = measure::measure(provider.clone(), clock.clone(), request, take);
        let (store, woken) = (store.clone(), key.clone());
        self.flights.begin(key, uid, &name, measurement, move || store.wake::<AnalysisRun>(&woken));
    }

    async fn tell(&self, key: &Key, uid: &str, event: Event) {
        let Event { warning, reason, message } = event;
        let (kind, key, uid) = (Kind::of::<AnalysisRun>(), key.clone(), uid.to_owned());
        let action = "Measure".to_owned();
        self.context.events.publish(EventNote { kind, key, uid, warning, reason, action, message }).await;
    }

    /// Removes what the measurements that are not kept left behind. What cannot be removed now is with the next one.
    async fn tidy(&self, run: &AnalysisRun, metric: &str, keep: usize) {
        let Some(metric) = run.spec.metrics.iter().find(|found| found.name == metric) else { return };
        let request = measure::plain_request(run, metric);
        if let Err(error) = self.context.provider.garbage_collect(&request, keep).await {
            tracing::warn!(run = %request.run.name, metric = %request.name, %error, "Old measurements stay");
        }
    }
}

#[async_trait]
impl Reconciler for AnalysisRunController {
    fn name(&self) -> &'static str {
        "analysis_run"
    }

    fn watches(&self) -> Vec<Kind> {
        vec![Kind::of::<AnalysisRun>(), Kind::of::<Job>()]
    }

    fn wakes(&self, changed: &Changed) -> Vec<Key> {
        if changed.kind == Kind::of::<AnalysisRun>() {
            return vec![changed.key.clone()];
        }
        self.run_of_job(&changed.key).into_iter().collect()
    }

    fn all(&self) -> Vec<Key> {
        self.runs.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let is_ours = |run: &AnalysisRun| argo::is_ours(&run.metadata, &self.context.instance_id);
        match self.runs.get(key) {
            Lookup::Stale => Ok(Next::IDLE),
            Lookup::Malformed(error) => {
                let message = format!("Analysis spec invalid: {error}");
                argo::refuse::<AnalysisRun>(&self.context.store, key, &self.context.instance_id, &message).await
            }
            Lookup::Found(run) if run.metadata.deletion_timestamp.is_none() && is_ours(&run) => {
                self.look(key, &run).await
            }
            Lookup::Found(_) | Lookup::Missing => {
                self.flights.forget_run(key);
                Ok(Next::IDLE)
            }
        }
    }
}
