//! Tests of the plan: whole stories, run to their end against a small model of a load balancer.

mod analysis;
mod bounds;
mod bugs;
mod experiment;
mod properties;
mod readiness;
mod simulated;
mod stories;
mod world;
