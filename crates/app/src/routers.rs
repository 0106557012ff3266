//! The load balancers that this process can speak to.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use jiff::SignedDuration;
use okra_aws::{AlbRouter, AlbRouterConfig, AwsMetrics, EksInventory, EksInventoryConfig, RateLimits};
use okra_balancer::{LocalOptions, LocalRouter};
use okra_provider::{ClusterInventory, TargetGroupInventory, TrafficRouter};

use crate::{
    admin::MoreMetrics,
    dry_run::DryRunRouter,
    okrad::{Args, AwsRateLimits},
};

/// How long requests through the embedded balancer may take to finish when the process stops.
const DRAIN: Duration = Duration::from_secs(5);

/// The load balancers of this process.
pub struct Routers {
    alb: Arc<AlbRouter>,
    local: Option<Arc<LocalRouter>>,
    /// What calls to AWS count.
    pub aws_metrics: Arc<AwsMetrics>,
}

/// The same as controllers see them.
#[derive(Clone)]
pub struct RouterSet {
    /// Application Load Balancers.
    pub alb: Arc<dyn TrafficRouter>,
    /// The embedded balancer; `None` where it is refused.
    pub local: Option<Arc<dyn TrafficRouter>>,
}

impl Routers {
    /// The ALB router, and on a directory store the embedded balancer: a Cell in a cluster must not open ports of
    /// okrad.
    pub fn new(args: &Args, is_directory: bool) -> anyhow::Result<Self> {
        let aws_metrics = Arc::<AwsMetrics>::default();
        let config = AlbRouterConfig {
            endpoint_url: args.aws_endpoint_url.clone(),
            rate_limits: match args.aws_rate_limits {
                AwsRateLimits::Aws => RateLimits::Aws,
                AwsRateLimits::Off => RateLimits::Off,
            },
            settle: SignedDuration::try_from(args.aws_settle)?,
            metrics: aws_metrics.clone(),
        };
        let local =
            is_directory.then(|| Arc::new(LocalRouter::new(LocalOptions { drain: DRAIN, ..LocalOptions::default() })));
        Ok(Self { alb: Arc::new(AlbRouter::new(config)), local, aws_metrics })
    }

    /// What controllers call. In a dry run nothing is changed; the embedded balancer does not even listen.
    pub fn for_controllers(&self, dry_run: bool) -> RouterSet {
        let wrap = |router: Arc<dyn TrafficRouter>| -> Arc<dyn TrafficRouter> {
            if dry_run { Arc::new(DryRunRouter::new(router)) } else { router }
        };
        RouterSet { alb: wrap(self.alb.clone()), local: self.local.clone().map(|local| wrap(local)) }
    }

    /// Who knows of EKS clusters; its calls are counted with those of load balancers.
    pub fn inventory(&self, args: &Args) -> Arc<dyn ClusterInventory> {
        Arc::new(EksInventory::new(EksInventoryConfig {
            endpoint_url: args.aws_endpoint_url.clone(),
            metrics: self.aws_metrics.clone(),
        }))
    }

    /// Who knows names and tags of target groups.
    pub fn target_groups(&self) -> Arc<dyn TargetGroupInventory> {
        self.alb.clone()
    }

    /// What went through the embedded balancer.
    pub fn balancer_metrics(&self) -> Option<MoreMetrics> {
        let local = self.local.clone()?;
        Some(Arc::new(move || {
            let local = local.clone();
            async move { local.render_prometheus().await }.boxed()
        }))
    }

    /// Lets no call wait for a rate limit any longer: the process stops.
    pub fn stop_waiting(&self) {
        self.alb.stop_waiting();
    }

    /// Closes the embedded balancer's listeners, after what is under way.
    pub async fn shutdown(&self) {
        if let Some(local) = &self.local {
            local.shutdown().await;
        }
    }
}
