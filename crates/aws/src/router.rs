//! The router of Application Load Balancers.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_elasticloadbalancingv2::types::Rule;
use jiff::SignedDuration;
use okra_core::route::{Capabilities, Change, GroupHealth, Intent, Lane, Observed, ObservedRule};
use okra_provider::{CallContext, RouterError, RouterErrorKind, TrafficRouter, router::alb_capabilities};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Clients,
    error::Failure,
    limiter::{Limiter, Limiters, Permit, RateLimits},
    listener::SharedReadings,
    memory::{Memory, Tags},
    metrics::AwsMetrics,
    session::Session,
    target_groups::Remembered,
    together::Together,
};

/// How long after AWS's answer a change may take to reach the data path. AWS gives no number: "the changes do not
/// take effect immediately".
const SETTLE: SignedDuration = SignedDuration::from_secs(60);

/// Settings of an [`AlbRouter`].
#[derive(Clone, Debug)]
pub struct AlbRouterConfig {
    /// Where AWS is; `None`: AWS itself, or what `AWS_ENDPOINT_URL` and
    /// `AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2` say.
    pub endpoint_url: Option<String>,
    /// Whether calls are kept under AWS's rates.
    pub rate_limits: RateLimits,
    /// How long after AWS's answer a change may take to reach the data path; 60 s unless set.
    pub settle: SignedDuration,
    /// Where calls are counted.
    pub metrics: Arc<AwsMetrics>,
}

/// How long a call may wait for the rate limit once the process stops. A change that is made needs a reading after it
/// to count: it gets its chance.
const LAST_WAIT: Duration = Duration::from_millis(500);

impl Default for AlbRouterConfig {
    fn default() -> Self {
        Self { endpoint_url: None, rate_limits: RateLimits::default(), settle: SETTLE, metrics: Arc::default() }
    }
}

/// Listener rules of Application Load Balancers, and the health, names and tags of target groups.
///
/// A rule is found by its tags. One that is where it should be costs one call to read, and readings that wait for the
/// rate limit together go in one; readings for [`Lane::Drift`] share one reading of the listener for 10 s. Nothing is written to a rule without the tags of the
/// intent, except the tags themselves when the intent allows to adopt it.
#[derive(Debug)]
pub struct AlbRouter {
    pub(crate) clients: Clients,
    pub(crate) limiters: Limiters,
    pub(crate) memory: Memory,
    pub(crate) readings: SharedReadings,
    pub(crate) rules_asked: Together<Rule>,
    pub(crate) listings_asked: Together<Arc<Vec<Rule>>>,
    pub(crate) tags_asked: Together<Tags>,
    pub(crate) target_groups: Remembered,
    pub(crate) metrics: Arc<AwsMetrics>,
    settle: SignedDuration,
    stops: CancellationToken,
}

impl AlbRouter {
    /// A router with credentials of the SDK's standard chain: environment, profile, web identity (IRSA), pod
    /// identity, instance role. Nothing is called before it is asked for something.
    pub fn new(config: AlbRouterConfig) -> Self {
        Self::build(config, None)
    }

    /// A router with these credentials instead of the standard chain's; an intent's role is assumed with them.
    pub fn with_credentials(config: AlbRouterConfig, credentials: SharedCredentialsProvider) -> Self {
        Self::build(config, Some(credentials))
    }

    fn build(config: AlbRouterConfig, credentials: Option<SharedCredentialsProvider>) -> Self {
        Self {
            clients: Clients::new(config.endpoint_url, credentials),
            limiters: Limiters::new(config.rate_limits),
            memory: Memory::default(),
            readings: SharedReadings::default(),
            rules_asked: Together::default(),
            listings_asked: Together::default(),
            tags_asked: Together::default(),
            target_groups: Remembered::default(),
            metrics: config.metrics,
            settle: config.settle,
            stops: CancellationToken::new(),
        }
    }

    /// From now on a call waits for the rate limit for a moment only: the process stops, and what would begin seconds
    /// later is the next leader's. Calls that are under way are not touched.
    pub fn stop_waiting(&self) {
        self.stops.cancel();
    }

    /// What a failure says of the rate limit.
    pub(crate) fn learn(&self, limiter: &Limiter, permit: Permit, failure: &Failure) {
        if failure.credentials {
            // The call itself never went out; STS has limits of its own.
            limiter.refund(permit);
        } else if failure.kind == RouterErrorKind::Throttled {
            self.metrics.count_throttled();
            limiter.throttled(permit);
        } else if failure.kind != RouterErrorKind::Unreachable {
            limiter.answered(permit);
        }
    }

    /// Ends when a call that waits for the rate limit has to give up, since the process stops.
    pub(crate) async fn gives_up(&self) {
        self.stops.cancelled().await;
        tokio::time::sleep(LAST_WAIT).await;
    }

    /// All rules of the intent's listener but the default one, with their tags. Shares the reading that
    /// `observe` uses for [`Lane::Drift`]: one DescribeRules in 10 s, and tags where they were not read in the last
    /// hour.
    pub async fn observe_listener(
        &self,
        intent: &Intent,
        call: &CallContext,
    ) -> Result<Vec<ObservedRule>, RouterError> {
        Session::begin(self, intent, call).await?.observe_listener().await
    }
}

#[async_trait]
impl TrafficRouter for AlbRouter {
    fn capabilities(&self) -> Capabilities {
        alb_capabilities(self.settle)
    }

    async fn observe(&self, intent: &Intent, call: &CallContext) -> Result<Observed, RouterError> {
        let session = Session::begin(self, intent, call).await?;
        match call.lane {
            Lane::Drift => session.observe_shared().await,
            _ => session.observe().await,
        }
    }

    async fn apply(&self, intent: &Intent, change: &Change, call: &CallContext) -> Result<(), RouterError> {
        Session::begin(self, intent, call).await?.for_change().apply(change).await
    }

    async fn health(&self, intent: &Intent, group: &str, call: &CallContext) -> Result<GroupHealth, RouterError> {
        Session::begin(self, intent, call).await?.health(group).await
    }
}
