//! From the end of the replica that leads to the first change by the other, with work waiting.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    RunArgs,
    fleet::Fleet,
    report::{Aim, Report},
    rig::{Rates, Rig},
};

/// What `--only` calls it.
pub const NAME: &str = "failover";
/// What it does.
pub const ABOUT: &str = "two replicas with a lease of 15 s; the leader is killed, and then one is stopped";

const WITHIN: Duration = Duration::from_mins(2);

/// Runs it.
pub async fn run(args: &RunArgs, report: &mut Report) -> anyhow::Result<()> {
    let mut rig = Rig::start(&args.okrad).await?;
    let mut first = rig.okrad("okrad", Rates::Off, &[]).await?;
    let ready = (first.ready_after.as_secs_f64() * 1e3, "ms");
    report.add(NAME, "start to ready without a Cell", ready, Some(Aim::AtMost(1000.0)), "the leader");
    let fleet = Fleet::new(&rig, 1, 1).await;
    fleet.serve(&rig, &json!([{"setWeight": 50}]), WITHIN).await?;
    let second = rig.okrad("okrad-2", Rates::Off, &[]).await?;
    rig.quiet(Duration::from_secs(2), WITHIN).await?;

    let (mark, killed) = (rig.stub.mark(), Instant::now());
    first.process.kill();
    fleet.release(&rig, &fleet.seats, 2).await?;
    let gap = first_change(&rig, mark, "okrad-2").await?.saturating_duration_since(killed);
    let note = "lease of 15 s; the work waits from the kill on";
    report.add(NAME, "leader killed to first change by the other", seconds(gap), Some(Aim::AtMost(20.0)), note);
    fleet.until_stable(&rig, &fleet.seats, 2, WITHIN).await?;

    let third = rig.okrad("okrad-3", Rates::Off, &[]).await?;
    rig.quiet(Duration::from_secs(2), WITHIN).await?;
    let (mark, asked) = (rig.stub.mark(), Instant::now());
    second.stop().await?;
    fleet.release(&rig, &fleet.seats, 3).await?;
    let gap = first_change(&rig, mark, "okrad-3").await?.saturating_duration_since(asked);
    let note = "from SIGTERM; the work waits from the end of the process on";
    report.add(NAME, "leader stopped to first change by the other", seconds(gap), Some(Aim::AtMost(2.0)), note);
    fleet.until_stable(&rig, &fleet.seats, 3, WITHIN).await?;
    third.stop().await
}

fn seconds(duration: Duration) -> (f64, &'static str) {
    (duration.as_secs_f64(), "s")
}

async fn first_change(rig: &Rig, mark: usize, caller: &str) -> anyhow::Result<Instant> {
    let mut at = None;
    rig.stub
        .wait_for(mark, WITHIN, |calls| {
            at = calls.iter().find(|call| call.is_write() && call.caller == caller).map(|call| call.at);
            at.is_some()
        })
        .await?;
    at.ok_or_else(|| anyhow::anyhow!("{caller} changed nothing"))
}
