//! The route: what one listener rule should hold, what it holds, and the one next change between them.
//!
//! [`validate`] makes an [`Intent`] of a route object's spec, [`plan`](plan()) decides the next change and the next
//! status, [`check`](check()) refuses a plan that breaks an invariant. All three are pure and total.

pub mod check;
pub mod fingerprint;
pub mod plan;
pub mod validate;
pub mod weights;

mod types;

pub use check::check;
pub use fingerprint::fingerprint;
pub use plan::{DELETION_PATIENCE, Failure, Reading, RouteInput, RoutePlan, Sent, failed, plan, same_but_for_times};
pub use types::*;
pub use validate::{Identity, validate_alb, validate_route};
