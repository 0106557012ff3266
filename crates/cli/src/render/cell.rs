//! A Cell as a person needs it at three in the morning: what serves, what moves, what it waits for, what can be done.

use jiff::Timestamp;
use okra_api::{
    Cell, CellStatus, RouteOutcome, Verb,
    cell::{IngressType, StrategyType},
    cell_status::{CellPhase, RolloutStatus},
    condition,
    route::RouteStatus,
};

use super::{
    columns::{Column, Text, columns},
    outcome_paint, outlook, phase_paint,
    steps::{StepView, step_name, steps_of},
    time::{age, date_time, duration},
    versions::{active, is_on_its_way_back, share, versions},
};
use crate::style::{Paint, Style, one_line};

/// The whole picture of a Cell: versions and target groups with weights and health, the steps, what it waits for, who
/// moved last, whether the way back is ready, and the commands that make sense now.
pub fn render_cell(cell: &Cell, route: Option<&RouteStatus>, now: Timestamp, style: &Style) -> String {
    let mut page = Page { lines: Vec::new(), style };
    let Some(status) = &cell.status else {
        page.head(cell, None);
        page.field("Waits for", Paint::Warn, "okrad: it has not looked at this Cell yet; check that it runs");
        return page.text();
    };
    page.head(cell, Some(status));
    page.standing(cell, status, now);
    page.groups(status, now);
    page.steps(status, now);
    page.rest(cell, status, route, now);
    page.commands(cell, route);
    page.text()
}

struct Page<'a> {
    lines: Vec<String>,
    style: &'a Style,
}

