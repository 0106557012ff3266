//! The life of a target as AWS tells it: `unused` until its group is attached to a rule, `initial` for
//! a while, then `healthy`; `draining` after it was deregistered. A test can force any state.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use okra_judge::record::{GroupHealth, LbCall};

use super::error::AwsError;
use super::node::Node;
use super::state::State;

/// The state of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Health checks have not decided yet.
    Initial,
    /// Health checks pass.
    Healthy,
    /// Health checks fail.
    Unhealthy,
    /// The group is attached to no rule.
    Unused,
    /// Deregistered, or shut down by its zone: open connections may finish.
    Draining,
    /// Health checks are off.
    Unavailable,
}

impl Health {
    fn wire(self) -> (&'static str, Option<&'static str>, Option<&'static str>) {
        match self {
            Health::Healthy => ("healthy", None, None),
            Health::Initial => {
                ("initial", Some("Elb.RegistrationInProgress"), Some("Target registration is in progress"))
            }
            Health::Unhealthy => ("unhealthy", Some("Target.FailedHealthChecks"), Some("Health checks failed")),
            Health::Unused => (
                "unused",
                Some("Target.NotInUse"),
                Some("Target group is not configured to receive traffic from the load balancer"),
            ),
            Health::Draining => {
                ("draining", Some("Target.DeregistrationInProgress"), Some("Target deregistration is in progress"))
            }
            Health::Unavailable => {
                ("unavailable", Some("Target.HealthCheckDisabled"), Some("Health checks are disabled for this target"))
            }
        }
    }
}

/// Times of the target lifecycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthSettings {
    /// From attachment or registration to `healthy`.
    pub initial: Duration,
    /// How long a deregistered target is `draining`.
    pub deregistration: Duration,
}

impl Default for HealthSettings {
    fn default() -> Self {
        // `initial` is short enough for tests and long enough to be met by every reader that is too
        // eager; the deregistration delay is AWS's default.
        Self { initial: Duration::from_millis(200), deregistration: Duration::from_mins(5) }
    }
}

/// A registered target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub ip: String,
    pub port: u16,
    registered: Instant,
    draining_until: Option<Instant>,
    forced: Option<Health>,
}

impl Target {
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.ip.parse().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

/// A target group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub port: u16,
    pub targets: Vec<Target>,
    pub initial: Option<Duration>,
    pub forced: Option<Health>,
    attached: Option<Instant>,
}

impl Group {
    pub(crate) fn settle(&mut self, attached: bool, now: Instant) {
        match (attached, self.attached) {
            (true, None) => self.attached = Some(now),
            (false, Some(_)) => self.attached = None,
            _ => {}
        }
        self.targets.retain(|target| target.draining_until.is_none_or(|until| now < until));
    }

    pub(crate) fn state(&self, target: &Target, settings: &HealthSettings, now: Instant) -> Health {
        if target.draining_until.is_some() {
            return Health::Draining;
        }
        let Some(attached) = self.attached else { return Health::Unused };
        if let Some(forced) = target.forced.or(self.forced) {
            return forced;
        }
        if now < self.ready_at(target, attached, settings) { Health::Initial } else { Health::Healthy }
    }

    fn ready_at(&self, target: &Target, attached: Instant, settings: &HealthSettings) -> Instant {
        attached.max(target.registered) + self.initial.unwrap_or(settings.initial)
    }

    pub(crate) fn next_change(&self, settings: &HealthSettings, now: Instant) -> Option<Instant> {
        let ready = |t: &Target| self.attached.map(|attached| self.ready_at(t, attached, settings));
        self.targets.iter().flat_map(|t| [ready(t), t.draining_until]).flatten().filter(|at| *at > now).min()
    }

    pub(crate) fn count(&self, arn: &str, settings: &HealthSettings, now: Instant) -> GroupHealth {
        let registered = || self.targets.iter().filter(|t| t.draining_until.is_none());
        let healthy = registered().filter(|t| self.state(t, settings, now) == Health::Healthy).count();
        let total = registered().count();
        GroupHealth {
            target_group: arn.to_owned(),
            healthy: u32::try_from(healthy).unwrap_or(u32::MAX),
            total: u32::try_from(total).unwrap_or(u32::MAX),
        }
    }

    /// Forces the state of one target, or of all without an address; `None` gives it back its own life.
    pub(crate) fn force(&mut self, address: Option<SocketAddr>, health: Option<Health>) -> bool {
        let Some(address) = address else {
            self.forced = health;
            self.targets.iter_mut().for_each(|target| target.forced = None);
            return true;
        };
        let Some(target) = self.targets.iter_mut().find(|t| t.address() == Some(address)) else { return false };
        target.forced = health;
        true
    }

