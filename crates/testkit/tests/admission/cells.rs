//! Good and bad Cells.

use serde_json::{Value, json};

use super::edit::{Case, Edit};

const LISTENER: &str =
    "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:listener/app/web/50dc6c495c0c9188/f2f7dc8efc522ab2";

fn long(length: usize) -> String {
    "a".repeat(length)
}

fn many(count: usize, item: Value) -> Value {
    Value::Array(vec![item; count])
}

/// Only what is required.
pub fn minimal() -> Value {
    json!({
        "apiVersion": "okra.mumo.co/v1alpha1",
        "kind": "Cell",
        "metadata": {"name": "minimal"},
        "spec": {"ingress": {"type": "AWSApplicationLoadBalancer", "awsApplicationLoadBalancer": {
            "listenerARN": LISTENER,
            "listener": {"rule": {"priority": 10, "hosts": ["example.com"]}},
            "targetGroupSelector": {"matchLabels": {"role": "web"}},
        }}},
    })
}

/// The Cell of the project's first README, with an apiVersion and a real listener.
fn of_the_readme() -> Value {
    json!({
        "apiVersion": "okra.mumo.co/v1alpha1",
        "kind": "Cell",
        "metadata": {"name": "cell1"},
        "spec": {
            "ingress": {"type": "AWSApplicationLoadBalancer", "awsApplicationLoadBalancer": {
                "listener": {"rule": {"forward": {}, "hosts": ["example.com"], "priority": 10}},
                "listenerARN": LISTENER,
                "targetGroupSelector": {"matchLabels": {"role": "web"}},
            }},
            "replicas": 2,
            "updateStrategy": {
                "canary": {"steps": [
                    {"setWeight": 20},
                    {"analysis": {
                        "args": [{"name": "service-name", "value": "exampleapp"}],
                        "templates": [{"templateName": "success-rate"}],
                    }},
                    {"pause": {"duration": "5s"}},
                    {"setWeight": 40},
                ]},
                "type": "Canary",
            },
        },
    })
}

/// Every field that a Cell with an Application Load Balancer can have.
fn all_fields() -> Value {
    let analysis = json!({
        "templates": [{"templateName": "success-rate", "clusterScope": true}],
        "args": [
            {"name": "a", "value": "b"},
            {"name": "v", "valueFrom": {"fieldRef": {"fieldPath": "status.desiredVersion"}}},
        ],
        "dryRun": [{"metricName": "*"}],
    });
    let mut background = analysis.clone();
    background["startingStep"] = json!(1);
    let experiment = json!({
        "duration": "5m",
        "templates": [{"name": "wy", "specRef": "wy", "replicas": 1}],
        "analyses": [{
            "name": "rate", "templateName": "rate", "clusterScope": true, "requiredForCompletion": true,
            "args": [{"name": "a", "value": "b"}],
        }],
    });
    json!({
        "apiVersion": "okra.mumo.co/v1alpha1",
        "kind": "Cell",
        "metadata": {"name": "all-fields"},
        "spec": {
            "replicas": 64,
            "version": "v1.25",
            "suspend": true,
            "ingress": {"type": "AWSApplicationLoadBalancer", "awsApplicationLoadBalancer": {
                "listenerARN": LISTENER,
                "roleARN": "arn:aws:iam::123456789012:role/okra",
                "listener": {"rule": {
                    "priority": 50000,
                    "pathPatterns": ["/api/*"],
                    "methods": ["GET"],
                    "sourceIPs": ["10.0.0.0/8"],
                    "headers": {"X-Canary": ["yes"]},
                    "queryStrings": {"canary": "1"},
                    "forward": {"targetGroups": [{"name": "a", "arn": "arn:a", "weight": 999, "minHealthyTargets": 1}]},
                }},
                "targetGroupSelector": {
                    "matchLabels": {"role": "web"},
                    "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}],
                    "versionLabels": ["example.com/version", "okra.mumo.co/version"],
                },
                "stickiness": {"enabled": true, "durationSeconds": 604_800},
            }},
            "minHealthyTargets": "80%",
            "updateStrategy": {
                "type": "BlueGreen",
                "canary": {
                    "steps": [
                        {"setWeight": 0}, {"stepWeight": 100}, {"pause": {}}, {"pause": {"duration": 30}},
                        {"analysis": analysis}, {"experiment": experiment},
                    ],
                    "analysis": background,
                },
                "blueGreen": {"steps": [
                    {"pause": {"duration": "1h30m"}}, {"analysis": analysis}, {"experiment": experiment}, {"promote": {}},
                ]},
            },
            "onFailure": "Hold",
            "retireAfter": "0s",
            "drainDuration": "1.5h",
            "progressDeadlineSeconds": 604_800,
            "deletionPolicy": "Delete",
        },
    })
}

