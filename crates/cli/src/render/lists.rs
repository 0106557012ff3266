//! Rows of `get KIND` and `history`.

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use okra_api::{
    AWSApplicationLoadBalancerConfig, AWSTargetGroup, AWSTargetGroupSet, Cell, ClusterSet, Pause, PausePhase, Route,
    TargetGroup, TargetGroupBinding, VersionBlocklist,
    cell_status::RolloutOutcome,
    condition::{self, Condition, READY},
    names::{CLUSTER_SET_LABEL, DRAIN_ANNOTATION, VERSION_LABEL},
    route::RouteStatus,
};
use okra_core::cluster_set::data_text;

use super::{
    columns::{Column, Text, columns},
    outcome_paint, phase_paint,
    steps::steps_of,
    time::{age, date_time, duration},
    versions::{active, share},
};
use crate::style::{Paint, Style};

/// How a list is shown.
#[derive(Clone, Copy, Debug)]
pub struct ListView<'a> {
    /// Whether a column tells the namespace.
    pub namespaces: bool,
    /// Whether the terminal is wide.
    pub wide: bool,
    /// The time.
    pub now: Timestamp,
    /// How text looks.
    pub style: &'a Style,
}

impl ListView<'_> {
    pub(super) fn table(self, mut head: Vec<Column>, rows: Vec<(&ObjectMeta, Vec<Text>)>) -> Vec<String> {
        head.insert(0, Column::left("NAME"));
        head.push(Column::left("AGE"));
        if self.namespaces {
            head.insert(0, Column::left("NAMESPACE"));
        }
        let row = |(meta, mut row): (&ObjectMeta, Vec<Text>)| {
            row.insert(0, Text::plain(meta.name.as_deref().unwrap_or_default()));
            let created = meta.creation_timestamp.as_ref().map(|time| age(time.0, self.now));
            row.push(Text::plain(created.unwrap_or_default()));
            if self.namespaces {
                row.insert(0, Text::plain(meta.namespace.as_deref().unwrap_or_default()));
            }
            row
        };
        columns(&head, &rows.into_iter().map(row).collect::<Vec<_>>(), self.style)
    }
}

/// Cells as lines of a table: `NAME PHASE STABLE DESIRED STEP WEIGHT MESSAGE AGE`.
pub fn cell_rows(cells: &[Cell], view: ListView<'_>) -> Vec<String> {
    let head = ["PHASE", "STABLE", "DESIRED", "STEP", "WEIGHT", "MESSAGE"].map(Column::left).to_vec();
    let row = |cell: &Cell| {
        let status = cell.status.clone().unwrap_or_default();
        let phase = status.phase;
        let rollout = active(&status);
        let step = rollout.filter(|rollout| rollout.steps_total > 0).map(|rollout| {
            format!("{}/{}", (rollout.current_step_index + 1).min(rollout.steps_total), rollout.steps_total)
        });
        let weight = rollout.map(|rollout| format!("{}%", share(&status, &rollout.version, |group| group.weight)));
        // The message is one column of many: the whole of it is in `get cell NAME` and `-o wide`.
        let message = if view.wide { status.message.clone() } else { shortened(&status.message, 60) };
        vec![
            Text::new(
                phase.map_or("Unknown".to_owned(), |phase| format!("{phase:?}")),
                phase.map_or(Paint::Dim, phase_paint),
            ),
            Text::plain(status.stable_version.as_deref().unwrap_or_default()),
            Text::plain(status.desired_version.as_deref().unwrap_or_default()),
            Text::plain(step.unwrap_or_default()),
            Text::plain(weight.unwrap_or_default()),
            Text::plain(message),
        ]
    };
    view.table(head, cells.iter().map(|cell| (&cell.metadata, row(cell))).collect())
}

