use std::collections::BTreeMap;

use okra_api::analysis::{AnalysisTemplateRef, AnalysisTemplateSpec};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::analysis::{Flattened, flatten, run_spec};

fn reference(name: &str) -> AnalysisTemplateRef {
    let (cluster_scope, name) = name.strip_prefix("cluster/").map_or((false, name), |name| (true, name));
    AnalysisTemplateRef { template_name: name.to_owned(), cluster_scope }
}

/// Templates by name (`cluster/x`: of the cluster): metric names, and the templates they refer to.
fn flattened(templates: &[(&str, Value)], roots: &[&str]) -> Result<Flattened, String> {
    let specs: BTreeMap<AnalysisTemplateRef, AnalysisTemplateSpec> =
        templates.iter().map(|(name, spec)| (reference(name), serde_json::from_value(spec.clone()).unwrap())).collect();
    let roots: Vec<AnalysisTemplateRef> = roots.iter().map(|name| reference(name)).collect();
    flatten(&roots, |reference| specs.get(reference)).map_err(|error| error.to_string())
}

fn template(metrics: &[&str], templates: &[&str]) -> Value {
    let refs: Vec<Value> = templates
        .iter()
        .map(|name| {
            let reference = reference(name);
            json!({"templateName": reference.template_name, "clusterScope": reference.cluster_scope})
        })
        .collect();
    json!({"metrics": metrics.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(), "templates": refs})
}

