//! A strict AWS: an HTTP proxy in front of moto that refuses what AWS refuses, tells the life of targets as
//! AWS tells it, and records every call.
//!
//! Everything that concerns routing is carried out here and never reaches moto: listeners, rules, tags,
//! targets and their health. moto takes almost any nonsense there, forgets stickiness, echoes another shape and
//! calls every target healthy at once; correcting its answers would mean keeping the same state twice. moto
//! stays the store for what is only created and looked up: networks, load balancers, target groups, and other
//! services such as STS, whose calls pass untouched but recorded. Known limits: native state is not split by
//! account, and operations on listeners beyond create, modify, describe and delete are unknown to moto.

mod actions;
mod conditions;
mod error;
mod faults;
mod foreign;
mod health;
mod listeners;
mod node;
mod operations;
mod rules;
mod server;
mod state;
mod tags;
mod world;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use okra_judge::record::{Entry, Event, LbCall, ObjectSeen, Record, RuleState};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use error::AwsError;
pub use faults::{CallInfo, FailNth, Faults, NoFaults, Verdict};
pub use foreign::FOREIGN;
pub use health::Health;
pub use state::{Condition, Forward};
pub use world::AwsWorld;

use node::Node;
use state::State;

/// The region of everything in the rig.
pub const REGION: &str = "us-east-1";

/// What is kept under one lock, so that the record's order is the order of effects.
#[derive(Default)]
struct Inner {
    state: State,
    record: Record,
}

impl Inner {
    fn push(&mut self, event: Event) {
        let seq = self.record.entries.len() as u64;
        self.record.entries.push(Entry { seq, at: Timestamp::now(), event });
    }

    fn push_call(&mut self, call: LbCall) {
        self.push(Event::Call(call));
    }

    fn settle(&mut self, now: Instant) {
        for health in self.state.settle(now) {
            self.push(Event::Health(health));
        }
    }
}

struct Shared {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
    faults: Mutex<Arc<dyn Faults>>,
    http: reqwest::Client,
    moto: String,
    /// The account of this front at moto, so that fronts that share one do not see each other's objects.
    account: String,
    requests: AtomicU64,
}

/// A rule as a data path needs it.
#[derive(Clone, Debug)]
pub struct RoutingRule {
    /// What the record tells of it.
    pub state: RuleState,
    /// When it matches; empty for the default rule.
    pub conditions: Vec<Condition>,
    /// Its forward action, if it has one.
    pub forward: Option<Forward>,
    /// Status and body of its fixed response, if it has one.
    pub fixed: Option<(u16, String)>,
}

/// Numbers the fronts of this process.
static FRONTS: AtomicU64 = AtomicU64::new(0);

fn account() -> String {
    let process = u64::from(std::process::id() % 1_000_000);
    format!("1{process:06}{:05}", FRONTS.fetch_add(1, Ordering::Relaxed) % 100_000)
}

