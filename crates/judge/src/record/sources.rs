//! What else than the load balancer's API tells of a run. Plain data: whoever watched it says who did what and when.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request of the Kubernetes API and its answer; the entry's time is that of the answer. Told by the audit log, or by
/// the store of a simulation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiCall {
    /// Who asked, one name per process of okra; people and other programs have names of their own.
    pub process: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The kind, for example `Cell`.
    pub kind: String,
    /// For example `status`; empty without.
    pub subresource: String,
    /// The namespace; empty for none, and for a list or watch of all.
    pub namespace: String,
    /// The name; empty for lists and watches.
    pub name: String,
    /// The resourceVersion that was sent; `None`: none was, or the source does not tell.
    pub sent_version: Option<String>,
    /// The resourceVersion of the object as it was answered.
    pub stored_version: Option<String>,
    /// The HTTP status that was answered; 0: none ever was.
    pub code: u16,
    /// When it was asked, where that is known.
    pub begun: Option<Timestamp>,
    /// Whether the answer never reached the process: it cannot know what became of its request.
    pub lost: bool,
    /// The object before the change, where that is known; else `null`.
    pub before: Value,
    /// The object after an accepted change, where that is known; else `null`.
    pub after: Value,
    /// Whether the change removed the object.
    pub gone: bool,
}

impl ApiCall {
    /// Whether it was carried out.
    pub fn accepted(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether it asks for a change.
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// `<namespace>/<name>`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// What okra decided. Told by the decision log (`--record FILE`, read with [`Decision::parse`]), or by the log that a
/// simulation hands to the controllers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Decision {
    /// Which process decided.
    pub process: String,
    /// The kind of the object, `Cell` or a route kind.
    pub kind: String,
    /// `<namespace>/<name>` of it.
    pub object: String,
    /// Its generation in the copy that was decided on.
    pub generation: i64,
    /// Of a route: the change that is about to be sent, for example `ModifyRule`.
    pub action: String,
    /// Of a route: the weights that are about to be sent, by target group id.
    pub weights: BTreeMap<String, i64>,
    /// Of a route: the lane of the change, for example `Rollback`.
    pub lane: String,
    /// Of a Cell: the actions in words, each beginning with its name, for example `CancelPause { name: "web-r2-1-pause" }`.
    pub actions: Vec<String>,
    /// Of a Cell: its phase.
    pub phase: String,
    /// What it says: a Cell's message, a route's report.
    pub text: String,
    /// Of a Cell: what it waits for.
    pub waits: Vec<String>,
}

impl Decision {
    /// Reads one line of the decision log of `process`; `None` when it is not one.
    pub fn parse(process: &str, line: &Value) -> Option<(Timestamp, Self)> {
        let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let texts = |name: &str| {
            let values = line.get(name).and_then(Value::as_array).into_iter().flatten();
            values.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let at = text("at").parse().ok()?;
        let weights = line.get("weights").and_then(Value::as_object).into_iter().flatten();
        // A Cell's decision says `key` and `message`, a route's says `object` and `report`.
        let either = |one: &str, other: &str| if line.get(one).is_some() { text(one) } else { text(other) };
        let decision = Self {
            process: process.to_owned(),
            kind: text("kind"),
            object: either("key", "object"),
            generation: line.get("generation").and_then(Value::as_i64).unwrap_or_default(),
            action: text("action"),
            weights: weights.filter_map(|(id, weight)| Some((id.clone(), weight.as_i64()?))).collect(),
            lane: text("lane"),
            actions: texts("actions"),
            phase: text("phase"),
            text: either("message", "report"),
            waits: texts("waits"),
        };
        (!decision.kind.is_empty() && !decision.object.is_empty()).then_some((at, decision))
    }
}

/// A text that left a process. Told by whoever reads logs, events and metrics at the end of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Said {
    /// Which process said it.
    pub process: String,
    /// Where.
    pub place: Place,
    /// What.
    pub text: String,
}

/// Where a text stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// A line of the log.
    #[default]
    Log,
    /// The message of an event.
    Event,
    /// A condition, or another part of a status.
    Condition,
    /// The name, labels or value of a metric.
    Metric,
    /// The text of an error.
    Error,
    /// What a command line printed.
    Output,
}

/// A process was the leader by its lease and its own clock. Told by the lease of a simulation; of a real run the judge
/// reads it from the writes of the Lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leadership {
    /// Which process.
    pub process: String,
    /// From when on.
    pub from: Timestamp,
    /// Until when, unless another entry for the process prolongs it.
    pub till: Timestamp,
}

