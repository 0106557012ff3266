//! The faults that the front can play, and the plan that says when.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::error::AwsError;
use crate::fault_plan::{FaultPlan, PlannedFault, tell_if_panicking};

/// A call as the front sees it, before it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallInfo {
    /// Who calls: the access key id that signed the request; for a key that STS gave out, who assumed the role.
    pub caller: String,
    /// The service of the credential scope, for example `elasticloadbalancing`.
    pub service: String,
    /// The operation, for example `ModifyRule`.
    pub operation: String,
    /// The account of the credentials.
    pub account: String,
    /// The region of the credential scope.
    pub region: String,
    /// Names of what the call is about: each ARN in it, the tags of what has that ARN, the groups of a rule, the tags
    /// of the rules that use a group, and the tags that the call sets. Not the rules of a listener that it names.
    pub about: Vec<String>,
}

impl CallInfo {
    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        !self.operation.starts_with("Describe") && !self.operation.starts_with("Get")
    }
}

/// When in the life of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before it is judged.
    Before,
    /// After it took effect or was refused, before it is answered.
    After,
}

/// What a test runs at each call. The call waits for the future: a test can hold it, and kill its caller meanwhile.
pub(crate) type Hook = Arc<dyn Fn(Moment, &CallInfo) -> BoxFuture<'static, ()> + Send + Sync>;

/// What can go wrong with a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum AwsFault {
    /// It is refused with this error, and nothing is done.
    Error(AwsError),
    /// It is carried out, and answered with this error all the same.
    ErrorAfter(AwsError),
    /// The connection is reset, and nothing is done.
    Reset,
    /// It is carried out, and the connection is reset instead of an answer.
    ResetAfter,
    /// Nothing is done, and no answer ever comes.
    Silence,
    /// It is carried out, and no answer ever comes.
    SilenceAfter,
    /// It is carried out, and the connection is reset after half of the answer.
    Half,
    /// It is carried out, and the answer says that there is nothing: of services that list in JSON.
    Empty,
    /// It waits before it is judged.
    Slow {
        /// For how long.
        millis: u64,
    },
    /// It is carried out at once, and its answer waits.
    SlowAfter {
        /// For how long.
        millis: u64,
    },
    /// A read is answered from what was true this long ago; other calls are not touched.
    Stale {
        /// How long.
        millis: u64,
    },
    /// From this call on, itself among them, the caller's credentials are refused with `ExpiredToken`, until it signs
    /// with others or [`renew_credentials`](super::Front::renew_credentials) is called.
    Expire,
    /// It goes its way; a third party acts right after it took effect, before it is answered.
    Foreign {
        /// A part of a name of the rule: see [`CallInfo::about`]. The rule that the call names if it is absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<String>,
        /// What it does.
        edit: ForeignEdit,
    },
}

impl AwsFault {
    /// A third party acts on the rule that the struck call names.
    pub fn foreign(edit: ForeignEdit) -> Self {
        Self::Foreign { rule: None, edit }
    }

    /// What the record says that the caller was told, when that is not the outcome of the call.
    pub(crate) fn told(&self) -> Option<&str> {
        match self {
            Self::Error(error) | Self::ErrorAfter(error) => Some(&error.code),
            Self::Reset | Self::ResetAfter | Self::Half => Some("ConnectionDropped"),
            Self::Silence | Self::SilenceAfter => Some("NoAnswer"),
            Self::Expire => Some("ExpiredToken"),
            Self::Empty => Some("Empty"),
            Self::Slow { .. } | Self::SlowAfter { .. } | Self::Stale { .. } | Self::Foreign { .. } => None,
        }
    }

    /// Whether the call still takes effect.
    pub(crate) fn is_after(&self) -> bool {
        !matches!(self, Self::Error(_) | Self::Reset | Self::Silence | Self::Expire)
    }

