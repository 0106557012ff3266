//! API requests and AWS calls of one rollout of five steps, against the least that it can be done with.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use okra_testkit::apiserver::Options;
use serde_json::json;

use crate::{
    RunArgs,
    audit::Requests,
    fleet::Fleet,
    report::{Aim, Report},
    rig::{Rates, Rig},
};

/// What `--only` calls it.
pub const NAME: &str = "calls";
/// What it does.
pub const ABOUT: &str = "one rollout of five steps: setWeight 20, pause, setWeight 50, pause, setWeight 100";

const WITHIN: Duration = Duration::from_mins(2);
/// How far above the minimum is still well.
const LEEWAY: f64 = 1.25;

const STEPS: u64 = 5;
const WEIGHT_CHANGES: u64 = 3;
const PAUSES: u64 = 2;
const CANARY_GROUPS: u64 = 1;

/// Each change of the rule (one attaches the new groups at zero) is read before, written, and read back; each
/// canary group's health is looked at once.
const LEAST_CALLS: u64 = (WEIGHT_CHANGES + 1) * 3 + CANARY_GROUPS;
/// The Cell's status once a step and twice around them; the route object's spec and status once for each change of
/// the rule; each pause created and answered.
const LEAST_WRITES: u64 = (STEPS + 2) + 2 * (WEIGHT_CHANGES + 1) + 2 * PAUSES;

/// Runs it.
pub async fn run(args: &RunArgs, report: &mut Report) -> anyhow::Result<()> {
    let mut rig = Rig::start_on(&args.okrad, Options::default().audit_bodies()).await?;
    let okrad = rig.okrad("okrad", Rates::Off, &[]).await?;
    let fleet = Fleet::new(&rig, 1, 1).await;
    let pause = json!({"pause": {"duration": "1s"}});
    let steps = json!([{"setWeight": 20}, pause, {"setWeight": 50}, pause, {"setWeight": 100}]);
    fleet.serve(&rig, &steps, WITHIN).await?;
    // What the first version left to do is not the rollout's.
    rig.quiet(Duration::from_secs(3), WITHIN).await?;

    let (mark, from) = (rig.stub.mark(), Timestamp::now());
    fleet.release(&rig, &fleet.seats, 2).await?;
    fleet.until_stable(&rig, &fleet.seats, 2, WITHIN).await?;
    rig.quiet(Duration::from_secs(3), WITHIN).await?;
    let to = Timestamp::now();

    let mut calls: BTreeMap<String, u64> = BTreeMap::new();
    for call in rig.stub.calls_since(mark) {
        let refused = call.error.map(|code| format!(" ({code})")).unwrap_or_default();
        *calls.entry(format!("{}{refused}", call.operation)).or_default() += 1;
    }
    let events = rig.server.audit();
    let requests = Requests::of(&events, "okrad", from, to);
    tell(report, &calls, &requests);
    okrad.stop().await
}

fn tell(report: &mut Report, calls: &BTreeMap<String, u64>, requests: &Requests) {
    let total: u64 = calls.values().sum();
    report.count("AWS calls of one rollout", calls.clone());
    report.count("API requests of one rollout", requests.0.clone());
    let aim = |least: u64| Some(Aim::AtMost(least as f64 * LEEWAY));
    let note = format!("at least {LEAST_CALLS}");
    report.add(NAME, "AWS calls of one rollout", (total as f64, "calls"), aim(LEAST_CALLS), &note);
    let note = format!("at least {LEAST_WRITES}; without the Lease and {} events", requests.events());
    report.add(NAME, "API writes of one rollout", (requests.writes() as f64, "writes"), aim(LEAST_WRITES), &note);
    let all = (requests.total() as f64, "requests");
    report.add(NAME, "API requests of one rollout", all, None, "without the Lease");
}
