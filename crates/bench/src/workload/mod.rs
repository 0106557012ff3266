//! The workloads.

mod analysis;
mod calls;
mod discovery;
mod failover;
mod latency;
mod rest;
mod rollback;
mod wave;

use clap::ValueEnum;

use crate::{RunArgs, report::Report};

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Requests and calls of one rollout
    Calls,
    /// From a new target group to the first change of its rule
    Latency,
    /// From a request to abort to the change that sends all traffic back
    Rollback,
    /// Queries of metrics, and from a bad answer to the change that sends all traffic back
    Analysis,
    /// 300 clusters: from a binding to its target group, and what they cost at rest
    Discovery,
    /// From the end of one replica to the first change by the other
    Failover,
    /// Nothing happens: calls, processor time and memory
    Rest,
    /// 300 rollouts and 40 rollbacks under AWS's rates
    Wave,
}

impl Workload {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 8] = [
        Self::Calls,
        Self::Latency,
        Self::Rollback,
        Self::Analysis,
        Self::Discovery,
        Self::Failover,
        Self::Rest,
        Self::Wave,
    ];

    /// What `--only` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calls => calls::NAME,
            Self::Latency => latency::NAME,
            Self::Rollback => rollback::NAME,
            Self::Analysis => analysis::NAME,
            Self::Discovery => discovery::NAME,
            Self::Failover => failover::NAME,
            Self::Rest => rest::NAME,
            Self::Wave => wave::NAME,
        }
    }

    /// What it does.
    pub fn about(self) -> &'static str {
        match self {
            Self::Calls => calls::ABOUT,
            Self::Latency => latency::ABOUT,
            Self::Rollback => rollback::ABOUT,
            Self::Analysis => analysis::ABOUT,
            Self::Discovery => discovery::ABOUT,
            Self::Failover => failover::ABOUT,
            Self::Rest => rest::ABOUT,
            Self::Wave => wave::ABOUT,
        }
    }

    /// Runs it.
    pub async fn run(self, args: &RunArgs, report: &mut Report) -> anyhow::Result<()> {
        match self {
            Self::Calls => calls::run(args, report).await,
            Self::Latency => latency::run(args, report).await,
            Self::Rollback => rollback::run(args, report).await,
            Self::Analysis => analysis::run(args, report).await,
            Self::Discovery => discovery::run(args, report).await,
            Self::Failover => failover::run(args, report).await,
            Self::Rest => rest::run(args, report).await,
            Self::Wave => wave::run(args, report).await,
        }
    }
}
