//! The embedded weighted HTTP load balancer.
//!
//! It serves the router type `Local` on one machine, and stands in for the data path of an AWS Application Load
//! Balancer in tests: where an ALB has a rule (conditions, priorities, weights, fail-open, empty groups, draining), it
//! follows that rule.
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! use std::time::Duration;
//! use okra_balancer::{Action, Balancer, Conditions, DEFAULT_PRIORITY, Group, HealthCheck, HealthSource, Options};
//! use okra_balancer::{RoutingTable, Rule, WeightedGroup};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let balancer = Balancer::start("127.0.0.1:8080".parse()?, Options::default()).await?;
//! let group = |address: &str| Group {
//!     targets: vec![address.into()],
//!     health: HealthSource::Active(HealthCheck { path: "/healthz".into(), ..HealthCheck::default() }),
//! };
//! let share = |group: &str, weight| WeightedGroup { group: group.into(), weight };
//! balancer.apply(RoutingTable {
//!     rules: vec![Rule {
//!         name: "default".into(),
//!         priority: DEFAULT_PRIORITY,
//!         conditions: Conditions::default(),
//!         action: Action::Forward { groups: vec![share("v1", 80), share("v2", 20)], stickiness: None },
//!     }],
//!     groups: BTreeMap::from([("v1".into(), group("127.0.0.1:9001")), ("v2".into(), group("127.0.0.1:9002"))]),
//! })?;
//! println!("{}", balancer.render_prometheus());
//! balancer.shutdown(Duration::from_secs(30)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - **Exact shares.** Every request is placed by smooth weighted round robin, not every connection: in any run of as
//!   many requests as the weights sum up to (divided by their greatest common divisor), each group gets exactly its
//!   share. A change of the weights starts the count anew; applying the same rule again does not.
//! - **Changes drop nothing.** [`Balancer::apply`] swaps the whole table at once. Requests under way finish where they
//!   are, client connections stay open, WebSockets stay with their target even when its group goes away.
//! - **Groups.** Within a group healthy targets take turns. With no healthy target the group fails open to all of its
//!   targets; without targets it answers 503 for its share; with weight 0 it gets no new request.
//! - **Health.** Targets are checked by GET, or told healthy from outside ([`Balancer::set_health`]). A new target is
//!   unhealthy until its first verdict. Health lives on across changes while the target stays in its group.
//! - **Retry.** A GET, HEAD, PUT, DELETE or OPTIONS without a body is sent once more, on a fresh connection, when a
//!   kept-alive connection turns out to be closed before the first byte of the answer; any request is when it had not
//!   been sent at all. Nothing else is ever repeated.
//! - **Errors of its own.** 404 no rule, 400 and 405 refused, 408 body not sent, 431 head too large, 502 no connection
//!   or no HTTP from the target, 503 no targets, 504 no answer in time.
//! - **Headers.** `Host` is kept, `X-Forwarded-For` appended to, `X-Forwarded-Proto` and `-Port` set, hop-by-hop headers
//!   removed. Bodies stream both ways, whatever their size.
//! - **Stickiness.** With [`Action::Forward`]'s `stickiness` a cookie keeps a client on its group while that group is in
//!   the action with a weight above 0.
//!
//! It speaks HTTP/1.0 and 1.1 in plain text. TLS, HTTP/2 and trailers are left to whatever stands in front.

mod balancer;
mod body;
mod choice;
mod conditions;
mod forward;
mod headers;
mod health;
mod io;
mod route;
mod router;
mod server;
mod stats;
mod sticky;
mod table;
mod tunnel;
mod upstream;

pub use balancer::{Balancer, Options, StartError};
pub use router::{LocalOptions, LocalRouter};
pub use stats::{GroupHealth, GroupStats, Stats};
pub use sticky::STICKINESS_COOKIE;
pub use table::{
    Action, Conditions, DEFAULT_PRIORITY, Group, HeaderCondition, HealthCheck, HealthSource, MAX_STICKINESS,
    MAX_WEIGHT, QueryMatch, RoutingTable, Rule, TableError, Target, WeightedGroup,
};
