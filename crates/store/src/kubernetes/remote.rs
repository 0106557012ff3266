//! The clusters of Argo CD's cluster Secrets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client, Config,
    config::{AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext},
};
use okra_core::cluster_set::{ClusterAccess, Login, read_cluster_secret};
use okra_provider::{
    BackendError, Clock, EksToken, EksTokenRequest, EksTokens, Key, Namespaces, Reachability, RemoteCluster,
    RemoteClusters, RemoteError, SecretText, Store,
};
use parking_lot::Mutex;

use super::{BearerTokens, KubernetesBackend, Timings};

/// How long a call to a remote cluster may take: a dead one must not hold up who asks several.
const CALL: Duration = Duration::from_secs(5);
/// A token is made anew this long before it ends.
const EARLY: SignedDuration = SignedDuration::from_mins(3);
/// How long credentials for a token may take.
const TOKEN: Duration = Duration::from_secs(10);
/// What `managedFields` of remote objects call the writer.
const FIELD_MANAGER: &str = "okrad";

/// Speaks to the clusters of cluster Secrets: by bearer token, client certificate, name and password, or EKS tokens,
/// which it makes itself. One connection for each Secret, until its data change. No proxy of the environment is used,
/// no program is run and no file is read.
pub struct KubernetesClusters {
    tokens: Arc<dyn EksTokens>,
    clock: Arc<dyn Clock>,
    known: Mutex<BTreeMap<Key, Known>>,
    connections: AtomicU64,
}

#[derive(Clone)]
struct Known {
    access: ClusterAccess,
    cluster: RemoteCluster,
    backend: Arc<KubernetesBackend>,
}

impl std::fmt::Debug for KubernetesClusters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesClusters").finish_non_exhaustive()
    }
}

impl KubernetesClusters {
    /// With who makes EKS tokens. Calls nothing yet.
    pub fn new(tokens: Arc<dyn EksTokens>, clock: Arc<dyn Clock>) -> Self {
        Self { tokens, clock, known: Mutex::default(), connections: AtomicU64::new(0) }
    }

    async fn known(&self, secret: &Secret) -> Result<Known, RemoteError> {
        let key = Key::of_typed(secret);
        let access = read_cluster_secret(secret).map_err(RemoteError);
        let present = self.known.lock().get(&key).cloned();
        let access = match (access, present) {
            (Ok(access), Some(known)) if known.access == access => return Ok(known),
            (Ok(access), _) => access,
            (Err(error), _) => {
                self.forget(&key);
                return Err(error);
            }
        };
        let made = self.make(&key, access).await;
        let Ok(made) = made else {
            self.forget(&key);
            return made;
        };
        let mut all = self.known.lock();
        // Somebody else may have been faster with the same.
        if let Some(known) = all.get(&key).filter(|known| known.access == made.access) {
            made.cluster.store.shutdown();
            return Ok(known.clone());
        }
        if let Some(old) = all.insert(key, made.clone()) {
            old.cluster.store.shutdown();
        }
        Ok(made)
    }

    fn forget(&self, key: &Key) {
        if let Some(old) = self.known.lock().remove(key) {
            old.cluster.store.shutdown();
        }
    }

    async fn make(&self, key: &Key, access: ClusterAccess) -> Result<Known, RemoteError> {
        let client = client(&access).await.map_err(RemoteError)?;
        let timings = Timings { call: CALL, ..Timings::default() };
        let mut backend = KubernetesBackend::new(client, FIELD_MANAGER).with_timings(timings);
        if let Login::Eks { cluster_name, region, role_arn, profile } = &access.login {
            let request = EksTokenRequest {
                cluster_name: cluster_name.clone(),
                region: region.clone(),
                role_arn: role_arn.clone(),
                profile: profile.clone(),
            };
            let (tokens, clock) = (self.tokens.clone(), self.clock.clone());
            backend = backend.with_tokens(Arc::new(KeptToken { tokens, clock, request, kept: Mutex::default() }));
        }
        let backend = Arc::new(backend);
        let cluster = RemoteCluster {
            key: key.clone(),
            name: access.name.clone(),
            server: access.server.clone(),
            store: Store::named(&format!("cluster {}", access.name), backend.clone(), Namespaces::All),
            connection: self.connections.fetch_add(1, Ordering::Relaxed) + 1,
        };
        Ok(Known { access, cluster, backend })
    }
}

