//! What a set says of itself.

use jiff::Timestamp;
use okra_api::{
    cluster_set::{AnswerState, ClusterNote, ClusterSetStatus, GeneratorStatus, MissingCluster, RemovedCluster},
    condition::{self, DISCOVERED, NewCondition, READY, VALID, reason},
};

use super::{Observed, ValidatedClusterSet};
use crate::{field::FieldError, naming::shortened};

/// So many clusters are named; the rest is counted.
const NAMED: usize = 64;

/// What a plan counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) clusters: i32,
    pub(super) waiting: Vec<ClusterNote>,
    pub(super) refused: Vec<ClusterNote>,
    pub(super) missing: Vec<MissingCluster>,
    pub(super) removed: Vec<RemovedCluster>,
    /// When the next Secret is removed.
    pub(super) due: Option<Timestamp>,
    pub(super) is_complete: bool,
}

pub(super) fn status(observed: &Observed<'_>, tally: Tally, acts: bool, now: Timestamp) -> ClusterSetStatus {
    let generators = observed.answers.iter().map(|answer| GeneratorStatus {
        name: answer.name.clone(),
        found: i32::try_from(answer.clusters.len()).unwrap_or(i32::MAX),
        state: answer.state,
        message: shortened(&answer.message),
    });
    let mut status = ClusterSetStatus {
        observed_generation: observed.set.generation,
        clusters: tally.clusters,
        message: String::new(),
        generators: generators.collect(),
        waiting: named(&tally.waiting),
        refused: named(&tally.refused),
        missing: tally.missing,
        removed: tally.removed,
        last_complete_at: observed.status.last_complete_at,
        conditions: observed.status.conditions.clone(),
    };
    conclude(&mut status, observed.set, (tally.waiting.len(), tally.refused.len()), now);
    // A time alone is no news: it is written with what is.
    if tally.is_complete && (acts || status != *observed.status || status.last_complete_at.is_none()) {
        status.last_complete_at = Some(now);
    }
    status
}

/// Adds clusters whose Secrets could not be written to those that are refused; `without` of them have no Secret of this
/// set.
pub fn refuse(
    status: &mut ClusterSetStatus,
    set: &ValidatedClusterSet,
    more: Vec<ClusterNote>,
    without: i32,
    now: Timestamp,
) {
    if more.is_empty() {
        return;
    }
    status.clusters -= without;
    status.refused.extend(named(&more));
    status.refused.truncate(NAMED);
    let counts = (status.waiting.len(), status.refused.len());
    conclude(status, set, counts, now);
}

/// Says in words and conditions what the rest of the status holds.
fn conclude(
    status: &mut ClusterSetStatus,
    set: &ValidatedClusterSet,
    (waiting, refused): (usize, usize),
    now: Timestamp,
) {
    let incomplete: Vec<String> = status
        .generators
        .iter()
        .filter(|generator| generator.state != AnswerState::Complete)
        .map(|generator| format!("{} answered {:?}: {}", generator.name, generator.state, generator.message))
        .collect();
    let name = |notes: &[ClusterNote]| {
        let words: Vec<String> = notes.iter().take(4).map(|note| format!("{}: {}", note.name, note.message)).collect();
        words.join("; ")
    };
    let mut parts = vec![counted(usize::try_from(status.clusters).unwrap_or_default(), "has a Secret", "have Secrets")];
    let mut reason = reason::AS_DESIRED;
    if !status.missing.is_empty() {
        let secrets: Vec<&str> = status.missing.iter().take(4).map(|missing| missing.secret.as_str()).collect();
        let gone = counted(status.missing.len(), "is gone", "are gone");
        parts.push(format!("{gone} and will lose the Secret after {:#}: {}", set.prune_after, secrets.join(", ")));
    }
    if waiting > 0 {
        reason = reason::WAITING_FOR_CLUSTERS;
        parts.push(format!("{} ({})", counted(waiting, "is not ready", "are not ready"), name(&status.waiting)));
    }
    if refused > 0 {
        reason = reason::REFUSED_CLUSTERS;
        parts.push(format!("{} ({})", counted(refused, "gets no Secret", "get no Secret"), name(&status.refused)));
    }
    if !incomplete.is_empty() {
        reason = reason::INCOMPLETE;
        parts.push(format!("nothing is removed while answers are incomplete: {}", incomplete.join("; ")));
    }
    status.message = parts.join("; ");
    let generation = set.generation;
    let mut tell = |type_, is: bool, reason, message| {
        let new = NewCondition { type_, status: Some(is), reason, message };
        condition::set(&mut status.conditions, now, generation, new);
    };
    tell(VALID, true, reason::AS_DESIRED, "the spec can be acted on".to_owned());
    let discovered = if incomplete.is_empty() { reason::AS_DESIRED } else { reason::INCOMPLETE };
    let words =
        if incomplete.is_empty() { "every generator answered completely".to_owned() } else { incomplete.join("; ") };
    tell(DISCOVERED, incomplete.is_empty(), discovered, words);
    let message = status.message.clone();
    let is_ready = reason == reason::AS_DESIRED;
    let new = NewCondition { type_: READY, status: Some(is_ready), reason, message };
    condition::set(&mut status.conditions, now, generation, new);
}

/// The status of a set whose spec cannot be acted on: everything that it made stays.
pub fn invalid(
    present: &ClusterSetStatus,
    generation: Option<i64>,
    errors: &[FieldError],
    now: Timestamp,
) -> ClusterSetStatus {
    let mut status = present.clone();
    status.observed_generation = generation;
    status.message = FieldError::join(errors);
    for type_ in [VALID, READY] {
        let message = status.message.clone();
        let new = NewCondition { type_, status: Some(false), reason: reason::INVALID_SPEC, message };
        condition::set(&mut status.conditions, now, generation, new);
    }
    status
}

/// The status of a set that nothing can be done for now; everything that it made stays.
pub fn blocked(
    present: &ClusterSetStatus,
    generation: Option<i64>,
    reason: &'static str,
    message: String,
    now: Timestamp,
) -> ClusterSetStatus {
    let mut status = present.clone();
    status.observed_generation = generation;
    status.message.clone_from(&message);
    let new = NewCondition { type_: READY, status: Some(false), reason, message };
    condition::set(&mut status.conditions, now, generation, new);
    status
}

fn counted(count: usize, one: &str, more: &str) -> String {
    if count == 1 { format!("1 cluster {one}") } else { format!("{count} clusters {more}") }
}

fn named(notes: &[ClusterNote]) -> Vec<ClusterNote> {
    let notes = notes.iter().take(NAMED);
    notes.map(|note| ClusterNote { name: note.name.clone(), message: shortened(&note.message) }).collect()
}
