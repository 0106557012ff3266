//! What the front knows: load balancers, listeners, rules, target groups and tags.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use okra_judge::record::{GroupHealth, RuleState};

use super::error::AwsError;
use super::health::{Group, HealthSettings};
use super::node::Node;

/// A forward action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forward {
    /// Target group ARN and weight, in the order in which they were sent.
    pub groups: Vec<(String, i64)>,
    /// Whether target group stickiness is on.
    pub sticky: bool,
    /// How long a client stays with its group, in seconds.
    pub sticky_seconds: Option<i64>,
}

/// One action of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Forward { order: u32, forward: Forward },
    Other { order: u32, node: Node },
}

impl Action {
    pub(crate) fn order(&self) -> u32 {
        match self {
            Action::Forward { order, .. } | Action::Other { order, .. } => *order,
        }
    }

    /// The action as the real API echoes it: for one group both forms of its ARN.
    pub(crate) fn echo(&self) -> Node {
        let (order, forward) = match self {
            Action::Other { node, .. } => return node.clone(),
            Action::Forward { order, forward } => (order, forward),
        };
        let mut action = Node::empty().with_text("Type", "forward");
        if let [(only, _)] = forward.groups.as_slice() {
            action.set("TargetGroupArn", Node::text(only));
        }
        let tuple =
            |(arn, weight): &(String, i64)| Node::empty().with_text("TargetGroupArn", arn).with_text("Weight", weight);
        let mut stickiness = Node::empty().with_text("Enabled", forward.sticky);
        if let Some(seconds) = forward.sticky_seconds {
            stickiness.set("DurationSeconds", Node::text(seconds));
        }
        let config = Node::empty()
            .with("TargetGroups", Node::List(forward.groups.iter().map(tuple).collect()))
            .with("TargetGroupStickinessConfig", stickiness);
        action.with_text("Order", order).with("ForwardConfig", config)
    }
}

/// One condition of a rule; which fields are filled depends on `field`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// `host-header`, `path-pattern`, `http-request-method`, `source-ip`, `http-header` or `query-string`.
    pub field: String,
    /// The header's name, for `http-header`.
    pub header: Option<String>,
    /// Values, any of which must match.
    pub values: Vec<String>,
    /// Key (if any) and value, for `query-string`.
    pub pairs: Vec<(Option<String>, String)>,
    /// Regular expressions instead of values.
    pub regex: Vec<String>,
}

impl Condition {
    /// How many condition values it counts against the quota.
    pub(crate) fn count(&self) -> usize {
        self.values.len() + self.pairs.len() + self.regex.len()
    }

    /// A canonical text, equal for conditions that mean the same.
    pub(crate) fn canonical(&self) -> String {
        let pair = |(k, v): &(Option<String>, String)| match k {
            Some(key) => format!("{key}={v}"),
            None => v.clone(),
        };
        let mut values: Vec<String> = self.values.clone();
        values.extend(self.pairs.iter().map(pair));
        values.extend(self.regex.iter().map(|r| format!("~{r}")));
        values.sort();
        let header = self.header.as_ref().map(|h| format!(":{}", h.to_lowercase())).unwrap_or_default();
        format!("{}{header}={}", self.field, values.join(","))
    }

    /// The condition as the real API echoes it.
    pub(crate) fn echo(&self) -> Node {
        let mut node = Node::empty().with_text("Field", &self.field);
        let mut config = Node::empty();
        if let Some(header) = &self.header {
            config.set("HttpHeaderName", Node::text(header));
        }
        if self.field == "query-string" {
            let pair = |(key, value): &(Option<String>, String)| {
                let node = key.as_ref().map_or_else(Node::empty, |k| Node::empty().with_text("Key", k));
                node.with_text("Value", value)
            };
            config.set("Values", Node::List(self.pairs.iter().map(pair).collect()));
        } else if !self.values.is_empty() {
            config.set("Values", Node::texts(&self.values));
        }
        if !self.regex.is_empty() {
            config.set("RegexValues", Node::texts(&self.regex));
        }
        // The two oldest fields are echoed in both forms, whichever was sent.
        if matches!(self.field.as_str(), "host-header" | "path-pattern") && !self.values.is_empty() {
            node.set("Values", Node::texts(&self.values));
        }
        node.with(config_name(&self.field), config)
    }
}

