//! A proxy before a real API server, which sees every request, counts the writes and strikes calls with faults.
//!
//! Each user has a port and a kubeconfig of its own, so that the proxy knows who calls and can cut one of them off. It
//! speaks plain HTTP on 127.0.0.1 and passes requests on over TLS with the caller's own credentials; watches stream
//! through. What it does to which call is a [`FaultPlan`] of [`ApiFault`]s, whose calls are named `PUT cells/status`:
//! the verb (`GET`, `LIST`, `WATCH`, `POST`, `PUT`, `PATCH`, `DELETE`), the plural and, if there is one, the subresource.

mod call;
mod fault;
mod listen;
mod lists;
mod serve;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::BoxFuture;
use kube::config::{AuthInfo, Kubeconfig};
use kube::{Client, Config};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::fault::ApiFault;
use self::lists::Lists;
use crate::ApiServer;
use crate::fault_plan::FaultPlan;

/// A request as the proxy saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The user whose port it came in by.
    pub caller: String,
    /// The call, for example `PUT cells/status`.
    pub call: String,
    /// Path and query.
    pub path: String,
    /// The fault that struck it.
    pub fault: Option<ApiFault>,
    /// What the API server answered; `None` while it has not, and when it was never asked.
    pub status: Option<u16>,
    /// The name of the object that was created by it.
    pub created: Option<String>,
}

/// On which side of its effect a write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// It is not passed on yet.
    Before,
    /// It has taken effect or was refused, and the caller does not know.
    After,
}

/// A write on its way, for those who want to stop it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Who writes.
    pub caller: String,
    /// The call, for example `PUT cells/status`.
    pub call: String,
    /// Which of the caller's writes by this call it is, from 1.
    pub nth: u64,
    /// Where it is.
    pub when: When,
}

/// Called for every write before it is passed on and after it was answered; the write waits for the future. One that
/// never ends holds it there until the caller goes away.
pub type WriteHook = Arc<dyn Fn(Write) -> BoxFuture<'static, ()> + Send + Sync>;

/// How a user is cut off from the API server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cut {
    /// Not at all.
    #[default]
    Healed,
    /// Its connections are closed, and new ones are closed at once.
    Refused,
    /// Its connections stay open and nothing passes, as when packets are lost.
    BlackHole,
}

/// What the tasks of a proxy share.
pub(crate) struct Shared {
    pub(crate) upstream: Client,
    pub(crate) plan: Mutex<Arc<FaultPlan<ApiFault>>>,
    pub(crate) hook: Mutex<Option<WriteHook>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    pub(crate) counts: Mutex<BTreeMap<(String, String), u64>>,
    pub(crate) changed: watch::Sender<usize>,
    pub(crate) lists: Lists,
}

struct User {
    kubeconfig: PathBuf,
    cut: watch::Sender<Cut>,
}

/// A proxy before an API server. It stops when it is dropped.
pub struct ApiProxy {
    shared: Arc<Shared>,
    users: Mutex<BTreeMap<String, User>>,
    server_kubeconfig: Box<dyn Fn(&str) -> PathBuf + Send + Sync>,
    dir: TempDir,
    stop: CancellationToken,
    _stopped: DropGuard,
}

