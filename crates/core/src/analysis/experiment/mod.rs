//! Experiments: ReplicaSets that run for a time, and analyses of them.
//!
//! [`assess_experiment`] is one look at an Experiment: from what is there and what time it is to what is to be done. A
//! thing that could not be done is told in the next look ([`Failure`]), since the status says so.
//!
//! Where it differs from Argo's controller:
//!
//! - No ReplicaSet is made for an experiment that is ending.
//! - The pods are kept for the delay only if all of them were available once.
//! - The time of the last progress is written when something changes, not in every pass of the delay.
//! - The end of a run counts also while the experiment ends; Argo does not look at it any more, and an experiment with
//!   a required analysis that was terminated goes on for ever.
//! - Required analyses that are successful end it although others go on; in Argo it stays `Running` in that case.
//! - A Service that is there is left as it is; Argo tries to make one with a name of its own in every pass.

mod analyses;
mod assess;
mod conditions;
mod durations;
mod objects;
mod observed;
mod phases;
mod placeholders;
mod templates;
#[cfg(test)]
mod tests;
mod validate;

pub use assess::{ExperimentAction, ExperimentPlan, assess_experiment};
pub use objects::{SCALE_DOWN_DEADLINE_ANNOTATION, analysis_run, replica_set, service, template_from, template_of};
pub use observed::{Failure, ObservedExperiment, ObservedReplicaSet, ObservedRun};
pub use validate::{ExperimentFault, validate_experiment};
