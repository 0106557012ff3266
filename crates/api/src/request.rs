//! What a person asks of a rollout.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request, as it stands in annotation `okra.mumo.co/request` of a Cell. It is acted on once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Tells requests apart: a request with the id of the last one is not acted on again.
    #[schemars(length(min = 1, max = 128))]
    pub id: String,
    /// What is asked.
    pub verb: Verb,
    /// The rollout that the person saw; a request for another one is refused.
    #[serde(default, rename = "rolloutID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub rollout_id: Option<String>,
    /// The step that the person saw; `promote` of another one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<i32>,
    /// Who asks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub user: String,
    /// Arguments: `full`, `to`, `version`, `acceptWeights`, `restore`, `targetGroup`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub args: BTreeMap<String, String>,
}

/// What can be asked of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// Skip the current step, or with `full` all that remain.
    Promote,
    /// Hold the weights.
    Pause,
    /// Go on.
    Resume,
    /// Stable to 100 in one call, version blocked.
    Abort,
    /// The same after success: back to the version before.
    Undo,
    /// Unblock the version and begin at step 0.
    Retry,
    /// Take a version off the blocklist.
    Unblock,
}

impl Verb {
    /// The verb as the command line spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Undo => "undo",
            Self::Retry => "retry",
            Self::Unblock => "unblock",
        }
    }
}

/// What became of the last request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestRecord {
    /// The request's id.
    #[schemars(length(max = 128))]
    pub id: String,
    /// What was asked.
    pub verb: Verb,
    /// Who asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub user: String,
    /// When it was acted on.
    pub at: Timestamp,
    /// Whether it was carried out.
    pub accepted: bool,
    /// What it did, or why it was refused.
    #[schemars(length(max = 1024))]
    pub message: String,
}
