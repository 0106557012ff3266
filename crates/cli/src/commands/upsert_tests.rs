//! Objects from flags.

use clap::Parser as _;
use okra_api::{AWSTargetGroup, AWSTargetGroupSet, Cell};
use okra_provider::Key;
use pretty_assertions::assert_eq;
use serde_json::json;

use super::tests::World;
use crate::{ExitStatus, args::Okractl, render::fixtures};

const ARN: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/73e2d6bc24d8a067";
const LISTENER: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener/app/web/50dc6c495c0c9188/f2f7";

async fn world() -> World {
    World::with(fixtures::waiting_for_pause().0).await
}

#[tokio::test]
async fn a_target_group_is_made_once_and_brought_up_to_date() {
    let world = world().await;
    let line = format!("okractl create awstargetgroup web --arn {ARN} --version 1.0.0 --labels role=web,tier=a");
    let dry = world.run(&format!("{line} --dry-run")).await;
    for part in ["kind: AWSTargetGroup", "role: web", "okra.mumo.co/version: \"1.0.0\"", ARN] {
        assert!(dry.out.contains(part), "{part}: {}", dry.out);
    }
    let key = Key::new("shop", "web");
    assert!(world.session.store.get_live::<AWSTargetGroup>(&key).await.is_err(), "a dry run makes nothing");
    assert_eq!(world.run(&line).await.out, "awstargetgroup.okra.mumo.co/web created\n");
    let again = world.run(&line).await;
    assert_eq!(again.status, ExitStatus::Failed, "{}", again.out);
    let upsert = "okractl upsert awstargetgroup web --version 2.0.0";
    assert_eq!(world.run(upsert).await.out, "awstargetgroup.okra.mumo.co/web configured\n");
    assert_eq!(world.run(upsert).await.out, "awstargetgroup.okra.mumo.co/web unchanged\n");
    let group: AWSTargetGroup = world.session.store.get_live(&key).await.unwrap();
    assert_eq!(group.spec.arn, ARN);
    assert_eq!(
        json!(group.metadata.labels),
        json!({"role": "web", "tier": "a", "okra.mumo.co/version": "2.0.0"}),
        "what no flag says stays"
    );
    let bad = world.run("okractl upsert awstargetgroup other --version 1.0.0").await;
    assert_eq!(bad.status, ExitStatus::Usage);
    assert!(bad.err.contains("--arn is missing"), "{}", bad.err);
}

#[tokio::test]
async fn a_set_is_made_of_its_selectors() {
    let world = world().await;
    let line = "okractl upsert awstargetgroupset cell1 --cluster-selector service=demo \
                --targetgroupbinding-selector role=web --labels team=a";
    assert_eq!(world.run(line).await.out, "awstargetgroupset.okra.mumo.co/cell1 created\n");
    let set: AWSTargetGroupSet = world.session.store.get_live(&Key::new("shop", "cell1")).await.unwrap();
    assert_eq!(
        json!(set.spec),
        json!({
            "deletionPolicy": "Retain",
            "generators": [{"awseks": {
                "clusterSelector": {"matchLabels": {"service": "demo"}},
                "bindingSelector": {"matchLabels": {"role": "web"}},
            }}],
            "template": {"metadata": {"labels": {"team": "a"}}},
        })
    );
    let bad = refused("okractl upsert awstargetgroupset cell1 --cluster-selector demo --binding-selector a=b");
    assert!(bad.contains("is not KEY=VALUE"), "{bad}");
}

#[tokio::test]
async fn a_cell_is_made_and_only_what_is_said_changes() {
    let world = world().await;
    let line = format!(
        "okractl upsert cell cell1 --listener-arn {LISTENER} --listener-rule-host example.com --match-label role=web \
         --replicas 2 --canary-steps weight=20,pause=10m,analysis=success-rate:service=web,pause,weight=40"
    );
    assert_eq!(world.run(&line).await.out, "cell.okra.mumo.co/cell1 created\n");
    let key = Key::new("shop", "cell1");
    let cell: Cell = world.session.store.get_live(&key).await.unwrap();
    let steps = json!(cell.spec.update_strategy.as_ref().unwrap().canary.as_ref().unwrap().steps);
    let expected = json!([
        {"setWeight": 20}, {"pause": {"duration": "10m"}},
        {"analysis": {"templates": [{"templateName": "success-rate"}], "args": [{"name": "service", "value": "web"}]}},
        {"pause": {}}, {"setWeight": 40},
    ]);
    assert_eq!(steps, expected);
    let alb = cell.spec.ingress.aws_application_load_balancer.as_ref().unwrap();
    assert_eq!((alb.listener.rule.priority, cell.spec.replicas), (10, 2));
    assert_eq!(world.run("okractl upsert cell cell1 --replicas 3").await.out, "cell.okra.mumo.co/cell1 configured\n");
    let after: Cell = world.session.store.get_live(&key).await.unwrap();
    assert_eq!((after.spec.replicas, &after.spec.ingress), (3, &cell.spec.ingress));
    let bad = world.run("okractl upsert cell another --listener-arn x --match-label role=web").await;
    assert_eq!(bad.status, ExitStatus::Usage);
    assert!(bad.err.contains("--listener-rule-host is missing"), "{}", bad.err);
    for (step, words) in [("weight=200", "from 0 to 100"), ("wait=1m", "is no step"), ("pause=soon", "soon")] {
        let bad = refused(&format!("okractl upsert cell another --canary-steps {step}"));
        assert!(bad.contains(words), "{step}: {bad}");
    }
}

/// What is said of a command line that makes no sense.
fn refused(line: &str) -> String {
    Okractl::try_parse_from(line.split_whitespace()).unwrap_err().to_string()
}

#[tokio::test]
async fn the_latest_version_is_listed() {
    let world = world().await;
    for (name, version) in [("a", "1.9.0"), ("b", "1.10.0"), ("c", "1.10.0"), ("d", "bad")] {
        let line = format!("okractl create awstargetgroup {name} --arn {ARN}{name} --version {version} --labels app=x");
        assert_eq!(world.run(&line).await.status, ExitStatus::Ok);
    }
    let latest = world.run("okractl list latest-awstargetgroups -l app=x -o name").await;
    assert_eq!(latest.out, "awstargetgroup.okra.mumo.co/b\nawstargetgroup.okra.mumo.co/c\n", "{}", latest.err);
    let given = world.run("okractl get latestawstargetgroups -l app=x --version v1.9 -o name").await;
    assert_eq!(given.out, "awstargetgroup.okra.mumo.co/a\n", "{}", given.err);
}
