//! A process of okra: the real store and the real controllers, called by a loop that keeps the queue's contract.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use jiff::SignedDuration;
use okra_api::{
    AWSApplicationLoadBalancerConfig, AWSTargetGroup, AnalysisRun, Cell, Experiment, Pause, Route, TargetGroup,
    VersionBlocklist,
};
use okra_controller::{
    CellContext, CellController, Next, PauseController, ReconcileError, Reconciler, RouteContext, RouteController,
    VersionBlocklistController,
    runtime::schedule::{Ended, Schedule},
};
use okra_provider::{
    ChangeStream, Clock, Disposition, Entropy as _, Key, Kind, Namespaces, Store, TrafficRouter as _,
    testing::SeededEntropy,
};
use tokio::{task::JoinHandle, time::error::Elapsed};

use crate::{
    limiter::{Limiter, RateLimits},
    ports::Ports,
    world::{Life, World},
};

/// Owner tag of the installation.
pub const INSTALLATION: &str = "here";
/// How long one call of the load balancer may take: a third of the lease.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one reconcile may take.
const DEADLINE: Duration = Duration::from_mins(2);
/// How often every object is looked at without a change.
const RESYNC: u64 = 600_000;

type Run = JoinHandle<Result<Result<Next, ReconcileError>, Elapsed>>;

/// A controller and what it has to do.
pub struct Controller {
    reconciler: Arc<dyn Reconciler>,
    watches: Vec<Kind>,
    schedule: Schedule<Key>,
    runs: Vec<(Key, Run)>,
    next_resync: u64,
}

/// How a run of a controller ended, as far as it tells of a fault.
#[derive(Debug)]
pub enum Ill {
    /// It panicked.
    Panic(String),
    /// It said that the fault is its own.
    Bug(String),
}

/// One life of a process.
pub struct Living {
    /// Which.
    pub life: Life,
    /// Whether its controllers work.
    pub leads: bool,
    ports: Arc<Ports>,
    store: Store,
    controllers: Vec<Controller>,
    changes: ChangeStream,
    entropy: SeededEntropy,
}

/// Every kind that controllers watch.
pub fn kinds() -> Vec<Kind> {
    vec![
        Kind::of::<Cell>(),
        Kind::of::<AWSTargetGroup>(),
        Kind::of::<TargetGroup>(),
        Kind::of::<AWSApplicationLoadBalancerConfig>(),
        Kind::of::<Route>(),
        Kind::of::<Pause>(),
        Kind::of::<VersionBlocklist>(),
        Kind::of::<AnalysisRun>(),
        Kind::of::<Experiment>(),
    ]
}

impl Living {
    /// Begins a life: nothing is remembered.
    pub fn begin(world: &Arc<World>, life: Life, seed: u64) -> Self {
        let limiter = Limiter::new(RateLimits::Aws);
        let ports = Arc::new(Ports { world: world.clone(), life, limiter });
        let store = Store::new(ports.clone(), Namespaces::All);
        let changes = store.changes();
        let route = |router| RouteContext {
            store: store.clone(),
            router,
            clock: ports.clone(),
            leadership: ports.clone(),
            events: ports.clone(),
            decisions: ports.clone(),
            installation: INSTALLATION.to_owned(),
            drift_interval: SignedDuration::from_mins(5),
            call_timeout: CALL_TIMEOUT,
        };
        let cell = CellContext {
            instance_id: "okra".to_owned(),
            leadership: ports.clone(),
            store: store.clone(),
            clock: ports.clone(),
            events: ports.clone(),
            decisions: ports.clone(),
            alb: Some(ports.capabilities()),
            local: None,
        };
        let all: Vec<Arc<dyn Reconciler>> = vec![
            Arc::new(CellController::new(cell)),
            Arc::new(RouteController::<AWSApplicationLoadBalancerConfig>::new(route(Some(ports.clone())))),
            Arc::new(RouteController::<Route>::new(route(None))),
            Arc::new(PauseController::new(store.clone(), ports.clone())),
            Arc::new(VersionBlocklistController::new(store.clone(), ports.clone(), ports.clone())),
        ];
        let entropy = SeededEntropy::new(seed);
        let controllers = all.into_iter().map(|reconciler| Controller {
            watches: reconciler.watches(),
            reconciler,
            schedule: Schedule::new(4),
            runs: Vec::new(),
            next_resync: u64::MAX,
        });
        let controllers = controllers.collect();
        Self { life, leads: false, ports, store, controllers, changes, entropy }
    }

    /// Whether every cache knows what is there.
    pub fn is_synced(&self) -> bool {
        self.store.cache::<Cell>().is_synced()
            && self.store.cache::<AWSTargetGroup>().is_synced()
            && self.store.cache::<TargetGroup>().is_synced()
            && self.store.cache::<AWSApplicationLoadBalancerConfig>().is_synced()
            && self.store.cache::<Route>().is_synced()
            && self.store.cache::<Pause>().is_synced()
            && self.store.cache::<VersionBlocklist>().is_synced()
            && self.store.cache::<AnalysisRun>().is_synced()
            && self.store.cache::<Experiment>().is_synced()
    }

