//! The writes of an AWSTargetGroupSet.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use okra_api::{AWSTargetGroupSetStatus, target_group_set::TargetGroupNote};
use okra_core::target_group_set::{Action, Evidence, Observed, Plan, plan, refuse};
use okra_provider::{BackendError, Key};

use super::{TargetGroupSetController, checked};
use crate::reconciler::ReconcileError;

/// Writes and questions at once.
const AT_ONCE: usize = 8;
/// So many names stand in an event; the rest is counted.
const NAMED: usize = 8;

/// A warning or not, reason and message of an event.
pub(super) type Told = (bool, &'static str, String);

/// What a write came to.
enum Done {
    Registered(String),
    Updated(String),
    Removed(String),
    Refused { note: TargetGroupNote, is_new: bool },
}

impl TargetGroupSetController {
    /// Plans once more, one set at a time, and does it. `None`: what is known is older than a write of our own, and
    /// the watch that shows it wakes the set.
    pub(super) async fn apply(
        &self,
        observed: &Observed<'_>,
        secrets: &[&Secret],
        now: Timestamp,
    ) -> Result<Option<(Plan, Vec<Told>)>, ReconcileError> {
        let gone = self.confirm(&plan(observed, now), secrets).await;
        let _one_at_a_time = self.making.lock().await;
        let Some(groups) = self.fresh_groups(&observed.set.namespace) else { return Ok(None) };
        let observed = &Observed { groups: &groups, ..*observed };
        let mut plan = checked(observed, plan(observed, now), now);
        plan.actions.retain(|action| match action {
            Action::Delete { group, .. } => gone.contains(&Key::of_typed(&**group)),
            _ => true,
        });
        let writes: Vec<_> = plan.actions.iter().map(|action| self.act(action)).collect();
        let results: Vec<Result<Done, BackendError>> = stream::iter(writes).buffered(AT_ONCE).collect().await;
        let (mut done, mut failed) = (Vec::new(), None);
        for result in results {
            match result {
                Ok(one) => done.push(one),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let told = tell(&mut plan, &done, observed, now);
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(Some((plan, told))),
        }
    }

    /// Asks the clusters themselves whether the bindings of what would be deleted are gone; those that are.
    async fn confirm(&self, plan: &Plan, secrets: &[&Secret]) -> BTreeSet<Key> {
        let asked = plan.actions.iter().filter_map(|action| match action {
            Action::Delete { group, evidence } => Some((Key::of_typed(&**group), evidence)),
            _ => None,
        });
        let asked = asked.map(|(group, evidence)| async move {
            let Evidence::BindingGone { secret: name, namespace, name: binding } = evidence else {
                return Some(group);
            };
            let secret = secrets.iter().find(|secret| secret.metadata.name.as_deref() == Some(name))?;
            match self.bindings.is_there(secret, &Key::new(namespace, binding)).await {
                Ok(is_there) => (!is_there).then_some(group),
                Err(error) => {
                    tracing::warn!(%group, error, "kept: its cluster could not be asked whether the binding is gone");
                    None
                }
            }
        });
        stream::iter(asked.collect::<Vec<_>>()).buffered(AT_ONCE).filter_map(std::future::ready).collect().await
    }

    async fn act(&self, action: &Action) -> Result<Done, BackendError> {
        let store = &self.context.store;
        match action {
            Action::Create { subject, group } => match store.create(&**group).await {
                Ok(made) => {
                    let key = Key::of_typed(&made);
                    self.written.lock().insert(key.clone());
                    Ok(Done::Registered(format!("{subject} as {}", key.name)))
                }
                Err(error) => refused(subject, error, true),
            },
            Action::Update { subject, group } => match store.update(&**group).await {
                Ok(made) => {
                    let key = Key::of_typed(&made);
                    self.written.lock().insert(key.clone());
                    Ok(Done::Updated(key.name))
                }
                Err(error) => refused(subject, error, false),
            },
            Action::Delete { group, evidence } => {
                let name = group.metadata.name.clone().unwrap_or_default();
                match store.delete(&**group).await {
                    Ok(()) | Err(BackendError::NotFound { .. }) => {
                        let whose = if *evidence == Evidence::ClusterGone { "cluster" } else { "binding" };
                        Ok(Done::Removed(format!("{name}, whose {whose} is gone")))
                    }
                    Err(error) => refused(&name, error, false),
                }
            }
        }
    }
}

/// What only a person can mend is told; the rest may pass.
fn refused(subject: &str, error: BackendError, is_new: bool) -> Result<Done, BackendError> {
    match error {
        BackendError::Denied { message } | BackendError::Invalid { message } => {
            Ok(Done::Refused { note: TargetGroupNote { name: subject.to_owned(), message }, is_new })
        }
        error => Err(error),
    }
}

/// The events of what was done; failures go into the plan's status.
fn tell(plan: &mut Plan, done: &[Done], observed: &Observed<'_>, now: Timestamp) -> Vec<Told> {
    let (mut registered, mut updated, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    let (mut notes, mut without) = (Vec::new(), 0);
    for one in done {
        match one {
            Done::Registered(what) => registered.push(what.as_str()),
            Done::Updated(what) => updated.push(what.as_str()),
            Done::Removed(what) => removed.push(what.as_str()),
            Done::Refused { note, is_new } => {
                without += i32::from(*is_new);
                notes.push(note.clone());
            }
        }
    }
    refuse(&mut plan.status, observed.set, &notes, without, now);
    let mut told = Vec::new();
    for (reason, verb, names) in [
        ("RegisteredTargetGroups", "registered", registered),
        ("UpdatedTargetGroups", "brought up to date", updated),
        ("RemovedTargetGroups", "removed", removed),
    ] {
        if !names.is_empty() {
            told.push((false, reason, format!("{verb}: {}", listed(&names))));
        }
    }
    told
}

/// The events of what stands in a status and did not before: it is tried again at each look, and told once.
pub(super) fn news(before: &AWSTargetGroupSetStatus, after: &AWSTargetGroupSetStatus) -> Vec<Told> {
    let mut told = Vec::new();
    for (reason, words, before, after) in [
        ("RefusedBindings", "not registered", &before.refused, &after.refused),
        ("UnreachableClusters", "bindings are not known", &before.unreachable, &after.unreachable),
        ("KeptTargetGroups", "kept though nothing selects them", &before.kept, &after.kept),
    ] {
        let new = after.iter().filter(|note| !before.contains(note));
        let new: Vec<String> = new.map(|note| format!("{}: {}", note.name, note.message)).collect();
        if !new.is_empty() {
            let names: Vec<&str> = new.iter().map(String::as_str).collect();
            told.push((true, reason, format!("{words}: {}", listed(&names))));
        }
    }
    told
}

fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
