//! `drain` and `undrain`: one target group to 0 and kept there, and back.

use std::collections::BTreeSet;

use okra_api::{AWSTargetGroup, Cell, TargetGroup, TargetGroupSelector, cell::IngressType, names::DRAIN_ANNOTATION};
use okra_provider::{BackendError, Key, Store, Stored};
use serde_json::{Value, json};

use super::get::KindName;
use crate::{
    args::bare_name,
    context::{Context, list},
    error::{CommandError, ExitStatus},
    selector::Selector,
};

/// Target groups: one by name, or all that a selector selects.
#[derive(Debug, clap::Args)]
pub struct Groups {
    /// The target group's name, as NAME, awstargetgroup/NAME or targetgroup/NAME.
    #[arg(required_unless_present = "selector", conflicts_with = "selector")]
    name: Option<String>,
    /// Every target group with these labels.
    #[arg(short = 'l', long)]
    selector: Option<Selector>,
    /// Look for them in every namespace.
    #[arg(short = 'A', long, requires = "selector", conflicts_with = "namespace")]
    all_namespaces: bool,
}

/// Take one target group to weight 0 and keep it there. Refused for the last one that serves a Cell.
#[derive(Debug, clap::Args)]
pub struct DrainArgs {
    #[command(flatten)]
    groups: Groups,
}

/// Let a drained target group serve again, once its targets are healthy.
#[derive(Debug, clap::Args)]
pub struct UndrainArgs {
    #[command(flatten)]
    groups: Groups,
}

/// A target group of either kind, as far as draining goes.
#[derive(Clone, Debug)]
struct Group {
    kind: KindName,
    key: Key,
    labels: std::collections::BTreeMap<String, String>,
    drained: bool,
    resource_version: Option<String>,
}

impl Group {
    fn of<K: Stored>(kind: KindName, object: &K) -> Self {
        let meta = object.meta();
        let annotation = meta.annotations.as_ref().and_then(|annotations| annotations.get(DRAIN_ANNOTATION));
        Self {
            kind,
            key: Key::of_typed(object),
            labels: meta.labels.clone().unwrap_or_default(),
            drained: annotation.is_some_and(|value| value == "true"),
            resource_version: meta.resource_version.clone(),
        }
    }

    /// Whether this Cell's selector selects it.
    fn is_of(&self, cell: &Cell) -> bool {
        let ingress = &cell.spec.ingress;
        let alb = ingress.aws_application_load_balancer.as_ref().map(|alb| &alb.target_group_selector);
        let local = ingress.local.as_ref().map(|local| &local.target_group_selector);
        let selector: Option<&TargetGroupSelector> = match (self.kind, ingress.type_) {
            (KindName::Awstargetgroups, IngressType::AWSApplicationLoadBalancer) => alb,
            (KindName::Targetgroups, IngressType::Local) => local,
            _ => None,
        };
        cell.metadata.namespace.as_deref() == Some(&self.key.namespace)
            && selector.is_some_and(|selector| selector.matches(&self.labels))
    }
}

/// Drains them.
pub async fn drain(args: DrainArgs, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let (store, meant) = found(&args.groups, context).await?;
    let cells: Vec<Cell> = list(&store, namespace_of(&meant), None).await?;
    let all = all_groups(&store, namespace_of(&meant)).await?;
    if let Some(cell) = cells.iter().find(|cell| leaves_none(cell, &meant, &all)) {
        let names: Vec<&str> = meant.iter().map(|group| group.key.name.as_str()).collect();
        let cell = Key::of_typed(cell);
        return Err(CommandError::failed(
            format!("failed to drain {}", names.join(", ")),
            format!("nothing else would serve Cell {cell}"),
        )
        .hint("bring another target group into service first"));
    }
    annotate(context, &store, &meant, true).await
}

/// Lets them serve again.
pub async fn undrain(args: UndrainArgs, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let (store, meant) = found(&args.groups, context).await?;
    annotate(context, &store, &meant, false).await
}

/// The one namespace that all of them are in; none when there are more.
fn namespace_of(groups: &[Group]) -> Option<&str> {
    let names: BTreeSet<&str> = groups.iter().map(|group| group.key.namespace.as_str()).collect();
    if names.len() == 1 { names.first().copied() } else { None }
}

/// Whether a Cell that has traffic now would have no serving target group left.
fn leaves_none(cell: &Cell, meant: &[Group], all: &[Group]) -> bool {
    let Some(status) = &cell.status else { return false };
    let mine = |groups: &[Group], name: &str| groups.iter().any(|group| group.key.name == name && group.is_of(cell));
    let drained: Vec<Group> = all.iter().filter(|group| group.drained).cloned().collect();
    let mut serving = status.target_groups.iter().filter(|group| group.weight.unwrap_or(0) > 0).peekable();
    let any_meant = status.target_groups.iter().any(|group| group.weight.unwrap_or(0) > 0 && mine(meant, &group.name));
    serving.peek().is_some()
        && any_meant
        && serving.all(|group| mine(meant, &group.name) || mine(&drained, &group.name))
}

async fn all_groups(store: &Store, namespace: Option<&str>) -> Result<Vec<Group>, CommandError> {
    let mut groups = Vec::new();
    groups.extend(served::<AWSTargetGroup>(store, KindName::Awstargetgroups, namespace).await?);
    groups.extend(served::<TargetGroup>(store, KindName::Targetgroups, namespace).await?);
    Ok(groups)
}

