//! Who leads: nobody asked, a Lease, or a lock on the directory.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use okra_controller::runtime::MonotonicClock;
use okra_provider::{Clock, Key, Leadership, NotLeader};
use okra_store::{DirectoryLeadership, KubernetesBackend, directory::LeadershipError, kubernetes::ClientOptions};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    lease::{Elector, ElectorConfig, Hold, LeaderState, LeaseLeadership},
    metered::{BackendMetrics, MeteredBackend},
};

/// How long giving up the lease may take at the end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(6);

/// How often it is looked whether the lock on the directory is still there.
const LOCK_CHECK: Duration = Duration::from_secs(1);

/// Leads as long as it lives: leader election is off, or nothing is written anyway.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uncontested;

impl Leadership for Uncontested {
    fn permits(&self, _: Duration) -> Result<(), NotLeader> {
        Ok(())
    }
}

/// How this process comes to lead.
pub enum Contest {
    /// It does from the start.
    None,
    /// By a Lease.
    Lease(Box<LeaseContest>),
    /// By a lock on the directory.
    Directory(DirectoryContest),
}

impl Contest {
    /// Leadership by this contest, now and later.
    pub fn leadership(&self) -> Arc<dyn Leadership> {
        match self {
            Self::None => Arc::new(Uncontested),
            Self::Lease(contest) => contest.leadership(),
            Self::Directory(contest) => Arc::new(contest.clone()),
        }
    }

    /// Begins to contend.
    pub fn start(self) -> anyhow::Result<Contender> {
        Ok(match self {
            Self::None => Contender::None,
            Self::Lease(contest) => Contender::Lease(contest.start()?),
            Self::Directory(contest) => Contender::Directory(contest),
        })
    }
}

/// A contest under way.
pub enum Contender {
    /// There is none.
    None,
    /// For the Lease.
    Lease(LeaseContender),
    /// For the lock on the directory.
    Directory(DirectoryContest),
}

impl Contender {
    /// Waits until this process leads. Fails when the contest cannot go on.
    pub async fn won(&mut self) -> anyhow::Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Lease(contender) => contender.won().await,
            Self::Directory(contest) => contest.won().await,
        }
    }

    /// Waits until leadership is lost; why.
    pub async fn lost(&mut self) -> anyhow::Error {
        match self {
            Self::None => std::future::pending().await,
            Self::Lease(contender) => contender.lost().await,
            Self::Directory(contest) => contest.lost().await,
        }
    }

    /// Gives leadership up, so that another takes over at once.
    pub async fn release(self) {
        match self {
            Self::None => {}
            Self::Lease(contender) => contender.release().await,
            Self::Directory(contest) => contest.release(),
        }
    }
}

/// Contends for the lock on a directory; as a [`Leadership`] it holds once it has it.
#[derive(Clone)]
pub struct DirectoryContest {
    root: PathBuf,
    lock: Arc<Mutex<Option<DirectoryLeadership>>>,
}

impl DirectoryContest {
    /// Not contending yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), lock: Arc::default() }
    }

    async fn won(&self) -> anyhow::Result<()> {
        let holder = format!("okrad, process {}", std::process::id());
        let lock = match DirectoryLeadership::try_acquire(&self.root, &holder) {
            Err(error @ LeadershipError::Held { .. }) => {
                tracing::info!(%error, "Follows");
                DirectoryLeadership::acquire(&self.root, &holder).await?
            }
            outcome => outcome?,
        };
        tracing::info!("Leads now");
        *self.lock.lock() = Some(lock);
        Ok(())
    }

    async fn lost(&self) -> anyhow::Error {
        while self.permits(Duration::ZERO).is_ok() {
            tokio::time::sleep(LOCK_CHECK).await;
        }
        anyhow::anyhow!("lost the lock on directory {}: its folder .okra was taken away", self.root.display())
    }

    fn release(&self) {
        *self.lock.lock() = None;
    }
}

