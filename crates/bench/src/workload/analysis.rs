//! 10,000 queries of metrics a minute: what they cost, and how late they are. And from a bad answer to the arrival of
//! the change that sends all traffic back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use kube::{Api, api::PostParams};
use okra_api::{AnalysisRun, AnalysisTemplate};
use okra_testkit::scene::repository;
use serde_json::{Value, json};

use crate::{
    RunArgs,
    fleet::{AT_ONCE, Fleet},
    metrics::{Answer, Metrics},
    process,
    report::{Aim, Report},
    rig::{Rates, Rig},
    statistics::Sample,
};

/// What `--only` calls it.
pub const NAME: &str = "analysis";
/// What it does.
pub const ABOUT: &str = "10,000 queries a minute, and from a bad answer to the change that takes the traffic back";

/// Runs, the metrics of each, and how often each is measured: 10,000 queries a minute.
const RUNS: usize = 250;
const METRICS: usize = 4;
const INTERVAL: SignedDuration = SignedDuration::from_secs(6);
/// How long is measured, once all runs are measured in turn.
const SPAN: Duration = Duration::from_mins(1);
const WITHIN: Duration = Duration::from_mins(3);
/// Cells at once, and rounds, of the way back.
const WAYS_BACK: [(usize, u32); 2] = [(1, 20), (20, 3)];

/// Runs it.
pub async fn run(args: &RunArgs, report: &mut Report) -> anyhow::Result<()> {
    queries(args, report).await?;
    for (count, rounds) in WAYS_BACK {
        let sample = ways_back(args, count, rounds).await?;
        let note = format!("{} ways back", sample.len());
        for percent in [50, 99] {
            let what = format!("{count} at once: bad answer to ModifyRule p{percent}");
            let aim = (count == 1 && percent == 99).then_some(Aim::AtMost(50.0));
            report.add(NAME, &what, (sample.percentile(percent), "ms"), aim, &note);
        }
    }
    Ok(())
}

async fn rig(args: &RunArgs) -> anyhow::Result<(Rig, Metrics)> {
    let rig = Rig::start(&args.okrad).await?;
    rig.server.apply_crds(repository().join("config/crd-argo")).await;
    Ok((rig, Metrics::start().await?))
}

const EGRESS: [&str; 2] = ["--metric-egress-allow", "127.0.0.0/8"];

async fn queries(args: &RunArgs, report: &mut Report) -> anyhow::Result<()> {
    let (mut rig, metrics) = rig(args).await?;
    let namespace = rig.server.namespace("runs").await;
    let okrad = rig.okrad("okrad", Rates::Off, &EGRESS).await?;
    let api = Api::<AnalysisRun>::namespaced(rig.client.clone(), &namespace);
    let create = |index| {
        let (api, run) = (&api, analysis_run(index, &metrics));
        async move { api.create(&PostParams::default(), &run?).await.map(drop).context("failed to create a run") }
    };
    futures::stream::iter((0..RUNS).map(create)).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    // Twice: the first measurements are taken as fast as the runs appear.
    tokio::time::sleep(Duration::try_from(INTERVAL)? * 2).await;

    let pid = okrad.process.pid();
    // The last answer before is what the first of the span is due by.
    let before = metrics.take();
    let cpu = process::cpu_time(pid)?;
    tokio::time::sleep(SPAN).await;
    let answers = metrics.take();
    let used = process::cpu_time(pid)?.saturating_sub(cpu);
    let (resident, _) = process::memory(pid)?;
    okrad.stop().await?;

    let late = lateness(&before, &answers);
    let per_minute = answers.len() as f64 * 60.0 / SPAN.as_secs_f64();
    let wanted = (RUNS * METRICS) as f64 * 60.0 / INTERVAL.as_secs_f64();
    let note = format!("{RUNS} runs of {METRICS} metrics, every {INTERVAL:#}");
    report.add(NAME, "queries a minute", (per_minute, "queries"), Some(Aim::AtLeast(wanted * 0.99)), &note);
    for percent in [50, 99] {
        report.add(NAME, &format!("late against the schedule p{percent}"), (late.percentile(percent), "ms"), None, "");
    }
    let share = used.as_secs_f64() * 100.0 / SPAN.as_secs_f64();
    report.add(NAME, "processor time", (share, "% of a core"), None, "");
    report.add(NAME, "resident memory", (resident, "MiB"), None, "");
    Ok(())
}

/// How late each query was. It is due an interval after the one before was over, which the run's status keeps in whole
/// seconds; the answer takes no time here.
fn lateness(before: &[Answer], answers: &[Answer]) -> Sample {
    let mut last: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let mut late = Vec::new();
    for (counts, answer) in before.iter().map(|answer| (false, answer)).chain(answers.iter().map(|a| (true, a))) {
        let earlier = last.insert(&answer.metric, answer.asked);
        let due = earlier.and_then(|at| Timestamp::from_second(at.as_second()).ok()?.checked_add(INTERVAL).ok());
        if let Some(due) = due.filter(|_| counts) {
            late.push(Duration::try_from(answer.asked.duration_since(due)).unwrap_or_default());
        }
    }
    Sample::new(late)
}