/// All of one kind; none where the kind is not served.
async fn served<K: Stored>(store: &Store, kind: KindName, namespace: Option<&str>) -> Result<Vec<Group>, CommandError> {
    match store.list_live::<K>(namespace).await {
        Ok(objects) => Ok(objects.iter().map(|object| Group::of(kind, object)).collect()),
        Err(BackendError::Absent(_)) => Ok(Vec::new()),
        Err(error) => Err(CommandError::store(format!("failed to list {}", K::plural(&())), &error)),
    }
}

async fn found(groups: &Groups, context: &mut Context) -> Result<(Store, Vec<Group>), CommandError> {
    let session = context.session().await?;
    let namespace = (!groups.all_namespaces).then_some(session.namespace.as_str());
    let mut all = all_groups(&session.store, namespace).await?;
    let wanted = groups.name.as_deref().unwrap_or_default();
    if groups.name.is_some() {
        let kinds = [KindName::Awstargetgroups, KindName::Targetgroups];
        let spellings: Vec<&str> = kinds.iter().flat_map(|kind| kind.spellings()).copied().collect();
        let name = bare_name(wanted, &spellings)?.to_owned();
        let prefix = wanted.split_once('/').map(|(kind, _)| kind.to_ascii_lowercase());
        all.retain(|group| {
            let kind = prefix.as_deref().is_none_or(|prefix| group.kind.spellings().contains(&prefix));
            group.key.name == name && kind
        });
    } else if let Some(selector) = &groups.selector {
        all.retain(|group| selector.matches(Some(&group.labels)));
    }
    match (all.len(), &groups.name) {
        (0, _) => Err(CommandError::failed(
            "no target group is meant",
            format!("none in {} fits", session.place(groups.all_namespaces)),
        )
        .hint("list them with `get awstargetgroups` or `get targetgroups`")),
        (2.., Some(name)) => Err(CommandError::usage(
            format!("{name} is the name of two target groups"),
            "say which: awstargetgroup/NAME or targetgroup/NAME",
        )),
        _ => Ok((session.store, all)),
    }
}

async fn annotate(
    context: &mut Context,
    store: &Store,
    groups: &[Group],
    drain: bool,
) -> Result<ExitStatus, CommandError> {
    let word = if drain { "drained" } else { "undrained" };
    for group in groups {
        let name = format!("{}/{}", group.kind.resource(), group.key.name);
        if group.drained == drain {
            context.printer.result(&format!("{name} is {word} already"))?;
            continue;
        }
        let value = if drain { json!("true") } else { Value::Null };
        let patch = json!({"metadata": {
            "resourceVersion": group.resource_version,
            "annotations": {DRAIN_ANNOTATION: value},
        }});
        let written = match group.kind {
            KindName::Awstargetgroups => store.merge_patch::<AWSTargetGroup>(&group.key, &patch).await.map(drop),
            _ => store.merge_patch::<TargetGroup>(&group.key, &patch).await.map(drop),
        };
        let what = format!("failed to {} {}", if drain { "drain" } else { "undrain" }, group.key);
        written.map_err(|error| CommandError::store(what, &error))?;
        context.printer.result(&format!("{name} {word}"))?;
    }
    Ok(ExitStatus::Ok)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::render::fixtures;

    fn group(name: &str, drained: bool) -> Group {
        Group {
            kind: KindName::Awstargetgroups,
            key: Key::new("shop", name),
            labels: BTreeMap::from([("role".to_owned(), "web".to_owned())]),
            drained,
            resource_version: None,
        }
    }

    #[test]
    fn the_last_serving_one_stays() {
        let (cell, _) = fixtures::waiting_for_pause();
        let all =
            |drained: &[&str]| ["web-1", "web-2", "web-3", "web-4"].map(|name| group(name, drained.contains(&name)));
        let meant = |names: &[&str]| -> Vec<Group> { names.iter().map(|name| group(name, false)).collect() };
        assert!(!leaves_none(&cell, &meant(&["web-1"]), &all(&[])));
        assert!(!leaves_none(&cell, &meant(&["web-1"]), &all(&["web-2", "web-3"])));
        assert!(leaves_none(&cell, &meant(&["web-1"]), &all(&["web-2", "web-3", "web-4"])));
        assert!(leaves_none(&cell, &meant(&["web-1", "web-2", "web-3", "web-4"]), &all(&[])));
        // One without traffic may go whatever the others do.
        assert!(!leaves_none(&cell, &meant(&["web-9"]), &all(&["web-1", "web-2", "web-3", "web-4"])));
        assert!(!leaves_none(&fixtures::cell(), &meant(&["web-1"]), &all(&[])));
    }

    #[test]
    fn only_groups_that_the_cell_selects_count() {
        let (cell, _) = fixtures::waiting_for_pause();
        assert!(group("web-1", false).is_of(&cell));
        let mut elsewhere = group("web-1", false);
        elsewhere.key.namespace = "other".to_owned();
        assert!(!elsewhere.is_of(&cell));
        let mut other_kind = group("web-1", false);
        other_kind.kind = KindName::Targetgroups;
        assert!(!other_kind.is_of(&cell));
    }
}
