//! Every provider against a server that looks at the exact request, and against servers that mean no good.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests; clippy.toml spares only the test functions themselves"
)]

mod cloud_watch;
mod datadog;
mod egress;
mod hostile;
mod job;
mod json_path;
mod others;
mod prometheus;
mod rig;
mod web;
