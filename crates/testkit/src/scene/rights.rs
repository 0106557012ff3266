//! What the users without rights get, from the manifest that the documentation shows.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding, RoleRef, Subject};
use kube::{
    Api,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::Value;

use super::{Scene, repository};

const GROUP: &str = "rbac.authorization.k8s.io";

/// The roles of `examples/okrad-rbac.yaml`.
fn documents() -> Vec<Value> {
    let text = std::fs::read_to_string(repository().join("examples/okrad-rbac.yaml")).expect("the example is there");
    serde_saphyr::from_multiple(&text).expect("the example is YAML")
}

fn role<K: serde::de::DeserializeOwned>(kind: &str, name: &str) -> K {
    let found =
        documents().into_iter().find(|document| document["kind"] == kind && document["metadata"]["name"] == name);
    serde_json::from_value(found.unwrap_or_else(|| panic!("no {kind} {name} is shown"))).expect("it is one")
}

fn to(kind: &str, name: &str) -> RoleRef {
    RoleRef { api_group: Some(GROUP.to_owned()), kind: kind.to_owned(), name: name.to_owned() }
}

fn subject(user: &str) -> Vec<Subject> {
    let (kind, name) = ("User".to_owned(), user.to_owned());
    vec![Subject { api_group: Some(GROUP.to_owned()), kind, name, namespace: None }]
}

impl Scene {
    /// Gives a user the ClusterRole of that name, as `examples/okrad-rbac.yaml` has it.
    pub async fn grant(&self, user: &str, name: &str) {
        let roles: Api<ClusterRole> = Api::all(self.client.clone());
        let wanted: ClusterRole = role("ClusterRole", name);
        let params = PatchParams::apply("test").force();
        roles.patch(name, &params, &Patch::Apply(&wanted)).await.expect("the role is made");
        let metadata = ObjectMeta { name: Some(format!("{}-{user}-{name}", self.namespace)), ..ObjectMeta::default() };
        let binding = ClusterRoleBinding { metadata, role_ref: to("ClusterRole", name), subjects: Some(subject(user)) };
        let bindings: Api<ClusterRoleBinding> = Api::all(self.client.clone());
        bindings.create(&PostParams::default(), &binding).await.expect("the role is given");
    }

    /// Gives a user what every okrad needs: the ClusterRole `okrad`, and the Role of the lease in this namespace.
    pub async fn grant_okrad(&self, user: &str) {
        self.grant(user, "okrad").await;
        let mut lease: Role = role("Role", "okrad-lease");
        lease.metadata = ObjectMeta { name: Some("okrad-lease".to_owned()), ..ObjectMeta::default() };
        self.api::<Role>().create(&PostParams::default(), &lease).await.expect("the role is made");
        let metadata = ObjectMeta { name: Some(format!("okrad-lease-{user}")), ..ObjectMeta::default() };
        let binding = RoleBinding { metadata, role_ref: to("Role", "okrad-lease"), subjects: Some(subject(user)) };
        self.api::<RoleBinding>().create(&PostParams::default(), &binding).await.expect("the role is given");
    }
}
