//! What the generators answer.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::{BoxFuture, FutureExt as _, join_all};
use k8s_openapi::api::core::v1::Secret;
use okra_api::{
    cluster_set::{AnswerState, ClusterGenerator, EksGenerator, ListGenerator, ListedCluster, ObjectGenerator},
    names::{CLUSTER_ID_ANNOTATION, CLUSTER_SECRET_TYPE, SECRET_TYPE_LABEL},
    selector::LabelSelector,
};
use okra_core::cluster_set::{
    Answer, CLUSTER_API_ID, ClusterAuth, ClusterQuery, ClusterState, ConfigMembers, FoundCluster, KUBECONFIG_ID,
    LIST_ID, ValidatedClusterSet, config_of_listed, data_text, read_kubeconfig,
};
use okra_provider::{BackendError, Key, Kind, Labels};
use serde_json::Value;

use super::ClusterSetController;

/// Kubeconfigs of a generator; more are not read, and the answer says so.
const MAX_OBJECTS: usize = 1_000;
/// Keys of a Secret that may hold a kubeconfig. Cluster API writes `value`.
const KUBECONFIG_KEYS: [&str; 3] = ["value", "kubeconfig", "config"];

impl ClusterSetController {
    /// Asks every generator, all at once: a slow one delays no other.
    pub(super) async fn ask(&self, set: &ValidatedClusterSet, secrets: &[Arc<Secret>]) -> Vec<Answer> {
        let ids = secrets.iter().filter_map(|secret| secret.metadata.annotations.as_ref()?.get(CLUSTER_ID_ANNOTATION));
        let known: Vec<String> = ids.filter(|id| id.starts_with("arn:")).cloned().collect();
        let asked = set.generators.iter().map(|generator| self.ask_one(set, generator, &known));
        join_all(asked).await
    }

