//! Workload clusters as EKS has them: a real API server each that lets in whoever has an EKS token, and the kind of the
//! AWS Load Balancer Controller.
#![allow(clippy::expect_used, reason = "only used in tests")]

mod authenticator;

use std::{collections::BTreeMap, path::PathBuf};

use aws_credential_types::Credentials;
use aws_sdk_eks::{
    config::{BehaviorVersion, Region},
    types::VpcConfigRequest,
};
use k8s_openapi::ByteString;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use self::authenticator::Authenticator;
use crate::{
    ApiServer,
    apiserver::Options,
    front::{Front, REGION},
    scene::repository,
};

/// EKS as a person with all rights to it sees it, in the account of `caller`.
#[derive(Clone, Debug)]
pub struct Eks(aws_sdk_eks::Client);

impl Eks {
    /// Through a front.
    pub fn new(front: &Front, caller: &str) -> Self {
        let config = aws_sdk_eks::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(front.endpoint())
            .credentials_provider(Credentials::new(caller, "not-a-secret", None, None, "test"));
        Self(aws_sdk_eks::Client::from_conf(config.build()))
    }

    /// Creates a cluster with tags.
    pub async fn create(&self, name: &str, tags: &[(&str, &str)]) {
        let vpc = VpcConfigRequest::builder().subnet_ids("subnet-1").build();
        let role = "arn:aws:iam::123456789012:role/eks";
        let mut request = self.0.create_cluster().name(name).role_arn(role).resources_vpc_config(vpc);
        for (key, value) in tags {
            request = request.tags(*key, *value);
        }
        request.send().await.expect("the cluster is created");
    }

    /// Deletes a cluster.
    pub async fn delete(&self, name: &str) {
        self.0.delete_cluster().name(name).send().await.expect("the cluster is deleted");
    }
}

/// A cluster that EKS describes, with its API server.
pub struct WorkloadCluster {
    /// Its name.
    pub name: String,
    /// Its API server.
    pub server: ApiServer,
    client: Client,
    authenticator: Authenticator,
    _dir: tempfile::TempDir,
}

impl WorkloadCluster {
    /// Starts its API server, which lets in `caller` by EKS tokens, with the rights of
    /// `examples/workload-cluster-rbac.yaml`.
    pub async fn start(name: &str, caller: &str) -> Self {
        let authenticator = Authenticator::start(name, caller).await;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let config = dir.path().join("authenticator.yaml");
        std::fs::write(&config, authenticator.kubeconfig().to_string()).expect("the webhook's file is written");
        let options = Options::default()
            .arg(&format!("--authentication-token-webhook-config-file={}", config.display()))
            .arg("--authentication-token-webhook-version=v1")
            .arg("--authentication-token-webhook-cache-ttl=1s");
        let server = ApiServer::start_with(options).await;
        server.apply_crds(repository().join("testing/crd")).await;
        let client = server.client("test");
        for document in documents("examples/workload-cluster-rbac.yaml") {
            apply(&client, &document).await;
        }
        Self { name: name.to_owned(), server, client, authenticator, _dir: dir }
    }

    /// Tells EKS of it, behind this front: a cluster with these tags whose endpoint is the API server.
    pub async fn create(&self, front: &Front, eks: &Eks, tags: &[(&str, &str)]) {
        let ca = std::fs::read(self.server.ca_file()).expect("the server has a CA");
        let Value::String(ca) = json!(ByteString(ca)) else { return };
        front.eks_cluster(&self.name, &self.server.url(), &ca);
        eks.create(&self.name, tags).await;
    }

    /// Binds a Service to a target group: `default/NAME`.
    pub async fn bind(&self, name: &str, arn: &str, labels: &[(&str, &str)]) {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let binding = json!({
            "apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "TargetGroupBinding",
            "metadata": {"name": name, "namespace": "default", "labels": labels},
            "spec": {"targetGroupARN": arn, "serviceRef": {"name": name, "port": 80}},
        });
        let binding: DynamicObject = serde_json::from_value(binding).expect("it is an object");
        self.bindings().create(&PostParams::default(), &binding).await.expect("the binding is created");
    }

    /// Deletes a binding.
    pub async fn unbind(&self, name: &str) {
        self.bindings().delete(name, &DeleteParams::default()).await.expect("the binding is deleted");
    }

    fn bindings(&self) -> Api<DynamicObject> {
        let gvk = kube::api::GroupVersionKind::gvk("elbv2.k8s.aws", "v1beta1", "TargetGroupBinding");
        let resource = kube::api::ApiResource::from_gvk(&gvk);
        Api::namespaced_with(self.client.clone(), "default", &resource)
    }

    /// How many tokens it let in, and why it refused others.
    pub fn logins(&self) -> (usize, Vec<String>) {
        self.authenticator.logins()
    }

    /// Refuses every token that it has seen so far: credentials were rotated.
    pub fn revoke_tokens(&self) {
        self.authenticator.revoke();
    }
}

fn documents(path: &str) -> Vec<Value> {
    let path: PathBuf = repository().join(path);
    let text = std::fs::read_to_string(&path).expect("the example is there");
    serde_saphyr::from_multiple(&text).expect("the example is YAML")
}

/// Applies a manifest of an object without a namespace.
async fn apply(client: &Client, document: &Value) {
    let object: DynamicObject = serde_json::from_value(document.clone()).expect("it is an object");
    let types = object.types.clone().expect("it has a kind");
    let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
    let resource = kube::api::ApiResource::from_gvk(&kube::api::GroupVersionKind::gvk(group, version, &types.kind));
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let name = object.metadata.name.clone().expect("it has a name");
    let params = PatchParams::apply("okra-testkit").force();
    api.patch(&name, &params, &Patch::Apply(&object)).await.expect("it is applied");
}
