//! S7: nothing rises after an abort, a roll-back, a pause, a suspension or a deletion was observed, and a roll-back takes
//! one call.

use crate::Findings;
use crate::case::{Case, Shift};
use crate::rules::plain;
use crate::view::CellView;

pub(crate) fn nothing_rises_once_it_is_stopped(case: &Case<'_>, findings: &mut Findings) {
    for shift in case.shifts() {
        let states = case.states_around(shift.key, shift.position, shift.at);
        let stopped = states.iter().filter(|cell| is_stopped(cell)).count();
        if states.is_empty() || stopped < states.len() {
            continue;
        }
        findings.occasion();
        let texts: Vec<String> = states.iter().filter_map(|cell| breach(case, cell, &shift)).collect();
        if let Some(text) = texts.first().filter(|_| texts.len() == states.len()) {
            findings.breach(shift.seq, format!("cell {}: {text}", shift.key));
        }
    }
}

fn is_stopped(cell: &CellView) -> bool {
    let back = cell.open().is_some_and(crate::view::Rollout::is_back);
    back || cell.status.hold.is_some() || is_suspended(cell) || cell.metadata.deletion_timestamp.is_some()
}

/// `spec.suspend` is set, and okra has seen it.
fn is_suspended(cell: &CellView) -> bool {
    cell.spec.suspend && cell.status.observed_generation == Some(cell.metadata.generation)
}

fn breach(case: &Case<'_>, cell: &CellView, shift: &Shift<'_>) -> Option<String> {
    if cell.metadata.deletion_timestamp.is_some() {
        let raised = shift.raised();
        return raised.first().map(|version| format!("{version} gets more while the Cell is being deleted"));
    }
    let (rollout, stable) = (cell.open()?, cell.stable()?);
    let canary = plain(&rollout.version);
    if rollout.is_back() {
        let (after, before) = shift.share(&canary);
        let outcome = rollout.outcome.as_deref().unwrap_or_default();
        return if shift.raises(&canary) {
            Some(format!("{canary} gets more after its rollout ended {outcome}"))
        } else {
            let partly = after > 0 && after < before;
            partly.then(|| format!("traffic of {canary} goes back in more than one call"))
        };
    }
    // Towards safety weights move all the same: back to an older version, or away from one that is gone.
    let to_safety = is_older(&canary, &stable) || case.is_gone(shift.key, &stable, shift.position);
    let why = if cell.status.hold.is_some() { "is held" } else { "is suspended" };
    (shift.raises(&canary) && !to_safety).then(|| format!("{canary} gets more while its rollout {why}"))
}

