//! The ports of Okra: what the controllers ask of the world.
//!
//! Adapters implement these traits (Kubernetes, a directory, AWS, the embedded balancer); controllers
//! know only them. Fakes for tests live in `testing`, behind the feature of that name.

pub mod backend;
pub mod cluster;
pub mod metric;
pub mod object;
pub mod ports;
pub mod router;
pub mod store;
pub mod target_group;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use backend::{Backend, BackendError, Deletion, Key, Kind, Labels, WatchEvent};
pub use cluster::{
    ClusterInventory, EksToken, EksTokenRequest, EksTokens, InventoryAnswer, Reachability, RemoteCluster,
    RemoteClusters, RemoteError,
};
pub use metric::{MetricError, MetricProvider, MetricRequest, Reading, SecretText};
pub use ports::{Clock, DecisionLog, Entropy, EventNote, EventSink, Leadership, NoDecisionLog, NotLeader};
pub use router::{CallContext, Disposition, RouterError, RouterErrorKind, TrafficRouter};
pub use store::{Cache, ChangeStream, Changed, Lookup, Malformed, Namespaces, Store, Stored};
pub use target_group::{NamedGroup, TaggedGroup, TargetGroupInventory};
