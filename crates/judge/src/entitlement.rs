//! S4: a canary gets no more than its step, and no step is passed whose analysis has not. S5: nobody but the stable
//! version and the canary gets more, and none becomes stable that never passed its steps. S6: a blocked version gets
//! nothing more.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::Findings;
use crate::case::{Case, CellState, Shift, exceeds, minus, plus};
use crate::rules::plain;
use crate::view::{CellView, Rollout, Step};

pub(crate) fn canary_keeps_to_its_step(case: &Case<'_>, findings: &mut Findings) {
    for shift in case.shifts().iter().chain(&case.decided_shifts()) {
        let states = case.states_around(shift.key, shift.position, shift.at);
        if !states.iter().any(|cell| cell.moving().is_some() && cell.stable().is_some()) {
            continue;
        }
        findings.occasion();
        let over: Vec<String> = states.iter().filter_map(|cell| over_its_step(cell, shift)).collect();
        let bad = states.iter().filter_map(|cell| despite_analysis(case, cell, shift));
        let bad: Vec<String> = bad.collect();
        for texts in [over, bad] {
            if let Some(text) = texts.first().filter(|_| texts.len() == states.len()) {
                findings.breach(shift.seq, format!("cell {}: {text}", shift.key));
            }
        }
    }
    for (key, states) in &case.cells {
        for pair in states.windows(2) {
            let [before, after] = pair else { continue };
            passed_without_verdict(case, key, before, after, findings);
        }
    }
}

fn over_its_step(cell: &CellView, shift: &Shift<'_>) -> Option<String> {
    let (rollout, stable) = (cell.open()?, cell.stable()?);
    let canary = plain(&rollout.version);
    // What a person accepted after a foreign edit counts until the next weight step.
    if stable == canary || !cell.status.accepted_weights.is_empty() || !shift.raises(&canary) {
        return None;
    }
    let (share, due) = (shift.share(&canary).0, rollout.due());
    exceeds(share, due).then(|| format!("{canary} is raised to {} %, and its step gives it {due} %", share / 10_000))
}

/// A raise although the background analysis had ended badly.
fn despite_analysis(case: &Case<'_>, cell: &CellView, shift: &Shift<'_>) -> Option<String> {
    let rollout = cell.moving()?;
    rollout.analysis.as_ref()?;
    if !shift.raises(&plain(&rollout.version)) {
        return None;
    }
    let name = format!("{}bg", rollout.child_prefix(shift.key));
    let phase = phase_of(case, shift.key, &name, shift.position, minus(shift.at, case.rules.slack))?;
    matches!(phase, "Failed" | "Error" | "Inconclusive")
        .then(|| format!("{} is raised although AnalysisRun {name} ended {phase}", rollout.version))
}

/// The phase of a run in a Cell's namespace, as it was seen last.
fn phase_of<'a>(case: &'a Case<'_>, cell: &str, name: &str, position: usize, till: Timestamp) -> Option<&'a str> {
    let namespace = cell.split('/').next().unwrap_or_default();
    let key = format!("{namespace}/{name}");
    let mut runs = case.sightings.iter().filter(|seen| matches!(seen.kind, "AnalysisRun" | "Experiment"));
    let seen = runs.rfind(|seen| seen.key == key && seen.position <= position && seen.at <= till)?;
    seen.object.pointer("/status/phase").and_then(Value::as_str)
}

fn passed_without_verdict(case: &Case<'_>, key: &str, before: &CellState, after: &CellState, findings: &mut Findings) {
    let (Some(was), Some(is)) = (&before.view, &after.view) else { return };
    let (Some(old), Some(new)) = (&was.status.rollout, &is.status.rollout) else { return };
    let Some(entry) = case.record.entries.get(after.position) else { return };
    if old.id != new.id || new.index() <= old.index() {
        return;
    }
    if let Some(by_nobody) = promoted(was, is) {
        findings.occasion();
        if by_nobody {
            findings.breach(entry.seq, format!("cell {key}: a step is skipped, and no name says who did it"));
        }
        return;
    }
    let previous = new.previous_version.as_deref().map(plain);
    if previous.is_some_and(|previous| case.is_gone(key, &previous, after.position)) {
        return;
    }
    let steps = new.steps();
    let passed = steps.iter().enumerate().take(new.index()).skip(old.index());
    for (step, _) in passed.filter(|(_, step)| **step == Step::Verdict) {
        let Some(passed) = verdict_of(case, key, old, step, after) else { continue };
        findings.occasion();
        if !passed {
            findings.breach(entry.seq, format!("cell {key}: step {step} is passed, and its analysis has not"));
        }
    }
}

