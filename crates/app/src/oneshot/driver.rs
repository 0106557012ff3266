//! Calls the controllers of one object, one after the other, until nothing is due.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::FutureExt as _;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use okra_api::{
    AWSApplicationLoadBalancerConfig, AnalysisRun, Cell, Experiment, Pause, Route, RunPhase, VersionBlocklist,
    cell_status::CellPhase,
};
use okra_controller::{Next, ReconcileError, Reconciler};
use okra_provider::{Cache, ChangeStream, Changed, Disposition, Key, Store, Stored};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Object;

/// How long one call of a controller may take: it may wait for the cloud's rate limit.
const RECONCILE_TIMEOUT: Duration = Duration::from_mins(2);

/// How long our own write may take to come back through the watch.
const ECHO_TIMEOUT: Duration = Duration::from_secs(30);

/// First and longest wait after a failure that may pass.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// No two passes are closer together than this.
const BREATH: Duration = Duration::from_millis(10);

/// The `progressDeadlineSeconds` of a Cell that does not say it.
const DEFAULT_PROGRESS_DEADLINE: i32 = 600;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing is due any more, or not before the time was over.
    Quiet,
    /// It failed, in a way that trying again does not help, or until the time was over.
    Failed(String),
    /// Somebody stopped it.
    Stopped,
}

/// The controllers of one object, and the caches in which their writes come back.
pub(super) struct Driver {
    controllers: Vec<Arc<dyn Reconciler>>,
    changes: ChangeStream,
    object: Object,
    key: Key,
    cells: Cache<Cell>,
    albs: Cache<AWSApplicationLoadBalancerConfig>,
    routes: Cache<Route>,
    pauses: Cache<Pause>,
    blocklists: Cache<VersionBlocklist>,
    runs: Cache<AnalysisRun>,
    experiments: Cache<Experiment>,
}

/// What one call of every controller came to.
#[derive(Debug, Default)]
struct Pass {
    /// When each controller wants to look again without a change.
    wakes: BTreeMap<&'static str, Timestamp>,
    failures: Vec<ReconcileError>,
}

/// How long is still waited for what may pass.
struct Patience {
    retry: Duration,
    echo_due: Option<Instant>,
}

/// What follows from a pass.
enum Verdict {
    End(End),
    /// After this time, or a change.
    Again(Duration),
}

impl Driver {
    /// A driver for one object. Of all controllers it calls those that the object concerns. The caches must be synced.
    pub(super) fn new(store: &Store, controllers: Vec<Arc<dyn Reconciler>>, object: Object, key: &Key) -> Self {
        let concerned = |controller: &Arc<dyn Reconciler>| object.controllers().contains(&controller.name());
        Self {
            changes: store.changes(),
            controllers: controllers.into_iter().filter(concerned).collect(),
            object,
            key: key.clone(),
            cells: store.cache(),
            albs: store.cache(),
            routes: store.cache(),
            pauses: store.cache(),
            blocklists: store.cache(),
            runs: store.cache(),
            experiments: store.cache(),
        }
    }

    /// Runs until nothing is due before `deadline`, or `enough` says so. `tell` hears what the object waits for, each
    /// time that this changed.
    pub(super) async fn run(
        &mut self,
        deadline: Instant,
        stop: &CancellationToken,
        enough: impl Fn() -> bool,
        tell: &mut (dyn FnMut(&str) + Send),
    ) -> End {
        let (mut patience, mut told) = (Patience { retry: RETRY.0, echo_due: None }, String::new());
        while !stop.is_cancelled() {
            self.drain();
            let pass = self.pass().await;
            if enough() {
                return End::Quiet;
            }
            let message = self.object.message(self);
            if !message.is_empty() && message != told {
                tell(&message);
                told = message;
            }
            match self.verdict(&pass, deadline, &mut patience) {
                Verdict::End(end) => return end,
                Verdict::Again(delay) => self.wait(delay, stop).await,
            }
        }
        End::Stopped
    }

