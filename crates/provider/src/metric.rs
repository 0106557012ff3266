//! The port to metric providers: one measurement of one metric, and what it needs from the rest of the house.
//!
//! The engine in core decides when to measure and what a result means; an adapter of [`MetricProvider`] only fetches
//! it. A provider's own verdict ([`Reading::Judged`]) exists because Argo's `job` and `kayenta` ignore conditions.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use jiff::Timestamp;
use okra_expr::Value;
use serde_json::Value as Json;

/// A text that must not be seen: it has no `Display`, and `Debug` shows none of it.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretText(Arc<str>);

impl SecretText {
    /// Keeps a text from view.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(***)")
    }
}

/// The AnalysisRun that a measurement belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunIdentity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// `status.startedAt`; none in the first pass.
    pub started_at: Option<Timestamp>,
}

/// One metric of a run, with every placeholder substituted.
#[derive(Clone, Debug, Default)]
pub struct MetricRequest {
    /// The run.
    pub run: RunIdentity,
    /// `metric.name`.
    pub name: String,
    /// `metric.interval`, a Go duration; empty for none.
    pub interval: String,
    /// `metric.provider`: an object with exactly one member.
    pub provider: Json,
    /// How many measurements there were before this one: `count + error` of the metric's result.
    pub taken: i64,
    /// Values of arguments that came out of Secrets. They are taken out of every text that is handed back.
    pub secrets: Vec<SecretText>,
    /// A named profile outside the template: where AWS calls go, with which role, and in which cluster Jobs run.
    pub profile: Option<String>,
    /// An answer to the same query that was asked for at or after this moment will do, as long as it is not older than
    /// the interval. None: only a fresh one. A run must not be given what was measured before its own traffic flowed,
    /// so this is never before the run's start, nor before the last change of weights was in effect.
    pub fresh_since: Option<Timestamp>,
}

/// A measurement that has begun and is not finished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenMeasurement {
    /// `startedAt`.
    pub started_at: Option<Timestamp>,
    /// `metadata`, as the provider handed it out. What it hands out later is added to it, and an error leaves it.
    pub metadata: BTreeMap<String, String>,
}

/// What a provider hands back.
#[derive(Clone, Debug)]
pub enum Reading {
    /// A result for the conditions to judge.
    Sample(Sample),
    /// The provider's own verdict; conditions are not looked at.
    Judged(Judgement),
    /// Not finished: resume it.
    Running(Running),
}

/// A result of a query.
#[derive(Clone, Debug)]
pub struct Sample {
    /// `result`, of the Go type that conditions are checked against.
    pub result: Value,
    /// `measurement.value`.
    pub value: String,
    /// `measurement.metadata`.
    pub metadata: BTreeMap<String, String>,
}

impl Sample {
    /// A result without metadata.
    pub fn new(result: Value, value: impl Into<String>) -> Self {
        Self { result, value: value.into(), metadata: BTreeMap::new() }
    }
}

/// A provider's own verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What it is.
    pub outcome: Outcome,
    /// `measurement.value`; empty for none.
    pub value: String,
    /// `measurement.message`; empty for none.
    pub message: String,
    /// `measurement.metadata`.
    pub metadata: BTreeMap<String, String>,
}

/// Metadata of a measurement that is a Job: the Job's name.
pub const JOB_NAME: &str = "job-name";
/// Metadata of a measurement that is a Job: the Job's namespace.
pub const JOB_NAMESPACE: &str = "job-namespace";
/// Annotation of a Job that is a measurement: the name of its AnalysisRun.
pub const JOB_RUN_NAME: &str = "analysisrun.argoproj.io/name";
/// Annotation of a Job that is a measurement: the namespace of its AnalysisRun.
pub const JOB_RUN_NAMESPACE: &str = "analysisrun.argoproj.io/namespace";

