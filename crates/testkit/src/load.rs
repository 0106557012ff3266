//! A steady load of real requests, each of which is accounted for, and single connections that must last.

mod pinned;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use pinned::{Lasted, Pinned};

use crate::cluster::VERSION_HEADER;

/// A client waits longer than any healthy path needs and gives up sooner than a test's own deadline.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What became of the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Requests sent and ended, one way or the other.
    pub sent: u64,
    /// Those that were not answered with 2xx.
    pub failed: u64,
    /// Successful answers by the version that gave them.
    pub by_version: BTreeMap<String, u64>,
    /// What the first failure was.
    pub first_failure: Option<String>,
}

impl Summary {
    /// Successful answers of a version.
    pub fn answers(&self, version: &str) -> u64 {
        self.by_version.get(version).copied().unwrap_or(0)
    }

    /// The share of a version in the successful answers, in percent.
    pub fn share(&self, version: &str) -> f64 {
        let answered: u64 = self.by_version.values().sum();
        let own = self.answers(version);
        if answered == 0 { 0.0 } else { own as f64 * 100.0 / answered as f64 }
    }

    /// What came to pass since an earlier summary of the same load.
    #[must_use]
    pub fn since(&self, earlier: &Summary) -> Summary {
        let count = |version: &String, now: u64| now - earlier.answers(version);
        let by_version = self.by_version.iter().map(|(version, now)| (version.clone(), count(version, *now)));
        Summary {
            sent: self.sent - earlier.sent,
            failed: self.failed - earlier.failed,
            by_version: by_version.filter(|(_, count)| *count > 0).collect(),
            first_failure: self.first_failure.clone().filter(|_| self.failed > earlier.failed),
        }
    }
}

/// What to send.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Requests begun each second, whether or not earlier ones are answered.
    pub per_second: u32,
    /// Instead: so many clients, each of which begins its next request when the one before is answered. Then never
    /// more requests are under way than this, however slow the machine is.
    pub clients: Option<u32>,
    /// The `Host` header, for rules with a host condition.
    pub host: Option<String>,
    /// The path.
    pub path: String,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { per_second: 100, clients: None, host: None, path: "/".to_owned() }
    }
}

#[derive(Debug, Default)]
struct Account {
    summary: Summary,
    begun: u64,
    under_way: BTreeSet<u64>,
}

/// A running load. Dropped without [`Load::stop`], it ends without an account.
pub struct Load {
    account: Arc<Mutex<Account>>,
    changed: watch::Receiver<u64>,
    stop: CancellationToken,
    pacer: JoinHandle<()>,
    requests: TaskTracker,
}

impl Load {
    /// Starts to send requests to `url`, over connections that are kept alive.
    pub fn start(url: &str, options: LoadOptions) -> anyhow::Result<Self> {
        anyhow::ensure!(options.per_second > 0, "a load needs at least one request a second");
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // The client must hide no failure.
            .retry(reqwest::retry::never())
            .build()
            .context("failed to build the load's client")?;
        let url = reqwest::Url::parse(url).and_then(|url| url.join(&options.path)).context("failed to parse url")?;
        let mut request = client.get(url);
        if let Some(host) = &options.host {
            request = request.header("host", host);
        }
        let request = request.build().context("failed to build the load's request")?;
        let (account, stop, requests) = (Arc::default(), CancellationToken::new(), TaskTracker::new());
        let (sender, changed) = watch::channel(0);
        let pacer = Pacer { client, request, account: Arc::clone(&account), sender, requests: requests.clone() };
        let (per_second, clients, stopped) = (options.per_second, options.clients, stop.clone());
        let pacer = tokio::spawn(async move {
            match clients {
                Some(clients) => pacer.keep_busy(clients, &stopped),
                None => pacer.run(per_second, stopped).await,
            }
        });
        Ok(Self { account, changed, stop, pacer, requests })
    }

    /// What became of the requests so far.
    pub fn summary(&self) -> Summary {
        self.account.lock().summary.clone()
    }

