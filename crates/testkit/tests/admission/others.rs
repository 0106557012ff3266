//! Good and bad objects of the kinds besides Cell.

use serde_json::{Value, json};

use super::edit::{Case, Edit};

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "okra.mumo.co/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A route of an Application Load Balancer, as written by hand.
pub fn config() -> Value {
    let group = json!({
        "name": "web-1",
        "arn": "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web-1/1",
        "weight": 100,
    });
    let listener = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/web/1/2";
    let rule = json!({"priority": 10, "hosts": ["example.com"], "forward": {"targetGroups": [group]}});
    object("AWSApplicationLoadBalancerConfig", "web", json!({"listenerARN": listener, "listener": {"rule": rule}}))
}

fn aws_group() -> Value {
    let arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web-1/1";
    object("AWSTargetGroup", "default-web1", json!({"arn": arn}))
}

/// A target group with an endpoint and a version.
pub fn target_group() -> Value {
    let mut group = object("TargetGroup", "web-1", json!({"endpoint": {"url": "http://127.0.0.1:8081"}}));
    group["metadata"]["labels"] = json!({"okra.mumo.co/version": "1.0.0"});
    group
}

fn route() -> Value {
    let group = json!({"name": "web-1", "url": "http://127.0.0.1:8081", "weight": 100});
    object("Route", "web", json!({"local": {"listen": "127.0.0.1:8080"}, "targetGroups": [group]}))
}

fn pause() -> Value {
    object("Pause", "web-1", json!({"expireTime": "2026-11-20T12:00:00Z"}))
}

fn blocklist() -> Value {
    object(
        "VersionBlocklist",
        "web",
        json!({"items": [{"version": "1.0.0", "cause": "slow", "time": "2026-11-20T12:00:00Z"}]}),
    )
}

pub fn good() -> Vec<Value> {
    let service = json!({"service": {"namespace": "shop", "name": "web", "port": 80}});
    vec![
        config(),
        aws_group(),
        target_group(),
        object("TargetGroup", "service", service),
        object("TargetGroup", "dns", json!({"dns": {"name": "web.example.com", "hostedZoneID": "Z1"}})),
        route(),
        pause(),
        object("Pause", "until-resumed", json!({})),
        blocklist(),
        object("VersionBlocklist", "empty", json!({})),
    ]
}

pub fn bad() -> Vec<(Value, Vec<Case>)> {
    vec![
        (config(), configs()),
        (aws_group(), aws_groups()),
        (target_group(), target_groups()),
        (route(), routes()),
        (pause(), pauses()),
        (blocklist(), blocklists()),
    ]
}

fn configs() -> Vec<Case> {
    let groups = |group: Value, path: &str, words: &str| {
        let path = format!("spec.listener.rule.forward.targetGroups{path}");
        Case::set("/spec/listener/rule/forward/targetGroups", json!([group]), &path, words)
    };
    vec![
        Case::missing("/spec"),
        Case::missing("/spec/listenerARN"),
        Case::missing("/spec/listener"),
        Case::set("/spec/listenerARN", json!("listener"), "spec.listenerARN", "must be the ARN of an Application Load"),
        Case::set(
            "/spec/listener/rule/priority",
            json!(0),
            "spec.listener.rule.priority",
            "greater than or equal to 1",
        ),
        Case::new(
            "no condition",
            vec![Edit::Drop("/spec/listener/rule/hosts")],
            "spec.listener.rule",
            "at least one condition is required",
        ),
        groups(json!({"arn": "a", "weight": 1}), "[0].name", "Required value"),
        groups(json!({"name": "a", "arn": "a"}), "[0].weight", "Required value"),
        groups(json!({"name": "a", "arn": "a", "weight": "1"}), "[0].weight", "must be of type integer"),
        groups(json!({"name": "a", "arn": "", "weight": 1}), "[0].arn", "at least 1"),
        groups(
            json!({"name": "a", "arn": "a", "weight": 1, "minHealthyTargets": -1}),
            "[0].minHealthyTargets",
            "equal to 0",
        ),
        Case::set("/spec/healthOf", json!("web-1"), "spec.healthOf", "must be of type array"),
        Case::set("/spec/stickiness", json!({"enabled": true}), "spec.stickiness", "durationSeconds is required"),
        Case::set("/spec/deletionPolicy", json!("Keep"), "spec.deletionPolicy", "supported values"),
    ]
}

