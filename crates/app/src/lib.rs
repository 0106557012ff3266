//! Where the adapters meet: wiring, flags, admin server, telemetry, shutdown.

pub mod admin;
pub mod analysis;
pub mod analyze;
mod cell_metrics;
pub mod clock;
pub mod clusters;
pub mod controllers;
pub mod decision_log;
pub mod demo;
pub mod dry_run;
pub mod eks;
pub mod events;
pub mod installation;
pub mod leading;
pub mod lease;
pub mod metered;
pub mod metric_profiles;
pub mod metrics;
pub mod okrad;
pub mod oneshot;
pub mod platform;
pub mod queues;
pub mod routers;
pub mod signals;
pub mod telemetry;
