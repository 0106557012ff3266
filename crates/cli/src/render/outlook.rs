//! Which commands make sense now, and where each leads.

use okra_api::{
    Cell, CellStatus, RouteOutcome,
    cell_status::{RolloutOutcome, RolloutStatus, TargetGroupState},
    condition::reason,
    route::RouteStatus,
};

use okra_core::version;

use super::{
    columns::{Column, Text, columns},
    steps::{StepView, step_name, steps_of},
    versions::{active, is_on_its_way_back, shares, versions},
};
use crate::style::{Paint, Style};

/// A command that makes sense now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What to type, without the name of the program.
    pub command: String,
    /// What it does.
    pub effect: String,
    /// The shares of the traffic that it leads to; empty when it moves none.
    pub leads_to: String,
}

/// The commands that make sense now, the likeliest first.
pub fn choices(cell: &Cell, route: Option<&RouteStatus>) -> Vec<Choice> {
    let Some(status) = &cell.status else { return Vec::new() };
    let mut list = List { cell, choices: Vec::new() };
    let foreign_edit = route.is_some_and(|route| route.outcome == Some(RouteOutcome::Foreign));
    match (active(status), status.hold.as_ref().map(|hold| hold.reason.as_str())) {
        (rollout, _) if foreign_edit => {
            foreign(&mut list, status, route);
            if let Some(rollout) = rollout.filter(|rollout| !is_on_its_way_back(rollout)) {
                abort(&mut list, status, rollout);
            }
        }
        (_, Some(reason::STATE_LOST)) => state_lost(&mut list, status),
        (Some(rollout), _) if is_on_its_way_back(rollout) => {}
        (Some(rollout), held) => {
            under_way(&mut list, status, rollout, held);
            drain(&mut list, status);
        }
        (None, held) => {
            if held.is_some() {
                list.add("resume", "", "go on", shares(status));
            }
            at_rest(&mut list, status);
            drain(&mut list, status);
        }
    }
    list.choices
}

struct List<'a> {
    cell: &'a Cell,
    choices: Vec<Choice>,
}

impl List<'_> {
    /// `verb` acts on the Cell, with these arguments before its name.
    fn add(&mut self, verb: &str, args: &str, effect: impl Into<String>, leads_to: impl Into<String>) {
        let name = self.cell.metadata.name.as_deref().unwrap_or_default();
        let gap = if args.is_empty() { "" } else { " " };
        self.push(format!("{verb}{gap}{args} {name}"), effect, leads_to);
    }

    fn push(&mut self, command: String, effect: impl Into<String>, leads_to: impl Into<String>) {
        let namespace = self.cell.metadata.namespace.as_deref().unwrap_or_default();
        let command = if namespace.is_empty() { command } else { format!("{command} -n {namespace}") };
        self.choices.push(Choice { command, effect: effect.into(), leads_to: leads_to.into() });
    }
}

fn foreign(list: &mut List<'_>, status: &CellStatus, route: Option<&RouteStatus>) {
    let held = route.map(|route| route.weights.as_slice()).unwrap_or_default();
    let total: i64 = held.iter().map(|weight| i64::from(weight.weight)).sum();
    let share = |weight: i32| super::versions::percent(i64::from(weight), total);
    let held: Vec<String> = held.iter().map(|weight| format!("{} {}%", weight.name, share(weight.weight))).collect();
    list.add("resume", "--accept-weights", "keep what somebody else set", held.join(", "));
    list.add("resume", "--restore", "put back what Okra wants", desired_shares(status));
}

