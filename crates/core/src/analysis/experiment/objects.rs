//! The objects of an experiment: what is made, and how what is there is read.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetSpec},
        core::v1::{ContainerPort, PodTemplateSpec, Service, ServicePort, ServiceSpec},
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
        util::intstr::IntOrString,
    },
};
use kube_core::Resource as _;
use okra_api::{
    AnalysisRun, Experiment,
    analysis::{AnalysisRunSpec, ExperimentTemplate},
};

use super::{
    super::{
        new_run::{INSTANCE_ID_LABEL, POD_TEMPLATE_HASH_LABEL},
        profile::Annotations,
    },
    observed::ObservedReplicaSet,
};

/// Annotation with the name of the experiment that a ReplicaSet or Service was made for.
const NAME_ANNOTATION: &str = "experiment.argoproj.io/name";
/// Annotation with the name of its template.
const TEMPLATE_ANNOTATION: &str = "experiment.argoproj.io/template-name";
/// Annotation until when the pods of a ReplicaSet are kept.
pub const SCALE_DOWN_DEADLINE_ANNOTATION: &str = "scale-down-deadline";

/// The ReplicaSet of a template, without pods. An error in words when its pod template is none.
pub fn replica_set(experiment: &Experiment, template: &ExperimentTemplate) -> Result<ReplicaSet, String> {
    let mut pods: PodTemplateSpec = serde_json::from_value(template.template.clone())
        .map_err(|error| format!("spec.templates[{}].template is no PodTemplateSpec: {error}", template.name))?;
    let labels = pods.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.remove(POD_TEMPLATE_HASH_LABEL);
    let hash = hash_of(&pods);
    let labels = pods.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(POD_TEMPLATE_HASH_LABEL.to_owned(), hash.clone());
    let mut selector = template.selector.clone().unwrap_or_default();
    selector.match_labels.get_or_insert_default().insert(POD_TEMPLATE_HASH_LABEL.to_owned(), hash.clone());
    let mut metadata = child(experiment, &format!("{}-{}", name_of(experiment), template.name), &template.name);
    metadata.labels = Some(BTreeMap::from([(POD_TEMPLATE_HASH_LABEL.to_owned(), hash)]));
    let min_ready_seconds = Some(template.min_ready_seconds).filter(|seconds| *seconds != 0);
    let spec = ReplicaSetSpec { min_ready_seconds, replicas: Some(0), selector, template: Some(pods) };
    Ok(ReplicaSet { metadata, spec: Some(spec), status: None })
}

/// The Service of a template: the ports of its containers, for the pods of its ReplicaSet.
pub fn service(experiment: &Experiment, template: &str, name: &str, set: &ReplicaSet) -> Service {
    let mut known = BTreeSet::new();
    let ports: Vec<ContainerPort> = ports_of(set)
        .filter(|port| known.insert((port.container_port, port.protocol.clone().unwrap_or_default())))
        .cloned()
        .collect();
    // One port needs no name; of several, each does, and no two the same.
    let is_one = ports.len() == 1;
    let mut names = BTreeSet::new();
    let mut named = |port: &ContainerPort| {
        let own = port.name.clone().filter(|name| names.insert(name.clone()));
        own.or_else(|| (!is_one).then(|| format!("port-{}", port.container_port)))
    };
    let ports = ports.iter().map(|port| ServicePort {
        name: named(port),
        port: port.container_port,
        protocol: port.protocol.clone(),
        target_port: Some(IntOrString::Int(port.container_port)),
        ..ServicePort::default()
    });
    let spec = ServiceSpec {
        selector: Some(BTreeMap::from([(POD_TEMPLATE_HASH_LABEL.to_owned(), hash_label(&set.metadata))])),
        ports: Some(ports.collect()),
        ..ServiceSpec::default()
    };
    Service { metadata: child(experiment, name, template), spec: Some(spec), status: None }
}

