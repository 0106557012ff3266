//! What the system asks of the process.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Two requests to stop: the first asks for a clean one.
#[derive(Clone, Debug, Default)]
pub struct StopSignals {
    /// Stop, cleanly: what is under way is finished.
    pub stop: CancellationToken,
    /// Stop now.
    pub abort: CancellationToken,
}

/// Listens for SIGTERM and SIGINT from now on. Fails when the system refuses.
pub fn listen() -> std::io::Result<StopSignals> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let signals = StopSignals::default();
    let told = signals.clone();
    tokio::spawn(async move {
        for token in [told.stop, told.abort] {
            let name = tokio::select! {
                biased;
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "Asked to stop");
            token.cancel();
        }
    });
    Ok(signals)
}
