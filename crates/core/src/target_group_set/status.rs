//! What a set says of itself.

use jiff::Timestamp;
use okra_api::{
    condition::{self, DISCOVERED, NewCondition, READY, VALID, reason},
    target_group_set::{AWSTargetGroupSetStatus, TargetGroupNote},
};

use super::{Observed, ValidatedTargetGroupSet};
use crate::{field::FieldError, naming::shortened};

/// So many are named; the rest is counted.
const NAMED: usize = 64;

/// What a plan counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub clusters: i32,
    pub target_groups: i32,
    pub unreachable: Vec<TargetGroupNote>,
    pub refused: Vec<TargetGroupNote>,
    pub kept: Vec<TargetGroupNote>,
}

pub(super) fn status(observed: &Observed<'_>, tally: Tally, now: Timestamp) -> AWSTargetGroupSetStatus {
    let mut status = AWSTargetGroupSetStatus {
        observed_generation: observed.set.generation,
        clusters: tally.clusters,
        target_groups: tally.target_groups,
        message: String::new(),
        unreachable: named(&tally.unreachable),
        refused: named(&tally.refused),
        kept: named(&tally.kept),
        conditions: observed.status.conditions.clone(),
    };
    let counts = [tally.unreachable.len(), tally.refused.len(), tally.kept.len()];
    conclude(&mut status, observed.set, counts, now);
    status
}

/// Adds bindings whose AWSTargetGroups could not be written to those that are refused; `without` of them have none.
pub fn refuse(
    status: &mut AWSTargetGroupSetStatus,
    set: &ValidatedTargetGroupSet,
    more: &[TargetGroupNote],
    without: i32,
    now: Timestamp,
) {
    if more.is_empty() {
        return;
    }
    status.target_groups -= without;
    status.refused.extend(named(more));
    status.refused.truncate(NAMED);
    let counts = [status.unreachable.len(), status.refused.len(), status.kept.len()];
    conclude(status, set, counts, now);
}

/// Says in words and conditions what the rest of the status holds.
fn conclude(
    status: &mut AWSTargetGroupSetStatus,
    set: &ValidatedTargetGroupSet,
    [unreachable, refused, kept]: [usize; 3],
    now: Timestamp,
) {
    let mut parts = vec![format!(
        "{} of {}",
        counted(usize::try_from(status.target_groups).unwrap_or_default(), "target group"),
        counted(usize::try_from(status.clusters).unwrap_or_default(), "cluster")
    )];
    let mut reason = reason::AS_DESIRED;
    if kept > 0 {
        parts.push(format!(
            "{} kept though nothing selects it ({})",
            counted(kept, "target group"),
            words(&status.kept)
        ));
    }
    if refused > 0 {
        reason = reason::REFUSED_BINDINGS;
        parts.push(format!("{} without a target group ({})", counted(refused, "binding"), words(&status.refused)));
    }
    let mut discovered = "every cluster answered".to_owned();
    if unreachable > 0 {
        reason = reason::UNREACHABLE_CLUSTERS;
        discovered = format!(
            "the bindings of {} are not known, and what they had is kept ({})",
            counted(unreachable, "cluster"),
            words(&status.unreachable)
        );
        parts.push(discovered.clone());
    }
    status.message = parts.join("; ");
    let message = status.message.clone();
    let is_discovered = unreachable == 0;
    let why = if is_discovered { reason::AS_DESIRED } else { reason::UNREACHABLE_CLUSTERS };
    let is_ready = reason == reason::AS_DESIRED;
    for (type_, is, reason, message) in [
        (VALID, true, reason::AS_DESIRED, "the spec can be acted on".to_owned()),
        (DISCOVERED, is_discovered, why, discovered),
        (READY, is_ready, reason, message),
    ] {
        let new = NewCondition { type_, status: Some(is), reason, message };
        condition::set(&mut status.conditions, now, set.generation, new);
    }
}

/// The status of a set whose spec cannot be acted on: everything that it made stays.
pub fn invalid(
    present: &AWSTargetGroupSetStatus,
    generation: Option<i64>,
    errors: &[FieldError],
    now: Timestamp,
) -> AWSTargetGroupSetStatus {
    let message = FieldError::join(errors);
    let mut status = unready(present, generation, reason::INVALID_SPEC, &message, now);
    let new = NewCondition { type_: VALID, status: Some(false), reason: reason::INVALID_SPEC, message };
    condition::set(&mut status.conditions, now, generation, new);
    status
}

/// The status of a set that nothing can be done for now; everything that it made stays.
pub fn blocked(
    present: &AWSTargetGroupSetStatus,
    generation: Option<i64>,
    reason: &'static str,
    message: &str,
    now: Timestamp,
) -> AWSTargetGroupSetStatus {
    unready(present, generation, reason, message, now)
}

fn unready(
    present: &AWSTargetGroupSetStatus,
    generation: Option<i64>,
    reason: &'static str,
    message: &str,
    now: Timestamp,
) -> AWSTargetGroupSetStatus {
    let mut status = present.clone();
    status.observed_generation = generation;
    message.clone_into(&mut status.message);
    let new = NewCondition { type_: READY, status: Some(false), reason, message: message.to_owned() };
    condition::set(&mut status.conditions, now, generation, new);
    status
}

fn words(notes: &[TargetGroupNote]) -> String {
    let words: Vec<String> = notes.iter().take(4).map(|note| format!("{}: {}", note.name, note.message)).collect();
    words.join("; ")
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn named(notes: &[TargetGroupNote]) -> Vec<TargetGroupNote> {
    let notes = notes.iter().take(NAMED);
    notes.map(|note| TargetGroupNote { name: note.name.clone(), message: shortened(&note.message) }).collect()
}
