//! What to do about the cluster Secrets of a set.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use okra_api::{
    cluster_set::{AnswerState, ClusterNote, ClusterSetStatus, MissingCluster, RemovedCluster},
    names::{CLUSTER_ID_ANNOTATION, CLUSTER_SET_LABEL, CLUSTER_SET_UID_LABEL},
};

use crate::naming::short_hash;

use super::{
    Answer, ClusterState, FoundCluster, ValidatedClusterSet,
    secret::{Wanted, annotation, data_text, label, normalized, wanted},
    status::{self, Tally},
};

/// So many clusters that are gone are kept in mind.
const REMEMBERED: usize = 256;

/// What a decision is made of.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The set.
    pub set: &'a ValidatedClusterSet,
    /// Its present status.
    pub status: &'a ClusterSetStatus,
    /// What its generators answered, in the order of the spec.
    pub answers: &'a [Answer],
    /// Every cluster Secret of the namespace, whoever made it.
    pub secrets: &'a [Arc<Secret>],
    /// Names of the ClusterSets of the namespace.
    pub sets: &'a BTreeSet<String>,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create this Secret for this cluster.
    Create {
        /// The cluster.
        cluster: String,
        /// The Secret.
        secret: Box<Secret>,
    },
    /// Replace a Secret by this.
    Update {
        /// The cluster.
        cluster: String,
        /// The Secret, with the resourceVersion that it was read at.
        secret: Box<Secret>,
        /// Whether it was somebody else's.
        adopts: bool,
    },
    /// Delete exactly this Secret.
    Delete {
        /// The Secret as it was read.
        secret: Arc<Secret>,
    },
}

/// What to do, and what to say of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The writes, in order.
    pub actions: Vec<Action>,
    /// The status once they are done.
    pub status: ClusterSetStatus,
    /// When to look again.
    pub wake_at: Timestamp,
}

/// Decides.
pub fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let mut planner = Planner {
        observed,
        now,
        tally: Tally::default(),
        actions: Vec::new(),
        handled: BTreeSet::new(),
        names: observed.secrets.iter().filter_map(|secret| secret.metadata.name.clone()).collect(),
        servers: BTreeMap::new(),
    };
    let mut found = BTreeSet::new();
    for (answer, generator) in observed.answers.iter().zip(&observed.set.generators) {
        let role = generator.awseks.as_ref().and_then(|eks| eks.role_arn.as_deref());
        let mut clusters: Vec<&FoundCluster> = answer.clusters.iter().collect();
        clusters.sort_by(|a, b| a.id.cmp(&b.id));
        for cluster in clusters {
            if found.insert(cluster.id.clone()) {
                planner.keep(cluster, role);
            }
        }
    }
    planner.prune(&found);
    planner.finish()
}

struct Planner<'a> {
    observed: &'a Observed<'a>,
    now: Timestamp,
    tally: Tally,
    actions: Vec<Action>,
    /// Secrets that a cluster has.
    handled: BTreeSet<String>,
    /// Names that are taken.
    names: BTreeSet<String>,
    /// By server, the cluster that has it.
    servers: BTreeMap<String, String>,
}

/// Whose a Secret is.
enum Maker<'a> {
    /// Of this set, as it is or as it was before it was made anew.
    Us,
    /// Of another set that is there.
    Set(&'a str),
    /// Of a person, of another tool, or of a set that is gone.
    Others,
}

