use std::collections::BTreeMap;

use okra_api::{
    AWSApplicationLoadBalancerConfigSpec, RouteSpec,
    alb::{ForwardTargetGroup, HeaderValues, QueryValue, Stickiness},
    route::RouteTargetGroup,
};

use super::*;
use crate::route::{Intent, Place, Sticky};

const LISTENER: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:listener/app/web/50dc6c495c0c9188/f2f7dc8efc522ab2";

fn arn(name: &str) -> String {
    format!("arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/{name}/73e2d6bc24d8a067")
}

fn group(name: &str, weight: i32) -> ForwardTargetGroup {
    ForwardTargetGroup { name: name.into(), arn: arn(name), weight, min_healthy_targets: Some(1) }
}

fn good() -> AWSApplicationLoadBalancerConfigSpec {
    let mut spec = AWSApplicationLoadBalancerConfigSpec { listener_arn: LISTENER.into(), ..Default::default() };
    spec.listener.rule.priority = 10;
    spec.listener.rule.hosts = vec!["Web.example.com".into()];
    spec.listener.rule.forward.target_groups = vec![group("web-1", 80), group("web-2", 20)];
    spec
}

fn identity() -> Identity {
    Identity { owner: "prod/web".into(), installation: "home".into(), ..Identity::default() }
}

fn validate(spec: &AWSApplicationLoadBalancerConfigSpec) -> Result<Intent, String> {
    validate_alb(spec, &identity()).map_err(|errors| FieldError::join(&errors))
}

#[test]
fn a_good_spec_becomes_an_intent() {
    let mut spec = good();
    spec.role_arn = Some(String::new());
    spec.stickiness = Some(Stickiness { enabled: true, duration_seconds: Some(60) });
    let intent = validate(&spec).unwrap();
    assert_eq!(intent.owner, "prod/web");
    assert_eq!(intent.place.priority(), 10);
    assert_eq!(intent.place.conditions().hosts, ["web.example.com"]);
    assert!(matches!(&intent.place, Place::Alb { role_arn: None, .. }));
    assert_eq!(intent.groups[1].id, arn("web-2"));
    assert_eq!(intent.groups[1].min_healthy, Some(1));
    assert_eq!(intent.stickiness, Some(Sticky { enabled: true, seconds: 60 }));
    assert_eq!(validate(&good()).unwrap().stickiness, None);
}

type Break = fn(&mut AWSApplicationLoadBalancerConfigSpec);

const FAULTS: &[(Break, &str)] = &[
    (|s| s.listener_arn = "nonsense".into(), "spec.listenerARN: \"nonsense\" is not the ARN of an Application"),
    (|s| s.listener_arn = LISTENER.replace("app/", "net/"), "spec.listenerARN: "),
    (|s| s.listener_arn = String::new(), "spec.listenerARN: "),
    (|s| s.role_arn = Some("admin".into()), "spec.roleARN: \"admin\" is not the ARN of a role"),
    (|s| s.listener.rule.priority = 0, "spec.listener.rule.priority: 0 is not between 1 and 50000: "),
    (|s| s.listener.rule.priority = 50_001, "spec.listener.rule.priority: 50001 is not between"),
    (|s| s.listener.rule.hosts.clear(), "spec.listener.rule: at least one condition is required"),
    (|s| s.listener.rule.hosts = vec!["a.b".into(); 6], "spec.listener.rule: has 6 condition values"),
    (|s| s.listener.rule.hosts = vec!["*.*.*.*.*.*.b".into()], "spec.listener.rule: has 6 wildcards"),
    (|s| s.listener.rule.hosts = vec![String::new()], "spec.listener.rule.hosts[0]: is empty: set it"),
    (|s| s.listener.rule.hosts = vec!["x".repeat(129)], "spec.listener.rule.hosts[0]: has 129 characters"),
    (|s| s.listener.rule.path_patterns = vec!["/a b".into()], "spec.listener.rule.pathPatterns[0]: \"/a b\" holds"),
    (|s| s.listener.rule.methods = vec!["get".into()], "spec.listener.rule.methods[0]: \"get\" is not"),
    (|s| s.listener.rule.source_ips = vec!["10.0.0.0".into()], "spec.listener.rule.sourceIPs[0]: \"10.0.0.0\" is"),
    (|s| s.listener.rule.source_ips = vec!["10.0.0.0/33".into()], "spec.listener.rule.sourceIPs[0]: "),
    (|s| s.listener.rule.source_ips = vec!["10.0.0.300/8".into()], "spec.listener.rule.sourceIPs[0]: "),
    (|s| s.listener.rule.source_ips = vec!["10.0.0.0/+8".into()], "spec.listener.rule.sourceIPs[0]: "),
    (|s| header(s, "host", &["a"]), "spec.listener.rule.headers[\"host\"]: use hosts"),
    (|s| header(s, "x*", &["a"]), "spec.listener.rule.headers[\"x*\"]: is not a header's name"),
    (|s| header(s, "x", &[]), "spec.listener.rule.headers[\"x\"]: has no value"),
    (|s| header(s, "x", &["1", "2", "3", "4", "5"]), "spec.listener.rule: has 6 condition values"),
    (|s| header(s, "x", &[""]), "spec.listener.rule.headers[\"x\"][0]: is empty"),
    (
        |s| {
            header(s, "x", &["a"]);
            header(s, "X", &["a"]);
        },
        "spec.listener.rule.headers[\"x\"]: is on the list twice",
    ),
    (
        |s| {
            s.listener.rule.query_strings = BTreeMap::from([("q".into(), QueryValue(String::new()))]);
        },
        "spec.listener.rule.queryStrings[\"q\"]: is empty",
    ),
    (
        |s| {
            for group in &mut s.listener.rule.forward.target_groups {
                group.weight = 0;
            }
        },
        "spec.listener.rule.forward.targetGroups: all weights are 0",
    ),
    (|s| s.listener.rule.forward.target_groups[1].weight = -1, "targetGroups[1].weight: -1 is not between 0 and 999"),
    (|s| s.listener.rule.forward.target_groups[1].weight = 1000, "targetGroups[1].weight: 1000 is not between"),
    (|s| s.listener.rule.forward.target_groups[1].min_healthy_targets = Some(-1), "[1].minHealthyTargets: -1 is not"),
    (|s| s.listener.rule.forward.target_groups[1].arn = arn("web-1"), "targetGroups[1].arn: \"arn:aws:elasticload"),
    (
        |s| s.listener.rule.forward.target_groups[1].name = "web-1".into(),
        "targetGroups[1].name: \"web-1\" is on the list twice",
    ),
    (
        |s| s.listener.rule.forward.target_groups[1].arn = "arn:aws:s3:::bucket".into(),
        "targetGroups[1].arn: \"arn:aws:s3:::bucket\" is not the ARN of a target group",
    ),
    (
        |s| s.listener.rule.forward.target_groups[1].arn = arn("web-2").replace("eu-west-1", "eu-west-2"),
        "targetGroups[1].arn: is in region eu-west-2, the listener in eu-west-1",
    ),
    (|s| s.listener.rule.forward.target_groups[1].name = String::new(), "targetGroups[1].name: is empty"),
    (
        |s| s.stickiness = Some(Stickiness { enabled: true, duration_seconds: None }),
        "spec.stickiness.durationSeconds: is required",
    ),
    (
        |s| s.stickiness = Some(Stickiness { enabled: true, duration_seconds: Some(0) }),
        "spec.stickiness.durationSeconds: 0 is not",
    ),
    (|s| s.health_of = vec!["x".into(); 17], "spec.healthOf: has 17 names"),
    (|s| s.health_of = vec![String::new()], "spec.healthOf[0]: is empty"),
    (|s| s.overwrite = Some("x".repeat(65)), "spec.overwrite: has 65 characters"),
];

