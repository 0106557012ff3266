//! S15: only a value passes. L3: a failed analysis leads back in time.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Findings;
use crate::case::{Calm, Case, Sighting, plus, share};
use crate::record::{Counted, Event, Measured};
use crate::rules::plain;
use crate::view::CellView;

pub(crate) fn only_values_pass(case: &Case<'_>, findings: &mut Findings) {
    for entry in &case.record.entries {
        let Event::Measurement(measurement) = &entry.event else { continue };
        findings.occasion();
        if measurement.measured != Measured::Value && measurement.counted == Counted::Passed {
            let (run, metric) = (&measurement.run, &measurement.metric);
            findings.breach(entry.seq, format!("run {run}: {metric}: {:?} counts as a pass", measurement.measured));
        }
    }
    let mut told: BTreeSet<(String, String, usize)> = BTreeSet::new();
    for run in case.of_kind("AnalysisRun") {
        for (metric, result) in results(run.object) {
            let measurements = result.get("measurements").and_then(Value::as_array).into_iter().flatten();
            for (number, measurement) in measurements.enumerate() {
                if !is_over(measurement) || !told.insert((run.key.clone(), metric.to_owned(), number)) {
                    continue;
                }
                findings.occasion();
                if let Some(what) = no_value(measurement).filter(|_| !asks_for_it(run.object, metric)) {
                    let text = format!("run {}: {metric}: {what} counts as a pass", run.key);
                    findings.breach(case.seq(run.position), text);
                }
            }
        }
        let bad = bad_metric(run.object).filter(|bad| told.insert((run.key.clone(), (*bad).to_owned(), usize::MAX)));
        if let Some(metric) = bad {
            let text = format!("run {}: it is successful, and its metric {metric} is not", run.key);
            findings.breach(case.seq(run.position), text);
        }
    }
}

fn results(run: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let results = run.pointer("/status/metricResults").and_then(Value::as_array).into_iter().flatten();
    results.map(|result| (result.get("name").and_then(Value::as_str).unwrap_or_default(), result))
}

fn is_over(measurement: &Value) -> bool {
    measurement.get("phase").and_then(Value::as_str).is_some_and(|phase| !matches!(phase, "Pending" | "Running" | ""))
}

/// What was measured, when it is no value and counts as a pass all the same.
fn no_value(measurement: &Value) -> Option<&'static str> {
    if measurement.get("phase").and_then(Value::as_str) != Some("Successful") {
        return None;
    }
    // Job and Kayenta measurements have none: their verdict is not computed from a value.
    let value = measurement.get("value").and_then(Value::as_str)?;
    match value.trim() {
        "" | "[]" | "{}" | "null" | "<nil>" => Some("an empty result"),
        value if value.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "NaN") => Some("NaN"),
        _ => None,
    }
}

/// Whether the metric's author says what NaN or an empty result means.
fn asks_for_it(run: &Value, metric: &str) -> bool {
    let metrics = run.pointer("/spec/metrics").and_then(Value::as_array).into_iter().flatten();
    let own = metrics.filter(|own| own.get("name").and_then(Value::as_str) == Some(metric));
    let conditions = own.flat_map(|own| ["successCondition", "failureCondition"].map(|name| own.get(name)));
    let mut conditions = conditions.flatten().filter_map(Value::as_str);
    conditions.any(|text| ["isNaN", "isNil", "len(", "default(", "nil"].iter().any(|word| text.contains(word)))
}

/// A metric that failed in a run that counts as successful.
fn bad_metric(run: &Value) -> Option<&str> {
    if run.pointer("/status/phase").and_then(Value::as_str) != Some("Successful") {
        return None;
    }
    let counts = |result: &Value| result.get("dryRun").and_then(Value::as_bool) != Some(true);
    let bad = |result: &Value| {
        let phase = result.get("phase").and_then(Value::as_str);
        phase.is_some_and(|phase| matches!(phase, "Failed" | "Error"))
    };
    results(run).find(|(_, result)| counts(result) && bad(result)).map(|(name, _)| name)
}