impl ApiProxy {
    /// A proxy before this server. Errors when the server's certificate cannot be read.
    pub fn start(server: &ApiServer) -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix("okra-api-proxy-").context("failed to make a temporary folder")?;
        let shared = Arc::new(Shared {
            upstream: upstream(server)?,
            plan: Mutex::default(),
            hook: Mutex::default(),
            seen: Mutex::default(),
            counts: Mutex::default(),
            changed: watch::Sender::new(0),
            lists: Lists::default(),
        });
        let stop = CancellationToken::new();
        let folder = server.dir().to_owned();
        let server_kubeconfig = Box::new(move |user: &str| folder.join(format!("{user}.kubeconfig")));
        let stopped = stop.clone().drop_guard();
        Ok(Self { shared, users: Mutex::default(), server_kubeconfig, dir, stop, _stopped: stopped })
    }

    /// The kubeconfig by which a user of the server comes through here (mode 0600); its port is opened by the first
    /// call. Errors when the server has no such user.
    pub fn kubeconfig(&self, user: &str) -> anyhow::Result<PathBuf> {
        let mut users = self.users.lock();
        if let Some(user) = users.get(user) {
            return Ok(user.kubeconfig.clone());
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("failed to bind the API proxy")?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let kubeconfig = self.write_kubeconfig(user, &format!("http://{address}"))?;
        let cut = watch::Sender::new(Cut::Healed);
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::spawn(listen::listen(listener, self.shared.clone(), user.into(), cut.subscribe(), self.stop.clone()));
        users.insert(user.to_owned(), User { kubeconfig: kubeconfig.clone(), cut });
        Ok(kubeconfig)
    }

    fn write_kubeconfig(&self, user: &str, url: &str) -> anyhow::Result<PathBuf> {
        let original = (self.server_kubeconfig)(user);
        let text = std::fs::read(&original).with_context(|| format!("failed to read the kubeconfig of {user}"))?;
        let mut config: Value = serde_json::from_slice(&text).context("failed to parse the kubeconfig")?;
        let cluster = config.pointer_mut("/clusters/0/cluster").context("failed to find the kubeconfig's cluster")?;
        *cluster = json!({"server": url});
        let path = self.dir.path().join(format!("{user}.kubeconfig"));
        let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
        file.write_all(config.to_string().as_bytes())?;
        Ok(path)
    }

    /// A new client of a user that comes through here, without retries, bound to the runtime that calls.
    pub fn client(&self, user: &str) -> anyhow::Result<Client> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig(user)?).context("failed to read the kubeconfig")?;
        let mut config = Config::try_from(kubeconfig).context("failed to load the kubeconfig")?;
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(10));
        Client::try_from(config).context("failed to make a client")
    }

    /// From now on this plan holds; its counts begin at zero.
    pub fn set_plan(&self, plan: FaultPlan<ApiFault>) {
        *self.shared.plan.lock() = Arc::new(plan);
    }

    /// The plan that holds, with what struck.
    pub fn plan(&self) -> Arc<FaultPlan<ApiFault>> {
        self.shared.plan.lock().clone()
    }

    /// From now on this is called for every write; writes are counted from zero again.
    pub fn on_write(&self, hook: WriteHook) {
        let mut counts = self.shared.counts.lock();
        counts.clear();
        *self.shared.hook.lock() = Some(hook);
    }

    /// Every request so far, in the order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().clone()
    }

    /// Waits until something holds of the requests; an error with the last of them once `within` has passed.
    pub async fn wait_for(&self, within: Duration, holds: impl Fn(&[Seen]) -> bool) -> anyhow::Result<()> {
        let mut changed = self.shared.changed.subscribe();
        let waiting = changed.wait_for(|_| holds(&self.shared.seen.lock()));
        match tokio::time::timeout(within, waiting).await {
            Ok(_) => Ok(()),
            Err(_) => {
                anyhow::bail!("the awaited did not happen within {within:?}; the last requests:\n{}", self.tail())
            }
        }
    }

    /// The last requests, one line each, for the reader of a failure.
    pub fn tail(&self) -> String {
        let seen = self.shared.seen.lock();
        let lines = seen.iter().rev().take(40).map(|seen| format!("{seen:?}"));
        let lines: Vec<String> = lines.collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Takes every list that was asked for so far anew, for [`ApiFault::StaleList`] to answer with later. Errors when
    /// the server does not answer.
    pub async fn remember_lists(&self) -> anyhow::Result<()> {
        self.shared.lists.refresh(&self.shared.upstream).await
    }

    /// Cuts a user off, or heals that; false when nobody comes by that name.
    pub fn cut(&self, user: &str, cut: Cut) -> bool {
        self.users.lock().get(user).is_some_and(|user| {
            user.cut.send_replace(cut);
            true
        })
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.plan().tell_if_panicking("the API proxy");
    }
}

/// A client that adds nothing to what it is given: the callers' credentials are in their requests.
fn upstream(server: &ApiServer) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(server.kubeconfig("admin")).context("failed to read the kubeconfig")?;
    let mut config = Config::try_from(kubeconfig).context("failed to load the kubeconfig")?;
    config.auth_info = AuthInfo::default();
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(10));
    Client::try_from(config).context("failed to make a client of the API server")
}
