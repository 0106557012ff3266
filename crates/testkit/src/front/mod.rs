//! A strict AWS: an HTTP proxy in front of moto that refuses what AWS refuses, tells the life of targets as
//! AWS tells it, and records every call.
//!
//! Everything that concerns routing is carried out here and never reaches moto: listeners, rules, tags,
//! targets and their health. moto takes almost any nonsense there, forgets stickiness, echoes another shape and
//! calls every target healthy at once; correcting its answers would mean keeping the same state twice. moto
//! stays the store for what is only created and looked up: networks, load balancers, target groups, and other
//! services such as STS, whose calls pass untouched but recorded. Known limit: operations on listeners beyond create,
//! modify, describe and delete are unknown to moto.
//!
//! Callers are told apart by their access keys; each has an account, and each account its own token buckets. What goes
//! wrong is an [`AwsPlan`]. It does not meet callers whose name begins with `world`, which build what a test needs, nor
//! the third party [`FOREIGN`].

mod accounts;
mod actions;
mod buckets;
mod conditions;
mod eks;
mod error;
mod faults;
mod foreign;
mod health;
mod listeners;
mod node;
mod operations;
mod past;
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
use aws_credential_types::Credentials;
use futures::future::BoxFuture;
use jiff::Timestamp;
use okra_judge::record::{Entry, Event, LbCall, ObjectSeen, Record, RuleState};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use error::AwsError;
pub use faults::{AwsFault, AwsPlan, CallInfo, ForeignEdit, Moment};
pub use foreign::FOREIGN;
pub use health::Health;
pub use state::{Condition, Forward};
pub use world::AwsWorld;

// The stub for measurements speaks the same protocol.
pub(crate) use error::NAMESPACE;
pub(crate) use node::Node;
pub(crate) use world::client as sdk_client;

use accounts::Accounts;
use faults::Hook;
use past::Past;
use state::State;

/// The region of everything in the rig.
pub const REGION: &str = "us-east-1";

/// The caller in the record of what was not signed.
const ANONYMOUS: &str = "anonymous";

/// What is kept under one lock, so that the record's order is the order of effects.
#[derive(Default)]
struct Inner {
    state: State,
    past: Past,
    record: Record,
    /// Until when nothing changes by itself; absent once something was changed by hand.
    rests_until: Option<Instant>,
}

impl Inner {
    fn push(&mut self, event: Event) {
        let seq = self.record.entries.len() as u64;
        self.record.entries.push(Entry { seq, at: Timestamp::now(), event });
    }

    fn push_call(&mut self, call: LbCall) {
        self.push(Event::Call(call));
    }

    /// Brings the state up to `now`: the whole of it is only looked at when something may have changed.
    fn settle(&mut self, now: Instant) {
        if self.rests_until.is_some_and(|until| now < until) {
            return;
        }
        for health in self.state.settle(now) {
            self.push(Event::Health(health));
        }
        // A far moment instead of none keeps one case for both.
        self.rests_until = Some(self.state.next_change(now).unwrap_or(now + Duration::from_hours(1)));
        self.past.note(&self.state, now);
    }

    /// Whatever comes next changes something.
    fn touch(&mut self) {
        self.rests_until = None;
    }
}

struct Shared {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
    plan: Mutex<Arc<AwsPlan>>,
    hook: Mutex<Option<Hook>>,
    accounts: Mutex<Accounts>,
    eks: Mutex<eks::Clusters>,
    http: reqwest::Client,
    moto: String,
    /// Held during a call of moto, which answers 500 when two of one account change its tables at once.
    turn: tokio::sync::Mutex<()>,
    /// The account of this front at moto, so that fronts that share one do not see each other's objects.
    account: String,
    requests: AtomicU64,
}

