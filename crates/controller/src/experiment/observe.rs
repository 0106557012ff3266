//! What a look at an experiment is made from.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{apps::v1::ReplicaSet, core::v1::Service},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use okra_api::{
    AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate, Experiment, RunPhase,
    analysis::{AnalysisTemplateRef, AnalysisTemplateSpec, ExperimentStatus},
};
use okra_core::{
    analysis::{
        Annotations, Failure, ObservedExperiment, ObservedReplicaSet, ObservedRun, collision_name, template_of,
    },
    cell::is_controlled_by,
};
use okra_provider::{BackendError, Cache, Key, Lookup, Stored};

use super::{ExperimentController, is_child};
use crate::reconciler::ReconcileError;

/// What can be seen of an experiment's surroundings.
pub(super) enum Sight {
    /// Everything.
    Clear(Box<Around>),
    /// Our own last write has not come back yet.
    Stale,
    /// A watch has begun and knows nothing yet.
    Syncing,
    /// A watch cannot begin: why.
    Blocked(BackendError),
}

/// A template with its annotations.
type Template = (Annotations, AnalysisTemplateSpec);

/// The objects around an experiment.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// The ReplicaSets that it owns, by the name of their template.
    pub(super) sets: BTreeMap<String, Arc<ReplicaSet>>,
    /// The Services that it owns, by the name of their template.
    pub(super) services: BTreeMap<String, Arc<Service>>,
    observed_sets: BTreeMap<String, ObservedReplicaSet>,
    service_names: BTreeMap<String, String>,
    runs: BTreeMap<String, ObservedRun>,
    templates: BTreeMap<AnalysisTemplateRef, AnalysisTemplateSpec>,
    annotations: BTreeMap<AnalysisTemplateRef, Annotations>,
}

impl Around {
    /// As the engine takes it.
    pub(super) fn observed<'a>(
        &'a self,
        key: &'a Key,
        experiment: &'a Experiment,
        failures: &'a [Failure],
    ) -> ObservedExperiment<'a> {
        ObservedExperiment {
            name: &key.name,
            spec: &experiment.spec,
            status: experiment.status.as_ref(),
            replica_sets: &self.observed_sets,
            services: &self.service_names,
            runs: &self.runs,
            templates: &self.templates,
            annotations: &self.annotations,
            failures,
        }
    }
}

impl ExperimentController {
    /// Reads what the engine needs.
    pub(super) async fn observe(&self, key: &Key, experiment: &Experiment) -> Result<Sight, ReconcileError> {
        let store = &self.context.store;
        let sets = self.replica_sets.get_or_init(|| store.cache());
        let services = uses_services(experiment).then(|| self.services.get_or_init(|| store.cache()));
        for is_ready in [is_ready(sets), services.map_or(Ok(true), is_ready)] {
            match is_ready {
                Ok(true) => {}
                Ok(false) => return Ok(Sight::Syncing),
                Err(error) => return Ok(Sight::Blocked(error)),
            }
        }
        let mut around = Around {
            sets: owned(sets, key, experiment, |set| &set.metadata),
            services: services
                .map(|services| owned(services, key, experiment, |service| &service.metadata))
                .unwrap_or_default(),
            ..Around::default()
        };
        if self.is_stale(key, experiment, &around) {
            return Ok(Sight::Stale);
        }
        around.observed_sets = around.sets.iter().map(|(name, set)| (name.clone(), (&**set).into())).collect();
        let service_name = |service: &Service| service.metadata.name.clone().unwrap_or_default();
        around.service_names = around.services.iter().map(|(name, own)| (name.clone(), service_name(own))).collect();
        around.runs = self.observed_runs(key, experiment).await?;
        for (reference, (annotations, spec)) in self.observed_templates(key, experiment).await? {
            around.annotations.insert(reference.clone(), annotations);
            around.templates.insert(reference, spec);
        }
        Ok(Sight::Clear(Box::new(around)))
    }