impl Page<'_> {
    fn text(self) -> String {
        let mut text = self.lines.join("\n");
        text.push('\n');
        text
    }

    fn field(&mut self, name: &str, paint: Paint, value: &str) {
        let name = self.style.paint(Paint::Bold, &format!("{:<13}", format!("{name}:")));
        let value = self.style.paint(paint, &one_line(value));
        self.lines.push(format!("{name} {value}"));
    }

    fn title(&mut self, title: &str) {
        self.lines.push(String::new());
        self.lines.push(self.style.paint(Paint::Bold, title));
    }

    fn head(&mut self, cell: &Cell, status: Option<&CellStatus>) {
        let namespace = cell.metadata.namespace.as_deref().unwrap_or_default();
        let name = cell.metadata.name.as_deref().unwrap_or_default();
        let phase = status.and_then(|status| status.phase);
        let (word, paint) = phase.map_or(("Unknown".to_owned(), Paint::Warn), |phase| {
            let word = if phase == CellPhase::RollingBack { "Rolling back".to_owned() } else { format!("{phase:?}") };
            (word, phase_paint(phase))
        });
        let title = self.style.paint(Paint::Bold, &format!("Cell {namespace}/{name}"));
        self.lines.push(format!("{title}   {}", self.style.paint(paint, &word)));
    }

    /// What serves, what moves, what is waited for.
    fn standing(&mut self, cell: &Cell, status: &CellStatus, now: Timestamp) {
        let stable = status.stable_version.as_deref().unwrap_or("none yet");
        self.field("Stable", Paint::Plain, stable);
        if let Some(rollout) = active(status) {
            let (name, paint) =
                if is_on_its_way_back(rollout) { ("Taking back", Paint::Warn) } else { ("Rolling out", Paint::Busy) };
            self.field(name, paint, &progress(status, rollout, now));
        } else if let Some(desired) = status.desired_version.as_deref().filter(|desired| *desired != stable) {
            self.field("Desired", Paint::Plain, desired);
        }
        if !status.message.is_empty() {
            let calm = matches!(status.phase, Some(CellPhase::Healthy | CellPhase::Failed));
            let name = if calm { "Message" } else { "Waits for" };
            let paint = status.phase.map_or(Paint::Plain, phase_paint);
            self.field(name, paint, &status.message);
        }
        if let Some(hold) = &status.hold {
            let by = if hold.by.is_empty() { String::new() } else { format!(" by {}", hold.by) };
            let held = format!("{}{by}, for {} ({})", hold.message, age(hold.since, now), hold.reason);
            self.field("Held", Paint::Warn, &held);
        }
        self.warnings(cell, status);
    }

    fn warnings(&mut self, cell: &Cell, status: &CellStatus) {
        if cell.spec.suspend {
            self.field("Suspended", Paint::Warn, "spec.suspend is true: no weight moves, except towards safety");
        }
        if cell.metadata.deletion_timestamp.is_some() {
            self.field("Deleted", Paint::Warn, "this Cell is being deleted");
        }
        let (seen, written) = (status.observed_generation, cell.metadata.generation);
        if seen < written {
            let text = format!(
                "okrad has not acted on the latest spec yet (generation {}, seen {})",
                written.unwrap_or_default(),
                seen.unwrap_or_default()
            );
            self.field("Behind", Paint::Warn, &text);
        }
        for (type_, bad) in [(condition::VALID, "False"), (condition::DEGRADED, "True")] {
            let found = condition::find(&status.conditions, type_).filter(|condition| condition.status == bad);
            if let Some(condition) = found.filter(|condition| condition.message != status.message) {
                let name = if type_ == condition::VALID { "Not valid" } else { "Degraded" };
                self.field(name, Paint::Bad, &format!("{} ({})", condition.message, condition.reason));
            }
        }
    }

    /// The target groups under their versions.
    fn groups(&mut self, status: &CellStatus, now: Timestamp) {
        const HEAD: [Column; 6] = [
            Column::left("TARGET GROUP"),
            Column::right("WEIGHT"),
            Column::right("DESIRED"),
            Column::right("HEALTHY"),
            Column::right("AT START"),
            Column::left("READ"),
        ];
        self.lines.push(String::new());
        if status.target_groups.is_empty() {
            self.field("Target groups", Paint::Warn, "none");
            return;
        }
        let mut rows = Vec::new();
        for view in versions(status) {
            let actual = share(status, view.version, |group| group.weight);
            let desired = share(status, view.version, |group| group.desired_weight);
            let arrow = self.style.glyph("→", "->");
            let share = if actual == desired { format!("{actual}%") } else { format!("{actual}% {arrow} {desired}%") };
            let role = if view.role.is_empty() { String::new() } else { format!("  {}", view.role) };
            let paint = if view.role == "blocked" { Paint::Bad } else { Paint::Bold };
            rows.push(vec![Text::new(format!("{}{role}  {share}", view.version), paint)]);
            let last = view.groups.len();
            for (at, group) in view.groups.iter().enumerate() {
                let branch =
                    if at + 1 == last { self.style.glyph("└─", "`-") } else { self.style.glyph("├─", "|-") };
                let moving = group.weight != group.desired_weight;
                let weight_paint = if moving { Paint::Busy } else { Paint::Plain };
                let number = |number: Option<i32>| number.map_or("-".to_owned(), |number| number.to_string());
                rows.push(vec![
                    Text::new(format!("{branch} {}", group.name), Paint::Plain),
                    Text::new(number(group.weight), weight_paint),
                    Text::new(number(group.desired_weight), weight_paint),
                    healthy(group.healthy_targets, group.total_targets, group.healthy_at_start),
                    Text::number(group.healthy_at_start),
                    Text::plain(group.read_at.map(|at| format!("{} ago", age(at, now))).unwrap_or_default()),
                ]);
            }
        }
        self.lines.extend(columns(&HEAD, &rows, self.style));
        self.retired(status, now);
    }

    fn retired(&mut self, status: &CellStatus, now: Timestamp) {
        for group in &status.retired_target_groups {
            let safe = if group.safe_to_destroy_at <= now {
                "its cluster may be destroyed".to_owned()
            } else {
                format!("safe to destroy in {}", duration(group.safe_to_destroy_at.duration_since(now)))
            };
            let state = if group.detached_at.is_some() { "detached" } else { "attached" };
            let text = format!(
                "{} ({}), {state}, without traffic for {}: {safe}",
                group.name,
                group.version,
                age(group.zero_since, now)
            );
            self.field("Retired", Paint::Dim, &text);
        }
    }

    /// The steps of the rollout under way, with a marker.
    fn steps(&mut self, status: &CellStatus, now: Timestamp) {
        let Some(rollout) = active(status) else { return };
        let steps = steps_of(rollout);
        if steps.is_empty() {
            return;
        }
        let strategy = match rollout.strategy {
            StrategyType::Canary => "Steps",
            StrategyType::BlueGreen => "Steps (blue-green)",
        };
        self.title(strategy);
        let at = usize::try_from(rollout.current_step_index).unwrap_or(0);
        let back = is_on_its_way_back(rollout);
        for (index, step) in steps.iter().enumerate() {
            let (mark, paint) = match index.cmp(&at) {
                std::cmp::Ordering::Less => (self.style.glyph("✔", "x"), Paint::Good),
                std::cmp::Ordering::Equal if back => (self.style.glyph("✖", "!"), Paint::Bad),
                std::cmp::Ordering::Equal => (self.style.glyph("▶", ">"), Paint::Busy),
                std::cmp::Ordering::Greater => (" ", Paint::Dim),
            };
            let since = if index == at && !back { current_step(rollout, *step, now) } else { String::new() };
            let text = format!("{mark} {:>2}  {}", index + 1, one_line(&format!("{}{since}", step_name(*step))));
            self.lines.push(format!("  {}", self.style.paint(paint, &text)));
        }
        let (mark, paint) =
            if at >= steps.len() && !back { (self.style.glyph("▶", ">"), Paint::Busy) } else { (" ", Paint::Dim) };
        let end = format!("{mark}  -  all traffic to {}, then it is stable", rollout.version);
        self.lines.push(format!("  {}", self.style.paint(paint, &end)));
    }

    /// The route, the way back, who moved last, the last rollout.
    fn rest(&mut self, cell: &Cell, status: &CellStatus, route: Option<&RouteStatus>, now: Timestamp) {
        self.lines.push(String::new());
        self.route(cell, route, now);
        if let Some(ready) = condition::find(&status.conditions, condition::ROLLBACK_READY) {
            let yes = ready.status == "True";
            let (word, paint) = if yes { ("ready", Paint::Good) } else { ("not ready", Paint::Warn) };
            let more = if ready.message.is_empty() { ready.reason.clone() } else { ready.message.clone() };
            self.field("Way back", paint, &format!("{word}: {more}"));
        }
        if let Some(moved) = last_mover(status, now) {
            self.field("Moved last", Paint::Plain, &moved);
        }
        if let Some(request) = &status.last_request {
            let user = if request.user.is_empty() { "somebody" } else { &request.user };
            let (word, paint) = if request.accepted { ("accepted", Paint::Plain) } else { ("refused", Paint::Warn) };
            let text = format!(
                "{} by {user}, {} ago, {word}: {}",
                request.verb.as_str(),
                age(request.at, now),
                request.message
            );
            self.field("Last request", paint, &text);
        }
        let finished = status.rollout.as_ref().filter(|rollout| rollout.finished_at.is_some());
        if let Some(rollout) = finished {
            self.field("Last rollout", Paint::Plain, &conclusion(rollout, now));
        }
        if !status.blocked_versions.is_empty() {
            self.field("Blocked", Paint::Warn, &status.blocked_versions.join(", "));
        }
    }

    fn route(&mut self, cell: &Cell, route: Option<&RouteStatus>, now: Timestamp) {
        let place = place(cell);
        let Some(route) = route else {
            self.field("Route", Paint::Dim, &format!("{place}: nothing known yet"));
            return;
        };
        let (outcome, paint) = route
            .outcome
            .map_or(("no answer yet".to_owned(), Paint::Dim), |outcome| (words(outcome), outcome_paint(outcome)));
        let read = route.read_at.map(|at| format!(", weights read {} ago", age(at, now))).unwrap_or_default();
        let message = if route.message.is_empty() { String::new() } else { format!(": {}", route.message) };
        self.field("Route", paint, &format!("{place}: {outcome}{read}{message}"));
        if let Some(foreign) = &route.foreign {
            let text = format!("{}, seen {} ago", foreign.difference, age(foreign.since, now));
            self.field("Foreign edit", Paint::Warn, &text);
        }
    }

    fn commands(&mut self, cell: &Cell, route: Option<&RouteStatus>) {
        let lines = outlook::choice_lines(outlook::choices(cell, route), self.style);
        if !lines.is_empty() {
            self.lines.push(String::new());
            self.lines.extend(lines);
        }
    }
}

