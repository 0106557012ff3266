use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::rig::metric;
use crate::analysis::{Flattened, endless_metric, validate_metrics, validate_step};

fn fault(fields: Value) -> String {
    validate_metrics(&[metric(fields)]).map_err(|error| error.to_string()).err().unwrap_or_default()
}

#[test]
fn table_1_9_metrics() {
    let own = |text: &str| format!("metrics[0]: {text}");
    for (fields, wanted) in [
        (json!({}), String::new()),
        (json!({"consecutiveSuccessLimit": -1}), own("consecutiveSuccessLimit must be >= 0")),
        (json!({"failureLimit": -2}), own("failureLimit must be >= 0, or -1 to be disabled")),
        (json!({"failureLimit": -1}), own("failureLimit and consecutiveSuccessLimit cannot both be disabled")),
        (json!({"failureLimit": -1, "consecutiveSuccessLimit": 1}), String::new()),
        (json!({"inconclusiveLimit": -1}), own("inconclusiveLimit must be >= 0")),
        (json!({"consecutiveErrorLimit": -1}), own("consecutiveErrorLimit must be >= 0")),
        (
            json!({"count": 2, "interval": "1s", "failureLimit": 2, "consecutiveSuccessLimit": 1}),
            own("count (2) must be >= failureLimit + consecutiveSuccessLimit (2 + 1) if both >= 0"),
        ),
        (json!({"count": 3, "interval": "1s", "failureLimit": 2, "consecutiveSuccessLimit": 1}), String::new()),
        (
            json!({"count": 1, "failureLimit": 2}),
            own("count (1) must be >= failureLimit + consecutiveSuccessLimit (2 + 0) if both >= 0"),
        ),
        (
            json!({"count": 2, "interval": "1s", "failureLimit": -1, "consecutiveSuccessLimit": 3}),
            own("count must be >= consecutiveSuccessLimit"),
        ),
        (json!({"count": 1, "inconclusiveLimit": 2}), own("count must be >= inconclusiveLimit")),
        (json!({"inconclusiveLimit": 2}), String::new()),
        (json!({"count": 2}), own("interval must be specified when count > 1")),
        (json!({"count": "2"}), own("interval must be specified when count > 1")),
        (json!({"count": "two"}), String::new()),
        (json!({"count": -5}), String::new()),
        (json!({"interval": "1d"}), own(r#"invalid interval string: time: unknown unit "d" in duration "1d""#)),
        (json!({"interval": "5"}), own(r#"invalid interval string: time: missing unit in duration "5""#)),
        (json!({"initialDelay": "soon"}), own(r#"invalid startDelay string: time: invalid duration "soon""#)),
        (json!({"provider": {}}), own("no provider specified")),
        (json!({"provider": {"plugin": {}}}), own("no provider specified")),
        (json!({"provider": {"plugin": {"a": {}}}}), String::new()),
        (json!({"provider": {"plugin": {"a": {}, "b": {}}}}), own("multiple providers specified")),
        (json!({"provider": {"web": {}, "job": {"spec": {}}}}), own("multiple providers specified")),
        // Conditions are not looked at.
        (json!({"successCondition": "((("}), String::new()),
    ] {
        assert_eq!(fault(fields.clone()), wanted, "{fields}");
    }
    for name in [
        "prometheus",
        "kayenta",
        "web",
        "datadog",
        "wavefront",
        "newRelic",
        "job",
        "cloudWatch",
        "graphite",
        "influxdb",
        "skywalking",
    ] {
        assert_eq!(fault(json!({"provider": {name: {}}})), "", "{name}");
    }
}

#[test]
fn table_1_9_lists() {
    let error = |names: &[&str]| {
        let metrics: Vec<_> = names.iter().map(|name| metric(json!({"name": name}))).collect();
        validate_metrics(&metrics).map_err(|error| error.to_string())
    };
    assert_eq!(error(&[]), Err("no metrics specified".to_owned()));
    assert_eq!(error(&["a", "b"]), Ok(()));
    assert_eq!(error(&["a", "b", "a"]), Err("metrics[2]: duplicate name 'a'".to_owned()));
    let second = validate_metrics(&[metric(json!({})), metric(json!({"name": "n", "count": 2}))]).unwrap_err();
    assert_eq!(second.to_string(), "metrics[1]: interval must be specified when count > 1");
}

#[test]
fn table_1_9_metrics_of_a_step_end() {
    for (fields, is_endless) in [
        (json!({}), false),
        (json!({"interval": "1s", "count": 1}), false),
        (json!({"interval": "1s"}), true),
        (json!({"interval": "1s", "count": 0}), true),
        (json!({"interval": "1s", "consecutiveSuccessLimit": 3}), true),
    ] {
        assert_eq!(endless_metric(&[metric(fields.clone())]).is_some(), is_endless, "{fields}");
    }
}

#[test]
fn table_1_9_templates_of_a_step() {
    let check = |fields: Value, args: Value, may_be_endless: bool| {
        let templates = Flattened {
            metrics: vec![metric(fields)],
            args: serde_json::from_value(args).unwrap(),
            ..Flattened::default()
        };
        validate_step(&templates, may_be_endless).map_err(|error| error.to_string()).err().unwrap_or_default()
    };
    let source = json!({"secretKeyRef": {"name": "s", "key": "k"}});
    for (fields, args, wanted) in [
        (json!({"successCondition": "{{args.x}}"}), json!([{"name": "x"}]), ""),
        (json!({"successCondition": "{{args.x}}"}), json!([{"name": "x", "valueFrom": source}]), ""),
        (
            json!({}),
            json!([{"name": "x", "value": "v", "valueFrom": source}]),
            "arg 'x' has both Value and ValueFrom fields",
        ),
        (
            json!({"successCondition": "{{args.y}}"}),
            json!([{"name": "x"}]),
            "Unable to resolve metric arguments: failed to resolve {{args.y}}",
        ),
        (json!({"count": 2}), json!([]), "metrics[0]: interval must be specified when count > 1"),
        (json!({"interval": "1s"}), json!([]), "metric m which runs indefinitely. Invalid value for count: <nil>"),
        (
            json!({"interval": "1s", "count": 0}),
            json!([]),
            "metric m which runs indefinitely. Invalid value for count: 0",
        ),
    ] {
        assert_eq!(check(fields, args, false), wanted);
    }
    assert_eq!(check(json!({"interval": "1s"}), json!([]), true), "");
}
