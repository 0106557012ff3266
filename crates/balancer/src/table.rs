//! The routing table: what a balancer is told to do, as plain data, and the check it must pass before it is used.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use http::header::HeaderName;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::conditions::Cidr;

/// The greatest weight of a group in an action (the range of an ALB: 0 to 999).
pub const MAX_WEIGHT: u32 = 999;

/// The priority of the default rule, which is looked at last and carries no conditions.
pub const DEFAULT_PRIORITY: u32 = u32::MAX;

/// The longest stickiness of an ALB: seven days.
pub const MAX_STICKINESS: Duration = Duration::from_hours(7 * 24);

/// All that decides where a request goes. It is swapped as a whole, so no request ever sees half of a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingTable {
    /// The rules. They are tried by ascending priority, whatever their order here; a request that none matches
    /// is answered 404.
    pub rules: Vec<Rule>,
    /// The target groups by name. A group that no rule names is kept and health checked, and gets no request.
    pub groups: BTreeMap<String, Group>,
}

/// One rule: when all its conditions hold, its action answers the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// A name, unique in the table. It ties the rule to its round-robin state across changes of the table.
    pub name: String,
    /// Unique in the table; lower is tried first. [`DEFAULT_PRIORITY`] is the default rule.
    pub priority: u32,
    /// What must hold. Without conditions the rule matches every request.
    #[serde(default)]
    pub conditions: Conditions,
    /// What is done.
    pub action: Action,
}

/// Conditions of a rule, as an ALB has them: kinds are joined by AND, the values of one condition by OR.
///
/// In patterns `*` stands for any number of characters and `?` for exactly one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// Patterns for the host without its port, compared without regard to case.
    pub hosts: Vec<String>,
    /// Patterns for the path without the query, compared with regard to case.
    pub path_patterns: Vec<String>,
    /// Methods, compared exactly.
    pub methods: Vec<String>,
    /// Every one of them must hold.
    pub headers: Vec<HeaderCondition>,
    /// Every inner list must hold; it holds when one of its entries does.
    pub query_strings: Vec<Vec<QueryMatch>>,
    /// Networks in CIDR notation; the address of the connection must be in one. `X-Forwarded-For` is not looked at.
    pub source_ips: Vec<String>,
}

/// A condition on one request header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderCondition {
    /// The header's name, without regard to case.
    pub name: String,
    /// Patterns for its value, compared without regard to case; one must match one of the header's values.
    pub values: Vec<String>,
}

/// One entry of a query-string condition. Both patterns are compared without regard to case, and with the query as it
/// was sent: nothing is percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryMatch {
    /// A pattern for the key; absent means any key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A pattern for the value.
    pub value: String,
}

/// What a rule does with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Send it to one of the groups, by weight.
    Forward {
        /// The groups and their weights; at least one weight is above 0.
        groups: Vec<WeightedGroup>,
        /// How long a client stays with the group that it got first; absent means every request is placed anew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stickiness: Option<Duration>,
    },
    /// Answer it without a backend.
    Fixed {
        /// The status, 200 to 599.
        status: u16,
        /// The body, sent as `text/plain`.
        body: String,
    },
}

/// A group's share in an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightedGroup {
    /// The group's name in [`RoutingTable::groups`].
    pub group: String,
    /// Its weight, 0 to [`MAX_WEIGHT`]; with 0 it gets no request.
    pub weight: u32,
}

/// A set of targets that share the requests of the group in turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The targets. A group without any answers 503 for its share, as an ALB does.
    pub targets: Vec<Target>,
    /// Where the health of the targets comes from.
    pub health: HealthSource,
}

/// One backend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Target {
    /// `host:port`; an IPv6 address stands in brackets. A name is resolved at every connect.
    pub address: String,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { address: address.to_string() }
    }
}

impl From<&str> for Target {
    fn from(address: &str) -> Self {
        Self { address: address.to_owned() }
    }
}

impl From<String> for Target {
    fn from(address: String) -> Self {
        Self { address }
    }
}

/// Where a group's health comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HealthSource {
    /// The balancer asks the targets itself.
    Active(HealthCheck),
    /// Somebody else knows and says so by [`Balancer::set_health`](crate::Balancer::set_health).
    Given,
}