/// Whether a person's request explains that a step was left, and if so whether it was nobody's.
fn promoted(was: &CellView, is: &CellView) -> Option<bool> {
    let request = is.status.last_request.as_ref()?;
    let new = was.status.last_request.as_ref().is_none_or(|last| last.id != request.id);
    let lets_go = matches!(request.verb.as_str(), "promote" | "resume");
    let by = is.status.rollout.as_ref().map(|rollout| rollout.by.as_str()).unwrap_or_default();
    (new && lets_go && request.was_accepted()).then(|| {
        // A pause that is over is no promotion: nobody skips anything.
        request.verb == "promote" && request.user.is_empty() && by.is_empty()
    })
}

/// Whether the verdict of a step was a pass; `None`: no run of this rollout was ever seen, so it cannot be told.
fn verdict_of(case: &Case<'_>, key: &str, rollout: &Rollout, step: usize, after: &CellState) -> Option<bool> {
    let namespace = key.split('/').next().unwrap_or_default();
    let prefix = format!("{namespace}/{}", rollout.child_prefix(key));
    let waited = rollout.current_step_run.as_ref().filter(|_| step == rollout.index());
    let waited = waited.map(|name| format!("{namespace}/{name}"));
    let own = ["analysis", "experiment"].map(|suffix| format!("{prefix}{step}-{suffix}"));
    let runs = case.sightings.iter().filter(|seen| matches!(seen.kind, "AnalysisRun" | "Experiment"));
    let till = plus(after.at, case.rules.slack);
    let mut any = false;
    let passed = runs
        .filter(|seen| seen.at <= till && (own.contains(&seen.key) || waited.as_ref() == Some(&seen.key)))
        .filter_map(|seen| seen.object.pointer("/status/phase"))
        .any(|phase| phase == "Successful");
    any |= case.sightings.iter().any(|seen| matches!(seen.kind, "AnalysisRun" | "Experiment"));
    any.then_some(passed)
}

pub(crate) fn only_who_passed_gets_more(case: &Case<'_>, findings: &mut Findings) {
    for shift in case.shifts() {
        let states = case.states_around(shift.key, shift.position, shift.at);
        for version in shift.raised() {
            let knows = |cell: &&&CellView| cell.stable().is_some() || cell.open().is_some();
            if states.is_empty() || states.iter().find(knows).is_none() {
                continue;
            }
            findings.occasion();
            let entitled = |cell: &&CellView| {
                let canary = cell.open().map(|rollout| plain(&rollout.version));
                cell.stable().as_deref() == Some(version) || canary.as_deref() == Some(version)
            };
            if !states.iter().any(entitled) {
                let text = format!("{version} gets more, and it is neither stable nor the version of the rollout");
                findings.breach(shift.seq, format!("cell {}: {text}", shift.key));
            }
        }
    }
    for (key, states) in &case.cells {
        let known: Vec<&CellState> = states.iter().filter(|state| state.view.is_some()).collect();
        for pair in known.windows(2) {
            let [before, after] = pair else { continue };
            let (Some(was), Some(is)) = (&before.view, &after.view) else { continue };
            let (Some(old), Some(new)) = (was.stable(), is.stable()) else { continue };
            let Some(entry) = case.record.entries.get(after.position).filter(|_| old != new) else { continue };
            findings.occasion();
            if !earned(is, &new) {
                findings.breach(entry.seq, format!("cell {key}: {new} is stable, and its steps were not done"));
            }
        }
    }
}