    /// What follows from a pass.
    fn verdict(&mut self, pass: &Pass, deadline: Instant, patience: &mut Patience) -> Verdict {
        // In this order: what is not behind any more has left its change in the stream.
        let behind = self.is_behind();
        let changed = self.drain();
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(failure) = pass.failures.first() {
            let hopeless = matches!(failure.disposition, Disposition::Terminal | Disposition::Bug);
            // What failed on a copy that has changed meanwhile may be no failure on the next.
            if left.is_zero() || (hopeless && !changed) {
                return Verdict::End(End::Failed(failure.message.clone()));
            }
            let delay = patience.retry.min(left);
            patience.retry = (patience.retry * 2).min(RETRY.1);
            return Verdict::Again(delay);
        }
        patience.retry = RETRY.0;
        if changed {
            return Verdict::Again(BREATH);
        }
        if behind {
            let due = *patience.echo_due.get_or_insert_with(|| Instant::now() + ECHO_TIMEOUT);
            return match due.saturating_duration_since(Instant::now()) {
                Duration::ZERO => {
                    Verdict::End(End::Failed("our own last write does not come back from the store".to_owned()))
                }
                delay => Verdict::Again(delay),
            };
        }
        patience.echo_due = None;
        let wake = self.next_look(pass).filter(|_| !self.object.is_at_rest(self));
        let delay = wake.map(|wake| Duration::try_from(wake.duration_since(Timestamp::now())).unwrap_or_default());
        match delay {
            Some(delay) if delay < left => Verdict::Again(delay.max(BREATH)),
            // What is being measured tells when it is over, not before.
            _ if !left.is_zero() && self.is_measured() && !self.waits_for_a_person(pass) => Verdict::Again(left),
            _ => Verdict::End(End::Quiet),
        }
    }

    /// Calls every controller once for each of its keys.
    async fn pass(&self) -> Pass {
        let mut pass = Pass::default();
        for controller in &self.controllers {
            for key in self.keys_of(controller.as_ref()) {
                let called = tokio::time::timeout(RECONCILE_TIMEOUT, controller.reconcile(&key)).await;
                match called.unwrap_or_else(|_| Err(too_slow(controller.name()))) {
                    Ok(Next { wake_at: Some(at) }) => {
                        let wake = pass.wakes.entry(controller.name()).or_insert(at);
                        *wake = at.min(*wake);
                    }
                    Ok(Next { wake_at: None }) => {}
                    Err(error) => pass.failures.push(error),
                }
            }
        }
        pass
    }

    /// The object itself, or what a Cell has made.
    fn keys_of(&self, controller: &dyn Reconciler) -> Vec<Key> {
        match controller.name() {
            "pause" => keys(&self.owned(&self.pauses, &self.cell_uid())),
            "experiment" => keys(&self.own_experiments()),
            "analysis_run" => keys(&self.own_runs()),
            _ => vec![self.key.clone()],
        }
    }

    fn cell_uid(&self) -> Vec<String> {
        self.cell().and_then(|cell| cell.metadata.uid.clone()).into_iter().collect()
    }

    /// The objects that one of these uids owns.
    fn owned<K: Stored>(&self, cache: &Cache<K>, owners: &[String]) -> Vec<Arc<K>> {
        let is_owned = |meta: &ObjectMeta| {
            let mut references = meta.owner_references.iter().flatten();
            references.any(|reference| owners.contains(&reference.uid))
        };
        let mut objects = cache.list(Some(&self.key.namespace));
        objects.retain(|object| is_owned(object.meta()));
        objects
    }

    fn own_experiments(&self) -> Vec<Arc<Experiment>> {
        self.owned(&self.experiments, &self.cell_uid())
    }

    /// The AnalysisRuns of the Cell, and those of its Experiments.
    fn own_runs(&self) -> Vec<Arc<AnalysisRun>> {
        let mut owners = self.cell_uid();
        owners.extend(self.own_experiments().iter().filter_map(|experiment| experiment.metadata.uid.clone()));
        self.owned(&self.runs, &owners)
    }

    /// Whether a run of the Cell has no verdict yet, and this is who measures.
    fn is_measured(&self) -> bool {
        let phase = |run: &AnalysisRun| run.status.as_ref().and_then(|status| status.phase);
        self.controllers.iter().any(|controller| controller.name() == "analysis_run")
            && self.own_runs().iter().any(|run| !phase(run).is_some_and(RunPhase::is_completed))
    }

