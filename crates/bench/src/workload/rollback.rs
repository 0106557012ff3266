//! From the API server's answer to a person's request to abort to the arrival of the change that sends all traffic
//! back to the stable version.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde_json::json;

use crate::{
    RunArgs,
    fleet::{Fleet, Release, abort},
    report::Report,
    rig::{Rates, Rig},
    statistics::Sample,
};

/// What `--only` calls it.
pub const NAME: &str = "rollback";
/// What it does.
pub const ABOUT: &str = "rollouts at 50 % are aborted, on 1 and on 20 Cells at once";

const WITHIN: Duration = Duration::from_mins(3);
/// Cells at once, and rounds.
const RUNS: [(usize, u32); 2] = [(1, 30), (20, 5)];

/// Runs it.
pub async fn run(args: &RunArgs, report: &mut Report) -> anyhow::Result<()> {
    for (count, rounds) in RUNS {
        let sample = measure(args, count, rounds).await?;
        let note = format!("{} rollbacks", sample.len());
        for percent in [50, 99] {
            let what = format!("{count} at once: request to abort to ModifyRule p{percent}");
            report.add(NAME, &what, (sample.percentile(percent), "ms"), None, &note);
        }
    }
    Ok(())
}

async fn measure(args: &RunArgs, count: usize, rounds: u32) -> anyhow::Result<Sample> {
    let mut rig = Rig::start(&args.okrad).await?;
    let okrad = rig.okrad("okrad", Rates::Off, &[]).await?;
    let fleet = Fleet::new(&rig, count, count).await;
    fleet.serve(&rig, &json!([{"setWeight": 50}, {"pause": {}}]), WITHIN).await?;
    let mut took = Vec::new();
    for version in 2..=rounds + 2 {
        let releases = fleet.release(&rig, &fleet.seats, version).await?;
        fleet.until_paused(&rig, &fleet.seats, version, WITHIN).await?;
        rig.quiet(Duration::from_millis(500), WITHIN).await?;
        let mark = rig.stub.mark();
        let asked = try_join_all(releases.iter().map(|release| ask(&rig, release, version))).await?;
        // Until then nobody else asks the API server anything.
        rig.quiet(Duration::from_secs(1), WITHIN).await?;
        fleet.until_over(&rig, &fleet.seats, version, WITHIN).await?;
        let calls = rig.stub.calls_since(mark);
        if version > 2 {
            took.extend(asked.iter().filter_map(|asked| asked.until(&calls, |weight| weight == 0)));
        }
        fleet.retire(&rig, &fleet.seats, version).await?;
        rig.quiet(Duration::from_millis(500), WITHIN).await?;
    }
    okrad.stop().await?;
    let expected = count * rounds as usize;
    anyhow::ensure!(took.len() == expected, "of {expected} rollouts {} went back", took.len());
    Ok(Sample::new(took))
}

/// Asks to abort; the same release, with the time of the answer.
async fn ask(rig: &Rig, release: &Release, version: u32) -> anyhow::Result<Release> {
    let at: Instant = abort(rig, &release.seat, &format!("abort-{version}")).await?;
    Ok(Release { at, ..release.clone() })
}
