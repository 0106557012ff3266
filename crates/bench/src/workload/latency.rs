//! From the API server's answer to the creation of a version's last target group to the arrival of the change that
//! attaches it, and of the change that gives it weight, at the load balancer.

use std::time::Duration;

use serde_json::json;

use crate::{
    RunArgs,
    fleet::Fleet,
    report::{Aim, Report},
    rig::{Rates, Rig},
    statistics::Sample,
};

/// What `--only` calls it.
pub const NAME: &str = "latency";
/// What it does.
pub const ABOUT: &str = "the last target group of a version is created for 1, 20 and 200 Cells at once";

const WITHIN: Duration = Duration::from_mins(3);
/// Cells at once, rounds, and the aim for the 99th percentile in milliseconds.
const RUNS: [(usize, u32, Option<f64>); 3] = [(1, 50, Some(100.0)), (20, 8, Some(500.0)), (200, 3, None)];

/// Runs it.
pub async fn run(args: &RunArgs, report: &mut Report) -> anyhow::Result<()> {
    for (count, rounds, aim) in RUNS {
        let (attached, weighted) = measure(args, count, rounds).await?;
        let note = format!("{} rollouts", attached.len());
        let name = |what: &str| format!("{count} at once: new group to {what}");
        for (percent, aim) in [(50, None), (99, aim)] {
            let what = name(&format!("ModifyRule p{percent}"));
            report.add(NAME, &what, (attached.percentile(percent), "ms"), aim.map(Aim::AtMost), &note);
        }
        for percent in [50, 99] {
            let what = name(&format!("first weight p{percent}"));
            report.add(NAME, &what, (weighted.percentile(percent), "ms"), None, &note);
        }
    }
    Ok(())
}

async fn measure(args: &RunArgs, count: usize, rounds: u32) -> anyhow::Result<(Sample, Sample)> {
    let mut rig = Rig::start(&args.okrad).await?;
    let okrad = rig.okrad("okrad", Rates::Off, &[]).await?;
    let fleet = Fleet::new(&rig, count, count).await;
    fleet.serve(&rig, &json!([{"setWeight": 50}]), WITHIN).await?;
    let (mut attached, mut weighted) = (Vec::new(), Vec::new());
    // The first round is for caches and connections, and not counted.
    for version in 2..=rounds + 2 {
        rig.quiet(Duration::from_millis(500), WITHIN).await?;
        let mark = rig.stub.mark();
        let releases = fleet.release(&rig, &fleet.seats, version).await?;
        // Until then nobody else asks the API server anything.
        rig.quiet(Duration::from_secs(1), WITHIN).await?;
        fleet.until_stable(&rig, &fleet.seats, version, WITHIN).await?;
        if version > 2 {
            let calls = rig.stub.calls_since(mark);
            attached.extend(releases.iter().filter_map(|new| new.until(&calls, |_| true)));
            weighted.extend(releases.iter().filter_map(|new| new.until(&calls, |weight| weight > 0)));
        }
        // An action holds five groups at most.
        fleet.retire(&rig, &fleet.seats, version - 1).await?;
    }
    okrad.stop().await?;
    let expected = count * rounds as usize;
    anyhow::ensure!(
        attached.len() == expected && weighted.len() == expected,
        "of {expected} new groups {} were attached and {} got weight",
        attached.len(),
        weighted.len()
    );
    Ok((Sample::new(attached), Sample::new(weighted)))
}
