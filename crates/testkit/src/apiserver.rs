//! Real Kubernetes API servers, each with its own etcd, on free ports of 127.0.0.1 and in a temporary folder.

mod audit;
mod crds;
mod launch;
mod users;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::Kubeconfig;
use kube::{Client, Config};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::time::Instant;

pub use self::audit::AuditEvent;
pub use self::launch::program;
use self::users::User;
use crate::ports::free_port;
use crate::process::{POLL, Process, must};

/// How long a server may take until it is ready: two seconds alone, much more when five start on two loaded cores.
const START_DEADLINE: Duration = Duration::from_mins(1);

/// How long one look at `/readyz` may take.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Options {
    users: Vec<User>,
    bodies: bool,
    args: Vec<String>,
}

impl Default for Options {
    /// The users `admin`, `test`, `okrad`, `okrad-2`, `okrad-3`, `okra` and `okractl` in the group `system:masters`,
    /// and `limited-1` to `limited-3` in no group, for tests that bind roles. The audit log is at level Metadata.
    fn default() -> Self {
        Self { users: users::fixed(), bodies: false, args: Vec::new() }
    }
}

impl Options {
    /// Adds a user, or gives a fixed one other groups.
    #[must_use]
    pub fn user(mut self, name: &str, groups: &[&str]) -> Self {
        self.users.retain(|user| user.name != name);
        self.users.push(User::new(name, groups));
        self
    }

    /// Keeps the objects of requests and responses in the audit log (level RequestResponse).
    #[must_use]
    pub fn audit_bodies(mut self) -> Self {
        self.bodies = true;
        self
    }

    /// Adds an argument of kube-apiserver.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }
}

/// A running kube-apiserver and its etcd. Both are killed and their folder is removed when this is dropped, and when
/// the test process dies in any other way. The folder, with the logs, stays when `OKRA_TESTKIT_KEEP` is set.
///
/// Everything here panics when it fails, with the tail of the logs: a test that has no API server is over.
#[derive(Debug)]
pub struct ApiServer {
    // Declared before the folder: fields are dropped in this order, and the programs write into the folder.
    processes: Mutex<Processes>,
    options: Options,
    ports: Ports,
    programs: Programs,
    dir: TempDir,
}

#[derive(Debug, Default)]
struct Processes {
    api: Option<Process>,
    etcd: Option<Process>,
    controller_manager: Option<Process>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    etcd: u16,
    peer: u16,
    api: u16,
}

#[derive(Clone, Debug)]
struct Programs {
    etcd: PathBuf,
    api: PathBuf,
}

static SHARED: OnceCell<ApiServer> = OnceCell::const_new();

/// The one server of this test binary, started by the first test that asks. Tests keep apart by a namespace each
/// ([`ApiServer::namespace`]); a test that stops or breaks its server starts its own. Clients are bound to the
/// runtime that made them, so each test asks for its own by [`ApiServer::client`].
pub async fn shared_api_server() -> &'static ApiServer {
    SHARED.get_or_init(ApiServer::start).await
}

impl ApiServer {
    /// Starts a server with the fixed users and waits until it is ready.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// Starts a server and waits until it is ready.
    pub async fn start_with(options: Options) -> Self {
        must(Self::try_start(options).await)
    }

    /// Starts a server and waits until it is ready. Errors, with the tails of the logs, when a program is missing and
    /// cannot be built, ends at once, or is not ready within 60 seconds.
    pub async fn try_start(options: Options) -> Result<Self> {
        let programs = Programs { etcd: program("etcd").await?, api: program("kube-apiserver").await? };
        let mut dir = TempDir::with_prefix("okra-apiserver-").context("failed to make a temporary folder")?;
        dir.disable_cleanup(launch::keep());
        let ports = Ports { etcd: free_port(), peer: free_port(), api: free_port() };
        launch::write_policy(dir.path(), options.bodies)?;
        users::write_tokens(dir.path(), &options.users)?;
        let server = Self { processes: Mutex::default(), options, ports, programs, dir };
        server.launch_etcd()?;
        server.launch_api()?;
        let started = Instant::now();
        server.wait_for_certificate(started).await?;
        users::write_kubeconfigs(server.dir(), &server.url(), &server.options.users)?;
        server.wait_until_ready(started).await?;
        Ok(server)
    }