fn analysis_run(index: usize, metrics: &Metrics) -> anyhow::Result<AnalysisRun> {
    let of_run = |metric| {
        json!({
            "name": format!("metric-{metric}"),
            "interval": format!("{}s", INTERVAL.as_secs()),
            "successCondition": "result.rate >= 0.95",
            "provider": {"web": {"url": format!("http://{}/run-{index}-{metric}", metrics.address)}},
        })
    };
    serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisRun",
        "metadata": {
            "name": format!("run-{index}"),
            "labels": {"argo-rollouts.argoproj.io/controller-instance-id": "okra"},
        },
        "spec": {"metrics": (0..METRICS).map(of_run).collect::<Vec<Value>>()},
    }))
    .context("failed to make a run")
}

fn template(metrics: &Metrics) -> anyhow::Result<AnalysisTemplate> {
    serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": {"name": "rate"},
        "spec": {
            "args": [{"name": "cell"}],
            "metrics": [{
                "name": "rate",
                "interval": "1s",
                "count": 600,
                "successCondition": "result.rate >= 0.95",
                "provider": {"web": {"url": format!("http://{}/{{{{args.cell}}}}", metrics.address)}},
            }],
        },
    }))
    .context("failed to make a template")
}

async fn ways_back(args: &RunArgs, count: usize, rounds: u32) -> anyhow::Result<Sample> {
    let (mut rig, metrics) = rig(args).await?;
    let okrad = rig.okrad("okrad", Rates::Off, &EGRESS).await?;
    let fleet = Fleet::new(&rig, count, count).await;
    let namespace = fleet.seats.first().context("a fleet has a Cell")?.namespace.clone();
    let templates = Api::<AnalysisTemplate>::namespaced(rig.client.clone(), &namespace);
    templates.create(&PostParams::default(), &template(&metrics)?).await?;
    let args = json!([{"name": "cell", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    let analysis = json!({"templates": [{"templateName": "rate"}], "args": args});
    fleet.serve(&rig, &json!([{"setWeight": 50}, {"analysis": analysis}]), WITHIN).await?;
    let names: Vec<String> = fleet.seats.iter().map(|seat| seat.name.clone()).collect();
    let mut took = Vec::new();
    for version in 2..=rounds + 1 {
        let releases = fleet.release(&rig, &fleet.seats, version).await?;
        until_measured(&metrics, &names).await?;
        let mark = rig.stub.mark();
        metrics.set_bad(names.iter().cloned().collect());
        fleet.until_over(&rig, &fleet.seats, version, WITHIN).await?;
        metrics.set_bad(BTreeSet::new());
        let (answers, calls) = (metrics.take(), rig.stub.calls_since(mark));
        for mut release in releases {
            let bad = answers.iter().find(|answer| answer.bad && answer.metric == release.seat.name);
            release.at = bad.context("a rollout ended without a bad answer")?.at;
            took.extend(release.until(&calls, |weight| weight == 0));
        }
        fleet.retire(&rig, &fleet.seats, version).await?;
        rig.quiet(Duration::from_millis(500), WITHIN).await?;
    }
    okrad.stop().await?;
    let expected = count * rounds as usize;
    anyhow::ensure!(took.len() == expected, "of {expected} rollouts {} went back", took.len());
    Ok(Sample::new(took))
}

/// Waits until each of these metrics was asked for, from now on.
async fn until_measured(metrics: &Metrics, names: &[String]) -> anyhow::Result<()> {
    let _old = metrics.take();
    let mut open: BTreeSet<&String> = names.iter().collect();
    let deadline = tokio::time::Instant::now() + WITHIN;
    while !open.is_empty() {
        anyhow::ensure!(tokio::time::Instant::now() < deadline, "{} Cells were not measured", open.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
        for answer in metrics.take() {
            open.remove(&answer.metric);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_query_is_due_an_interval_after_the_second_of_the_one_before() {
        let answer = |metric: &str, millis| Answer {
            metric: metric.to_owned(),
            asked: Timestamp::from_millisecond(millis).unwrap(),
            at: Instant::now(),
            bad: false,
        };
        let before = [answer("a", 10_900), answer("b", 11_000)];
        let late = lateness(&before, &[answer("a", 16_020), answer("b", 17_500), answer("a", 22_040)]);
        let all = [33, 66, 100].map(|percent| late.percentile(percent).round() as i64);
        assert_eq!((late.len(), all), (3, [20, 40, 500]));
    }
}
