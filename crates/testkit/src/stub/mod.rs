//! An unthrottled AWS for measurements: the ELBv2 operations that okra calls, in memory.
//!
//! The strict front is for right and wrong; it looks at all that it holds on each call, and moto behind it
//! answers about two hundred calls a second. Here a call costs microseconds, so that what a benchmark measures is
//! okra. It refuses only what is needed to be a load balancer (unknown ARNs, a taken priority, too many groups); a
//! test runs the same calls against this and against moto behind the front and compares the answers. Accounts are
//! told apart by the ARN that a call names, and AWS's token buckets can be switched on.

mod buckets;
mod operations;
mod rules;
mod server;
mod state;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::front::{REGION, environment, sdk_client};
use buckets::Buckets;
use state::State;

/// A call as it came in.
#[derive(Clone, Debug)]
pub struct StubCall {
    /// When its headers had been read, by the monotonic clock of this process.
    pub at: Instant,
    /// For example `ModifyRule`.
    pub operation: String,
    /// The access key id that signed it.
    pub caller: String,
    /// The ARN that it is about: the rule's (for CreateRule, the new one's), else the first that it names.
    pub about: String,
    /// Target group ARN and weight that a write asks for; empty for everything else.
    pub weights: Vec<(String, i64)>,
    /// The code it was refused with.
    pub error: Option<String>,
}

impl StubCall {
    /// Whether it pays from AWS's bucket of changes.
    pub fn is_write(&self) -> bool {
        !self.operation.starts_with("Describe")
    }
}

#[derive(Default)]
struct Inner {
    state: State,
    calls: Vec<StubCall>,
    /// By account; `None`: unthrottled.
    buckets: Option<BTreeMap<String, Buckets>>,
}

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    requests: AtomicU64,
}

impl Shared {
    fn request_id(&self) -> String {
        format!("00000000-0000-0000-0000-{:012x}", self.requests.fetch_add(1, Ordering::Relaxed))
    }
}

/// The stub on a free port of 127.0.0.1. It stops when it is dropped.
pub struct Stub {
    shared: Arc<Shared>,
    address: SocketAddr,
    _stop: DropGuard,
}

impl Stub {
    /// Starts it, empty and unthrottled.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to bind the ELBv2 stub")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let stop = CancellationToken::new();
        tokio::spawn(server::serve(listener, shared.clone(), stop.clone()));
        Ok(Self { shared, address, _stop: stop.drop_guard() })
    }

    /// The URL for `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The environment for a child process that is to talk to the stub as `caller`.
    pub fn env(&self, caller: &str) -> BTreeMap<String, String> {
        environment(&self.endpoint(), caller)
    }

    /// An ELBv2 client of the official SDK that talks to the stub as `caller`, without retries.
    pub fn client(&self, caller: &str) -> aws_sdk_elasticloadbalancingv2::Client {
        sdk_client(&self.endpoint(), caller)
    }

    /// Adds a load balancer with one listener, whose default rule answers 404; the listener's ARN.
    pub fn listener(&self, account: &str, name: &str) -> String {
        self.shared.inner.lock().state.add_listener(&format!("arn:aws:elasticloadbalancing:{REGION}:{account}"), name)
    }

    /// Adds a target group with this many targets; its ARN.
    pub fn target_group(&self, account: &str, name: &str, targets: usize) -> String {
        let prefix = format!("arn:aws:elasticloadbalancing:{REGION}:{account}");
        self.shared.inner.lock().state.add_group(&prefix, name, targets)
    }

    /// How long targets are `initial` after their group was attached; zero unless set.
    pub fn set_initial_delay(&self, delay: Duration) {
        self.shared.inner.lock().state.initial = delay;
    }

    /// Switches AWS's token buckets on, full, or off.
    pub fn set_buckets(&self, on: bool) {
        self.shared.inner.lock().buckets = on.then(BTreeMap::new);
    }

    /// How many calls came so far: a mark for [`Stub::calls_since`].
    pub fn mark(&self) -> usize {
        self.shared.inner.lock().calls.len()
    }

    /// The calls after a mark, in the order in which they took effect.
    pub fn calls_since(&self, mark: usize) -> Vec<StubCall> {
        self.shared.inner.lock().calls.get(mark..).unwrap_or_default().to_vec()
    }

    /// Waits until the calls after a mark satisfy `condition`, looked at every 20 ms; an error after `within`.
    pub async fn wait_for(
        &self,
        mark: usize,
        within: Duration,
        mut condition: impl FnMut(&[StubCall]) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        loop {
            if condition(self.shared.inner.lock().calls.get(mark..).unwrap_or_default()) {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "the awaited calls did not come within {within:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Target group ARN to weight of the rule at a priority of a listener, if there is one.
    pub fn weights_at(&self, listener: &str, priority: u32) -> Option<BTreeMap<String, i64>> {
        self.shared.inner.lock().state.weights_at(listener, priority)
    }
}
