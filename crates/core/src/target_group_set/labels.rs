//! Which labels of a binding or a cluster Secret an AWSTargetGroup gets.

use okra_api::names::VERSION_LABEL;

/// Domains whose labels somebody acts on: a copy would make the object theirs, or one of their bookkeeping.
const ACTED_ON: [&str; 17] = [
    "argoproj.io",
    "cattle.io",
    "coreos.com",
    "crossplane.io",
    "fluxcd.io",
    "google.com",
    "helm.sh",
    "k14s.io",
    "k8s.aws",
    "k8s.io",
    "karmada.io",
    "kpt.dev",
    "kubernetes.io",
    "mumo.co",
    "open-cluster-management.io",
    "openshift.io",
    "velero.io",
];

/// Recommended labels of Kubernetes that only describe. `instance` is not among them: Argo CD prunes by it.
const DESCRIBES: [&str; 4] =
    ["app.kubernetes.io/name", "app.kubernetes.io/component", "app.kubernetes.io/part-of", "app.kubernetes.io/version"];

/// Whether a label may stand on another object too. The version is looked for in more places, and is not among them.
pub(super) fn may_be_copied(key: &str) -> bool {
    if key == VERSION_LABEL || DESCRIBES.contains(&key) {
        return key != VERSION_LABEL;
    }
    let Some((domain, _)) = key.split_once('/') else { return true };
    let is_within = |of: &str| domain.strip_suffix(of).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    !ACTED_ON.iter().any(|of| is_within(of))
}
