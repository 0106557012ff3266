//! The ReplicaSet and the Service of a template.

use jiff::Timestamp;
use okra_api::analysis::{ExperimentTemplate, TemplatePhase, TemplateStatus};

use super::{
    super::{
        duration::{later, whole_second},
        event::Event,
    },
    assess::{ExperimentAction, Look},
    durations::{is_over, progress_deadline, progress_deadline_seconds, scale_down_delay},
    observed::{Failure, ObservedReplicaSet},
};

/// Number of pods that a template should have.
pub(super) fn wanted(template: &ExperimentTemplate, terminating: bool, status: Option<&TemplateStatus>) -> i32 {
    let is_over = status.and_then(|status| status.status).is_some_and(TemplatePhase::is_completed);
    if terminating || is_over { 0 } else { template.replicas.unwrap_or(1) }
}

/// What is to be done for a template, and where it stands.
pub(super) fn reconcile(look: &mut Look<'_>, template: &ExperimentTemplate) -> TemplateStatus {
    let before = look.before.template_statuses.iter().find(|status| status.name == template.name).cloned();
    let wanted = wanted(template, look.terminating, before.as_ref());
    let mut status =
        before.clone().unwrap_or_else(|| TemplateStatus { name: template.name.clone(), ..TemplateStatus::default() });
    match look.observed.replica_sets.get(&template.name) {
        None => {
            if !look.terminating && !status.status.is_some_and(TemplatePhase::is_completed) {
                look.actions.push(ExperimentAction::CreateReplicaSet { template: template.name.clone() });
                status.last_transition_time.get_or_insert(whole_second(look.now));
            }
            count(&mut status, &ObservedReplicaSet::default(), look.now);
        }
        Some(set) => {
            serve(look, template, set, wanted, &mut status);
            if set.wanted != wanted && scale(look, template, set, wanted) {
                status.last_transition_time = Some(whole_second(look.now));
            }
            count(&mut status, set, look.now);
        }
    }
    move_on(look, template, wanted, &mut status);
    if before.as_ref().and_then(|before| before.status) != status.status {
        look.events.push(transition(before.as_ref().and_then(|before| before.status), &status));
    }
    status
}

/// The Service of a template: there while pods are wanted, gone when the last one is.
fn serve(
    look: &mut Look<'_>,
    template: &ExperimentTemplate,
    set: &ObservedReplicaSet,
    wanted: i32,
    status: &mut TemplateStatus,
) {
    let present = look.observed.services.get(&template.name);
    let keeps = template.service.is_some() && (wanted != 0 || set.available != 0);
    let shown = match (present, &template.service) {
        (Some(name), _) if !keeps => {
            let (template, name) = (template.name.clone(), name.clone());
            look.actions.push(ExperimentAction::DeleteService { template, name });
            None
        }
        (None, Some(service)) if wanted != 0 && set.has_ports => {
            let name = if service.name.is_empty() { set.name.clone() } else { service.name.clone() };
            let action = ExperimentAction::CreateService { template: template.name.clone(), name: name.clone() };
            look.actions.push(action);
            Some(name)
        }
        (present, _) => present.cloned(),
    };
    status.pod_template_hash = shown.as_ref().map(|_| set.pod_template_hash.clone()).unwrap_or_default();
    status.service_name = shown.unwrap_or_default();
}

/// Scales a ReplicaSet, or waits until its pods may go. Returns whether it is scaled now.
fn scale(look: &mut Look<'_>, template: &ExperimentTemplate, set: &ObservedReplicaSet, wanted: i32) -> bool {
    let name = set.name.clone();
    if wanted == 0 {
        let delay = scale_down_delay(look.observed.spec);
        let is_delayed = look.before.available_at.is_some() && delay.is_positive();
        match set.scale_down_at {
            // One change of a ReplicaSet at a time: the next look sees it without, and scales it.
            Some(_) if !is_delayed => {
                look.actions.push(ExperimentAction::RemoveScaleDownDeadline { name });
                return false;
            }
            None if is_delayed => {
                let deadline = whole_second(later(look.now, delay));
                look.actions.push(ExperimentAction::SetScaleDownDeadline { name, deadline });
                look.wake(deadline);
                return false;
            }
            Some(deadline) if deadline > look.now => {
                look.wake(deadline);
                return false;
            }
            _ => {}
        }
    } else if set.scale_down_at.is_some() {
        // It begins anew: the deadline of before must not take its pods away at once when it ends again.
        look.actions.push(ExperimentAction::RemoveScaleDownDeadline { name });
        return false;
    }
    let (name, from) = (set.name.clone(), set.wanted);
    look.actions.push(ExperimentAction::Scale { template: template.name.clone(), name, from, to: wanted });
    true
}

fn count(status: &mut TemplateStatus, set: &ObservedReplicaSet, now: Timestamp) {
    let before = [status.replicas, status.updated_replicas, status.ready_replicas, status.available_replicas];
    status.replicas = set.replicas;
    status.updated_replicas = set.replicas;
    status.ready_replicas = set.ready;
    status.available_replicas = set.available;
    if before != [set.replicas, set.replicas, set.ready, set.available] {
        status.last_transition_time = Some(whole_second(now));
    }
}

/// A template that is over stays so.
fn move_on(look: &Look<'_>, template: &ExperimentTemplate, wanted: i32, status: &mut TemplateStatus) {
    if status.status.is_some_and(TemplatePhase::is_completed) {
        return;
    }
    let failed =
        look.observed.failures.iter().filter_map(Failure::of_template).find(|(name, _)| *name == template.name);
    if let Some((_, message)) = failed {
        (status.status, status.message) = (Some(TemplatePhase::Error), message);
        return;
    }
    let spec = look.observed.spec;
    let phase = if wanted == status.available_replicas {
        let is_over = is_over(spec, look.before, look.now) || look.terminating;
        if is_over { TemplatePhase::Successful } else { TemplatePhase::Running }
    } else if look.now > progress_deadline(spec, status.last_transition_time.unwrap_or(look.now)) {
        let seconds = progress_deadline_seconds(spec);
        status.message = format!("Template '{}' exceeded its progressDeadlineSeconds ({seconds})", template.name);
        TemplatePhase::Failed
    } else if look.terminating {
        TemplatePhase::Successful
    } else {
        TemplatePhase::Progressing
    };
    status.status = Some(phase);
}

fn transition(before: Option<TemplatePhase>, status: &TemplateStatus) -> Event {
    let phase = status.status.unwrap_or_default();
    let from = before.map_or("", TemplatePhase::as_str);
    let about = if status.message.is_empty() { String::new() } else { format!(": {}", status.message) };
    Event {
        warning: matches!(phase, TemplatePhase::Failed | TemplatePhase::Error),
        reason: format!("Template{phase}"),
        message: format!("Template '{}' transitioned from {from} -> {phase}{about}", status.name),
    }
}
