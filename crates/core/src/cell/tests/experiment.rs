use std::sync::Arc;

use jiff::SignedDuration;
use okra_api::{
    GoDuration, RunPhase,
    cell_status::{CellPhase, RolloutOutcome},
    condition::reason,
    step::{CanaryStep, ExperimentAnalysis, ExperimentStep, ExperimentTemplate},
};
use pretty_assertions::assert_eq;
use serde_json::json;

use super::{
    analysis::{SETTLE, field, metric},
    world::{World, set_weight},
};
use crate::cell::ObservedRun;

const NAME: &str = "web-r2-1-experiment";

/// The step of the seed README.
fn step() -> ExperimentStep {
    let analysis = ExperimentAnalysis {
        name: "rate".to_owned(),
        template_name: "success-rate".to_owned(),
        args: vec![field("version", "status.desiredVersion")],
        ..ExperimentAnalysis::default()
    };
    ExperimentStep {
        duration: Some(GoDuration::from("5m")),
        templates: vec![ExperimentTemplate { name: "wy".to_owned(), spec_ref: "wy".to_owned(), replicas: None }],
        analyses: vec![analysis],
    }
}

/// A rollout to 2.0.0 that is at its experiment.
fn at_experiment(step: ExperimentStep, more: impl FnOnce(&mut World)) -> World {
    let step = CanaryStep { experiment: Some(step), ..CanaryStep::default() };
    let mut world = World::serving(vec![set_weight(20), step, set_weight(60)], 1, &["v1-a"]);
    let args = json!([{"name": "version"}]);
    world.template("success-rate", json!({"args": args, "metrics": [metric("rate", json!({"interval": "10s"}))]}));
    let set = json!({
        "metadata": {"name": "wy"},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": "wy"}},
            "template": {
                "metadata": {"labels": {"app": "wy"}}, "spec": {"containers": [{"name": "wy", "image": "wy"}]},
            },
        },
    });
    world.replica_sets.insert("wy".to_owned(), Ok(Arc::new(serde_json::from_value(set).unwrap())));
    more(&mut world);
    world.add("v2-a", "2.0.0");
    world.run();
    world
}

#[test]
fn a_step_makes_its_experiment_of_the_replica_set_after_the_weights_have_settled() {
    let mut world = at_experiment(step(), |_| {});
    assert!(world.message().contains("waits until the load balancer's data path has the weights"));
    assert!(world.experiments.is_empty(), "nothing runs before the data path has the weights");
    world.pass(SETTLE);
    let made = serde_json::to_value(&world.experiments[NAME]).unwrap();
    assert_eq!(
        made,
        json!({
            "duration": "300s",
            "templates": [{
                "name": "wy", "replicas": 1, "selector": {"matchLabels": {"app": "wy"}},
                "template": {
                    "metadata": {"labels": {"app": "wy"}}, "spec": {"containers": [{"name": "wy", "image": "wy"}]},
                },
            }],
            "analyses": [{
                "name": "rate", "templateName": "success-rate", "args": [{"name": "version", "value": "2.0.0"}],
            }],
        })
    );
    assert_eq!(world.status().rollout.unwrap().current_step_run.as_deref(), Some(NAME));
    world.set_run(NAME, RunPhase::Running);
    assert_eq!((world.step(), world.phase()), (1, CellPhase::Progressing));
    world.set_run(NAME, RunPhase::Successful);
    assert_eq!((world.stable(), world.outcome()), ("2.0.0".to_owned(), Some(RolloutOutcome::Succeeded)));
}

#[test]
fn an_experiment_that_fails_takes_the_traffic_back() {
    for phase in [RunPhase::Failed, RunPhase::Error] {
        let mut world = at_experiment(step(), |_| {});
        world.pass(SETTLE);
        world.set_run(NAME, phase);
        assert_eq!((world.stable(), world.outcome()), ("1.0.0".to_owned(), Some(RolloutOutcome::Failed)));
        assert_eq!(world.status().blocked_versions, ["2.0.0"]);
        assert_eq!(world.weights(), [("v1-a".to_owned(), 100), ("v2-a".to_owned(), 0)]);
    }
    let mut world = at_experiment(step(), |_| {});
    world.pass(SETTLE);
    world.set_run(NAME, RunPhase::Inconclusive);
    assert_eq!(world.status().hold.unwrap().reason, reason::INCONCLUSIVE);
}