fn local() -> Value {
    json!({
        "apiVersion": "okra.mumo.co/v1alpha1",
        "kind": "Cell",
        "metadata": {"name": "local"},
        "spec": {
            "minHealthyTargets": 0,
            "ingress": {"type": "Local", "local": {
                "listen": "127.0.0.1:8080",
                "targetGroupSelector": {"matchExpressions": [{"key": "role", "operator": "Exists"}]},
            }},
        },
    })
}

pub fn good() -> Vec<Value> {
    vec![minimal(), of_the_readme(), all_fields(), local()]
}

/// At least one Cell for every field that is missing, of the wrong type, too small, too large or malformed.
pub fn bad() -> Vec<Case> {
    [ingress(), rule(), selector(), whole_cell(), canary(), analysis(), blue_green(), local_ingress()].concat()
}

fn ingress() -> Vec<Case> {
    const AT: &str = "/spec/ingress/awsApplicationLoadBalancer";
    const ARN: &str = "/spec/ingress/awsApplicationLoadBalancer/listenerARN";
    const ARN_PATH: &str = "spec.ingress.awsApplicationLoadBalancer.listenerARN";
    const ROLE: &str = "/spec/ingress/awsApplicationLoadBalancer/roleARN";
    const ROLE_PATH: &str = "spec.ingress.awsApplicationLoadBalancer.roleARN";
    const STICKY: &str = "/spec/ingress/awsApplicationLoadBalancer/stickiness";
    const STICKY_PATH: &str = "spec.ingress.awsApplicationLoadBalancer.stickiness";
    let both = json!({"listen": "127.0.0.1:1", "targetGroupSelector": {"matchLabels": {"a": "b"}}});
    let nlb = LISTENER.replace("/app/", "/net/");
    vec![
        Case::missing("/spec"),
        Case::missing("/spec/ingress"),
        Case::set("/spec/ingress", json!("alb"), "spec.ingress", "must be of type object"),
        Case::missing("/spec/ingress/type"),
        Case::set("/spec/ingress/type", json!("Haproxy"), "spec.ingress.type", "supported values"),
        Case::set("/spec/ingress/type", json!(5), "spec.ingress.type", "must be of type string"),
        Case::set("/spec/ingress/type", json!("Local"), "spec.ingress", "type Local needs the field local"),
        Case::new(
            "no ALB",
            vec![Edit::Drop(AT)],
            "spec.ingress",
            "type AWSApplicationLoadBalancer needs the field awsApplicationLoadBalancer",
        ),
        Case::set("/spec/ingress/local", both, "spec.ingress", "set only the field that type names"),
        Case::missing(ARN),
        Case::set(ARN, json!(5), ARN_PATH, "must be of type string"),
        Case::set(ARN, json!(""), ARN_PATH, "at least 1"),
        Case::set(ARN, json!(format!("{LISTENER}{}", long(512))), ARN_PATH, "may not be more than 512"),
        Case::set(ARN, json!(nlb), ARN_PATH, "must be the ARN of an Application Load Balancer's listener"),
        Case::set(ARN, json!("my-listener"), ARN_PATH, "arn:aws:elasticloadbalancing:REGION:ACCOUNT:listener/app/"),
        Case::set(ROLE, json!(5), ROLE_PATH, "must be of type string"),
        Case::set(ROLE, json!(long(513)), ROLE_PATH, "may not be more than 512"),
        Case::set(STICKY, json!({}), "spec.ingress.awsApplicationLoadBalancer.stickiness.enabled", "Required value"),
        Case::set(
            STICKY,
            json!({"enabled": true}),
            STICKY_PATH,
            "durationSeconds is required when stickiness is enabled",
        ),
        Case::set(STICKY, json!({"enabled": "yes"}), &format!("{STICKY_PATH}.enabled"), "must be of type boolean"),
        Case::set(
            STICKY,
            json!({"enabled": true, "durationSeconds": 0}),
            &format!("{STICKY_PATH}.durationSeconds"),
            "greater than or equal to 1",
        ),
        Case::set(
            STICKY,
            json!({"enabled": true, "durationSeconds": 604_801}),
            &format!("{STICKY_PATH}.durationSeconds"),
            "less than or equal to 604800",
        ),
    ]
}

