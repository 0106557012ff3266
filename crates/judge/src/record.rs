//! What is judged: a record of everything that arrived at the load balancer's API, with the state of
//! the rule before and after, the health of targets, and the history of objects.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Everything seen in one test, in the order in which it happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The entries; `seq` rises by one from entry to entry.
    pub entries: Vec<Entry>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Position in the record, from 0.
    pub seq: u64,
    /// When it happened, by the recorder's clock.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
#[expect(clippy::large_enum_variant, reason = "nearly every entry is a call, so a box would save nothing")]
pub enum Event {
    /// A call of the load balancer's API and its answer.
    Call(LbCall),
    /// The health of a target group changed.
    Health(GroupHealth),
    /// An object of the Kubernetes API as it was after a change.
    Object(ObjectSeen),
    /// The test says what it did, for the reader of a failure.
    Note {
        /// What the test did.
        text: String,
    },
}

/// A call of the load balancer's API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LbCall {
    /// Who called: the access key id the request was signed with.
    pub caller: String,
    /// The operation, for example `ModifyRule`.
    pub operation: String,
    /// The error code that was answered, if it was refused.
    pub error: Option<String>,
    /// The rule as it was before the call, for calls that name one.
    pub before: Option<RuleState>,
    /// The rule as it was after the call: for a read, what was answered; for a write, what it is now.
    pub after: Option<RuleState>,
    /// What the call asked the rule to be, whether or not it was accepted; writes only.
    #[serde(default)]
    pub asked: Option<RuleState>,
    /// Every rule that the call names, as it was before; also for calls that name several, such as
    /// `SetRulePriorities` and `AddTags`.
    #[serde(default)]
    pub touched: Vec<RuleState>,
    /// Every rule that a read answered with.
    #[serde(default)]
    pub answered: Vec<RuleState>,
    /// The health that `DescribeTargetHealth` answered with.
    pub health: Option<GroupHealth>,
}

/// A listener rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleState {
    /// The rule's ARN.
    pub arn: String,
    /// The listener's ARN.
    pub listener: String,
    /// `1` to `50000`, or `default`.
    pub priority: String,
    /// The forward action: target group ARN to weight.
    pub weights: BTreeMap<String, i64>,
    /// The rule's tags.
    pub tags: BTreeMap<String, String>,
    /// Conditions in a canonical text form, sorted.
    pub conditions: Vec<String>,
    /// Whether target group stickiness is on.
    pub sticky: bool,
}

/// How many targets of a group are healthy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupHealth {
    /// The target group's ARN.
    pub target_group: String,
    /// Targets in state `healthy`.
    pub healthy: u32,
    /// Registered targets.
    pub total: u32,
}

/// An object of the Kubernetes API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectSeen {
    /// The kind, for example `Cell`.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The whole object; `null` once it is gone.
    pub object: serde_json::Value,
}
