//! The manifests of the demo, as a user would write them.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use super::cluster::Cluster;

/// Name of the demo's Cell.
pub(super) const CELL: &str = "web";

/// Namespace of everything: none is written into the files.
pub(super) const NAMESPACE: &str = "default";

/// The Cell: 20 %, a pause, 50 %, a pause, then all.
pub(super) fn cell(listen: SocketAddr, pause: Duration) -> String {
    let millis = pause.as_millis();
    let pause = if millis.is_multiple_of(1000) { format!("{}s", millis / 1000) } else { format!("{millis}ms") };
    format!(
        "\
# One address, and the versions of clusters behind it.
apiVersion: okra.mumo.co/v1alpha1
kind: Cell
metadata:
  name: {CELL}
spec:
  replicas: 2
  ingress:
    type: Local
    local:
      listen: {listen}
      targetGroupSelector:
        matchLabels:
          role: web
  updateStrategy:
    canary:
      steps:
      - setWeight: 20
      - pause: {{duration: {pause}}}
      - setWeight: 50
      - pause: {{duration: {pause}}}
"
    )
}

/// The target groups of clusters of one version, in one file.
pub(super) fn target_groups(clusters: &[Cluster]) -> String {
    let mut text = String::new();
    for cluster in clusters {
        let separator = if text.is_empty() { "" } else { "---\n" };
        let (name, url, number) = (&cluster.name, cluster.url(), cluster.version.trim_start_matches('v'));
        let _written = write!(
            text,
            "\
{separator}apiVersion: okra.mumo.co/v1alpha1
kind: TargetGroup
metadata:
  name: {name}
  labels:
    role: web
    okra.mumo.co/version: {number}.0.0
spec:
  endpoint:
    url: {url}
    healthPath: /healthz
"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_reads_as_a_person_would_write_it() {
        let listen = "127.0.0.1:8000".parse().unwrap();
        for (pause, text) in [(3000, "{duration: 3s}"), (1500, "{duration: 1500ms}"), (10_000, "{duration: 10s}")] {
            let cell = cell(listen, Duration::from_millis(pause));
            assert!(cell.contains(text), "{cell}");
        }
    }
}
