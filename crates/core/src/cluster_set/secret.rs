//! Argo CD's cluster Secret: what it should hold, and what one that is there holds.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use okra_api::{
    ClusterSet,
    cluster_set::{ClusterSecretTemplate, SecretDeletionPolicy, ServerForm},
    names::{
        CLUSTER_CA_ANNOTATION, CLUSTER_ENDPOINT_ANNOTATION, CLUSTER_ID_ANNOTATION, CLUSTER_SECRET_TYPE,
        CLUSTER_SET_LABEL, CLUSTER_SET_UID_LABEL, SECRET_TYPE_LABEL, TEMPLATE_KEYS_ANNOTATION, VERSION_LABEL,
    },
};
use serde_json::{Map, Value, json};

use crate::{
    naming::{check_label, object_name},
    ours,
};

use super::{ClusterAuth, ClusterState, ConfigMembers, FoundCluster, ValidatedClusterSet, template};

type Texts = BTreeMap<String, String>;

/// Annotations that okra itself writes.
const OWN_ANNOTATIONS: [&str; 5] = [
    CLUSTER_ID_ANNOTATION,
    TEMPLATE_KEYS_ANNOTATION,
    CLUSTER_ENDPOINT_ANNOTATION,
    CLUSTER_CA_ANNOTATION,
    VERSION_LABEL,
];

/// What a cluster's Secret should hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) cluster: String,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) server: String,
    labels: Texts,
    annotations: Texts,
    data: BTreeMap<String, ByteString>,
}

/// A text of a Secret's data; empty when it is not there or no text.
pub fn data_text(secret: &Secret, key: &str) -> String {
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    data.and_then(|bytes| String::from_utf8(bytes.0.clone()).ok()).unwrap_or_default()
}

pub(super) fn label<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    secret.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str)
}

pub(super) fn annotation<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    secret.metadata.annotations.as_ref().and_then(|annotations| annotations.get(key)).map(String::as_str)
}

/// A server's address as two writings of it compare.
pub(crate) fn normalized(server: &str) -> String {
    let server = server.trim().trim_end_matches('/').to_ascii_lowercase();
    server.strip_suffix(":443").map(str::to_owned).unwrap_or(server)
}

/// The members of `config` that stand for the credentials in a Secret that a listed cluster names.
pub fn config_of_listed(credentials: &Secret) -> Result<ConfigMembers, String> {
    let text = |key: &str| Some(data_text(credentials, key)).filter(|text| !text.is_empty());
    let bytes = |key: &str| credentials.data.as_ref().and_then(|data| data.get(key)).map(|bytes| json!(bytes));
    let mut members = Map::new();
    match (text("token"), text("username"), bytes("tls.crt"), bytes("tls.key")) {
        (Some(token), ..) => _ = members.insert("bearerToken".to_owned(), json!(token.trim())),
        (None, Some(username), ..) => {
            members.insert("username".to_owned(), json!(username));
            members.insert("password".to_owned(), json!(text("password").unwrap_or_default()));
        }
        (None, None, Some(cert), Some(key)) => {
            let tls = json!({ "insecure": false, "certData": cert, "keyData": key });
            members.insert("tlsClientConfig".to_owned(), tls);
        }
        _ => return Err("it holds neither token, nor username, nor tls.crt and tls.key".to_owned()),
    }
    Ok(ConfigMembers(members))
}

/// What the Secret of a cluster should hold, or why it gets none.
pub(super) fn wanted(
    set: &ValidatedClusterSet,
    cluster: &FoundCluster,
    generator_role: Option<&str>,
) -> Result<Wanted, String> {
    let ClusterState::Ready { server: endpoint, ca_data } = &cluster.state else {
        return Err("it is not ready".to_owned());
    };
    let form = &set.template;
    let render = |text: &String| template::render(text, cluster);
    let server = match form.server_form {
        ServerForm::URL => endpoint.clone(),
        ServerForm::ARN => cluster.arn.clone().ok_or("it has no ARN, which serverForm asks for")?,
    };
    let name = form.metadata.name.as_ref().map_or_else(|| Ok(cluster.name.clone()), render)?;
    let labels = render_all(&form.metadata.labels, render)?;
    for (key, value) in &labels {
        check_label(key, value)?;
    }
    let mut annotations = render_all(&form.metadata.annotations, render)?;
    ours::note_keys(&labels, &mut annotations);
    annotations.insert(CLUSTER_ID_ANNOTATION.to_owned(), cluster.id.clone());
    // An AWSTargetGroupSet takes it where neither binding, nor target group, nor this Secret's labels have a version.
    if let Some(version) = cluster.tags.get(VERSION_LABEL) {
        annotations.entry(VERSION_LABEL.to_owned()).or_insert_with(|| version.clone());
    }
    let mut labels = labels;
    for (key, value) in
        [(SECRET_TYPE_LABEL, CLUSTER_SECRET_TYPE), (CLUSTER_SET_LABEL, &*set.name), (CLUSTER_SET_UID_LABEL, &*set.uid)]
    {
        labels.insert(key.to_owned(), value.to_owned());
    }
    let mut data = BTreeMap::new();
    let mut put = |key: &str, text: String| _ = data.insert(key.to_owned(), ByteString(text.into_bytes()));
    put("name", cluster.name.clone());
    put("server", server.clone());
    match form.server_form {
        ServerForm::URL => put("config", config(form, cluster, ca_data.as_deref(), generator_role)),
        // The Argo CD of EKS takes no config; okra itself still has to find the API server.
        ServerForm::ARN => {
            annotations.insert(CLUSTER_ENDPOINT_ANNOTATION.to_owned(), endpoint.clone());
            if let Some(ca) = ca_data {
                annotations.insert(CLUSTER_CA_ANNOTATION.to_owned(), ca.clone());
            }
        }
    }
    if let Some(project) = &form.project {
        put("project", render(project)?);
    }
    if !form.namespaces.is_empty() {
        put("namespaces", form.namespaces.join(","));
        put("clusterResources", form.cluster_resources.to_string());
    }
    let name = object_name(&name);
    Ok(Wanted { cluster: cluster.name.clone(), id: cluster.id.clone(), name, server, labels, annotations, data })
}

