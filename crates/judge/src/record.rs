//! What is judged: a record of everything that arrived at the load balancer's API, with the state of
//! the rule before and after, the health of targets, the history of objects, and what else is known of a run.
//!
//! | entry | what it serves | who tells of it |
//! |---|---|---|
//! | [`Call`](Event::Call), [`Health`](Event::Health) | S1 to S9, S11, S12, S19, L1, L3, L9 | the AWS front; the router of a simulation |
//! | [`Object`](Event::Object) | S4 to S8, S13, S14, S16 to S19, L1 to L6, L9 | a watch on the API server; the store of a simulation |
//! | [`Api`](Event::Api) | the same, sooner; S9 (Leases), S10, S13, S14, L4, L6 to L8 | the audit log; the store of a simulation |
//! | [`Decision`](Event::Decision) | S4, S10, S14, S17 | okrad's decision log (`--record FILE`) |
//! | [`Said`](Event::Said) | S17 | logs, events, metrics, outputs |
//! | [`Leadership`](Event::Leadership) | S9, L7 | the lease of a simulation; else read from Lease writes |
//! | [`Life`](Event::Life) | S9, S10, L5, L7, L8 | whoever starts and ends processes |
//! | [`Asked`](Event::Asked) | S18 | whoever asks; else read from the Cell's annotation |
//! | [`Discovery`](Event::Discovery) | S13 | the fakes that answer discoveries |
//! | [`Measurement`](Event::Measurement) | S15 | the fake metric provider; else read from AnalysisRuns |
//! | [`WatchSilent`](Event::WatchSilent) | L8 | the proxy before the API server |
//! | [`Quiet`](Event::Quiet), [`End`](Event::End) | L1 to L9 | whoever makes the faults |
//!
//! The order of the entries is the order of effects, as far as one observer can tell it. Entries that were told by
//! several observers are put together with [`Record::merged`]; [`Rules::slack`](crate::Rules::slack) says how far their
//! clocks may be apart.

mod sources;

pub use sources::*;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Everything seen in one test, in the order in which it happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The entries; `seq` rises by one from entry to entry.
    pub entries: Vec<Entry>,
}

impl Record {
    /// The same with what other observers saw, each at its time: what they saw at the same moment as an entry comes
    /// after it. The order within `self` stays.
    #[must_use]
    pub fn merged(self, others: impl IntoIterator<Item = (Timestamp, Event)>) -> Self {
        let mut others: Vec<(Timestamp, Event)> = others.into_iter().collect();
        others.sort_by_key(|(at, _)| *at);
        let mut others = others.into_iter().peekable();
        let mut events = Vec::with_capacity(self.entries.len() + others.len());
        for entry in self.entries {
            while let Some(other) = others.next_if(|(at, _)| *at < entry.at) {
                events.push(other);
            }
            events.push((entry.at, entry.event));
        }
        events.extend(others);
        events.into_iter().collect()
    }

    /// Appends an event.
    pub fn push(&mut self, at: Timestamp, event: Event) {
        let seq = self.entries.len() as u64;
        self.entries.push(Entry { seq, at, event });
    }
}

impl FromIterator<(Timestamp, Event)> for Record {
    fn from_iter<T: IntoIterator<Item = (Timestamp, Event)>>(events: T) -> Self {
        let mut record = Self::default();
        for (at, event) in events {
            record.push(at, event);
        }
        record
    }
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
    /// A request of the Kubernetes API and its answer.
    Api(ApiCall),
    /// What okra decided.
    Decision(Decision),
    /// A text that left a process.
    Said(Said),
    /// A process was the leader by its lease.
    Leadership(Leadership),
    /// The life of a process changed.
    Life(Life),
    /// A person asked something.
    Asked(Asked),
    /// A discovery answered.
    Discovery(Discovery),
    /// A metric was measured and counted.
    Measurement(Measurement),
    /// A watch went silent.
    WatchSilent(WatchSilent),
    /// Inputs and faults stopped.
    Quiet(Quiet),
    /// The run was watched until here, whatever happened last.
    End,
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
    /// Which process of okra called, where that is known; else empty.
    #[serde(default)]
    pub process: String,
    /// When the process began the call, by its own clock, where that is known; else the entry's time counts.
    #[serde(default)]
    pub begun: Option<Timestamp>,
    /// Until when the process would have waited for the answer, by its own clock, where that is known.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
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