fn progress(status: &CellStatus, rollout: &RolloutStatus, now: Timestamp) -> String {
    let step = match rollout.current_step_index {
        _ if rollout.steps_total == 0 => "without steps".to_owned(),
        at if at >= rollout.steps_total => "all steps done".to_owned(),
        at => format!("step {} of {}", at + 1, rollout.steps_total),
    };
    let share = share(status, &rollout.version, |group| group.weight);
    let since = age(rollout.started_at, now);
    if is_on_its_way_back(rollout) {
        let outcome = rollout.outcome.map(|outcome| format!("{outcome:?}")).unwrap_or_default();
        let why = if rollout.reason.is_empty() { String::new() } else { format!(": {}", rollout.reason) };
        let by = if rollout.by.is_empty() { String::new() } else { format!(" by {}", rollout.by) };
        return format!("{}, {share}% left, {outcome} at {step}{by}{why}", rollout.version);
    }
    format!("{}, {step}, {share}% of the traffic, begun {since} ago", rollout.version)
}

/// Since when the current step is at work, and how long it still takes when that is known.
fn current_step(rollout: &RolloutStatus, step: StepView<'_>, now: Timestamp) -> String {
    let since = format!("   for {}", age(rollout.step_started_at, now));
    let run = rollout.current_step_run.as_ref().map(|run| format!(" ({run})")).unwrap_or_default();
    let left = match step {
        StepView::Pause(pause) => pause
            .duration
            .as_ref()
            .and_then(|duration| duration.get().ok())
            .and_then(|length| rollout.step_started_at.checked_add(length).ok())
            .map(|end| format!(", {} left", duration(end.duration_since(now)))),
        _ => None,
    };
    format!("{since}{}{run}", left.unwrap_or_default())
}

