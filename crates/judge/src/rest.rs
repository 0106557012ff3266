//! L4: once a Cell's status has converged, nothing is written any more.

use jiff::SignedDuration;

use crate::Findings;
use crate::case::{Calm, Case, plus};
use crate::record::{Entry, Event};
use crate::view::CellView;

pub(crate) fn what_rests_writes_nothing(case: &Case<'_>, findings: &mut Findings) {
    let limits = &case.rules.limits;
    let span = limits.rest.saturating_add(limits.throttling).saturating_add(case.rules.slack);
    let is_told = |entry: &Entry| matches!(&entry.event, Event::Api(call) if case.rules.is_own_api(call));
    if !case.record.entries.iter().any(is_told) {
        return;
    }
    for calm in case.calms().into_iter().filter(|calm| !calm.cloud_gone) {
        quiet_writes(case, &calm, span, findings);
    }
}

fn quiet_writes(case: &Case<'_>, calm: &Calm, span: SignedDuration, findings: &mut Findings) {
    let entries = case.record.entries.iter().enumerate().take(calm.end + 1).skip(calm.start);
    let mut active = calm.from;
    let mut judged = false;
    let mut moves = false;
    for (position, entry) in entries {
        if moves || matches!(entry.event, Event::Health(_)) {
            active = entry.at;
        }
        let rested = entry.at > plus(active, span);
        if rested && !std::mem::replace(&mut judged, true) {
            findings.occasion();
        }
        if let Some(text) = written(case, entry).filter(|_| rested) {
            findings.breach(entry.seq, format!("at rest since {active}: {text}"));
        }
        moves = is_active(case, position);
    }
}

/// What okra wrote, anywhere. The lease is renewed for ever.
fn written(case: &Case<'_>, entry: &Entry) -> Option<String> {
    match &entry.event {
        Event::Api(call) if case.rules.is_own_api(call) && call.is_write() && call.kind != "Lease" => {
            Some(format!("{} {} {} {}", call.verb, call.kind, call.key(), call.subresource))
        }
        Event::Call(call) if case.rules.is_own_write(call) => Some(format!("{} at the load balancer", call.operation)),
        _ => None,
    }
}

/// Whether any Cell has something before it that time alone brings about: a step, the end of a pause, a detachment.
fn is_active(case: &Case<'_>, position: usize) -> bool {
    let cells = case.cells.keys().filter_map(|key| case.cell_at(key, position));
    cells.into_iter().any(|cell| moves(cell) || retires(cell))
}

fn moves(cell: &CellView) -> bool {
    let paused = cell.condition("Paused");
    let waits_for_person = paused.is_some_and(|paused| paused.reason != "PauseStep");
    cell.open().is_some() && !waits_for_person
}

fn retires(cell: &CellView) -> bool {
    cell.spec.retire_after.is_some()
        && cell.status.retired_target_groups.iter().any(|group| group.detached_at.is_none())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::fixture::{Builder, cell, rules};
    use crate::judge;
    use crate::record::{ApiCall, Event, Quiet};

    fn write(kind: &str) -> Event {
        Event::Api(ApiCall {
            process: "okrad".to_owned(),
            verb: "update".to_owned(),
            kind: kind.to_owned(),
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            code: 200,
            ..ApiCall::default()
        })
    }

    fn writes(kind: &str, after: i64, status: &Value, calm: bool) -> usize {
        let mut builder = Builder::default();
        builder.object("Cell", "web", cell(status.clone()));
        if calm {
            builder.event(Event::Quiet(Quiet::default()));
        }
        builder.wait(after);
        builder.event(write(kind));
        judge(&builder.record(), &rules()).iter().filter(|violation| violation.invariant == "L4").count()
    }

    #[test]
    fn what_rests_writes_nothing_but_its_lease() {
        let rests = json!({"stableVersion": "1"});
        assert_eq!(writes("Cell", 300, &rests, true), 1);
        assert_eq!(writes("Lease", 300, &rests, true), 0);
        assert_eq!(writes("Cell", 30, &rests, true), 0, "it converges");
        assert_eq!(writes("Cell", 300, &rests, false), 0, "faults go on");
    }

    #[test]
    fn what_moves_by_itself_may_write_and_what_waits_for_a_person_may_not() {
        let moves = json!({"rollout": {"id": "2-7", "version": "2"}});
        assert_eq!(writes("Cell", 300, &moves, true), 0);
        let held = |reason: &str| json!({"rollout": {"id": "2-7"}, "conditions": [{"type": "Paused", "status": "True", "reason": reason}]});
        assert_eq!(writes("Cell", 300, &held("PauseStep"), true), 0, "a pause may end by itself");
        assert_eq!(writes("Cell", 300, &held("PausedByPerson"), true), 1);
    }
}
