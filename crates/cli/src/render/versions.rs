//! Versions: what role each plays and what share of the traffic it has.

use okra_api::{
    CellStatus,
    cell_status::{RolloutOutcome, RolloutStatus, TargetGroupState},
};

/// The rollout that is under way: it began and its traffic has not come to rest.
pub fn active(status: &CellStatus) -> Option<&RolloutStatus> {
    status.rollout.as_ref().filter(|rollout| rollout.finished_at.is_none())
}

/// Whether a rollout is on its way back: its end is decided and is not success.
pub fn is_on_its_way_back(rollout: &RolloutStatus) -> bool {
    rollout.outcome.is_some_and(|outcome| outcome != RolloutOutcome::Succeeded)
}

/// A version of a Cell and its target groups.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionView<'a> {
    /// The version.
    pub version: &'a str,
    /// What it is: `stable`, `canary`, `new`, `blocked`, `previous`, or nothing.
    pub role: &'static str,
    /// Its target groups, in the order of the status.
    pub groups: Vec<&'a TargetGroupState>,
}

/// The versions of a Cell: the stable one, the one that is rolled out, then the others in the order of the status.
pub fn versions(status: &CellStatus) -> Vec<VersionView<'_>> {
    let mut views: Vec<VersionView<'_>> = Vec::new();
    for group in &status.target_groups {
        match views.iter_mut().find(|view| view.version == group.version) {
            Some(view) => view.groups.push(group),
            None => views.push(VersionView {
                version: &group.version,
                role: role(status, &group.version),
                groups: vec![group],
            }),
        }
    }
    views.sort_by_key(|view| match view.role {
        "stable" => 0,
        "canary" | "new" => 1,
        "previous" => 2,
        _ => 3,
    });
    views
}

fn role(status: &CellStatus, version: &str) -> &'static str {
    let rollout = status.rollout.as_ref();
    if status.stable_version.as_deref() == Some(version) {
        return "stable";
    }
    if let Some(rollout) = active(status).filter(|rollout| rollout.version == version) {
        return match rollout.strategy {
            okra_api::cell::StrategyType::Canary => "canary",
            okra_api::cell::StrategyType::BlueGreen => "new",
        };
    }
    if status.blocked_versions.iter().any(|blocked| blocked == version) {
        return "blocked";
    }
    if rollout.and_then(|rollout| rollout.previous_version.as_deref()) == Some(version) {
        return "previous";
    }
    ""
}

/// A share of the traffic in percent, rounded half up: `part` of `total`.
pub fn percent(part: i64, total: i64) -> i64 {
    if total <= 0 { 0 } else { (part * 200 + total) / (total * 2) }
}

/// What share of the traffic a version has by these weights, in percent.
pub fn share(status: &CellStatus, version: &str, weight: impl Fn(&TargetGroupState) -> Option<i32>) -> i64 {
    let sum = |of: &dyn Fn(&TargetGroupState) -> bool| -> i64 {
        let groups = status.target_groups.iter().filter(|group| of(group));
        groups.filter_map(&weight).map(i64::from).sum()
    };
    percent(sum(&|group| group.version == version), sum(&|_| true))
}

/// The shares that the router answered with, as text: `v1 80%, v2 20%`. Versions without weight are left out.
pub fn shares(status: &CellStatus) -> String {
    let parts = versions(status).into_iter().filter_map(|view| {
        let share = share(status, view.version, |group| group.weight);
        (share > 0).then(|| format!("{} {share}%", view.version))
    });
    parts.collect::<Vec<_>>().join(", ")
}
