use std::sync::Arc;

use jiff::SignedDuration;
use okra_api::{
    AnalysisTemplate, ClusterAnalysisTemplate, RunPhase,
    cell_status::{CellPhase, RolloutOutcome},
    condition::reason,
    step::{AnalysisArg, AnalysisStep, ArgSource, BackgroundAnalysis, CanaryStep, FieldRef, TemplateRef},
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::world::{World, pause, set_weight};
use crate::cell::ObservedRun;

pub const SETTLE: SignedDuration = SignedDuration::from_secs(10);

fn template_ref(name: &str) -> TemplateRef {
    TemplateRef { template_name: name.to_owned(), cluster_scope: false }
}

fn measured(templates: &[&str], args: Vec<AnalysisArg>) -> CanaryStep {
    let templates = templates.iter().map(|name| template_ref(name)).collect();
    CanaryStep { analysis: Some(AnalysisStep { templates, args, dry_run: Vec::new() }), ..CanaryStep::default() }
}

pub fn field(name: &str, path: &str) -> AnalysisArg {
    let value_from = Some(ArgSource { field_ref: Some(FieldRef { field_path: path.to_owned() }) });
    AnalysisArg { name: name.to_owned(), value: None, value_from }
}

pub fn metric(name: &str, more: Value) -> Value {
    let mut metric = json!({"name": name, "provider": {"web": {"url": "http://metrics"}}});
    metric.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    metric
}

impl World {
    pub fn template(&mut self, name: &str, spec: Value) {
        let template = AnalysisTemplate::new(name, serde_json::from_value(spec).unwrap());
        self.templates.of_namespace.insert(name.to_owned(), Arc::new(template));
    }

    fn cluster_template(&mut self, name: &str, spec: Value) {
        let template = ClusterAnalysisTemplate::new(name, serde_json::from_value(spec).unwrap());
        self.templates.of_cluster.insert(name.to_owned(), Arc::new(template));
    }
}

#[test]
fn a_step_makes_its_run_of_templates_and_fields_of_the_cell() {
    let args = vec![
        field("version", "status.desiredVersion"),
        field("cell", "metadata.name"),
        field("old", "status.stableVersion"),
    ];
    let step = measured(&["rate"], args);
    let mut world = World::serving(vec![set_weight(20), step], 1, &["v1-a"]);
    let declared = json!([{"name": "version"}, {"name": "cell"}, {"name": "old"}, {"name": "limit", "value": "0.9"}]);
    let more = json!([{"templateName": "errors", "clusterScope": true}]);
    world.template("rate", json!({"args": declared, "metrics": [metric("rate", json!({}))], "templates": more}));
    world.cluster_template("errors", json!({"metrics": [metric("errors", json!({}))]}));
    world.add("v2-a", "2.0.0");
    world.run();
    assert!(
        world.message().contains("waits until the load balancer's data path has the weights"),
        "{}",
        world.message()
    );
    assert!(world.made.is_empty(), "nothing is measured before the data path has the weights");
    world.pass(SETTLE);
    let made = world.made["web-r2-1-analysis"].clone();
    let metrics: Vec<&str> = made.metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(metrics, ["rate", "errors"]);
    let args: Vec<(&str, Option<&str>)> =
        made.args.iter().map(|arg| (arg.name.as_str(), arg.value.as_deref())).collect();
    let wanted = [("version", "2.0.0"), ("cell", "web"), ("old", "1.0.0"), ("limit", "0.9")];
    assert_eq!(args, wanted.map(|(name, value)| (name, Some(value))));
    world.set_run("web-r2-1-analysis", RunPhase::Successful);
    assert_eq!((world.stable(), world.outcome()), ("2.0.0".to_owned(), Some(RolloutOutcome::Succeeded)));
}

#[test]
fn a_run_is_made_with_the_profiles_that_its_templates_choose() {
    let mut world = World::serving(vec![set_weight(20), measured(&["rate", "errors"], Vec::new())], 1, &["v1-a"]);
    for (name, profile) in [("rate", Some("west")), ("errors", None)] {
        let spec = serde_json::from_value(json!({"metrics": [metric(name, json!({}))]})).unwrap();
        let mut template = AnalysisTemplate::new(name, spec);
        let annotation = |profile: &str| ("okra.mumo.co/metric-profile".to_owned(), profile.to_owned());
        template.metadata.annotations = Some(profile.map(annotation).into_iter().collect());
        world.templates.of_namespace.insert(name.to_owned(), Arc::new(template));
    }
    world.add("v2-a", "2.0.0");
    world.run();
    world.pass(SETTLE);
    let carried: Vec<_> = world.annotations["web-r2-1-analysis"].clone().into_iter().collect();
    assert_eq!(carried, [("okra.mumo.co/metric-profile.rate".to_owned(), "west".to_owned())]);
}

#[test]
fn a_template_that_is_missing_or_does_not_fit_is_named_and_waited_for() {
    let step = measured(&["rate"], Vec::new());
    let mut world = World::serving(vec![set_weight(20), step], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    world.pass(SETTLE);
    let refused = |world: &World, why: &str| {
        assert!(world.message().ends_with(why), "{}", world.message());
        let reasons: Vec<String> = world.status().conditions.into_iter().map(|condition| condition.reason).collect();
        assert!(reasons.contains(&reason::INVALID_ANALYSIS.to_owned()), "{reasons:?}");
        assert!(world.made.is_empty());
    };
    refused(&world, "cannot be made: analysistemplate.argoproj.io \"rate\" not found");
    world.template("rate", json!({"args": [{"name": "limit"}], "metrics": [metric("rate", json!({}))]}));
    world.run();
    refused(&world, "cannot be made: args.limit was not resolved");
    world.template("rate", json!({"metrics": [metric("rate", json!({"interval": "10s"}))]}));
    world.run();
    refused(&world, "set its count, or make it a background analysis");
    world.template("rate", json!({"metrics": [metric("rate", json!({}))], "templates": [{"templateName": "rate"}]}));
    world.run();
    refused(&world, "templates refer to each other in a circle: rate -> rate");
    world.template("rate", json!({"metrics": [metric("rate", json!({}))]}));
    world.run();
    assert_eq!(world.made.len(), 1);
}

#[test]
fn a_run_that_nobody_carries_out_degrades_the_cell() {
    let step = measured(&["rate"], Vec::new());
    let mut world = World::serving(vec![set_weight(20), step], 1, &["v1-a"]);
    world.template("rate", json!({"metrics": [metric("rate", json!({}))]}));
    world.add("v2-a", "2.0.0");
    world.run();
    world.pass(SETTLE);
    world.pass(SignedDuration::from_secs(601));
    assert_eq!(world.phase(), CellPhase::Degraded, "{}", world.message());
    world.set_run("web-r2-1-analysis", RunPhase::Running);
    assert_ne!(world.phase(), CellPhase::Degraded, "one that measures may take its time");
}

#[test]
fn a_background_analysis_begins_at_its_step_and_ends_with_the_rollout() {
    let mut world = World::serving(vec![set_weight(20), pause(Some("1m")), set_weight(60)], 1, &["v1-a"]);
    world.template("rate", json!({"metrics": [metric("rate", json!({"interval": "10s"}))]}));
    world.edit(|spec| {
        let canary = spec.update_strategy.as_mut().unwrap().canary.as_mut().unwrap();
        let templates = vec![template_ref("rate")];
        canary.analysis = Some(BackgroundAnalysis { templates, starting_step: Some(1), ..Default::default() });
    });
    world.add("v2-a", "2.0.0");
    world.run();
    world.pass(SETTLE);
    assert_eq!(world.runs["web-r2-bg"].phase, RunPhase::Pending);
    world.set_run("web-r2-bg", RunPhase::Running);
    world.pass(SignedDuration::from_secs(61));
    assert_eq!((world.stable(), world.outcome()), ("2.0.0".to_owned(), Some(RolloutOutcome::Succeeded)));
    assert_eq!(world.runs["web-r2-bg"].phase, RunPhase::Successful, "it was told to end");
}

#[test]
fn five_runs_of_each_sort_are_kept() {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    for count in 0..14 {
        let phase = if count % 2 == 0 { RunPhase::Successful } else { RunPhase::Error };
        let created = Some(world.now - SignedDuration::from_hours(100 - count));
        let run = ObservedRun { phase, is_own: true, created, ..ObservedRun::default() };
        world.runs.insert(format!("web-r0-{count}-analysis"), run);
    }
    let by_hand = ObservedRun { phase: RunPhase::Successful, ..ObservedRun::default() };
    world.runs.insert("web-r0-by-hand".to_owned(), by_hand);
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.stable(), "2.0.0");
    let kept: Vec<String> = (4..14).map(|count| format!("web-r0-{count}-analysis")).collect();
    let mut wanted: Vec<&String> = kept.iter().collect();
    let by_hand = "web-r0-by-hand".to_owned();
    wanted.push(&by_hand);
    wanted.sort();
    assert_eq!(world.runs.keys().collect::<Vec<_>>(), wanted);
}