/// Whether a version passed all its steps, as the Cell tells it.
fn earned(cell: &CellView, version: &str) -> bool {
    let rollout = cell.status.rollout.as_ref().filter(|rollout| plain(&rollout.version) == version);
    let done = rollout.is_some_and(|rollout| {
        rollout.outcome.as_deref() == Some("Succeeded") && rollout.index() >= rollout.steps().len()
    });
    // A later rollout may have begun before anybody looked again.
    let later = cell.status.rollout.as_ref().is_none_or(|rollout| plain(&rollout.version) != version);
    let recorded =
        cell.status.history.iter().any(|ended| plain(&ended.version) == version && ended.outcome == "Succeeded");
    done || (later && recorded)
}

/// Since when the blocklist of a Cell has named each version.
fn listed(case: &Case<'_>, cell: &str, position: usize) -> BTreeMap<String, Timestamp> {
    let mut since: BTreeMap<String, Timestamp> = BTreeMap::new();
    let lists = case.of_kind("VersionBlocklist").filter(|seen| seen.key == cell && seen.position < position);
    for seen in lists {
        let items = seen.object.pointer("/spec/items").and_then(Value::as_array).into_iter().flatten();
        let named = items.filter_map(|item| item.get("version").and_then(Value::as_str)).map(plain);
        let now: BTreeMap<String, Timestamp> =
            named.map(|version| (version.clone(), since.get(&version).copied().unwrap_or(seen.at))).collect();
        since = now;
    }
    since
}

pub(crate) fn blocked_versions_get_nothing(case: &Case<'_>, findings: &mut Findings) {
    for shift in case.shifts() {
        let states = case.states_around(shift.key, shift.position, shift.at);
        if states.is_empty() {
            continue;
        }
        let listed = listed(case, shift.key, shift.position);
        // What a person puts on the list is not seen at once; after this time it must be.
        let seen_by = minus(shift.at, plus_span(case));
        for version in shift.raised() {
            let known = |cell: &CellView| cell.status.blocked_versions.iter().any(|blocked| plain(blocked) == version);
            let long_listed = listed.get(version).is_some_and(|since| *since <= seen_by);
            if states.iter().any(|cell| !cell.status.blocked_versions.is_empty()) || !listed.is_empty() {
                findings.occasion();
            }
            let wrong = |cell: &CellView| {
                let pinned = cell.spec.version.as_deref().map(plain).as_deref() == Some(version);
                // The version that serves takes back what another one had: traffic must go somewhere.
                let serves = cell.stable().as_deref() == Some(version);
                (known(cell) || long_listed) && !pinned && !serves
            };
            if states.iter().all(|cell| wrong(cell)) {
                findings.breach(shift.seq, format!("cell {}: {version} is blocked and gets more", shift.key));
            }
        }
    }
}

