//! What a run waits for, in words.

use jiff::Timestamp;
use okra_api::analysis::{AnalysisRunSpec, AnalysisRunStatus, Metric};

use super::{
    assess::plain_metrics,
    measurement::in_flight,
    schedule::{Next, is_terminating, next},
};

/// A line for each metric: how many measurements there are, and when the next one is due.
pub fn report(spec: &AnalysisRunSpec, status: &AnalysisRunStatus, now: Timestamp) -> Vec<String> {
    let Ok(metrics) = plain_metrics(&spec.metrics, &spec.args) else { return vec![status.message.clone()] };
    let terminating = is_terminating(spec.terminate, status);
    metrics.iter().map(|metric| line(metric, status, terminating, now)).collect()
}

fn line(metric: &Metric, status: &AnalysisRunStatus, terminating: bool, now: Timestamp) -> String {
    let result = status.metric_results.iter().find(|result| result.name == metric.name);
    let count = result.map_or(0, |result| result.count);
    let of = metric.effective_count().map_or_else(|| count.to_string(), |all| format!("{count}/{all}"));
    let phase = result.filter(|result| result.phase.is_completed()).map(|result| result.phase);
    let next = match (phase, next(metric, status, terminating, false, now)) {
        (Some(phase), _) => phase.to_string(),
        (None, Next::At(at)) => {
            let what = if in_flight(result).is_some() { "looked at again" } else { "next" };
            format!("{what} at {}", at.strftime("%H:%M:%S"))
        }
        (None, Next::Due(_)) => "being measured".to_owned(),
        (None, Next::Nothing) => "waiting for the other metrics".to_owned(),
    };
    let errors = result.map_or(0, |result| result.consecutive_error);
    let errors = if errors > 0 { format!(", {errors} errors in a row") } else { String::new() };
    format!("{} {of} measurements{errors}; {next}", metric.name)
}

#[cfg(test)]
mod tests {
    use okra_api::RunPhase::{Error, Successful};
    use serde_json::json;

    use super::*;
    use crate::analysis::tests::rig::{Rig, answer, metric, run_of};

    #[test]
    fn a_run_says_what_it_waits_for() {
        let named = |name: &str, fields: serde_json::Value| {
            let mut fields = fields;
            fields["name"] = json!(name);
            metric(fields)
        };
        let mut rig = Rig::new(run_of(vec![
            named("rate", json!({"interval": "30s", "count": 5})),
            named("endless", json!({"interval": "1m"})),
            named("broken", json!({})),
            named("late", json!({"initialDelay": "1h"})),
            named("once", json!({})),
        ]));
        let lines = |rig: &Rig| report(&rig.spec, &rig.status(), rig.now);
        assert_eq!(lines(&rig)[0], "rate 0/5 measurements; being measured");
        rig.pass(|take| answer(if take.name == "broken" { Error } else { Successful }));
        assert_eq!(
            lines(&rig),
            [
                "rate 1/5 measurements; next at 14:13:50",
                "endless 1 measurements; next at 14:14:20",
                "broken 0/1 measurements, 1 errors in a row; next at 14:13:30",
                "late 0/1 measurements; next at 15:13:20",
                "once 1/1 measurements; Successful",
            ]
        );
        rig.spec.args = serde_json::from_value(json!([{"name": "x"}])).unwrap();
        rig.look();
        assert_eq!(lines(&rig), ["Unable to resolve metric arguments: argument \"x\" was not supplied"]);
    }
}