/// The AnalysisRun of an analysis, with the profiles of its templates; the experiment's own annotations win. It is of
/// the instance that the experiment is of.
pub fn analysis_run(
    experiment: &Experiment,
    name: &str,
    spec: AnalysisRunSpec,
    mut annotations: Annotations,
) -> AnalysisRun {
    let own = &experiment.spec.analysis_run_metadata;
    let mut labels = own.labels.clone();
    let instance = experiment.metadata.labels.as_ref().and_then(|labels| labels.get(INSTANCE_ID_LABEL));
    labels.extend(instance.map(|instance| (INSTANCE_ID_LABEL.to_owned(), instance.clone())));
    let mut run = AnalysisRun::new(name, spec);
    run.metadata.namespace.clone_from(&experiment.metadata.namespace);
    run.metadata.owner_references = Some(vec![owner(experiment)]);
    run.metadata.labels = Some(labels).filter(|labels| !labels.is_empty());
    annotations.extend(own.annotations.clone());
    run.metadata.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
    run
}

/// Name of the template that a ReplicaSet or Service was made for. Who owns it, the caller has seen to.
pub fn template_of(meta: &ObjectMeta) -> Option<&str> {
    meta.annotations.as_ref()?.get(TEMPLATE_ANNOTATION).map(String::as_str)
}

impl From<&ReplicaSet> for ObservedReplicaSet {
    fn from(set: &ReplicaSet) -> Self {
        let status = set.status.as_ref();
        let deadline = set.metadata.annotations.as_ref().and_then(|known| known.get(SCALE_DOWN_DEADLINE_ANNOTATION));
        Self {
            name: set.metadata.name.clone().unwrap_or_default(),
            pod_template_hash: hash_label(&set.metadata),
            wanted: set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
            replicas: status.map_or(0, |status| status.replicas),
            ready: status.and_then(|status| status.ready_replicas).unwrap_or(0),
            available: status.and_then(|status| status.available_replicas).unwrap_or(0),
            scale_down_at: deadline.and_then(|text| text.parse::<Timestamp>().ok()),
            has_ports: ports_of(set).next().is_some(),
        }
    }
}

/// What runs in an experiment, of a ReplicaSet that is there already: its pods as they are, but for the hash that its own
/// controller may have given them.
pub fn template_from(set: &ReplicaSet, name: &str, replicas: i32) -> ExperimentTemplate {
    let mut spec = set.spec.clone().unwrap_or_default();
    let pods = spec.template.get_or_insert_default().metadata.get_or_insert_default();
    for labels in [&mut pods.labels, &mut spec.selector.match_labels].into_iter().flatten() {
        labels.remove(POD_TEMPLATE_HASH_LABEL);
    }
    ExperimentTemplate {
        name: name.to_owned(),
        replicas: Some(replicas),
        min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
        selector: Some(spec.selector).filter(|selector| *selector != LabelSelector::default()),
        template: serde_json::to_value(&spec.template).unwrap_or_default(),
        service: None,
    }
}

fn ports_of(set: &ReplicaSet) -> impl Iterator<Item = &ContainerPort> {
    let pods = set.spec.as_ref().and_then(|spec| spec.template.as_ref()?.spec.as_ref());
    pods.into_iter().flat_map(|pods| &pods.containers).flat_map(|container| container.ports.iter().flatten())
}

fn name_of(experiment: &Experiment) -> &str {
    experiment.metadata.name.as_deref().unwrap_or_default()
}

fn hash_label(meta: &ObjectMeta) -> String {
    meta.labels.as_ref().and_then(|labels| labels.get(POD_TEMPLATE_HASH_LABEL)).cloned().unwrap_or_default()
}

fn child(experiment: &Experiment, name: &str, template: &str) -> ObjectMeta {
    let annotations = [(NAME_ANNOTATION, name_of(experiment)), (TEMPLATE_ANNOTATION, template)];
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: experiment.metadata.namespace.clone(),
        owner_references: Some(vec![owner(experiment)]),
        annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        ..ObjectMeta::default()
    }
}

fn owner(experiment: &Experiment) -> OwnerReference {
    OwnerReference {
        api_version: Experiment::api_version(&()).into_owned(),
        kind: Experiment::kind(&()).into_owned(),
        name: name_of(experiment).to_owned(),
        uid: experiment.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// Tells pods of one template from those of another: FNV-1a, 32 bits. It need not be Argo's own: it is made once, and read
/// from the label after that.
fn hash_of(pods: &PodTemplateSpec) -> String {
    let text = serde_json::to_string(pods).unwrap_or_default();
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}