fn plus_span(case: &Case<'_>) -> jiff::SignedDuration {
    case.rules.slack.saturating_add(case.rules.limits.weights)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::fixture::{A, A2, B, B2, Builder, cell, rules};
    use crate::judge;

    const C: &str = "arn:c";

    fn found(builder: &Builder) -> Vec<&'static str> {
        let mut rules = rules();
        rules.cells.get_mut("default/web").unwrap().versions.insert(C.to_owned(), "3.0.0".to_owned());
        rules.cells.get_mut("default/web").unwrap().shares.extend([60, 80]);
        let entitlement = |invariant: &&str| ["S4", "S5", "S6", "S7"].contains(invariant);
        judge(&builder.record(), &rules).iter().map(|v| v.invariant).filter(entitlement).collect()
    }

    /// Version 1 serves and the groups of all versions are healthy and attached.
    fn attached() -> Builder {
        let mut builder = Builder::default();
        builder.create(&[(A, 100)]);
        for group in [A, B, B2, C] {
            builder.health(group, 3, 3);
        }
        builder.modify(&[(A, 100), (B, 0)]);
        builder
    }

    /// A rollout of 2 over 20, an analysis, and 40, at this step.
    fn at(index: u64, more: &Value) -> Value {
        let steps = json!([{"setWeight": 20}, {"analysis": {}}, {"setWeight": 40}]);
        let mut rollout =
            json!({"id": "2-7", "version": "2", "previousVersion": "1", "currentStepIndex": index, "steps": steps});
        for (key, value) in more.as_object().into_iter().flatten() {
            rollout[key] = value.clone();
        }
        json!({"stableVersion": "1", "rollout": rollout})
    }

    #[test]
    fn a_canary_keeps_to_its_step() {
        let mut builder = attached();
        builder.object("Cell", "web", cell(at(0, &json!({}))));
        builder.modify(&[(A, 80), (B, 20)]);
        assert!(found(&builder).is_empty());
        builder.modify(&[(A, 60), (B, 40)]);
        assert_eq!(found(&builder), ["S4"]);
        let mut builder = attached();
        builder.object("Cell", "web", cell(at(3, &json!({}))));
        builder.modify(&[(A, 0), (B, 100)]);
        assert!(found(&builder).is_empty(), "all steps are done");
    }

    #[test]
    fn a_decision_is_held_to_the_step_too() {
        let mut builder = attached();
        builder.object("Cell", "web", cell(at(0, &json!({}))));
        builder.decision(4, &[(A, 80), (B, 20)]);
        assert!(found(&builder).is_empty());
        builder.decision(4, &[(A, 60), (B, 40)]);
        assert_eq!(found(&builder), ["S4"]);
    }

    #[test]
    fn lowering_and_accepted_weights_are_no_raise() {
        let mut builder = attached();
        builder.object("Cell", "web", cell(at(0, &json!({}))));
        builder.foreign(&[(A, 20), (B, 80)]);
        builder.modify(&[(A, 40), (B, 60)]);
        assert!(found(&builder).is_empty());
        let mut status = at(0, &json!({}));
        status["acceptedWeights"] = json!({"b": 80});
        builder.object("Cell", "web", cell(status));
        builder.modify(&[(A, 20), (B, 80)]);
        assert!(found(&builder).is_empty());
    }

    fn after_analysis(phase: &str, request: &Value) -> Vec<&'static str> {
        let mut builder = attached();
        builder.object("Cell", "web", cell(at(1, &json!({"currentStepRun": "web-r7-1-analysis"}))));
        builder.object("AnalysisRun", "web-r7-1-analysis", json!({"status": {"phase": phase}}));
        let mut status = at(2, &json!({}));
        status["lastRequest"] = request.clone();
        builder.object("Cell", "web", cell(status));
        found(&builder)
    }

    #[test]
    fn a_step_is_passed_only_with_its_analysis_or_by_a_person() {
        assert!(after_analysis("Successful", &Value::Null).is_empty());
        for phase in ["Failed", "Error", "Inconclusive", "Running"] {
            assert_eq!(after_analysis(phase, &Value::Null), ["S4"], "{phase}");
        }
        let by = |user: &str| json!({"id": "r", "verb": "promote", "user": user, "accepted": true});
        assert!(after_analysis("Failed", &by("ann")).is_empty());
        assert_eq!(after_analysis("Failed", &by("")), ["S4"], "nobody's name");
        let refused = json!({"id": "r", "verb": "promote", "user": "ann", "accepted": false});
        assert_eq!(after_analysis("Failed", &refused), ["S4"]);
    }

    #[test]
    fn a_fall_back_passes_steps_when_no_group_of_the_version_before_is_there() {
        let with = |other_is_there: bool| {
            let mut builder = attached();
            builder.object("AWSTargetGroup", "a", json!({"spec": {"arn": A}}));
            if other_is_there {
                builder.object("AWSTargetGroup", "a2", json!({"spec": {"arn": A2}}));
            }
            builder.object("Cell", "web", cell(at(1, &json!({"currentStepRun": "web-r7-1-analysis"}))));
            builder.object("AnalysisRun", "web-r7-1-analysis", json!({"status": {"phase": "Running"}}));
            builder.object("AWSTargetGroup", "a", Value::Null);
            builder.object("Cell", "web", cell(at(3, &json!({}))));
            found(&builder)
        };
        assert!(with(false).is_empty(), "the second one comes later, if at all");
        assert_eq!(with(true), ["S4"]);
    }

    #[test]
    fn a_bad_background_analysis_stops_raises() {
        let with = |phase: &str| {
            let mut builder = attached();
            builder.object("AnalysisRun", "web-r7-bg", json!({"status": {"phase": phase}}));
            builder.object("Cell", "web", cell(at(0, &json!({"analysis": {"templates": []}}))));
            builder.modify(&[(A, 80), (B, 20)]);
            found(&builder)
        };
        assert!(with("Running").is_empty());
        assert_eq!(with("Failed"), ["S4"]);
    }

    #[test]
    fn a_third_version_does_not_make_the_second_stable() {
        let third = json!({"id": "3-8", "version": "3", "currentStepIndex": 0, "steps": [{"setWeight": 20}]});
        let third = json!({"stableVersion": "1", "rollout": third});
        let mut builder = attached();
        builder.object("Cell", "web", cell(at(0, &json!({}))));
        builder.modify(&[(A, 80), (B, 20)]);
        builder.object("Cell", "web", cell(third));
        builder.modify(&[(A, 80), (B, 0), (C, 20)]);
        assert!(found(&builder).is_empty());
        builder.modify(&[(A, 0), (B, 80), (C, 20)]);
        assert_eq!(found(&builder), ["S5"]);
    }

    #[test]
    fn a_version_is_stable_only_after_its_steps() {
        let stable = |rollout: Value| {
            let mut builder = attached();
            builder.object("Cell", "web", cell(at(0, &json!({}))));
            builder.object("Cell", "web", cell(json!({"stableVersion": "2", "rollout": rollout})));
            found(&builder)
        };
        let steps = json!([{"setWeight": 20}]);
        let with = |index: u64, outcome: &str| json!({"id": "2-7", "version": "2", "currentStepIndex": index, "steps": steps, "outcome": outcome});
        assert!(stable(with(1, "Succeeded")).is_empty());
        assert_eq!(stable(with(0, "Succeeded")), ["S5"]);
        assert_eq!(stable(with(1, "Aborted")), ["S5"]);
    }

    #[test]
    fn a_blocked_version_gets_nothing_unless_it_serves_or_is_pinned() {
        let raise = |blocked: &str, pin: Option<&str>| {
            let mut builder = attached();
            let mut status = at(3, &json!({}));
            status["blockedVersions"] = json!([blocked]);
            let mut object = cell(status);
            object["spec"] = json!({"version": pin});
            builder.object("Cell", "web", object);
            builder.modify(&[(A, 0), (B, 100)]);
            builder.object("Cell", "web", cell(json!({"stableVersion": "1", "blockedVersions": [blocked]})));
            builder.modify(&[(A, 100), (B, 0)]);
            found(&builder)
        };
        assert_eq!(raise("2.0.0", None), ["S6"]);
        assert!(raise("2.0.0", Some("v2")).is_empty(), "pinned");
        assert!(raise("1.0.0", None).is_empty(), "it serves, and takes back what the other one had");
    }

    #[test]
    fn the_list_itself_blocks_once_there_was_time_to_see_it() {
        let mut builder = attached();
        builder.object("VersionBlocklist", "web", json!({"spec": {"items": [{"version": "v2"}]}}));
        builder.object("Cell", "web", cell(at(3, &json!({}))));
        builder.modify(&[(A, 80), (B, 20)]);
        assert!(found(&builder).is_empty());
        builder.wait(120);
        builder.modify(&[(A, 0), (B, 100)]);
        assert_eq!(found(&builder), ["S6"]);
    }

    #[test]
    fn without_the_cells_nothing_is_said() {
        let mut builder = attached();
        builder.modify(&[(A, 0), (C, 100)]);
        assert!(found(&builder).is_empty());
        let coverage = crate::coverage(&builder.record(), &rules());
        assert_eq!((coverage["S4"], coverage["S5"], coverage["S6"]), (0, 0, 0));
    }
}
