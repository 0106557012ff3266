//! The IO half of analysis: Argo Rollouts' metric providers, within an egress policy and limits.
//!
//! [`Providers`] is the port `MetricProvider` for every provider of an AnalysisTemplate. What is sent, what a
//! condition gets as `result`, and the words of errors are those of Argo Rollouts. Beyond it:
//!
//! - addresses are checked against an [`EgressPolicy`], at every name that is looked up and at every redirect;
//! - an answer is at most 1 MiB, and a measurement ends by its deadline, whatever the server does;
//! - no secret stands in what is handed back: neither in a message nor in a value that a server echoed;
//! - identical queries of one interval are sent once.
//!
//! # Where it differs from Argo Rollouts, on purpose
//!
//! - `web`: a body that is no JSON is judged by the conditions. The controller lets it pass as Successful.
//! - A point without a value is no zero: a null point of Datadog is nil; a native histogram of Prometheus and a
//!   series of Wavefront without points are errors.
//! - `influxdb`: an error in the middle of the answer is an error. The controller takes what came before it.
//! - `kayenta`: an answer without an execution id is an error at once.
//! - Headers of a template do not follow a redirect to another origin, and none goes to an OAuth2 token URL.
//! - No proxy is used, since nothing could be checked behind one. Answers that come compressed are refused.
//! - Values are cut at 256 bytes (numbers at 4 KiB), messages at 1 KiB.
//! - `plugin` is refused: plugins speak Go's net/rpc.

mod auth;
mod cloud_watch;
mod coalesce;
mod context;
mod datadog;
mod egress;
mod go;
mod graphite;
mod http;
mod influxdb;
mod job;
mod jsonpath;
mod kayenta;
mod new_relic;
mod prometheus;
mod providers;
mod redact;
mod sigv4;
mod skywalking;
mod spec;
mod wavefront;
mod web;

pub use cloud_watch::{AwsProfile, AwsProfiles};
pub use context::Environment;
pub use egress::{Cidr, EgressDenied, EgressPolicy, InvalidCidr, Lookup, SystemLookup};
pub use http::{Http, MAX_BODY};
pub use job::{JobPlace, JobPlaces};
pub use providers::{Providers, ProvidersConfig};
pub use web::read_web_answer;