impl Leadership for DirectoryContest {
    fn permits(&self, timeout: Duration) -> Result<(), NotLeader> {
        self.lock.lock().as_ref().ok_or(NotLeader)?.permits(timeout)
    }
}

/// A name for this process that no other has: the Pod's or machine's, and a UUID.
pub fn identity() -> String {
    let named = ["POD_NAME", "HOSTNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let name = named.into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| "okrad".to_owned());
    let name: String = name.chars().take(128).collect();
    format!("{name}_{}", Uuid::new_v4())
}

/// Contends for a Lease on a thread and over connections of its own, so that no other work delays a renewal.
pub struct LeaseContest {
    options: ClientOptions,
    config: ElectorConfig,
    clock: Arc<dyn Clock>,
    monotonic: Arc<dyn MonotonicClock>,
    metrics: BackendMetrics,
    hold: Arc<Hold>,
}

impl LeaseContest {
    /// Not contending yet.
    pub fn new(
        options: ClientOptions,
        lease: Key,
        duration: Duration,
        clock: Arc<dyn Clock>,
        monotonic: Arc<dyn MonotonicClock>,
        metrics: BackendMetrics,
    ) -> Self {
        let config = ElectorConfig { key: lease, identity: identity(), duration };
        Self { options, config, clock, monotonic, metrics, hold: Arc::default() }
    }

    /// Leadership by this contest, now and later.
    pub fn leadership(&self) -> Arc<dyn Leadership> {
        Arc::new(LeaseLeadership::new(self.hold.clone(), self.monotonic.clone()))
    }

    /// Begins to contend.
    pub fn start(self) -> anyhow::Result<LeaseContender> {
        let (sender, state) = watch::channel(LeaderState::default());
        let (done, ended) = oneshot::channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("lease".to_owned()).spawn(move || {
            let result = runtime.block_on(async {
                let client = okra_store::kubernetes::client(&self.options).await?;
                let backend = Arc::new(KubernetesBackend::new(client, okra_api::names::FIELD_MANAGER));
                let backend = Arc::new(MeteredBackend::new(backend, self.metrics));
                let elector = Elector::new(self.config, backend, self.clock, self.monotonic, self.hold.clone(), sender);
                anyhow::Ok(elector.run(stopped).await?)
            });
            // Whoever waits for it is gone when the process ends anyway.
            let _gone = done.send(result);
        })?;
        Ok(LeaseContender { state, ended, stop })
    }
}

/// A contest for the Lease under way.
pub struct LeaseContender {
    state: watch::Receiver<LeaderState>,
    ended: oneshot::Receiver<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl LeaseContender {
    /// Waits until this process leads. Fails when the contest cannot go on.
    pub async fn won(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            biased;
            error = Self::failure(&mut self.ended) => Err(error),
            won = self.state.wait_for(|state| *state == LeaderState::Leader) => match won {
                Ok(_) => Ok(()),
                Err(_) => Err(anyhow::anyhow!("the contest for the lease ended")),
            }
        }
    }

    /// Waits until leadership is lost; why.
    pub async fn lost(&mut self) -> anyhow::Error {
        Self::failure(&mut self.ended).await
    }

    async fn failure(ended: &mut oneshot::Receiver<anyhow::Result<()>>) -> anyhow::Error {
        match ended.await {
            Ok(Err(error)) => error,
            Ok(Ok(())) => anyhow::anyhow!("the contest for the lease ended"),
            Err(_) => anyhow::anyhow!("the contest for the lease broke off"),
        }
    }

    /// Gives the lease up, so that another takes over at once.
    pub async fn release(self) {
        self.stop.cancel();
        match tokio::time::timeout(RELEASE_TIMEOUT, self.ended).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(error = format!("{error:#}"), "Failed to give up the lease"),
            Ok(Err(_)) | Err(_) => tracing::warn!("Failed to give up the lease in time: it expires"),
        }
    }
}
