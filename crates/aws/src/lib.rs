//! AWS behind Okra's ports: load balancer rules, target health, and one prioritised limiter per account and region.
//!
//! [`AlbRouter`] is the `TrafficRouter` of Application Load Balancers. Around it: [`RateLimits`] says whether calls
//! are kept under AWS's published rates, [`Admission`] is the pure part of that decision, and [`AwsMetrics`] counts
//! the calls for whoever exports them.
//!
//! [`EksInventory`] finds EKS clusters, and [`SigV4Signer`] makes tokens for them without a call.
//!
//! For analysis there is [`SigV4Signer`], which signs requests to CloudWatch and to Amazon's managed Prometheus.

mod actions;
mod answer_limit;
mod arn;
mod client;
mod conditions;
mod eks;
mod eks_token;
mod error;
mod limiter;
mod listener;
mod memory;
mod metrics;
mod operation;
mod redact;
mod router;
mod session;
mod signer;
mod target_groups;
mod together;
mod write;

#[cfg(test)]
mod tests;

pub use eks::{EksInventory, EksInventoryConfig};
pub use limiter::{Admission, Budget, CallKind, Limiter, Limits, Permit, RateLimits, WaitedTooLong};
pub use metrics::{AwsMetrics, Wait};
pub use router::{AlbRouter, AlbRouterConfig};
pub use signer::SigV4Signer;
