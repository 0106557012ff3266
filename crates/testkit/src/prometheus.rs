//! Starts a real Prometheus.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::{
    ports::free_port,
    process::{POLL, Process, Spec, tool},
};

/// It starts in a second; on a loaded machine it may take longer.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// A running Prometheus. It is killed when this is dropped, and when the test process dies.
pub struct Prometheus {
    url: String,
    process: Process,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts it on a free port of 127.0.0.1, scraping these addresses every second, and waits until it is ready.
    pub async fn start(targets: &[SocketAddr]) -> anyhow::Result<Self> {
        let program = tool("prometheus.sh", &[]).await?;
        let folder = tempfile::Builder::new().prefix("okra-prometheus").tempdir()?;
        let config = folder.path().join("prometheus.yml");
        let targets: Vec<String> = targets.iter().map(|target| format!("'{target}'")).collect();
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: balancer\n  \
             static_configs:\n  - targets: [{}]\n",
            targets.join(", ")
        );
        std::fs::write(&config, text).context("failed to write Prometheus's configuration")?;
        let address = format!("127.0.0.1:{}", free_port());
        let process = Spec::new("prometheus", program, folder.path().join("prometheus.log"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg("--log.level=warn")
            .arg(format!("--web.listen-address={address}"))
            .dir(folder.path())
            .remove_after_death(folder.path())
            .start()?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
        let mut prometheus = Self { url: format!("http://{address}"), process, http, _folder: folder };
        prometheus.ready().await?;
        Ok(prometheus)
    }

    /// Its URL, without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let url = format!("{}/-/ready", self.url);
        let deadline = tokio::time::Instant::now() + START_TIMEOUT;
        while tokio::time::Instant::now() < deadline {
            if let Some(code) = self.process.exit_code() {
                bail!("prometheus ended with code {code} before it was ready: {}", self.process.log_tail());
            }
            if self.http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("prometheus was not ready within {START_TIMEOUT:?}: {}", self.process.log_tail())
    }
}
