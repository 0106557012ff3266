//! Analysis: Argo Rollouts' AnalysisRuns and Experiments, decided without IO.
//!
//! [`assess`] is one look at a run. It takes what was measured as data ([`Taken`]), writes it into the status, judges it,
//! and asks for what is to be measured next ([`Take`]); who carries that out, and how, is not its concern. All state is
//! in the status of the object, so a run goes on after a restart where it was.
//!
//! Where it differs from Argo's controller:
//!
//! - Templates that refer to each other in a circle are an error; Argo's controller dies of them.
//! - A measurement without data never passes, unless a condition says what it means ([`NoData`]).
//! - A metric whose provider does not answer does not hold up the others: results are taken in as they come, unless the
//!   verdict depends on those that are missing ([`Plan::hold_results`]).
//! - The passes that follow a failed metric are made at once instead of after the next watch event.
//! - A run that has ended is deleted when its time to live is over, not at the next resync after that.
//! - Every field of an argument that cannot be read is an error, not only that of the last argument.
//! - Secrets are hidden in values and metadata too, not only in messages, and long values and messages are cut.
//! - Jobs of dropped measurements are told one by one; Argo counts all Jobs of the run.

mod arguments;
mod assess;
mod duration;
mod event;
mod experiment;
mod field_path;
mod history;
mod limits;
mod measurement;
mod new_run;
mod placeholder;
mod profile;
mod quote;
mod report;
mod retention;
mod rules;
mod schedule;
mod status_patch;
mod step_check;
mod substitute;
mod take;
mod template;
#[cfg(test)]
mod tests;
mod ttl;
mod validate;
mod verdict;

pub use arguments::{
    ArgumentError, IncomingArgument, IncomingContext, IncomingValue, Secrets, incoming_args, merge_args, missing_key,
    secret_keys,
};
pub use assess::{Observed, Plan, assess};
pub use duration::{DurationError, parse_duration};
pub use event::Event;
pub use experiment::{
    ExperimentAction, ExperimentFault, ExperimentPlan, Failure, ObservedExperiment, ObservedReplicaSet, ObservedRun,
    SCALE_DOWN_DEADLINE_ANNOTATION, analysis_run, assess_experiment, replica_set, service, template_from, template_of,
    validate_experiment,
};
pub use field_path::{FieldPathError, field_path};
pub use history::{HISTORY_LIMIT, HistoryLimits, PastRun, runs_to_delete};
pub use measurement::NoData;
pub use new_run::{
    INSTANCE_ID_LABEL, NewRunError, POD_TEMPLATE_HASH_LABEL, RUN_TYPE_LABEL, RunType, STEP_INDEX_LABEL, collision_name,
    measures_the_same, run_spec,
};
pub use placeholder::PlaceholderError;
pub use profile::{Annotations, metric_profile, profile_annotations};
pub use report::report;
pub use retention::Trimmed;
pub use rules::{RuleError, rule_means};
pub use status_patch::status_patch;
pub use step_check::{StepError, validate_step};
pub use substitute::{SubstituteError, resolve_metric};
pub use take::{Action, Outcome, Take, Taken};
pub use template::{Flattened, TemplateError, flatten};
pub use ttl::expires_at;
pub use validate::{MetricFault, MetricsError, endless_metric, validate_metric, validate_metrics};
pub use verdict::is_worse;
