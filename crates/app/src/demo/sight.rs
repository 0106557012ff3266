//! The demo at one moment, and how a line shows it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use okra_api::{
    AnalysisRun, Cell, Route, RouteOutcome,
    cell_status::{CellPhase, CellStatus, RolloutOutcome, RolloutStatus},
    condition::{self, TRAFFIC_VERIFIED},
    step::CanaryStep,
};

use super::load::Account;

/// The demo at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Sight {
    /// The Cell.
    pub(super) cell: Option<Arc<Cell>>,
    /// Its route object.
    pub(super) route: Option<Arc<Route>>,
    /// The AnalysisRun of the last rollout.
    pub(super) run: Option<Arc<AnalysisRun>>,
    /// Share of each version in percent, by the balancer's own table.
    pub(super) shares: BTreeMap<String, i32>,
    /// The requests.
    pub(super) account: Account,
    /// So many of them, counted from the first one, have all ended.
    pub(super) ended: u64,
}

impl Sight {
    /// The last value that was measured, in percent, of a rollout under way.
    fn measured(&self) -> Option<f64> {
        self.rollout().filter(|rollout| rollout.finished_at.is_none())?;
        let measurement = self.run.as_ref()?.status.as_ref()?.metric_results.first()?.measurements.last()?;
        let value: serde_json::Value = serde_json::from_str(&measurement.value).ok()?;
        value.get("successRate")?.as_f64().map(|rate| rate * 100.0)
    }

    fn status(&self) -> Option<&CellStatus> {
        self.cell.as_ref()?.status.as_ref()
    }

    fn rollout(&self) -> Option<&RolloutStatus> {
        self.status()?.rollout.as_ref()
    }

    /// Why the last rollout ended as it did.
    pub(super) fn reason(&self) -> &str {
        self.rollout().map_or("", |rollout| &rollout.reason)
    }

    /// Id of the last rollout.
    pub(super) fn rollout_id(&self) -> Option<&str> {
        self.rollout().map(|rollout| rollout.id.as_str())
    }

    /// Whether a version may not be rolled out again.
    pub(super) fn is_blocked(&self, label: &str) -> bool {
        self.status().is_some_and(|status| status.blocked_versions.iter().any(|blocked| blocked == label))
    }

    /// The share of a version.
    pub(super) fn share(&self, version: &str) -> i32 {
        self.shares.get(version).copied().unwrap_or(0)
    }

    /// What the Cell says it waits for.
    pub(super) fn message(&self) -> &str {
        self.status().map_or("okra has not looked at the Cell yet", |status| &status.message)
    }

    /// Whether a version serves alone, nothing is due, and the balancer answered so.
    pub(super) fn is_at_rest(&self, version: &str) -> bool {
        let rests = |phase: Option<CellPhase>| matches!(phase, Some(CellPhase::Healthy | CellPhase::Failed));
        let stable = self.status().is_some_and(|status| {
            rests(status.phase) && status.stable_version.as_deref().map(short).as_deref() == Some(version)
        });
        stable && self.share(version) == 100 && self.is_verified()
    }

    /// Whether the balancer answered with the weights that the Cell asks for.
    pub(super) fn is_verified(&self) -> bool {
        let cell = self.status().is_some_and(|status| condition::is_true(&status.conditions, TRAFFIC_VERIFIED));
        let route = self.route.as_ref().is_some_and(|route| {
            let status = route.status.clone().unwrap_or_default();
            status.outcome == Some(RouteOutcome::Verified) && status.observed_generation == route.metadata.generation
        });
        cell && route
    }

    /// How the rollout of a version ended, once its traffic rests.
    pub(super) fn outcome(&self, version: &str) -> Option<RolloutOutcome> {
        let rollout = self.rollout().filter(|rollout| short(&rollout.version) == version)?;
        rollout.finished_at.and(rollout.outcome)
    }

    /// What happens, in a few words.
    pub(super) fn what(&self) -> String {
        let Some(status) = self.status() else { return "okra looks".to_owned() };
        let moving = status.rollout.as_ref().filter(|rollout| rollout.finished_at.is_none());
        let Some(rollout) = moving else {
            let serves = status.stable_version.as_deref().map(|version| format!("{} serves", short(version)));
            return serves.unwrap_or_else(|| "waits for clusters".to_owned());
        };
        let version = short(&rollout.version);
        let index = usize::try_from(rollout.current_step_index).unwrap_or(0);
        match (rollout.outcome, rollout.steps.get(index)) {
            (Some(_), _) => format!("{version} goes back"),
            (None, Some(step)) => format!("{version} step {}/{}: {}", index + 1, rollout.steps_total, words(step)),
            (None, None) if rollout.previous_version.is_none() => format!("{version} is the first"),
            (None, None) => format!("{version} gets the rest"),
        }
    }

    /// How many requests failed, and by whom.
    fn failures(&self) -> String {
        let by = self.account.by_version.iter().filter(|(_, tally)| tally.failed > 0);
        let by: Vec<String> = by.map(|(version, tally)| format!("{version} {}", tally.failed)).collect();
        let by = if by.is_empty() { String::new() } else { format!(" ({})", by.join(", ")) };
        format!("{} failed{by}", self.account.failed)
    }