fn rule() -> Vec<Case> {
    macro_rules! rule {
        () => {
            "/spec/ingress/awsApplicationLoadBalancer/listener/rule"
        };
        ($field:literal) => {
            concat!("/spec/ingress/awsApplicationLoadBalancer/listener/rule/", $field)
        };
    }
    let path = |field: &str| format!("spec.ingress.awsApplicationLoadBalancer.listener.rule{field}");
    let keys = |value: Value| -> Value { (0..6).map(|at| (format!("k{at}"), value.clone())).collect() };
    let group = |weight: i32| json!({"name": "a", "arn": "arn:a", "weight": weight});
    vec![
        Case::missing("/spec/ingress/awsApplicationLoadBalancer/listener"),
        Case::missing(rule!()),
        Case::missing(rule!("priority")),
        Case::set(rule!("priority"), json!(0), &path(".priority"), "greater than or equal to 1"),
        Case::set(rule!("priority"), json!(50_001), &path(".priority"), "less than or equal to 50000"),
        Case::set(rule!("priority"), json!("10"), &path(".priority"), "must be of type integer"),
        Case::set(rule!("priority"), json!(1.5), &path(".priority"), "must be of type integer"),
        Case::new("no condition", vec![Edit::Drop(rule!("hosts"))], &path(""), "at least one condition is required"),
        Case::set(rule!("hosts"), json!([]), &path(""), "set hosts, pathPatterns, methods, sourceIPs, headers"),
        Case::set(rule!("hosts"), json!("example.com"), &path(".hosts"), "must be of type array"),
        Case::set(rule!("hosts"), json!([""]), &path(".hosts[0]"), "at least 1"),
        Case::set(rule!("hosts"), json!(["a", 5]), &path(".hosts[1]"), "must be of type string"),
        Case::set(rule!("hosts"), json!([long(129)]), &path(".hosts[0]"), "may not be more than 128"),
        Case::set(rule!("hosts"), many(6, json!("a")), &path(".hosts"), "must have at most 5 items"),
        Case::set(rule!("pathPatterns"), json!({"a": "b"}), &path(".pathPatterns"), "must be of type array"),
        Case::set(rule!("pathPatterns"), json!([long(129)]), &path(".pathPatterns[0]"), "may not be more than 128"),
        Case::set(rule!("methods"), json!(["get"]), &path(".methods[0]"), "should match"),
        Case::set(rule!("methods"), json!([long(41)]), &path(".methods[0]"), "may not be more than 40"),
        Case::set(rule!("sourceIPs"), json!(["10.0.0.1"]), &path(".sourceIPs[0]"), "should match"),
        Case::set(rule!("sourceIPs"), json!(["example.com/8"]), &path(".sourceIPs[0]"), "should match"),
        Case::set(rule!("headers"), json!({"X": []}), &path(".headers.X"), "should have at least 1 items"),
        Case::set(rule!("headers"), json!({"X": "a"}), &path(".headers.X"), "must be of type array"),
        Case::set(rule!("headers"), json!({"X": [long(129)]}), &path(".headers.X[0]"), "may not be more than 128"),
        Case::set(rule!("headers"), keys(json!(["a"])), &path(".headers"), "must have at most 5 items"),
        Case::set(rule!("queryStrings"), json!({"a": ""}), &path(".queryStrings.a"), "at least 1"),
        Case::set(rule!("queryStrings"), json!({"a": 5}), &path(".queryStrings.a"), "must be of type string"),
        Case::set(rule!("queryStrings"), keys(json!("a")), &path(".queryStrings"), "must have at most 5 items"),
        Case::set(rule!("methods"), many(5, json!("GET")), &path(""), "holds at most 5 condition values"),
        Case::set(rule!("forward"), json!("web"), &path(".forward"), "must be of type object"),
        Case::set(
            rule!("forward"),
            json!({"targetGroups": [{"name": "a", "weight": 1}]}),
            &path(".forward.targetGroups[0].arn"),
            "Required value",
        ),
        Case::set(
            rule!("forward"),
            json!({"targetGroups": [group(-1)]}),
            &path(".forward.targetGroups[0].weight"),
            "greater than or equal to 0",
        ),
        Case::set(
            rule!("forward"),
            json!({"targetGroups": [group(1_000)]}),
            &path(".forward.targetGroups[0].weight"),
            "less than or equal to 999",
        ),
        Case::set(
            rule!("forward"),
            json!({"targetGroups": many(6, group(1))}),
            &path(".forward.targetGroups"),
            "must have at most 5 items",
        ),
    ]
}