    pub(crate) fn register(&mut self, ip: &str, port: u16, now: Instant) {
        match self.targets.iter_mut().find(|t| t.ip == ip && t.port == port) {
            Some(known) if known.draining_until.is_none() => {}
            Some(leaving) => {
                leaving.draining_until = None;
                leaving.registered = now;
            }
            None => self.targets.push(Target {
                ip: ip.to_owned(),
                port,
                registered: now,
                draining_until: None,
                forced: None,
            }),
        }
    }

    pub(crate) fn deregister(&mut self, ip: &str, port: Option<u16>, delay: Duration, now: Instant) {
        let attached = self.attached.is_some();
        for target in &mut self.targets {
            if target.ip == ip && port.is_none_or(|p| p == target.port) && target.draining_until.is_none() {
                // Nothing is connected to a target of an unused group: it leaves at once.
                target.draining_until = Some(if attached { now + delay } else { now });
            }
        }
        self.settle(attached, now);
    }
}

fn described_target(node: &Node) -> Result<(String, Option<u16>), AwsError> {
    let id = node.str("Id").ok_or_else(|| AwsError::validation("A target ID must be specified"))?;
    let port = match node.str("Port") {
        None => None,
        Some(text) => match text.parse() {
            Ok(0) | Err(_) => return Err(AwsError::validation(format!("Port '{text}' is not valid"))),
            Ok(port) => Some(port),
        },
    };
    Ok((id.to_owned(), port))
}

fn group_arn(params: &Node) -> Result<String, AwsError> {
    let arn = params.str("TargetGroupArn").unwrap_or_default();
    if !arn.contains(":targetgroup/") {
        return Err(AwsError::validation(format!("'{arn}' is not a valid target group ARN")));
    }
    Ok(arn.to_owned())
}

/// `DescribeTargetHealth`.
pub(crate) fn describe_target_health(
    state: &State,
    params: &Node,
    call: &mut LbCall,
    now: Instant,
) -> Result<Node, AwsError> {
    let arn = group_arn(params)?;
    let group = state.groups.get(&arn).ok_or_else(|| AwsError::group_not_found(&arn))?;
    let asked = params.list("Targets").iter().map(described_target).collect::<Result<Vec<_>, _>>()?;
    let mut descriptions: Vec<Node> = group
        .targets
        .iter()
        .filter(|t| asked.is_empty() || asked.iter().any(|(id, port)| *id == t.ip && port.is_none_or(|p| p == t.port)))
        .map(|target| description(&target.ip, target.port, group.state(target, &state.health, now).wire()))
        .collect();
    for (id, port) in &asked {
        let known = group.targets.iter().any(|t| t.ip == *id && port.is_none_or(|p| p == t.port));
        if !known {
            let reason = ("unused", Some("Target.NotRegistered"), Some("Target is not registered to the target group"));
            descriptions.push(description(id, port.unwrap_or(group.port), reason));
        }
    }
    if asked.is_empty() {
        call.health = Some(group.count(&arn, &state.health, now));
    }
    Ok(Node::empty().with("TargetHealthDescriptions", Node::List(descriptions)))
}

fn description(ip: &str, port: u16, (state, reason, text): (&str, Option<&str>, Option<&str>)) -> Node {
    let mut health = Node::empty().with_text("State", state);
    if let Some(reason) = reason {
        health.set("Reason", Node::text(reason));
    }
    if let Some(text) = text {
        health.set("Description", Node::text(text));
    }
    Node::empty()
        .with("Target", Node::empty().with_text("Id", ip).with_text("Port", port).with_text("AvailabilityZone", "all"))
        .with_text("HealthCheckPort", port)
        .with("TargetHealth", health)
}

/// `RegisterTargets`. Any IP address is taken, unlike AWS, which wants private ones: tests live on 127.0.0.1.
pub(crate) fn register_targets(state: &mut State, params: &Node, now: Instant) -> Result<Node, AwsError> {
    let arn = group_arn(params)?;
    let targets = params.list("Targets").iter().map(described_target).collect::<Result<Vec<_>, _>>()?;
    let group = state.group(&arn)?;
    if targets.is_empty() {
        return Err(AwsError::validation("At least one target must be specified"));
    }
    if let Some((id, _)) = targets.iter().find(|(id, _)| id.parse::<std::net::IpAddr>().is_err()) {
        return Err(AwsError::validation(format!("The IP address '{id}' is not a valid IPv4 address")));
    }
    for (id, port) in targets {
        group.register(&id, port.unwrap_or(group.port), now);
    }
    Ok(Node::empty())
}

/// `DeregisterTargets`.
pub(crate) fn deregister_targets(state: &mut State, params: &Node, now: Instant) -> Result<Node, AwsError> {
    let arn = group_arn(params)?;
    let targets = params.list("Targets").iter().map(described_target).collect::<Result<Vec<_>, _>>()?;
    let delay = state.health.deregistration;
    let group = state.group(&arn)?;
    for (id, port) in targets {
        group.deregister(&id, port, delay, now);
    }
    Ok(Node::empty())
}