fn names(found: Result<Flattened, String>) -> Result<Vec<String>, String> {
    found.map(|found| found.metrics.into_iter().map(|metric| metric.name).collect())
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn table_1_2_parents_come_first_those_of_the_namespace_before_those_of_the_cluster() {
    let templates = [
        ("a", template(&["a1", "a2"], &["cluster/c", "b"])),
        ("b", template(&["b1"], &["d"])),
        ("cluster/c", template(&["c1"], &["d"])),
        ("d", template(&["d1"], &[])),
        ("e", template(&["e1"], &[])),
        ("cluster/a", template(&["ca1"], &[])),
    ];
    assert_eq!(names(flattened(&templates, &["a"])), Ok(owned(&["a1", "a2", "d1", "b1", "c1"])));
    assert_eq!(names(flattened(&templates, &["cluster/c", "e"])), Ok(owned(&["d1", "e1", "c1"])));
    assert_eq!(names(flattened(&templates, &["e", "e", "a", "b"])), Ok(owned(&["e1", "a1", "a2", "d1", "b1", "c1"])));
    assert_eq!(names(flattened(&templates, &["cluster/a", "e"])), Ok(owned(&["e1", "ca1"])), "one name in two places");
    assert_eq!(names(flattened(&templates, &[])), Ok(owned(&[])), "an empty list is not refused here");
}

#[test]
fn table_1_2_circles_and_missing_templates_are_errors() {
    let templates = [
        ("a", template(&["a"], &["b"])),
        ("b", template(&["b"], &["cluster/c"])),
        ("cluster/c", template(&["c"], &["a"])),
        ("self", template(&["s"], &["self"])),
        ("gap", template(&["g"], &["cluster/none"])),
        ("diamond", template(&["d"], &["left", "right"])),
        ("left", template(&["l"], &["base"])),
        ("right", template(&["r"], &["base"])),
        ("base", template(&["x"], &[])),
    ];
    let error = |text: &str| Err(text.to_owned());
    let circle = "templates refer to each other in a circle: ";
    assert_eq!(names(flattened(&templates, &["a"])), error(&format!("{circle}a -> b -> c -> a")));
    assert_eq!(names(flattened(&templates, &["self"])), error(&format!("{circle}self -> self")));
    assert_eq!(names(flattened(&templates, &["gap"])), error("clusteranalysistemplate.argoproj.io \"none\" not found"));
    assert_eq!(names(flattened(&templates, &["nope"])), error("analysistemplate.argoproj.io \"nope\" not found"));
    assert_eq!(names(flattened(&templates, &["diamond"])), Ok(owned(&["d", "l", "x", "r"])));
}

#[test]
fn table_1_2_a_long_chain_and_a_crowd_end() {
    let chain: Vec<(String, Value)> =
        (0..900).map(|n| (format!("t{n}"), template(&[], &[&format!("t{}", n + 1)]))).collect();
    let mut templates: Vec<(&str, Value)> = chain.iter().map(|(name, spec)| (name.as_str(), spec.clone())).collect();
    templates.push(("t900", template(&["last"], &[])));
    assert_eq!(names(flattened(&templates, &["t0"])), Ok(owned(&["last"])));
    let chain: Vec<(String, Value)> =
        (0..1_100).map(|n| (format!("t{n}"), template(&[], &[&format!("t{}", n + 1)]))).collect();
    let templates: Vec<(&str, Value)> = chain.iter().map(|(name, spec)| (name.as_str(), spec.clone())).collect();
    let error = "more than 1000 templates refer to each other";
    assert_eq!(names(flattened(&templates, &["t0"])), Err(error.to_owned()));
}

#[test]
fn table_1_2_what_is_said_twice() {
    let both = |first: Value, second: Value| flattened(&[("a", first), ("b", second)], &["a", "b"]);
    let error = |found: Result<Flattened, String>| found.unwrap_err();
    let metric = || json!({"metrics": [{"name": "x"}]});
    assert_eq!(error(both(metric(), metric())), "two metrics have the same name 'x'");
    let dry = || json!({"dryRun": [{"metricName": "x"}]});
    assert_eq!(error(both(dry(), dry())), "two Dry-Run metric rules have the same name 'x'");
    let kept = |limit: i32| json!({"measurementRetention": [{"metricName": "x", "limit": limit}]});
    assert_eq!(error(both(kept(1), kept(2))), "two Measurement Retention metric rules have the same name 'x'");
    let value = |value: &str| json!({"args": [{"name": "x", "value": value}]});
    assert_eq!(
        error(both(value("a"), value("b"))),
        "Argument `x` specified multiple times with different values: 'a', 'b'"
    );

    let bare = json!({"args": [{"name": "x"}]});
    let source = json!({"args": [{"name": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]});
    for (first, second, wanted) in [
        (value("a"), value("a"), value("a")),
        (value("a"), bare.clone(), value("a")),
        (bare.clone(), value("a"), value("a")),
        (value("a"), source.clone(), value("a")),
        // Replaced whole, although it had a source.
        (source.clone(), value("a"), value("a")),
        (source.clone(), bare.clone(), bare),
    ] {
        let args = serde_json::to_value(both(first, second).unwrap().args).unwrap();
        assert_eq!(args, wanted["args"]);
    }
}

#[test]
fn table_1_2_rules_of_the_caller_go_first() {
    let of = |names: &[&str]| -> Vec<Value> { names.iter().map(|name| json!({"metricName": name})).collect() };
    let kept =
        |names: &[&str]| -> Vec<Value> { names.iter().map(|name| json!({"metricName": name, "limit": 1})).collect() };
    let templates = json!({"dryRun": of(&["t"]), "measurementRetention": kept(&["t"]), "metrics": [{"name": "x"}]});
    let flat = || flattened(&[("a", templates.clone())], &["a"]).unwrap();
    let dry = |names: &[&str]| serde_json::from_value::<Vec<_>>(json!(of(names))).unwrap();
    let retention = |names: &[&str]| serde_json::from_value::<Vec<_>>(json!(kept(names))).unwrap();
    let spec = run_spec(flat(), &[], &dry(&["c"]), &retention(&["c"])).unwrap();
    assert_eq!(spec.dry_run, dry(&["c", "t"]));
    assert_eq!(spec.measurement_retention, retention(&["c", "t"]));
    assert_eq!(spec.ttl_strategy, None);
    let error = run_spec(flat(), &[], &dry(&["t"]), &[]).unwrap_err().to_string();
    assert_eq!(error, "two Dry-Run metric rules have the same name 't'");
    let error = run_spec(flat(), &[], &[], &retention(&["t"])).unwrap_err().to_string();
    assert_eq!(error, "two Measurement Retention metric rules have the same name 't'");
}