pub(crate) fn failures_lead_back(case: &Case<'_>, findings: &mut Findings) {
    let mut told: BTreeSet<&str> = BTreeSet::new();
    let runs = case.sightings.iter().filter(|seen| matches!(seen.kind, "AnalysisRun" | "Experiment"));
    for run in runs {
        let phase = run.object.pointer("/status/phase").and_then(Value::as_str);
        if !matches!(phase, Some("Failed" | "Error")) || !told.insert(&run.key) {
            continue;
        }
        let Some((key, cell)) = waits_for(case, run) else { continue };
        let limits = &case.rules.limits;
        let span = limits.metric_interval.saturating_add(limits.failure).saturating_add(case.rules.slack);
        let calms = case.calms();
        let due = |calm: &&Calm| !calm.cloud_gone && calm.till >= plus(run.at.max(calm.from), span);
        let Some(calm) = calms.iter().find(due) else { continue };
        findings.occasion();
        let by = plus(run.at.max(calm.from), span);
        let end = case.record.entries.partition_point(|entry| entry.at <= by).saturating_sub(1);
        if let Some(text) = not_back(case, key, cell, end) {
            findings.breach(case.seq(run.position), format!("cell {key}: {} failed, and {text}", run.key));
        }
    }
}

/// The Cell whose rollout waits for a run.
fn waits_for<'a>(case: &'a Case<'_>, run: &Sighting<'_>) -> Option<(&'a str, &'a CellView)> {
    let (namespace, name) = run.key.split_once('/')?;
    let cells = case.cells.keys().filter(|key| key.split('/').next() == Some(namespace));
    let waiting = cells.filter_map(|key| Some((key.as_str(), case.cell_at(key, run.position)?)));
    waiting.into_iter().find(|(key, cell)| {
        cell.moving().is_some_and(|rollout| {
            let background = rollout.analysis.is_some() && name == format!("{}bg", rollout.child_prefix(key));
            background || rollout.current_step_run.as_deref() == Some(name)
        })
    })
}

