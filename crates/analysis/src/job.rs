//! `job`: a measurement that is a Kubernetes Job. Its outcome is the verdict; conditions are not looked at.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use okra_api::analysis::JobMetric;
use okra_provider::metric::{
    JOB_NAME, JOB_NAMESPACE, JOB_RUN_NAME, JOB_RUN_NAMESPACE, Judgement, MetricError, MetricRequest, OpenMeasurement,
    Outcome, Reading, Running, job_outcome,
};
use okra_provider::{BackendError, Deletion, Key, Kind, Store};
use serde::Deserialize;
use serde_json::{Value as Json, json};

const METRIC_NAME: &str = "analysisrun.argoproj.io/metric-name";
const RUN_UID: &str = "analysisrun.argoproj.io/uid";
/// The Job controller makes the name a label of the pods.
const MAX_NAME: usize = 63;
/// Containers that wait for one of these never start by themselves.
const TERMINAL_WAITS: [&str; 3] = ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"];

/// A cluster that Jobs run in.
#[derive(Clone, Debug)]
pub struct JobPlace {
    /// The cluster's store.
    pub store: Store,
    /// The namespace of all Jobs; none for that of the run.
    pub namespace: Option<String>,
    /// Whether it is another cluster than the run's: an owner reference would lead nowhere.
    pub remote: bool,
}

/// Where Jobs run: in one cluster, unless a profile names another.
#[derive(Clone, Debug, Default)]
pub struct JobPlaces {
    /// Without a profile, and for profiles that name no cluster; none if no Jobs can run.
    pub default: Option<JobPlace>,
    /// By the name of the profile.
    pub profiles: BTreeMap<String, JobPlace>,
}

impl JobPlaces {
    pub(crate) fn of(&self, profile: Option<&str>) -> Result<&JobPlace, MetricError> {
        let named = profile.and_then(|profile| self.profiles.get(profile));
        named.or(self.default.as_ref()).ok_or_else(|| MetricError::new("no cluster is configured that Jobs can run in"))
    }
}

/// What of `provider.job.metadata` counts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// `<uid of the run>.<metric>.<number>`; only the metric's part is cut.
fn job_name(request: &MetricRequest) -> String {
    let number = request.taken + 1;
    let around = request.run.uid.len() + number.to_string().len() + 2;
    let room = MAX_NAME.saturating_sub(around);
    let end = (0..=room.min(request.name.len())).rev().find(|end| request.name.is_char_boundary(*end)).unwrap_or(0);
    let (metric, _) = request.name.split_at(end);
    format!("{}.{metric}.{number}", request.run.uid)
}

/// The Job of a measurement.
fn build(place: &JobPlace, request: &MetricRequest, metric: JobMetric) -> Result<Job, String> {
    let JobMetric { metadata, mut spec } = metric;
    let metadata: Option<Metadata> =
        serde_json::from_value(metadata).map_err(|error| format!("failed to parse provider.job.metadata: {error}"))?;
    let Metadata { mut labels, mut annotations } = metadata.unwrap_or_default();
    let (run, uid) = (&request.run, &request.run.uid);
    let namespace = place.namespace.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| run.namespace.clone());
    labels.insert(RUN_UID.to_owned(), uid.clone());
    annotations.insert(JOB_RUN_NAME.to_owned(), run.name.clone());
    annotations.insert(JOB_RUN_NAMESPACE.to_owned(), run.namespace.clone());
    annotations.insert(METRIC_NAME.to_owned(), request.name.clone());
    let pod_labels = spec
        .as_object_mut()
        .map(|spec| spec.entry("template").or_insert_with(|| json!({})))
        .and_then(Json::as_object_mut)
        .map(|template| template.entry("metadata").or_insert_with(|| json!({})))
        .and_then(Json::as_object_mut)
        .map(|metadata| metadata.entry("labels").or_insert_with(|| json!({})))
        .and_then(Json::as_object_mut)
        .ok_or("failed to parse provider.job.spec: it is no JobSpec")?;
    pod_labels.insert(RUN_UID.to_owned(), Json::from(uid.as_str()));
    let spec = serde_json::from_value(spec).map_err(|error| format!("failed to parse provider.job.spec: {error}"))?;
    let mut job = Job { spec: Some(spec), ..Job::default() };
    job.metadata.name = Some(job_name(request));
    if !place.remote && namespace == run.namespace {
        job.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "argoproj.io/v1alpha1".to_owned(),
            kind: "AnalysisRun".to_owned(),
            name: run.name.clone(),
            uid: uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]);
    }
    job.metadata.namespace = Some(namespace);
    job.metadata.labels = Some(labels);
    job.metadata.annotations = Some(annotations);
    Ok(job)
}

pub(crate) async fn run(
    place: &JobPlace,
    request: &MetricRequest,
    metric: JobMetric,
    now: Timestamp,
) -> Result<Reading, MetricError> {
    let job = build(place, request, metric).map_err(MetricError::new)?;
    let key = Key::of_typed(&job);
    match place.store.create(&job).await {
        Ok(_) => {}
        Err(BackendError::AlreadyExists { .. }) if is_own(place, request, &key).await => {}
        Err(BackendError::AlreadyExists { .. }) => {
            return Err(MetricError::new(format!("jobs.batch \"{}\" already exists", key.name)));
        }
        Err(error) => return Err(MetricError::new(error.to_string())),
    }
    let metadata = [(JOB_NAME, key.name), (JOB_NAMESPACE, key.namespace)];
    // Looked at at once, to see the short ones.
    let metadata = metadata.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
    Ok(Reading::Running(Running { resume_at: now, metadata }))
}

