//! Where objects are kept: the Kubernetes API, or a directory of manifests.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod directory;
pub mod kubernetes;

pub use directory::{DirectoryBackend, DirectoryLeadership, DirectoryOptions, Fault, ManifestRules, Problem};
pub use kubernetes::{KubernetesBackend, KubernetesClusters, KubernetesEvents};
