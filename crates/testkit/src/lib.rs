//! The test rig: real API servers, moto, a strict AWS in front of it, and a data path. Never shipped.

pub mod api_proxy;
pub mod apiserver;
pub mod cluster;
pub mod data_path;
pub mod eks_token;
pub mod fault_plan;
pub mod front;
pub mod load;
pub mod metric_server;
pub mod moto;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod scene;
pub mod stub;
pub mod workload;

pub use apiserver::{ApiServer, AuditEvent, shared_api_server};
pub use metric_server::MetricServer;
