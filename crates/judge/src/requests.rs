//! S18: a request of a person is carried out once, and on the rollout that they saw.

use std::collections::{BTreeMap, BTreeSet};

use okra_api::names::REQUEST_ANNOTATION;

use crate::Findings;
use crate::case::{Case, CellState};
use crate::record::{Asked, Event};
use crate::view::CellView;

/// Every request of a run, by Cell and id.
type Requests = BTreeMap<(String, String), Asked>;

pub(crate) fn a_request_counts_once(case: &Case<'_>, findings: &mut Findings) {
    let requests = requests(case);
    for (key, states) in &case.cells {
        let mut done: BTreeSet<&str> = BTreeSet::new();
        let mut before: Option<&CellView> = None;
        for CellState { position, view, .. } in states {
            let Some(cell) = view else {
                // A Cell of the same name that is made later is another one.
                done.clear();
                before = None;
                continue;
            };
            let last = before.and_then(|before| before.status.last_request.as_ref());
            if let Some(answer) = cell.status.last_request.as_ref().filter(|answer| Some(*answer) != last) {
                findings.occasion();
                if answer.was_accepted() {
                    let twice = !done.insert(&answer.id);
                    let asked = requests.get(&(key.clone(), answer.id.clone()));
                    let wrong = asked.and_then(|asked| elsewhere(asked, before, &answer.verb));
                    let text = if twice { Some("is carried out twice".to_owned()) } else { wrong };
                    if let Some(text) = text {
                        findings.breach(case.seq(*position), format!("cell {key}: request {} {text}", answer.id));
                    }
                }
            }
            before = Some(cell);
        }
    }
}

/// What was asked, by entries and by the annotations of Cells.
fn requests(case: &Case<'_>) -> Requests {
    let mut requests = Requests::new();
    for entry in &case.record.entries {
        if let Event::Asked(asked) = &entry.event {
            requests.insert((asked.cell.clone(), asked.id.clone()), asked.clone());
        }
    }
    for (key, states) in &case.cells {
        let mut last = None;
        for cell in states.iter().filter_map(|state| state.view.as_ref()) {
            let text = cell.metadata.annotations.get(REQUEST_ANNOTATION);
            if text == last {
                continue;
            }
            last = text;
            let asked = text.and_then(|text| serde_json::from_str::<Asked>(text).ok());
            if let Some(asked) = asked.filter(|asked| !asked.id.is_empty()) {
                requests.entry((key.clone(), asked.id.clone())).or_insert(asked);
            }
        }
    }
    requests
}

/// Why an accepted request was not for what was there.
fn elsewhere(asked: &Asked, before: Option<&CellView>, verb: &str) -> Option<String> {
    let rollout = before.and_then(|cell| cell.status.rollout.as_ref());
    let present = rollout.map_or("none", |rollout| rollout.id.as_str());
    if let Some(seen) = asked.rollout_id.as_ref().filter(|seen| *seen != present) {
        return Some(format!("was asked of rollout {seen}, and is carried out on {present}"));
    }
    let step = rollout.map(|rollout| rollout.current_step_index);
    match asked.step {
        Some(seen) if asked.verb == "promote" && step != Some(seen) => {
            Some(format!("was asked at step {seen}, and is carried out at {step:?}"))
        }
        _ => (asked.verb != verb).then(|| format!("asks to {}, and counts as {verb}", asked.verb)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::fixture::{Builder, rules};
    use crate::judge;
    use crate::record::{Asked, Event};

    fn found(builder: &Builder) -> usize {
        judge(&builder.record(), &rules()).iter().filter(|violation| violation.invariant == "S18").count()
    }

    fn state(rollout: &str, step: i64, request: &Value, answer: &Value) -> Value {
        let annotation = if request.is_null() { String::new() } else { request.to_string() };
        json!({
            "metadata": {"annotations": {"okra.mumo.co/request": annotation}},
            "status": {"rollout": {"id": rollout, "currentStepIndex": step}, "lastRequest": answer},
        })
    }

    fn request(rollout: &str, step: i64) -> Value {
        json!({"id": "r1", "verb": "promote", "rolloutID": rollout, "step": step, "user": "ann"})
    }

    fn answer(id: &str, at: &str, accepted: bool) -> Value {
        json!({"id": id, "verb": "promote", "at": at, "accepted": accepted})
    }

    const AT: &str = "2026-01-01T00:00:00Z";

    fn carried_out(request: &Value, accepted: bool, by_annotation: bool) -> usize {
        let mut builder = Builder::default();
        let annotation = if by_annotation { request.clone() } else { Value::Null };
        if !by_annotation {
            let mut asked: Asked = serde_json::from_value(request.clone()).unwrap();
            asked.cell = "default/web".to_owned();
            builder.event(Event::Asked(asked));
        }
        builder.object("Cell", "web", state("2-7", 1, &annotation, &Value::Null));
        builder.object("Cell", "web", state("2-7", 2, &annotation, &answer("r1", AT, accepted)));
        found(&builder)
    }

    #[test]
    fn a_request_is_carried_out_on_what_was_seen() {
        for by_annotation in [true, false] {
            assert_eq!(carried_out(&request("2-7", 1), true, by_annotation), 0);
            assert_eq!(carried_out(&request("2-6", 1), true, by_annotation), 1, "another rollout");
            assert_eq!(carried_out(&request("2-7", 0), true, by_annotation), 1, "another step");
            assert_eq!(carried_out(&request("2-6", 0), false, by_annotation), 0, "refused");
            let mut other = request("2-7", 1);
            other["verb"] = json!("abort");
            assert_eq!(carried_out(&other, true, by_annotation), 1, "another verb");
        }
    }

    #[test]
    fn a_request_is_carried_out_once() {
        let answers = |ids: &[(&str, &str)]| {
            let mut builder = Builder::default();
            for (id, at) in ids {
                builder.object("Cell", "web", state("2-7", 1, &Value::Null, &answer(id, at, true)));
            }
            found(&builder)
        };
        let later = "2026-01-01T00:00:09Z";
        assert_eq!(answers(&[("r1", AT), ("r1", AT), ("r2", later)]), 0, "the same answer is seen twice");
        assert_eq!(answers(&[("r1", AT), ("r1", later)]), 1);
        assert_eq!(answers(&[("r1", AT), ("r2", AT), ("r1", later)]), 1);
    }
}
