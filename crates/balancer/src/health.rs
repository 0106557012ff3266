//! Active health checks.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::table::HealthCheck;
use crate::upstream::Backend;

/// A running series of checks; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Checker(AbortHandle);

impl Drop for Checker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Checker {
    pub(crate) fn start(runtime: &Handle, group: String, backend: Arc<Backend>, check: HealthCheck) -> Self {
        Self(runtime.spawn(run(group, backend, check)).abort_handle())
    }
}

async fn run(group: String, backend: Arc<Backend>, check: HealthCheck) {
    let mut tally = Tally::default();
    loop {
        let result = match tokio::time::timeout(check.timeout, ask(&backend.address, &check.path)).await {
            Ok(result) => result,
            Err(_) => Err(CheckError::Timeout),
        };
        if let Some(healthy) = tally.count(result.is_ok(), &check)
            && backend.set_healthy(healthy)
        {
            let reason = result.err().map(|error| error.to_string());
            tracing::info!(group, target = backend.address, healthy, reason, "target health changed");
        }
        tokio::time::sleep(check.interval).await;
    }
}

/// Results of the same kind in a row.
#[derive(Debug, Default)]
struct Tally {
    successes: u32,
    failures: u32,
}

impl Tally {
    /// The verdict, once a threshold is reached.
    fn count(&mut self, success: bool, check: &HealthCheck) -> Option<bool> {
        if success {
            (self.successes, self.failures) = (self.successes.saturating_add(1), 0);
            (self.successes >= check.healthy_threshold).then_some(true)
        } else {
            (self.successes, self.failures) = (0, self.failures.saturating_add(1));
            (self.failures >= check.unhealthy_threshold).then_some(false)
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("the check timed out")]
    Timeout,
    #[error("the target answered {0}")]
    Status(StatusCode),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error(transparent)]
    Request(#[from] http::Error),
}

/// A connection of its own each time: a target that accepts none must not look healthy through an old one.
async fn ask(address: &str, path: &str) -> Result<(), CheckError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(header::HOST, address)
        .header(header::USER_AGENT, "okra-balancer-health-check")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = async move { sender.send_request(request).await };
    tokio::pin!(answer);
    // Driven here rather than in a task, so that a check that is given up leaves nothing behind.
    let response = tokio::select! {
        biased;
        response = &mut answer => response?,
        // The connection may end together with the answer, so the answer has the last word.
        _ = driver => answer.await?,
    };
    let status = response.status();
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(CheckError::Status(status)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_results_in_a_row() {
        let check = HealthCheck { healthy_threshold: 2, unhealthy_threshold: 3, ..Default::default() };
        let mut tally = Tally::default();
        let results = [true, false, true, true, false, false, true, false, false, false];
        let verdicts = results.map(|success| tally.count(success, &check));
        let expected = [None, None, None, Some(true), None, None, None, None, None, Some(false)];
        assert_eq!(verdicts, expected);
    }
}