fn aws_groups() -> Vec<Case> {
    let words = "must be the ARN of a target group: arn:aws:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/ID";
    let balancer = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/web/1";
    vec![
        Case::missing("/spec/arn"),
        Case::set("/spec/arn", json!(""), "spec.arn", "at least 1"),
        Case::set("/spec/arn", json!(5), "spec.arn", "must be of type string"),
        Case::set("/spec/arn", json!(balancer), "spec.arn", words),
        Case::set("/spec/arn", json!("web-1"), "spec.arn", words),
        Case::set("/spec/arn", json!("a".repeat(513)), "spec.arn", "may not be more than 512"),
    ]
}

fn target_groups() -> Vec<Case> {
    let one = "exactly one of service, dns, endpoint is required";
    let service = |service: Value, path: &str, words: &str| {
        Case::set("/spec", json!({"service": service}), &format!("spec.service.{path}"), words)
    };
    vec![
        Case::new("nothing", vec![Edit::Drop("/spec/endpoint")], "spec", one),
        Case::set("/spec/dns", json!({"name": "example.com"}), "spec", one),
        Case::set("/spec/endpoint", json!({}), "spec.endpoint.url", "Required value"),
        Case::set(
            "/spec/endpoint/url",
            json!("127.0.0.1:80"),
            "spec.endpoint.url",
            "must be a URL like http://127.0.0.1:8080",
        ),
        Case::set("/spec/endpoint/healthPath", json!(5), "spec.endpoint.healthPath", "must be of type string"),
        Case::set("/spec", json!({"dns": {}}), "spec.dns.name", "Required value"),
        service(json!({"name": "a", "port": 80}), "namespace", "Required value"),
        service(json!({"namespace": "a", "port": 80}), "name", "Required value"),
        service(json!({"namespace": "a", "name": "a"}), "port", "Required value"),
        service(json!({"namespace": "a", "name": "a", "port": 0}), "port", "greater than or equal to 1"),
        service(json!({"namespace": "a", "name": "a", "port": 65_536}), "port", "less than or equal to 65535"),
    ]
}

fn routes() -> Vec<Case> {
    let groups = |group: Value, path: &str, words: &str| {
        Case::set("/spec/targetGroups", json!([group]), &format!("spec.targetGroups[0].{path}"), words)
    };
    vec![
        Case::missing("/spec/local"),
        Case::missing("/spec/local/listen"),
        Case::set("/spec/local/listen", json!("localhost"), "spec.local.listen", "must be an address and a port"),
        groups(json!({"url": "http://a", "weight": 1}), "name", "Required value"),
        groups(json!({"name": "a", "weight": 1}), "url", "Required value"),
        groups(json!({"name": "a", "url": "http://a", "weight": 1_000}), "weight", "less than or equal to 999"),
        groups(json!({"name": "a", "url": "http://a", "weight": -1}), "weight", "greater than or equal to 0"),
    ]
}

fn pauses() -> Vec<Case> {
    vec![
        Case::set("/spec/expireTime", json!("soon"), "spec.expireTime", "must be of type date-time"),
        Case::set("/spec/expireTime", json!(5), "spec.expireTime", "must be of type date-time"),
    ]
}

fn blocklists() -> Vec<Case> {
    vec![
        Case::set("/spec/items", json!("1.0.0"), "spec.items", "must be of type array"),
        Case::set("/spec/items", json!([{}]), "spec.items[0].version", "Required value"),
        Case::set("/spec/items", json!([{"version": ""}]), "spec.items[0].version", "at least 1"),
        Case::set("/spec/items", json!([{"version": "1", "time": "yesterday"}]), "spec.items[0].time", "date-time"),
        Case::set(
            "/spec/items",
            json!(vec![json!({"version": "1"}); 257]),
            "spec.items",
            "must have at most 256 items",
        ),
    ]
}
