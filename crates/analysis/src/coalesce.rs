//! Identical queries of one interval are sent once.
//!
//! Two runs of one template ask the same server the same question, and a fleet of Cells asks it a hundred times. An
//! answer is shared with everybody who asks the same within the interval after it was asked for, unless his own
//! traffic had not flowed by then (`MetricRequest::fresh_since`). A metric of a run is never given the same answer twice:
//! the times in its status are whole seconds, so that it may ask again a little before its interval is over. Errors are
//! shared only with those who were already waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use jiff::{SignedDuration, Timestamp};
use okra_provider::metric::{MetricError, MetricRequest, Reading};
use parking_lot::Mutex;

use crate::go;
use crate::spec::Kind;

/// Answers that are kept, at most.
const MAX_KEPT: usize = 2048;

type Outcome = Result<Reading, MetricError>;

/// A query that was sent.
struct Flight {
    asked_at: Timestamp,
    useless_after: Timestamp,
    /// Who was given the answer.
    given_to: BTreeSet<[u64; 2]>,
    answer: Shared<BoxFuture<'static, Outcome>>,
}

/// The queries that were sent in the last interval.
#[derive(Default)]
pub(crate) struct Flights {
    /// The keys hold secrets of templates: what is kept of them cannot be turned back.
    hashes: [RandomState; 2],
    known: Mutex<BTreeMap<[u64; 2], Flight>>,
}