/// The life of a process changed. Told by whoever starts and ends processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Life {
    /// Which process.
    pub process: String,
    /// How.
    pub change: LifeChange,
}

/// How the life of a process changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LifeChange {
    /// It began, and knows nothing yet.
    Started,
    /// It was asked to end, and ended.
    Stopped,
    /// It ended at once.
    Killed,
    /// It stands still (SIGSTOP).
    Frozen,
    /// It goes on after it stood still.
    Thawed,
}

/// A person asked something of a rollout. Told by whoever asks in a test; the judge also reads it from a Cell's
/// annotation `okra.mumo.co/request`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Asked {
    /// `<namespace>/<name>` of the Cell.
    pub cell: String,
    /// Tells requests apart.
    pub id: String,
    /// For example `promote`.
    pub verb: String,
    /// Who.
    pub user: String,
    /// The rollout that the person saw.
    #[serde(rename = "rolloutID")]
    pub rollout_id: Option<String>,
    /// The step that the person saw.
    pub step: Option<i64>,
    /// The request's arguments.
    pub args: BTreeMap<String, String>,
}

/// What a discovery answered. Told by the fakes or proxies that answer discoveries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Discovery {
    /// `<kind> <namespace>/<name>` of the object that discovers, for example `ClusterSet shop/all`.
    pub by: String,
    /// The kind of what it keeps, for example `AWSTargetGroup` or `Secret`.
    pub kind: String,
    /// How good the answer is.
    pub answer: Answer,
    /// `<namespace>/<name>` of every object that follows from the answer.
    pub found: Vec<String>,
}

/// How good an answer of a discovery is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It is whole, and names something.
    #[default]
    Complete,
    /// It is whole, and names nothing.
    Empty,
    /// A page, a region or one of several sources is missing.
    Partial,
    /// It was throttled.
    Throttled,
    /// It failed.
    Failed,
}

/// A measurement of a metric, and what it was counted as. Told by the metric provider's fake together with the
/// analysis; of real runs the judge reads it from the status of AnalysisRuns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// `<namespace>/<name>` of the AnalysisRun.
    pub run: String,
    /// The metric's name.
    pub metric: String,
    /// What was measured.
    pub measured: Measured,
    /// What it was counted as.
    pub counted: Counted,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Measured {
    /// A value that can be judged.
    Value,
    /// Not a number.
    NotANumber,
    /// Nothing.
    Empty,
    /// The provider answered with an error.
    Error,
    /// No answer in time.
    Timeout,
}

/// What a measurement was counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Counted {
    /// A pass.
    Passed,
    /// A failure.
    Failed,
    /// An error of the measurement.
    Error,
    /// Neither.
    Inconclusive,
}

/// From here on no input changes and no fault is made, until an entry says otherwise: a call of somebody else at the load
/// balancer, a change by somebody else of an object, a request of a person, the life of a process. The checks of what
/// must happen in time (L1 to L9) count from here. Told by whoever makes the faults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Quiet {
    /// Whether the cloud stays gone: only deletions must then come to an end (L5).
    pub cloud_gone: bool,
}

/// A watch went silent: it stays open and tells nothing any more. Told by the proxy or the fake that silences it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WatchSilent {
    /// Whose watch.
    pub process: String,
    /// The kind that it watches.
    pub kind: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_of_a_decision_are_read() {
        let cell = json!({
            "at": "2026-01-01T00:00:01Z", "kind": "Cell", "key": "shop/web", "generation": 3,
            "actions": ["CancelPause { name: \"p\" }"], "phase": "Paused", "message": "waits", "waits": ["a"],
        });
        let (at, decision) = Decision::parse("okrad", &cell).unwrap();
        assert_eq!(at.to_string(), "2026-01-01T00:00:01Z");
        assert_eq!((decision.object.as_str(), decision.generation, decision.text.as_str()), ("shop/web", 3, "waits"));
        assert_eq!(decision.actions, ["CancelPause { name: \"p\" }"]);
        let route = json!({
            "at": "2026-01-01T00:00:01Z", "kind": "AWSApplicationLoadBalancerConfig", "object": "shop/web", "uid": "u",
            "generation": 4, "action": "ModifyRule", "weights": {"arn:a": 80}, "lane": "Promote", "report": "shifts",
        });
        let (_, decision) = Decision::parse("okrad", &route).unwrap();
        assert_eq!((decision.weights["arn:a"], decision.action.as_str()), (80, "ModifyRule"));
        assert_eq!((decision.object.as_str(), decision.text.as_str()), ("shop/web", "shifts"));
        assert_eq!(Decision::parse("okrad", &json!({"level": "info"})), None);
    }
}
