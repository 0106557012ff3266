//! Nothing happens: what okrad asks of the API server and of AWS, its processor time and its memory.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::json;

use crate::{
    RunArgs,
    audit::Requests,
    fleet::{CELLS_PER_LISTENER, Fleet},
    process,
    report::{Aim, Report},
    rig::{Okrad, Rates, Rig},
};

/// What `--only` calls it.
pub const NAME: &str = "rest";
/// What it does.
pub const ABOUT: &str = "all Cells serve and nothing is due; okrad was started anew before";

/// Of `--drift-interval`, as it is by default: one reading of each listener in this time.
const DRIFT: Duration = Duration::from_mins(5);
/// For how long the aims speak of rest.
const FULL: Duration = Duration::from_mins(10);
/// A Cell takes four API requests to begin and okrad about ten to serve it.
const SERVE_PER_CELL: Duration = Duration::from_millis(150);

/// Runs it.
pub async fn run(args: &RunArgs, report: &mut Report) -> anyhow::Result<()> {
    for &count in &args.cells {
        measure(args, count, report).await?;
    }
    Ok(())
}

async fn measure(args: &RunArgs, count: usize, report: &mut Report) -> anyhow::Result<()> {
    let mut rig = Rig::start(&args.okrad).await?;
    let okrad = rig.okrad("okrad", Rates::Off, &[]).await?;
    let fleet = Fleet::new(&rig, count, args.per_namespace).await;
    let begun = Instant::now();
    let within = Duration::from_mins(2) + SERVE_PER_CELL * count as u32;
    fleet.serve(&rig, &json!([{"setWeight": 50}]), within).await?;
    let name = |what: &str| format!("{count} Cells: {what}");
    let took = (begun.elapsed().as_secs_f64(), "s");
    report.add(NAME, &name("created and served"), took, None, "as fast as the API server takes them");
    let (_, most) = process::memory(okrad.process.pid())?;
    report.add(NAME, &name("most memory while they began"), (most, "MiB"), None, "");
    okrad.stop().await?;

    // With its limits, as in production: without them it would look at all Cells at once.
    let okrad = rig.okrad("okrad", Rates::Aws, &[]).await?;
    let ready = (okrad.ready_after.as_secs_f64(), "s");
    report.add(NAME, &name("start to ready"), ready, bounded(count, 3.0, 10.0), "");
    // After a start each Cell is looked at once.
    rig.quiet(Duration::from_secs(15), within).await?;
    rest(args, report, &rig, &okrad, count).await?;
    okrad.stop().await
}

/// The aim of a thousand and of ten thousand Cells.
fn bounded(count: usize, thousand: f64, ten_thousand: f64) -> Option<Aim> {
    match count {
        0..=1_000 => Some(Aim::AtMost(thousand)),
        1_001..=10_000 => Some(Aim::AtMost(ten_thousand)),
        _ => None,
    }
}

async fn rest(args: &RunArgs, report: &mut Report, rig: &Rig, okrad: &Okrad, count: usize) -> anyhow::Result<()> {
    let (pid, span) = (okrad.process.pid(), args.rest());
    let (mark, from, cpu) = (rig.stub.mark(), Timestamp::now(), process::cpu_time(pid)?);
    tokio::time::sleep(span).await;
    let (to, used) = (Timestamp::now(), process::cpu_time(pid)?.saturating_sub(cpu));
    let (resident, most) = process::memory(pid)?;

    let mut calls: BTreeMap<String, u64> = BTreeMap::new();
    for call in rig.stub.calls_since(mark) {
        *calls.entry(call.operation).or_default() += 1;
    }
    let requests = Requests::of(&rig.server.audit(), "okrad", from, to);
    let readings = calls.get("DescribeRules").copied().unwrap_or_default();
    let others = calls.values().sum::<u64>() - readings;
    let listeners = count.div_ceil(CELLS_PER_LISTENER);
    let looks = span.as_secs().div_ceil(DRIFT.as_secs());
    let short = if span < FULL { format!("short: {} s instead of 10 min", span.as_secs()) } else { String::new() };

    let name = |what: &str| format!("{count} Cells: {what}");
    let mut add = |what: &str, value: (f64, &str), aim: Option<Aim>| report.add(NAME, &name(what), value, aim, &short);
    add("API writes", (requests.writes() as f64, "writes"), Some(Aim::AtMost(0.0)));
    add("API requests", (requests.total() as f64, "requests"), None);
    let most_readings = Some(Aim::AtMost((listeners as u64 * looks) as f64));
    add("DescribeRules", (readings as f64, "calls"), most_readings);
    add("other AWS calls", (others as f64, "calls"), Some(Aim::AtMost(0.0)));
    let per_hour = used.as_secs_f64() * 3600.0 / span.as_secs_f64();
    let aim = (count <= 1_000).then_some(Aim::AtMost(10.0));
    add("processor time", (per_hour, "s an hour"), aim);
    add("resident memory", (resident, "MiB"), bounded(count, 40.0, 200.0));
    add("most memory since the start", (most, "MiB"), bounded(count, 60.0, 300.0));
    report.count(&name("AWS calls at rest"), calls);
    report.count(&name("API requests at rest"), requests.0);
    Ok(())
}