fn selector() -> Vec<Case> {
    const AT: &str = "/spec/ingress/awsApplicationLoadBalancer/targetGroupSelector";
    let path = |field: &str| format!("spec.ingress.awsApplicationLoadBalancer.targetGroupSelector{field}");
    let empty = "an empty one would select every target group";
    vec![
        Case::missing(AT),
        Case::set(AT, json!({}), "spec.ingress.awsApplicationLoadBalancer", empty),
        Case::set(AT, json!({"matchLabels": {}}), "spec.ingress.awsApplicationLoadBalancer", empty),
        Case::set(AT, json!({"matchLabels": {"a": 5}}), &path(".matchLabels.a"), "must be of type string"),
        Case::set(AT, json!({"matchLabels": {"a": long(64)}}), &path(".matchLabels.a"), "may not be more than 63"),
        Case::set(
            AT,
            json!({"matchExpressions": [{"operator": "In"}]}),
            &path(".matchExpressions[0].key"),
            "Required value",
        ),
        Case::set(
            AT,
            json!({"matchExpressions": [{"key": "a"}]}),
            &path(".matchExpressions[0].operator"),
            "Required value",
        ),
        Case::set(
            AT,
            json!({"matchExpressions": [{"key": "a", "operator": "Is"}]}),
            &path(".matchExpressions[0].operator"),
            "supported values",
        ),
        Case::set(
            AT,
            json!({"matchExpressions": many(17, json!({"key": "a", "operator": "Exists"}))}),
            &path(".matchExpressions"),
            "must have at most 16 items",
        ),
        Case::set(
            AT,
            json!({"matchLabels": {"a": "b"}, "versionLabels": [""]}),
            &path(".versionLabels[0]"),
            "at least 1",
        ),
        Case::set(
            AT,
            json!({"matchLabels": {"a": "b"}, "versionLabels": many(9, json!("v"))}),
            &path(".versionLabels"),
            "must have at most 8 items",
        ),
    ]
}

