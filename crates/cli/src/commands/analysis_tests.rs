//! The commands of AnalysisRuns on a store in memory, with an okrad that measures as it is told.

use okra_api::{
    AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate, RunPhase, analysis::AnalysisRunStatus,
    names::TIMESTAMP_LABEL,
};
use okra_core::analysis::INSTANCE_ID_LABEL;
use okra_provider::Key;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::tests::World;
use crate::{ExitStatus, follow::Seen, follow::follow_object, render::fixtures};

/// A store with template `rate` and the ClusterAnalysisTemplate `base` that it refers to.
async fn world() -> World {
    let world = World::with(fixtures::waiting_for_pause().0).await;
    let template = json!({
        "metadata": {"name": "rate", "namespace": "shop"},
        "spec": {
            "args": [{"name": "version"}, {"name": "token", "value": "none"}],
            "metrics": [{"name": "rate", "successCondition": "result > 0.9",
                         "provider": {"web": {"url": "http://x/{{args.version}}"}}}],
            "templates": [{"templateName": "base", "clusterScope": true}],
        },
    });
    let template: AnalysisTemplate = serde_json::from_value(template).unwrap();
    world.session.store.create(&template).await.unwrap();
    let base = json!({
        "metadata": {"name": "base"},
        "spec": {"args": [{"name": "zone", "value": "a"}], "metrics": [{"name": "base", "provider": {"web": {"url": "http://y"}}}]},
    });
    let base: ClusterAnalysisTemplate = serde_json::from_value(base).unwrap();
    world.session.store.create(&base).await.unwrap();
    world
}

async fn read(world: &World, name: &str) -> AnalysisRun {
    world.session.store.get_live(&Key::new("shop", name)).await.unwrap()
}

/// Writes a status once the run is there.
fn okrad(world: &World, name: &str, statuses: Vec<Value>) -> tokio::task::JoinHandle<()> {
    let (store, key) = (world.session.store.clone(), Key::new("shop", name));
    let mut seen = follow_object::<AnalysisRun>(&store, &key);
    tokio::spawn(async move {
        let mut statuses = statuses.into_iter();
        while let Some(seen) = futures::StreamExt::next(&mut seen).await {
            let (Seen::Now(_), Some(status)) = (seen, statuses.next()) else { continue };
            store.merge_patch::<AnalysisRun>(&key, &json!({"status": status})).await.unwrap();
        }
    })
}

#[tokio::test]
async fn a_run_is_made_of_templates_arguments_and_secrets() {
    let world = world().await;
    let ran = world
        .run("okractl create analysisrun --template-name rate --args version=2 --args-from-secrets token=api.token")
        .await;
    assert_eq!((ran.status, ran.err.as_str()), (ExitStatus::Ok, ""));
    let name = ran.out.trim().strip_prefix("analysisrun.argoproj.io/").unwrap().strip_suffix(" created").unwrap();
    assert!(name.starts_with("rate-") && name.len() == 10, "{name}");
    let run = read(&world, name).await;
    let labels = run.metadata.labels.unwrap();
    assert_eq!(labels[INSTANCE_ID_LABEL], "okra");
    assert!(labels[TIMESTAMP_LABEL].parse::<i64>().is_ok());
    let metrics: Vec<&str> = run.spec.metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(metrics, ["rate", "base"]);
    assert_eq!(
        serde_json::to_value(&run.spec.args).unwrap(),
        json!([
            {"name": "version", "value": "2"},
            {"name": "token", "value": "none", "valueFrom": {"secretKeyRef": {"name": "api", "key": "token"}}},
            {"name": "zone", "value": "a"},
        ])
    );
}