/// The member that holds a condition's values.
pub(crate) fn config_name(field: &str) -> &'static str {
    match field {
        "host-header" => "HostHeaderConfig",
        "path-pattern" => "PathPatternConfig",
        "http-header" => "HttpHeaderConfig",
        "query-string" => "QueryStringConfig",
        "http-request-method" => "HttpRequestMethodConfig",
        _ => "SourceIpConfig",
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub arn: String,
    pub listener: String,
    /// `None` for the default rule.
    pub priority: Option<u32>,
    pub conditions: Vec<Condition>,
    pub actions: Vec<Action>,
    pub transforms: Vec<Node>,
}

impl Rule {
    pub(crate) fn forward(&self) -> Option<&Forward> {
        self.actions.iter().find_map(|action| match action {
            Action::Forward { forward, .. } => Some(forward),
            Action::Other { .. } => None,
        })
    }

    /// Status and body of the fixed response.
    pub(crate) fn fixed_response(&self) -> Option<(u16, String)> {
        self.actions.iter().find_map(|action| {
            let Action::Other { node, .. } = action else { return None };
            let config = node.get("FixedResponseConfig")?;
            let body = config.str("MessageBody").unwrap_or_default().to_owned();
            Some((config.str("StatusCode")?.parse().ok()?, body))
        })
    }

    pub(crate) fn uses(&self, group: &str) -> bool {
        self.forward().is_some_and(|f| f.groups.iter().any(|(arn, _)| arn == group))
    }

    pub(crate) fn priority_text(&self) -> String {
        self.priority.map_or_else(|| "default".to_owned(), |p| p.to_string())
    }

