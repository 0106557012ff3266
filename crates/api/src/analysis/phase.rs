//! Argo's phases.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// Argo's phases of an AnalysisRun, Experiment, metric and measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RunPhase {
    /// It has not started.
    #[default]
    #[serde(alias = "")]
    Pending,
    /// It measures.
    Running,
    /// It passed.
    Successful,
    /// It failed.
    Failed,
    /// It could not measure.
    Error,
    /// It could not tell.
    Inconclusive,
}

impl RunPhase {
    /// Argo's `Completed()`: nothing more happens.
    pub fn is_completed(self) -> bool {
        matches!(self, Self::Successful | Self::Failed | Self::Error | Self::Inconclusive)
    }

    /// The name, as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Successful => "Successful",
            Self::Failed => "Failed",
            Self::Error => "Error",
            Self::Inconclusive => "Inconclusive",
        }
    }
}

impl std::fmt::Display for RunPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads a phase; Go's empty string is none: nobody has looked at the object yet.
pub(super) fn phase_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RunPhase>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty());
    let known = |text: String| RunPhase::deserialize(serde::de::value::StringDeserializer::<D::Error>::new(text));
    text.map(known).transpose()
}
