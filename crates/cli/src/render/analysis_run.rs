//! AnalysisRuns: a list, a page with every measurement, and a line for each as it comes.

use jiff::Timestamp;
use okra_api::{
    AnalysisRun, RunPhase,
    analysis::{AnalysisRunStatus, Argument, Measurement, Metric, MetricResult},
};
use okra_core::analysis::report;

use super::{
    ListView,
    columns::{Column, Text, columns},
    lists::shortened,
    time::{clock_time, date_time, duration},
};
use crate::style::{Paint, Style, one_line};

/// The colour of a phase of an analysis.
pub fn run_paint(phase: RunPhase) -> Paint {
    match phase {
        RunPhase::Successful => Paint::Good,
        RunPhase::Failed | RunPhase::Error => Paint::Bad,
        RunPhase::Inconclusive => Paint::Warn,
        RunPhase::Running => Paint::Busy,
        RunPhase::Pending => Paint::Dim,
    }
}

fn phase_text(phase: RunPhase) -> Text {
    Text::new(phase.to_string(), run_paint(phase))
}

/// AnalysisRuns as lines of a table: `NAME PHASE METRICS LAST MESSAGE AGE`.
pub fn run_rows(runs: &[AnalysisRun], view: ListView<'_>) -> Vec<String> {
    let head = ["PHASE", "METRICS", "LAST VALUE", "MESSAGE"].map(Column::left).to_vec();
    let row = |run: &AnalysisRun| {
        let status = run.status.clone().unwrap_or_default();
        let most = |text: &str, most| if view.wide { text.to_owned() } else { shortened(text, most) };
        vec![
            status.phase.map_or_else(|| Text::new("Unseen", Paint::Dim), phase_text),
            Text::plain(tally(run, &status)),
            Text::plain(most(&last_value(&status), 30)),
            Text::plain(most(&status.message, 60)),
        ]
    };
    view.table(head, runs.iter().map(|run| (&run.metadata, row(run))).collect())
}

/// How many metrics are over, of how many.
fn tally(run: &AnalysisRun, status: &AnalysisRunStatus) -> String {
    let over = status.metric_results.iter().filter(|result| result.phase.is_completed()).count();
    format!("{over}/{} over", run.spec.metrics.len())
}

/// What was measured last, of whichever metric.
fn last_value(status: &AnalysisRunStatus) -> String {
    let measured = status.metric_results.iter().filter_map(|result| Some((result, result.measurements.last()?)));
    let last = measured.max_by_key(|(_, measurement)| measurement.finished_at);
    last.map_or_else(String::new, |(result, last)| format!("{} {}", result.name, last.value).trim_end().to_owned())
}

/// One measurement as it comes: `12:00:02  success-rate  Failed        [0.67]  message`. Metrics have so much room.
pub fn measurement_line(metric: &str, room: usize, measurement: &Measurement) -> String {
    let time = measurement.finished_at.map(clock_time).unwrap_or_default();
    let (metric, phase) = (one_line(metric), measurement.phase.as_str());
    let texts = [one_line(&measurement.value), one_line(&measurement.message)];
    let texts: Vec<String> = texts.into_iter().filter(|text| !text.is_empty()).collect();
    format!("{time}  {metric:<room$}  {phase:<12}  {}", texts.join("  ")).trim_end().to_owned()
}