    pub(crate) fn echo(&self) -> Node {
        Node::empty()
            .with_text("RuleArn", &self.arn)
            .with_text("Priority", self.priority_text())
            .with("Conditions", Node::List(self.conditions.iter().map(Condition::echo).collect()))
            .with("Actions", Node::List(self.actions.iter().map(Action::echo).collect()))
            .with_text("IsDefault", self.priority.is_none())
            .with("Transforms", Node::List(self.transforms.clone()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    pub balancer: String,
    pub protocol: String,
    /// Everything but the default actions, as it is echoed.
    pub node: Node,
}

/// All that the front keeps by itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    /// Load balancer ARN to type, in the API's words (`application`, `network`).
    pub balancers: BTreeMap<String, String>,
    pub listeners: BTreeMap<String, Listener>,
    pub rules: BTreeMap<String, Rule>,
    pub groups: BTreeMap<String, Group>,
    pub tags: BTreeMap<String, BTreeMap<String, String>>,
    pub health: HealthSettings,
    reported: BTreeMap<String, GroupHealth>,
    next_id: u64,
}

impl State {
    /// An id of 16 hexadecimal digits as AWS appends to ARNs, unique in this front.
    pub(crate) fn next_id(&mut self) -> String {
        self.next_id += 1;
        // Spread, so that the order of ARNs says nothing about the order of creation.
        format!("{:016x}", self.next_id.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn rule(&self, arn: &str) -> Result<&Rule, AwsError> {
        if !arn.contains(":listener-rule/") {
            return Err(AwsError::validation(format!("'{arn}' is not a valid listener rule ARN")));
        }
        self.rules.get(arn).ok_or_else(AwsError::rule_not_found)
    }

    pub(crate) fn listener(&self, arn: &str) -> Result<&Listener, AwsError> {
        if !arn.contains(":listener/") {
            return Err(AwsError::validation(format!("'{arn}' is not a valid listener ARN")));
        }
        self.listeners.get(arn).ok_or_else(AwsError::listener_not_found)
    }

    pub(crate) fn group(&mut self, arn: &str) -> Result<&mut Group, AwsError> {
        self.groups.get_mut(arn).ok_or_else(|| AwsError::group_not_found(arn))
    }

    /// The rules of a listener, by priority, the default rule last.
    pub(crate) fn rules_of(&self, listener: &str) -> Vec<&Rule> {
        let mut rules: Vec<&Rule> = self.rules.values().filter(|rule| rule.listener == listener).collect();
        rules.sort_by_key(|rule| rule.priority.unwrap_or(u32::MAX));
        rules
    }

    /// Adds what else the resource with that ARN is called by: its tags; the groups of a rule; the tags of the rules
    /// that use a group.
    pub(crate) fn name(&self, arn: &str, names: &mut Vec<String>) {
        let tags = |arn: &str| self.tags.get(arn).into_iter().flat_map(BTreeMap::values).cloned();
        names.extend(tags(arn));
        if let Some(forward) = self.rules.get(arn).and_then(Rule::forward) {
            names.extend(forward.groups.iter().map(|(group, _)| group.clone()));
        }
        if self.groups.contains_key(arn) {
            names.extend(self.rules.values().filter(|rule| rule.uses(arn)).flat_map(|rule| tags(&rule.arn)));
        }
    }

    /// The rule of which a name contains this part; of several the one whose ARN sorts first.
    pub(crate) fn rule_named(&self, part: &str) -> Option<&Rule> {
        self.rules.values().find(|rule| {
            let mut names = vec![rule.arn.clone()];
            self.name(&rule.arn, &mut names);
            names.iter().any(|name| name.contains(part))
        })
    }

    /// The load balancers whose rules use the group.
    pub(crate) fn balancers_of(&self, group: &str) -> BTreeSet<String> {
        self.rules
            .values()
            .filter(|rule| rule.uses(group))
            .filter_map(|rule| self.listeners.get(&rule.listener))
            .map(|listener| listener.balancer.clone())
            .collect()
    }

    /// The state of a rule as the record tells it.
    pub(crate) fn view(&self, rule: &Rule) -> RuleState {
        let forward = rule.forward();
        let mut conditions: Vec<String> = rule.conditions.iter().map(Condition::canonical).collect();
        conditions.sort();
        RuleState {
            arn: rule.arn.clone(),
            listener: rule.listener.clone(),
            priority: rule.priority_text(),
            weights: forward.map(|f| f.groups.iter().cloned().collect()).unwrap_or_default(),
            tags: self.tags.get(&rule.arn).cloned().unwrap_or_default(),
            conditions,
            sticky: forward.is_some_and(|f| f.sticky),
        }
    }

    /// The state of the rule with that ARN, if there is one.
    pub(crate) fn view_of(&self, arn: &str) -> Option<RuleState> {
        self.rules.get(arn).map(|rule| self.view(rule))
    }

    /// Brings attachment and target lifecycles up to `now`; the groups whose counts changed.
    pub(crate) fn settle(&mut self, now: Instant) -> Vec<GroupHealth> {
        let used: BTreeSet<&str> = self
            .rules
            .values()
            .filter_map(Rule::forward)
            .flat_map(|forward| forward.groups.iter().map(|(arn, _)| arn.as_str()))
            .collect();
        let mut changed = Vec::new();
        for (arn, group) in &mut self.groups {
            group.settle(used.contains(arn.as_str()), now);
            let health = group.count(arn, &self.health, now);
            if self.reported.get(arn) != Some(&health) {
                self.reported.insert(arn.clone(), health.clone());
                changed.push(health);
            }
        }
        changed
    }

    /// When a target next changes its state by itself.
    pub(crate) fn next_change(&self, now: Instant) -> Option<Instant> {
        self.groups.values().filter_map(|group| group.next_change(&self.health, now)).min()
    }
}