fn healthy(healthy: Option<u32>, total: Option<u32>, at_start: Option<u32>) -> Text {
    let Some(healthy) = healthy else { return Text::plain("") };
    let text = total.map_or_else(|| healthy.to_string(), |total| format!("{healthy} of {total}"));
    let paint = match (healthy, at_start) {
        (0, _) => Paint::Bad,
        (now, Some(start)) if now < start => Paint::Warn,
        _ => Paint::Plain,
    };
    Text::new(text, paint)
}

/// A person, when their request is what the last step or end came of; else okrad.
fn last_mover(status: &CellStatus, now: Timestamp) -> Option<String> {
    let rollout = status.rollout.as_ref()?;
    let moved_at = rollout.finished_at.unwrap_or(rollout.step_started_at);
    let moves = |verb| !matches!(verb, Verb::Pause | Verb::Unblock);
    let request = status
        .last_request
        .as_ref()
        .filter(|request| request.accepted && moves(request.verb) && request.at >= rollout.step_started_at);
    let by = match request {
        Some(request) if !request.user.is_empty() => format!("{} ({})", request.user, request.verb.as_str()),
        Some(request) => format!("somebody ({})", request.verb.as_str()),
        None if rollout.by.is_empty() => "okrad".to_owned(),
        None => rollout.by.clone(),
    };
    Some(format!("{by}, {} ago", age(moved_at, now)))
}

fn conclusion(rollout: &RolloutStatus, now: Timestamp) -> String {
    let from = rollout.previous_version.as_ref().map(|version| format!(" after {version}")).unwrap_or_default();
    let outcome = rollout.outcome.map_or("ended".to_owned(), |outcome| format!("{outcome:?}"));
    let by = if rollout.by.is_empty() { String::new() } else { format!(" by {}", rollout.by) };
    let why = if rollout.reason.is_empty() { String::new() } else { format!(": {}", rollout.reason) };
    let when = rollout.finished_at.map_or(String::new(), |at| {
        format!(", {} ago ({}), took {}", age(at, now), date_time(at), duration(at.duration_since(rollout.started_at)))
    });
    format!("{}{from} {outcome}{by}{when}{why}", rollout.version)
}

fn place(cell: &Cell) -> String {
    let ingress = &cell.spec.ingress;
    match (ingress.type_, &ingress.aws_application_load_balancer, &ingress.local) {
        (IngressType::AWSApplicationLoadBalancer, Some(alb), _) => {
            format!("ALB rule at priority {}", alb.listener.rule.priority)
        }
        (IngressType::Local, _, Some(local)) => format!("local balancer on {}", local.listen),
        (type_, ..) => format!("{type_:?}"),
    }
}

fn words(outcome: RouteOutcome) -> String {
    match outcome {
        RouteOutcome::Verified => "verified",
        RouteOutcome::NotYet => "not yet",
        RouteOutcome::Foreign => "changed by somebody else, held",
        RouteOutcome::Refused => "refused",
    }
    .to_owned()
}

#[cfg(test)]
mod tests;
