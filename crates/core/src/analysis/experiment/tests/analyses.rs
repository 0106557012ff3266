use okra_api::RunPhase::{Error, Failed, Inconclusive, Pending, Running, Successful};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::world::World;
use crate::analysis::experiment::{ExperimentAction, Failure, ObservedRun};

fn one(args: Value) -> Value {
    json!({"analyses": [{"name": "an", "templateName": "t", "args": args}], "duration": "1h"})
}

#[test]
fn table_3_2_5_runs_begin_when_all_is_available() {
    let args = json!([
        {"name": "hash", "value": "{{templates.a.podTemplateHash}}/{{ templates.b.replicaset.name }}/{{experiment.availableAt}}/{{experiment.finishedAt}}"},
        {"name": "unknown", "value": "dropped"},
    ]);
    let mut world = World::new(one(args));
    world.spec.dry_run = serde_json::from_value(json!([{"metricName": "m"}])).unwrap();
    world.is_quick = false;
    world.settle();
    assert!(world.runs.is_empty());
    world.pods_follow();
    world.settle();
    let run = &world.runs["exp-an"];
    let value = run.spec.args[0].value.clone().unwrap();
    assert_eq!(value, "hash-a/exp-b/2026-09-21T14:13:20Z/2026-09-21T15:13:20Z");
    assert_eq!((run.spec.args.len(), run.spec.dry_run.len()), (1, 1));
    assert_eq!((world.analysis("an").analysis_run.as_str(), world.phase()), ("exp-an", Some(Running)));
    world.run_ends("exp-an", Running);
    world.settle();
    assert_eq!(
        (world.analysis("an").phase, world.analysis("an").message.as_str()),
        (Some(Running), "it ended Running")
    );
}

#[test]
fn runs_are_made_with_the_profiles_that_their_templates_choose() {
    let mut world = World::new(one(json!([])));
    let chosen = [("okra.mumo.co/metric-profile".to_owned(), "west".to_owned())];
    let template = world.templates.keys().find(|reference| reference.template_name == "t").unwrap().clone();
    world.annotations.insert(template, chosen.clone().into());
    world.settle();
    world.pods_follow();
    let made = world.made.get("exp-an").cloned().unwrap_or_default();
    assert_eq!(made.into_iter().collect::<Vec<_>>(), chosen);
}

#[test]
fn table_3_2_1_templates_are_looked_for_before() {
    for (analysis, wanted) in [
        (
            json!({"name": "an", "templateName": "none"}),
            "AnalysisTemplate verification failed for analysis 'an': analysistemplate.argoproj.io \"none\" not found",
        ),
        (
            json!({"name": "an", "templateName": "t", "clusterScope": true}),
            "ClusterAnalysisTemplate verification failed for analysis 'an': clusteranalysistemplate.argoproj.io \"t\" not found",
        ),
    ] {
        let mut world = World::new(json!({"analyses": [analysis]}));
        world.settle();
        assert_eq!((world.phase(), world.message().as_str()), (Some(Error), wanted));
        assert_eq!(world.wanted(), [0, 0]);
    }
    let mut world = World::new(json!({"analyses": [{"name": "an", "templateName": "c", "clusterScope": true}]}));
    world.settle();
    assert!(world.runs.contains_key("exp-an"));
}

#[test]
fn a_run_that_cannot_be_made_is_an_error() {
    let failed = "Failed to create AnalysisRun for analysis 'an': ";
    for (args, wanted) in [
        (json!([{"name": "hash", "value": "{{ nope }}"}]), "failed to resolve {{ nope }}"),
        (
            json!([{"name": "hash", "value": "{{experiment.finishedAt}}"}]),
            "failed to resolve {{experiment.finishedAt}}",
        ),
        (
            json!([{"name": "hash", "value": "{{ open"}]),
            "Cannot find end tag=\"}}\" in the template=\"{{ open\" starting from \" open\"",
        ),
    ] {
        let mut world = World::new(one(args));
        world.spec.duration = String::new();
        world.settle();
        assert_eq!((world.phase(), world.message()), (Some(Error), format!("{failed}{wanted}")));
    }
    let mut world = World::new(one(json!([])));
    world.settle();
    world.status.as_mut().unwrap().analysis_runs.clear();
    world.failures = vec![Failure::CreateRun { analysis: "an".to_owned(), message: "forbidden".to_owned() }];
    world.settle();
    assert_eq!((world.phase(), world.message()), (Some(Error), format!("{failed}forbidden")));
    // It was there, and is gone.
    let mut world = World::new(one(json!([])));
    world.settle();
    world.runs.clear();
    world.settle();
    assert_eq!(world.message(), "analysisruns.argoproj.io \"exp-an\" not found");
}

#[test]
fn a_run_of_the_same_name_is_taken_if_it_is_ours_and_not_over() {
    let begin = |edit: fn(&mut ObservedRun)| {
        let mut world = World::new(one(json!([])));
        world.settle();
        let mut run = world.runs["exp-an"].clone();
        edit(&mut run);
        world.runs = [("exp-an".to_owned(), run)].into();
        // The status that named it was not written.
        world.status.as_mut().unwrap().analysis_runs.clear();
        let plan = world.look();
        let made = plan.actions.iter().any(|action| matches!(action, ExperimentAction::CreateRun { .. }));
        (plan.status.analysis_runs[0].analysis_run.clone(), made)
    };
    assert_eq!(begin(|_| ()), ("exp-an".to_owned(), false));
    assert_eq!(begin(|run| run.owned = false), ("exp-an.1".to_owned(), true));
    assert_eq!(begin(|run| run.phase = Some(Failed)), ("exp-an.1".to_owned(), true));
    assert_eq!(begin(|run| run.spec.metrics.clear()), ("exp-an.1".to_owned(), true));
}

#[test]
fn table_3_2_runs_end_with_the_experiment() {
    let two = json!({
        "analyses": [{"name": "an", "templateName": "t"}, {"name": "other", "templateName": "t"}], "duration": "1h",
    });
    for bad in [Failed, Error, Inconclusive] {
        let mut world = World::new(two.clone());
        world.settle();
        world.run_ends("exp-an", bad);
        world.settle();
        assert_eq!((world.phase(), world.message()), (Some(bad), format!("it ended {bad}")));
        assert!(world.runs["exp-other"].spec.terminate && !world.runs["exp-an"].spec.terminate);
        assert!(world.reasons.contains(&"AnalysisRunTerminating".to_owned()));
    }
    // One that has not begun is left out.
    let mut world = World::new(two);
    world.is_quick = false;
    world.settle();
    world.spec.terminate = true;
    world.settle();
    assert!(world.runs.is_empty());
    assert_eq!(world.phase(), Some(Successful));
    assert_eq!(world.analysis("an").phase, None);
    assert_ne!(world.phase(), Some(Pending));
}
