//! The data path of an ALB: the embedded balancer, driven by the rules and the health that the AWS front holds, so
//! that real requests go through the weights that AWS has.
//!
//! One listener is served. A change of its rules is applied at once, or as late as the front's plan says: AWS says that
//! rule updates "do not take effect immediately". Targets and their health are those of the moment. Healthy targets get the requests of their group; a group without any
//! fails open to its other targets, a draining one gets none.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context as _;
use okra_balancer::{
    Action, Balancer, Conditions, DEFAULT_PRIORITY, Group, HeaderCondition, HealthSource, Options, QueryMatch,
    RoutingTable, Rule, Target, WeightedGroup,
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::front::{Condition, Forward, Front, Health, RoutingRule};
use crate::metric_server::MetricServer;

/// What is served: a listener's rules as they were at one moment, and the targets of their groups.
#[derive(Clone, Debug, Default, PartialEq)]
struct Picture {
    table: RoutingTable,
    /// Group, target, whether it is healthy.
    health: Vec<(String, String, bool)>,
}

/// A running data path of one listener. It stops when it is dropped.
pub struct DataPath {
    balancer: Arc<Balancer>,
    applied: watch::Receiver<Picture>,
    source: Source,
    _stop: DropGuard,
}

impl DataPath {
    /// Serves `listener` of the front on a free port of 127.0.0.1.
    pub async fn start(front: &Arc<Front>, listener: &str) -> anyhow::Result<Self> {
        let balancer = Balancer::start(SocketAddr::from(([127, 0, 0, 1], 0)), Options::default())
            .await
            .context("failed to start the data path")?;
        let balancer = Arc::new(balancer);
        let source = Source { front: Arc::downgrade(front), listener: listener.to_owned() };
        let stop = CancellationToken::new();
        let rules = source.rules();
        let first = source.picture(&rules);
        apply(&balancer, &first)?;
        let (sender, applied) = watch::channel(first);
        let follow = follow(balancer.clone(), front.changed(), source.clone(), rules, sender);
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stopped.cancelled() => {}
                () = follow => {}
            }
        });
        Ok(Self { balancer, applied, source, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.balancer.local_addr()
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Waits until what the front holds has reached the data path; an error once `within` has passed.
    pub async fn settled(&self, within: Duration) -> anyhow::Result<()> {
        let mut applied = self.applied.clone();
        let settled = applied.wait_for(|applied| *applied == self.source.picture(&self.source.rules()));
        tokio::time::timeout(within, settled).await.context("the data path did not follow the front in time")??;
        Ok(())
    }

    /// Counters per target group ARN, as the balancer keeps them.
    pub fn stats(&self) -> okra_balancer::Stats {
        self.balancer.stats()
    }

    /// Serves the same for Prometheus, on any path of a port of its own.
    pub async fn export(&self) -> MetricServer {
        let balancer = self.balancer.clone();
        MetricServer::serving(move |_| Some(balancer.render_prometheus())).await
    }
}

/// Where rules and targets come from.
#[derive(Clone)]
struct Source {
    front: Weak<Front>,
    listener: String,
}

impl Source {
    fn rules(&self) -> Vec<RoutingRule> {
        self.front.upgrade().map(|front| front.routing(&self.listener)).unwrap_or_default()
    }

    fn lag(&self) -> Duration {
        self.front.upgrade().map(|front| front.data_path_lag()).unwrap_or_default()
    }

    fn picture(&self, rules: &[RoutingRule]) -> Picture {
        self.front.upgrade().map(|front| picture(&front, rules)).unwrap_or_default()
    }
}

async fn follow(
    balancer: Arc<Balancer>,
    mut changed: watch::Receiver<u64>,
    source: Source,
    mut served: Vec<RoutingRule>,
    applied: watch::Sender<Picture>,
) {
    // Each change arrives as late as was planned when it was made, and never before an earlier one.
    let mut coming: VecDeque<(Instant, Vec<RoutingRule>)> = VecDeque::new();
    loop {
        let rules = source.rules();
        if rules != *coming.back().map_or(&served, |(_, latest)| latest) {
            let due = Instant::now() + source.lag();
            coming.push_back((coming.back().map_or(due, |(last, _)| due.max(*last)), rules));
        }
        while let Some((_, rules)) = coming.pop_front_if(|(due, _)| *due <= Instant::now()) {
            served = rules;
        }
        let picture = source.picture(&served);
        if *applied.borrow() != picture {
            if let Err(error) = apply(&balancer, &picture) {
                tracing::error!(%error, "the data path refused the front's rules");
            }
            applied.send_replace(picture);
        }
        let next = coming.front().map_or_else(|| Instant::now() + Duration::from_hours(1), |(due, _)| *due);
        tokio::select! {
            biased;
            result = changed.changed() => if result.is_err() { return },
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

fn apply(balancer: &Balancer, picture: &Picture) -> anyhow::Result<()> {
    balancer.apply(picture.table.clone()).context("failed to apply the front's rules")?;
    for (group, target, healthy) in &picture.health {
        balancer.set_health(group, target, *healthy);
    }
    Ok(())
}

fn picture(front: &Front, rules: &[RoutingRule]) -> Picture {
    let mut picture = Picture::default();
    for rule in rules {
        let groups = rule.forward.iter().flat_map(|forward| forward.groups.iter().map(|(arn, _)| arn));
        for arn in groups {
            picture.add_group(arn, &front.targets(arn));
        }
        picture.table.rules.push(to_rule(rule.clone()));
    }
    picture.health.sort();
    picture
}

impl Picture {
    fn add_group(&mut self, arn: &str, targets: &[(SocketAddr, Health)]) {
        if self.table.groups.contains_key(arn) {
            return;
        }
        let serving = || targets.iter().filter(|(_, health)| *health != Health::Draining);
        let group = Group {
            targets: serving().map(|(address, _)| Target::from(*address)).collect(),
            health: HealthSource::Given,
        };
        self.table.groups.insert(arn.to_owned(), group);
        // A target whose health checks are off is routed to like a healthy one.
        let healthy = |health: Health| matches!(health, Health::Healthy | Health::Unavailable);
        self.health.extend(serving().map(|(a, health)| (arn.to_owned(), a.to_string(), healthy(*health))));
    }
}

fn to_rule(rule: RoutingRule) -> Rule {
    Rule {
        priority: rule.state.priority.parse().unwrap_or(DEFAULT_PRIORITY),
        name: rule.state.arn,
        conditions: to_conditions(rule.conditions),
        action: rule.forward.map_or_else(|| fixed(rule.fixed), to_forward),
    }
}

/// A redirect cannot be told by the balancer; what it answers names the gap.
fn fixed(fixed: Option<(u16, String)>) -> Action {
    let (status, body) = fixed.unwrap_or((501, "the data path knows no redirects".to_owned()));
    Action::Fixed { status, body }
}

fn to_forward(forward: Forward) -> Action {
    let weighted = |(group, weight): (String, i64)| WeightedGroup { group, weight: u32::try_from(weight).unwrap_or(0) };
    let seconds = forward.sticky_seconds.filter(|_| forward.sticky);
    Action::Forward {
        groups: forward.groups.into_iter().map(weighted).collect(),
        stickiness: seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs),
    }
}

fn to_conditions(conditions: Vec<Condition>) -> Conditions {
    let mut table = Conditions::default();
    for condition in conditions {
        match condition.field.as_str() {
            "host-header" => table.hosts = condition.values,
            "path-pattern" => table.path_patterns = condition.values,
            "http-request-method" => table.methods = condition.values,
            "source-ip" => table.source_ips = condition.values,
            "http-header" => {
                let name = condition.header.unwrap_or_default();
                table.headers.push(HeaderCondition { name, values: condition.values });
            }
            _ => {
                let pair = |(key, value)| QueryMatch { key, value };
                table.query_strings.push(condition.pairs.into_iter().map(pair).collect());
            }
        }
    }
    table
}

/// Requests that arrived at a target group's ARN, for tests that look at the split from the balancer's side.
pub fn requests_by_group(stats: &okra_balancer::Stats) -> BTreeMap<String, u64> {
    stats.groups.iter().map(|(arn, group)| (arn.clone(), group.requests)).collect()
}