/// Target groups as lines of a table; both kinds look the same.
pub fn target_group_rows(groups: &[(&ObjectMeta, String)], view: ListView<'_>) -> Vec<String> {
    let mut head = vec![Column::left("VERSION"), Column::left("DRAINED")];
    if view.wide {
        head.push(Column::left("WHERE"));
        head.push(Column::left("LABELS"));
    }
    let row = |meta: &ObjectMeta, place: &str| {
        let label = meta.labels.as_ref().and_then(|labels| labels.get(VERSION_LABEL));
        let annotation = meta.annotations.as_ref().and_then(|annotations| annotations.get(DRAIN_ANNOTATION));
        let drained = annotation.is_some_and(|value| value == "true");
        let mut row = vec![
            Text::plain(label.map(String::as_str).unwrap_or_default()),
            if drained { Text::new("yes", Paint::Warn) } else { Text::plain("no") },
        ];
        if view.wide {
            row.push(Text::plain(place));
            let labels = meta.labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
            row.push(Text::plain(labels.collect::<Vec<_>>().join(",")));
        }
        row
    };
    view.table(head, groups.iter().map(|(meta, place)| (*meta, row(meta, place))).collect())
}

/// Where an AWS target group is.
pub fn aws_place(group: &AWSTargetGroup) -> String {
    group.spec.arn.clone()
}

/// Where a target group is.
pub fn place(group: &TargetGroup) -> String {
    let spec = &group.spec;
    let service = spec.service.as_ref().map(|s| format!("service {}/{}:{}", s.namespace, s.name, s.port));
    let dns = spec.dns.as_ref().map(|dns| format!("dns {}", dns.name));
    let endpoint = spec.endpoint.as_ref().map(|endpoint| endpoint.url.clone());
    service.or(dns).or(endpoint).unwrap_or_default()
}

/// A route object of either kind, as a row sees it.
#[derive(Clone, Copy, Debug)]
pub struct RouteRow<'a> {
    meta: &'a ObjectMeta,
    status: Option<&'a RouteStatus>,
    priority: Option<i32>,
}

impl<'a> From<&'a AWSApplicationLoadBalancerConfig> for RouteRow<'a> {
    fn from(config: &'a AWSApplicationLoadBalancerConfig) -> Self {
        let priority = Some(config.spec.listener.rule.priority);
        Self { meta: &config.metadata, status: config.status.as_ref(), priority }
    }
}

impl<'a> From<&'a Route> for RouteRow<'a> {
    fn from(route: &'a Route) -> Self {
        Self { meta: &route.metadata, status: route.status.as_ref(), priority: None }
    }
}

/// Route objects as lines of a table.
pub fn route_rows(routes: &[RouteRow<'_>], view: ListView<'_>) -> Vec<String> {
    let head = ["PRIORITY", "OUTCOME", "WEIGHTS", "READ", "MESSAGE"].map(Column::left).to_vec();
    let row = |route: &RouteRow<'_>| {
        let status = route.status.cloned().unwrap_or_default();
        let weights: Vec<String> =
            status.weights.iter().map(|weight| format!("{}={}", weight.name, weight.weight)).collect();
        let outcome = status.outcome.map(|outcome| Text::new(format!("{outcome:?}"), outcome_paint(outcome)));
        let message = if view.wide { status.message.clone() } else { shortened(&status.message, 60) };
        vec![
            Text::number(route.priority),
            outcome.unwrap_or_else(|| Text::plain("")),
            Text::plain(weights.join(",")),
            Text::plain(status.read_at.map(|at| age(at, view.now)).unwrap_or_default()),
            Text::plain(message),
        ]
    };
    view.table(head, routes.iter().map(|route| (route.meta, row(route))).collect())
}

