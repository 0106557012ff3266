//! From tag to traffic, end to end: EKS clusters with real API servers appear, and the Cell swaps to them by itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use k8s_openapi::api::core::v1::Secret;
use okra_api::{AWSTargetGroup, AWSTargetGroupSet, ClusterSet, condition};
use okra_testkit::{
    scene::{Scene, V1, V2, WITHIN, weights},
    workload::{Eks, WorkloadCluster},
};
use pretty_assertions::assert_eq;
use serde_json::Value;

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
/// The seed README's steps, without the analysis.
const STEPS: &str = "[{setWeight: 20}, {pause: {duration: 1s}}, {setWeight: 40}]";

/// The ClusterSet of the first README, looking more often.
const CLUSTER_SET: &str = "
apiVersion: okra.mumo.co/v1alpha1
kind: ClusterSet
metadata:
  name: cell1
spec:
  interval: 5s
  pruneAfter: 1s
  generators:
  - awseks:
      selector:
        matchTags:
          Service: demo
  template:
    metadata:
      labels:
        service: demo
";

/// The AWSTargetGroupSet of the first README.
const TARGET_GROUP_SET: &str = "
apiVersion: okra.mumo.co/v1alpha1
kind: AWSTargetGroupSet
metadata:
  name: cell1
spec:
  generators:
  - awseks:
      bindingSelector:
        matchLabels:
          role: web
      clusterSelector:
        matchLabels:
          service: demo
  template:
    metadata: {}
";

/// A scene with four clusters that exist but that EKS does not know yet: two for each version.
struct Fleet {
    scene: Scene,
    eks: Eks,
    clusters: Vec<WorkloadCluster>,
}

impl Fleet {
    async fn new(name: &str, size: usize) -> Self {
        let mut fleet = Self::without_okrad(name, size, "okrad").await;
        fleet.scene.start_okrad();
        fleet
    }

    /// Clusters that let this user's okrad in, once it is started.
    async fn without_okrad(name: &str, size: usize, user: &str) -> Self {
        let mut scene = Scene::new(OKRAD, name).await;
        let eks = Eks::new(&scene.front, &scene.namespace);
        let starts = (1..=size).map(|number| {
            let caller = scene.caller(user);
            async move { WorkloadCluster::start(&format!("cdk{number}"), &caller).await }
        });
        let clusters = futures::future::join_all(starts).await;
        for cluster in &clusters {
            let version = if cluster.name.ends_with(['1', '2']) { V1 } else { V2 };
            scene.target_group(&cluster.name, version).await;
            scene.expect_version(&cluster.name, version);
        }
        scene.apply(CLUSTER_SET).await.unwrap();
        scene.apply(TARGET_GROUP_SET).await.unwrap();
        Self { scene, eks, clusters }
    }

    /// EKS shows a cluster, and its Service is bound to its target group.
    async fn appear(&self, number: usize, version: &str) {
        let cluster = &self.clusters[number - 1];
        cluster.create(&self.scene.front, &self.eks, &[("Service", "demo")]).await;
        self.bind(number, version).await;
    }

    async fn bind(&self, number: usize, version: &str) {
        let cluster = &self.clusters[number - 1];
        let labels = [("role", "web"), ("okra.mumo.co/version", version)];
        cluster.bind("web1", &self.scene.arns[&cluster.name], &labels).await;
    }

    /// Waits until so many target groups are registered and every cluster answers.
    async fn until_registered(&self, count: i32) {
        let what = format!("{count} target groups are registered");
        self.scene
            .until_object::<AWSTargetGroupSet>("cell1", &what, |set| {
                let status = set.status.clone().unwrap_or_default();
                status.target_groups == count && condition::is_true(&status.conditions, "Ready")
            })
            .await;
    }
}