    /// Waits until the account satisfies `condition`; an error with the account once `within` has passed.
    pub async fn wait_for(
        &self,
        within: Duration,
        mut condition: impl FnMut(&Summary) -> bool,
    ) -> anyhow::Result<Summary> {
        let mut changed = self.changed.clone();
        let waiting = async {
            loop {
                let summary = self.summary();
                if condition(&summary) || changed.changed().await.is_err() {
                    return summary;
                }
            }
        };
        let waited = tokio::time::timeout(within, waiting).await;
        waited.with_context(|| format!("the load did not get there within {within:?}: {:?}", self.summary()))
    }

    /// Waits until every request begun before now has ended and gives the account at that moment: what comes after
    /// it began after this call, so it went by whatever the test changed before.
    pub async fn mark(&self, within: Duration) -> anyhow::Result<Summary> {
        let first_new = self.account.lock().begun;
        let ended = || self.account.lock().under_way.first().is_none_or(|oldest| *oldest >= first_new);
        let mut changed = self.changed.clone();
        let waiting = async {
            while !ended() && changed.changed().await.is_ok() {}
            self.summary()
        };
        let waited = tokio::time::timeout(within, waiting).await;
        waited.with_context(|| format!("requests are still under way after {within:?}: {:?}", self.summary()))
    }

    /// Stops, waits for the requests under way, and gives the account of all.
    pub async fn stop(mut self) -> Summary {
        self.stop.cancel();
        // An error means that the pacer panicked, which its requests do not.
        let _paced = (&mut self.pacer).await;
        self.requests.close();
        self.requests.wait().await;
        self.summary()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Pacer {
    client: reqwest::Client,
    request: reqwest::Request,
    account: Arc<Mutex<Account>>,
    sender: watch::Sender<u64>,
    requests: TaskTracker,
}

impl Pacer {
    fn keep_busy(self, clients: u32, stop: &CancellationToken) {
        for _ in 0..clients {
            let (client, account, sender) = (self.client.clone(), self.account.clone(), self.sender.clone());
            let (request, stop) = (self.request.try_clone(), stop.clone());
            self.requests.spawn(async move {
                while let Some(request) = request.as_ref().and_then(reqwest::Request::try_clone)
                    && !stop.is_cancelled()
                {
                    let number = account.lock().begin();
                    let result = send(&client, request).await;
                    account.lock().end(number, result);
                    sender.send_modify(|count| *count += 1);
                }
            });
        }
    }

    async fn run(self, per_second: u32, stop: CancellationToken) {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / per_second);
        // A loaded machine must not turn a pause into a burst.
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = pace.tick() => {}
            }
            let Some(request) = self.request.try_clone() else { return };
            let (client, account, sender) = (self.client.clone(), self.account.clone(), self.sender.clone());
            let number = account.lock().begin();
            self.requests.spawn(async move {
                let result = send(&client, request).await;
                account.lock().end(number, result);
                sender.send_modify(|count| *count += 1);
            });
        }
    }
}

async fn send(client: &reqwest::Client, request: reqwest::Request) -> Result<String, String> {
    let response = client.execute(request).await.map_err(|error| describe(&error))?;
    let status = response.status();
    let version = response.headers().get(VERSION_HEADER).and_then(|v| v.to_str().ok()).unwrap_or("none").to_owned();
    let body = response.bytes().await.map_err(|error| describe(&error))?;
    if status.is_success() {
        return Ok(version);
    }
    let start: String = String::from_utf8_lossy(&body).chars().take(200).collect();
    Err(format!("{status} from version {version}: {start}"))
}

fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl Account {
    fn begin(&mut self) -> u64 {
        let number = self.begun;
        self.begun += 1;
        self.under_way.insert(number);
        number
    }

    fn end(&mut self, number: u64, result: Result<String, String>) {
        self.under_way.remove(&number);
        let summary = &mut self.summary;
        summary.sent += 1;
        match result {
            Ok(version) => *summary.by_version.entry(version).or_insert(0) += 1,
            Err(failure) => {
                summary.failed += 1;
                summary.first_failure.get_or_insert_with(|| format!("at {}: {failure}", jiff::Timestamp::now()));
            }
        }
    }
}
