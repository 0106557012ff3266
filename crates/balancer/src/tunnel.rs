//! Upgraded connections, such as WebSockets: bytes both ways until one side ends.

use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::balancer::Shared;
use crate::body::InFlight;
use crate::forward::Client;
use crate::io::ActiveRequest;

/// The time that both sides have to hand over their sockets once the target has said 101.
const HANDOVER_LIMIT: Duration = Duration::from_secs(10);

/// The two connections to be joined.
pub(crate) struct Ends {
    pub(crate) client_upgrade: OnUpgrade,
    pub(crate) target_upgrade: OnUpgrade,
}

/// Joins the two ends in a task of its own: no change of the table touches it, and a shutdown waits for it.
pub(crate) fn spawn(shared: &Arc<Shared>, client: &Client, ends: Ends, in_flight: InFlight, busy: ActiveRequest) {
    let open = in_flight.counters.active_upgrades.enter();
    let (closing, io, idle_timeout) = (shared.closing.clone(), Arc::clone(&client.io), shared.options.idle_timeout);
    shared.tasks.spawn_on(
        async move {
            let _held = (open, in_flight, busy);
            let ends = async { tokio::try_join!(ends.client_upgrade, ends.target_upgrade) };
            let (client, target) = match tokio::time::timeout(HANDOVER_LIMIT, ends).await {
                Ok(Ok(both)) => both,
                Ok(Err(error)) => return tracing::debug!(%error, "failed to upgrade connection"),
                Err(_) => return tracing::debug!("failed to upgrade connection: no handover in time"),
            };
            let (mut client, mut target) = (TokioIo::new(client), TokioIo::new(target));
            // All bytes of either direction pass the client's socket, so its silence is the tunnel's.
            tokio::select! {
                biased;
                () = closing.cancelled() => tracing::debug!("upgraded connection closed by shutdown"),
                result = tokio::io::copy_bidirectional(&mut client, &mut target) => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "upgraded connection ended");
                    }
                }
                () = io.moved.quiet(idle_timeout) => tracing::debug!("upgraded connection was idle too long"),
            }
        },
        &shared.runtime,
    );
}