fn whole_cell() -> Vec<Case> {
    let version = "must be a version like 1.2.3, v2 or 1.25";
    let healthy = "must be a count from 0 to 1000, or a percentage from 0% to 100%";
    vec![
        Case::set("/spec/replicas", json!(0), "spec.replicas", "greater than or equal to 1"),
        Case::set("/spec/replicas", json!(65), "spec.replicas", "less than or equal to 64"),
        Case::set("/spec/replicas", json!("2"), "spec.replicas", "must be of type integer"),
        Case::set("/spec/version", json!("latest"), "spec.version", version),
        Case::set("/spec/version", json!("1.2.3.4"), "spec.version", version),
        Case::set("/spec/version", json!(1.25), "spec.version", "must be of type string"),
        Case::set("/spec/version", json!(format!("1.2.3-{}", long(128))), "spec.version", "may not be more than 128"),
        Case::set("/spec/suspend", json!("true"), "spec.suspend", "must be of type boolean"),
        Case::set("/spec/minHealthyTargets", json!(-1), "spec.minHealthyTargets", healthy),
        Case::set("/spec/minHealthyTargets", json!(1_001), "spec.minHealthyTargets", healthy),
        Case::set("/spec/minHealthyTargets", json!("101%"), "spec.minHealthyTargets", healthy),
        Case::set("/spec/minHealthyTargets", json!("most"), "spec.minHealthyTargets", healthy),
        Case::set("/spec/minHealthyTargets", json!(true), "spec.minHealthyTargets", "must be of type integer,string"),
        Case::set("/spec/onFailure", json!("Stop"), "spec.onFailure", "supported values"),
        Case::set("/spec/deletionPolicy", json!("Keep"), "spec.deletionPolicy", "supported values"),
        Case::set("/spec/retireAfter", json!("10 m"), "spec.retireAfter", "should match"),
        Case::set("/spec/retireAfter", json!(""), "spec.retireAfter", "should match"),
        Case::set("/spec/retireAfter", json!(-1), "spec.retireAfter", "greater than or equal to 0"),
        Case::set("/spec/retireAfter", json!(true), "spec.retireAfter", "must be of type integer,string"),
        Case::set("/spec/drainDuration", json!("10x"), "spec.drainDuration", "should match"),
        Case::set("/spec/drainDuration", json!("-5s"), "spec.drainDuration", "should match"),
        Case::set("/spec/drainDuration", json!(400_000_000), "spec.drainDuration", "less than or equal to 316224000"),
        Case::set("/spec/drainDuration", json!(format!("{}s", "1".repeat(40))), "spec.drainDuration", "more than 40"),
        Case::set(
            "/spec/progressDeadlineSeconds",
            json!(0),
            "spec.progressDeadlineSeconds",
            "greater than or equal to 1",
        ),
        Case::set(
            "/spec/progressDeadlineSeconds",
            json!(604_801),
            "spec.progressDeadlineSeconds",
            "less than or equal",
        ),
        Case::set(
            "/spec/progressDeadlineSeconds",
            json!("10m"),
            "spec.progressDeadlineSeconds",
            "must be of type integer",
        ),
        Case::set("/spec/updateStrategy", json!("Canary"), "spec.updateStrategy", "must be of type object"),
        Case::set("/spec/updateStrategy/type", json!("Rolling"), "spec.updateStrategy.type", "supported values"),
    ]
}

const STEPS: &str = "/spec/updateStrategy/canary/steps";

fn step(step: Value, path: &str, words: &str) -> Case {
    Case::set(STEPS, json!([{"setWeight": 1}, step]), &format!("spec.updateStrategy.canary.steps[1]{path}"), words)
}

fn canary() -> Vec<Case> {
    let one = "a step has exactly one of setWeight, stepWeight, pause, analysis, experiment";
    vec![
        Case::set("/spec/updateStrategy/canary", json!([]), "spec.updateStrategy.canary", "must be of type object"),
        Case::set(STEPS, json!({"setWeight": 5}), "spec.updateStrategy.canary.steps", "must be of type array"),
        Case::set(STEPS, many(51, json!({"setWeight": 5})), "spec.updateStrategy.canary.steps", "at most 50 items"),
        step(json!({}), "", one),
        step(json!({"wait": "5s"}), "", one),
        step(json!({"setWeight": 5, "pause": {}}), "", one),
        step(json!({"setWeight": 101}), ".setWeight", "less than or equal to 100"),
        step(json!({"setWeight": -1}), ".setWeight", "greater than or equal to 0"),
        step(json!({"setWeight": "20%"}), ".setWeight", "must be of type integer"),
        step(json!({"stepWeight": 0}), ".stepWeight", "greater than or equal to 1"),
        step(json!({"stepWeight": 101}), ".stepWeight", "less than or equal to 100"),
        step(json!({"pause": "10m"}), ".pause", "must be of type object"),
        step(json!({"pause": {"duration": "10"}, "setWeight": 1}), "", one),
        step(json!({"pause": {"duration": "ten minutes"}}), ".pause.duration", "should match"),
        step(json!({"pause": {"duration": -5}}), ".pause.duration", "greater than or equal to 0"),
    ]
}