    /// Whether only a person lets it go on. What is measured beside the pause is no reason to stay.
    fn waits_for_a_person(&self, pass: &Pass) -> bool {
        let is_paused = self
            .cell()
            .is_some_and(|cell| cell.status.as_ref().is_some_and(|status| status.phase == Some(CellPhase::Paused)));
        is_paused && !pass.wakes.contains_key("pause")
    }

    /// Takes the changes that came since the last look; whether one of them concerns the object.
    fn drain(&mut self) -> bool {
        let mut concerned = false;
        while let Some(Some(changed)) = self.changes.next().now_or_never() {
            concerned |= self.concerns(changed);
        }
        concerned
    }

    fn concerns(&self, Changed { kind, key }: Changed) -> bool {
        let changed = okra_controller::Changed { kind, key };
        self.controllers.iter().any(|controller| {
            let keys = self.keys_of(controller.as_ref());
            let watched = controller.watches().contains(&changed.kind);
            watched && controller.wakes(&changed).iter().any(|key| keys.contains(key))
        })
    }

    /// Waits for a change that concerns the object, at most so long.
    async fn wait(&mut self, time: Duration, stop: &CancellationToken) {
        let until = Instant::now() + time;
        loop {
            let changed = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(until) => return,
                changed = self.changes.next() => changed,
            };
            match changed {
                Some(changed) if self.concerns(changed.clone()) => return,
                Some(_) => {}
                // The store was shut down: nothing changes any more.
                None => return,
            }
        }
    }

    /// Whether one of our own writes has not come back yet: what was decided meanwhile was decided on an old copy.
    fn is_behind(&self) -> bool {
        let Self { key, cells, albs, routes, pauses, blocklists, .. } = self;
        let run = self.cell().and_then(|cell| cell.status.clone()?.rollout?.current_step_run);
        let pause_is_stale = run.is_some_and(|name| pauses.is_stale(&Key::new(&*key.namespace, name)));
        let own = [cells.is_stale(key), albs.is_stale(key), routes.is_stale(key), blocklists.is_stale(key)];
        let runs = keys(&self.own_runs()).iter().any(|key| self.runs.is_stale(key));
        let experiments = keys(&self.own_experiments()).iter().any(|key| self.experiments.is_stale(key));
        own.contains(&true) || pause_is_stale || runs || experiments
    }

    /// When something is due without a change. The progress deadline only makes the Cell say that it waits too long.
    fn next_look(&self, pass: &Pass) -> Option<Timestamp> {
        let patience = self.cell().and_then(|cell| {
            let seconds = cell.spec.progress_deadline_seconds.unwrap_or(DEFAULT_PROGRESS_DEADLINE);
            let since = cell.status.as_ref()?.waiting_since?;
            since.checked_add(jiff::SignedDuration::from_secs(i64::from(seconds))).ok()
        });
        let alone = self.waits_for_a_person(pass);
        let counts = |name: &str, at: Timestamp| match name {
            "cell" => patience.is_none_or(|end| at < end),
            "analysis_run" | "experiment" => !alone,
            _ => true,
        };
        pass.wakes.iter().filter(|(name, at)| counts(name, **at)).map(|(_, at)| *at).min()
    }

    /// The Cell, as far as it can be read.
    pub(super) fn cell(&self) -> Option<Arc<Cell>> {
        find(&self.cells, &self.key)
    }

    /// The AWSApplicationLoadBalancerConfig, as far as it can be read.
    pub(super) fn alb(&self) -> Option<Arc<AWSApplicationLoadBalancerConfig>> {
        find(&self.albs, &self.key)
    }
}

fn keys<K: Stored>(objects: &[Arc<K>]) -> Vec<Key> {
    objects.iter().map(|object| Key::of_typed(&**object)).collect()
}

/// From the list, since a lookup tells nothing of an object while our own write of it is under way.
fn find<K: Stored>(cache: &Cache<K>, key: &Key) -> Option<Arc<K>> {
    cache.list(Some(&key.namespace)).into_iter().find(|object| Key::of_typed(&**object) == *key)
}

fn too_slow(controller: &str) -> ReconcileError {
    ReconcileError {
        category: "Deadline",
        disposition: Disposition::Transient,
        message: format!("controller {controller} did not finish within {} s", RECONCILE_TIMEOUT.as_secs()),
    }
}
