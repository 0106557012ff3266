//! The simulator: whole rollouts of the real controllers on fakes, with a virtual clock and a seeded order. Never
//! shipped.
//!
//! A [`Story`] is made from a seed: Cells, target groups, what people and clouds do, what goes wrong. [`simulate`]
//! lets it happen: every call of a process waits until the seed lets it reach the server, and again until its answer
//! reaches the caller, so that a crash, a lost answer or another process falls between any two of them. Then faults and
//! inputs stop, it runs until nothing happens any more, and the whole record is judged. [`shrink`] takes everything
//! out of a story that its violation does not need.

pub mod mutants;
pub mod rng;
pub mod run;
pub mod shrink;
pub mod story;

mod api_server;
mod balancer;
mod driver;
mod end;
mod engine;
mod inputs;
#[path = "../../aws/src/limiter/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the limiter's own source without the SDK around it; not all of it is needed here"
)]
mod limiter;
mod ports;
mod process;
mod trace;
mod watch;
mod world;

pub use run::{Breach, Outcome, compare, simulate};
pub use shrink::shrink;
pub use story::{Story, generate};
