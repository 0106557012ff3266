//! What a Cell says of itself. The rollout lives here: this status is the state of the state machine.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    cell::StrategyType,
    request::RequestRecord,
    selector::TargetGroupSelector,
    step::{BackgroundAnalysis, BlueGreenStep, CanaryStep},
};

/// What a Cell says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CellStatus {
    /// The generation of the spec that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the Cell stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<CellPhase>,
    /// What it waits for or what is wrong, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 2048))]
    pub message: String,
    /// The version that is being rolled out, or that serves when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub desired_version: Option<String>,
    /// The version that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub stable_version: Option<String>,
    /// The rollout under way, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// How many rollouts this Cell has begun.
    #[serde(default)]
    pub rollout_count: i64,
    /// Why the weights are held, until a person decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Weights that a person accepted after a foreign edit: target group name to weight. They count until the next
    /// weight step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub accepted_weights: BTreeMap<String, i32>,
    /// The target groups and their weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub target_groups: Vec<TargetGroupState>,
    /// The last request of a person and what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_request: Option<RequestRecord>,
    /// Versions on the blocklist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 128)))]
    pub blocked_versions: Vec<String>,
    /// The last ten rollouts, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub history: Vec<RolloutRecord>,
    /// Target groups that no longer serve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub retired_target_groups: Vec<RetiredTargetGroup>,
    /// Since when the Cell waits for targets or an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Timestamp>,
    /// Conditions `Ready`, `Progressing`, `Valid`, `TrafficVerified`, `Paused`, `Degraded`, `RollbackReady`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// Where a Cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CellPhase {
    /// Nothing serves yet.
    Pending,
    /// A rollout moves.
    Progressing,
    /// A rollout stands still until a person or a timer lets it go on.
    Paused,
    /// Traffic is on its way back.
    RollingBack,
    /// The stable version serves and nothing is due.
    Healthy,
    /// Something is wrong that Okra cannot mend by itself.
    Degraded,
    /// The last rollout failed; the stable version serves.
    Failed,
}

/// A rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Tells rollouts apart: the version and a counter.
    #[schemars(length(max = 256))]
    pub id: String,
    /// The version that is rolled out.
    #[schemars(length(max = 128))]
    pub version: String,
    /// The version that served when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub previous_version: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When its traffic came to rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// How it ended, as soon as that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RolloutOutcome>,
    /// Why it ended that way.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// Who ended or skipped something, if a person did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub by: String,
    /// Canary or BlueGreen.
    pub strategy: StrategyType,
    /// The step it is at, counted from 0; `stepsTotal` once all are done.
    pub current_step_index: i32,
    /// How many steps it has.
    pub steps_total: i32,
    /// When the current step began.
    pub step_started_at: Timestamp,
    /// Name of the Pause, AnalysisRun or Experiment that the current step waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub current_step_run: Option<String>,
    /// The canary's total share now, in percent.
    pub canary_weight: i32,
    /// The steps that it began with, for a canary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub steps: Vec<CanaryStep>,
    /// The steps that it began with, for blue-green.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub blue_green_steps: Vec<BlueGreenStep>,
    /// The background analysis that it began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<BackgroundAnalysis>,
    /// The selector that it began with.
    #[serde(default)]
    pub selector: TargetGroupSelector,
    /// Healthy targets of the serving groups when it began: target group name to count.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub healthy_at_start: BTreeMap<String, u32>,
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutOutcome {
    /// The version is stable.
    Succeeded,
    /// A step failed.
    Failed,
    /// A person took it back.
    Aborted,
    /// A newer version, or a pin, took its place.
    Superseded,
    /// Its target groups went away.
    Withdrawn,
}

/// Why the weights are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// One of the reasons `PausedByPerson`, `Inconclusive`, `HeldOnFailure`, `StateLost`.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// In a sentence.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Who, if a person did it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub by: String,
    /// Since when.
    pub since: Timestamp,
}

/// A target group as the Cell sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetGroupState {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its version.
    #[schemars(length(max = 128))]
    pub version: String,
    /// The weight that the router answered with; unset while it is not attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    /// The weight that is asked for; unset while it is not to be attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_weight: Option<i32>,
    /// Healthy targets, as they were read last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_targets: Option<u32>,
    /// Registered targets, as they were read last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_targets: Option<u32>,
    /// Healthy targets when the rollout began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_at_start: Option<u32>,
    /// When its health was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
}

/// A target group that no longer serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetiredTargetGroup {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub version: String,
    /// Since when it has no weight.
    pub zero_since: Timestamp,
    /// When it was detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detached_at: Option<Timestamp>,
    /// From when on its cluster may be destroyed.
    pub safe_to_destroy_at: Timestamp,
}

/// A rollout that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutRecord {
    /// The rollout's id.
    #[schemars(length(max = 256))]
    pub id: String,
    /// The version.
    #[schemars(length(max = 128))]
    pub version: String,
    /// The version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub previous_version: Option<String>,
    /// How it ended.
    pub outcome: RolloutOutcome,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// Who, if a person did it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub by: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When its traffic came to rest.
    pub finished_at: Timestamp,
}