/// Pauses as lines of a table.
pub fn pause_rows(pauses: &[Pause], view: ListView<'_>) -> Vec<String> {
    let head = ["PHASE", "ENDS"].map(Column::left).to_vec();
    let row = |pause: &Pause| {
        let phase = pause.status.as_ref().and_then(|status| status.phase);
        let ends = match (phase, pause.spec.expire_time) {
            (Some(PausePhase::Expired | PausePhase::Cancelled), _) => "over".to_owned(),
            (_, Some(at)) => format!("in {}", duration(at.duration_since(view.now))),
            (_, None) => "when resumed".to_owned(),
        };
        vec![Text::plain(phase.map(|phase| format!("{phase:?}")).unwrap_or_default()), Text::plain(ends)]
    };
    view.table(head, pauses.iter().map(|pause| (&pause.metadata, row(pause))).collect())
}

/// Blocklists as lines of a table.
pub fn vbl_rows(lists: &[VersionBlocklist], view: ListView<'_>) -> Vec<String> {
    let head = ["VERSIONS", "CAUSE OF THE LAST"].map(Column::left).to_vec();
    let row = |list: &VersionBlocklist| {
        let versions: Vec<&str> = list.spec.items.iter().map(|item| item.version.as_str()).collect();
        let cause = list.spec.items.last().map(|item| item.cause.as_str()).unwrap_or_default();
        let cause = if view.wide { cause.to_owned() } else { shortened(cause, 60) };
        vec![Text::plain(versions.join(",")), Text::plain(cause)]
    };
    view.table(head, lists.iter().map(|list| (&list.metadata, row(list))).collect())
}

/// Cluster Secrets as lines of a table: `NAME CLUSTER SERVER SET AGE`.
pub fn cluster_rows(secrets: &[Secret], view: ListView<'_>) -> Vec<String> {
    let head = ["CLUSTER", "SERVER", "SET"].map(Column::left).to_vec();
    let row = |secret: &Secret| {
        let server = data_text(secret, "server");
        let server = if view.wide { server } else { shortened(&server, 60) };
        let set = secret.metadata.labels.as_ref().and_then(|labels| labels.get(CLUSTER_SET_LABEL));
        let set = set.map(String::as_str).unwrap_or_default();
        vec![Text::plain(data_text(secret, "name")), Text::plain(server), Text::plain(set)]
    };
    view.table(head, secrets.iter().map(|secret| (&secret.metadata, row(secret))).collect())
}

/// ClusterSets as lines of a table: `NAME CLUSTERS READY MESSAGE AGE`.
pub fn cluster_set_rows(sets: &[ClusterSet], view: ListView<'_>) -> Vec<String> {
    let head = ["CLUSTERS", "READY", "MESSAGE"].map(Column::left).to_vec();
    let row = |set: &ClusterSet| {
        let status = set.status.clone().unwrap_or_default();
        let [ready, message] = how_it_stands(&status.conditions, &status.message, view);
        vec![Text::plain(status.clusters.to_string()), ready, message]
    };
    view.table(head, sets.iter().map(|set| (&set.metadata, row(set))).collect())
}

/// AWSTargetGroupSets as lines of a table: `NAME CLUSTERS TARGETGROUPS READY MESSAGE AGE`.
pub fn target_group_set_rows(sets: &[AWSTargetGroupSet], view: ListView<'_>) -> Vec<String> {
    let head = ["CLUSTERS", "TARGETGROUPS", "READY", "MESSAGE"].map(Column::left).to_vec();
    let row = |set: &AWSTargetGroupSet| {
        let status = set.status.clone().unwrap_or_default();
        let [ready, message] = how_it_stands(&status.conditions, &status.message, view);
        let counts = [status.clusters, status.target_groups].map(|count| Text::plain(count.to_string()));
        counts.into_iter().chain([ready, message]).collect()
    };
    view.table(head, sets.iter().map(|set| (&set.metadata, row(set))).collect())
}

/// Whether it is ready, and its message as far as there is room.
fn how_it_stands(conditions: &[Condition], message: &str, view: ListView<'_>) -> [Text; 2] {
    let is_ready = condition::is_true(conditions, READY);
    let ready = if is_ready { Text::new("True", Paint::Good) } else { Text::new("False", Paint::Warn) };
    let message = if view.wide { message.to_owned() } else { shortened(message, 60) };
    [ready, Text::plain(message)]
}

