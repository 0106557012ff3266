//! Starts moto, the AWS emulator that stands behind the strict front.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::ports::free_port;
use crate::process::{POLL, Process, Spec};

/// The version that the rig is built for; the cache folder is named after it.
const VERSION: &str = "5.2.5";

/// Python on a loaded machine may take long to import everything.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// A running moto server. It is killed when this is dropped, and when the test process dies.
pub struct Moto {
    endpoint: String,
    process: Process,
    _folder: TempDir,
}

static SHARED: OnceCell<Moto> = OnceCell::const_new();

/// The one moto of this test binary, started by the first test that asks: starting one costs seconds. Fronts keep
/// apart by an account each. Errors when `moto_server` is missing or does not start.
pub async fn shared_moto() -> anyhow::Result<&'static Moto> {
    SHARED.get_or_try_init(Moto::start).await
}

impl Moto {
    /// Starts `moto_server` on a free port of 127.0.0.1 and waits until it answers.
    pub async fn start() -> anyhow::Result<Self> {
        let program = find()?;
        let folder =
            tempfile::Builder::new().prefix("okra-moto").tempdir().context("failed to create moto's folder")?;
        let port = free_port();
        let process = Spec::new("moto_server", program, folder.path().join("moto.log"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .dir(folder.path())
            .remove_after_death(folder.path())
            .start()?;
        let mut moto = Self { endpoint: format!("http://127.0.0.1:{port}"), process, _folder: folder };
        moto.ready().await?;
        Ok(moto)
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
        let url = format!("{}/moto-api/data.json", self.endpoint);
        let deadline = tokio::time::Instant::now() + START_TIMEOUT;
        while tokio::time::Instant::now() < deadline {
            if let Some(code) = self.process.exit_code() {
                bail!("moto_server ended with code {code} before it answered: {}", self.process.log_tail());
            }
            if http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("moto_server did not answer within {START_TIMEOUT:?}: {}", self.process.log_tail())
    }

    /// Its URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

fn find() -> anyhow::Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = variable("OKRA_CACHE").map(PathBuf::from).or_else(|| {
        let base = variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
        Some(base.join("okra"))
    });
    find_in(variable("OKRA_MOTO").map(PathBuf::from), cache, &variable("PATH").unwrap_or_default())
}

/// Finds `moto_server`: the one that was named, then the cache that `make moto` fills, then the PATH.
fn find_in(named: Option<PathBuf>, cache: Option<PathBuf>, path: &OsStr) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        anyhow::ensure!(named.is_file(), "OKRA_MOTO names {}, which is not a file", named.display());
        return Ok(named);
    }
    let cached = cache.map(|cache| cache.join(format!("moto-{VERSION}")).join("bin").join("moto_server"));
    let on_path = std::env::split_paths(path).map(|folder| folder.join("moto_server"));
    cached.into_iter().chain(on_path).find(|candidate| candidate.is_file()).with_context(|| {
        format!(
            "failed to find moto_server in OKRA_MOTO, in OKRA_CACHE or on the PATH: \
             run `make moto`, or `pip install 'moto[server,elbv2]=={VERSION}'`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_one_goes_before_the_cache_and_the_cache_before_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join(format!("moto-{VERSION}")).join("bin");
        let path = folder.path().join("path");
        let named = folder.path().join("named");
        for dir in [&bin, &path] {
            std::fs::create_dir_all(dir).unwrap();
            std::fs::write(dir.join("moto_server"), "").unwrap();
        }
        std::fs::write(&named, "").unwrap();
        let cache = Some(folder.path().to_owned());
        assert_eq!(find_in(Some(named.clone()), cache.clone(), path.as_os_str()).unwrap(), named);
        assert_eq!(find_in(None, cache, path.as_os_str()).unwrap(), bin.join("moto_server"));
        assert_eq!(find_in(None, None, path.as_os_str()).unwrap(), path.join("moto_server"));
        let missing = find_in(None, None, folder.path().as_os_str()).unwrap_err().to_string();
        assert!(missing.contains("make moto"), "{missing}");
        let wrong = find_in(Some(folder.path().join("none")), None, path.as_os_str()).unwrap_err().to_string();
        assert!(wrong.contains("OKRA_MOTO names"), "{wrong}");
    }
}
