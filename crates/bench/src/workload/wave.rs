//! 300 rollouts begin at once under AWS's true token buckets; midway 20 others are aborted one after the other, and
//! later 20 in the same moment.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use okra_testkit::stub::StubCall;
use serde_json::json;

use crate::{
    RunArgs,
    fleet::{Fleet, Release, Seat, abort},
    report::{Aim, Report},
    rig::{Rates, Rig},
    statistics::Sample,
};

/// What `--only` calls it.
pub const NAME: &str = "wave";
/// What it does.
pub const ABOUT: &str = "300 Cells swap at once under AWS's rates (about 6 minutes), and 40 others roll back midway";

const CELLS: usize = 300;
const ROLLBACKS: usize = 20;
/// Attach, 50 %, 100 %.
const CHANGES: usize = 3;
/// AWS's bucket of changes.
const BURST: f64 = 20.0;
const PER_SECOND: f64 = 3.0;
const WITHIN: Duration = Duration::from_mins(12);

/// Runs it.
pub async fn run(args: &RunArgs, report: &mut Report) -> anyhow::Result<()> {
    let mut rig = Rig::start(&args.okrad).await?;
    let fleet = Fleet::new(&rig, CELLS + 2 * ROLLBACKS, CELLS + 2 * ROLLBACKS).await;
    let (wave, victims) = fleet.seats.split_at(CELLS);
    let victims = prepare(&mut rig, &fleet, wave, victims).await?;

    rig.stub.set_buckets(true);
    let okrad = rig.okrad("okrad", Rates::Aws, &[]).await?;
    // After a start each Cell is looked at once, and then the buckets fill again.
    rig.quiet(Duration::from_secs(15), WITHIN).await?;
    let mark = rig.stub.mark();
    fleet.release(&rig, wave, 2).await?;
    let (one_by_one, at_once) = victims.split_at(ROLLBACKS);
    until_changes(&rig, mark, CELLS * CHANGES * 2 / 5).await?;
    let mut asked = Vec::new();
    for release in one_by_one {
        asked.push(ask(&rig, release).await?);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    until_changes(&rig, mark, CELLS * CHANGES * 7 / 10).await?;
    let burst = try_join_all(at_once.iter().map(|release| ask(&rig, release))).await?;
    fleet.until_stable(&rig, wave, 2, WITHIN).await?;
    let calls = rig.stub.calls_since(mark);
    tell(report, &calls, &asked, &burst)?;
    okrad.stop().await
}

/// All Cells serve version 1, and the victims stand at 50 % of version 2; done without limits, so that it takes
/// seconds.
async fn prepare(rig: &mut Rig, fleet: &Fleet, wave: &[Seat], victims: &[Seat]) -> anyhow::Result<Vec<Release>> {
    let okrad = rig.okrad("okrad", Rates::Off, &[]).await?;
    fleet.create_cells(rig, wave, &json!([{"setWeight": 50}])).await?;
    fleet.create_cells(rig, victims, &json!([{"setWeight": 50}, {"pause": {}}])).await?;
    fleet.release(rig, &fleet.seats, 1).await?;
    fleet.until_stable(rig, &fleet.seats, 1, WITHIN).await?;
    let releases = fleet.release(rig, victims, 2).await?;
    fleet.until_paused(rig, victims, 2, WITHIN).await?;
    rig.quiet(Duration::from_secs(2), WITHIN).await?;
    okrad.stop().await?;
    Ok(releases)
}

async fn until_changes(rig: &Rig, mark: usize, count: usize) -> anyhow::Result<()> {
    rig.stub.wait_for(mark, WITHIN, |calls| calls.iter().filter(|call| call.is_write()).count() >= count).await
}

async fn ask(rig: &Rig, release: &Release) -> anyhow::Result<Release> {
    let at: Instant = abort(rig, &release.seat, "abort").await?;
    Ok(Release { at, ..release.clone() })
}

fn tell(report: &mut Report, calls: &[StubCall], asked: &[Release], burst: &[Release]) -> anyhow::Result<()> {
    let throttled = calls.iter().filter(|call| call.error.as_deref() == Some("Throttling")).count();
    let changes: Vec<&StubCall> = calls.iter().filter(|call| call.is_write() && call.error.is_none()).collect();
    let (Some(first), Some(last)) = (changes.first(), changes.last()) else { anyhow::bail!("nothing was changed") };
    let span = last.at.saturating_duration_since(first.at).as_secs_f64();
    let share = changes.len() as f64 / (BURST + PER_SECOND * span) * 100.0;
    let reads = calls.len() - changes.len();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for call in calls {
        *counts.entry(call.operation.clone()).or_default() += 1;
    }
    report.count("AWS calls of the wave", counts);
    let note = format!("{} changes and {reads} reads in {span:.0} s", changes.len());
    report.add(NAME, "share of the write budget used", (share, "%"), Some(Aim::AtLeast(95.0)), &note);
    report.add(NAME, "throttled calls", (throttled as f64, "calls"), Some(Aim::AtMost(0.0)), "");
    let per_change = (reads as f64 / changes.len() as f64, "reads");
    let note = "the account's 10 calls a second allow 2.3 at 3 changes a second";
    report.add(NAME, "reads to a change", per_change, None, note);
    tell_rollbacks(report, "one a second", calls, asked, Some(Aim::AtMost(2000.0)), "")?;
    let note = "okrad's reserve of 16 changes lets the last of 20 through after 1.3 s";
    tell_rollbacks(report, "20 at once", calls, burst, Some(Aim::AtMost(2000.0)), note)
}

fn tell_rollbacks(
    report: &mut Report,
    how: &str,
    calls: &[StubCall],
    asked: &[Release],
    aim: Option<Aim>,
    note: &str,
) -> anyhow::Result<()> {
    let took: Vec<Duration> = asked.iter().filter_map(|asked| asked.until(calls, |weight| weight == 0)).collect();
    anyhow::ensure!(took.len() == asked.len(), "of {} rollouts {} went back", asked.len(), took.len());
    let took = Sample::new(took);
    for (percent, aim) in [(50, None), (100, aim)] {
        let name = if percent == 100 { "slowest".to_owned() } else { format!("p{percent}") };
        let what = format!("rollback, {how}: request to ModifyRule, {name}");
        report.add(NAME, &what, (took.percentile(percent), "ms"), aim, note);
    }
    Ok(())
}
