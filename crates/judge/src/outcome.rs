//! L2: a rollout ends, or says why it stands still; and none is forgotten.

use crate::Findings;
use crate::case::{Case, CellState, plus};
use crate::view::CellView;

pub(crate) fn rollouts_end_or_say_why(case: &Case<'_>, findings: &mut Findings) {
    let span = case.rules.limits.rollout.saturating_add(case.rules.slack);
    for calm in case.calms().into_iter().filter(|calm| !calm.cloud_gone && calm.till >= plus(calm.from, span)) {
        for key in case.cells.keys() {
            let Some(cell) = case.cell_at(key, calm.end) else { continue };
            let Some(rollout) = cell.open() else { continue };
            findings.occasion();
            if !says_why(cell) {
                let phase = cell.status.phase.as_deref().unwrap_or("no phase");
                let text = format!("cell {key}: rollout {} has not ended and does not say why ({phase})", rollout.id);
                findings.breach(case.seq(calm.end), text);
            }
        }
    }
    for (key, states) in &case.cells {
        for pair in states.windows(2) {
            let [before, after] = pair else { continue };
            forgotten(case, key, before, after, findings);
        }
    }
}

/// Whether a Cell whose rollout has not ended is paused, or degraded, with a reason and in words.
fn says_why(cell: &CellView) -> bool {
    let told = ["Paused", "Degraded"].into_iter().filter_map(|type_| cell.condition(type_));
    let phase = matches!(cell.status.phase.as_deref(), Some("Paused" | "Degraded"));
    let reason = told.into_iter().any(|condition| !condition.reason.is_empty());
    phase && reason && !cell.status.message.is_empty()
}

/// A rollout that went on gives way to another one only with an end that is kept.
fn forgotten(case: &Case<'_>, key: &str, before: &CellState, after: &CellState, findings: &mut Findings) {
    let (Some(was), Some(is)) = (&before.view, &after.view) else { return };
    let (Some(old), Some(new)) = (was.open(), is.status.rollout.as_ref()) else { return };
    if old.id == new.id {
        return;
    }
    findings.occasion();
    if !is.status.history.iter().any(|ended| ended.id == old.id && !ended.outcome.is_empty()) {
        let text = format!("cell {key}: rollout {} gave way to {} and never ended", old.id, new.id);
        findings.breach(case.seq(after.position), text);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::fixture::{Builder, cell, rules};
    use crate::judge;
    use crate::record::{Event, Quiet};

    fn found(builder: &Builder) -> usize {
        judge(&builder.record(), &rules()).iter().filter(|violation| violation.invariant == "L2").count()
    }

    fn rests(more: &Value, after: i64) -> usize {
        let mut status = json!({"rollout": {"id": "2-7", "version": "2"}});
        for (key, value) in more.as_object().into_iter().flatten() {
            status[key] = value.clone();
        }
        let mut builder = Builder::default();
        builder.object("Cell", "web", cell(status));
        builder.event(Event::Quiet(Quiet::default()));
        builder.wait(after);
        builder.event(Event::End);
        found(&builder)
    }

    #[test]
    fn a_rollout_ends_or_says_why_not() {
        let moves = json!({"phase": "Progressing", "message": "waits"});
        assert_eq!((rests(&moves, 60), rests(&moves, 700)), (0, 1));
        let paused = json!([{"type": "Paused", "status": "True", "reason": "PauseStep"}]);
        assert_eq!(rests(&json!({"phase": "Paused", "message": "waits", "conditions": paused}), 700), 0);
        assert_eq!(rests(&json!({"phase": "Paused", "message": "", "conditions": paused}), 700), 1, "silent");
        let ended = json!({"rollout": {"id": "2-7", "outcome": "Failed", "finishedAt": "2026-01-01T00:00:00Z"}});
        assert_eq!(rests(&ended, 700), 0);
    }

    #[test]
    fn no_rollout_is_forgotten() {
        let follows = |history: Value| {
            let mut builder = Builder::default();
            builder.object("Cell", "web", cell(json!({"rollout": {"id": "2-7", "version": "2"}})));
            builder.object("Cell", "web", cell(json!({"rollout": {"id": "3-8", "version": "3"}, "history": history})));
            found(&builder)
        };
        assert_eq!(follows(json!([{"id": "2-7", "version": "2", "outcome": "Superseded"}])), 0);
        assert_eq!(follows(json!([])), 1);
    }
}