#[tokio::test]
async fn tagged_clusters_with_bindings_are_swapped_to_by_themselves_under_load() {
    let mut fleet = Fleet::new("discovery", 4).await;
    fleet.scene.apply(&fleet.scene.cell_manifest("cell1", 2, STEPS)).await.unwrap();
    fleet.appear(1, V1).await;
    fleet.appear(2, V1).await;
    fleet.scene.until_stable("cell1", V1).await;
    fleet.scene.until_weights(&[("cdk1", 50), ("cdk2", 50)]).await;
    // Two clusters have the same binding: the first to come has the README's name.
    let groups = fleet.scene.api::<AWSTargetGroup>().list(&kube::api::ListParams::default()).await.unwrap();
    let names: Vec<String> = groups.into_iter().filter_map(|group| group.metadata.name).collect();
    assert!(names.contains(&"default-web1".to_owned()) && names.len() == 2, "{names:?}");

    fleet.scene.path.settled(WITHIN).await.unwrap();
    let load = fleet.scene.load();
    fleet.appear(3, V2).await;
    fleet.appear(4, V2).await;
    fleet.scene.until_stable("cell1", V2).await;
    fleet.scene.until_weights(&[("cdk1", 0), ("cdk2", 0), ("cdk3", 50), ("cdk4", 50)]).await;
    fleet.scene.path.settled(WITHIN).await.unwrap();
    assert_eq!(fleet.scene.shares(&["cdk3", "cdk4"]), [0.0, 20.0, 40.0, 100.0]);

    fleet.scene.rest().await;
    fleet.scene.judge("cell1", &[20, 40]);

    // What a person sees of the clusters, on okrad's own way.
    let ran = fleet.scene.okra(&["clusters", "-o", "json"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let told: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
    for (cluster, (name, weight)) in told.iter().zip([("cdk1", 0), ("cdk2", 0), ("cdk3", 50), ("cdk4", 50)]) {
        assert_eq!(cluster["cluster"], name, "{}", ran.out);
        assert_eq!(cluster["reachable"], true, "{}", ran.out);
        assert_eq!(cluster["targetGroups"][0]["weights"]["cell1"], weight, "{}", ran.out);
    }
    let ran = fleet.scene.okra(&["get", "targetgroupbindings", "--cluster-name", "cdk3", "-o", "name"]).await;
    assert_eq!((ran.code, &*ran.out), (Some(0), "targetgroupbinding.elbv2.k8s.aws/web1\n"), "{ran:?}");
    let ran = fleet.scene.okra(&["sync", "awstargetgroupset", "cell1", "--dry-run"]).await;
    assert_eq!((ran.code, &*ran.out), (Some(0), "# would do nothing\n"), "{ran:?}");

    // The old clusters are deleted: their Secrets go, then what they had, and nobody notices.
    for number in [1, 2] {
        fleet.eks.delete(&format!("cdk{number}")).await;
    }
    fleet.until_registered(2).await;
    fleet
        .scene
        .until_object::<ClusterSet>("cell1", "two clusters are left", |set| {
            set.status.as_ref().is_some_and(|status| status.clusters == 2 && status.removed.len() == 2)
        })
        .await;
    let summary = load.stop().await;
    assert_eq!((summary.failed, summary.first_failure), (0, None));
    assert!(summary.sent > 300, "{}", summary.sent);
    assert_eq!(fleet.scene.weights().get("cdk3"), weights(&[("cdk3", 50)]).get("cdk3"));
    for cluster in &fleet.clusters {
        let (let_in, refused) = cluster.logins();
        assert!(let_in > 0, "{}", cluster.name);
        assert_eq!(refused, [""; 0], "{}", cluster.name);
    }
    assert_eq!(fleet.scene.stop_okrad().await, 0);
}

#[tokio::test]
async fn a_dead_cluster_delays_no_other_and_rotated_credentials_are_followed() {
    let mut fleet = Fleet::new("discovery-dead", 2).await;
    fleet.appear(1, V1).await;
    fleet.appear(2, V1).await;
    fleet.until_registered(2).await;
    let before = names(&fleet.scene).await;
    // One hangs: the other's bindings are seen at once.
    fleet.clusters[0].server.signal_api("STOP");
    let labels = [("role", "web"), ("okra.mumo.co/version", V2)];
    fleet.clusters[1].bind("web2", &fleet.scene.arns["cdk1"].replace("cdk1", "other"), &labels).await;
    fleet.until_registered(3).await;
    fleet.clusters[0].server.signal_api("CONT");
    // It dies: that is told, and what it had stays. When it is back, tokens that were good are good no more.
    fleet.clusters[0].revoke_tokens();
    fleet.clusters[0].server.stop_api().await;
    fleet
        .scene
        .until_object::<AWSTargetGroupSet>("cell1", "the dead cluster is told of", |set| {
            let status = set.status.clone().unwrap_or_default();
            status.target_groups == 3 && status.unreachable.iter().any(|note| note.name == "cdk1")
        })
        .await;
    let after = names(&fleet.scene).await;
    assert!(before.iter().all(|name| after.contains(name)), "{before:?} {after:?}");
    fleet.clusters[0].server.start_api().await;
    fleet.until_registered(3).await;
    fleet.clusters[0].unbind("web1").await;
    fleet.until_registered(2).await;
    let (_, refused) = fleet.clusters[0].logins();
    assert!(refused.iter().any(|why| why.contains("revoked")), "{refused:?}");
    assert_eq!(fleet.scene.stop_okrad().await, 0);
}

#[tokio::test]
async fn a_version_waits_until_argo_cd_has_deployed_to_its_cluster() {
    // With the rights of the example, and no others.
    const USER: &str = "limited-1";
    let mut fleet = Fleet::without_okrad("discovery-argo", 1, USER).await;
    fleet.scene.server.apply_crds(okra_testkit::scene::repository().join("testing/crd")).await;
    fleet.scene.grant_okrad(USER).await;
    fleet.scene.grant(USER, "okrad-clusters").await;
    fleet.scene.start_okrad_as(USER);
    let cell = format!("{}  readiness: {{applicationSets: [web]}}\n", fleet.scene.cell_manifest("cell1", 1, "[]"));
    fleet.scene.apply(&cell).await.unwrap();
    fleet.appear(1, V1).await;
    fleet.scene.until_says("cell1", "cluster cdk1: ApplicationSet web has no Application there yet").await;
    let application = |health: &str| {
        format!(
            "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata:\n  name: web-cdk1\n  ownerReferences:\n  - \
             {{apiVersion: argoproj.io/v1alpha1, kind: ApplicationSet, name: web, uid: none}}\nspec:\n  destination: \
             {{name: cdk1}}\nstatus:\n  sync: {{status: Synced}}\n  health: {{status: {health}}}\n  reconciledAt: \
             \"{}\"\n",
            jiff::Timestamp::now()
        )
    };
    fleet.scene.apply(&application("Progressing")).await.unwrap();
    fleet.scene.until_says("cell1", "cluster cdk1: Application web-cdk1 is Progressing").await;
    assert_eq!(fleet.scene.try_rule(), None, "nothing serves before");
    fleet.scene.apply(&application("Healthy")).await.unwrap();
    fleet.scene.until_stable("cell1", V1).await;
    assert_eq!(fleet.scene.stop_okrad_as(USER).await, 0);
}

/// A cluster Secret with this server and config.
fn hostile(name: &str, server: &str, config: &str) -> Secret {
    let texts = [("name", name), ("server", server), ("config", config)];
    let labels = [("argocd.argoproj.io/secret-type", "cluster"), ("service", "demo")];
    Secret {
        metadata: kube::api::ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
            ..kube::api::ObjectMeta::default()
        },
        string_data: Some(texts.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()),
        ..Secret::default()
    }
}

#[tokio::test]
async fn forty_hostile_secrets_hold_up_nobody_and_tell_nothing() {
    const CREDENTIAL: &str = "a-credential-that-nobody-may-see";
    let mut fleet = Fleet::new("discovery-hostile", 1).await;
    let token = format!("{{\"bearerToken\": \"{CREDENTIAL}\"}}");
    let huge = format!("{{\"bearerToken\": \"{}\"}}", "x".repeat(200_000));
    let configs = [
        "no json".to_owned(),
        "[]".to_owned(),
        "{\"execProviderConfig\": {\"command\": \"/bin/false\"}}".to_owned(),
        format!("{{\"bearerToken\": \"{CREDENTIAL}\\u0000\", \"tlsClientConfig\": {{\"caData\": \"{CREDENTIAL}\"}}}}"),
        "{\"tlsClientConfig\": {\"caFile\": \"/etc/passwd\"}}".to_owned(),
        "{\"tlsClientConfig\": {\"certData\": \"AAAA\", \"keyData\": \"AAAA\"}}".to_owned(),
        format!("{{\"proxyUrl\": \"http://user:{CREDENTIAL}@127.0.0.1:1\"}}"),
        huge,
        token.clone(),
        "{\"awsAuthConfig\": {\"clusterName\": \"nobody\", \"roleARN\": \"no arn\"}}".to_owned(),
    ];
    let long = "l".repeat(3_000);
    let servers = ["http://127.0.0.1:1", "https://127.0.0.1:1", "https://256.256.256.256", &*format!("https://{long}")];
    let secrets = fleet.scene.api::<Secret>();
    let mut count = 0;
    for server in servers {
        for config in &configs {
            let secret = hostile(&format!("a-hostile-{count}"), &format!("{server}/{count}"), config);
            secrets.create(&kube::api::PostParams::default(), &secret).await.unwrap();
            count += 1;
        }
    }
    assert_eq!(count, 40);
    fleet.appear(1, V1).await;
    fleet
        .scene
        .until_object::<AWSTargetGroupSet>("cell1", "the good cluster is registered and the others are named", |set| {
            let status = set.status.clone().unwrap_or_default();
            status.target_groups == 1 && status.clusters == 41 && status.unreachable.len() >= 40
        })
        .await;
    let set = fleet.scene.api::<AWSTargetGroupSet>().get("cell1").await.unwrap();
    let told = format!("{:?}\n{}", set.status, fleet.scene.log());
    assert!(!told.contains(CREDENTIAL), "a credential was told");
    for words in ["execProviderConfig", "caFile", "proxyUrl", "https://HOST", "no JSON"] {
        assert!(told.contains(words), "{words}: {:?}", set.status);
    }
    assert_eq!(fleet.scene.stop_okrad().await, 0);
}

async fn names(scene: &Scene) -> Vec<String> {
    let groups = scene.api::<AWSTargetGroup>().list(&kube::api::ListParams::default()).await.unwrap();
    groups.into_iter().filter_map(|group| group.metadata.name).collect()
}
