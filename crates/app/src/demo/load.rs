//! A steady load of real requests, each of which is accounted for.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as _,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::cluster::VERSION_HEADER;

/// A request without an answer after this time has failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often requests are begun.
const BEAT: Duration = Duration::from_millis(5);

/// Connections are given up before the balancer would close them: a request must not meet a closing one.
const IDLE: Duration = Duration::from_secs(20);

/// The largest answer that is read; a cluster's is a line.
const LARGEST_ANSWER: usize = 64 * 1024;

/// What became of the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Requests sent.
    pub sent: u64,
    /// Those that were not answered with 2xx.
    pub failed: u64,
    /// By the version that answered.
    pub by_version: BTreeMap<String, Tally>,
    /// What the first failure was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<String>,
}

/// What one version answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Every answer.
    pub answers: u64,
    /// Those that were not 2xx.
    pub failed: u64,
}

impl Account {
    /// What a version answered.
    pub fn of(&self, version: &str) -> Tally {
        self.by_version.get(version).copied().unwrap_or_default()
    }

    fn end(&mut self, outcome: Result<Answer, String>) {
        let failure = match outcome {
            Ok(Answer { version, failure }) => {
                if let Some(version) = version {
                    let tally = self.by_version.entry(version).or_default();
                    tally.answers += 1;
                    tally.failed += u64::from(failure.is_some());
                }
                failure
            }
            Err(why) => Some(why),
        };
        if let Some(why) = failure {
            self.failed += 1;
            self.first_failure.get_or_insert(why);
        }
    }
}

/// An answer: who gave it, and what was wrong with it.
struct Answer {
    version: Option<String>,
    failure: Option<String>,
}

/// The account, and the numbers of the requests that have not ended.
#[derive(Debug, Default)]
struct Book {
    account: Account,
    under_way: BTreeSet<u64>,
}

/// A running load. Dropped without [`Load::stop`], it ends without an account.
pub(super) struct Load {
    book: Arc<Mutex<Book>>,
    stop: CancellationToken,
    pacer: JoinHandle<()>,
    requests: TaskTracker,
}

impl Load {
    /// Begins `rate` requests a second, whether or not earlier ones are answered, over connections kept alive.
    pub(super) fn start(address: SocketAddr, rate: u32) -> anyhow::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(TIMEOUT));
        // The client must hide no failure.
        let client = Client::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .pool_idle_timeout(IDLE)
            .build(connector);
        let uri: Uri = format!("http://{address}/").parse()?;
        let (book, stop, requests) = (Arc::default(), CancellationToken::new(), TaskTracker::new());
        let pacer = Pacer { client, uri, book: Arc::clone(&book), requests: requests.clone() };
        let pacer = tokio::spawn(pacer.run(rate, stop.clone()));
        Ok(Self { book, stop, pacer, requests })
    }

    /// What became of the requests so far.
    pub(super) fn account(&self) -> Account {
        self.book.lock().account.clone()
    }

    /// So many requests, counted from the first one, have all ended.
    pub(super) fn ended(&self) -> u64 {
        let book = self.book.lock();
        book.under_way.first().copied().unwrap_or(book.account.sent)
    }

    /// Stops, waits for the requests under way, and gives the account of all.
    pub(super) async fn stop(mut self) -> Account {
        self.stop.cancel();
        // An error means that the pacer panicked; what it sent is accounted for all the same.
        let _paced = (&mut self.pacer).await;
        self.requests.close();
        self.requests.wait().await;
        self.account()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Pacer {
    client: Client<HttpConnector, Empty<Bytes>>,
    uri: Uri,
    book: Arc<Mutex<Book>>,
    requests: TaskTracker,
}

impl Pacer {
    async fn run(self, rate: u32, stop: CancellationToken) {
        let rate = f64::from(rate);
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut owed) = (Instant::now(), 0.0);
        while stop.run_until_cancelled(beat.tick()).await.is_some() {
            let now = Instant::now();
            // A machine that stood still owes no burst.
            owed = (owed + now.duration_since(last).as_secs_f64() * rate).min((rate / 10.0).max(1.0));
            last = now;
            while owed >= 1.0 {
                owed -= 1.0;
                self.begin();
            }
        }
    }

    fn begin(&self) {
        let (client, uri, book) = (self.client.clone(), self.uri.clone(), self.book.clone());
        let number = {
            let mut book = book.lock();
            let number = book.account.sent;
            book.account.sent += 1;
            book.under_way.insert(number);
            number
        };
        self.requests.spawn(async move {
            let sent = tokio::time::timeout(TIMEOUT, send(&client, uri)).await;
            let outcome = sent.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())));
            let mut book = book.lock();
            book.under_way.remove(&number);
            book.account.end(outcome);
        });
    }
}

async fn send(client: &Client<HttpConnector, Empty<Bytes>>, uri: Uri) -> Result<Answer, String> {
    let response = client.get(uri).await.map_err(|error| {
        let cause = error.source().map_or_else(String::new, |source| format!(": {source}"));
        format!("{error}{cause}")
    })?;
    let status = response.status();
    let version = response.headers().get(VERSION_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
    let failure = match body {
        Err(error) => Some(format!("the answer broke off: {error}")),
        Ok(_) if !status.is_success() => Some(format!("answered {status}")),
        Ok(_) if version.is_none() => Some("answered by something that is no cluster of this demo".to_owned()),
        Ok(_) => None,
    };
    Ok(Answer { version, failure })
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::demo::cluster::{Cluster, Quality};

    #[tokio::test]
    async fn every_request_is_accounted_for() {
        let cluster = Cluster::start("web-1", "v1", Quality::Good).await.unwrap();
        let address: SocketAddr = cluster.url().trim_start_matches("http://").parse().unwrap();
        let load = Load::start(address, 500).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while load.account().of("v1").answers < 100 {
            assert!(Instant::now() < deadline, "{:?}", load.account());
            tokio::time::sleep(BEAT).await;
        }
        drop(cluster);
        while load.account().failed == 0 {
            assert!(Instant::now() < deadline, "{:?}", load.account());
            tokio::time::sleep(BEAT).await;
        }
        let begun = load.account().sent;
        while load.ended() < begun {
            assert!(Instant::now() < deadline, "{:?}", load.account());
            tokio::time::sleep(BEAT).await;
        }
        let account = load.stop().await;
        assert_eq!(account.sent, account.of("v1").answers + account.failed);
        assert_eq!(account.of("v1").failed, 0);
        assert!(account.first_failure.is_some());
    }

    #[test]
    fn failures_count_for_the_version_that_gave_them() {
        let mut account = Account::default();
        let answer = |version: Option<&str>, failure: Option<&str>| {
            Ok(Answer { version: version.map(str::to_owned), failure: failure.map(str::to_owned) })
        };
        for outcome in [
            answer(Some("v1"), None),
            answer(Some("v1"), Some("answered 500")),
            answer(None, Some("answered 502")),
            Err("no connection".to_owned()),
        ] {
            account.end(outcome);
        }
        assert_eq!((account.failed, account.of("v1")), (3, Tally { answers: 2, failed: 1 }));
        assert_eq!(account.first_failure.as_deref(), Some("answered 500"));
    }
}