/// Whether a version is older than another, both in the one spelling.
pub(crate) fn is_older(version: &str, than: &str) -> bool {
    let parts = |text: &str| {
        let (numbers, rest) = text.split_once('-').unwrap_or((text, ""));
        let numbers: Vec<u64> = numbers.split('.').map(|part| part.parse().unwrap_or(0)).collect();
        // What comes before a release is older than it.
        (numbers, rest.is_empty(), rest.to_owned())
    };
    parts(version) < parts(than)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::is_older;
    use crate::fixture::{A, A2, B, Builder, cell, rules};
    use crate::{Rules, judge};

    fn status(more: &Value) -> Value {
        let mut rollout = json!({"id": "2-7", "version": "2", "currentStepIndex": 2, "steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 40}]});
        for (key, value) in more.as_object().into_iter().flatten() {
            rollout[key] = value.clone();
        }
        json!({"stableVersion": "1", "rollout": rollout})
    }

    fn found_in(builder: &Builder, rules: &Rules) -> Vec<String> {
        let found = judge(&builder.record(), rules);
        found.into_iter().filter(|violation| violation.invariant == "S7").map(|violation| violation.text).collect()
    }

    /// Version 2 has 20 %, the Cell is as given, and then the rule gets these weights.
    fn found(object: Value, weights: &[(&str, i64)]) -> Vec<String> {
        let mut builder = Builder::default();
        builder.create(&[(A, 100)]);
        for group in [A, B] {
            builder.health(group, 3, 3);
        }
        builder.modify(&[(A, 100), (B, 0)]);
        builder.modify(&[(A, 80), (B, 20)]);
        builder.object("Cell", "web", object);
        builder.modify(weights);
        found_in(&builder, &rules())
    }

    const MORE: [(&str, i64); 2] = [(A, 60), (B, 40)];
    const BACK: [(&str, i64); 2] = [(A, 100), (B, 0)];

    #[test]
    fn nothing_rises_on_the_way_back_and_it_takes_one_call() {
        for outcome in ["Aborted", "Failed", "Superseded", "Withdrawn"] {
            let object = cell(status(&json!({"outcome": outcome})));
            assert_eq!(found(object.clone(), &MORE).len(), 1, "{outcome}");
            assert!(found(object.clone(), &BACK).is_empty(), "{outcome}");
            let [text] = found(object, &[(A, 90), (B, 10)]).try_into().unwrap();
            assert!(text.contains("more than one call"), "{text}");
        }
        assert!(found(cell(status(&json!({}))), &MORE).is_empty());
    }

    #[test]
    fn nothing_rises_while_it_is_held_suspended_or_deleted() {
        let mut held = status(&json!({}));
        held["hold"] = json!({"reason": "PausedByPerson"});
        assert_eq!(found(cell(held.clone()), &MORE).len(), 1);
        assert!(found(cell(held), &BACK).is_empty());
        let suspended = |observed: i64| {
            let mut status = status(&json!({}));
            status["observedGeneration"] = json!(observed);
            json!({"metadata": {"generation": 3}, "spec": {"suspend": true}, "status": status})
        };
        assert_eq!(found(suspended(3), &MORE).len(), 1);
        assert!(found(suspended(2), &MORE).is_empty(), "not seen yet");
        let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": status(&json!({}))});
        assert_eq!(found(deleted, &MORE).len(), 1);
    }

    #[test]
    fn a_call_on_its_way_is_no_breach() {
        let mut builder = Builder::default();
        builder.create(&[(A, 100)]);
        builder.modify(&[(A, 80), (B, 20)]);
        builder.object("Cell", "web", cell(status(&json!({}))));
        builder.object("Cell", "web", cell(status(&json!({"outcome": "Aborted"}))));
        builder.wait(-10);
        builder.modify(&MORE);
        assert!(found_in(&builder, &rules()).is_empty(), "within the slack");
        let strict = Rules { slack: jiff::SignedDuration::ZERO, ..rules() };
        assert_eq!(found_in(&builder, &strict).len(), 1);
    }

    #[test]
    fn weights_move_towards_safety_while_suspended() {
        let mut object =
            cell(json!({"stableVersion": "3", "observedGeneration": 3, "rollout": status(&json!({}))["rollout"]}));
        object["metadata"] = json!({"generation": 3});
        object["spec"] = json!({"suspend": true});
        assert!(found(object, &MORE).is_empty(), "2 is older than 3");
        let mut held = status(&json!({}));
        held["hold"] = json!({"reason": "PausedByPerson"});
        let mut builder = Builder::default();
        builder.create(&[(A, 100)]);
        builder.modify(&[(A, 80), (B, 20)]);
        builder.object("Cell", "web", cell(held));
        builder.modify(&[(A, 0), (B, 100)]);
        let mut rules = rules();
        assert_eq!(found_in(&builder, &rules).len(), 1);
        rules.cells.get_mut("default/web").unwrap().gone.extend([A.to_owned(), A2.to_owned()]);
        assert!(found_in(&builder, &rules).is_empty(), "the stable groups are gone");
    }

    #[test]
    fn versions_compare_by_their_numbers() {
        assert!(is_older("1.9.0", "1.10.0") && is_older("2.0.0-rc.1", "2.0.0") && !is_older("2.0.0", "2.0.0"));
    }
}