#[async_trait]
impl RemoteClusters for KubernetesClusters {
    async fn connect(&self, secret: &Secret) -> Result<RemoteCluster, RemoteError> {
        Ok(self.known(secret).await?.cluster)
    }

    async fn reach(&self, secret: &Secret) -> Reachability {
        let known = match self.known(secret).await {
            Ok(known) => known,
            Err(error) => return Reachability::Refused(error.0),
        };
        match known.backend.server_version().await {
            Ok(version) => Reachability::Reachable { version },
            Err(BackendError::Denied { message }) => Reachability::Denied(message),
            Err(error) => Reachability::Unreachable(error.to_string()),
        }
    }

    fn retain(&self, secrets: &BTreeSet<Key>) {
        self.known.lock().retain(|key, known| {
            let keep = secrets.contains(key);
            if !keep {
                known.cluster.store.shutdown();
            }
            keep
        });
    }
}

impl Drop for KubernetesClusters {
    fn drop(&mut self) {
        self.known.lock().values().for_each(|known| known.cluster.store.shutdown());
    }
}

/// A client of a cluster; why there is none, in words that hold no credential.
async fn client(access: &ClusterAccess) -> Result<Client, String> {
    let cluster = Cluster {
        server: Some(access.server.clone()),
        insecure_skip_tls_verify: Some(access.insecure),
        certificate_authority_data: access.ca_data.clone(),
        tls_server_name: access.server_name.clone(),
        ..Cluster::default()
    };
    let mut user = AuthInfo::default();
    match &access.login {
        Login::Bearer(token) => user.token = Some(token.clone().into()),
        Login::Basic(username, password) => {
            user.username = Some(username.clone());
            user.password = Some(password.clone().into());
        }
        Login::None | Login::Eks { .. } => {}
    }
    if let Some((certificate, key)) = &access.client_certificate {
        user.client_certificate_data = Some(certificate.clone());
        user.client_key_data = Some(key.clone().into());
    }
    let name = "remote".to_owned();
    let context = Context { cluster: name.clone(), user: Some(name.clone()), ..Context::default() };
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster { name: name.clone(), cluster: Some(cluster), ..NamedCluster::default() }],
        auth_infos: vec![NamedAuthInfo { name: name.clone(), auth_info: Some(user), ..NamedAuthInfo::default() }],
        contexts: vec![NamedContext { name: name.clone(), context: Some(context), ..NamedContext::default() }],
        current_context: Some(name),
        ..Kubeconfig::default()
    };
    let made = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    // The words of these errors may quote what the Secret holds.
    let unreadable = || "its server or caData cannot be read: caData is PEM, in base64".to_owned();
    let mut config = made.map_err(|_| unreadable())?;
    // What holds no certificate at all is read as none.
    if access.ca_data.is_some() && config.root_cert.as_ref().is_none_or(Vec::is_empty) {
        return Err(unreadable());
    }
    config.default_retry = false;
    config.proxy_url = None;
    config.connect_timeout = Some(CALL);
    config.write_timeout = Some(CALL);
    config.read_timeout = Some(Duration::from_mins(4));
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(|_| {
        "its certificates, key or token cannot be used: certData and keyData are PEM, in base64".to_owned()
    })
}

/// The token of an EKS cluster, kept until it is about to end or was refused.
struct KeptToken {
    tokens: Arc<dyn EksTokens>,
    clock: Arc<dyn Clock>,
    request: EksTokenRequest,
    kept: Mutex<Option<EksToken>>,
}

#[async_trait]
impl BearerTokens for KeptToken {
    async fn token(&self) -> Result<SecretText, String> {
        let now = self.clock.now();
        let kept = self.kept.lock().clone();
        if let Some(kept) = kept.filter(|kept| now + EARLY < kept.expires_at) {
            return Ok(kept.token);
        }
        let made = tokio::time::timeout(TOKEN, self.tokens.token(&self.request, now)).await;
        let made =
            made.map_err(|_| format!("no credentials for a token of {} in time", self.request.cluster_name))??;
        let token = made.token.clone();
        *self.kept.lock() = Some(made);
        Ok(token)
    }

    fn refused(&self) {
        *self.kept.lock() = None;
    }
}