fn render_all(texts: &Texts, render: impl Fn(&String) -> Result<String, String>) -> Result<Texts, String> {
    texts.iter().map(|(key, text)| Ok((key.clone(), render(text)?))).collect()
}

/// `config` in Argo CD's form. `tlsClientConfig` and its `insecure` are always there, as Argo CD writes them.
fn config(
    form: &ClusterSecretTemplate,
    cluster: &FoundCluster,
    ca_data: Option<&str>,
    generator_role: Option<&str>,
) -> String {
    let mut members = match &cluster.auth {
        ClusterAuth::Eks { cluster_name, role_arn } => {
            let mut auth = Map::from_iter([("clusterName".to_owned(), json!(cluster_name))]);
            let role = form.role_arn.as_deref().or(role_arn.as_deref()).or(generator_role);
            if let Some(role) = role.filter(|role| !role.is_empty()) {
                auth.insert("roleARN".to_owned(), json!(role));
            }
            Map::from_iter([("awsAuthConfig".to_owned(), Value::Object(auth))])
        }
        ClusterAuth::Config(members) => members.0.clone(),
    };
    let tls = members.entry("tlsClientConfig").or_insert_with(|| json!({}));
    if let Some(tls) = tls.as_object_mut() {
        tls.entry("insecure").or_insert(json!(false));
        if let Some(ca) = ca_data {
            tls.insert("caData".to_owned(), json!(ca));
        }
    }
    Value::Object(members).to_string()
}

impl Wanted {
    /// A new Secret.
    pub(super) fn create(&self, set: &ValidatedClusterSet, name: String) -> Secret {
        Secret {
            metadata: ObjectMeta {
                namespace: Some(set.namespace.clone()),
                name: Some(name),
                labels: Some(self.labels.clone()),
                annotations: Some(self.annotations.clone()),
                owner_references: owners(set, Vec::new()),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(self.data.clone()),
            ..Secret::default()
        }
    }

    /// The Secret brought up to date; `None` when it is. What others wrote to it stays.
    pub(super) fn update(&self, set: &ValidatedClusterSet, present: &Secret) -> Option<Secret> {
        let mut next = present.clone();
        ours::replace(&mut next.metadata, &self.labels, &self.annotations, &OWN_ANNOTATIONS);
        let mut data = present.data.clone().unwrap_or_default();
        for key in ["project", "namespaces", "clusterResources", "config"] {
            data.remove(key);
        }
        data.extend(self.data.clone());
        next.metadata.owner_references = owners(set, present.metadata.owner_references.clone().unwrap_or_default());
        next.data = Some(data);
        (next != *present).then_some(next)
    }
}

/// The owners of a Secret: the set is one when Kubernetes is to remove the Secret with it.
fn owners(set: &ValidatedClusterSet, owners: Vec<OwnerReference>) -> Option<Vec<OwnerReference>> {
    ours::owners::<ClusterSet>(owners, &set.name, &set.uid, set.deletion_policy == SecretDeletionPolicy::Delete)
}

/// The Secret of one cluster, as a command writes it by hand: no set owns it.
pub fn render_secret(namespace: &str, cluster: &FoundCluster, labels: &Texts) -> Result<Secret, String> {
    let set = ValidatedClusterSet {
        namespace: namespace.to_owned(),
        name: String::new(),
        uid: String::new(),
        generation: None,
        generators: Vec::new(),
        template: ClusterSecretTemplate::default(),
        interval: jiff::SignedDuration::ZERO,
        prune_after: jiff::SignedDuration::ZERO,
        adopt: false,
        deletion_policy: SecretDeletionPolicy::Retain,
    };
    for (key, value) in labels {
        check_label(key, value)?;
    }
    let wanted = wanted(&set, cluster, None)?;
    let mut secret = wanted.create(&set, wanted.name.clone());
    secret.metadata.annotations = None;
    let mut labels = labels.clone();
    labels.insert(SECRET_TYPE_LABEL.to_owned(), CLUSTER_SECRET_TYPE.to_owned());
    secret.metadata.labels = Some(labels);
    Ok(secret)
}
