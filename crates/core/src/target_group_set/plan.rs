//! What to do about the AWSTargetGroups of a set.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use okra_api::{
    AWSTargetGroup,
    names::{BINDING_NAME_LABEL, BINDING_NAMESPACE_LABEL, TARGET_GROUP_SET_LABEL, TARGET_GROUP_SET_UID_LABEL},
    target_group_set::{AWSTargetGroupSetStatus, TargetGroupNote},
};

use super::{
    ClusterAnswer, Facts, ObservedCluster, ValidatedTargetGroupSet,
    status::{self, Tally},
    wanted::{BindingKey, Selected, Wanted, binding_name, selected},
};

/// What a decision is made of.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The set.
    pub set: &'a ValidatedTargetGroupSet,
    /// Its present status.
    pub status: &'a AWSTargetGroupSetStatus,
    /// The clusters that it selects.
    pub clusters: &'a [ObservedCluster],
    /// Ids of the clusters of all cluster Secrets of the namespace, selected or not.
    pub known: &'a BTreeSet<String>,
    /// Ids of clusters that ClusterSets of the namespace found gone.
    pub gone: &'a BTreeSet<String>,
    /// Every AWSTargetGroup of the namespace, whoever made it.
    pub groups: &'a [Arc<AWSTargetGroup>],
    /// Names of the AWSTargetGroupSets of the namespace.
    pub sets: &'a BTreeSet<String>,
    /// What AWS said of target groups.
    pub facts: &'a Facts,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create this AWSTargetGroup for this binding.
    Create {
        /// Whose it is, for people.
        subject: String,
        /// The AWSTargetGroup.
        group: Box<AWSTargetGroup>,
    },
    /// Replace an AWSTargetGroup by this.
    Update {
        /// Whose it is, for people.
        subject: String,
        /// The AWSTargetGroup, with the resourceVersion that it was read at.
        group: Box<AWSTargetGroup>,
    },
    /// Delete exactly this AWSTargetGroup.
    Delete {
        /// The AWSTargetGroup as it was read.
        group: Arc<AWSTargetGroup>,
        /// Why it may be.
        evidence: Evidence,
    },
}

/// Why an AWSTargetGroup may be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The cluster of this Secret answered that this binding is gone. To be asked once more before the deletion.
    BindingGone {
        /// Name of the cluster's Secret.
        secret: String,
        /// Namespace of the binding.
        namespace: String,
        /// Name of the binding.
        name: String,
    },
    /// A ClusterSet found by complete answers that the cluster itself is gone.
    ClusterGone,
}

/// What to do, and what to say of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The writes, in order.
    pub actions: Vec<Action>,
    /// The status once they are done.
    pub status: AWSTargetGroupSetStatus,
}

/// Decides.
pub fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let mut planner = Planner {
        observed,
        tally: Tally::default(),
        actions: Vec::new(),
        own: BTreeMap::new(),
        names: observed.groups.iter().map(|group| name_of(group)).collect(),
        clusters: BTreeMap::new(),
    };
    for group in observed.groups.iter().filter(|group| label(group, TARGET_GROUP_SET_LABEL) == Some(&observed.set.name))
    {
        planner.own.extend(BindingKey::of(group).map(|key| (key, group)));
    }
    // Of several Secrets of one cluster the first that can be used counts.
    let (usable, rest): (Vec<_>, Vec<_>) =
        observed.clusters.iter().partition(|cluster| matches!(cluster.answer, ClusterAnswer::Bindings(_)));
    for cluster in usable.into_iter().chain(rest) {
        planner.visit(cluster);
    }
    planner.prune();
    let status = status::status(observed, planner.tally, now);
    Plan { actions: planner.actions, status }
}

struct Planner<'a> {
    observed: &'a Observed<'a>,
    tally: Tally,
    actions: Vec<Action>,
    /// AWSTargetGroups of this set that no selected binding has claimed yet.
    own: BTreeMap<BindingKey, &'a Arc<AWSTargetGroup>>,
    /// Names that are taken.
    names: BTreeSet<String>,
    /// By id, the clusters that were visited.
    clusters: BTreeMap<&'a str, &'a ObservedCluster>,
}

impl<'a> Planner<'a> {
    fn visit(&mut self, cluster: &'a ObservedCluster) {
        self.tally.clusters += 1;
        if let Some(other) = self.clusters.get(cluster.id.as_str()) {
            let message = match &cluster.answer {
                ClusterAnswer::Unknown(why) => why.clone(),
                ClusterAnswer::Bindings(_) => {
                    format!("it has the same server as Secret {}, which is used", other.secret)
                }
            };
            self.tally.unreachable.push(TargetGroupNote { name: cluster.secret.clone(), message });
            return;
        }
        self.clusters.insert(&cluster.id, cluster);
        let unknown = match &cluster.answer {
            ClusterAnswer::Unknown(why) => Some(why),
            ClusterAnswer::Bindings(_) => cluster.trouble.as_ref(),
        };
        let name = cluster.name.clone();
        self.tally.unreachable.extend(unknown.map(|why| TargetGroupNote { name, message: why.clone() }));
        let mut bindings: Vec<Selected<'a>> = selected(self.observed.set, cluster).collect();
        bindings.sort_by_key(Selected::key);
        for binding in bindings {
            self.keep(binding);
        }
    }

