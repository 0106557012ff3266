//! The brain of Okra: it decides, from what was observed and what time it is. No IO, no clock, no randomness.
//!
//! [`cell`] decides where the traffic of a Cell should go; [`route`] decides what to say to the load
//! balancer so that it goes there; [`analysis`] decides what to measure and what it means. All are total functions over
//! plain data.

pub mod analysis;
pub mod cell;
pub mod cluster_set;
pub mod field;
mod naming;
mod ours;
mod placeholder;
pub mod planted;
pub mod route;
pub mod target_group_set;
pub mod version;