/// Whether a Job of that name was made by an earlier attempt at this measurement. In another cluster the name alone
/// says so, as in Argo Rollouts: it holds the uid of the run.
async fn is_own(place: &JobPlace, request: &MetricRequest, key: &Key) -> bool {
    if place.remote || key.namespace != request.run.namespace {
        return true;
    }
    let Ok(existing) = place.store.get_live::<Job>(key).await else { return false };
    let owners = existing.metadata.owner_references.unwrap_or_default();
    owners.iter().any(|owner| owner.controller == Some(true) && owner.uid == request.run.uid)
}

fn key_of(request: &MetricRequest, open: &OpenMeasurement) -> Result<Key, MetricError> {
    let named = |name: &str| open.metadata.get(name).filter(|value| !value.is_empty()).cloned();
    let name = named(JOB_NAME).ok_or_else(|| MetricError::new("job metadata reference missing"))?;
    Ok(Key::new(named(JOB_NAMESPACE).unwrap_or_else(|| request.run.namespace.clone()), name))
}

pub(crate) async fn resume(
    place: &JobPlace,
    request: &MetricRequest,
    open: &OpenMeasurement,
    now: Timestamp,
) -> Result<Reading, MetricError> {
    let key = key_of(request, open)?;
    let job: Job = place.store.get_live(&key).await.map_err(|error| match error {
        BackendError::NotFound { .. } => MetricError::new(format!("job.batch \"{}\" not found", key.name)),
        error => MetricError::new(error.to_string()),
    })?;
    let judged = |outcome, message| {
        Reading::Judged(Judgement { outcome, message, value: String::new(), metadata: open.metadata.clone() })
    };
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    if let Some(outcome) = job_outcome(conditions.map(|condition| condition.type_.as_str())) {
        return Ok(judged(outcome, String::new()));
    }
    let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref()?.match_labels.clone()).unwrap_or_default();
    if !selector.is_empty() {
        let pods = place.store.list_live::<Pod>(Some(&key.namespace)).await;
        let pods = pods.map_err(|error| MetricError::new(error.to_string()))?;
        if let Some(message) = pods.iter().filter(|pod| carries(pod, &selector)).find_map(stuck) {
            return Ok(judged(Outcome::Inconclusive, message));
        }
    }
    Ok(Reading::Running(Running { resume_at: next_look(open.started_at, now), metadata: open.metadata.clone() }))
}

fn carries(pod: &Pod, selector: &BTreeMap<String, String>) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector.iter().all(|(name, value)| labels.and_then(|labels| labels.get(name)) == Some(value))
}

/// Why a pod will never run.
fn stuck(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let of = |statuses: &Option<Vec<ContainerStatus>>| statuses.clone().unwrap_or_default();
    of(&status.init_container_statuses).into_iter().chain(of(&status.container_statuses)).find_map(|container| {
        let waiting = container.state?.waiting?;
        let reason = waiting.reason.filter(|reason| TERMINAL_WAITS.contains(&reason.as_str()))?;
        let pod = pod.metadata.name.as_deref().unwrap_or_default();
        let message = waiting.message.unwrap_or_default();
        Some(format!("Pod {pod}, container {} has terminal error ({reason}): {message}\n", container.name))
    })
}

/// The longer it takes, the more rarely it is looked at.
fn next_look(started_at: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let elapsed = now.duration_since(started_at.unwrap_or(now)).as_secs_f64().max(0.0);
    let delay = SignedDuration::try_from_secs_f64((2.0 * elapsed).sqrt()).unwrap_or(SignedDuration::ZERO);
    now.saturating_add(delay).unwrap_or(now)
}

pub(crate) async fn terminate(
    place: &JobPlace,
    request: &MetricRequest,
    open: &OpenMeasurement,
) -> Result<Reading, MetricError> {
    delete(place, &key_of(request, open)?).await?;
    Ok(Reading::Judged(Judgement { metadata: open.metadata.clone(), ..Judgement::default() }))
}

async fn delete(place: &JobPlace, key: &Key) -> Result<(), MetricError> {
    match place.store.backend().delete(&Kind::of::<Job>(), key, &Deletion::default()).await {
        Ok(()) | Err(BackendError::NotFound { .. }) => Ok(()),
        Err(error) => Err(MetricError::new(error.to_string())),
    }
}

/// Counts all Jobs of the run, whatever their metric, as Argo Rollouts does.
pub(crate) async fn garbage_collect(place: &JobPlace, request: &MetricRequest, keep: usize) -> Result<(), MetricError> {
    let namespace = place.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or(&request.run.namespace);
    let jobs = place.store.list_live::<Job>(Some(namespace)).await;
    let mut jobs = jobs.map_err(|error| MetricError::new(error.to_string()))?;
    let is_of_run =
        |job: &Job| job.metadata.labels.as_ref().and_then(|labels| labels.get(RUN_UID)) == Some(&request.run.uid);
    jobs.retain(is_of_run);
    jobs.sort_by_key(|job| job.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let surplus = jobs.len().saturating_sub(keep);
    for job in jobs.iter().take(surplus) {
        delete(place, &Key::of_typed(job)).await?;
    }
    Ok(())
}
