//! What the balancer counts, and how it is shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A count of what is under way now; it falls again when the guard that `enter` gave is dropped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauge(Arc<AtomicU64>);

#[derive(Debug)]
pub(crate) struct GaugeGuard(Gauge);

impl Gauge {
    pub(crate) fn enter(&self) -> GaugeGuard {
        self.0.fetch_add(1, Relaxed);
        GaugeGuard(self.clone())
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct GroupCounters {
    pub(crate) requests: Counter,
    pub(crate) balancer_errors: Counter,
    pub(crate) backend_errors: Counter,
    pub(crate) connect_failures: Counter,
    pub(crate) retries: Counter,
    pub(crate) aborted: Counter,
    pub(crate) responses: Counter,
    pub(crate) latency_micros: Counter,
    pub(crate) active_requests: Gauge,
    pub(crate) active_upgrades: Gauge,
    pub(crate) active_connections: Gauge,
}

impl GroupCounters {
    pub(crate) fn responded(&self, after: Duration) {
        self.responses.add(1);
        self.latency_micros.add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn snapshot(&self) -> GroupStats {
        GroupStats {
            requests: self.requests.get(),
            balancer_errors: self.balancer_errors.get(),
            backend_errors: self.backend_errors.get(),
            connect_failures: self.connect_failures.get(),
            retries: self.retries.get(),
            aborted: self.aborted.get(),
            responses: self.responses.get(),
            latency_seconds_sum: Duration::from_micros(self.latency_micros.get()).as_secs_f64(),
            active_requests: self.active_requests.get(),
            active_upgrades: self.active_upgrades.get(),
            active_connections: self.active_connections.get(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) requests: Counter,
    pub(crate) fixed: Counter,
    pub(crate) unmatched: Counter,
    pub(crate) refused: Counter,
    pub(crate) connections: Counter,
    pub(crate) active_connections: Gauge,
}

/// What went through a balancer since its start. Counters of a group outlive the group's removal, so that sums over a
/// swap hold (of removed groups the latest 256 are kept).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Requests received, whatever became of them.
    pub requests: u64,
    /// Requests answered by a fixed response.
    pub fixed_responses: u64,
    /// Requests that no rule matched, answered 404.
    pub unmatched: u64,
    /// Requests refused before any rule was asked: no `Host`, CONNECT, TRACE, malformed or too large headers.
    pub refused: u64,
    /// Client connections accepted.
    pub connections: u64,
    /// Client connections open now, upgraded ones included.
    pub active_connections: u64,
    /// The sums over all groups.
    pub total: GroupStats,
    /// By target group.
    pub groups: BTreeMap<String, GroupStats>,
}

/// What went through one target group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupStats {
    /// Requests given to the group.
    pub requests: u64,
    /// Answers 502, 503 and 504 that the balancer itself gave for the group.
    pub balancer_errors: u64,
    /// Answers 5xx that came from a target.
    pub backend_errors: u64,
    /// Connects to a target that failed or timed out.
    pub connect_failures: u64,
    /// Requests sent a second time because a kept-alive connection to a target had been closed.
    pub retries: u64,
    /// Answers that ended before their end, by the target's or by the client's doing.
    pub aborted: u64,
    /// Answers from targets.
    pub responses: u64,
    /// Seconds from the arrival of a request to the head of its answer, summed over `responses`.
    pub latency_seconds_sum: f64,
    /// Requests under way now, upgraded connections included.
    pub active_requests: u64,
    /// Upgraded connections (WebSockets) open now.
    pub active_upgrades: u64,
    /// Connections to targets open now, idle ones included.
    pub active_connections: u64,
}

impl GroupStats {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.balancer_errors += other.balancer_errors;
        self.backend_errors += other.backend_errors;
        self.connect_failures += other.connect_failures;
        self.retries += other.retries;
        self.aborted += other.aborted;
        self.responses += other.responses;
        self.latency_seconds_sum += other.latency_seconds_sum;
        self.active_requests += other.active_requests;
        self.active_upgrades += other.active_upgrades;
        self.active_connections += other.active_connections;
    }
}

/// How many targets of a group can take requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupHealth {
    /// Targets known to be healthy.
    pub healthy: u32,
    /// All targets.
    pub total: u32,
}

pub(crate) fn snapshot(totals: &Totals, groups: &BTreeMap<String, Arc<GroupCounters>>) -> Stats {
    let groups: BTreeMap<_, _> = groups.iter().map(|(name, group)| (name.clone(), group.snapshot())).collect();
    let mut total = GroupStats::default();
    for group in groups.values() {
        total.add(group);
    }
    Stats {
        requests: totals.requests.get(),
        fixed_responses: totals.fixed.get(),
        unmatched: totals.unmatched.get(),
        refused: totals.refused.get(),
        connections: totals.connections.get(),
        active_connections: totals.active_connections.get(),
        total,
        groups,
    }
}

/// Name, type, help, and where the value is.
type Metric<T> = (&'static str, &'static str, &'static str, fn(&T) -> f64);

const METRICS: [Metric<Stats>; 6] = [
    ("requests_total", "counter", "Requests received.", |s| s.requests as f64),
    ("fixed_responses_total", "counter", "Requests answered by a fixed response.", |s| s.fixed_responses as f64),
    ("unmatched_requests_total", "counter", "Requests that no rule matched.", |s| s.unmatched as f64),
    ("refused_requests_total", "counter", "Requests refused as malformed.", |s| s.refused as f64),
    ("connections_total", "counter", "Client connections accepted.", |s| s.connections as f64),
    ("active_connections", "gauge", "Client connections open.", |s| s.active_connections as f64),
];

const HEALTH_METRICS: [Metric<GroupHealth>; 2] = [
    ("targets", "gauge", "Targets of the group.", |h| f64::from(h.total)),
    ("healthy_targets", "gauge", "Targets known to be healthy.", |h| f64::from(h.healthy)),
];

const GROUP_METRICS: [Metric<GroupStats>; 11] = [
    ("requests_total", "counter", "Requests given to the target group.", |g| g.requests as f64),
    ("balancer_errors_total", "counter", "Answers 502, 503 and 504 made by the balancer.", |g| {
        g.balancer_errors as f64
    }),
    ("backend_errors_total", "counter", "Answers 5xx from targets.", |g| g.backend_errors as f64),
    ("connect_failures_total", "counter", "Connects to targets that failed.", |g| g.connect_failures as f64),
    ("retries_total", "counter", "Requests sent again after a closed kept-alive connection.", |g| g.retries as f64),
    ("aborted_responses_total", "counter", "Answers that broke off.", |g| g.aborted as f64),
    ("response_latency_seconds_sum", "counter", "Seconds to the head of the answer, summed.", |g| {
        g.latency_seconds_sum
    }),
    ("response_latency_seconds_count", "counter", "Answers from targets.", |g| g.responses as f64),
    ("active_requests", "gauge", "Requests under way.", |g| g.active_requests as f64),
    ("active_upgrades", "gauge", "Upgraded connections open.", |g| g.active_upgrades as f64),
    ("active_target_connections", "gauge", "Connections to targets open.", |g| g.active_connections as f64),
];

/// One balancer's part of the metrics.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) listener: String,
    pub(crate) stats: Stats,
    pub(crate) health: BTreeMap<String, GroupHealth>,
}

/// The Prometheus text format, version 0.0.4. A family may stand only once in it, hence all balancers at once.
pub(crate) fn render(samples: &[Sample]) -> String {
    let mut out = String::new();
    for (name, kind, help, value) in METRICS {
        head(&mut out, name, kind, help);
        for Sample { listener, stats, .. } in samples {
            let _ = writeln!(out, "okra_balancer_{name}{{listener=\"{}\"}} {}", escaped(listener), value(stats));
        }
    }
    for metric in GROUP_METRICS {
        family(&mut out, metric, samples, |sample| &sample.stats.groups);
    }
    for metric in HEALTH_METRICS {
        family(&mut out, metric, samples, |sample| &sample.health);
    }
    out
}

fn family<T>(
    out: &mut String,
    (name, kind, help, value): Metric<T>,
    samples: &[Sample],
    groups: fn(&Sample) -> &BTreeMap<String, T>,
) {
    let name = format!("target_group_{name}");
    head(out, &name, kind, help);
    for sample in samples {
        let listener = escaped(&sample.listener);
        for (group, of_group) in groups(sample) {
            let (group, value) = (escaped(group), value(of_group));
            let _ = writeln!(out, "okra_balancer_{name}{{listener=\"{listener}\",target_group=\"{group}\"}} {value}");
        }
    }
}

// Writing to a String cannot fail, so the results are dropped.
fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP okra_balancer_{name} {help}\n# TYPE okra_balancer_{name} {kind}");
}