/// A rule as a data path needs it.
#[derive(Clone, Debug, PartialEq)]
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
    /// Runs `f`, which may change the state, on state and record; whoever waits for a change is woken after it.
    fn locked<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        self.noted(|inner| {
            let result = f(inner);
            inner.touch();
            inner.settle(Instant::now());
            result
        })
    }

    /// The same for an `f` that leaves the state as it is.
    fn noted<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        let result = {
            let mut inner = self.inner.lock();
            inner.settle(Instant::now());
            f(&mut inner)
        };
        self.changed.send_modify(|version| *version += 1);
        result
    }

    fn plan(&self) -> Arc<AwsPlan> {
        self.plan.lock().clone()
    }

    /// Lets the test act at a call.
    async fn call_hook(&self, moment: Moment, info: &CallInfo) {
        let hook = self.hook.lock().clone();
        if let Some(hook) = hook {
            hook(moment, info).await;
        }
    }

    fn request_id(&self) -> String {
        format!("00000000-0000-0000-0000-{:012x}", self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// Carries out and records a native operation that is struck by `fault`.
    fn run(&self, params: &Node, info: &CallInfo, fault: Option<&AwsFault>) -> Result<Node, AwsError> {
        let staleness = self.plan().staleness(fault);
        let reads = info.operation.starts_with("Describe");
        let result = self.noted(|inner| {
            let mut outcome =
                LbCall { caller: info.caller.clone(), operation: info.operation.clone(), ..LbCall::default() };
            let now = Instant::now();
            let lags = operations::is_lagging(&info.operation) && !staleness.is_zero() && !is_exempt(&info.caller);
            let then = now.checked_sub(staleness);
            let result = if let Some(mut state) = inner.past.at(then).filter(|_| lags) {
                operations::dispatch(&mut state, params, &mut outcome, then.unwrap_or(now))
            } else {
                operations::dispatch(&mut inner.state, params, &mut outcome, now)
            };
            outcome.error = told(fault, result.as_ref().err());
            inner.push_call(outcome);
            if !reads {
                inner.touch();
                inner.settle(now);
            }
            result
        });
        if let Some(AwsFault::Foreign { rule, edit }) = fault {
            self.edit(rule.as_deref(), edit, &info.about);
        }
        result
    }
}

/// The error code that the record tells of a call.
fn told(fault: Option<&AwsFault>, error: Option<&AwsError>) -> Option<String> {
    let told = fault.and_then(AwsFault::told).or(error.map(|error| error.code.as_str()));
    told.map(str::to_owned)
}

/// Whom neither faults nor limits meet.
fn is_exempt(caller: &str) -> bool {
    caller.starts_with(world::CALLER) || caller == FOREIGN
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
        let account = account();
        let shared = Arc::new(Shared {
            inner: Mutex::default(),
            changed: watch::Sender::new(0),
            plan: Mutex::default(),
            hook: Mutex::default(),
            accounts: Mutex::new(Accounts::new(&account)),
            http,
            eks: Mutex::default(),
            moto: moto.trim_end_matches('/').to_owned(),
            turn: tokio::sync::Mutex::default(),
            account,
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
        environment(&self.endpoint(), caller)
    }

    /// What EKS tells of a cluster of this name from now on: its endpoint, and its certificates, PEM in base64.
    pub fn eks_cluster(&self, name: &str, endpoint: &str, ca_data: &str) {
        self.shared.eks.lock().insert(name.to_owned(), (endpoint.to_owned(), ca_data.to_owned()));
    }

    /// An ELBv2 client of the official SDK that talks to this front as `caller`, without retries.
    pub fn client(&self, caller: &str) -> aws_sdk_elasticloadbalancingv2::Client {
        world::client(&self.endpoint(), caller)
    }

    /// The same in another region.
    pub fn client_in(&self, caller: &str, region: &str) -> aws_sdk_elasticloadbalancingv2::Client {
        world::client_of(&self.endpoint(), region, Credentials::new(caller, "not-a-secret", None, None, "testkit"))
    }

    /// The same with these credentials.
    pub fn client_as(&self, credentials: Credentials) -> aws_sdk_elasticloadbalancingv2::Client {
        world::client_of(&self.endpoint(), REGION, credentials)
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

    /// How long a change of a rule that is made now takes to reach a data path.
    pub fn data_path_lag(&self) -> Duration {
        Duration::from_millis(self.plan().data_path_lag_millis)
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

    /// Sets what goes wrong from the next call on; its counts begin at zero, and token buckets are full.
    pub fn set_plan(&self, plan: impl Into<AwsPlan>) {
        let plan = Arc::new(plan.into());
        self.shared.accounts.lock().refill();
        self.shared.locked(|inner| {
            let Inner { state, past, .. } = inner;
            past.keep(plan.horizon(), state, Instant::now());
        });
        *self.shared.plan.lock() = plan;
    }

    /// What goes wrong, with what has struck so far.
    pub fn plan(&self) -> Arc<AwsPlan> {
        self.shared.plan()
    }

    /// Runs `hook` at each call from now on, before it is judged and after it took effect; the call waits for the future
    /// that it gives back.
    pub fn on_call(&self, hook: impl Fn(Moment, &CallInfo) -> BoxFuture<'static, ()> + Send + Sync + 'static) {
        *self.shared.hook.lock() = Some(Arc::new(hook));
    }

    /// The account of callers without one of their own.
    pub fn account(&self) -> &str {
        &self.shared.account
    }

    /// Gives the access key `caller` an account of its own. Keys that STS gives out for a role have the role's account
    /// by themselves, and the name of who assumed it.
    pub fn set_account(&self, caller: &str, account: &str) {
        self.shared.accounts.lock().assign(caller, account);
    }

    /// Ends what [`AwsFault::Expire`] began for a caller.
    pub fn renew_credentials(&self, caller: &str) {
        self.shared.accounts.lock().renew(caller);
    }

    /// How many calls so far were refused because a token bucket was empty, or by a planned fault that says so.
    pub fn throttles(&self) -> usize {
        let is_throttle = |code: &str| ["Throttling", "RequestLimitExceeded"].contains(&code);
        let refused = |entry: &&Entry| matches!(&entry.event, Event::Call(call) if call.error.as_deref().is_some_and(is_throttle));
        self.shared.inner.lock().record.entries.iter().filter(refused).count()
    }

    /// Adds an object of the Kubernetes API to the record, as a watch saw it.
    pub fn observe_object(&self, object: ObjectSeen) {
        self.shared.noted(|inner| inner.push(Event::Object(object)));
    }

    /// Adds a line about what the test does to the record.
    pub fn note(&self, text: impl Into<String>) {
        let text = text.into();
        self.shared.noted(|inner| inner.push(Event::Note { text }));
    }
}

/// The environment in which the AWS SDK talks to an endpoint of the rig as `caller`.
pub(crate) fn environment(endpoint: &str, caller: &str) -> BTreeMap<String, String> {
    [
        ("AWS_ENDPOINT_URL", endpoint),
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

impl Drop for Front {
    fn drop(&mut self) {
        self.plan().tell_if_panicking();
    }
}

/// Lets targets age: wakes when the next one changes its state by itself.
async fn age(shared: Arc<Shared>, stop: CancellationToken) {
    let mut changed = shared.changed.subscribe();
    loop {
        // A far deadline instead of none keeps one arm for both cases.
        let next = shared.inner.lock().rests_until.unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            result = changed.changed() => if result.is_err() { return },
            () = tokio::time::sleep_until(next.into()) => shared.noted(|_| ()),
        }
    }
}
