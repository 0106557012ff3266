//! The objects of Okra: kinds, conditions, reasons, labels, annotations. No IO.
//!
//! Every type here is part of Okra's public interface: what a manifest may say, and what a status
//! says back. Field docs are user docs, they become the descriptions in the CRDs.

pub mod alb;
pub mod analysis;
pub mod argo_application;
pub mod cell;
pub mod cell_status;
pub mod cluster_set;
pub mod condition;
mod crds;
pub mod duration;
pub mod names;
pub mod pause;
pub mod request;
pub mod route;
pub mod selector;
pub mod step;
pub mod target_group;
pub mod target_group_binding;
pub mod target_group_set;
pub mod version_blocklist;

pub use alb::{AWSApplicationLoadBalancerConfig, AWSApplicationLoadBalancerConfigSpec};
pub use analysis::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate, Experiment, RunPhase, argo_crds};
pub use argo_application::{Application, ApplicationSpec, ApplicationStatus};
pub use cell::{Cell, CellSpec};
pub use cell_status::CellStatus;
pub use cluster_set::{ClusterSet, ClusterSetSpec, ClusterSetStatus};
pub use crds::crds;
pub use duration::GoDuration;
pub use pause::{Pause, PausePhase, PauseSpec, PauseStatus};
pub use request::{Request, Verb};
pub use route::{Route, RouteOutcome, RouteSpec, RouteStatus};
pub use selector::TargetGroupSelector;
pub use target_group::{AWSTargetGroup, AWSTargetGroupSpec, TargetGroup, TargetGroupSpec};
pub use target_group_binding::{TargetGroupBinding, TargetGroupBindingSpec};
pub use target_group_set::{AWSTargetGroupSet, AWSTargetGroupSetSpec, AWSTargetGroupSetStatus};
pub use version_blocklist::{BlockedVersion, VersionBlocklist, VersionBlocklistSpec};