/// Everything about one run: its verdict, its metrics, and what was measured.
pub fn render_run(run: &AnalysisRun, wide: bool, now: Timestamp, style: &Style) -> String {
    let status = run.status.clone().unwrap_or_default();
    let meta = &run.metadata;
    let name = [meta.namespace.as_deref(), meta.name.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("/");
    let phase = status.phase.map_or_else(
        || style.paint(Paint::Dim, "nobody has looked at it yet"),
        |phase| style.paint(run_paint(phase), phase.as_str()),
    );
    let mut lines = vec![format!("{} {}   {phase}", style.paint(Paint::Bold, "AnalysisRun"), one_line(&name))];
    if !status.message.is_empty() {
        lines.push(format!("Message:   {}", one_line(&status.message)));
    }
    if let Some(begun) = status.started_at {
        let took = duration(status.completed_at.unwrap_or(now).duration_since(begun));
        let took = if status.completed_at.is_some() { format!("took {took}") } else { format!("{took} ago") };
        lines.push(format!("Begun:     {}, {took}", date_time(begun)));
    }
    for owner in meta.owner_references.iter().flatten() {
        lines.push(format!("Made by:   {}/{}", owner.kind, owner.name));
    }
    for (at, arg) in run.spec.args.iter().enumerate() {
        lines.push(format!("{:<10} {}", if at == 0 { "Args:" } else { "" }, one_line(&argument(arg))));
    }
    if run.spec.terminate {
        lines.push("Asked to end before its time.".to_owned());
    }
    if !status.phase.is_some_and(RunPhase::is_completed) {
        for (at, line) in report(&run.spec, &status, now).iter().enumerate() {
            lines.push(format!("{:<10} {}", if at == 0 { "Waits:" } else { "" }, one_line(line)));
        }
    }
    lines.push(String::new());
    lines.extend(metrics(&run.spec.metrics, &status, style));
    let measured = measurements(&status, wide, style);
    if !measured.is_empty() {
        lines.push(String::new());
        lines.extend(measured);
    }
    lines.push(String::new());
    lines.join("\n")
}

fn argument(arg: &Argument) -> String {
    let secret = arg.value_from.as_ref().and_then(|source| source.secret_key_ref.as_ref());
    match (secret, &arg.value) {
        (Some(key), _) => format!("{} (key {} of Secret {})", arg.name, key.key, key.name),
        (None, Some(value)) => format!("{}={value}", arg.name),
        (None, None) => format!("{} (without a value)", arg.name),
    }
}

/// A line for each metric: how its measurements came out, and by which conditions.
fn metrics(metrics: &[Metric], status: &AnalysisRunStatus, style: &Style) -> Vec<String> {
    let head = [
        Column::left("METRIC"),
        Column::left("PHASE"),
        Column::right("TAKEN"),
        Column::right("GOOD"),
        Column::right("BAD"),
        Column::right("UNCLEAR"),
        Column::right("ERRORS"),
        Column::left("DECIDES"),
        Column::left("CONDITIONS"),
        Column::left("MESSAGE"),
    ];
    let row = |metric: &Metric| {
        let result = status.metric_results.iter().find(|result| result.name == metric.name);
        let unmeasured = MetricResult::default();
        let known = result.unwrap_or(&unmeasured);
        let taken = match metric.effective_count() {
            Some(all) => format!("{}/{all}", known.count),
            None => known.count.to_string(),
        };
        let conditions = [("good if", &metric.success_condition), ("bad if", &metric.failure_condition)];
        let conditions = conditions.into_iter().filter(|(_, condition)| !condition.is_empty());
        let conditions: Vec<String> = conditions.map(|(word, condition)| format!("{word} {condition}")).collect();
        vec![
            Text::plain(&metric.name),
            phase_text(known.phase),
            Text::plain(taken),
            Text::number(Some(known.successful)),
            Text::number(Some(known.failed)),
            Text::number(Some(known.inconclusive)),
            Text::number(Some(known.error)),
            Text::plain(if known.dry_run { "no" } else { "yes" }),
            Text::plain(conditions.join("; ")),
            Text::plain(&known.message),
        ]
    };
    columns(&head, &metrics.iter().map(row).collect::<Vec<_>>(), style)
}

/// A line for each measurement that is kept, in the order in which they were taken.
fn measurements(status: &AnalysisRunStatus, wide: bool, style: &Style) -> Vec<String> {
    let mut head = ["MEASURED", "METRIC", "PHASE", "VALUE", "MESSAGE"].map(Column::left).to_vec();
    if wide {
        head.extend(["TOOK", "METADATA"].map(Column::left));
    }
    let of = |result: &MetricResult| {
        let name = result.name.clone();
        result.measurements.iter().map(move |measurement| (name.clone(), measurement.clone())).collect::<Vec<_>>()
    };
    let mut taken: Vec<(String, Measurement)> = status.metric_results.iter().flat_map(of).collect();
    taken.sort_by_key(|(_, measurement)| measurement.started_at);
    let row = |(name, measurement): &(String, Measurement)| {
        let mut row = vec![
            Text::plain(measurement.finished_at.map(date_time).unwrap_or_default()),
            Text::plain(name),
            phase_text(measurement.phase),
            Text::plain(if wide { measurement.value.clone() } else { shortened(&measurement.value, 60) }),
            Text::plain(&measurement.message),
        ];
        if wide {
            let took = measurement.started_at.zip(measurement.finished_at);
            row.push(Text::plain(took.map(|(from, to)| duration(to.duration_since(from))).unwrap_or_default()));
            let metadata = measurement.metadata.iter().map(|(key, value)| format!("{key}={value}"));
            row.push(Text::plain(metadata.collect::<Vec<_>>().join(", ")));
        }
        row
    };
    let rows: Vec<_> = taken.iter().map(row).collect();
    if rows.is_empty() { Vec::new() } else { columns(&head, &rows, style) }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-11-20T12:02:00Z".parse().unwrap()
    }

    fn run(status: Value) -> AnalysisRun {
        let mut run: AnalysisRun = serde_json::from_value(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun",
            "metadata": {
                "name": "web-r2-1-analysis", "namespace": "shop", "creationTimestamp": "2026-11-20T12:00:00Z",
                "ownerReferences": [{"apiVersion": "okra.mumo.co/v1alpha1", "kind": "Cell", "name": "web", "uid": "u"}],
            },
            "spec": {
                "args": [
                    {"name": "version", "value": "2.0.0"},
                    {"name": "token", "valueFrom": {"secretKeyRef": {"name": "api", "key": "token"}}},
                ],
                "metrics": [
                    {"name": "success-rate", "interval": "30s", "count": 3, "successCondition": "result[0] >= 0.95",
                     "failureCondition": "result[0] < 0.5", "provider": {"web": {"url": "http://x"}}},
                    {"name": "latency", "interval": "1m", "provider": {"web": {"url": "http://x"}}},
                ],
            },
        }))
        .unwrap();
        run.status = serde_json::from_value(status).unwrap();
        run
    }

    fn failed() -> AnalysisRun {
        run(json!({
            "phase": "Failed", "startedAt": "2026-11-20T12:00:01Z", "completedAt": "2026-11-20T12:00:32Z",
            "message": "Metric \"success-rate\" assessed Failed due to failed (1) > failureLimit (0)",
            "metricResults": [{
                "name": "success-rate", "phase": "Failed", "count": 2, "successful": 1, "failed": 1,
                "measurements": [
                    {"phase": "Successful", "value": "[0.99]", "startedAt": "2026-11-20T12:00:00Z", "finishedAt": "2026-11-20T12:00:01Z"},
                    {"phase": "Failed", "value": "[0.31]", "startedAt": "2026-11-20T12:00:31Z", "finishedAt": "2026-11-20T12:00:32Z",
                     "metadata": {"warnings": "slow"}},
                ],
            }, {
                "name": "latency", "phase": "Successful", "error": 1, "dryRun": true,
                "measurements": [{"phase": "Error", "message": "connection \u{1b}[2Jrefused", "startedAt": "2026-11-20T12:00:00Z",
                                  "finishedAt": "2026-11-20T12:00:02Z"}],
            }],
        }))
    }

    #[test]
    fn a_page_has_every_measurement() {
        insta::assert_snapshot!(render_run(&failed(), false, now(), &Style::plain("okractl")));
        let wide = render_run(&failed(), true, now(), &Style::plain("okractl"));
        assert!(wide.contains("warnings=slow") && wide.contains("METADATA"), "{wide}");
    }

    #[test]
    fn a_run_that_goes_on_says_what_it_waits_for() {
        let style = Style::plain("okractl");
        let unseen = render_run(&run(Value::Null), false, now(), &style);
        assert!(unseen.starts_with("AnalysisRun shop/web-r2-1-analysis   nobody has looked at it yet\n"), "{unseen}");
        let running = run(json!({"phase": "Running", "startedAt": "2026-11-20T12:00:00Z"}));
        let running = render_run(&running, false, now(), &style);
        assert!(running.contains("Waits:     success-rate 0/3 measurements; being measured\n"), "{running}");
        assert!(running.contains("Begun:     2026-11-20 12:00:00Z, 2m ago\n"), "{running}");
    }

    #[test]
    fn runs_are_a_table() {
        let style = Style::plain("okractl");
        let view = ListView { namespaces: false, wide: false, now: now(), style: &style };
        insta::assert_snapshot!(run_rows(&[failed(), run(Value::Null)], view).join("\n"));
    }

    #[test]
    fn a_measurement_is_a_line() {
        let result = &failed().status.unwrap().metric_results[1];
        let line = measurement_line(&result.name, 8, &result.measurements[0]);
        assert_eq!(line, "12:00:02  latency   Error         connection  [2Jrefused");
    }
}