fn analysis() -> Vec<Case> {
    let of = |analysis: Value, path: &str, words: &str| {
        step(json!({"analysis": analysis}), &format!(".analysis{path}"), words)
    };
    let run = |args: Value| json!({"templates": [{"templateName": "a"}], "args": args});
    let experiment = |experiment: Value, path: &str, words: &str| {
        step(json!({"experiment": experiment}), &format!(".experiment{path}"), words)
    };
    let template = json!({"name": "a", "specRef": "a"});
    vec![
        of(json!({}), ".templates", "Required value"),
        of(json!({"templates": []}), ".templates", "should have at least 1 items"),
        of(json!({"templates": [{}]}), ".templates[0].templateName", "Required value"),
        of(json!({"templates": [{"templateName": ""}]}), ".templates[0].templateName", "at least 1"),
        of(run(json!([{"value": "a"}])), ".args[0].name", "Required value"),
        of(run(json!([{"name": "a", "value": 5}])), ".args[0].value", "must be of type string"),
        of(
            run(json!([{"name": "a", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}])),
            ".args[0]",
            "an argument has either value or valueFrom, not both",
        ),
        of(
            run(json!([{"name": "a", "valueFrom": {"fieldRef": {}}}])),
            ".args[0].valueFrom.fieldRef.fieldPath",
            "Required value",
        ),
        Case::set(
            "/spec/updateStrategy/canary/analysis",
            json!({"templates": [{"templateName": "a"}], "startingStep": -1}),
            "spec.updateStrategy.canary.analysis.startingStep",
            "greater than or equal to 0",
        ),
        experiment(json!({}), ".templates", "Required value"),
        experiment(json!({"templates": [{"name": "a"}]}), ".templates[0].specRef", "Required value"),
        experiment(
            json!({"templates": [{"name": long(64), "specRef": "a"}]}),
            ".templates[0].name",
            "may not be more than 63",
        ),
        experiment(
            json!({"templates": [{"name": "a", "specRef": "a", "replicas": -1}]}),
            ".templates[0].replicas",
            "greater than or equal to 0",
        ),
        experiment(
            json!({"templates": [template], "duration": "5"  , "analyses": [{"name": "a"}]}),
            ".analyses[0].templateName",
            "Required value",
        ),
        experiment(
            json!({"templates": [{"name": "a", "specRef": "a"}], "duration": "soon"}),
            ".duration",
            "should match",
        ),
    ]
}

fn blue_green() -> Vec<Case> {
    const STEPS: &str = "/spec/updateStrategy/blueGreen/steps";
    let path = "spec.updateStrategy.blueGreen.steps";
    let one = "a step has exactly one of pause, analysis, experiment, promote";
    vec![
        Case::set(STEPS, json!([{"setWeight": 20}]), &format!("{path}[0]"), one),
        Case::set(STEPS, json!([{"promote": {}, "pause": {}}]), &format!("{path}[0]"), one),
        Case::set(STEPS, json!([{"promote": true}]), &format!("{path}[0].promote"), "must be of type object"),
        Case::set(STEPS, many(51, json!({"promote": {}})), path, "must have at most 50 items"),
    ]
}

fn local_ingress() -> Vec<Case> {
    let with = |name: &str, local: Value, path: &str, words: &str| {
        let edits = vec![
            Edit::Drop("/spec/ingress/awsApplicationLoadBalancer"),
            Edit::Set("/spec/ingress/type", json!("Local")),
            Edit::Set("/spec/ingress/local", local),
        ];
        Case::new(name, edits, path, words)
    };
    let selector = json!({"matchLabels": {"role": "web"}});
    vec![
        with("no address", json!({"targetGroupSelector": selector}), "spec.ingress.local.listen", "Required value"),
        with(
            "no selector",
            json!({"listen": "127.0.0.1:1"}),
            "spec.ingress.local.targetGroupSelector",
            "Required value",
        ),
        with(
            "an empty selector",
            json!({"listen": "127.0.0.1:1", "targetGroupSelector": {}}),
            "spec.ingress.local",
            "an empty one would select every target group",
        ),
        with(
            "an address without a port",
            json!({"listen": "localhost", "targetGroupSelector": selector}),
            "spec.ingress.local.listen",
            "must be an address and a port, like 127.0.0.1:8080",
        ),
    ]
}
