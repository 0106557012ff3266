//! Cluster Secrets by hand.

use okra_provider::Kind;
use pretty_assertions::assert_eq;
use serde_json::json;

use super::tests::World;
use crate::{ExitStatus, render::fixtures};

#[tokio::test]
async fn a_cluster_is_made_shown_and_removed_without_a_credential_being_seen() {
    let world = World::with(fixtures::waiting_for_pause().0).await;
    let create = "okractl create cluster cdk1 --endpoint https://cdk1.eks --ca-data Q0E= --labels service=demo,tier=a";
    let dry = world.run(&format!("{create} --dry-run")).await;
    assert_eq!(dry.status, ExitStatus::Ok, "{}", dry.err);
    for part in ["kind: Secret", "service: demo", "argocd.argoproj.io/secret-type: cluster", "https://cdk1.eks", "cdk1"]
    {
        assert!(dry.out.contains(part), "{part}: {}", dry.out);
    }
    assert_eq!(world.run("okractl get clusters").await.out, "", "a dry run makes nothing");
    assert_eq!(world.run(create).await.out, "secret/cdk1 created\n");
    assert_eq!(world.run(create).await.status, ExitStatus::Failed, "it is there");

    let config = k8s_openapi::ByteString(json!({"bearerToken": "hunter2"}).to_string().into_bytes());
    let theirs = json!({
        "apiVersion": "v1", "kind": "Secret", "data": {"name": "dGhlaXJz", "server": "aHR0cHM6Ly90", "config": config},
        "metadata": {"name": "theirs", "namespace": "shop", "labels": {"argocd.argoproj.io/secret-type": "cluster"}},
    });
    let backend = world.session.store.backend().clone();
    let kind = Kind::of::<k8s_openapi::api::core::v1::Secret>();
    backend.create(&kind, &theirs).await.unwrap();
    let other = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "namespace": "shop"}});
    backend.create(&kind, &other).await.unwrap();
    let list = world.run("okractl get clusters").await;
    assert!(
        list.out.contains("cdk1") && list.out.contains("https://cdk1.eks") && !list.out.contains("login"),
        "{}",
        list.out
    );
    assert_eq!(world.run("okractl get clusters -l service=demo -o name").await.out, "secret/cdk1\n");
    for line in [
        "get cluster theirs -o yaml",
        "get clusters -o json",
        "describe cluster theirs",
        "delete cluster theirs --dry-run",
    ] {
        let shown = world.run(&format!("okractl {line}")).await;
        assert!(shown.out.contains("theirs") && !shown.out.contains("hunter2"), "{line}: {}{}", shown.out, shown.err);
    }
    for line in ["delete cluster login", "describe cluster login"] {
        let refused = world.run(&format!("okractl {line}")).await;
        assert_eq!(refused.status, ExitStatus::Failed);
        assert!(refused.err.contains("is no cluster"), "{}", refused.err);
    }
    assert_eq!(world.run("okractl delete cluster cdk1").await.out, "secret/cdk1 deleted\n");
    assert_eq!(world.run("okractl get clusters -o name").await.out, "secret/theirs\n");
    let bad = world.run("okractl create cluster a --endpoint https://a --labels a=b/c").await;
    assert!(bad.err.contains("no value of a label"), "{}", bad.err);
}