    /// The controllers begin to work.
    pub fn lead(&mut self, now: u64) {
        self.leads = true;
        for controller in &mut self.controllers {
            for key in controller.reconciler.all() {
                controller.schedule.wake(key, Duration::from_millis(now));
            }
            controller.next_resync = next_resync(now, &self.entropy);
        }
    }

    /// Takes in what the caches heard.
    pub fn hear(&mut self, now: u64) {
        while let Some(Some(changed)) = self.changes.next().now_or_never() {
            if !self.leads {
                continue;
            }
            for controller in self.controllers.iter_mut().filter(|own| own.watches.contains(&changed.kind)) {
                for key in controller.reconciler.wakes(&changed) {
                    controller.schedule.wake(key, Duration::from_millis(now));
                }
            }
        }
    }

    /// Wakes everything when it is time.
    pub fn resync(&mut self, now: u64) {
        for controller in self.controllers.iter_mut().filter(|controller| controller.next_resync <= now) {
            for key in controller.reconciler.all() {
                let late = self.entropy.below(RESYNC / 10);
                controller.schedule.wake(key, Duration::from_millis(now + late));
            }
            controller.next_resync = next_resync(now, &self.entropy);
        }
    }

    /// Takes in the runs that ended.
    pub fn reap(&mut self, now: u64) -> Vec<Ill> {
        let mut ills = Vec::new();
        for controller in &mut self.controllers {
            while let Some(place) = controller.runs.iter().position(|(_, run)| run.is_finished()) {
                let (key, run) = controller.runs.swap_remove(place);
                let Some(end) = run.now_or_never() else { continue };
                let name = controller.reconciler.name();
                let ended = match end {
                    Ok(Ok(Ok(next))) => {
                        let until = |at: jiff::Timestamp| {
                            Duration::try_from(at.duration_since(self.ports.now())).unwrap_or(Duration::ZERO)
                        };
                        Ended::Success { look_again_in: next.wake_at.map(until) }
                    }
                    Ok(Ok(Err(error))) => {
                        if error.disposition == Disposition::Bug {
                            ills.push(Ill::Bug(format!("{name} {key}: {}", error.message)));
                        }
                        Ended::Failed(error.disposition)
                    }
                    Ok(Err(_)) => Ended::Failed(Disposition::Transient),
                    Err(error) => {
                        if error.is_panic() {
                            ills.push(Ill::Panic(format!("{name} {key}")));
                        }
                        Ended::Failed(Disposition::Bug)
                    }
                };
                controller.schedule.finish(&key, ended, Duration::from_millis(now), &self.entropy);
            }
        }
        ills
    }

    /// Which controllers have something to do now.
    pub fn due(&self, now: u64) -> Vec<usize> {
        let due = |controller: &Controller| {
            controller.schedule.next_due().is_some_and(|due| due <= Duration::from_millis(now))
        };
        let all = self.controllers.iter().enumerate();
        all.filter(|(_, controller)| self.leads && due(controller)).map(|(place, _)| place).collect()
    }

    /// When a controller has something to do next.
    pub fn next_due(&self) -> Option<u64> {
        if !self.leads {
            return None;
        }
        let due =
            |controller: &Controller| controller.schedule.next_due().map(|due| due.as_micros().div_ceil(1000) as u64);
        self.controllers.iter().flat_map(|own| [due(own), Some(own.next_resync)]).flatten().min()
    }

    /// Begins a run of a controller; what it is about.
    pub fn start(&mut self, controller: usize, now: u64) -> Option<String> {
        let controller = self.controllers.get_mut(controller)?;
        let key = controller.schedule.take(Duration::from_millis(now))?;
        let words = format!("{} {key}", controller.reconciler.name());
        let (reconciler, object) = (controller.reconciler.clone(), key.clone());
        let run = async move { tokio::time::timeout(DEADLINE, reconciler.reconcile(&object)).await };
        controller.runs.push((key, tokio::spawn(run)));
        Some(words)
    }

    /// Ends the life: whatever runs is cut off.
    pub fn end(self) {
        self.store.shutdown();
        for (_, run) in self.controllers.iter().flat_map(|controller| &controller.runs) {
            run.abort();
        }
    }

    /// Whether a run is under way.
    pub fn is_busy(&self) -> bool {
        self.controllers.iter().any(|controller| !controller.runs.is_empty())
    }
}

fn next_resync(now: u64, entropy: &SeededEntropy) -> u64 {
    now + RESYNC * 9 / 10 + entropy.below(RESYNC / 5)
}
