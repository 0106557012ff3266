//! S16: a step waits for one live child at a time, and for none that was made for something else.

use std::collections::{BTreeMap, BTreeSet};

use okra_api::names::{CELL_LABEL, ROLLOUT_LABEL, STEP_INDEX_LABEL};
use serde_json::Value;

use crate::Findings;
use crate::case::{Case, Sighting};
use crate::view::{Meta, Rollout};

fn is_child(kind: &str) -> bool {
    matches!(kind, "Pause" | "AnalysisRun" | "Experiment")
}

pub(crate) fn one_child_per_step(case: &Case<'_>, findings: &mut Findings) {
    let mut live: BTreeMap<(&str, String, [String; 3]), BTreeSet<&str>> = BTreeMap::new();
    let mut steps: BTreeMap<&str, (&str, String, [String; 3])> = BTreeMap::new();
    for seen in case.sightings.iter().filter(|seen| is_child(seen.kind)) {
        let meta = Meta::of(seen.object);
        let label = |name: &str| meta.labels.get(name).cloned().unwrap_or_default();
        let own = [label(CELL_LABEL), label(ROLLOUT_LABEL), label(STEP_INDEX_LABEL)];
        let namespace = seen.key.split('/').next().unwrap_or_default().to_owned();
        if !own.iter().any(String::is_empty) {
            steps.insert(&seen.key, (seen.kind, namespace, own));
        }
        let Some(step) = steps.get(seen.key.as_str()) else { continue };
        findings.occasion();
        let names = live.entry(step.clone()).or_default();
        if !is_live(seen) {
            names.remove(seen.key.as_str());
        } else if names.insert(&seen.key) && names.len() > 1 {
            let names: Vec<&str> = names.iter().copied().collect();
            findings.breach(case.seq(seen.position), format!("one step has {} live: {}", seen.kind, names.join(", ")));
        }
    }
    for (key, states) in &case.cells {
        let mut last = None;
        for state in states {
            let Some(rollout) = state.view.as_ref().and_then(|cell| cell.open()) else { continue };
            if rollout.current_step_run == last {
                continue;
            }
            last.clone_from(&rollout.current_step_run);
            reused(case, key, rollout, state.position, findings);
        }
    }
}

fn has_verdict(seen: &Sighting<'_>) -> bool {
    let phase = seen.object.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    ["Expired", "Cancelled", "Successful", "Failed", "Error", "Inconclusive"].contains(&phase)
}

fn is_live(seen: &Sighting<'_>) -> bool {
    let ends = seen.object.pointer("/spec/terminate").and_then(Value::as_bool) == Some(true);
    !seen.object.is_null() && !has_verdict(seen) && !ends && Meta::of(seen.object).deletion_timestamp.is_none()
}

/// The child that a step waits for was made for that rollout. Clocks of processes and of the API server may be apart, so
/// times are not compared: a verdict is old when it was there while another rollout went on.
fn reused(case: &Case<'_>, cell: &str, rollout: &Rollout, position: usize, findings: &mut Findings) {
    let Some(name) = &rollout.current_step_run else { return };
    let namespace = cell.split('/').next().unwrap_or_default();
    let key = format!("{namespace}/{name}");
    let of_it = |seen: &&Sighting<'_>| is_child(seen.kind) && seen.key == key && seen.position <= position;
    let seen: Vec<&Sighting<'_>> = case.sightings.iter().filter(of_it).collect();
    // What was there before it was last gone was another object.
    let begun = seen.iter().rposition(|seen| seen.object.is_null()).map_or(0, |gone| gone + 1);
    let seen = seen.get(begun..).unwrap_or_default();
    let Some(last) = seen.last() else { return };
    findings.occasion();
    let meta = Meta::of(last.object);
    let other = meta.labels.get(ROLLOUT_LABEL).filter(|label| **label != label_value(&rollout.id));
    if let Some(other) = other {
        let text = format!("cell {cell}: rollout {} waits for {key}, which is of rollout {other}", rollout.id);
        findings.breach(case.seq(position), text);
        return;
    }
    let Some(verdict) = seen.iter().find(|seen| has_verdict(seen)).map(|seen| seen.position) else { return };
    let states = case.cells.get(cell).into_iter().flatten();
    let mut between = states.filter(|state| state.position > verdict && state.position < position);
    let another = between.find_map(|state| {
        let open = state.view.as_ref().and_then(|cell| cell.open())?;
        (open.id != rollout.id).then(|| open.id.clone())
    });
    // A run that nobody owns a person made by hand, ahead of time maybe.
    if let Some(another) = another.filter(|_| !meta.owner_references.is_empty()) {
        let text = format!("cell {cell}: rollout {} waits for {key}, which was over in rollout {another}", rollout.id);
        findings.breach(case.seq(position), text);
    }
}

