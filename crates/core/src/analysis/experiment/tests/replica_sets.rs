use jiff::SignedDuration;
use okra_api::{
    RunPhase::{Error, Failed, Pending, Running, Successful},
    analysis::TemplatePhase,
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::world::{World, at, spec_with};
use crate::analysis::experiment::{ExperimentAction, Failure, validate_experiment};

#[test]
fn table_3_2_1_what_is_wrong_with_an_experiment() {
    let template = |fields: Value| {
        let mut template = json!({"name": "x", "selector": {"matchLabels": {"app": "x"}}, "template": {}});
        template.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        template
    };
    for (fields, wanted) in [
        (json!({"templates": [template(json!({}))]}), ""),
        (
            json!({"templates": [template(json!({"selector": null}))]}),
            "Rollout has missing field '.Spec.Templates[0].Selector'",
        ),
        (
            json!({"templates": [template(json!({"selector": {}}))]}),
            "This experiment is selecting all pods at index 0. A non-empty selector is required.",
        ),
        (
            json!({"templates": [template(json!({"minReadySeconds": 601}))]}),
            "MinReadySeconds cannot be longer than ProgressDeadlineSeconds. Check template index 0",
        ),
        (json!({"templates": [template(json!({"minReadySeconds": 601}))], "progressDeadlineSeconds": 700}), ""),
        (json!({"templates": [template(json!({"name": ""}))]}), "Experiment exp has empty template name at index 0"),
        (
            json!({"templates": [template(json!({})), template(json!({}))]}),
            "Experiment exp has repeated template name 'x' in templates",
        ),
    ] {
        let spec = spec_with(fields);
        let found = validate_experiment("exp", &spec).map_err(|error| error.to_string()).err().unwrap_or_default();
        assert_eq!(found, wanted);
    }
    let mut world = World::new(json!({"templates": [{"name": "x", "template": {}}]}));
    let plan = world.step();
    assert!(plan.actions.is_empty());
    let status = world.status.clone().unwrap();
    assert_eq!((status.phase, status.conditions.len()), (None, 1));
    let condition = &status.conditions[0];
    assert_eq!((condition.type_.as_str(), condition.status.as_str()), ("InvalidSpec", "True"));
    world.step();
    assert_eq!(world.status, Some(status), "it is written once");
    world.spec = spec_with(json!({}));
    world.step();
    assert!(world.status.unwrap().conditions.iter().all(|condition| condition.type_ != "InvalidSpec"));
}

#[test]
fn table_3_2_a_set_is_made_without_pods_and_then_scaled() {
    let mut world = World::new(json!({}));
    world.is_quick = false;
    let plan = world.step();
    let made = |template: &str| ExperimentAction::CreateReplicaSet { template: template.to_owned() };
    assert_eq!(plan.actions, [made("a"), made("b")]);
    assert_eq!((world.phase(), world.wanted()), (Some(Pending), vec![0, 0]));
    world.step();
    assert_eq!((world.phase(), world.wanted()), (Some(Pending), vec![2, 2]));
    assert_eq!(world.template("a").status, Some(TemplatePhase::Progressing));
    assert_eq!(world.status.as_ref().unwrap().available_at, None);
    // Available once all templates are.
    world.later(5);
    world.sets.get_mut("a").unwrap().available = 2;
    world.settle();
    assert_eq!((world.phase(), world.template("a").status), (Some(Pending), Some(TemplatePhase::Running)));
    world.later(5);
    world.pods_follow();
    world.settle();
    assert_eq!((world.phase(), world.status.as_ref().unwrap().available_at), (Some(Running), Some(at(10))));
    let b = world.template("b");
    assert_eq!([b.replicas, b.updated_replicas, b.ready_replicas, b.available_replicas], [2; 4]);
    assert_eq!(b.last_transition_time, Some(at(10)));
    let reasons: Vec<&str> = world.reasons.iter().map(String::as_str).collect();
    assert_eq!(
        reasons,
        [
            "TemplateProgressing",
            "TemplateProgressing",
            "ExperimentPending",
            "ScalingReplicaSet",
            "ScalingReplicaSet",
            "TemplateRunning",
            "TemplateRunning",
            "ExperimentRunning",
        ]
    );
}

#[test]
fn table_3_2_a_template_without_progress_fails() {
    let mut world = World::new(json!({"progressDeadlineSeconds": 60}));
    world.is_quick = false;
    world.step();
    let wake = world.settle();
    assert_eq!(wake, Some(at(60) + SignedDuration::from_nanos(1)));
    // Progress moves the deadline.
    world.later(50);
    world.sets.get_mut("a").unwrap().replicas = 1;
    world.sets.get_mut("b").unwrap().replicas = 1;
    assert_eq!(world.settle(), Some(at(110) + SignedDuration::from_nanos(1)));
    world.now = at(111);
    world.settle();
    assert_eq!(world.phase(), Some(Failed));
    assert_eq!(world.message(), "Template 'a' exceeded its progressDeadlineSeconds (60)");
    assert_eq!(world.wanted(), [0, 0], "at once, since it was never available");
}

#[test]
fn table_3_2_the_duration_begins_when_all_are_available() {
    let mut world = World::new(json!({"duration": "1m"}));
    world.later(100);
    let wake = world.settle();
    assert_eq!((world.phase(), wake), (Some(Running), Some(at(160) + SignedDuration::from_nanos(1))));
    world.now = at(160);
    world.settle();
    assert_eq!(world.phase(), Some(Running), "strictly after");
    world.now = wake.unwrap();
    world.settle();
    assert_eq!((world.phase(), world.template("a").status), (Some(Successful), Some(TemplatePhase::Successful)));
    let status = world.status.clone().unwrap();
    assert_eq!(status.conditions[0].message, "Experiment \"exp\" has successfully ran and completed.");
    assert_eq!(
        (status.conditions[0].status.as_str(), status.conditions[0].reason.as_str()),
        ("False", "ExperimentCompleted")
    );
}

#[test]
fn table_3_2_7_the_pods_are_kept_for_a_while() {
    for (delay, kept) in [(None, 30), (Some(5), 5), (Some(0), 0)] {
        let mut world = World::new(json!({"scaleDownDelaySeconds": delay}));
        if delay.is_none() {
            world.spec.scale_down_delay_seconds = None;
        }
        world.settle();
        world.spec.terminate = true;
        let wake = world.settle();
        assert_eq!(world.phase(), Some(Successful));
        if kept == 0 {
            assert_eq!(world.wanted(), [0, 0]);
            continue;
        }
        assert_eq!((world.wanted(), wake), (vec![2, 2], Some(at(kept))));
        assert_eq!(world.sets["a"].scale_down_at, Some(at(kept)));
        world.now = at(kept - 1);
        world.settle();
        assert_eq!(world.wanted(), [2, 2]);
        world.now = at(kept);
        assert_eq!((world.settle(), world.wanted()), (None, vec![0, 0]));
    }
    // A deadline of before does not count without a delay.
    let mut world = World::new(json!({"scaleDownDelaySeconds": 0}));
    world.settle();
    world.sets.get_mut("a").unwrap().scale_down_at = Some(at(1_000));
    world.spec.terminate = true;
    world.settle();
    assert_eq!((world.sets["a"].scale_down_at, world.wanted()), (None, vec![0, 0]));
}

#[test]
fn table_3_2_9_begun_anew_it_keeps_its_pods_for_a_while_again() {
    let mut world = World::new(json!({"scaleDownDelaySeconds": 30}));
    world.settle();
    world.spec.terminate = true;
    world.settle();
    world.later(30);
    world.settle();
    assert_eq!((world.phase(), world.wanted()), (Some(Successful), vec![0, 0]));
    world.status = None;
    world.spec.terminate = false;
    world.settle();
    assert_eq!((world.phase(), world.wanted()), (Some(Running), vec![2, 2]));
    assert_eq!(world.sets["a"].scale_down_at, None);
    world.later(100);
    world.spec.terminate = true;
    assert_eq!((world.settle(), world.wanted()), (Some(at(160)), vec![2, 2]));
    // Each change of a set is the only one of its look: they are made to the copy that was looked at.
    let mut world = World::new(json!({"scaleDownDelaySeconds": 0}));
    world.settle();
    world.sets.get_mut("a").unwrap().scale_down_at = Some(at(1_000));
    world.spec.terminate = true;
    let of_a = |actions: &[ExperimentAction]| {
        let is_of_a = |action: &&ExperimentAction| format!("{action:?}").contains("\"exp-a\"");
        actions.iter().filter(is_of_a).count()
    };
    assert_eq!((of_a(&world.step().actions), of_a(&world.step().actions)), (1, 1));
}

#[test]
fn table_3_2_2_services() {
    let mut world = World::new(json!({"scaleDownDelaySeconds": 0}));
    world.spec.templates[0].service = Some(serde_json::from_value(json!({})).unwrap());
    world.spec.templates[1].service = Some(serde_json::from_value(json!({"name": "mine"})).unwrap());
    world.settle();
    let names: Vec<&str> = world.services.values().map(String::as_str).collect();
    assert_eq!(names, ["exp-a", "mine"]);
    assert_eq!(
        (world.template("b").service_name, world.template("b").pod_template_hash),
        ("mine".to_owned(), "hash-b".to_owned())
    );
    // It goes with the last pod.
    world.is_quick = false;
    world.spec.terminate = true;
    world.settle();
    assert_eq!((world.wanted(), world.services.len()), (vec![0, 0], 2));
    world.pods_follow();
    world.settle();
    assert!(world.services.is_empty());
    assert_eq!(world.template("b").service_name, "");
    // Without a port there is none; without the field it goes.
    let mut world = World::new(json!({}));
    world.spec.templates[0].service = Some(serde_json::from_value(json!({})).unwrap());
    world.step();
    world.sets.get_mut("a").unwrap().has_ports = false;
    world.settle();
    assert!(world.services.is_empty());
    world.sets.get_mut("a").unwrap().has_ports = true;
    world.settle();
    world.spec.templates[0].service = None;
    world.settle();
    assert!(world.services.is_empty());
}

#[test]
fn what_could_not_be_done_is_an_error() {
    for (failure, wanted) in [
        (
            Failure::CreateReplicaSet { template: "a".to_owned(), message: "no".to_owned() },
            "Failed to create ReplicaSet for template 'a': no",
        ),
        (
            Failure::Scale { template: "a".to_owned(), replicas: 2, message: "no".to_owned() },
            "Unable to scale ReplicaSet for template 'a' to desired replica count '2': no",
        ),
        (
            Failure::CreateService { template: "a".to_owned(), service: "s".to_owned(), message: "no".to_owned() },
            "Failed to create Service s for template 'a': no",
        ),
        (
            Failure::DeleteService { template: "a".to_owned(), message: "no".to_owned() },
            "Failed to delete Service for template 'a': no",
        ),
    ] {
        let mut world = World::new(json!({}));
        world.step();
        world.failures = vec![failure];
        world.settle();
        assert_eq!((world.phase(), world.message().as_str()), (Some(Error), wanted));
        assert_eq!(world.wanted(), [0, 0]);
    }
}
