//! The conditions of an experiment, with Argo's reasons and messages.

use jiff::Timestamp;
use okra_api::{
    RunPhase,
    analysis::{ExperimentCondition, ExperimentStatus, TemplateStatus},
};

use super::{
    super::duration::whole_second, durations::is_over, observed::ObservedExperiment, validate::ExperimentFault,
};

const PROGRESSING: &str = "Progressing";
const INVALID_SPEC: &str = "InvalidSpec";

/// Writes that the spec is invalid.
pub(super) fn refuse(status: &mut ExperimentStatus, fault: &ExperimentFault, now: Timestamp) {
    let message = fault.to_string();
    let known = status.conditions.iter().find(|condition| condition.type_ == INVALID_SPEC);
    if known.is_some_and(|known| known.message != message) {
        remove(status, INVALID_SPEC);
    }
    set(status, condition(INVALID_SPEC, true, INVALID_SPEC, message, now));
}

/// Brings the conditions of a valid experiment up to date.
pub(super) fn update(
    observed: &ObservedExperiment<'_>,
    before: &ExperimentStatus,
    status: &mut ExperimentStatus,
    now: Timestamp,
) {
    remove(status, INVALID_SPEC);
    let name = observed.name;
    let progressing = |on: bool, reason: &str, what: &str| {
        condition(PROGRESSING, on, reason, format!("Experiment \"{name}\" {what}."), now)
    };
    if status.phase == Some(RunPhase::Successful) {
        set(status, progressing(false, "ExperimentCompleted", "has successfully ran and completed"));
    } else if has_progressed(before, status) {
        let mut next = progressing(true, "ReplicaSetUpdated", "is progressing");
        let known = before.conditions.iter().find(|known| known.type_ == PROGRESSING && known.status == "True");
        if let Some(known) = known {
            next.last_transition_time = known.last_transition_time;
        }
        // Each progress is written, also if the condition is as it was.
        remove(status, PROGRESSING);
        set(status, next);
    } else if before.available_at.is_some() && !is_over(observed.spec, before, now) {
        set(status, progressing(true, "NewReplicaSetAvailable", "is running"));
    }
}

fn condition(type_: &str, on: bool, reason: &str, message: String, now: Timestamp) -> ExperimentCondition {
    let now = whole_second(now);
    ExperimentCondition {
        type_: type_.to_owned(),
        status: if on { "True" } else { "False" }.to_owned(),
        last_update_time: now,
        last_transition_time: now,
        reason: reason.to_owned(),
        message,
    }
}

/// One with the same status and reason stays as it is; with the same status, its time of transition does.
fn set(status: &mut ExperimentStatus, mut next: ExperimentCondition) {
    let known = status.conditions.iter().find(|known| known.type_ == next.type_);
    if let Some(known) = known.filter(|known| known.status == next.status) {
        if known.reason == next.reason {
            return;
        }
        next.last_transition_time = known.last_transition_time;
    }
    remove(status, &next.type_.clone());
    status.conditions.push(next);
}

fn remove(status: &mut ExperimentStatus, type_: &str) {
    status.conditions.retain(|condition| condition.type_ != type_);
}

fn has_progressed(before: &ExperimentStatus, after: &ExperimentStatus) -> bool {
    let counts = |status: &TemplateStatus| {
        [status.replicas, status.updated_replicas, status.ready_replicas, status.available_replicas]
    };
    let moved = |old: &TemplateStatus| {
        let new = after.template_statuses.iter().find(|new| new.name == old.name);
        new.is_some_and(|new| counts(new) != counts(old))
    };
    before.template_statuses.len() < after.template_statuses.len() || before.template_statuses.iter().any(moved)
}