impl Flights {
    /// The answer to a request: that of an identical one, or what sending it gives.
    pub(crate) fn join(
        &self,
        request: &MetricRequest,
        now: Timestamp,
        send: BoxFuture<'static, Outcome>,
    ) -> Shared<BoxFuture<'static, Outcome>> {
        let (key, whose) = (self.key(request), self.hash(&[&request.run.uid, &request.name]));
        let mut known = self.known.lock();
        if let Some(flight) = known.get_mut(&key)
            && request.fresh_since.is_some_and(|since| flight.asked_at >= since)
            && flight.asked_at <= now
            && now <= flight.useless_after
            && !matches!(flight.answer.peek(), Some(Err(_)))
            && flight.given_to.insert(whose)
        {
            return flight.answer.clone();
        }
        let interval = go::duration_nanos(&request.interval).unwrap_or(0).max(0);
        let useless_after = now.saturating_add(SignedDuration::from_nanos(interval)).unwrap_or(now);
        let answer = send.shared();
        known.retain(|_, flight| now <= flight.useless_after);
        if known.len() >= MAX_KEPT
            && let Some(oldest) = known.iter().min_by_key(|(_, flight)| flight.asked_at).map(|(key, _)| *key)
        {
            known.remove(&oldest);
        }
        let given_to = BTreeSet::from([whose]);
        known.insert(key, Flight { asked_at: now, useless_after, given_to, answer: answer.clone() });
        answer
    }

    /// What makes two queries the same: what is asked, as whom, and how often.
    fn key(&self, request: &MetricRequest) -> [u64; 2] {
        let namespace = match Kind::of(&request.provider) {
            // Its credentials may come from the run's namespace.
            Some((Kind::Datadog, _)) => request.run.namespace.as_str(),
            _ => "",
        };
        let asked = request.provider.to_string();
        let profile = request.profile.as_deref().unwrap_or_default();
        self.hash(&[&asked, &request.interval, profile, namespace])
    }

    fn hash(&self, parts: &[&str]) -> [u64; 2] {
        self.hashes.each_ref().map(|hashes| {
            let mut hasher = hashes.build_hasher();
            for part in parts {
                hasher.write_usize(part.len());
                hasher.write(part.as_bytes());
            }
            hasher.finish()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use okra_provider::metric::{RunIdentity, Sample};
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000 + second).unwrap()
    }

    /// Each of another run.
    fn request(query: &str, since: Option<i64>) -> MetricRequest {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let uid = RUNS.fetch_add(1, Ordering::SeqCst).to_string();
        MetricRequest {
            run: RunIdentity { uid, ..RunIdentity::default() },
            provider: json!({"web": {"url": query}}),
            interval: "10s".to_owned(),
            fresh_since: since.map(at),
            ..MetricRequest::default()
        }
    }

    /// Sends through one coalescer and tells how many queries went out.
    #[derive(Default)]
    struct Bench {
        flights: Flights,
        sent: Arc<AtomicUsize>,
    }

    impl Bench {
        async fn ask(&self, request: MetricRequest, now: i64, fails: bool) -> usize {
            let sent = self.sent.clone();
            let send = async move {
                sent.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                if fails { Err(MetricError::new("no")) } else { Ok(Reading::Sample(Sample::new(1.0.into(), "1"))) }
            };
            let outcome = self.flights.join(&request, at(now), send.boxed()).await;
            assert_eq!(outcome.is_err(), fails);
            self.sent.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn the_same_question_within_an_interval_is_sent_once() {
        let bench = Bench::default();
        assert_eq!(bench.ask(request("a", Some(0)), 0, false).await, 1);
        assert_eq!(bench.ask(request("a", Some(0)), 10, false).await, 1);
        assert_eq!(bench.ask(request("b", Some(0)), 10, false).await, 2);
        assert_eq!(bench.ask(request("a", Some(0)), 11, false).await, 3);
    }

    #[tokio::test]
    async fn a_metric_of_a_run_is_never_given_the_same_answer_twice() {
        let bench = Bench::default();
        let mut own = request("a", Some(0));
        own.name = "one".to_owned();
        assert_eq!(bench.ask(own.clone(), 0, false).await, 1);
        assert_eq!(bench.ask(own.clone(), 9, false).await, 2);
        own.name = "two".to_owned();
        assert_eq!(bench.ask(own, 10, false).await, 2, "another metric of the same run");
    }

    #[tokio::test]
    async fn an_answer_from_before_the_traffic_flowed_is_not_taken() {
        let bench = Bench::default();
        assert_eq!(bench.ask(request("a", None), 0, false).await, 1);
        assert_eq!(bench.ask(request("a", Some(1)), 2, false).await, 2);
        assert_eq!(bench.ask(request("a", None), 3, false).await, 3);
        assert_eq!(bench.ask(request("a", Some(3)), 4, false).await, 3);
    }

    #[tokio::test]
    async fn a_clock_that_went_back_shares_nothing() {
        let bench = Bench::default();
        assert_eq!(bench.ask(request("a", Some(0)), 100, false).await, 1);
        assert_eq!(bench.ask(request("a", Some(0)), 50, false).await, 2);
    }

    #[tokio::test]
    async fn errors_are_shared_only_with_those_who_wait() {
        let bench = Bench::default();
        let (one, two) =
            tokio::join!(bench.ask(request("a", Some(0)), 0, true), bench.ask(request("a", Some(0)), 0, true));
        assert_eq!((one, two), (1, 1));
        assert_eq!(bench.ask(request("a", Some(0)), 1, false).await, 2);
    }

    #[tokio::test]
    async fn one_who_leaves_does_not_take_the_answer_along() {
        let bench = Bench::default();
        let first = bench.flights.join(
            &request("a", Some(0)),
            at(0),
            async { Ok(Reading::Sample(Sample::new(1.0.into(), "1"))) }.boxed(),
        );
        let second = bench.flights.join(&request("a", Some(0)), at(1), async { unreachable!() }.boxed());
        drop(first);
        assert!(second.await.is_ok());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let flights = Flights::default();
        for index in 0..MAX_KEPT + 10 {
            let send = async { Err(MetricError::new("never asked")) }.boxed();
            drop(flights.join(&request(&index.to_string(), Some(0)), at(0), send));
        }
        assert_eq!(flights.known.lock().len(), MAX_KEPT);
    }
}