fn escaped(label: &str) -> String {
    label.replace('\\', r"\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_every_family_has_a_type() {
        let counters = Arc::new(GroupCounters::default());
        counters.requests.add(3);
        counters.responded(Duration::from_millis(1500));
        let _active = counters.active_requests.enter();
        let name = "a\"b\\c\nd".to_owned();
        let groups = BTreeMap::from([(name.clone(), counters)]);
        let health = BTreeMap::from([(name, GroupHealth { healthy: 1, total: 2 })]);
        let stats = snapshot(&Totals::default(), &groups);
        let text = render(&[Sample { listener: "127.0.0.1:80".to_owned(), stats, health }]);
        let label = r#"{listener="127.0.0.1:80",target_group="a\"b\\c\nd"}"#;
        assert!(text.contains(&format!("okra_balancer_target_group_requests_total{label} 3\n")), "{text}");
        assert!(text.contains(&format!("okra_balancer_target_group_response_latency_seconds_sum{label} 1.5\n")));
        assert!(text.contains(&format!("okra_balancer_target_group_active_requests{label} 1\n")));
        assert!(text.contains(&format!("okra_balancer_target_group_healthy_targets{label} 1\n")));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
        }
    }

    #[test]
    fn totals_are_the_sums_of_the_groups() {
        let (a, b) = (Arc::new(GroupCounters::default()), Arc::new(GroupCounters::default()));
        a.requests.add(2);
        b.requests.add(3);
        b.retries.add(1);
        let stats = snapshot(&Totals::default(), &BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]));
        assert_eq!((stats.total.requests, stats.total.retries), (5, 1));
    }
}