#[test]
fn an_experiment_is_told_to_end_with_its_rollout() {
    let mut world = at_experiment(step(), |_| {});
    world.pass(SETTLE);
    world.set_run(NAME, RunPhase::Running);
    let (accepted, _) = world.ask(okra_api::Verb::Abort, &[]);
    assert!(accepted);
    assert_eq!(world.runs[NAME].phase, RunPhase::Successful, "it was told to end");
    assert_eq!(world.outcome(), Some(RolloutOutcome::Aborted));
}

#[test]
fn what_is_missing_is_named_and_waited_for() {
    let refused = |world: &World, why: &str| {
        assert!(world.message().ends_with(why), "{}", world.message());
        let reasons: Vec<String> = world.status().conditions.into_iter().map(|condition| condition.reason).collect();
        assert!(reasons.contains(&reason::INVALID_ANALYSIS.to_owned()), "{reasons:?}");
        assert!(world.experiments.is_empty());
    };
    let mut world = at_experiment(step(), |world| {
        world.templates = crate::cell::Templates::default();
        world.replica_sets.clear();
    });
    world.pass(SETTLE);
    refused(&world, "cannot be made: specRef of template wy: ReplicaSet default/wy does not exist");
    let again = world.last.as_ref().and_then(|plan| plan.wake_at).unwrap();
    assert!(again <= world.now + SignedDuration::from_mins(1), "the watch may not be allowed: {again}");
    let set = json!({"spec": {"selector": {}, "template": {"metadata": {"labels": {"app": "wy"}}}}});
    world.replica_sets.insert("wy".to_owned(), Ok(Arc::new(serde_json::from_value(set.clone()).unwrap())));
    world.run();
    refused(&world, "analysis rate: analysistemplate.argoproj.io \"success-rate\" not found");
    world.template("success-rate", json!({"args": [{"name": "other"}], "metrics": [metric("rate", json!({}))]}));
    world.run();
    refused(&world, "analysis rate: args.other was not resolved");
    world.template("success-rate", json!({"metrics": [metric("rate", json!({}))]}));
    world.run();
    refused(&world, "Rollout has missing field '.Spec.Templates[0].Selector'");
    let mut set = set;
    set["spec"]["selector"] = json!({"matchLabels": {"app": "wy"}});
    world.replica_sets.insert("wy".to_owned(), Ok(Arc::new(serde_json::from_value(set).unwrap())));
    world.run();
    assert!(world.experiments.contains_key(NAME), "{}", world.message());
}

#[test]
fn a_step_without_a_duration_lasts_until_its_analyses_are_done() {
    let endless = |step: ExperimentStep| {
        let mut world = at_experiment(step, |_| {});
        world.pass(SETTLE);
        assert!(world.message().contains("the step would never end"), "{}", world.message());
        world
    };
    endless(ExperimentStep { duration: None, analyses: Vec::new(), ..step() });
    let mut required = step();
    required.analyses[0].required_for_completion = true;
    endless(required);
    let mut world = endless(ExperimentStep { duration: None, ..step() });
    let counted = metric("rate", json!({"interval": "10s", "count": 3}));
    world.template("success-rate", json!({"args": [{"name": "version"}], "metrics": [counted]}));
    world.run();
    assert!(world.experiments[NAME].analyses[0].required_for_completion && world.experiments[NAME].duration.is_empty());
}

#[test]
fn an_experiment_that_nobody_runs_degrades_the_cell() {
    let mut world = at_experiment(step(), |_| {});
    world.pass(SETTLE);
    world.pass(SignedDuration::from_secs(601));
    assert_eq!(world.phase(), CellPhase::Degraded, "{}", world.message());
}

#[test]
fn five_experiments_of_each_sort_are_kept_beside_the_runs() {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    for count in 0..14 {
        let phase = if count % 2 == 0 { RunPhase::Successful } else { RunPhase::Failed };
        let created = Some(world.now - SignedDuration::from_hours(100 - count));
        for (suffix, is_experiment) in [("experiment", true), ("analysis", false)] {
            let run = ObservedRun { phase, is_own: true, is_experiment, created, ..ObservedRun::default() };
            world.runs.insert(format!("web-r0-{count:02}-{suffix}"), run);
        }
    }
    world.add("v2-a", "2.0.0");
    world.run();
    let kept = |suffix: &str| world.runs.keys().filter(|name| name.ends_with(suffix)).cloned().collect::<Vec<_>>();
    for suffix in ["experiment", "analysis"] {
        let wanted: Vec<String> = (4..14).map(|count| format!("web-r0-{count:02}-{suffix}")).collect();
        assert_eq!(kept(suffix), wanted);
    }
}