    /// Whether something that this controller wrote has not come back through its watch.
    fn is_stale(&self, key: &Key, experiment: &Experiment, around: &Around) -> bool {
        let at = |name: &str| Key::new(&key.namespace, name);
        let sets = self.replica_sets.get();
        let services = self.services.get();
        let mut templates = experiment.spec.templates.iter();
        let of_templates = templates.any(|template| {
            let set = at(&format!("{}-{}", key.name, template.name));
            let own = template.service.as_ref().map(|service| service.name.clone()).filter(|name| !name.is_empty());
            let service = own.map_or_else(|| set.clone(), |name| at(&name));
            sets.is_some_and(|sets| sets.is_stale(&set)) || services.is_some_and(|cache| cache.is_stale(&service))
        });
        let present = around.sets.values().any(|set| sets.is_some_and(|sets| sets.is_stale(&Key::of_typed(&**set))))
            || around.services.values().any(|own| services.is_some_and(|all| all.is_stale(&Key::of_typed(&**own))));
        let named = experiment.status.iter().flat_map(|status| &status.analysis_runs);
        let of_runs = named.into_iter().any(|run| self.runs.is_stale(&at(&run.analysis_run)))
            || experiment.spec.analyses.iter().any(|analysis| {
                let base = format!("{}-{}", key.name, analysis.name);
                let names = (0..).map(|collisions| at(&collision_name(&base, collisions)));
                // The first one that is not there is the one that would be made.
                names.take_while(|name| self.runs.get(name) != Lookup::Missing).any(|name| self.runs.is_stale(&name))
            });
        of_templates || present || of_runs
    }

    /// The AnalysisRuns with names like those of the experiment. One that the status names and the cache has not is looked
    /// for past it: a list of a restart may be older than the status.
    async fn observed_runs(
        &self,
        key: &Key,
        experiment: &Experiment,
    ) -> Result<BTreeMap<String, ObservedRun>, ReconcileError> {
        let uid = experiment.metadata.uid.as_deref().unwrap_or_default();
        let of = |run: &AnalysisRun| {
            let observed = ObservedRun {
                owned: is_controlled_by(&run.metadata, uid),
                spec: run.spec.clone(),
                phase: run.status.as_ref().and_then(|status| status.phase),
                message: run.status.as_ref().map(|status| status.message.clone()).unwrap_or_default(),
            };
            (run.metadata.name.clone().unwrap_or_default(), observed)
        };
        let all = self.runs.list(Some(&key.namespace));
        let like = all.iter().filter(|run| is_child(run.metadata.name.as_deref().unwrap_or_default(), &key.name));
        let mut runs: BTreeMap<String, ObservedRun> = like.map(|run| of(run)).collect();
        for named in experiment.status.iter().flat_map(|status| &status.analysis_runs) {
            let name = &named.analysis_run;
            if name.is_empty() || named.phase.is_some_and(RunPhase::is_completed) || runs.contains_key(name) {
                continue;
            }
            if let Some(run) = self.live::<AnalysisRun>(&Key::new(&key.namespace, name)).await? {
                runs.extend([of(&run)]);
            }
        }
        Ok(runs)
    }

    /// The templates of analyses that have no run yet, and those that these refer to. One that the cache has not is looked
    /// for past it: applied together with the experiment, its watch may be the slower one, and missing is an Error.
    async fn observed_templates(
        &self,
        key: &Key,
        experiment: &Experiment,
    ) -> Result<BTreeMap<AnalysisTemplateRef, Template>, ReconcileError> {
        let mut found = BTreeMap::new();
        let analyses = experiment.spec.analyses.iter();
        let mut wanted: Vec<AnalysisTemplateRef> = analyses
            .filter(|analysis| needs_template(experiment.status.as_ref(), &analysis.name))
            .map(|analysis| AnalysisTemplateRef {
                template_name: analysis.template_name.clone(),
                cluster_scope: analysis.cluster_scope,
            })
            .collect();
        while let Some(reference) = wanted.pop() {
            if found.contains_key(&reference) {
                continue;
            }
            let Some(template) = self.template(key, &reference).await? else { continue };
            wanted.extend(template.1.templates.iter().cloned());
            found.insert(reference, template);
        }
        Ok(found)
    }