/// The verdict of a Job that is over: by the types of its conditions alone, the last one counting, as in Argo Rollouts.
pub fn job_outcome<'a>(conditions: impl DoubleEndedIterator<Item = &'a str>) -> Option<Outcome> {
    conditions.rev().find_map(|condition| match condition {
        "Complete" => Some(Outcome::Successful),
        "Failed" => Some(Outcome::Failed),
        _ => None,
    })
}

/// Verdicts that a provider can come to by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// `Successful`.
    Successful,
    /// `Failed`.
    Failed,
    /// `Inconclusive`.
    #[default]
    Inconclusive,
}

/// A measurement that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// `measurement.resumeAt`.
    pub resume_at: Timestamp,
    /// `measurement.metadata`; comes back in [`OpenMeasurement`].
    pub metadata: BTreeMap<String, String>,
}

/// Why there is no reading: a measurement in phase Error.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MetricError {
    /// `measurement.message`, in Argo's words where Argo has some. Holds no secret.
    pub message: String,
    /// `measurement.metadata`.
    pub metadata: BTreeMap<String, String>,
}

impl MetricError {
    /// An error without metadata.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), metadata: BTreeMap::new() }
    }
}

/// A source of measurements.
///
/// Guarantees of an adapter: every call ends within a deadline of its own, whatever the other side does; what it reads
/// is bounded; no text that it hands back holds a secret of the request or of its own.
#[async_trait]
pub trait MetricProvider: Send + Sync {
    /// Argo's name of the provider that a metric uses, for labels and logs.
    fn type_name(&self, provider: &Json) -> &'static str;
    /// `metricResult.metadata`, taken at the first measurement.
    fn metadata(&self, request: &MetricRequest) -> BTreeMap<String, String>;
    /// Takes a measurement, or begins one.
    async fn run(&self, request: &MetricRequest, now: Timestamp) -> Result<Reading, MetricError>;
    /// Looks at a measurement that goes on.
    async fn resume(
        &self,
        request: &MetricRequest,
        open: &OpenMeasurement,
        now: Timestamp,
    ) -> Result<Reading, MetricError>;
    /// Ends a measurement that goes on.
    async fn terminate(
        &self,
        request: &MetricRequest,
        open: &OpenMeasurement,
        now: Timestamp,
    ) -> Result<Reading, MetricError>;
    /// Removes what old measurements left behind, but for the `keep` newest.
    async fn garbage_collect(&self, request: &MetricRequest, keep: usize) -> Result<(), MetricError>;
}

/// Reads Secrets for providers, by name and on use.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The decoded data of a Secret. The error says in a sentence what is wrong and holds none of the data.
    async fn secret(&self, namespace: &str, name: &str) -> Result<BTreeMap<String, SecretText>, String>;
}

/// A request to be signed with AWS Signature Version 4.
#[derive(Clone, Debug)]
pub struct Unsigned<'a> {
    /// The service, for example `aps`.
    pub service: &'a str,
    /// The region; empty for that of the environment.
    pub region: &'a str,
    /// A profile of the shared AWS configuration; empty for the standard chain.
    pub profile: &'a str,
    /// A role to assume; empty for none.
    pub role_arn: &'a str,
    /// Method.
    pub method: &'a str,
    /// The whole URL.
    pub url: &'a str,
    /// Headers that are signed, beyond `host`.
    pub headers: &'a [(String, String)],
    /// The body.
    pub body: &'a [u8],
}

/// Signs requests with AWS credentials.
#[async_trait]
pub trait RequestSigner: Send + Sync {
    /// The region that is meant: the one named, else that of the profile or of the environment.
    async fn region(&self, region: &str, profile: &str) -> Result<String, String>;
    /// The headers to add. The error says what is wrong, without credentials.
    async fn sign(&self, request: &Unsigned<'_>, now: Timestamp) -> Result<Vec<(String, SecretText)>, String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_texts_do_not_show_what_they_hold() {
        let secret = SecretText::new("hunter2");
        let request = MetricRequest { secrets: vec![secret.clone()], ..MetricRequest::default() };
        assert!(!format!("{secret:?} {request:?}").contains("hunter2"));
        assert_eq!(secret.expose(), "hunter2");
    }
}