fn desired_shares(status: &CellStatus) -> String {
    let parts = versions(status).into_iter().filter_map(|view| {
        let share = super::versions::share(status, view.version, |group| group.desired_weight);
        (share > 0).then(|| format!("{} {share}%", view.version))
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// `resume` takes the side with more weight as stable, `undo` goes to the lower version.
fn state_lost(list: &mut List<'_>, status: &CellStatus) {
    let mut sides: Vec<(i64, &str)> = versions(status)
        .into_iter()
        .map(|view| (super::versions::share(status, view.version, |group| group.weight), view.version))
        .filter(|(share, _)| *share > 0)
        .collect();
    sides.sort_by_cached_key(|(_, version)| okra_core::version::parse(version).ok());
    // Of two equal shares the lower version counts.
    if let Some((_, heavy)) = sides.iter().rev().max_by_key(|(share, _)| *share) {
        list.add("resume", "", format!("{heavy} has the most traffic: take it as stable"), shares(status));
    }
    if let Some((_, low)) = sides.first() {
        list.add("undo", "", format!("all traffic to {low}"), format!("{low} 100%"));
    }
}

fn under_way(list: &mut List<'_>, status: &CellStatus, rollout: &RolloutStatus, held: Option<&str>) {
    let steps = steps_of(rollout);
    let at = usize::try_from(rollout.current_step_index).unwrap_or(0);
    match held {
        Some(_) => list.add("resume", "", "go on", shares(status)),
        None if matches!(steps.get(at), Some(StepView::Pause(_))) => {
            list.add("resume", "", "end this pause", after(rollout, &steps, at));
        }
        None => {}
    }
    if let Some(step) = steps.get(at) {
        let effect = format!("skip {}; waits for healthy targets", step_name(*step));
        list.add("promote", &format!("--step {}", at + 1), effect, after(rollout, &steps, at));
        list.add("promote", "--full", "skip all steps; waits for healthy targets", split(rollout, 100));
    }
    if held.is_none() {
        list.add("pause", "", "hold the weights", shares(status));
    }
    abort(list, status, rollout);
    if held == Some(reason::HELD_ON_FAILURE) {
        list.add("retry", "", "begin again at step 1", split(rollout, first_share(&steps)));
    }
}

/// When there is something to go back to, and the rollout is not itself a way back.
fn abort(list: &mut List<'_>, status: &CellStatus, rollout: &RolloutStatus) {
    let stable = status.stable_version.as_deref().and_then(|version| okra_core::version::parse(version).ok());
    let new = okra_core::version::parse(&rollout.version).ok();
    if stable.is_some_and(|stable| new.is_none_or(|new| new > stable)) {
        list.add("abort", "", format!("take {} back at once and block it", rollout.version), split(rollout, 0));
    }
}

/// The shares once the step `at` is skipped or over.
fn after(rollout: &RolloutStatus, steps: &[StepView<'_>], at: usize) -> String {
    let next = steps.get(at + 1).map_or(100, |step| step.share(rollout.canary_weight));
    split(rollout, next)
}

fn first_share(steps: &[StepView<'_>]) -> i32 {
    steps.first().map_or(100, |step| step.share(0))
}

/// The shares when the version that is rolled out has `share` percent.
fn split(rollout: &RolloutStatus, share: i32) -> String {
    match (&rollout.previous_version, share) {
        (None, _) => format!("{} {share}%", rollout.version),
        (Some(previous), 0) => format!("{previous} 100%"),
        (Some(_), 100) => format!("{} 100%", rollout.version),
        (Some(previous), _) => format!("{previous} {}%, {} {share}%", 100 - share, rollout.version),
    }
}

fn at_rest(list: &mut List<'_>, status: &CellStatus) {
    let last = status.rollout.as_ref();
    let failed = last.filter(|rollout| {
        matches!(rollout.outcome, Some(RolloutOutcome::Failed | RolloutOutcome::Aborted))
            && status.blocked_versions.contains(&rollout.version)
    });
    if let Some(rollout) = failed {
        let steps = steps_of(rollout);
        let effect = format!("unblock {} and begin again at step 1", rollout.version);
        list.add("retry", "", effect, split(rollout, first_share(&steps)));
    }
    way_back(list, status);
    for version in &status.blocked_versions {
        list.add("unblock", version, format!("let {version} roll out again"), "");
    }
}

/// Back to the older version that served last, when it still has target groups.
fn way_back(list: &mut List<'_>, status: &CellStatus) {
    let Some(stable) = &status.stable_version else { return };
    let Ok(serving) = version::parse(stable) else { return };
    let older = |text: &&String| version::parse(text).is_ok_and(|version| version < serving);
    let succeeded = status.history.iter().filter(|record| record.outcome == RolloutOutcome::Succeeded);
    let Some(previous) = succeeded.filter_map(|record| record.previous_version.as_ref()).find(older) else { return };
    if status.target_groups.iter().any(|group| group.version == *previous) {
        let effect = format!("back to {previous} at once, block {stable}");
        list.add("undo", "", effect, format!("{previous} 100%"));
    }
}

/// The group of the stable version that looks worst, when another one can serve for it.
fn drain(list: &mut List<'_>, status: &CellStatus) {
    let stable = versions(status).into_iter().find(|view| view.role == "stable");
    let Some(view) = stable else { return };
    let serving: Vec<&TargetGroupState> =
        view.groups.into_iter().filter(|group| group.weight.unwrap_or(0) > 0).collect();
    let worst = serving.iter().min_by_key(|group| i64::from(group.healthy_targets.unwrap_or(0)));
    let Some(worst) = worst.filter(|_| serving.len() > 1) else { return };
    let share = super::versions::share(status, view.version, |group| group.weight);
    let others: Vec<&&TargetGroupState> = serving.iter().filter(|group| group.name != worst.name).collect();
    let count = i64::try_from(others.len()).unwrap_or(i64::MAX);
    let leads_to = others.iter().zip(0..).map(|(group, at)| {
        let extra = i64::from(at < share % count);
        format!("{} {}%", group.name, share / count + extra)
    });
    let leads_to: Vec<String> = leads_to.collect();
    list.push(format!("drain {}", worst.name), "take one group out", leads_to.join(", "));
}

/// The commands as lines of a table.
pub fn choice_lines(choices: Vec<Choice>, style: &Style) -> Vec<String> {
    const HEAD: [Column; 3] = [Column::left("COMMANDS NOW"), Column::left("WHAT"), Column::left("LEADS TO")];
    if choices.is_empty() {
        return Vec::new();
    }
    let row = |choice: Choice| {
        vec![
            Text::new(format!("{} {}", style.program, choice.command), Paint::Busy),
            Text::new(choice.effect, Paint::Plain),
            Text::new(choice.leads_to, Paint::Plain),
        ]
    };
    columns(&HEAD, &choices.into_iter().map(row).collect::<Vec<_>>(), style)
}