#[tokio::test]
async fn a_dry_run_prints_the_manifest_and_makes_nothing() {
    let world = world().await;
    for verb in ["create analysisrun", "run analysis", "create analysis"] {
        let ran = world.run(&format!("okractl {verb} r1 --template-name rate --args version=2 --dry-run")).await;
        assert_eq!(ran.status, ExitStatus::Ok, "{}", ran.err);
        assert!(ran.out.contains("kind: AnalysisRun\n") && ran.out.contains("  name: r1\n"), "{}", ran.out);
    }
    let ran = world.run("okractl create analysisrun r1 --template-name rate --args version=2 --dry-run -o json").await;
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["metadata"]["name"], "r1");
    assert_eq!(world.run("okractl get analysisrun").await.err, "no AnalysisRun found in namespace shop\n");
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let world = world().await;
    for (line, status, words) in [
        ("create analysisrun --template-name rate", ExitStatus::Failed, "args.version was not resolved"),
        ("create analysisrun --template-name nope", ExitStatus::Failed, "AnalysisTemplate shop/nope does not exist"),
        (
            "create analysisrun --template-name rate --template-type clusteranalysistemplate --args version=2",
            ExitStatus::Failed,
            "ClusterAnalysisTemplate rate does not exist",
        ),
        (
            "create analysisrun --template-name rate --args version=2 --args version=3",
            ExitStatus::Usage,
            "argument version is given twice",
        ),
        ("create analysisrun cell/r1 --template-name rate", ExitStatus::Usage, "analysisrun/NAME"),
    ] {
        let ran = world.run(&format!("okractl {line}")).await;
        assert!(ran.status == status && ran.err.contains(words), "{line}: {}", ran.err);
    }
    let ran = world.run("okractl create analysisrun r1 --template-name rate --args version=2 --args versoin=2").await;
    assert_eq!(
        (ran.status, ran.err.as_str()),
        (ExitStatus::Ok, "the template has no argument versoin; it is left out\n")
    );
    let ran = world.run("okractl create analysisrun r1 --template-name rate --args version=2").await;
    assert!(ran.status == ExitStatus::Failed && ran.err.contains("exists already"), "{}", ran.err);
    let ran = world
        .run("okractl create analysisrun r2 --template-name base --template-type cat --analysis-instance-id=")
        .await;
    assert_eq!(ran.status, ExitStatus::Ok, "{}", ran.err);
    assert_eq!(read(&world, "r2").await.metadata.labels.unwrap().get(INSTANCE_ID_LABEL), None);
}

#[tokio::test]
async fn the_verdict_is_the_exit_code() {
    let world = world().await;
    for (index, (phase, status)) in [
        ("Successful", ExitStatus::Ok),
        ("Failed", ExitStatus::Failed),
        ("Inconclusive", ExitStatus::Inconclusive),
        ("Error", ExitStatus::Unmeasured),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("r{index}");
        let result = |count: usize, phase: &str| {
            let measurement = json!({"phase": "Successful", "value": "0.99", "finishedAt": "2026-11-20T12:00:01Z"});
            let last = json!({"phase": phase, "value": "0.5", "message": "why", "finishedAt": "2026-11-20T12:00:31Z"});
            let all = [measurement, last];
            json!({"name": "rate", "phase": phase, "count": count, "measurements": all[..count]})
        };
        let okrad = okrad(
            &world,
            &name,
            vec![
                json!({"phase": "Running", "metricResults": [result(1, "Running")]}),
                json!({"phase": phase, "message": "so it is", "metricResults": [result(2, phase)]}),
            ],
        );
        let line = format!("okractl run analysis {name} --template-name rate --args version=2 --wait --timeout 1m");
        let ran = world.run(&line).await;
        assert_eq!(ran.out, format!("analysisrun.argoproj.io/{name} is {phase}: so it is\n"));
        assert_eq!(ran.status, status, "{}", ran.err);
        let measured = format!("12:00:01  rate  Successful    0.99\n12:00:31  rate  {phase:<12}  0.5  why\n");
        assert_eq!(ran.err, format!("analysisrun.argoproj.io/{name} created\n{measured}"));
        okrad.abort();
    }
}

#[tokio::test]
async fn a_run_that_nobody_takes_up_has_no_verdict() {
    let world = world().await;
    let ran = world.run("okractl run analysis r1 --template-name rate --args version=2 --wait --timeout 50ms").await;
    assert_eq!(ran.status, ExitStatus::Failed);
    assert!(ran.err.contains("no verdict of AnalysisRun shop/r1: nobody has taken it up"), "{}", ran.err);
    assert_eq!(read(&world, "r1").await.status, None, "it stays, for whoever comes");
    let ran = world.run("okractl run analysis r2 --template-name rate --args version=2").await;
    assert_eq!((ran.status, ran.out.as_str()), (ExitStatus::Ok, "analysisrun.argoproj.io/r2 created\n"));
}