    fn staleness(&self) -> Duration {
        match self {
            Self::Stale { millis } => Duration::from_millis(*millis),
            _ => Duration::ZERO,
        }
    }

    /// Every fault that says no more than that a call failed, once: each ELBv2 error that okra must expect, the
    /// service's own failures, and what the network does. Those that take effect are among them.
    pub fn all() -> Vec<Self> {
        let errors = AwsError::all().into_iter().map(Self::Error);
        let after = [AwsError::internal(), AwsError::unavailable()].map(Self::ErrorAfter);
        let network = [Self::Reset, Self::ResetAfter, Self::Silence, Self::SilenceAfter, Self::Half];
        errors.chain(after).chain(network).collect()
    }
}

/// What a third party does. Names of target groups and rules are given by a part of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ForeignEdit {
    /// Replaces the forward action: target group to weight.
    Weights(BTreeMap<String, i64>),
    /// Replaces the conditions by one on the path.
    Path(String),
    /// Moves the rule to another priority.
    Priority(u32),
    /// Moves several rules in one call: rule to priority.
    Reorder(BTreeMap<String, u32>),
    /// Adds tags, or overwrites them.
    Tags(BTreeMap<String, String>),
    /// Takes tags off.
    Untag(Vec<String>),
    /// Deletes the rule.
    Delete,
    /// Creates a rule at this priority, on `/`, with what the rule forwards to.
    Create(u32),
}

/// All that can be wrong with the front, as data: printed as one line of JSON when a test fails, and read back from it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AwsPlan {
    /// Whether calls are charged to AWS's token buckets, per account and region.
    pub buckets: bool,
    /// For how long `DescribeRules`, `DescribeTags` and `DescribeTargetHealth` still tell what was before a change.
    pub read_lag_millis: u64,
    /// For how long the data path still follows what a rule was before a change.
    pub data_path_lag_millis: u64,
    /// What strikes single calls.
    pub calls: FaultPlan<AwsFault>,
}

impl AwsPlan {
    /// Only token buckets.
    pub fn with_buckets() -> Self {
        Self { buckets: true, ..Self::default() }
    }

    /// The data path takes changes over this late.
    pub fn with_data_path_lag(lag: Duration) -> Self {
        Self { data_path_lag_millis: millis(lag), ..Self::default() }
    }

    /// Reads lag this far behind.
    pub fn with_read_lag(lag: Duration) -> Self {
        Self { read_lag_millis: millis(lag), ..Self::default() }
    }

    /// Tells the reader of a failed test what was planned, unless that was nothing.
    pub(crate) fn tell_if_panicking(&self) {
        let is_quiet = !self.buckets && self.horizon().is_zero() && self.data_path_lag_millis == 0;
        if !(is_quiet && self.calls.faults.is_empty()) {
            tell_if_panicking("the AWS front", self, &self.calls.struck());
        }
    }

    /// How old the state is that a read struck by `fault` (or not) is answered from.
    pub(crate) fn staleness(&self, fault: Option<&AwsFault>) -> Duration {
        Duration::from_millis(self.read_lag_millis).max(fault.map_or(Duration::ZERO, AwsFault::staleness))
    }

    /// How old a state the plan can ask for at all.
    pub(crate) fn horizon(&self) -> Duration {
        self.calls
            .faults
            .iter()
            .map(|planned| self.staleness(Some(&planned.fault)))
            .fold(self.staleness(None), Ord::max)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl From<FaultPlan<AwsFault>> for AwsPlan {
    fn from(calls: FaultPlan<AwsFault>) -> Self {
        Self { calls, ..Self::default() }
    }
}

impl From<Vec<PlannedFault<AwsFault>>> for AwsPlan {
    fn from(faults: Vec<PlannedFault<AwsFault>>) -> Self {
        FaultPlan::new(faults).into()
    }
}

/// One line of JSON.
impl fmt::Display for AwsPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// Reads what `Display` printed.
impl FromStr for AwsPlan {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}
