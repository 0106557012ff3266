use okra_api::{
    RunPhase::{self, Error, Failed, Inconclusive, Pending, Running, Successful},
    analysis::{ExperimentRunStatus, ExperimentStatus, TemplatePhase, TemplateStatus},
};
use pretty_assertions::assert_eq;
use serde_json::json;

use super::world::{World, at, spec_with};
use crate::analysis::experiment::phases::settle;

/// Phase and message of an experiment of two templates and two analyses, of which the first may be required.
fn of(templates: [TemplatePhase; 2], runs: [Option<RunPhase>; 2], required: bool) -> (RunPhase, String) {
    let spec = spec_with(json!({"analyses": [
        {"name": "x", "templateName": "t", "requiredForCompletion": required}, {"name": "y", "templateName": "t"},
    ]}));
    let template = |name: &str, phase: TemplatePhase| TemplateStatus {
        name: name.to_owned(),
        status: Some(phase),
        message: format!("{name} is {phase}"),
        ..TemplateStatus::default()
    };
    let run = |name: &str, phase: Option<RunPhase>| ExperimentRunStatus {
        name: name.to_owned(),
        phase,
        message: format!("{name} is {}", phase.unwrap_or_default()),
        ..ExperimentRunStatus::default()
    };
    let mut status = ExperimentStatus {
        phase: Some(Running),
        template_statuses: vec![template("a", templates[0]), template("b", templates[1])],
        analysis_runs: vec![run("x", runs[0]), run("y", runs[1])],
        ..ExperimentStatus::default()
    };
    settle(&spec, &mut status, at(0));
    (status.phase.unwrap(), status.message)
}

#[test]
fn table_3_2_6_phases() {
    use TemplatePhase as T;
    let up = [T::Running, T::Running];
    let over = [T::Successful, T::Successful];
    let (r, s, p) = (Some(Running), Some(Successful), Some(Pending));
    let all_required = "Required AnalysisRuns completed";
    for (templates, runs, required, wanted, message) in [
        // Templates go on.
        (up, [None, None], false, Running, "a is Running"),
        ([T::Running, T::Progressing], [None, None], false, Pending, "b is Progressing"),
        (up, [r, p], false, Running, "a is Running"),
        (up, [s, s], false, Running, "a is Running"),
        (up, [Some(Failed), r], false, Failed, "x is Failed"),
        (up, [Some(Inconclusive), Some(Error)], false, Error, "y is Error"),
        (up, [Some(Inconclusive), r], false, Inconclusive, "x is Inconclusive"),
        (up, [s, s], true, Successful, all_required),
        (up, [s, r], true, Successful, all_required),
        (up, [s, p], true, Successful, all_required),
        (up, [s, Some(Failed)], true, Failed, "y is Failed"),
        (up, [r, s], true, Running, "a is Running"),
        // Templates are over.
        (over, [s, s], false, Successful, ""),
        (over, [r, s], false, Successful, ""),
        (over, [r, r], true, Running, "x is Running"),
        (over, [p, s], true, Running, "x is Pending"),
        (over, [s, s], true, Successful, all_required),
        (over, [s, r], true, Successful, all_required),
        (over, [Some(Failed), s], false, Failed, "x is Failed"),
        (over, [Some(Inconclusive), s], true, Inconclusive, "x is Inconclusive"),
        // Templates that ended badly decide.
        ([T::Failed, T::Successful], [s, s], true, Failed, "a is Failed"),
        ([T::Error, T::Failed], [Some(Inconclusive), s], false, Failed, "b is Failed"),
        ([T::Error, T::Running], [s, s], false, Error, "a is Error"),
    ] {
        assert_eq!(of(templates, runs, required), (wanted, message.to_owned()), "{templates:?} {runs:?} {required}");
    }
}

#[test]
fn table_3_2_6_an_experiment_begins_pending_and_stays_what_it_ended_as() {
    let mut world = World::new(json!({}));
    world.step();
    assert_eq!(world.phase(), Some(Pending));
    for done in [Successful, Failed, Error, Inconclusive] {
        let mut status = ExperimentStatus { phase: Some(done), ..ExperimentStatus::default() };
        settle(&spec_with(json!({})), &mut status, at(0));
        assert_eq!(status.phase, Some(done));
    }
}

#[test]
fn table_3_2_6_the_end_of_the_duration_does_not_wait_for_analyses_that_are_not_required() {
    for (required, wanted) in [(false, Successful), (true, Running)] {
        let mut world = World::new(json!({
            "duration": "1m",
            "analyses": [{"name": "an", "templateName": "t", "requiredForCompletion": required}],
        }));
        world.settle();
        world.run_ends("exp-an", Running);
        world.later(61);
        world.settle();
        assert_eq!((world.phase(), world.runs["exp-an"].spec.terminate), (Some(wanted), !required));
        if required {
            world.run_ends("exp-an", Failed);
            world.settle();
            assert_eq!(world.phase(), Some(Failed));
        }
    }
}

#[test]
fn table_3_2_6_required_analyses_end_it_early() {
    let mut world = World::new(json!({
        "analyses": [
            {"name": "must", "templateName": "t", "requiredForCompletion": true}, {"name": "may", "templateName": "t"},
        ],
    }));
    world.settle();
    world.run_ends("exp-may", Running);
    world.run_ends("exp-must", Successful);
    world.later(100);
    world.settle();
    assert_eq!(world.phase(), Some(Successful));
    assert!(world.runs["exp-may"].spec.terminate);
}
