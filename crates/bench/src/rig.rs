//! What a workload stands on: an API server, the stub, and okrads.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kube::Client;
use okra_testkit::{
    ApiServer,
    apiserver::Options,
    ports::free_port,
    process::{Process, Spec},
    scene::repository,
    stub::Stub,
};

/// How long an okrad may take until it is ready.
const READY_WITHIN: Duration = Duration::from_mins(2);

/// Whether okrad keeps calls under AWS's rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rates {
    /// It does.
    Aws,
    /// It calls as fast as it can.
    Off,
}

/// An API server of its own, a stub, and a folder for logs.
pub struct Rig {
    /// The API server.
    pub server: ApiServer,
    /// The load balancers.
    pub stub: Stub,
    /// A client with all rights; not okrad's user.
    pub client: Client,
    /// Where the Lease is.
    pub namespace: String,
    okrad: PathBuf,
    folder: PathBuf,
    starts: usize,
}

/// okrad as a process.
pub struct Okrad {
    /// The process.
    pub process: Process,
    /// From its start until it said that it is ready.
    pub ready_after: Duration,
}

impl Okrad {
    /// Asks it to stop and waits until it has.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.process.signal("TERM")?;
        let code = self.process.wait(Duration::from_mins(1)).await?;
        anyhow::ensure!(code == 0, "okrad ended with {code}: {}", self.process.log_tail());
        Ok(())
    }
}

impl Rig {
    /// Starts everything but okrad.
    pub async fn start(okrad: &Path) -> anyhow::Result<Self> {
        Self::start_on(okrad, Options::default()).await
    }

    /// The same with other options of the API server.
    pub async fn start_on(okrad: &Path, options: Options) -> anyhow::Result<Self> {
        let server = ApiServer::start_with(options).await;
        server.apply_crds(repository().join("config/crd")).await;
        let namespace = server.namespace("okra").await;
        let client = server.client("test");
        // Beside the API server's own logs, which stay when somebody wants to look at them.
        let folder = server.dir().to_owned();
        let stub = Stub::start().await?;
        Ok(Self { server, stub, client, namespace, okrad: okrad.to_owned(), folder, starts: 0 })
    }

    /// Starts an okrad as this user and waits until it is ready. Everything that is not said here is as its
    /// defaults are; settling takes no time, as the stub needs none.
    pub async fn okrad(&mut self, user: &str, rates: Rates, more: &[&str]) -> anyhow::Result<Okrad> {
        self.starts += 1;
        let (health, metrics) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
        let rates = if rates == Rates::Aws { "aws" } else { "off" };
        let log = self.folder.join(format!("{user}-{}.log", self.starts));
        let mut spec = Spec::new(user, &self.okrad, log)
            .args(["--health-addr", &health, "--metrics-addr", &metrics, "--installation-id", "bench"])
            .args(["--aws-rate-limits", rates, "--aws-settle", "0s"])
            .args(more)
            .arg("--kubeconfig")
            .arg(self.server.kubeconfig(user))
            .env("POD_NAMESPACE", &self.namespace)
            .env("POD_NAME", user)
            .env_remove("RUST_LOG");
        for (key, value) in self.stub.env(user) {
            spec = spec.env(key, value);
        }
        let started = Instant::now();
        let mut process = spec.start()?;
        until_ready(&mut process, &format!("http://{health}/readyz")).await?;
        Ok(Okrad { process, ready_after: started.elapsed() })
    }

    /// Waits until okrad has called nobody for a while.
    pub async fn quiet(&self, for_: Duration, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        let mut mark = self.stub.mark();
        let mut since = Instant::now();
        while since.elapsed() < for_ {
            anyhow::ensure!(Instant::now() < deadline, "the calls did not end within {within:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = self.stub.mark();
            if now != mark {
                (mark, since) = (now, Instant::now());
            }
        }
        Ok(())
    }
}

async fn until_ready(process: &mut Process, url: &str) -> anyhow::Result<()> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if http.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        anyhow::ensure!(process.is_running(), "okrad has ended: {}", process.log_tail());
        anyhow::ensure!(Instant::now() < deadline, "okrad is not ready: {}", process.log_tail());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
