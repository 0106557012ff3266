//! Leadership for one run: taken, or refused with the name of who has it.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use k8s_openapi::api::coordination::v1::Lease;
use okra_api::names::LEASE_NAME;
use okra_provider::{Backend, BackendError, Key, Kind, Leadership};
use okra_store::{DirectoryLeadership, directory::LeadershipError, kubernetes::ClientOptions};

use crate::{
    clock::SystemClock,
    leading::{LeaseContender, LeaseContest},
    metered::BackendMetrics,
    okrad::{Args, StoreLocation},
};

/// How often the Lease is read while somebody has it: its holder renews it every few seconds.
const LOOK: Duration = Duration::from_millis(500);

/// Beyond the duration of the Lease, the time that taking it may take.
const SLACK: Duration = Duration::from_secs(10);

/// How often it is looked whether the lock on the directory is still there.
const LOCK_CHECK: Duration = Duration::from_secs(1);

/// Somebody else leads.
#[derive(Debug, thiserror::Error)]
#[error("{holder} works on these objects")]
pub struct Held {
    /// What it says of itself.
    pub holder: String,
}

/// Leadership, as long as this lives.
pub(super) enum Lead {
    /// The lock on a directory.
    Directory(Arc<DirectoryLeadership>),
    /// The Lease of a cluster.
    Lease(Box<LeaseContender>, Arc<dyn Leadership>),
}

impl Lead {
    /// Takes it. Fails with [`Held`] while an okrad, or another run, has it.
    pub(super) async fn take(
        args: &Args,
        backend: &Arc<dyn Backend>,
        metrics: &BackendMetrics,
    ) -> anyhow::Result<Self> {
        match &args.store {
            StoreLocation::Directory(path) => {
                let holder = format!("okra sync, process {}", std::process::id());
                match DirectoryLeadership::try_acquire(path, &holder) {
                    Ok(lock) => Ok(Self::Directory(Arc::new(lock))),
                    Err(LeadershipError::Held { holder }) => Err(Held { holder }.into()),
                    Err(error) => Err(error).context("failed to take the lead"),
                }
            }
            StoreLocation::Kubernetes => Self::take_lease(args, backend, metrics).await,
        }
    }

    async fn take_lease(args: &Args, backend: &Arc<dyn Backend>, metrics: &BackendMetrics) -> anyhow::Result<Self> {
        let options = ClientOptions { kubeconfig: args.kubeconfig.clone(), context: args.context.clone() };
        let own = std::env::var("POD_NAMESPACE").ok().filter(|namespace| !namespace.is_empty());
        let namespace = match own {
            Some(namespace) => namespace,
            None => okra_store::kubernetes::client(&options).await?.default_namespace().to_owned(),
        };
        let (key, clock) = (Key::new(namespace, LEASE_NAME), Arc::new(SystemClock::new()));
        let contest =
            LeaseContest::new(options, key.clone(), args.lease_duration, clock.clone(), clock, metrics.clone());
        let leadership = contest.leadership();
        let mut contender = contest.start()?;
        let patience = tokio::time::sleep(args.lease_duration + SLACK);
        let refusal = tokio::select! {
            biased;
            won = contender.won() => {
                won?;
                return Ok(Self::Lease(Box::new(contender), leadership));
            }
            holder = living_holder(backend, &key) => Held { holder }.into(),
            () = patience => anyhow::anyhow!("failed to take Lease {key} in time"),
        };
        contender.release().await;
        Err(refusal)
    }

    /// What the controllers ask before each call.
    pub(super) fn leadership(&self) -> Arc<dyn Leadership> {
        match self {
            Self::Directory(lock) => lock.clone(),
            Self::Lease(_, leadership) => leadership.clone(),
        }
    }

    /// Waits until it is lost; why.
    pub(super) async fn lost(&mut self) -> anyhow::Error {
        match self {
            Self::Directory(lock) => {
                while lock.permits(Duration::ZERO).is_ok() {
                    tokio::time::sleep(LOCK_CHECK).await;
                }
                anyhow::anyhow!("lost the lock on the directory: its folder .okra was taken away")
            }
            Self::Lease(contender, _) => contender.lost().await,
        }
    }

    /// Gives it up, so that an okrad takes over at once.
    pub(super) async fn release(self) {
        if let Self::Lease(contender, _) = self {
            contender.release().await;
        }
    }
}

/// Waits until the Lease is seen to be renewed, which only somebody who lives does; who it is.
async fn living_holder(backend: &Arc<dyn Backend>, key: &Key) -> String {
    let mut first = None;
    loop {
        match backend.get(&Kind::of::<Lease>(), key).await {
            Ok(lease) => {
                let text =
                    |path| lease.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
                let (holder, renewed) = (text("/spec/holderIdentity"), text("/spec/renewTime"));
                match &first {
                    Some((same, before)) if *same == holder && *before != renewed && !holder.is_empty() => {
                        return holder;
                    }
                    Some((same, _)) if *same == holder => {}
                    _ => first = Some((holder, renewed)),
                }
            }
            Err(BackendError::NotFound { .. }) => {}
            // The contest meets the same trouble and tells of it.
            Err(error) => tracing::debug!(%error, "Cannot read the Lease"),
        }
        tokio::time::sleep(LOOK).await;
    }
}
