//! A table for each kind of finding: what is written, where it is found, and in which words.

use std::{path::Path, sync::LazyLock};

use okra_store::ManifestRules;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::{Finding, Severity, distance, nearest, with_rules};
use crate::manifests::{Document, Manifests};

/// They take their time to be read.
static RULES: LazyLock<ManifestRules> = LazyLock::new(|| ManifestRules::new().unwrap());

fn found(values: Vec<Value>) -> Vec<Finding> {
    let documents = values.into_iter().enumerate();
    let documents =
        documents.map(|(index, value)| Document { file: "f.yaml".to_owned(), number: index + 1, value }).collect();
    with_rules(&Manifests { documents, bad: Vec::new() }, &RULES).unwrap()
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn template(spec: Value) -> Value {
    object("AnalysisTemplate", "rate", spec)
}

/// A template with one metric; `fields` go on top of a good one.
fn with_metric(fields: Value) -> Value {
    template(json!({"metrics": [metric(fields)]}))
}

fn metric(fields: Value) -> Value {
    let mut metric =
        json!({"name": "m", "successCondition": "result.rate > 0.9", "provider": {"web": {"url": "http://x"}}});
    metric.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    metric
}

/// One finding as `severity field: message | fix`.
fn told(findings: &[Finding]) -> Vec<String> {
    let line = |finding: &Finding| {
        let Finding { field, severity, message, fix, .. } = finding;
        let severity = if *severity == Severity::Error { "E" } else { "W" };
        format!("{severity} {field}: {message} | {fix}")
    };
    findings.iter().map(line).collect()
}

/// Each metric's fields, and its only finding, without `spec.metrics[0].` before the field.
fn assert_metrics(table: &[(Value, &str)]) {
    for (fields, expected) in table {
        let lines: Vec<String> = told(&found(vec![with_metric(fields.clone())]))
            .iter()
            .map(|line| line.replace("spec.metrics[0].", ""))
            .collect();
        let expected: Vec<&str> = if expected.is_empty() { Vec::new() } else { vec![expected] };
        assert_eq!(lines, expected, "{fields}");
    }
}

fn web_is(condition: &str) -> Value {
    json!({"successCondition": condition})
}

fn prometheus(query: &str, condition: &str) -> Value {
    json!({"successCondition": condition, "provider": {"prometheus": {"address": "http://p", "query": query}}})
}

#[test]
fn a_good_template_has_no_findings() {
    let good = template(json!({
        "args": [{"name": "service"}, {"name": "limit"}, {"name": "token", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        "metrics": [
            {"name": "rate", "interval": "30s", "count": 5, "failureLimit": 1, "inconclusiveLimit": 2,
             "successCondition": "result[0] >= {{args.limit}}", "failureCondition": "result[0] < 0.5",
             "provider": {"prometheus": {"address": "http://p", "query": "rate(x{s=\"{{args.service}}\"}[1m])",
                                         "headers": [{"key": "a", "value": "{{ args.token }}"}]}}},
            {"name": "cw", "successCondition": "len(result) > 0 && result[0].Values[0] < 5",
             "provider": {"cloudWatch": {"metricDataQueries": [{"id": "q"}]}}},
            {"name": "dd", "successCondition": "default(result, 0) < 0.05", "provider": {"datadog": {"query": "q"}}},
            {"name": "nr", "successCondition": "result.successRate >= 0.95", "provider": {"newRelic": {"query": "q"}}},
            {"name": "graphite", "successCondition": "all(result, # < 5)", "provider": {"graphite": {"query": "q"}}},
            {"name": "job", "provider": {"job": {"spec": {"template": {}}}}},
        ],
        "dryRun": [{"metricName": ".*"}],
        "measurementRetention": [{"metricName": "rate", "limit": 20}],
    }));
    assert_eq!(told(&found(vec![good])), Vec::<String>::new());
}

#[test]
fn conditions_fit_what_the_provider_gives() {
    assert_metrics(&[
        (
            prometheus("sum(rate(x[1m]))", "result >= 0.95"),
            "E successCondition: invalid operation: >= (mismatched types []float64 and float64); prometheus gives a list \
             of numbers | write result[0] >= 0.95",
        ),
        (prometheus("sum(rate(x[1m]))", "result[0] >= 0.95"), ""),
        (prometheus("scalar(sum(rate(x[1m])))", "result >= 0.95"), ""),
        (
            prometheus("up", "result[0]"),
            "E successCondition: expected bool, but got float64; prometheus gives a list of numbers | write result[0] > 0",
        ),
        (
            json!({"successCondition": "result[0] < 5", "provider": {"datadog": {"query": "q"}}}),
            "E successCondition: type float64[int] is undefined; datadog gives one number | write result < 5",
        ),
        (
            json!({"successCondition": "result[0] < 5", "provider": {"cloudWatch": {"metricDataQueries": []}}}),
            "E successCondition: invalid operation: < (mismatched types types.MetricDataResult and int); cloudWatch gives \
             a list with one entry for each query, whose numbers are in .Values | write result[0].Values[0] < 5",
        ),
        (
            web_is("result.rate => 0.9"),
            "E successCondition: unexpected token Operator(\"=\"); web gives what the JSON of the answer holds | write \
             result.rate >= 0.9",
        ),
        (web_is("result.anything[3].goes > 1"), ""),
    ]);
}

#[test]
fn conditions_that_hardly_mean_what_they_say() {
    assert_metrics(&[
        (
            web_is("1 < 2"),
            "W successCondition: it does not look at result: each measurement comes out the same | compare result",
        ),
        (
            web_is("default(result.rate, 1) > 0.9"),
            "W successCondition: default looks at the whole result, whatever result.rate is: a quirk of Argo Rollouts | \
             write (result.rate ?? ...)",
        ),
        (
            web_is("isNil(result.rate)"),
            "W successCondition: isNil looks at the whole result, whatever result.rate is: a quirk of Argo Rollouts | \
             write result.rate == nil",
        ),
        (
            json!({"successCondition": ""}),
            "W spec.metrics[0]: every answer passes: it has neither successCondition nor failureCondition | add \
             successCondition",
        ),
        (
            json!({"provider": {"job": {"spec": {}}}}),
            "W spec.metrics[0]: its conditions are not looked at: a Job judges by itself | remove successCondition and \
             failureCondition",
        ),
    ]);
}

#[test]
fn limits_that_are_never_reached() {
    assert_metrics(&[
        (
            json!({"interval": "1m", "count": 3, "failureLimit": 3}),
            "W failureLimit: never reached: it is measured 3 times, and it takes more than 3 failed ones | write 2 or \
             less, or raise count",
        ),
        (json!({"interval": "1m", "count": 3, "failureLimit": 2}), ""),
        (json!({"interval": "1m", "failureLimit": 30}), ""),
        (
            json!({"failureLimit": 1}),
            "W failureLimit: never reached: it is measured once, and it takes more than 1 failed ones | remove it, or add \
             interval and count",
        ),
        (
            json!({"interval": "1m", "count": 5, "inconclusiveLimit": 2}),
            "W inconclusiveLimit: never reached: a measurement is inconclusive only where both conditions are set | add \
             the other condition, or remove the limit",
        ),
        (
            json!({"interval": "1m", "count": 2, "inconclusiveLimit": 2, "failureCondition": "result.rate < 0.1"}),
            "W inconclusiveLimit: never reached: it is measured 2 times, and it takes more than 2 inconclusive ones | \
             write 1 or less, or raise count",
        ),
        (
            json!({"consecutiveSuccessLimit": 3}),
            "W consecutiveSuccessLimit: never reached: it is measured once | add interval, and count if it is to end without",
        ),
        (
            json!({"consecutiveErrorLimit": 20_000}),
            "W consecutiveErrorLimit: never reached: with one every 10 s, so many errors in a row take 2 days or more | \
             write a smaller number; without one it is 4",
        ),
        (
            json!({"interval": "1m", "count": "five"}),
            "E count: \"five\" is no number, and counts as 0 | write a number",
        ),
    ]);
}

#[test]
fn argos_own_rules() {
    assert_metrics(&[
        (
            json!({"interval": "1m", "count": 3, "failureLimit": -2}),
            "E failureLimit: failureLimit must be >= 0, or -1 to be disabled | write 0 or more, or -1 for any number",
        ),
        (
            json!({"interval": "1m", "count": 3, "failureLimit": 2, "consecutiveSuccessLimit": 2}),
            "E count: count (3) must be >= failureLimit + consecutiveSuccessLimit (2 + 2) if both >= 0 | write 4 or more, \
             or lower the limits",
        ),
        (
            json!({"failureLimit": -1}),
            "E failureLimit: failureLimit and consecutiveSuccessLimit cannot both be disabled | write 0 or more, or set consecutiveSuccessLimit",
        ),
        (
            json!({"count": 2}),
            "E interval: interval must be specified when count > 1 | add the time between measurements, such as interval: 1m",
        ),
        (
            json!({"interval": "1 minute"}),
            "E interval: invalid interval string: time: unknown unit \" minute\" in duration \"1 minute\" | write a \
             duration such as 30s, 5m or 1h30m",
        ),
        (
            json!({"initialDelay": "5"}),
            "E initialDelay: invalid startDelay string: time: missing unit in duration \"5\" | write a duration such as \
             30s, 5m or 1h30m",
        ),
        (
            json!({"provider": {}}),
            "E provider: no provider specified | write one of prometheus, web, datadog, cloudWatch, job, newRelic, graphite, \
             influxdb, wavefront, skywalking, kayenta",
        ),
        (
            json!({"successCondition": "result[0] > 1", "provider": {"graphite": {"query": "q"}, "influxdb": {"query": "q"}}}),
            "E provider: multiple providers specified | keep one, and make a metric of each other",
        ),
        (
            json!({"successCondition": "", "failureCondition": "result > 1", "provider": {"plugin": {"a/b": {}}}}),
            "E provider.plugin: plugins of Argo Rollouts are Go programs that okra does not run | measure with another \
             provider, or hand runs to Argo Rollouts: okrad --analysis-engine=argo",
        ),
    ]);
    let lines = told(&found(vec![template(json!({"metrics": [metric(json!({})), metric(json!({}))]}))]));
    assert!(
        lines
            .contains(&"E spec.metrics[1].name: metrics[1]: duplicate name 'm' | give it a name of its own".to_owned()),
        "{lines:?}"
    );
    let lines = told(&found(vec![template(json!({}))]));
    assert_eq!(lines, ["E spec.metrics: no metrics specified | add a metric, or refer to a template that has some"]);
}

#[test]
fn requests_that_are_refused_before_they_are_sent() {
    let range = |start: &str, step: &str| {
        let range = json!({"start": start, "end": "now()", "step": step});
        json!({"successCondition": "result[0] > 1", "provider": {"prometheus": {"query": "up", "rangeQuery": range}}})
    };
    assert_metrics(&[
        (range("now() - duration(\"1h\")", "1m"), ""),
        (
            range("duration(\"1h\")", "1m"),
            "E provider.prometheus.rangeQuery.start: expected time.Time, but got time.Duration | write a time such as now() or now() - duration(\"1h\")",
        ),
        (
            range("now()", "often"),
            "E provider.prometheus.rangeQuery.step: time: invalid duration \"often\" | write a duration such as 1m",
        ),
        (
            json!({"provider": {"web": {"url": "http://x", "jsonPath": "$.rate"}}}),
            "E provider.web.jsonPath: a path without braces stands for its own text | write {$.rate}",
        ),
        (
            json!({"provider": {"web": {"url": "http://x", "body": "x"}}}),
            "E provider.web.method: Body/JSONBody can only be used with POST or PUT WebMetric Method types | write method: \
             POST, or remove the body",
        ),
    ]);
}

#[test]
fn unknown_fields_and_wrong_types() {
    assert_metrics(&[
        (
            json!({"sucessCondition": "x"}),
            "E sucessCondition: unknown field: an API server drops it without a word | write successCondition",
        ),
        (
            json!({"provider": {"web": {"url": "http://x", "retries": 3}}}),
            "E provider.web.retries: unknown field: an API server drops it without a word | remove it, or write one of \
             authentication, body, headers, insecure, jsonBody, jsonPath, method, timeoutSeconds, url",
        ),
    ]);
    let lines =
        told(&found(vec![with_metric(json!({"provider": {"web": {"url": "http://x", "timeoutSeconds": "5"}}}))]));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("E spec.metrics[0].provider.web.timeoutSeconds: \"5\" is not of type"), "{lines:?}");
    let lines = told(&found(vec![with_metric(json!({"provider": {"web": {}}}))]));
    assert_eq!(lines, ["E spec.metrics[0].provider.web.url: is required | add it"]);
}

#[test]
fn placeholders_that_nobody_resolves() {
    let with = |url: &str| {
        template(json!({
            "args": [{"name": "version"}],
            "metrics": [metric(json!({"provider": {"web": {"url": format!("http://{{{{args.version}}}}/{url}")}}}))],
        }))
    };
    let at = "E spec.metrics[0].provider.web.url";
    for (url, expected) in [
        ("{{ args.version }}", String::new()),
        (
            "{{args.vresion}}",
            format!(
                "{at}: failed to resolve {{{{args.vresion}}}}: there is no argument vresion | write {{{{args.version}}}}"
            ),
        ),
        (
            "{{args.service}}",
            format!(
                "{at}: failed to resolve {{{{args.service}}}}: there is no argument service | declare it: - name: service under spec.args"
            ),
        ),
        (
            "{{ .Values.x }}",
            format!(
                "{at}: failed to resolve {{{{ .Values.x }}}}: only {{{{args.NAME}}}} is replaced | write {{{{args.NAME}}}}, or fill it in before the file is applied"
            ),
        ),
        (
            "{{args.version",
            format!("{at}: {{{{ has no }}}} | close it: {{{{args.NAME}}}}; there is no way to write {{{{ itself"),
        ),
    ] {
        let lines = told(&found(vec![with(url)]));
        let expected: Vec<String> = Some(expected).filter(|text| !text.is_empty()).into_iter().collect();
        assert_eq!(lines, expected, "{url}");
    }
}

#[test]
fn arguments_and_rules() {
    let metrics = json!([metric(json!({}))]);
    let lines = told(&found(vec![template(json!({
        "args": [
            {"name": "unused"}, {"name": "unused", "value": "1"},
            {"name": "both", "value": "1", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "field", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "metrics": [metric(json!({"provider": {"web": {"url": "http://{{args.both}}/{{args.field}}"}}}))],
        "dryRun": [{"metricName": "*"}],
        "measurementRetention": [{"metricName": "other", "limit": 1}],
    }))]));
    assert_eq!(
        lines,
        [
            "W spec.args[0]: no metric uses {{args.unused}} | use it, or remove the argument",
            "E spec.args[1]: argument unused is listed twice | keep one of them",
            "W spec.args[1]: no metric uses {{args.unused}} | use it, or remove the argument",
            "E spec.args[2]: arg 'both' has both Value and ValueFrom fields | keep value or valueFrom; in a run the Secret would win",
            "W spec.args[3].valueFrom.fieldRef: a template does not look fields up: without a value from the caller the run is an Error | remove it here, and write valueFrom.fieldRef in the args of the Cell's step",
            "E spec.dryRun[0].metricName: dryRun[0]: Rule didn't match any metric name(s) | it is a regular expression: write .* for all metrics",
            "E spec.measurementRetention[0].metricName: measurementRetention[0]: Rule didn't match any metric name(s) | write the name of a metric (m), or a regular expression that is found in one",
        ]
    );
    let run = object("AnalysisRun", "r", json!({"metrics": metrics, "args": [{"name": "a"}]}));
    let lines = told(&found(vec![run]));
    assert_eq!(lines[0], "E spec.args[0]: argument \"a\" was not supplied | add value, or valueFrom.secretKeyRef");
}

#[test]
fn templates_are_looked_at_together() {
    let parent = |inner: &str| {
        object(
            "AnalysisTemplate",
            "parent",
            json!({
                "metrics": [metric(json!({"name": "p", "provider": {"web": {"url": "http://{{args.of-child}}"}}}))],
                "templates": [{"templateName": inner}],
            }),
        )
    };
    let child = |spec: Value| object("AnalysisTemplate", "child", spec);
    let own = metric(json!({"provider": {"web": {"url": "http://{{args.of-child}}"}}}));
    let good = child(json!({"args": [{"name": "of-child"}], "metrics": [own]}));
    assert_eq!(told(&found(vec![parent("child"), good.clone()])), Vec::<String>::new());
    // What is elsewhere may have it.
    let lines = told(&found(vec![parent("elsewhere")]));
    assert!(lines.len() == 1 && lines[0].starts_with("W ") && lines[0].contains("in these files"), "{lines:?}");
    let circle =
        child(json!({"args": [{"name": "of-child"}], "metrics": [own], "templates": [{"templateName": "parent"}]}));
    let lines = told(&found(vec![parent("child"), circle]));
    assert!(
        lines.iter().all(|line| line.starts_with("E spec.templates: templates refer to each other in a circle")),
        "{lines:?}"
    );
    let same = child(json!({"args": [{"name": "of-child"}], "metrics": [metric(json!({"name": "p"}))]}));
    let lines = told(&found(vec![parent("child"), same]));
    assert!(lines[0].starts_with("E spec.metrics: two metrics have the same name 'p'"), "{lines:?}");
}

#[test]
fn a_cells_analyses_fit_their_templates() {
    let template = template(json!({
        "args": [{"name": "version"}],
        "metrics": [metric(json!({"interval": "1m", "provider": {"web": {"url": "http://{{args.version}}"}}}))],
    }));
    let cell = |analysis: Value, background: Value| {
        json!({
            "apiVersion": "okra.mumo.co/v1alpha1", "kind": "Cell", "metadata": {"name": "web"},
            "spec": {
                "ingress": {"type": "Local", "local": {"listen": "127.0.0.1:8080", "targetGroupSelector": {"matchLabels": {"a": "b"}}}},
                "updateStrategy": {"canary": {"steps": [{"analysis": analysis}], "analysis": background}},
            },
        })
    };
    let of = |name: &str| json!({"templates": [{"templateName": "rate"}], "args": [{"name": name, "value": "1"}]});
    let findings = found(vec![template, cell(of("versoin"), of("version"))]);
    assert_eq!(
        told(&findings),
        [
            "W spec.updateStrategy.canary.steps[0].analysis.args[0].name: its templates have no argument versoin: it is dropped without a word | write version",
            "E spec.updateStrategy.canary.steps[0].analysis.args: args.version was not resolved | give each argument that has no default in its template",
            "E spec.updateStrategy.canary.steps[0].analysis.templates: metric m which runs indefinitely. Invalid value for count: <nil> | add count to the metric, or make it a background analysis (canary.analysis)",
        ]
    );
    assert_eq!((findings[0].document, findings[0].object.as_str()), (2, "Cell web"));
    let elsewhere = json!({"templates": [{"templateName": "elsewhere"}]});
    assert_eq!(told(&found(vec![cell(elsewhere.clone(), elsewhere)])), Vec::<String>::new());
}

#[test]
fn limits_that_the_caller_sets_are_not_judged() {
    let open = template(json!({
        "args": [{"name": "count"}, {"name": "every"}, {"name": "flag"}, {"name": "text"}],
        "metrics": [metric(json!({
            "count": "{{args.count}}", "interval": "{{args.every}}", "failureLimit": 3,
            "successCondition": "{{args.flag}} && result[0] == '{{args.text}}'", "provider": {"influxdb": {"query": "q"}},
        }))],
    }));
    assert_eq!(told(&found(vec![open])), Vec::<String>::new());
}

#[test]
fn names_are_near_within_two_letters() {
    assert_eq!(distance("Address", "adress"), 1);
    assert_eq!(nearest("sucessCondition", ["failureCondition", "successCondition"]), Some("successCondition"));
    assert_eq!(nearest("retries", ["url", "method"]), None);
}

/// What the documentation tells people to copy.
#[test]
fn templates_of_the_documentation_are_without_findings() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut templates = 0;
    for page in ["concepts/analysis.md", "guides/prometheus.md", "guides/datadog.md", "guides/cloudwatch.md"] {
        let text = std::fs::read_to_string(docs.join(page)).unwrap();
        let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        for block in blocks.filter(|block| block.contains("kind: AnalysisTemplate")) {
            assert_eq!(told(&found(vec![serde_saphyr::from_str(block).unwrap()])), Vec::<String>::new(), "{page}");
            templates += 1;
        }
    }
    assert_eq!(templates, 5);
}