/// Why a Cell whose analysis failed is not where it should be.
fn not_back(case: &Case<'_>, key: &str, failed: &CellView, end: usize) -> Option<String> {
    let cell = case.cell_at(key, end)?;
    let (was, is) = (failed.moving()?, cell.status.rollout.as_ref()?);
    let asked = |cell: &CellView| cell.status.last_request.as_ref().map(|request| request.id.clone());
    // A person decided, or somebody else holds the route, or nobody could take the traffic.
    let excused = asked(cell) != asked(failed)
        || cell.says(&["ForeignEdit", "ForeignRule", "RuleTaken", "NothingHealthy", "NoTargetGroups"]);
    if was.id != is.id || excused {
        return None;
    }
    // A person may also have pinned another version: then it went back, and that is looked at below.
    if cell.spec.on_failure.as_deref() == Some("Hold") && !is.is_back() {
        let held = cell.status.hold.is_some() || cell.condition("Paused").is_some();
        return (!held).then(|| "it is not paused".to_owned());
    }
    if !is.is_back() {
        return Some("its rollout goes on".to_owned());
    }
    let canary = plain(&is.version);
    let weights = case.weights_at(key, end)?;
    let left = share(case.rules.cells.get(key)?, weights, &canary);
    (left > 0).then(|| format!("{canary} still has {} %", left / 10_000))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::fixture::{A, B, Builder, cell, rules};
    use crate::judge;
    use crate::record::{Counted, Event, Measured, Measurement, Quiet};

    fn found(builder: &Builder, invariant: &str) -> usize {
        judge(&builder.record(), &rules()).iter().filter(|violation| violation.invariant == invariant).count()
    }

    #[test]
    fn only_values_count_as_a_pass() {
        let count = |measured: Measured, counted: Counted| {
            let mut builder = Builder::default();
            let (run, metric) = ("default/run".to_owned(), "errors".to_owned());
            builder.event(Event::Measurement(Measurement { run, metric, measured, counted }));
            found(&builder, "S15")
        };
        assert_eq!(count(Measured::Value, Counted::Passed), 0);
        for measured in [Measured::NotANumber, Measured::Empty, Measured::Error, Measured::Timeout] {
            assert_eq!(count(measured, Counted::Passed), 1, "{measured:?}");
            assert_eq!(count(measured, Counted::Error), 0, "{measured:?}");
        }
    }

    fn run(value: &str, phase: &str, condition: &str) -> usize {
        let mut builder = Builder::default();
        let results = json!([{"name": "errors", "phase": phase, "measurements": [{"phase": phase, "value": value}]}]);
        let object = json!({
            "spec": {"metrics": [{"name": "errors", "successCondition": condition}]},
            "status": {"phase": "Running", "metricResults": results},
        });
        builder.object("AnalysisRun", "run", object.clone());
        builder.object("AnalysisRun", "run", object);
        found(&builder, "S15")
    }

    #[test]
    fn the_status_of_a_run_is_judged_too_and_once() {
        assert_eq!(run("0.01", "Successful", "result < 0.05"), 0);
        for value in ["NaN", "[NaN]", "", "[]", "null"] {
            assert_eq!(run(value, "Successful", "result < 0.05"), 1, "{value:?}");
            assert_eq!(run(value, "Error", "result < 0.05"), 0, "{value:?}");
        }
        assert_eq!(run("[NaN]", "Successful", "isNaN(result[0]) || result[0] < 0.05"), 0, "its author says so");
    }

    #[test]
    fn a_run_does_not_pass_with_a_failed_metric() {
        let with = |dry: bool| {
            let mut builder = Builder::default();
            let results = json!([{"name": "errors", "phase": "Failed", "dryRun": dry}]);
            builder.object("AnalysisRun", "r", json!({"status": {"phase": "Successful", "metricResults": results}}));
            found(&builder, "S15")
        };
        assert_eq!((with(true), with(false)), (0, 1));
    }

    /// An analysis fails, and the Cell is as given afterwards, with this share of the canary.
    fn fails(after: impl Fn(&mut Value), weights: &[(&str, i64)], calm: bool) -> usize {
        let mut builder = Builder::default();
        builder.create(&[(A, 100)]);
        builder.modify(&[(A, 80), (B, 20)]);
        let rollout = json!({
            "id": "2-7", "version": "2", "currentStepIndex": 1, "currentStepRun": "web-r7-1-analysis",
            "steps": [{"setWeight": 20}, {"analysis": {}}],
        });
        let mut object = cell(json!({"stableVersion": "1", "rollout": rollout}));
        builder.object("Cell", "web", object.clone());
        builder.object("AnalysisRun", "web-r7-1-analysis", json!({"status": {"phase": "Failed"}}));
        if calm {
            builder.event(Event::Quiet(Quiet::default()));
        }
        after(&mut object);
        builder.wait(-8);
        builder.object("Cell", "web", object);
        builder.wait(-10);
        builder.modify(weights);
        builder.wait(30);
        builder.event(Event::End);
        found(&builder, "L3")
    }

    const BACK: [(&str, i64); 2] = [(A, 100), (B, 0)];
    const STAYS: [(&str, i64); 2] = [(A, 80), (B, 20)];

    #[test]
    fn a_failure_leads_back_in_time() {
        let ended = |cell: &mut Value| cell["status"]["rollout"]["outcome"] = json!("Failed");
        assert_eq!(fails(ended, &BACK, true), 0);
        assert_eq!(fails(ended, &STAYS, true), 1, "the weights stay");
        assert_eq!(fails(|_| {}, &STAYS, true), 1, "the rollout goes on");
        assert_eq!(fails(|_| {}, &STAYS, false), 0, "faults go on");
    }

    #[test]
    fn a_failure_holds_where_that_is_asked_and_people_may_decide() {
        let held = |hold: bool| {
            move |cell: &mut Value| {
                cell["spec"] = json!({"onFailure": "Hold"});
                if hold {
                    cell["status"]["hold"] = json!({"reason": "HeldOnFailure"});
                }
            }
        };
        assert_eq!((fails(held(true), &STAYS, true), fails(held(false), &STAYS, true)), (0, 1));
        let pinned = |cell: &mut Value| {
            held(false)(cell);
            cell["status"]["rollout"]["outcome"] = json!("Superseded");
        };
        assert_eq!((fails(pinned, &BACK, true), fails(pinned, &STAYS, true)), (0, 1), "another version was pinned");
        let decided = |cell: &mut Value| cell["status"]["lastRequest"] = json!({"id": "r", "verb": "promote"});
        assert_eq!(fails(decided, &STAYS, true), 0);
    }
}
