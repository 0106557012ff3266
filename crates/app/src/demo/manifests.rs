//! The manifests of the demo, as a user would write them.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use super::cluster::Cluster;

/// Name of the demo's Cell.
pub(super) const CELL: &str = "web";

/// Namespace of everything: none is written into the files.
pub(super) const NAMESPACE: &str = "default";

/// Path of the health checks.
pub(super) const HEALTH_PATH: &str = "/healthz";

/// So many requests have to be counted before a version is judged.
pub(super) const ENOUGH: u64 = 20;

/// The part of the requests that has to succeed.
pub(super) const GOOD: f64 = 0.95;

/// What judges a version: the part of its requests that the balancer saw succeed.
pub(super) fn analysis_template(counters: SocketAddr) -> String {
    format!(
        "\
# How a new version is judged, once a second: Argo Rollouts' own kind, unmodified.
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata:
  name: success-rate
spec:
  args:
  - name: version
  metrics:
  - name: success-rate
    interval: 1s
    successCondition: result.requests >= {ENOUGH} && result.successRate >= {GOOD}
    failureCondition: result.requests >= {ENOUGH} && result.successRate < {GOOD}
    # Fewer requests say nothing: neither condition holds, and it is measured again.
    inconclusiveLimit: 30
    provider:
      web:
        url: http://{counters}/versions/{{{{args.version}}}}
"
    )
}

/// The Cell: 20 %, a pause, 50 %, a pause, then all, and an analysis beside all that.
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
      analysis:
        startingStep: 1
        templates:
        - templateName: success-rate
        args:
        - name: version
          valueFrom:
            fieldRef:
              fieldPath: status.desiredVersion
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
        let (name, url, version) = (&cluster.name, cluster.url(), cluster.label());
        let _written = write!(
            text,
            "\
{separator}apiVersion: okra.mumo.co/v1alpha1
kind: TargetGroup
metadata:
  name: {name}
  labels:
    role: web
    okra.mumo.co/version: {version}
spec:
  endpoint:
    url: {url}
    healthPath: {HEALTH_PATH}
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
