use k8s_openapi::api::apps::v1::ReplicaSet;
use okra_api::{
    Experiment,
    analysis::{AnalysisRunMetadata, AnalysisRunSpec, ExperimentSpec},
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::world::at;
use crate::analysis::{
    Annotations,
    experiment::{ObservedReplicaSet, analysis_run, replica_set, service, template_from, template_of},
};

fn experiment(template: Value) -> Experiment {
    let mut experiment = Experiment::new("exp", ExperimentSpec::default());
    experiment.metadata.namespace = Some("prod".to_owned());
    experiment.metadata.uid = Some("u-exp".to_owned());
    experiment.spec.templates = vec![serde_json::from_value(template).unwrap()];
    experiment
}

fn pods() -> Value {
    json!({
        "metadata": {"labels": {"app": "wy", "rollouts-pod-template-hash": "old"}},
        "spec": {"containers": [{"name": "wy", "image": "wy:1", "ports": [{"containerPort": 8080}]}]},
    })
}

fn made() -> (Experiment, ReplicaSet) {
    let experiment = experiment(json!({
        "name": "a", "replicas": 2, "minReadySeconds": 5, "selector": {"matchLabels": {"app": "wy"}}, "template": pods(),
    }));
    let set = replica_set(&experiment, &experiment.spec.templates[0]).unwrap();
    (experiment, set)
}

#[test]
fn table_3_2_1_a_set_is_made_as_argo_makes_it() {
    let (_, set) = made();
    let set = serde_json::to_value(&set).unwrap();
    let hash = &set["metadata"]["labels"]["rollouts-pod-template-hash"];
    assert!(hash.as_str().is_some_and(|hash| hash.len() == 8 && hash != "old"), "{hash}");
    assert_eq!(
        set["metadata"],
        json!({
            "name": "exp-a", "namespace": "prod", "labels": {"rollouts-pod-template-hash": hash},
            "annotations": {"experiment.argoproj.io/name": "exp", "experiment.argoproj.io/template-name": "a"},
            "ownerReferences": [{
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment", "name": "exp", "uid": "u-exp", "controller": true,
            }],
        })
    );
    let labels = json!({"app": "wy", "rollouts-pod-template-hash": hash});
    assert_eq!((&set["spec"]["replicas"], &set["spec"]["minReadySeconds"]), (&json!(0), &json!(5)));
    assert_eq!(set["spec"]["selector"], json!({"matchLabels": labels}));
    assert_eq!(set["spec"]["template"]["metadata"], json!({"labels": labels}));
    assert_eq!(set["spec"]["template"]["spec"], pods()["spec"]);
    // Other pods, another hash.
    let mut other = pods();
    other["spec"]["containers"][0]["image"] = json!("wy:2");
    let other = experiment(json!({"name": "a", "selector": {"matchLabels": {"app": "wy"}}, "template": other}));
    let other = replica_set(&other, &other.spec.templates[0]).unwrap();
    assert_ne!(serde_json::to_value(&other.metadata.labels).unwrap()["rollouts-pod-template-hash"], *hash);
    // What is no pod template is an error that names it.
    let wrong = experiment(json!({"name": "a", "selector": {"matchLabels": {"app": "a"}}, "template": {"spec": 7}}));
    let error = replica_set(&wrong, &wrong.spec.templates[0]).unwrap_err();
    assert!(error.starts_with("spec.templates[a].template is no PodTemplateSpec: "), "{error}");
}

#[test]
fn table_3_2_2_a_service_has_the_ports_of_the_containers_and_selects_the_hash() {
    let (experiment, mut set) = made();
    let of = |set: &ReplicaSet| serde_json::to_value(service(&experiment, "a", "mine", set)).unwrap();
    let one = of(&set);
    assert_eq!(
        (&one["metadata"]["name"], &one["metadata"]["ownerReferences"][0]["uid"]),
        (&json!("mine"), &json!("u-exp"))
    );
    assert_eq!(template_of(&serde_json::from_value(one["metadata"].clone()).unwrap()), Some("a"));
    assert_eq!(
        one["spec"],
        json!({
            "ports": [{"port": 8080, "targetPort": 8080}],
            "selector": {"rollouts-pod-template-hash": set.metadata.labels.as_ref().unwrap()["rollouts-pod-template-hash"]},
        })
    );
    let containers = json!([
        {"name": "a", "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]},
        {"name": "b", "ports": [{"containerPort": 81, "name": "http"}]},
    ]);
    let pods = set.spec.as_mut().unwrap().template.as_mut().unwrap().spec.as_mut().unwrap();
    pods.containers = serde_json::from_value(containers).unwrap();
    assert_eq!(
        of(&set)["spec"]["ports"],
        json!([
            {"name": "http", "port": 80, "targetPort": 80},
            {"name": "port-53", "port": 53, "protocol": "UDP", "targetPort": 53},
            {"name": "port-81", "port": 81, "targetPort": 81},
        ])
    );
}

#[test]
fn a_run_has_the_labels_of_the_experiment_and_its_instance() {
    let (mut experiment, _) = made();
    experiment.spec.analysis_run_metadata =
        serde_json::from_value(json!({"labels": {"team": "a"}, "annotations": {"why": "b"}})).unwrap();
    let instance = ("argo-rollouts.argoproj.io/controller-instance-id".to_owned(), "okra".to_owned());
    experiment.metadata.labels = Some([instance, ("other".to_owned(), "c".to_owned())].into());
    let chosen = [("why", "a profile"), ("okra.mumo.co/metric-profile", "west")];
    let chosen = chosen.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let run = serde_json::to_value(analysis_run(&experiment, "exp-an", AnalysisRunSpec::default(), chosen)).unwrap();
    assert_eq!(
        run["metadata"]["labels"],
        json!({"argo-rollouts.argoproj.io/controller-instance-id": "okra", "team": "a"})
    );
    assert_eq!(run["metadata"]["annotations"], json!({"why": "b", "okra.mumo.co/metric-profile": "west"}));
    assert_eq!(run["metadata"]["ownerReferences"][0]["uid"], "u-exp");
    experiment.metadata.labels = None;
    experiment.spec.analysis_run_metadata = AnalysisRunMetadata::default();
    let run = analysis_run(&experiment, "exp-an", AnalysisRunSpec::default(), Annotations::new());
    assert_eq!((run.metadata.labels, run.metadata.annotations), (None, None));
}

#[test]
fn a_set_is_read_as_it_is() {
    let (_, mut set) = made();
    let hash = set.metadata.labels.as_ref().unwrap()["rollouts-pod-template-hash"].clone();
    let fresh = ObservedReplicaSet {
        name: "exp-a".to_owned(),
        pod_template_hash: hash,
        has_ports: true,
        ..ObservedReplicaSet::default()
    };
    assert_eq!(ObservedReplicaSet::from(&set), fresh);
    set.spec.as_mut().unwrap().replicas = None;
    set.status = serde_json::from_value(json!({"replicas": 3, "readyReplicas": 2, "availableReplicas": 1})).unwrap();
    let annotations = set.metadata.annotations.as_mut().unwrap();
    annotations.insert("scale-down-deadline".to_owned(), at(30).to_string());
    let wanted =
        ObservedReplicaSet { wanted: 1, replicas: 3, ready: 2, available: 1, scale_down_at: Some(at(30)), ..fresh };
    assert_eq!(ObservedReplicaSet::from(&set), wanted);
}

#[test]
fn a_template_is_taken_from_a_set() {
    let set = json!({
        "metadata": {"name": "wy"},
        "spec": {
            "replicas": 0, "minReadySeconds": 3, "template": pods(),
            "selector": {"matchLabels": {"app": "wy", "rollouts-pod-template-hash": "old"}},
        },
    });
    let template = template_from(&serde_json::from_value(set).unwrap(), "a", 1);
    assert_eq!(
        serde_json::to_value(template).unwrap(),
        json!({
            "name": "a", "replicas": 1, "minReadySeconds": 3, "selector": {"matchLabels": {"app": "wy"}},
            "template": {"metadata": {"labels": {"app": "wy"}}, "spec": pods()["spec"]},
        })
    );
}
