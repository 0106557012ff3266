//! What is to be measured, and what came of it: the engine's side of a metric provider. Plain data, so that a run can
//! be driven without any provider.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use okra_api::{
    RunPhase,
    analysis::{Measurement, Metric},
};
use okra_expr::Value;

/// What is to be done for a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begin a measurement.
    Run,
    /// Look at the one in flight.
    Resume(Measurement),
    /// End the one in flight.
    Terminate(Measurement),
}

/// Something to be measured. It prints without what is in the metric, which may hold secrets.
#[derive(Clone, PartialEq)]
pub struct Take {
    /// Name of the metric, as in the status.
    pub name: String,
    /// The metric, with arguments and secrets filled in.
    pub metric: Metric,
    /// What is to be done.
    pub action: Action,
    /// How many measurements were over when this was asked for. A result for another number comes too late.
    pub number: i32,
    /// Values that must not be told.
    pub(super) redact: BTreeSet<String>,
}

impl Take {
    /// The secrets that went into the metric, for whoever hands texts of a provider on.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.redact.iter().map(String::as_str)
    }

    /// A text without the secrets that went into the metric, for logs and messages.
    pub fn redacted(&self, text: &str) -> String {
        redact(self.redact.iter(), text)
    }
}

/// The text with Argo's mark in place of every secret; a longer one first, since it may hold a shorter one.
pub(super) fn redact<'a>(secrets: impl Iterator<Item = &'a String>, text: &str) -> String {
    let mut secrets: Vec<&String> = secrets.collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret, "*****"))
}

impl std::fmt::Debug for Take {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let action = match self.action {
            Action::Run => "run",
            Action::Resume(_) => "resume",
            Action::Terminate(_) => "terminate",
        };
        write!(f, "{action} {} {}", self.name, self.number)
    }
}

/// What a provider gave.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A result, for the conditions to judge.
    Value {
        /// The result, in the provider's shape.
        result: Value,
        /// The result as a text.
        value: String,
        /// What else there is to tell.
        metadata: BTreeMap<String, String>,
    },
    /// A verdict of the provider itself: a Job, Kayenta.
    Verdict {
        /// The verdict; a phase that is not completed counts as in flight.
        phase: RunPhase,
        /// The value behind it, if there is one.
        value: String,
        /// Why.
        message: String,
        /// What else there is to tell.
        metadata: BTreeMap<String, String>,
    },
    /// The measurement goes on.
    InFlight {
        /// What the provider needs to go on.
        metadata: BTreeMap<String, String>,
        /// When to look again; unset: after 10 s.
        resume_at: Option<Timestamp>,
    },
    /// There is no result: no answer, a bad one, or none in time.
    Error {
        /// Why.
        message: String,
        /// What else there is to tell.
        metadata: BTreeMap<String, String>,
    },
}

impl Outcome {
    /// A result and its text.
    pub fn value(result: impl Into<Value>, value: impl Into<String>) -> Self {
        Self::Value { result: result.into(), value: value.into(), metadata: BTreeMap::new() }
    }

    /// A verdict.
    pub fn verdict(phase: RunPhase) -> Self {
        Self::Verdict { phase, value: String::new(), message: String::new(), metadata: BTreeMap::new() }
    }

    /// An error.
    pub fn error(message: impl Into<String>) -> Self {
        Self::Error { message: message.into(), metadata: BTreeMap::new() }
    }
}

/// Something that was measured.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What was asked for.
    pub take: Take,
    /// What came of it.
    pub outcome: Outcome,
    /// When the provider was called.
    pub started_at: Timestamp,
    /// When it answered.
    pub finished_at: Timestamp,
    /// What the provider tells of the metric; kept from the first measurement only.
    pub metric_metadata: BTreeMap<String, String>,
}