/// A rollout's id as the value of a label.
fn label_value(text: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let legal: String = text.chars().map(legal).take(63).collect();
    legal.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::fixture::{Builder, cell, rules};
    use crate::judge;

    fn found(builder: &Builder) -> usize {
        judge(&builder.record(), &rules()).iter().filter(|violation| violation.invariant == "S16").count()
    }

    fn child(rollout: &str, step: &str, phase: &str) -> Value {
        let labels = json!({"cell": "web", "okra.mumo.co/rollout": rollout, "okra.mumo.co/step-index": step});
        json!({"metadata": {"labels": labels}, "status": {"phase": phase}})
    }

    #[test]
    fn a_step_has_one_live_child() {
        let with = |kind: &str, first: &str, second: &Value| {
            let mut builder = Builder::default();
            builder.object(kind, "one", child("2-7", "1", first));
            builder.object(kind, "two", second.clone());
            found(&builder)
        };
        for (kind, live, over) in [("Pause", "Started", "Expired"), ("AnalysisRun", "Running", "Failed")] {
            assert_eq!(with(kind, live, &child("2-7", "1", live)), 1, "{kind}");
            assert_eq!(with(kind, over, &child("2-7", "1", live)), 0, "{kind}: the first is over");
            assert_eq!(with(kind, live, &child("2-7", "2", live)), 0, "{kind}: another step");
            assert_eq!(with(kind, live, &child("2-8", "1", live)), 0, "{kind}: another rollout");
        }
    }

    #[test]
    fn a_child_that_is_gone_makes_room() {
        let mut builder = Builder::default();
        builder.object("Pause", "one", child("2-7", "1", "Started"));
        builder.object("Pause", "one", Value::Null);
        builder.object("Pause", "two", child("2-7", "1", "Started"));
        assert_eq!(found(&builder), 0);
    }

    #[test]
    fn a_child_of_another_rollout_carries_an_old_verdict() {
        let waits = |rollout: &str| {
            let mut builder = Builder::default();
            builder.object("AnalysisRun", "web-r7-1-analysis", child(rollout, "1", "Successful"));
            let rollout = json!({"id": "2-7", "currentStepRun": "web-r7-1-analysis"});
            builder.object("Cell", "web", cell(json!({"rollout": rollout})));
            found(&builder)
        };
        assert_eq!((waits("2-7"), waits("2-6")), (0, 1));
    }

    #[test]
    fn a_verdict_from_the_time_of_another_rollout_is_old() {
        let waits = |owners: &Value, again: bool| {
            let mut builder = Builder::default();
            let object = json!({"metadata": {"ownerReferences": owners}, "status": {"phase": "Successful"}});
            builder.object("AnalysisRun", "run", object.clone());
            builder.object("Cell", "web", cell(json!({"rollout": {"id": "2-6"}})));
            if again {
                builder.object("AnalysisRun", "run", Value::Null);
                builder.object("AnalysisRun", "run", object);
            }
            builder.object("Cell", "web", cell(json!({"rollout": {"id": "2-7", "currentStepRun": "run"}})));
            found(&builder)
        };
        let owned = json!([{"kind": "Cell", "name": "web", "uid": "u-web"}]);
        assert_eq!(waits(&owned, false), 1);
        assert_eq!(waits(&owned, true), 0, "it was made anew");
        assert_eq!(waits(&json!([]), false), 0, "a person made it ahead of time");
    }
}