    async fn template(&self, key: &Key, reference: &AnalysisTemplateRef) -> Result<Option<Template>, ReconcileError> {
        let own = |template: &AnalysisTemplate| {
            (template.metadata.annotations.clone().unwrap_or_default(), template.spec.clone())
        };
        let of_cluster = |template: &ClusterAnalysisTemplate| {
            (template.metadata.annotations.clone().unwrap_or_default(), template.spec.template.clone())
        };
        let name = &reference.template_name;
        if reference.cluster_scope {
            let key = Key::new("", name);
            let cached = self.cluster_templates.get(&key);
            let live = matches!(cached, Lookup::Missing | Lookup::Stale);
            return Ok(match cached {
                Lookup::Found(template) => Some(of_cluster(&template)),
                _ if live => self.live::<ClusterAnalysisTemplate>(&key).await?.as_ref().map(of_cluster),
                _ => None,
            });
        }
        let key = Key::new(&key.namespace, name);
        Ok(match self.templates.get(&key) {
            Lookup::Found(template) => Some(own(&template)),
            Lookup::Missing | Lookup::Stale => self.live::<AnalysisTemplate>(&key).await?.as_ref().map(own),
            Lookup::Malformed(_) => None,
        })
    }

    /// An object as it is now, past the cache; none where it or its kind is not there.
    pub(super) async fn live<K: Stored>(&self, key: &Key) -> Result<Option<K>, ReconcileError> {
        match self.context.store.get_live::<K>(key).await {
            Ok(object) => Ok(Some(object)),
            Err(BackendError::NotFound { .. } | BackendError::Absent(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether the run of an analysis may still have to be made.
fn needs_template(status: Option<&ExperimentStatus>, analysis: &str) -> bool {
    let known = status.and_then(|status| status.analysis_runs.iter().find(|run| run.name == analysis));
    known.is_none_or(|run| run.analysis_run.is_empty() && !run.phase.is_some_and(RunPhase::is_completed))
}

fn uses_services(experiment: &Experiment) -> bool {
    let known = experiment.status.iter().flat_map(|status| &status.template_statuses);
    experiment.spec.templates.iter().any(|template| template.service.is_some())
        || known.into_iter().any(|template| !template.service_name.is_empty())
}

/// Whether a watch knows what is there; its trouble as an error while it does not.
fn is_ready<K: Stored>(cache: &Cache<K>) -> Result<bool, BackendError> {
    if cache.is_synced() {
        return Ok(true);
    }
    match cache.trouble() {
        Some(trouble) => Err(BackendError::Unreachable(format!("failed to watch {}: {trouble}", K::plural(&())))),
        None => Ok(false),
    }
}

/// The objects that an experiment owns, by the name of the template that they were made for. Of several the one with the
/// name that this controller gives.
fn owned<K: Stored>(
    cache: &Cache<K>,
    key: &Key,
    experiment: &Experiment,
    meta: impl Fn(&K) -> &ObjectMeta,
) -> BTreeMap<String, Arc<K>> {
    let uid = experiment.metadata.uid.as_deref().unwrap_or_default();
    let mut found: BTreeMap<String, Arc<K>> = BTreeMap::new();
    for object in cache.list(Some(&key.namespace)) {
        let meta = meta(&object);
        if !is_controlled_by(meta, uid) || meta.deletion_timestamp.is_some() {
            continue;
        }
        let Some(template) = template_of(meta).map(str::to_owned) else { continue };
        let is_usual = meta.name.as_deref() == Some(&format!("{}-{template}", key.name));
        if is_usual || !found.contains_key(&template) {
            found.insert(template, object);
        }
    }
    found
}