impl Shared {
    /// Runs `f` on state and record; whoever waits for a change is woken after it.
    fn locked<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        let result = {
            let mut inner = self.inner.lock();
            inner.settle(Instant::now());
            f(&mut inner)
        };
        self.changed.send_modify(|version| *version += 1);
        result
    }

    fn faults(&self) -> Arc<dyn Faults> {
        self.faults.lock().clone()
    }

    fn request_id(&self) -> String {
        format!("00000000-0000-0000-0000-{:012x}", self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// Carries out and records a native operation.
    fn run(&self, params: &Node, info: &CallInfo) -> (Result<Node, AwsError>, Verdict) {
        self.locked(|inner| {
            let mut outcome =
                LbCall { caller: info.caller.clone(), operation: info.operation.clone(), ..LbCall::default() };
            let now = Instant::now();
            let result = operations::dispatch(&mut inner.state, params, &mut outcome, now);
            outcome.error = result.as_ref().err().map(|error| error.code.clone());
            let verdict = self.faults().after(info, &outcome);
            operations::note_verdict(&mut outcome, &verdict);
            inner.push_call(outcome);
            inner.settle(now);
            (result, verdict)
        })
    }
}

/// A strict AWS on 127.0.0.1. It stops when it is dropped.
pub struct Front {
    shared: Arc<Shared>,
    address: SocketAddr,
    _stop: DropGuard,
}

impl Front {
    /// Starts a front on a free port before the moto at `moto`, for example `http://127.0.0.1:5000`.
    pub async fn start(moto: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .no_proxy()
            .build()
            .context("failed to build the client for moto")?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to bind the AWS front")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            inner: Mutex::default(),
            changed: watch::Sender::new(0),
            faults: Mutex::new(Arc::new(NoFaults)),
            http,
            moto: moto.trim_end_matches('/').to_owned(),
            account: account(),
            requests: AtomicU64::new(0),
        });
        let stop = CancellationToken::new();
        tokio::spawn(server::serve(listener, shared.clone(), stop.clone()));
        tokio::spawn(age(shared.clone(), stop.clone()));
        Ok(Self { shared, address, _stop: stop.drop_guard() })
    }

    /// Starts a front before the moto that this test binary shares.
    pub async fn shared() -> anyhow::Result<Self> {
        Self::start(crate::moto::shared_moto().await?.endpoint()).await
    }

    /// The URL for `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The environment for a child process that is to talk to this front as `caller`, which becomes its access
    /// key id and so its name in the record.
    pub fn env(&self, caller: &str) -> BTreeMap<String, String> {
        [
            ("AWS_ENDPOINT_URL", self.endpoint().as_str()),
            ("AWS_ACCESS_KEY_ID", caller),
            ("AWS_SECRET_ACCESS_KEY", "not-a-secret"),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
    }

    /// An ELBv2 client of the official SDK that talks to this front as `caller`, without retries.
    pub fn client(&self, caller: &str) -> aws_sdk_elasticloadbalancingv2::Client {
        world::client(&self.endpoint(), caller)
    }

    /// Everything recorded so far.
    pub fn record(&self) -> Record {
        self.shared.inner.lock().record.clone()
    }

    /// Waits until the record satisfies `condition`; an error with the last calls once `within` has passed.
    pub async fn wait_for(
        &self,
        within: Duration,
        mut condition: impl FnMut(&Record) -> bool,
    ) -> anyhow::Result<Record> {
        let mut changed = self.changed();
        let deadline = tokio::time::Instant::now() + within;
        loop {
            {
                let inner = self.shared.inner.lock();
                if condition(&inner.record) {
                    return Ok(inner.record.clone());
                }
            }
            if tokio::time::timeout_at(deadline, changed.changed()).await.is_err() {
                anyhow::bail!("the awaited did not happen within {within:?}; the last calls:\n{}", self.tail(12));
            }
        }
    }

    /// The last `count` entries of the record, one line each, for the reader of a failure.
    pub fn tail(&self, count: usize) -> String {
        let inner = self.shared.inner.lock();
        let from = inner.record.entries.len().saturating_sub(count);
        let lines = inner.record.entries.iter().skip(from).map(|entry| format!("{} {:?}", entry.seq, entry.event));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Fires after every change of state, health or record.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// The distinct weight maps of a rule in the order in which it held them, whoever set them.
    pub fn weights_history(&self, rule: &str) -> Vec<BTreeMap<String, i64>> {
        let mut history: Vec<BTreeMap<String, i64>> = Vec::new();
        for entry in &self.shared.inner.lock().record.entries {
            let Event::Call(call) = &entry.event else { continue };
            let Some(after) = call.after.as_ref().filter(|after| after.arn == rule) else { continue };
            if history.last() != Some(&after.weights) {
                history.push(after.weights.clone());
            }
        }
        history
    }

    /// The total share, in percent, of `groups` in a rule: the distinct values in order.
    pub fn share_history(&self, rule: &str, groups: &[String]) -> Vec<f64> {
        let mut shares: Vec<f64> = Vec::new();
        for weights in self.weights_history(rule) {
            let total: i64 = weights.values().sum();
            let own: i64 = weights.iter().filter(|(arn, _)| groups.contains(arn)).map(|(_, weight)| weight).sum();
            let share = if total > 0 { own as f64 * 100.0 / total as f64 } else { 0.0 };
            if shares.last().is_none_or(|last| (last - share).abs() > f64::EPSILON) {
                shares.push(share);
            }
        }
        shares
    }

    /// The rule at a priority (`1` to `50000`, or `default`) of a listener.
    pub fn rule_at(&self, listener: &str, priority: &str) -> Option<RuleState> {
        self.rules(listener).into_iter().find(|rule| rule.priority == priority)
    }

    /// The rules of a listener, by priority, the default rule last.
    pub fn rules(&self, listener: &str) -> Vec<RuleState> {
        let inner = self.shared.inner.lock();
        inner.state.rules_of(listener).into_iter().map(|rule| inner.state.view(rule)).collect()
    }

    /// A listener's rules as a data path needs them, in the order in which they are evaluated.
    pub fn routing(&self, listener: &str) -> Vec<RoutingRule> {
        let inner = self.shared.inner.lock();
        let rules = inner.state.rules_of(listener).into_iter();
        rules
            .map(|rule| RoutingRule {
                state: inner.state.view(rule),
                conditions: rule.conditions.clone(),
                forward: rule.forward().cloned(),
                fixed: rule.fixed_response(),
            })
            .collect()
    }

    /// The targets of a group with their health now.
    pub fn targets(&self, group: &str) -> Vec<(SocketAddr, Health)> {
        let inner = self.shared.inner.lock();
        let Some(known) = inner.state.groups.get(group) else { return Vec::new() };
        let now = Instant::now();
        let state = |target| known.state(target, &inner.state.health, now);
        known.targets.iter().filter_map(|target| Some((target.address()?, state(target)))).collect()
    }

    /// Forces all targets of a group into a state while it is attached; `None` gives them their own life back.
    pub fn set_health(&self, group: &str, health: impl Into<Option<Health>>) -> Result<(), AwsError> {
        let health = health.into();
        self.force(group, None, health)
    }

    /// Forces one target of a group into a state while it is attached; `None` gives it its own life back.
    pub fn set_target_health(
        &self,
        group: &str,
        target: SocketAddr,
        health: impl Into<Option<Health>>,
    ) -> Result<(), AwsError> {
        self.force(group, Some(target), health.into())
    }

    fn force(&self, group: &str, target: Option<SocketAddr>, health: Option<Health>) -> Result<(), AwsError> {
        self.shared.locked(|inner| {
            if !inner.state.group(group)?.force(target, health) {
                let message = format!("target {target:?} is not registered to '{group}'");
                return Err(AwsError::new("InvalidTarget", message));
            }
            inner.settle(Instant::now());
            Ok(())
        })
    }

    /// How long a target is `initial` after its group was attached or it was registered; 200 ms unless set.
    pub fn set_initial_delay(&self, delay: Duration) {
        self.shared.locked(|inner| inner.state.health.initial = delay);
    }

    /// The same for one group; `None` returns it to the front's.
    pub fn set_group_initial_delay(&self, group: &str, delay: Option<Duration>) -> Result<(), AwsError> {
        self.shared.locked(|inner| {
            inner.state.group(group)?.initial = delay;
            Ok(())
        })
    }

    /// How long a deregistered target is `draining`; 300 s unless set, AWS's default.
    pub fn set_deregistration_delay(&self, delay: Duration) {
        self.shared.locked(|inner| inner.state.health.deregistration = delay);
    }

    /// Sets what decides about faults from the next call on.
    pub fn set_faults(&self, faults: impl Faults + 'static) {
        *self.shared.faults.lock() = Arc::new(faults);
    }

    /// Adds an object of the Kubernetes API to the record, as a watch saw it.
    pub fn observe_object(&self, object: ObjectSeen) {
        self.shared.locked(|inner| inner.push(Event::Object(object)));
    }

    /// Adds a line about what the test does to the record.
    pub fn note(&self, text: impl Into<String>) {
        let text = text.into();
        self.shared.locked(|inner| inner.push(Event::Note { text }));
    }
}

/// Lets targets age: wakes when the next one changes its state by itself.
async fn age(shared: Arc<Shared>, stop: CancellationToken) {
    let mut changed = shared.changed.subscribe();
    loop {
        let next = {
            let inner = shared.inner.lock();
            inner.state.next_change(Instant::now())
        };
        // A far deadline instead of none keeps one arm for both cases.
        let next = next.unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            result = changed.changed() => if result.is_err() { return },
            () = tokio::time::sleep_until(next.into()) => shared.locked(|_| ()),
        }
    }
}