    /// The address: `https://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api)
    }

    /// The temporary folder with the logs (`etcd.log`, `kube-apiserver.log`, `audit.log`), kubeconfigs and data.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The certificate that clients trust.
    pub fn ca_file(&self) -> PathBuf {
        self.dir().join("certs/apiserver.crt")
    }

    /// The kubeconfig of one of the users this server was started with (mode 0600).
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        must(self.try_kubeconfig(user))
    }

    /// A new client of one of the users this server was started with, bound to the runtime that calls.
    pub fn client(&self, user: &str) -> Client {
        must(self.try_client(user))
    }

    fn try_kubeconfig(&self, user: &str) -> Result<PathBuf> {
        if !self.options.users.iter().any(|known| known.name == user) {
            let known: Vec<&str> = self.options.users.iter().map(|user| user.name.as_str()).collect();
            bail!("the API server has no user {user:?}, only {}; add it by Options::user", known.join(", "));
        }
        Ok(users::kubeconfig_path(self.dir(), user))
    }

    fn try_client(&self, user: &str) -> Result<Client> {
        let path = self.try_kubeconfig(user)?;
        let kubeconfig = Kubeconfig::read_from(&path).context("failed to read the kubeconfig")?;
        let mut config = Config::try_from(kubeconfig).context("failed to load the kubeconfig")?;
        config.connect_timeout = Some(Duration::from_secs(10));
        Client::try_from(config).context("failed to make a client")
    }

    /// Creates a namespace whose name begins with `prefix` and that no other test has.
    pub async fn namespace(&self, prefix: &str) -> String {
        must(self.try_namespace(prefix).await)
    }

    async fn try_namespace(&self, prefix: &str) -> Result<String> {
        let api: Api<Namespace> = Api::all(self.client("admin"));
        let metadata = ObjectMeta { generate_name: Some(format!("{prefix}-")), ..ObjectMeta::default() };
        let wanted = Namespace { metadata, ..Namespace::default() };
        let made = api.create(&PostParams::default(), &wanted).await.context("failed to create a namespace")?;
        made.metadata.name.context("the API server made a namespace without a name")
    }

    /// Applies every document of the `.yaml` and `.yml` files of a folder, all CustomResourceDefinitions, and waits
    /// until they are established and served.
    pub async fn apply_crds(&self, dir: impl AsRef<Path>) {
        must(crds::apply(self.client("admin"), dir.as_ref()).await);
    }

    /// Every audited request so far, oldest first. A request is audited a moment after its answer was sent: wait for
    /// it by [`ApiServer::wait_for_audit`].
    pub fn audit(&self) -> Vec<AuditEvent> {
        must(audit::read(&self.dir().join("audit.log"), None))
    }

    /// The same without what is about other namespaces than these: of a server with many tests a small part.
    pub fn audit_of(&self, namespaces: &[String]) -> Vec<AuditEvent> {
        must(audit::read(&self.dir().join("audit.log"), Some(namespaces)))
    }

    /// Waits up to 10 seconds until the audited requests satisfy `condition`, and gives them.
    pub async fn wait_for_audit(&self, what: &str, condition: impl Fn(&[AuditEvent]) -> bool) -> Vec<AuditEvent> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let events = self.audit();
            if condition(&events) {
                return events;
            }
            if Instant::now() >= deadline {
                must::<()>(Err(anyhow::anyhow!("the audit log does not show {what} after 10 seconds")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The process ids of what runs: etcd, kube-apiserver and, when started, kube-controller-manager.
    pub fn pids(&self) -> Vec<u32> {
        let processes = self.processes.lock();
        [&processes.etcd, &processes.api, &processes.controller_manager]
            .into_iter()
            .flatten()
            .map(Process::pid)
            .collect()
    }

    /// Kills kube-apiserver. Requests are refused until [`ApiServer::start_api`].
    pub async fn stop_api(&self) {
        let api = self.processes.lock().api.take();
        stop(api).await;
    }

    /// Starts kube-apiserver again, on the same port and data, and waits until it is ready; etcd must be running.
    pub async fn start_api(&self) {
        must(self.launch_api());
        must(self.wait_until_ready(Instant::now()).await);
    }

    /// Kills etcd; kube-apiserver stays and answers with errors.
    pub async fn stop_etcd(&self) {
        let etcd = self.processes.lock().etcd.take();
        stop(etcd).await;
    }

    /// Starts etcd again on the same port and data and, when kube-apiserver is running, waits until that is ready.
    pub async fn start_etcd(&self) {
        must(self.launch_etcd());
        if self.processes.lock().api.is_some() {
            must(self.wait_until_ready(Instant::now()).await);
        }
    }

    /// Sends a signal (`STOP`, `CONT`, `TERM`) to kube-apiserver, for tests of a server that hangs.
    pub fn signal_api(&self, name: &str) {
        match self.processes.lock().api.as_mut() {
            Some(api) => must(api.signal(name)),
            None => must(Err(anyhow::anyhow!("kube-apiserver is stopped"))),
        }
    }

    /// Starts kube-controller-manager with only the named controllers, where a test needs owner references to act
    /// (`garbage-collector-controller`), namespaces to go (`namespace-controller`), Jobs or Deployments.
    pub async fn start_controller_manager(&self, controllers: &[&str]) {
        must(self.launch_controller_manager(controllers).await);
    }

    async fn wait_for_certificate(&self, started: Instant) -> Result<()> {
        // It is written before the server listens, in one go; the key comes after it.
        let key = self.dir().join("certs/apiserver.key");
        while !(self.ca_file().exists() && key.exists()) {
            self.check_alive()?;
            self.check_deadline(started, "has not written its certificate")?;
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn wait_until_ready(&self, started: Instant) -> Result<()> {
        let client = self.try_client("admin")?;
        while !is_ready(&client).await {
            self.check_alive()?;
            self.check_deadline(started, "is not ready")?;
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Errors when one of the programs that should be running has ended.
    fn check_alive(&self) -> Result<()> {
        let mut processes = self.processes.lock();
        let Processes { api, etcd, .. } = &mut *processes;
        for process in [etcd, api].into_iter().flatten() {
            if let Some(code) = process.exit_code() {
                bail!("{} ended with code {code}; end of its log:\n{}", process.name(), process.log_tail());
            }
        }
        Ok(())
    }

    fn check_deadline(&self, started: Instant, what: &str) -> Result<()> {
        if started.elapsed() < START_DEADLINE {
            return Ok(());
        }
        let processes = self.processes.lock();
        let tail =
            |process: &Option<Process>| process.as_ref().map_or_else(|| "(stopped)".to_owned(), Process::log_tail);
        bail!(
            "kube-apiserver {what} after {START_DEADLINE:?}; end of its log:\n{}\nend of etcd's log:\n{}",
            tail(&processes.api),
            tail(&processes.etcd)
        )
    }
}

/// A second program on the same port and data would only end at once and confuse the reader.
fn must_be_stopped(process: &mut Option<Process>) -> Result<()> {
    if let Some(process) = process
        && process.is_running()
    {
        bail!("{} is running already", process.name());
    }
    Ok(())
}

/// Kills on a thread that may block, so that other tasks of the test go on.
async fn stop(process: Option<Process>) {
    if let Err(error) = tokio::task::spawn_blocking(move || drop(process)).await {
        must::<()>(Err(anyhow::Error::new(error).context("failed to stop a process")));
    }
}

/// Ready to work with: `/readyz` answers, and the namespaces that the server makes a moment later are there.
async fn is_ready(client: &Client) -> bool {
    let look = async {
        let request = http::Request::get("/readyz").body(Vec::new())?;
        anyhow::ensure!(client.request_text(request).await? == "ok", "not ready");
        let namespaces: Api<Namespace> = Api::all(client.clone());
        for name in ["default", "kube-system"] {
            namespaces.get(name).await?;
        }
        Ok(())
    };
    matches!(tokio::time::timeout(READY_TIMEOUT, look).await, Ok(Ok(())))
}
