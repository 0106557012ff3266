//! The controllers: observe, validate, plan, check, apply, status.
//!
//! A reconcile is a function of (ports, key). The queue that calls it is [`runtime`]; the simulator
//! replaces just that piece.

pub mod analysis_run;
mod argo;
pub mod cell;
pub mod cluster_set;
pub mod experiment;
pub mod malformed;
pub mod pause;
pub mod reconciler;
pub mod route;
pub mod runtime;
pub mod target_group_set;
pub mod version_blocklist;

pub use analysis_run::{AnalysisRunContext, AnalysisRunController};
pub use cell::{CellContext, CellController};
pub use cluster_set::{ClusterSetContext, ClusterSetController};
pub use experiment::{ExperimentContext, ExperimentController};
pub use pause::PauseController;
pub use reconciler::{Changed, Next, ReconcileError, Reconciler};
pub use route::{RouteContext, RouteController};
pub use target_group_set::{TargetGroupSetContext, TargetGroupSetController};
pub use version_blocklist::VersionBlocklistController;
