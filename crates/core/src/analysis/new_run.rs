//! New AnalysisRuns: what they are made of, what they are called, and whether one is there already.

use std::collections::BTreeMap;

use okra_api::analysis::{AnalysisRunSpec, Argument, DryRun, MeasurementRetention};

use super::{
    arguments::{ArgumentError, merge_args},
    template::{Flattened, TemplateError, merge_dry_runs, merge_retentions},
};

/// Label with the pod template hash that a run judges; of a run of a Cell, the version.
pub const POD_TEMPLATE_HASH_LABEL: &str = "rollouts-pod-template-hash";
/// Label that says what a run is for.
pub const RUN_TYPE_LABEL: &str = "rollout-type";
/// Label with the number of the step that a run is for.
pub const STEP_INDEX_LABEL: &str = "step-index";
/// Label that says which controller carries an object out.
pub const INSTANCE_ID_LABEL: &str = "argo-rollouts.argoproj.io/controller-instance-id";

/// Why a run cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NewRunError {
    /// The templates do not fit together.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// An argument has no value.
    #[error(transparent)]
    Argument(#[from] ArgumentError),
}

/// The spec of a run: the metrics of its templates, the arguments merged, and the rules of who makes it before those of
/// the templates. No templates give a run without metrics, which then fails. A time to live is never filled in.
pub fn run_spec(
    templates: Flattened,
    args: &[Argument],
    dry_run: &[DryRun],
    measurement_retention: &[MeasurementRetention],
) -> Result<AnalysisRunSpec, NewRunError> {
    Ok(AnalysisRunSpec {
        args: merge_args(args, &templates.args)?,
        dry_run: merge_dry_runs(dry_run, &templates.dry_run)?,
        measurement_retention: merge_retentions(measurement_retention, &templates.measurement_retention)?,
        metrics: templates.metrics,
        terminate: false,
        ttl_strategy: None,
    })
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunType {
    /// A step, counted from 0.
    Step(usize),
    /// The time of the rollout.
    Background,
    /// The time before the traffic moves.
    PrePromotion,
    /// The time after the traffic moved.
    PostPromotion,
}

impl RunType {
    /// Value of [`RUN_TYPE_LABEL`].
    pub fn label(self) -> &'static str {
        match self {
            Self::Step(_) => "Step",
            Self::Background => "Background",
            Self::PrePromotion => "PrePromotion",
            Self::PostPromotion => "PostPromotion",
        }
    }

    /// The name of a run of a Rollout, as Argo gives it.
    pub fn run_name(self, rollout: &str, hash: &str, revision: &str) -> String {
        let base = format!("{rollout}-{hash}-{revision}");
        match self {
            Self::Step(index) => format!("{base}-{index}"),
            Self::Background => base,
            Self::PrePromotion => format!("{base}-pre"),
            Self::PostPromotion => format!("{base}-post"),
        }
    }

    /// The labels of a run. Those of `more` go on top: the labels that the owner wants on its runs.
    pub fn labels(self, hash: &str, instance_id: &str, more: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            (POD_TEMPLATE_HASH_LABEL.to_owned(), hash.to_owned()),
            (RUN_TYPE_LABEL.to_owned(), self.label().to_owned()),
        ]);
        if let Self::Step(index) = self {
            labels.insert(STEP_INDEX_LABEL.to_owned(), index.to_string());
        }
        if !instance_id.is_empty() {
            labels.insert(INSTANCE_ID_LABEL.to_owned(), instance_id.to_owned());
        }
        labels.extend(more.clone());
        labels
    }
}

/// The name to try after so many collisions with other runs: `name`, `name.1`, `name.2`.
pub fn collision_name(name: &str, collisions: usize) -> String {
    if collisions == 0 { name.to_owned() } else { format!("{name}.{collisions}") }
}

/// Whether two runs measure the same: all but whether they are to end, and when they are deleted.
pub fn measures_the_same(left: &AnalysisRunSpec, right: &AnalysisRunSpec) -> bool {
    left.metrics == right.metrics
        && left.dry_run == right.dry_run
        && left.measurement_retention == right.measurement_retention
        && left.args == right.args
}