#[test]
fn a_fault_names_field_value_and_remedy() {
    for (fault, expected) in FAULTS {
        let mut spec = good();
        fault(&mut spec);
        let words = validate(&spec).unwrap_err();
        assert!(words.contains(*expected), "{words}");
    }
}

fn header(spec: &mut AWSApplicationLoadBalancerConfigSpec, name: &str, values: &[&str]) {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    spec.listener.rule.headers.insert(name.into(), HeaderValues(values));
}

#[test]
fn all_faults_are_told_at_once_but_not_without_end() {
    let mut spec = good();
    spec.listener.rule.priority = 0;
    spec.listener_arn = "x".into();
    assert_eq!(validate_alb(&spec, &identity()).unwrap_err().len(), 2);
    spec.listener.rule.methods = vec!["get".into(); 40];
    let words = validate(&spec).unwrap_err();
    assert!(words.ends_with("more"), "{words}");
    assert!(words.len() < 2048, "{words}");
}

fn good_route() -> RouteSpec {
    let group = |name: &str, weight| RouteTargetGroup {
        name: name.into(),
        url: format!("http://127.0.0.1:90/{name}"),
        weight,
        ..RouteTargetGroup::default()
    };
    let mut spec = RouteSpec { target_groups: vec![group("web-1", 100), group("web-2", 0)], ..RouteSpec::default() };
    spec.local.listen = "127.0.0.1:8080".into();
    spec
}

#[test]
fn a_good_route_becomes_an_intent() {
    let intent = validate_route(&good_route(), &identity()).unwrap();
    assert_eq!(intent.place, Place::Local { listen: "127.0.0.1:8080".into() });
    assert_eq!(intent.place.priority(), 0);
    assert_eq!(intent.groups[0].id, "http://127.0.0.1:90/web-1");
}

type BreakRoute = fn(&mut RouteSpec);

const ROUTE_FAULTS: &[(BreakRoute, &str)] = &[
    (|s| s.local.listen = "8080".into(), "spec.local.listen: \"8080\" is not an address and a port"),
    (|s| s.local.listen = "127.0.0.1:0".into(), "spec.local.listen: "),
    (|s| s.local.listen = "127.0.0.1:70000".into(), "spec.local.listen: "),
    (|s| s.local.listen = ":80".into(), "spec.local.listen: "),
    (|s| s.target_groups[0].url = "ftp://x".into(), "spec.targetGroups[0].url: \"ftp://x\" is not a URL"),
    (|s| s.target_groups[0].url = "http://".into(), "spec.targetGroups[0].url: "),
    (|s| s.target_groups[0].health_path = Some("x".into()), "spec.targetGroups[0].healthPath: \"x\" is not a path"),
    (|s| s.target_groups[0].weight = 0, "spec.targetGroups: all weights are 0"),
];

#[test]
fn a_fault_of_a_route_is_named() {
    for (fault, expected) in ROUTE_FAULTS {
        let mut spec = good_route();
        fault(&mut spec);
        let words = FieldError::join(&validate_route(&spec, &identity()).unwrap_err());
        assert!(words.contains(*expected), "{words}");
    }
}

#[test]
fn the_adopt_annotation_is_read() {
    assert_eq!(Adopt::from_annotation(None), Adopt::No);
    assert_eq!(Adopt::from_annotation(Some("false")), Adopt::No);
    assert_eq!(Adopt::from_annotation(Some(" ")), Adopt::No);
    assert_eq!(Adopt::from_annotation(Some("true")), Adopt::Untagged);
    assert_eq!(Adopt::from_annotation(Some("abc")), Adopt::Installation("abc".into()));
}
