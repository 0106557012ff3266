//! What okrad stands on: where objects are kept, who is told of events, how leadership is won.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use okra_api::names::{FIELD_MANAGER, LEASE_NAME};
use okra_provider::{Backend, EventSink, Key, Namespaces};
use okra_store::{DirectoryBackend, DirectoryOptions, KubernetesBackend, KubernetesEvents, kubernetes::ClientOptions};

use crate::{
    admin::Readiness,
    clock::{SystemClock, SystemEntropy},
    dry_run::{DryRunBackend, DryRunEvents},
    events::LogEvents,
    installation,
    leading::{Contest, DirectoryContest, LeaseContest, identity},
    metered::{BackendMetrics, MeteredBackend},
    okrad::{Args, StoreLocation},
};

/// Where objects are kept and who is told of events; opened, but not called yet.
pub struct Platform {
    /// What it is, for the log.
    pub name: String,
    /// The directory of manifests, where it is one.
    pub directory: Option<DirectoryBackend>,
    /// Where objects are kept.
    pub backend: Arc<dyn Backend>,
    /// Who is told of events.
    pub events: Arc<dyn EventSink>,
    /// The namespace of this process.
    pub namespace: String,
    /// The host of the API server; `None` where there is none.
    pub api_server: ApiServerHost,
}

/// The host of the API server, which metrics are not fetched from.
#[derive(Clone, Debug, Default)]
pub struct ApiServerHost(Option<String>);

impl ApiServerHost {
    /// How long a name is looked up at the start.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// Its addresses now. A name that cannot be looked up has none: nothing can be asked by that name either.
    pub async fn addresses(&self) -> Vec<IpAddr> {
        let Some(host) = &self.0 else { return Vec::new() };
        let found = tokio::time::timeout(Self::PATIENCE, tokio::net::lookup_host((host.as_str(), 443))).await;
        match found {
            Ok(Ok(addresses)) => addresses.map(|address| address.ip()).collect(),
            Ok(Err(error)) => {
                tracing::warn!(host, %error, "The API server's addresses are unknown: metrics could be fetched from it");
                Vec::new()
            }
            Err(_) => {
                tracing::warn!(host, "The API server's addresses are unknown: metrics could be fetched from it");
                Vec::new()
            }
        }
    }
}

/// Which namespaces the flags name.
pub fn namespaces(args: &Args) -> Namespaces {
    if args.namespaces.is_empty() { Namespaces::All } else { Namespaces::Only(args.namespaces.clone()) }
}

/// Opens the store that the flags name, and says how leadership is won there. Calls nothing; fails when there is no
/// usable configuration.
pub async fn open(args: &Args, clock: SystemClock, metrics: &BackendMetrics) -> anyhow::Result<(Platform, Contest)> {
    match &args.store {
        StoreLocation::Kubernetes => kubernetes(args, clock, metrics).await,
        StoreLocation::Directory(path) => directory(args, path, metrics).await,
    }
}

impl Platform {
    /// The id of this installation: what the flag says, else what the store knows. Waits until it is known.
    pub async fn installation(&self, args: &Args, readiness: &Readiness) -> anyhow::Result<String> {
        match (&args.installation_id, &self.directory) {
            (Some(id), _) => Ok(id.clone()),
            (None, Some(directory)) => directory.installation_id().await.context("failed to read the installation id"),
            (None, None) => Ok(installation::of_cluster(&self.backend, readiness, &SystemEntropy).await),
        }
    }
}

async fn directory(args: &Args, path: &Path, metrics: &BackendMetrics) -> anyhow::Result<(Platform, Contest)> {
    let opened = DirectoryBackend::open(path, DirectoryOptions::default()).await;
    let directory = opened.with_context(|| format!("failed to open directory {}", path.display()))?;
    let name = format!("directory {}", path.display());
    let backend: Arc<dyn Backend> = Arc::new(MeteredBackend::new(Arc::new(directory.clone()), metrics.clone()));
    let directory = Some(directory);
    let (namespace, api_server) = ("default".to_owned(), ApiServerHost::default());
    if args.dry_run {
        let backend = Arc::new(DryRunBackend::new(backend));
        let events = Arc::new(DryRunEvents);
        return Ok((Platform { name, directory, backend, events, namespace, api_server }, Contest::None));
    }
    let contest =
        if args.enable_leader_election { Contest::Directory(DirectoryContest::new(path)) } else { Contest::None };
    Ok((Platform { name, directory, backend, events: Arc::new(LogEvents), namespace, api_server }, contest))
}

async fn kubernetes(args: &Args, clock: SystemClock, metrics: &BackendMetrics) -> anyhow::Result<(Platform, Contest)> {
    let options = ClientOptions { kubeconfig: args.kubeconfig.clone(), context: args.context.clone() };
    let (client, host) = okra_store::kubernetes::client_and_host(&options).await?;
    let own = std::env::var("POD_NAMESPACE").ok().filter(|namespace| !namespace.is_empty());
    let namespace = own.unwrap_or_else(|| client.default_namespace().to_owned());
    let api_server = ApiServerHost(host);
    let name = "kubernetes".to_owned();
    let backend: Arc<dyn Backend> = Arc::new(KubernetesBackend::new(client.clone(), FIELD_MANAGER));
    let backend: Arc<dyn Backend> = Arc::new(MeteredBackend::new(backend, metrics.clone()));
    if args.dry_run {
        let backend = Arc::new(DryRunBackend::new(backend));
        let events = Arc::new(DryRunEvents);
        return Ok((Platform { name, directory: None, backend, events, namespace, api_server }, Contest::None));
    }
    let contest = if args.enable_leader_election {
        let (lease, clock) = (Key::new(namespace.clone(), LEASE_NAME), Arc::new(clock));
        let contest = LeaseContest::new(options, lease, args.lease_duration, clock.clone(), clock, metrics.clone());
        Contest::Lease(Box::new(contest))
    } else {
        Contest::None
    };
    let events = Arc::new(KubernetesEvents::new(client, FIELD_MANAGER, &identity(), Arc::new(clock)));
    Ok((Platform { name, directory: None, backend, events, namespace, api_server }, contest))
}
