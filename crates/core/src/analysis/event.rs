//! Events of runs and experiments.

use okra_api::RunPhase;

/// Something to be told of, as an event of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether it is a `Warning` rather than `Normal`.
    pub warning: bool,
    /// Its reason, like `AnalysisRunFailed`.
    pub reason: String,
    /// What happened.
    pub message: String,
}

impl Event {
    /// A run has ended.
    pub(super) fn run_completed(phase: RunPhase) -> Self {
        Self {
            warning: matches!(phase, RunPhase::Failed | RunPhase::Error),
            reason: format!("AnalysisRun{phase}"),
            message: format!("Analysis Completed. Result: {phase}"),
        }
    }
}