/// TargetGroupBindings as lines of a table: `NAMESPACE NAME VERSION TARGETGROUP AGE`.
pub fn binding_rows(bindings: &[TargetGroupBinding], view: ListView<'_>) -> Vec<String> {
    let head = ["VERSION", "TARGETGROUP"].map(Column::left).to_vec();
    let row = |binding: &TargetGroupBinding| {
        let labels = binding.metadata.labels.as_ref();
        let version = labels.and_then(|labels| labels.get(VERSION_LABEL)).map(String::as_str).unwrap_or_default();
        let target = binding.spec.arn().or(binding.spec.name()).unwrap_or_default();
        vec![Text::plain(version), Text::plain(target)]
    };
    view.table(head, bindings.iter().map(|binding| (&binding.metadata, row(binding))).collect())
}

/// The last rollouts of a Cell as lines of a table, the newest first; the one under way leads.
pub fn history_rows(cell: &Cell, now: Timestamp, style: &Style) -> Vec<String> {
    let head = ["VERSION", "FROM", "OUTCOME", "BY", "BEGAN", "TOOK", "WHY"].map(Column::left);
    let Some(status) = &cell.status else { return Vec::new() };
    let mut rows = Vec::new();
    if let Some(rollout) = active(status) {
        let steps = steps_of(rollout).len();
        rows.push(vec![
            Text::plain(&rollout.version),
            Text::plain(rollout.previous_version.as_deref().unwrap_or_default()),
            Text::new("under way", Paint::Busy),
            Text::plain(if rollout.by.is_empty() { "okrad" } else { &rollout.by }),
            Text::plain(date_time(rollout.started_at)),
            Text::plain(age(rollout.started_at, now)),
            Text::plain(format!("{} of {steps} steps done", rollout.current_step_index)),
        ]);
    }
    for record in &status.history {
        let paint = if record.outcome == RolloutOutcome::Succeeded { Paint::Good } else { Paint::Warn };
        rows.push(vec![
            Text::plain(&record.version),
            Text::plain(record.previous_version.as_deref().unwrap_or_default()),
            Text::new(format!("{:?}", record.outcome), paint),
            Text::plain(if record.by.is_empty() { "okrad" } else { &record.by }),
            Text::plain(date_time(record.started_at)),
            Text::plain(duration(record.finished_at.duration_since(record.started_at))),
            Text::plain(&record.reason),
        ]);
    }
    if rows.is_empty() { Vec::new() } else { columns(&head, &rows, style) }
}

pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(3)).collect();
    format!("{}...", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{self, NOW};
    use super::*;

    #[test]
    fn cells_are_a_table() {
        let cells = [fixtures::healthy().0, fixtures::waiting_for_pause().0, fixtures::degraded().0, fixtures::cell()];
        let style = Style::plain("okractl");
        let view = ListView { namespaces: true, wide: false, now: NOW, style: &style };
        insta::assert_snapshot!(cell_rows(&cells, view).join("\n"));
    }

    #[test]
    fn history_begins_with_the_rollout_under_way() {
        let (cell, _) = fixtures::waiting_for_pause();
        insta::assert_snapshot!(history_rows(&cell, NOW, &Style::plain("okractl")).join("\n"));
        assert_eq!(history_rows(&fixtures::cell(), NOW, &Style::plain("okractl")), Vec::<String>::new());
    }

    #[test]
    fn routes_show_what_the_router_holds() {
        let (_, status) = fixtures::foreign_edit();
        let mut route = Route::new("web", okra_api::RouteSpec::default());
        route.status = Some(status);
        let style = Style::plain("okractl");
        let view = ListView { namespaces: false, wide: true, now: NOW, style: &style };
        insta::assert_snapshot!(route_rows(&[RouteRow::from(&route)], view).join("\n"));
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(shortened("äöüäöü", 6), "äöüäöü");
        assert_eq!(shortened("äöüäöüx", 6), "äöü...");
    }
}