    fn ask_one<'a>(
        &'a self,
        set: &'a ValidatedClusterSet,
        generator: &'a ClusterGenerator,
        known: &'a [String],
    ) -> BoxFuture<'a, Answer> {
        let namespace = &*set.namespace;
        if let Some(eks) = &generator.awseks {
            self.ask_eks(eks, known).boxed()
        } else if let Some(objects) = &generator.cluster_api {
            self.ask_cluster_api(namespace, objects).boxed()
        } else if let Some(objects) = &generator.kubeconfig_secret {
            self.ask_kubeconfigs(namespace, objects).boxed()
        } else if let Some(list) = &generator.list {
            self.ask_list(namespace, list).boxed()
        } else {
            async { Answer::incomplete("nothing", AnswerState::Partial, "the generator has no field") }.boxed()
        }
    }

    async fn ask_eks(&self, eks: &EksGenerator, known: &[String]) -> Answer {
        let query = ClusterQuery {
            region: eks.region.clone(),
            role_arn: eks.role_arn.clone(),
            match_tags: eks.selector.match_tags.clone(),
            known: known.to_vec(),
        };
        self.context.inventory.list(&query, self.context.call_timeout).await
    }

    async fn ask_cluster_api(&self, namespace: &str, objects: &ObjectGenerator) -> Answer {
        const NAME: &str = "clusterAPI";
        let mut clusters = Err(BackendError::Absent("Cluster".to_owned()));
        for version in ["v1beta2", "v1beta1"] {
            if matches!(clusters, Err(BackendError::Absent(_))) {
                clusters = self.select(&cluster_api_kind(version), namespace, &objects.selector).await;
            }
        }
        let clusters = match clusters {
            Ok(clusters) => clusters,
            Err(BackendError::Absent(_)) => {
                return Answer::incomplete(NAME, AnswerState::Denied, "Cluster API is not installed here");
            }
            Err(error) => return unreadable(NAME, "list Clusters of Cluster API", &error),
        };
        let mut answer = Answer::complete(NAME, Vec::new());
        for cluster in &clusters {
            let key = Key::of(cluster);
            let read = if cluster.pointer("/metadata/deletionTimestamp").is_some() {
                Ok(not_ready("it is being deleted"))
            } else {
                self.kubeconfig(&Key::new(namespace, format!("{}-kubeconfig", key.name))).await
            };
            match read {
                Ok((state, auth)) => {
                    let text = |at| cluster.pointer(at).and_then(Value::as_str).map(str::to_owned);
                    answer.clusters.push(FoundCluster {
                        id: format!("{CLUSTER_API_ID}{}", key.name),
                        state,
                        version: text("/spec/topology/version"),
                        region: None,
                        arn: None,
                        tags: labels_of(cluster),
                        auth,
                        name: key.name,
                    });
                }
                Err(error) => return unreadable(NAME, &format!("read the kubeconfig of {}", key.name), &error),
            }
        }
        bounded(answer)
    }

    async fn ask_kubeconfigs(&self, namespace: &str, objects: &ObjectGenerator) -> Answer {
        const NAME: &str = "kubeconfigSecret";
        let secrets = match self.select(&Kind::of::<Secret>(), namespace, &objects.selector).await {
            Ok(secrets) => secrets,
            Err(error) => return unreadable(NAME, "list Secrets", &error),
        };
        let mut answer = Answer::complete(NAME, Vec::new());
        for value in secrets {
            let (key, tags) = (Key::of(&value), labels_of(&value));
            if tags.get(SECRET_TYPE_LABEL).is_some_and(|type_| type_ == CLUSTER_SECRET_TYPE) {
                continue;
            }
            let (state, auth) = match serde_json::from_value::<Secret>(value) {
                Ok(secret) => read_secret(&secret),
                Err(_) => not_ready("its Secret cannot be parsed"),
            };
            answer.clusters.push(FoundCluster {
                id: format!("{KUBECONFIG_ID}{}", key.name),
                name: key.name.strip_suffix("-kubeconfig").unwrap_or(&key.name).to_owned(),
                state,
                version: None,
                region: None,
                arn: None,
                tags,
                auth,
            });
        }
        bounded(answer)
    }

    async fn ask_list(&self, namespace: &str, list: &ListGenerator) -> Answer {
        let mut answer = Answer::complete("list", Vec::new());
        for cluster in &list.clusters {
            let auth = match self.auth_of_listed(namespace, cluster).await {
                Ok(auth) => Ok(auth),
                Err(Unlisted::NotReady(why)) => Err(why),
                Err(Unlisted::Unreadable(error)) => {
                    return unreadable("list", &format!("read the credentials of {}", cluster.name), &error);
                }
            };
            let (state, auth) = match auth {
                Ok(auth) => {
                    (ClusterState::Ready { server: cluster.server.clone(), ca_data: cluster.ca_data.clone() }, auth)
                }
                Err(why) => not_ready(why),
            };
            answer.clusters.push(FoundCluster {
                id: format!("{LIST_ID}{}", cluster.name),
                name: cluster.name.clone(),
                state,
                version: cluster.version.clone(),
                region: cluster.region.clone(),
                arn: None,
                tags: cluster.tags.clone(),
                auth,
            });
        }
        answer
    }

    async fn auth_of_listed(&self, namespace: &str, cluster: &ListedCluster) -> Result<ClusterAuth, Unlisted> {
        if let Some(auth) = &cluster.aws_auth {
            let (cluster_name, role_arn) = (auth.cluster_name.clone(), auth.role_arn.clone());
            return Ok(ClusterAuth::Eks { cluster_name, role_arn });
        }
        let Some(name) = &cluster.secret_name else { return Ok(ClusterAuth::Config(ConfigMembers::default())) };
        match self.context.store.get_live::<Secret>(&Key::new(namespace, name)).await {
            Ok(secret) => config_of_listed(&secret)
                .map(ClusterAuth::Config)
                .map_err(|why| Unlisted::NotReady(format!("Secret {name}: {why}"))),
            Err(BackendError::NotFound { .. }) => Err(Unlisted::NotReady(format!("Secret {name} does not exist"))),
            Err(error) => Err(Unlisted::Unreadable(error)),
        }
    }

    /// Objects of a kind in a namespace that a selector selects.
    async fn select(&self, kind: &Kind, namespace: &str, selector: &LabelSelector) -> Result<Vec<Value>, BackendError> {
        let labels = Labels(selector.match_labels.clone());
        let mut objects = self.context.store.backend().list_labelled(kind, Some(namespace), &labels).await?;
        objects.retain(|object| selector.matches(&labels_of(object)));
        Ok(objects)
    }

    async fn kubeconfig(&self, key: &Key) -> Result<(ClusterState, ClusterAuth), BackendError> {
        match self.context.store.get_live::<Secret>(key).await {
            Ok(secret) => Ok(read_secret(&secret)),
            Err(BackendError::NotFound { .. }) => Ok(not_ready(format!("Secret {} is not there yet", key.name))),
            Err(error) => Err(error),
        }
    }
}

/// Why a listed cluster has no credentials.
enum Unlisted {
    NotReady(String),
    Unreadable(BackendError),
}

fn not_ready(why: impl Into<String>) -> (ClusterState, ClusterAuth) {
    (ClusterState::NotReady(why.into()), ClusterAuth::Config(ConfigMembers::default()))
}

fn read_secret(secret: &Secret) -> (ClusterState, ClusterAuth) {
    let mut texts = KUBECONFIG_KEYS.iter().map(|key| data_text(secret, key));
    match texts.find(|text| !text.is_empty()) {
        Some(text) => read_kubeconfig(&text).unwrap_or_else(not_ready),
        None => not_ready("its Secret holds no kubeconfig under value, kubeconfig or config"),
    }
}

fn cluster_api_kind(version: &'static str) -> Kind {
    Kind {
        group: "cluster.x-k8s.io".into(),
        version: version.into(),
        kind: "Cluster".into(),
        plural: "clusters".into(),
    }
}

fn labels_of(object: &Value) -> BTreeMap<String, String> {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn bounded(mut answer: Answer) -> Answer {
    if answer.clusters.len() > MAX_OBJECTS {
        answer.clusters.truncate(MAX_OBJECTS);
        answer.state = AnswerState::Partial;
        answer.message = format!("more than {MAX_OBJECTS} objects are selected");
    }
    answer
}

fn unreadable(name: &str, doing: &str, error: &BackendError) -> Answer {
    let state = match error {
        BackendError::Denied { .. } => AnswerState::Denied,
        BackendError::Throttled { .. } => AnswerState::Throttled,
        BackendError::Unreachable(_) => AnswerState::Unreachable,
        _ => AnswerState::Partial,
    };
    Answer::incomplete(name, state, format!("failed to {doing}: {error}"))
}
