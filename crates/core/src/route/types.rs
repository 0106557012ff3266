//! The plain data of a route. No provider's API appears here; the words are those of load balancers.

use std::collections::BTreeMap;

use jiff::SignedDuration;

/// What one router can do. The planner plans within this; it knows no provider by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// How many target groups one action can hold.
    pub max_groups: usize,
    /// The largest weight; the smallest is 0.
    pub max_weight: i32,
    /// How long after the router's answer a change may take to reach the data path. Measurements and
    /// detaches wait for it.
    pub settle: SignedDuration,
    /// Whether connections that are open when weights change stay where they are.
    pub keeps_connections: bool,
    /// Whether it sees the health of targets.
    pub sees_health: bool,
}

/// What one rule should hold: the validated spec of a route object.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// `<namespace>/<name>` of the Cell, or of the route object when it was written by hand. The value of
    /// tag `okra.mumo.co/cell`.
    pub owner: String,
    /// Id of this installation. The value of tag `okra.mumo.co/owner`.
    pub installation: String,
    /// Where the rule is.
    pub place: Place,
    /// Target groups and their absolute weights, in the order of the spec.
    pub groups: Vec<IntentGroup>,
    /// Stickiness to set; `None` keeps what is there.
    pub stickiness: Option<Sticky>,
    /// The rule's ARN as it was last known, so that it is found again after its priority changed.
    pub known_rule: Option<String>,
    /// Whether a rule that is not ours may be taken over.
    pub adopt: Adopt,
}

/// A target group of an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentGroup {
    /// Name of its object.
    pub name: String,
    /// The router's id of it: an ARN or a URL.
    pub id: String,
    /// Its weight.
    pub weight: i32,
    /// Healthy targets that it needs before its weight is raised; `None`: the raise is not gated.
    pub min_healthy: Option<u32>,
    /// Path that an embedded balancer asks for to see whether it is healthy.
    pub health_path: Option<String>,
}

/// Where a rule is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A listener rule of an Application Load Balancer.
    Alb {
        /// The listener.
        listener_arn: String,
        /// Role to assume for calls about it.
        role_arn: Option<String>,
        /// The rule's priority.
        priority: i32,
        /// The rule's conditions.
        conditions: Conditions,
    },
    /// The embedded balancer.
    Local {
        /// Address and port.
        listen: String,
    },
}

impl Place {
    /// The priority of the rule; 0 where the router has none.
    pub fn priority(&self) -> i32 {
        match self {
            Self::Alb { priority, .. } => *priority,
            Self::Local { .. } => 0,
        }
    }

    /// The conditions of the rule; empty where the router has none.
    pub fn conditions(&self) -> Conditions {
        match self {
            Self::Alb { conditions, .. } => conditions.clone(),
            Self::Local { .. } => Conditions::default(),
        }
    }
}

/// Conditions of a rule, in canonical form: see [`Conditions::canonical`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conditions {
    /// Host names.
    pub hosts: Vec<String>,
    /// Path patterns.
    pub path_patterns: Vec<String>,
    /// HTTP methods.
    pub methods: Vec<String>,
    /// Source CIDRs.
    pub source_ips: Vec<String>,
    /// Header name to values.
    pub headers: BTreeMap<String, Vec<String>>,
    /// Query strings: key (empty: any) and value.
    pub query_strings: Vec<(String, String)>,
    /// Conditions of a kind that Okra cannot write, in the router's words: they make a rule differ.
    pub other: Vec<String>,
}

impl Conditions {
    /// Sorted, without duplicates, host names and header names in lower case: the order of a map or of an
    /// answer never counts as a difference.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        for host in &mut self.hosts {
            *host = host.to_ascii_lowercase();
        }
        self.headers =
            self.headers.into_iter().map(|(name, values)| (name.to_ascii_lowercase(), sorted(values))).collect();
        self.hosts = sorted(self.hosts);
        self.path_patterns = sorted(self.path_patterns);
        self.methods = sorted(self.methods);
        self.source_ips = sorted(self.source_ips);
        self.query_strings = sorted(self.query_strings);
        self.other = sorted(self.other);
        self
    }
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort();
    values.dedup();
    values
}

/// Target group stickiness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sticky {
    /// Whether it is on.
    pub enabled: bool,
    /// How long, in seconds; 0 when it is off.
    pub seconds: i32,
}

/// Whether a rule that is not ours may be taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Adopt {
    /// No.
    #[default]
    No,
    /// A rule without our tags.
    Untagged,
    /// A rule of the installation with this id.
    Installation(String),
}

/// What the router answered about a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The rule that carries this intent's tags, wherever it is on the listener.
    pub ours: Option<ObservedRule>,
    /// Another rule that stands at the wanted priority.
    pub in_the_way: Option<ObservedRule>,
}

/// A rule as the router answered with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedRule {
    /// The router's id of the rule: an ARN.
    pub id: String,
    /// Its priority.
    pub priority: i32,
    /// Its conditions, canonical.
    pub conditions: Conditions,
    /// Target group id to weight; empty when the rule does not forward.
    pub weights: BTreeMap<String, i32>,
    /// Its stickiness.
    pub stickiness: Sticky,
    /// Value of tag `okra.mumo.co/cell`.
    pub cell_tag: Option<String>,
    /// Value of tag `okra.mumo.co/owner`.
    pub owner_tag: Option<String>,
}

/// One change of a rule. The adapter carries it out in one call and keeps everything that the change
/// does not name (auth actions, transforms, stickiness).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Creates the rule, with our tags.
    Create {
        /// Target group id to weight.
        weights: BTreeMap<String, i32>,
        /// Stickiness; `None`: off.
        stickiness: Option<Sticky>,
    },
    /// Sets what is `Some`, leaves the rest.
    Modify {
        /// The rule.
        rule: String,
        /// Target group id to weight.
        weights: Option<BTreeMap<String, i32>>,
        /// Conditions.
        conditions: Option<Conditions>,
        /// Stickiness.
        stickiness: Option<Sticky>,
    },
    /// Moves the rule to the intent's priority.
    Move {
        /// The rule.
        rule: String,
    },
    /// Puts our tags on the rule.
    Adopt {
        /// The rule.
        rule: String,
    },
    /// Removes the rule.
    Remove {
        /// The rule.
        rule: String,
    },
}

/// Health of one target group, as the router answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupHealth {
    /// Healthy targets.
    pub healthy: u32,
    /// Registered targets that are not draining.
    pub total: u32,
    /// Whether the router says that there is no such group.
    pub gone: bool,
}

/// Which calls go first when the cloud's rate limit is short. The order is the only freedom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Traffic goes back to safety.
    Rollback,
    /// The answer to a change is read.
    Verify,
    /// Traffic goes on.
    Promote,
    /// A look whether somebody else changed something.
    Drift,
    /// Discovery.
    Discovery,
}