impl<'a> Planner<'a> {
    fn maker(&self, secret: &'a Secret) -> Maker<'a> {
        match label(secret, CLUSTER_SET_LABEL) {
            Some(name) if name == self.observed.set.name => Maker::Us,
            Some(name) if self.observed.sets.contains(name) => Maker::Set(name),
            _ => Maker::Others,
        }
    }

    /// Sees to the Secret of a cluster.
    fn keep(&mut self, cluster: &FoundCluster, role: Option<&str>) {
        let own = self.own(&cluster.id);
        if let Some(own) = &own {
            self.handled.insert(name_of(own));
        }
        let note = |message: String| ClusterNote { name: cluster.name.clone(), message };
        if let ClusterState::NotReady(state) = &cluster.state {
            self.tally.waiting.push(note(state.clone()));
            self.tally.clusters += i32::from(own.is_some());
            return;
        }
        let outcome = wanted(self.observed.set, cluster, role).and_then(|wanted| self.place(own.as_ref(), &wanted));
        match outcome {
            Ok(()) => self.tally.clusters += 1,
            Err(why) => {
                self.tally.clusters += i32::from(own.is_some());
                self.tally.refused.push(note(why));
            }
        }
    }

    /// The Secret that this set made for a cluster.
    fn own(&self, id: &str) -> Option<Arc<Secret>> {
        let mut secrets = self.observed.secrets.iter();
        let own = secrets.find(|secret| {
            matches!(self.maker(secret), Maker::Us) && annotation(secret, CLUSTER_ID_ANNOTATION) == Some(id)
        });
        own.cloned()
    }

    fn place(&mut self, own: Option<&Arc<Secret>>, wanted: &Wanted) -> Result<(), String> {
        let server = normalized(&wanted.server);
        if let Some(other) = self.servers.get(&server) {
            return Err(format!("it has the same server as cluster {other}"));
        }
        let (present, adopts) = match own {
            Some(own) => (Some(own.clone()), false),
            None => self.of_server(&server)?,
        };
        self.servers.insert(server, wanted.cluster.clone());
        let (set, cluster) = (self.observed.set, wanted.cluster.clone());
        if let Some(present) = present {
            self.handled.insert(name_of(&present));
            if let Some(secret) = wanted.update(set, &present) {
                self.actions.push(Action::Update { cluster, secret: Box::new(secret), adopts });
            }
            return Ok(());
        }
        let name = self.free_name(wanted)?;
        self.handled.insert(name.clone());
        self.names.insert(name.clone());
        self.actions.push(Action::Create { cluster, secret: Box::new(wanted.create(set, name)) });
        Ok(())
    }

    /// A Secret of this server that may be taken, and whether that is an adoption; why it may not.
    fn of_server(&self, server: &str) -> Result<(Option<Arc<Secret>>, bool), String> {
        let mut ours = None;
        for secret in self.observed.secrets.iter().filter(|secret| normalized(&data_text(secret, "server")) == server) {
            let name = name_of(secret);
            match self.maker(secret) {
                Maker::Us => ours = ours.or(Some((secret.clone(), false))),
                Maker::Set(other) => return Err(format!("ClusterSet {other} keeps Secret {name} of the same server")),
                Maker::Others if self.observed.set.adopt => ours = ours.or(Some((secret.clone(), true))),
                Maker::Others => {
                    return Err(format!(
                        "Secret {name} of the same server was made by somebody else: set spec.adopt to take it over"
                    ));
                }
            }
        }
        Ok(ours.map_or((None, false), |(secret, adopts)| (Some(secret), adopts)))
    }

    /// The wanted name, or with a part of its own when another cluster has it.
    fn free_name(&self, wanted: &Wanted) -> Result<String, String> {
        if wanted.name.is_empty() {
            return Err("its Secret would have no name: set spec.template.metadata.name".to_owned());
        }
        if !self.names.contains(&wanted.name) {
            return Ok(wanted.name.clone());
        }
        let longer = format!("{}-{:08x}", wanted.name, short_hash(&wanted.id));
        if self.names.contains(&longer) {
            Err(format!("Secrets {} and {longer} are taken", wanted.name))
        } else {
            Ok(longer)
        }
    }

    /// Removes the Secrets of clusters that are gone for long enough.
    fn prune(&mut self, found: &BTreeSet<String>) {
        let Observed { set, answers, secrets, status, .. } = *self.observed;
        let is_complete = !answers.is_empty()
            && answers.len() == set.generators.len()
            && answers.iter().all(|answer| answer.state == AnswerState::Complete);
        for secret in secrets.iter().filter(|secret| {
            label(secret, CLUSTER_SET_LABEL) == Some(&set.name)
                && label(secret, CLUSTER_SET_UID_LABEL) == Some(&set.uid)
        }) {
            let name = name_of(secret);
            let id = annotation(secret, CLUSTER_ID_ANNOTATION).unwrap_or_default();
            if self.handled.contains(&name) || found.contains(id) || secret.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let known = status.missing.iter().find(|missing| missing.secret == name).map(|missing| missing.since);
            let since = match known {
                // A clock that went back must not make the wait longer than it is.
                Some(since) => since.min(self.now),
                None if is_complete => self.now,
                None => {
                    self.tally.clusters += 1;
                    continue;
                }
            };
            let due = since.checked_add(set.prune_after).unwrap_or(Timestamp::MAX);
            if is_complete && due <= self.now {
                self.tally.removed.push(RemovedCluster { id: id.to_owned(), at: self.now });
                self.actions.push(Action::Delete { secret: secret.clone() });
            } else {
                self.tally.clusters += 1;
                self.tally.missing.push(MissingCluster { secret: name, id: id.to_owned(), since });
                self.tally.due = self.tally.due.into_iter().chain(is_complete.then_some(due)).min();
            }
        }
        self.tally.is_complete = is_complete;
        self.remember_removed(found);
    }

    /// Keeps in mind which clusters complete answers said are gone, as long as they have no Secret again. One whose
    /// Secret went before that could be written is found among those that were missing.
    fn remember_removed(&mut self, found: &BTreeSet<String>) {
        let Observed { secrets, status, .. } = *self.observed;
        let has_secret = |id: &str| secrets.iter().any(|secret| annotation(secret, CLUSTER_ID_ANNOTATION) == Some(id));
        let mut all: Vec<RemovedCluster> = status.removed.clone();
        let missing = status.missing.iter().filter(|_| self.tally.is_complete);
        all.extend(missing.map(|missing| RemovedCluster { id: missing.id.clone(), at: self.now }));
        all.retain(|removed| !removed.id.is_empty() && !found.contains(&removed.id) && !has_secret(&removed.id));
        all.append(&mut self.tally.removed);
        let mut known = BTreeSet::new();
        all.retain(|removed| known.insert(removed.id.clone()));
        all.drain(..all.len().saturating_sub(REMEMBERED));
        self.tally.removed = all;
    }

    fn finish(self) -> Plan {
        let next = self.now.checked_add(self.observed.set.interval).unwrap_or(Timestamp::MAX);
        let wake_at = self.tally.due.map_or(next, |due| due.min(next));
        let status = status::status(self.observed, self.tally, !self.actions.is_empty(), self.now);
        Plan { actions: self.actions, status, wake_at }
    }
}

fn name_of(secret: &Secret) -> String {
    secret.metadata.name.clone().unwrap_or_default()
}
