//! `okra sync` on a real API server, with AWS's rules, beside no okrad and beside one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::{process::Command, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::api::{ObjectMeta, PostParams};
use okra_testkit::scene::{Scene, WITHIN, weights};
use pretty_assertions::assert_eq;

/// The scenes here start no okrad.
const NO_OKRAD: &str = "";
const STEPS: &str = "[{setWeight: 20}, {pause: {duration: 1s}}, {setWeight: 40}]";

/// Runs `okra sync` in a scene: exit code, standard output, standard error.
async fn sync(scene: &Scene, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_okra"));
    command
        .args(["sync"])
        .args(args)
        .args(["--namespace", &scene.namespace, "--installation-id", &scene.namespace, "--aws-settle", "500ms"])
        .args(["--timeout", "90s", "--kubeconfig"])
        .arg(scene.server.kubeconfig("okrad"))
        .env_clear()
        .env("POD_NAMESPACE", &scene.namespace)
        .env("OKRA_LEASE_DURATION", "5s")
        .envs(scene.front.env(&scene.namespace));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_cell_is_swapped_on_aws_without_an_okrad() {
    let mut scene = Scene::new(NO_OKRAD, "sync").await;
    scene.apply(&scene.cell_manifest("cell1", 2, STEPS)).await.unwrap();
    scene.version("1.0.0").await;
    let (code, out, err) = sync(&scene, &["cell", "cell1", "--dry-run"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("would create its rule on the load balancer: web-1-v1=50, web-2-v1=50"), "{out}");
    assert!(scene.try_rule().is_none(), "a dry run creates no rule");

    let (code, out, err) = sync(&scene, &["cell", "cell1"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("is at rest: 1.0.0 serves"), "{out}");
    assert_eq!(scene.weights(), weights(&[("web-1-v1", 50), ("web-2-v1", 50)]));
    scene.path.settled(WITHIN).await.unwrap();

    let load = scene.load();
    scene.version("2.0.0").await;
    let (code, out, err) = sync(&scene, &["cell", "cell1"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("is at rest: 2.0.0 serves"), "{out}");
    scene.path.settled(WITHIN).await.unwrap();
    let summary = load.stop().await;
    assert_eq!((summary.failed, summary.first_failure), (0, None));
    assert_eq!(scene.shares(&["web-1-v2", "web-2-v2"]), [0.0, 20.0, 40.0, 100.0]);
    scene.judge("cell1", &[20, 40]);

    let writes = scene.writes().len();
    let (code, out, err) = sync(&scene, &["awsapplicationloadbalancerconfig", "cell1"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(scene.writes().len(), writes, "what is right is left alone");
}

#[tokio::test]
async fn while_somebody_renews_the_lease_it_is_refused_and_names_them() {
    let mut scene = Scene::new(NO_OKRAD, "held").await;
    scene.apply(&scene.cell_manifest("cell1", 2, STEPS)).await.unwrap();
    scene.version("1.0.0").await;
    let leases = scene.api::<Lease>();
    let lease = |renewed: Timestamp| Lease {
        metadata: ObjectMeta { name: Some("okra".to_owned()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some("okrad-7".to_owned()),
            lease_duration_seconds: Some(60),
            renew_time: Some(MicroTime(renewed)),
            ..LeaseSpec::default()
        }),
    };
    leases.create(&PostParams::default(), &lease(Timestamp::now())).await.unwrap();
    let renewing = {
        let leases = leases.clone();
        tokio::spawn(async move {
            loop {
                let mut present = leases.get("okra").await.unwrap();
                present.spec = lease(Timestamp::now()).spec;
                leases.replace("okra", &PostParams::default(), &present).await.unwrap();
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        })
    };
    let (code, out, err) = sync(&scene, &["cell", "cell1"]).await;
    renewing.abort();
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("okrad-7 works on these objects"), "{err}");
    assert!(scene.try_rule().is_none());
}