    /// Sees to the AWSTargetGroup of a binding.
    fn keep(&mut self, one: Selected<'_>) {
        let key = one.key();
        let own = self.own.remove(&key);
        self.tally.target_groups += i32::from(own.is_some());
        let subject = format!("{} {}", one.cluster.name, key.binding);
        let outcome =
            one.wanted(self.observed.set, self.observed.facts).and_then(|wanted| self.place(own, &wanted, &subject));
        match outcome {
            Ok(()) => self.tally.target_groups += i32::from(own.is_none()),
            Err(message) => self.tally.refused.push(TargetGroupNote { name: subject, message }),
        }
    }

    fn place(&mut self, own: Option<&Arc<AWSTargetGroup>>, wanted: &Wanted, subject: &str) -> Result<(), String> {
        let set = self.observed.set;
        let present = match own {
            Some(own) => Some(own),
            None => self.of_arn(wanted)?,
        };
        let subject = subject.to_owned();
        if let Some(present) = present {
            if let Some(group) = wanted.update(set, present) {
                self.actions.push(Action::Update { subject, group: Box::new(group) });
            }
            return Ok(());
        }
        let free = wanted.names.iter().find(|name| !name.is_empty() && !self.names.contains(*name));
        let name = free.ok_or_else(|| format!("the names {} are taken", wanted.names.join(", ")))?.clone();
        self.names.insert(name.clone());
        self.actions.push(Action::Create { subject, group: Box::new(wanted.create(set, name)) });
        Ok(())
    }

    /// An AWSTargetGroup of this ARN that is not this set's and may be taken: what the first okra made of this very
    /// binding. Why there may be no other, where somebody else has registered the ARN.
    fn of_arn(&self, wanted: &Wanted) -> Result<Option<&'a Arc<AWSTargetGroup>>, String> {
        let mut others = self.observed.groups.iter().filter(|group| {
            group.spec.arn.trim() == wanted.arn && label(group, TARGET_GROUP_SET_LABEL) != Some(&self.observed.set.name)
        });
        let Some(other) = others.next() else { return Ok(None) };
        let name = name_of(other);
        match label(other, TARGET_GROUP_SET_LABEL).filter(|set| self.observed.sets.contains(*set)) {
            Some(set) => Err(format!("AWSTargetGroupSet {set} has registered its target group already, as {name}")),
            None if is_made_of(other, wanted) => Ok(Some(other)),
            None => Err(format!(
                "its target group is registered already, as AWSTargetGroup {name}, which this set did not make: \
                 remove one of the two"
            )),
        }
    }

    /// Removes the AWSTargetGroups of bindings that are gone, and names those that nothing selects any more.
    fn prune(&mut self) {
        for (key, group) in std::mem::take(&mut self.own) {
            if group.metadata.deletion_timestamp.is_some() {
                continue;
            }
            match self.verdict(&key, group) {
                Ok(evidence) => self.actions.push(Action::Delete { group: group.clone(), evidence }),
                Err(why) => {
                    self.tally.target_groups += 1;
                    if let Some(message) = why {
                        self.tally.kept.push(TargetGroupNote { name: name_of(group), message });
                    }
                }
            }
        }
    }

    /// Why an AWSTargetGroup may be removed; otherwise what is to be said of it, if anything.
    fn verdict(&self, key: &BindingKey, group: &AWSTargetGroup) -> Result<Evidence, Option<String>> {
        let Observed { set, known, gone, .. } = *self.observed;
        if label(group, TARGET_GROUP_SET_UID_LABEL) != Some(&set.uid) {
            return Err(Some("an earlier AWSTargetGroupSet of this name made it".to_owned()));
        }
        let Some(cluster) = self.clusters.get(key.cluster.as_str()) else {
            return match (known.contains(&key.cluster), gone.contains(&key.cluster)) {
                (true, _) => Err(Some("its cluster is not selected any more".to_owned())),
                (false, true) => Ok(Evidence::ClusterGone),
                (false, false) => {
                    Err(Some("the Secret of its cluster is gone, and nobody said that the cluster is".to_owned()))
                }
            };
        };
        let ClusterAnswer::Bindings(bindings) = &cluster.answer else { return Err(None) };
        let binding = bindings.iter().find(|binding| binding_name(binding) == key.binding);
        if binding.is_some_and(|binding| binding.metadata.deletion_timestamp.is_none()) {
            return Err(Some(format!("binding {} is not selected any more", key.binding)));
        }
        let (namespace, name) = key.binding.split_once('/').unwrap_or_default();
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Ok(Evidence::BindingGone { secret: cluster.secret.clone(), namespace, name })
    }
}

/// Whether the first okra made an AWSTargetGroup of this binding: it noted no cluster.
fn is_made_of(group: &AWSTargetGroup, wanted: &Wanted) -> bool {
    let stated = label(group, BINDING_NAMESPACE_LABEL).zip(label(group, BINDING_NAME_LABEL));
    stated == wanted.key.binding.split_once('/')
}

fn name_of(group: &AWSTargetGroup) -> String {
    group.metadata.name.clone().unwrap_or_default()
}

pub(super) fn label<'a>(group: &'a AWSTargetGroup, key: &str) -> Option<&'a str> {
    group.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str)
}