    /// Whether what happens is over as soon as the weights are there.
    pub(super) fn is_in_passing(&self) -> bool {
        let Some(rollout) = self.rollout().filter(|rollout| rollout.finished_at.is_none()) else {
            return self.status().is_none_or(|status| status.stable_version.is_none());
        };
        let step = usize::try_from(rollout.current_step_index).ok().and_then(|index| rollout.steps.get(index));
        rollout.outcome.is_none() && step.is_none_or(|step| step.pause.is_none())
    }

    /// One line: the time, what happens, the shares, and what became of the requests.
    pub(super) fn line(&self, elapsed: Duration) -> String {
        let shares = self.shares.iter().map(|(version, share)| format!("{version} {share:>3} %"));
        let shares = shares.collect::<Vec<_>>().join("  ");
        let answers = self.account.by_version.iter().map(|(version, tally)| format!("{version} {}", tally.answers));
        let answers = answers.collect::<Vec<_>>().join("  ");
        let Self { account, .. } = self;
        let failed = if account.failed == 0 { "0 failed".to_owned() } else { self.failures() };
        let requests = if account.sent == 0 { String::new() } else { format!("{answers}  {failed}") };
        let measured = self.measured().map_or_else(String::new, |percent| format!("  measured {percent:.0} %"));
        let time = elapsed.as_secs_f64();
        let line = format!("{time:>6.1} s  {:<25} {shares:<28} {requests}{measured}", self.what());
        line.trim_end().to_owned()
    }
}

/// `2.0.0` as `v2`.
fn short(version: &str) -> String {
    format!("v{}", version.split('.').next().unwrap_or(version))
}

fn words(step: &CanaryStep) -> String {
    if let Some(weight) = step.set_weight {
        return format!("setWeight {weight}");
    }
    let duration = step.pause.as_ref().and_then(|pause| pause.duration.as_ref());
    duration.map_or_else(|| "step".to_owned(), |duration| format!("pause {duration}"))
}

/// The share of each version in a table of weights. `version_of` knows the targets.
pub(super) fn shares<'a>(
    table: &BTreeMap<String, i32>,
    version_of: impl Fn(&str) -> Option<&'a str>,
) -> BTreeMap<String, i32> {
    let total: i32 = table.values().sum();
    let mut sums = BTreeMap::<String, i32>::new();
    for (target, weight) in table {
        *sums.entry(version_of(target).unwrap_or("unknown").to_owned()).or_default() += weight;
    }
    sums.into_iter().map(|(version, sum)| (version, if total == 0 { 0 } else { sum * 100 / total })).collect()
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;
    use crate::demo::load::Tally;

    fn sight(status: serde_json::Value) -> Sight {
        let cell: Cell = serde_json::from_value(json!({
            "apiVersion": "okra.mumo.co/v1alpha1",
            "kind": "Cell",
            "metadata": {"name": "web"},
            "spec": {"ingress": {"type": "Local"}},
            "status": status,
        }))
        .unwrap();
        let tally = |answers| Tally { answers, failed: 0 };
        Sight {
            cell: Some(Arc::new(cell)),
            route: None,
            run: None,
            shares: BTreeMap::from([("v1".to_owned(), 80), ("v2".to_owned(), 20)]),
            account: Account {
                sent: 130,
                failed: 1,
                by_version: BTreeMap::from([
                    ("v1".to_owned(), tally(120)),
                    ("v2".to_owned(), Tally { failed: 1, ..tally(9) }),
                ]),
                first_failure: None,
            },
            ended: 130,
        }
    }

    fn rollout(step: i32) -> serde_json::Value {
        json!({"rollout": {
            "id": "2.0.0-2", "version": "2.0.0", "previousVersion": "1.0.0", "startedAt": "2026-01-01T00:00:00Z",
            "strategy": "Canary", "currentStepIndex": step, "stepsTotal": 2, "stepStartedAt": "2026-01-01T00:00:00Z",
            "canaryWeight": 20, "steps": [{"setWeight": 20}, {"pause": {"duration": "3s"}}],
        }})
    }

    #[test]
    fn a_line_has_time_step_shares_and_requests() {
        let line = sight(rollout(1)).line(Duration::from_millis(3210));
        assert_eq!(
            line,
            "   3.2 s  v2 step 2/2: pause 3s     v1  80 %  v2  20 %           v1 120  v2 9  1 failed (v2 1)"
        );
    }

    #[test]
    fn what_happens_is_said_in_a_few_words() {
        let table = [
            (json!({}), "waits for clusters"),
            (json!({"stableVersion": "2.0.0"}), "v2 serves"),
            (rollout(0), "v2 step 1/2: setWeight 20"),
            (rollout(2), "v2 gets the rest"),
        ];
        for (status, expected) in table {
            assert_eq!(sight(status).what(), expected);
        }
    }

    #[test]
    fn shares_are_of_the_whole_table() {
        let table = BTreeMap::from([("a".to_owned(), 40), ("b".to_owned(), 40), ("c".to_owned(), 20)]);
        let version = |target: &str| Some(if target == "c" { "v2" } else { "v1" });
        assert_eq!(shares(&table, version), BTreeMap::from([("v1".to_owned(), 80), ("v2".to_owned(), 20)]));
        assert_eq!(shares(&BTreeMap::new(), version), BTreeMap::new());
    }
}