#[tokio::test]
async fn a_verdict_by_hand_ends_a_run_once() {
    let world = world().await;
    world.run("okractl create analysisrun r1 --template-name rate --args version=2").await;
    let ran = world.run("okractl update analysisrun r1 --phase failed --dry-run").await;
    assert!(ran.out.contains("phase: Failed") && ran.out.contains("message: set by alice"), "{}", ran.out);
    assert_eq!(read(&world, "r1").await.status, None);
    let ran = world.run("okractl update analysisrun --name r1 --phase Failed").await;
    assert_eq!((ran.status, ran.out.as_str()), (ExitStatus::Ok, "analysisrun.argoproj.io/r1 is Failed\n"));
    let AnalysisRunStatus { phase, message, completed_at, .. } = read(&world, "r1").await.status.unwrap();
    assert_eq!((phase, message.as_str()), (Some(RunPhase::Failed), "set by alice"));
    assert!(completed_at.is_some());
    let ran = world.run("okractl update analysisrun r1 --phase failed").await;
    assert_eq!((ran.status, ran.out.as_str()), (ExitStatus::Ok, "analysisrun.argoproj.io/r1 is Failed already\n"));
    let ran = world.run("okractl update analysisrun r1 --phase successful").await;
    assert!(ran.status == ExitStatus::Failed && ran.err.contains("it has ended: Failed"), "{}", ran.err);
    let ran = world.run("okractl get analysisrun r1").await;
    assert!(ran.out.starts_with("AnalysisRun shop/r1   Failed\nMessage:   set by alice\n"), "{}", ran.out);
    assert!(world.run("okractl get ar -o yaml").await.out.contains("phase: Failed"));
    assert!(world.run("okractl describe analysisrun r1").await.out.contains("Kind:         AnalysisRun"));
}

#[tokio::test]
async fn lint_names_file_document_field_and_what_to_write() {
    let world = world().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let template = |name: &str, condition: &str, limit: &str| {
        format!(
            "apiVersion: argoproj.io/v1alpha1\nkind: AnalysisTemplate\nmetadata: {{name: {name}}}\nspec:\n  metrics:\n  - \
             name: m\n    successCondition: {condition}\n{limit}    provider: {{prometheus: {{address: 'http://p', query: \
             up}}}}\n"
        )
    };
    let (good, warned) =
        (template("good", "result[0] > 0", ""), template("warned", "result[0] > 0", "    failureLimit: 1\n"));
    let bad = template("bad", "result > 0", "");
    std::fs::write(path("good.yaml"), &good).unwrap();
    std::fs::write(path("warned.yaml"), &warned).unwrap();
    std::fs::write(path("bad.yaml"), format!("{good}---\n---\n{bad}")).unwrap();
    std::fs::write(path("broken.yaml"), "secret: [hunter2").unwrap();

    let ran = world.run(&format!("okractl lint -f {}", path("good.yaml"))).await;
    let nothing = "1 document, 0 errors, 0 warnings\n";
    assert_eq!((ran.status, ran.out.as_str(), ran.err.as_str()), (ExitStatus::Ok, "", nothing));

    let ran = world.run(&format!("okractl lint -f {}", path("warned.yaml"))).await;
    assert!(
        ran.status == ExitStatus::Ok && ran.out.contains("  warning spec.metrics[0].failureLimit: never"),
        "{}",
        ran.out
    );
    let ran = world.run(&format!("okractl lint --strict -f {}", path("warned.yaml"))).await;
    assert_eq!(ran.status, ExitStatus::Failed);

    let ran = world.run(&format!("okractl lint -f {}", path("bad.yaml"))).await;
    let expected = format!(
        "{} document 2, AnalysisTemplate bad\n  error spec.metrics[0].successCondition: invalid operation: > (mismatched \
         types []float64 and int); prometheus gives a list of numbers\n    write result[0] > 0\n",
        path("bad.yaml")
    );
    assert_eq!((ran.status, ran.out), (ExitStatus::Failed, expected));

    let ran = world.run(&format!("okractl lint -f {} -o json", folder.path().display())).await;
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    let severities: Vec<&str> =
        found["findings"].as_array().unwrap().iter().map(|finding| finding["severity"].as_str().unwrap()).collect();
    assert_eq!((ran.status, severities), (ExitStatus::Failed, vec!["error", "error", "warning"]));
    assert!(!ran.out.contains("hunter2") && ran.out.contains("it is no YAML"), "{}", ran.out);

    let ran = world.run("okractl lint -f /nowhere.yaml").await;
    assert!(ran.status == ExitStatus::Usage && ran.err.contains("failed to read /nowhere.yaml"), "{}", ran.err);
}
