//! What comes from outside is too much, too long or nonsense: the plan stays total, and its status fits its schema.

use std::collections::BTreeMap;

use okra_api::{CellStatus, RunPhase, condition};
use pretty_assertions::assert_eq;
use serde_json::Value;

use super::world::*;
use crate::cell::ObservedRun;

/// Every place where a status is over a bound of its schema.
fn over(status: &CellStatus) -> Vec<String> {
    let cells = okra_api::crds().into_iter().find(|crd| crd.spec.names.kind == "Cell").unwrap();
    let schema = serde_json::to_value(&cells.spec.versions[0].schema).unwrap();
    let mut found = Vec::new();
    let status = serde_json::to_value(status).unwrap();
    check(&schema["openAPIV3Schema"]["properties"]["status"], &status, "status", &mut found);
    found
}

fn check(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let mut at_most = |bound: &str, size: usize| {
        if schema[bound].as_u64().is_some_and(|most| size as u64 > most) {
            found.push(format!("{at}: {size} is over {bound} {}", schema[bound]));
        }
    };
    match value {
        Value::String(text) => at_most("maxLength", text.chars().count()),
        Value::Array(items) => {
            at_most("maxItems", items.len());
            for item in items {
                check(&schema["items"], item, &format!("{at}[]"), found);
            }
        }
        Value::Object(fields) => {
            at_most("maxProperties", fields.len());
            for (name, field) in fields {
                let own = &schema["properties"][name];
                let own = if own.is_null() { &schema["additionalProperties"] } else { own };
                check(own, field, &format!("{at}.{name}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_check_itself_finds_what_is_over() {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    assert_eq!(over(&world.status()), Vec::<String>::new());
    let status = world.cell.status.as_mut().unwrap();
    status.message = "x".repeat(2049);
    status.rollout.as_mut().unwrap().reason = "x".repeat(1025);
    status.blocked_versions = vec!["1.0.0".to_owned(); 257];
    assert_eq!(over(status).len(), 3, "{:?}", over(status));
}

/// Ten thousand groups that the Cell selects, labelled by `version`, besides one that serves.
fn flooded(version: impl Fn(usize) -> String, id: impl Fn(usize) -> String) -> World {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    for number in 0..10_000 {
        let name = format!("a-very-long-name-of-a-target-group-that-somebody-made-{number:05}");
        world.add(&name, &version(number));
        world.groups.get_mut(&name).unwrap().id = Ok(id(number));
    }
    world
}

#[test]
fn ten_thousand_target_groups_do_not_burst_the_status() {
    let own = |number: usize| format!("arn:flood-{number}");
    let floods: Vec<(&str, World)> = vec![
        ("bad versions", flooded(|_| "latest".to_owned(), own)),
        ("the serving version", flooded(|_| "1.0.0".to_owned(), own)),
        ("a new version", flooded(|_| "2.0.0".to_owned(), own)),
        ("a version each", flooded(|number| format!("2.0.{number}"), own)),
        ("one target group under one version", flooded(|_| "2.0.0".to_owned(), |_| "arn:one".to_owned())),
        ("one target group under many", flooded(|number| format!("2.0.{number}"), |_| "arn:one".to_owned())),
    ];
    for (name, mut world) in floods {
        for _ in 0..4 {
            world.reconcile();
            assert_eq!(over(&world.status()), Vec::<String>::new(), "{name}");
            world.route_tick();
        }
        assert!(world.lb.values().any(|weight| *weight > 0) && world.lb.len() <= 5, "{name}: {:?}", world.lb);
        let told = world.status().target_groups;
        assert!(told.iter().any(|group| group.name == "v1-a"), "{name}: what serves is told");
    }
}

#[test]
fn who_is_left_out_is_named_up_to_a_number() {
    let mut world = flooded(|_| "latest".to_owned(), |number| format!("arn:flood-{number}"));
    world.reconcile();
    let valid = condition::find(&world.status().conditions, condition::VALID).unwrap().clone();
    assert!(valid.message.contains("made-00000: has a bad version") && valid.message.ends_with("; and 9980 more"));
}

#[test]
fn the_words_of_a_run_are_cut() {
    let mut world = World::serving(vec![set_weight(20), analysis()], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    let run = ObservedRun { phase: RunPhase::Failed, message: "é".repeat(100_000), ..ObservedRun::default() };
    world.runs.insert("web-r2-1-analysis".to_owned(), run);
    world.run();
    assert_eq!(over(&world.status()), Vec::<String>::new());
    assert_eq!(world.lb["arn:v1-a"], 100);
}

#[test]
fn hostile_labels_are_left_out_and_the_others_go_on() {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    let huge = format!("1.0.0-{}", "9".repeat(57));
    let hostile = [
        "",
        "v",
        "vv1",
        "1.2.3.4",
        "01.2.3",
        "-1",
        "1.-1.0",
        "1..0",
        "latest",
        "٣.0.0",
        "1.0.0\u{202e}",
        "99999999999999999999.0.0",
        "18446744073709551616",
        "1.0.0-",
        "1.0.0-..",
        "１.0.0",
        "v+",
        "+",
        "1e9.0.0",
    ];
    for (number, version) in hostile.into_iter().enumerate() {
        world.add(&format!("hostile-{number}"), version);
    }
    world.run();
    let left_out = condition::find(&world.status().conditions, condition::VALID).unwrap().message.clone();
    for (number, version) in hostile.into_iter().enumerate() {
        assert!(left_out.contains(&format!("hostile-{number}: ")), "{version:?}: {left_out}");
    }
    assert_eq!(world.lb, BTreeMap::from([("arn:v1-a".to_owned(), 100)]));
    // Odd, but versions: an earlier one of the serving version, and the highest that there can be.
    world.add("huge", &huge);
    world.run();
    assert_eq!(world.lb.get("arn:huge").copied().unwrap_or(0), 0);
    world.add("highest", "18446744073709551615.18446744073709551615.18446744073709551615");
    world.run();
    assert_eq!(world.lb["arn:highest"], 100);
    assert_eq!(over(&world.status()), Vec::<String>::new());
}