/// An active health check: a GET that must be answered with 2xx or 3xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// The path and query to ask for.
    pub path: String,
    /// The time between the end of one check and the start of the next.
    pub interval: Duration,
    /// A check that takes longer has failed.
    pub timeout: Duration,
    /// So many successes in a row make an unhealthy target healthy.
    pub healthy_threshold: u32,
    /// So many failures in a row make a healthy target unhealthy.
    pub unhealthy_threshold: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy_threshold: 2,
            unhealthy_threshold: 2,
        }
    }
}

/// Why a routing table was refused. The table in use stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A field holds what it must not hold.
    #[error("failed to accept routing table: {field}: {problem}")]
    Invalid {
        /// The path of the field, such as `rules[2].action.groups[0].weight`.
        field: String,
        /// What is wrong with it, with the value.
        problem: String,
    },
    /// The balancer has been shut down.
    #[error("failed to accept routing table: the balancer has been shut down")]
    ShutDown,
}

fn invalid(field: impl Into<String>, problem: impl Into<String>) -> TableError {
    TableError::Invalid { field: field.into(), problem: problem.into() }
}

impl RoutingTable {
    /// Checks all that a balancer relies on.
    ///
    /// # Errors
    /// The first field found to be wrong, by its path.
    pub fn validate(&self) -> Result<(), TableError> {
        let mut names = BTreeSet::new();
        let mut priorities = BTreeSet::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let at = format!("rules[{index}]");
            if rule.name.is_empty() {
                return Err(invalid(format!("{at}.name"), "must not be empty"));
            }
            if !names.insert(&rule.name) {
                return Err(invalid(format!("{at}.name"), format!("{:?} is used twice", rule.name)));
            }
            if !priorities.insert(rule.priority) {
                return Err(invalid(format!("{at}.priority"), format!("{} is used twice", rule.priority)));
            }
            if rule.priority == DEFAULT_PRIORITY && rule.conditions != Conditions::default() {
                return Err(invalid(format!("{at}.conditions"), "the default rule must not have conditions"));
            }
            rule.conditions.validate(&format!("{at}.conditions"))?;
            self.validate_action(&rule.action, &format!("{at}.action"))?;
        }
        self.groups.iter().try_for_each(|(name, group)| group.validate(name))
    }

    fn validate_action(&self, action: &Action, at: &str) -> Result<(), TableError> {
        match action {
            Action::Fixed { status, .. } if StatusCode::from_u16(*status).is_err() || !(200..600).contains(status) => {
                Err(invalid(format!("{at}.status"), format!("{status} is not in 200 to 599")))
            }
            Action::Fixed { .. } => Ok(()),
            Action::Forward { groups, stickiness } => {
                let mut seen = BTreeSet::new();
                for (index, weighted) in groups.iter().enumerate() {
                    let at = format!("{at}.groups[{index}]");
                    if weighted.weight > MAX_WEIGHT {
                        let problem = format!("{} is not in 0 to {MAX_WEIGHT}", weighted.weight);
                        return Err(invalid(format!("{at}.weight"), problem));
                    }
                    if !self.groups.contains_key(&weighted.group) {
                        return Err(invalid(format!("{at}.group"), format!("{:?} is not a group", weighted.group)));
                    }
                    if !seen.insert(&weighted.group) {
                        return Err(invalid(format!("{at}.group"), format!("{:?} is named twice", weighted.group)));
                    }
                }
                if groups.iter().all(|weighted| weighted.weight == 0) {
                    return Err(invalid(format!("{at}.groups"), "at least one weight must be above 0"));
                }
                match stickiness {
                    Some(time) if *time < Duration::from_secs(1) || *time > MAX_STICKINESS => {
                        Err(invalid(format!("{at}.stickiness"), format!("{time:?} is not in 1s to 604800s")))
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl Conditions {
    fn validate(&self, at: &str) -> Result<(), TableError> {
        let patterns = [("hosts", &self.hosts), ("path_patterns", &self.path_patterns), ("methods", &self.methods)];
        for (field, values) in patterns {
            if let Some(index) = values.iter().position(String::is_empty) {
                return Err(invalid(format!("{at}.{field}[{index}]"), "must not be empty"));
            }
        }
        for (index, method) in self.methods.iter().enumerate() {
            if Method::from_bytes(method.as_bytes()).is_err() {
                return Err(invalid(format!("{at}.methods[{index}]"), format!("{method:?} is not a method")));
            }
        }
        for (index, header) in self.headers.iter().enumerate() {
            if HeaderName::from_bytes(header.name.as_bytes()).is_err() {
                let problem = format!("{:?} is not a header name", header.name);
                return Err(invalid(format!("{at}.headers[{index}].name"), problem));
            }
            if header.values.is_empty() {
                return Err(invalid(format!("{at}.headers[{index}].values"), "must not be empty"));
            }
        }
        if let Some(index) = self.query_strings.iter().position(Vec::is_empty) {
            return Err(invalid(format!("{at}.query_strings[{index}]"), "must not be empty"));
        }
        for (index, cidr) in self.source_ips.iter().enumerate() {
            if let Err(error) = cidr.parse::<Cidr>() {
                return Err(invalid(format!("{at}.source_ips[{index}]"), format!("{cidr:?}: {error}")));
            }
        }
        Ok(())
    }
}

impl Group {
    fn validate(&self, name: &str) -> Result<(), TableError> {
        let at = format!("groups[{name:?}]");
        if name.is_empty() {
            return Err(invalid(at, "a group's name must not be empty"));
        }
        let mut seen = BTreeSet::new();
        for (index, target) in self.targets.iter().enumerate() {
            let at = format!("{at}.targets[{index}]");
            if !is_host_and_port(&target.address) {
                return Err(invalid(at, format!("{:?} is not host:port", target.address)));
            }
            if !seen.insert(&target.address) {
                return Err(invalid(at, format!("{:?} is named twice", target.address)));
            }
        }
        let HealthSource::Active(check) = &self.health else { return Ok(()) };
        let at = format!("{at}.health");
        if !check.path.starts_with('/') || check.path.parse::<http::uri::PathAndQuery>().is_err() {
            return Err(invalid(format!("{at}.path"), format!("{:?} is not an absolute path", check.path)));
        }
        for (field, value) in [("interval", check.interval), ("timeout", check.timeout)] {
            if value.is_zero() {
                return Err(invalid(format!("{at}.{field}"), "must be above 0"));
            }
        }
        let thresholds =
            [("healthy_threshold", check.healthy_threshold), ("unhealthy_threshold", check.unhealthy_threshold)];
        match thresholds.into_iter().find(|(_, value)| *value == 0) {
            Some((field, _)) => Err(invalid(format!("{at}.{field}"), "must be above 0")),
            None => Ok(()),
        }
    }
}

fn is_host_and_port(address: &str) -> bool {
    if address.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0) {
        return true;
    }
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let named = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    named && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Group {
        Group { targets: vec!["127.0.0.1:80".into()], health: HealthSource::Given }
    }

    fn forward(weights: &[(&str, u32)]) -> Action {
        let groups =
            weights.iter().map(|(group, weight)| WeightedGroup { group: (*group).to_owned(), weight: *weight });
        Action::Forward { groups: groups.collect(), stickiness: None }
    }

    fn rule(name: &str, priority: u32, action: Action) -> Rule {
        Rule { name: name.to_owned(), priority, conditions: Conditions::default(), action }
    }

    fn valid() -> RoutingTable {
        RoutingTable {
            rules: vec![
                rule("canary", 10, forward(&[("a", 999), ("b", 0)])),
                rule("default", DEFAULT_PRIORITY, Action::Fixed { status: 404, body: String::new() }),
            ],
            groups: BTreeMap::from([("a".to_owned(), group()), ("b".to_owned(), group())]),
        }
    }

    fn conditions(table: &mut RoutingTable) -> &mut Conditions {
        &mut table.rules[0].conditions
    }

    fn active(check: HealthCheck) -> Group {
        Group { health: HealthSource::Active(check), ..group() }
    }

    #[test]
    fn a_valid_table_is_accepted() {
        assert_eq!(valid().validate(), Ok(()));
        assert_eq!(RoutingTable::default().validate(), Ok(()));
    }

    #[test]
    fn every_bad_field_is_refused_by_its_path() {
        type Break = fn(&mut RoutingTable);
        let cases: Vec<(&str, Break)> = vec![
            ("rules[0].name", |t| t.rules[0].name.clear()),
            ("rules[1].name", |t| t.rules[1].name = "canary".to_owned()),
            ("rules[1].priority", |t| t.rules[1].priority = 10),
            ("rules[1].conditions", |t| t.rules[1].conditions.hosts.push("a".to_owned())),
            ("rules[0].action.groups[0].weight", |t| t.rules[0].action = forward(&[("a", 1000)])),
            ("rules[0].action.groups[1].group", |t| t.rules[0].action = forward(&[("a", 1), ("c", 1)])),
            ("rules[0].action.groups[1].group", |t| t.rules[0].action = forward(&[("a", 1), ("a", 1)])),
            ("rules[0].action.groups", |t| t.rules[0].action = forward(&[("a", 0), ("b", 0)])),
            ("rules[0].action.groups", |t| t.rules[0].action = forward(&[])),
            ("rules[1].action.status", |t| t.rules[1].action = Action::Fixed { status: 101, body: String::new() }),
            ("rules[1].action.status", |t| t.rules[1].action = Action::Fixed { status: 600, body: String::new() }),
            ("rules[0].action.stickiness", |t| {
                if let Action::Forward { stickiness, .. } = &mut t.rules[0].action {
                    *stickiness = Some(Duration::from_secs(604_801));
                }
            }),
            ("rules[0].conditions.hosts[1]", |t| conditions(t).hosts = vec!["a".to_owned(), String::new()]),
            ("rules[0].conditions.path_patterns[0]", |t| conditions(t).path_patterns.push(String::new())),
            ("rules[0].conditions.methods[0]", |t| conditions(t).methods.push("GE T".to_owned())),
            ("rules[0].conditions.headers[0].name", |t| {
                conditions(t).headers.push(HeaderCondition { name: "a b".to_owned(), values: vec!["x".to_owned()] });
            }),
            ("rules[0].conditions.headers[0].values", |t| {
                conditions(t).headers.push(HeaderCondition { name: "a".to_owned(), values: Vec::new() });
            }),
            ("rules[0].conditions.query_strings[0]", |t| conditions(t).query_strings.push(Vec::new())),
            ("rules[0].conditions.source_ips[0]", |t| conditions(t).source_ips.push("10.0.0.0/33".to_owned())),
            (r#"groups[""]"#, |t| drop(t.groups.insert(String::new(), group()))),
            (r#"groups["a"].targets[1]"#, |t| t.groups.get_mut("a").unwrap().targets.push("127.0.0.1:80".into())),
            (r#"groups["a"].targets[0]"#, |t| t.groups.get_mut("a").unwrap().targets = vec!["localhost".into()]),
            (r#"groups["a"].targets[0]"#, |t| t.groups.get_mut("a").unwrap().targets = vec!["127.0.0.1:0".into()]),
            (r#"groups["a"].health.path"#, |t| {
                t.groups.insert("a".to_owned(), active(HealthCheck { path: "ok".to_owned(), ..Default::default() }));
            }),
            (r#"groups["a"].health.interval"#, |t| {
                t.groups.insert("a".to_owned(), active(HealthCheck { interval: Duration::ZERO, ..Default::default() }));
            }),
            (r#"groups["a"].health.healthy_threshold"#, |t| {
                t.groups.insert("a".to_owned(), active(HealthCheck { healthy_threshold: 0, ..Default::default() }));
            }),
        ];
        for (path, break_it) in cases {
            let mut table = valid();
            break_it(&mut table);
            match table.validate() {
                Err(TableError::Invalid { field, .. }) => assert_eq!(field, path),
                other => panic!("{path}: expected a refusal, got {other:?}"),
            }
        }
    }

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["127.0.0.1:1", "[::1]:8080", "localhost:80", "web-1.example.com:443"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in ["", "a", ":80", "a:", "a:0", "a:65536", "a b:80", "::1:80", "http://a:80"] {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }

    #[test]
    fn the_table_reads_back_from_json() {
        let table = valid();
        let text = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<RoutingTable>(&text).unwrap(), table);
    }
}
