use okra_api::{
    RunPhase,
    analysis::{Argument, SecretKeyRef},
    step::AnalysisArg,
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::rig::{Rig, metric, run_of};
use crate::analysis::{
    IncomingArgument, IncomingContext, IncomingValue, Outcome, Secrets, incoming_args, merge_args, missing_key,
    secret_keys,
};

fn args(list: Value) -> Vec<Argument> {
    serde_json::from_value(list).unwrap()
}

fn secret() -> Value {
    json!({"secretKeyRef": {"name": "s", "key": "k"}})
}

#[test]
fn table_1_3_merging() {
    for (incoming, declared, wanted) in [
        (json!([]), json!([{"name": "x", "value": "d"}]), Ok(json!([{"name": "x", "value": "d"}]))),
        (
            json!([{"name": "x", "value": "i"}]),
            json!([{"name": "x", "value": "d"}]),
            Ok(json!([{"name": "x", "value": "i"}])),
        ),
        (json!([{"name": "y", "value": "i"}]), json!([]), Ok(json!([]))),
        (json!([{"name": "x"}]), json!([{"name": "x", "value": "d"}]), Ok(json!([{"name": "x", "value": "d"}]))),
        (
            json!([{"name": "x", "valueFrom": secret()}]),
            json!([{"name": "x", "value": "d"}]),
            Ok(json!([{"name": "x", "value": "d", "valueFrom": secret()}])),
        ),
        (
            json!([{"name": "x", "value": "i"}]),
            json!([{"name": "x", "valueFrom": secret()}]),
            Ok(json!([{"name": "x", "value": "i", "valueFrom": secret()}])),
        ),
        (json!([]), json!([{"name": "x"}, {"name": "y"}]), Err("args.x was not resolved")),
        (json!([{"name": "x", "value": ""}]), json!([{"name": "x"}]), Ok(json!([{"name": "x", "value": ""}]))),
    ] {
        let merged = merge_args(&args(incoming), &args(declared)).map_err(|error| error.to_string());
        assert_eq!(merged.map(|args| json!(args)), wanted.map_err(str::to_owned));
    }
}

#[test]
fn table_1_3_values_of_who_makes_the_run() {
    let object = json!({"metadata": {"name": "web"}, "status": {"desiredVersion": "1.2.0", "steps": [1]}});
    let context = IncomingContext { object: &object, stable_hash: "old", latest_hash: "new" };
    let value = |source: IncomingValue| {
        let arg = IncomingArgument { name: "x".to_owned(), source };
        let found = incoming_args(&[arg], context).map_err(|error| error.to_string());
        found.map(|args| args[0].value.clone().unwrap())
    };
    let field = |path: &str| value(IncomingValue::Field(path.to_owned()));
    assert_eq!(value(IncomingValue::Plain(String::new())), Ok(String::new()));
    assert_eq!(value(IncomingValue::StableHash), Ok("old".to_owned()));
    assert_eq!(value(IncomingValue::LatestHash), Ok("new".to_owned()));
    assert_eq!(field("metadata.name"), Ok("web".to_owned()));
    assert_eq!(field("status.desiredVersion"), Ok("1.2.0".to_owned()));
    assert_eq!(field("status.steps[0]"), Ok("1".to_owned()));
    assert_eq!(field("status.none"), Err("args.x: invalid path status.none in rollout".to_owned()));
    // An argument that is listed with only a name overrides a default with the empty text.
    let bare: AnalysisArg = serde_json::from_value(json!({"name": "x"})).unwrap();
    assert_eq!(IncomingArgument::from(&bare).source, IncomingValue::Plain(String::new()));
    let read: AnalysisArg =
        serde_json::from_value(json!({"name": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}))
            .unwrap();
    assert_eq!(IncomingArgument::from(&read).source, IncomingValue::Field("metadata.name".to_owned()));
}

fn key() -> SecretKeyRef {
    SecretKeyRef { name: "s".to_owned(), key: "k".to_owned() }
}

#[test]
fn table_1_3_a_run_reads_secrets_in_every_pass_and_no_fields() {
    let with = |list: Value, secrets: Secrets| {
        let mut spec = run_of(vec![metric(json!({"successCondition": "result == '{{args.x}}'"}))]);
        spec.args = args(list);
        let mut rig = Rig::new(spec);
        rig.secrets = secrets;
        rig
    };
    let read = |value: Result<&str, &str>| Secrets::new([(key(), value.map(str::to_owned).map_err(str::to_owned))]);
    let both = json!([{"name": "x", "value": "plain", "valueFrom": secret()}]);
    assert_eq!(secret_keys(&args(both.clone())), [key()].into());

    // The Secret wins over the value, and it is not told.
    let mut rig = with(both.clone(), read(Ok("hush")));
    let plan = rig.look();
    assert_eq!(plan.take[0].metric.success_condition, "result == 'hush'");
    assert!(!format!("{plan:?}").contains("hush"));
    let results = rig.measured(&plan, |_| Outcome::error("401: hush is wrong"));
    rig.look_with(&results, &[]);
    assert_eq!(rig.result("m").measurements[0].message, "401: ***** is wrong");

    // A run that waits ends at once when its Secret cannot be read.
    rig.secrets = read(Err(&missing_key(&key())));
    rig.look();
    let wanted = "Unable to resolve metric arguments: key 'k' does not exist in secret 's'";
    assert_eq!((rig.phase(), rig.status().message.as_str()), (Some(RunPhase::Error), wanted));
    assert_eq!(rig.status().completed_at, None);

    for (list, wanted) in [
        (
            json!([{"name": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
            "argument \"x\" was not supplied",
        ),
        (json!([{"name": "x"}]), "argument \"x\" was not supplied"),
        (json!([{"name": "x", "value": "v"}, {"name": "unused"}]), "argument \"unused\" was not supplied"),
        (json!([]), "failed to resolve {{args.x}}"),
    ] {
        let mut rig = with(list, Secrets::default());
        rig.look();
        assert_eq!(rig.status().message, format!("Unable to resolve metric arguments: {wanted}"));
        assert_eq!((rig.phase(), rig.status().completed_at), (Some(RunPhase::Error), None));
    }

    // Metric conditions may hold the secret; values and metadata of what is measured are cleaned too.
    let mut rig = with(json!([{"name": "x", "valueFrom": secret()}]), read(Ok("hush")));
    let plan = rig.look();
    let mut results = rig.measured(&plan, |_| Outcome::value("hush", "\"hush\""));
    results[0].metric_metadata.insert("ResolvedPrometheusQuery".to_owned(), "up{key=\"hush\"}".to_owned());
    rig.look_with(&results, &[]);
    assert_eq!(rig.phase(), Some(RunPhase::Successful));
    let text = serde_json::to_string(&rig.status()).unwrap();
    assert!(!text.contains("hush") && text.contains("*****"), "{text}");
    assert_eq!(rig.result("m").measurements[0].phase, RunPhase::Successful);
}
