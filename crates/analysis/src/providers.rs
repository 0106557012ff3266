//! All providers behind one port.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;
use jiff::Timestamp;
use okra_api::names::METRIC_PROFILE_ANNOTATION;
use okra_provider::metric::{
    MetricError, MetricProvider, MetricRequest, OpenMeasurement, Reading, RequestSigner, Secrets,
};
use serde_json::Value as Json;

use crate::cloud_watch::{AwsProfile, AwsProfiles};
use crate::coalesce::Flights;
use crate::context::{Context, Environment};
use crate::http::Http;
use crate::job::{self, JobPlace, JobPlaces};
use crate::redact::Redaction;
use crate::spec::{Kind, parse};
use crate::{cloud_watch, datadog, graphite, influxdb, kayenta, new_relic, prometheus, skywalking, wavefront, web};

/// What the providers need.
pub struct ProvidersConfig {
    /// The HTTP client, with its egress policy.
    pub http: Http,
    /// Where credentials of providers are read.
    pub secrets: Arc<dyn Secrets>,
    /// Signs requests to CloudWatch and to Amazon's managed Prometheus; none if there are no AWS credentials.
    pub signer: Option<Arc<dyn RequestSigner>>,
    /// Where metrics of CloudWatch are.
    pub aws: AwsProfiles,
    /// Where Jobs run.
    pub jobs: JobPlaces,
    /// Variables that stand in for what a template does not say.
    pub environment: Environment,
    /// The namespace of this process: Secrets of providers are read there.
    pub own_namespace: String,
}

/// Every metric provider of Argo Rollouts behind one port.
pub struct Providers {
    inner: Arc<Inner>,
    flights: Flights,
}

struct Inner {
    config: ProvidersConfig,
}

impl Providers {
    /// Nothing is asked before a measurement is.
    pub fn new(config: ProvidersConfig) -> Self {
        Self { inner: Arc::new(Inner { config }), flights: Flights::default() }
    }

    /// Takes what the request's own secrets are out of what goes back.
    fn clean(request: &MetricRequest, outcome: Result<Reading, MetricError>) -> Result<Reading, MetricError> {
        let redaction = Redaction::new(&request.secrets);
        outcome.map(|reading| redaction.reading(reading)).map_err(|error| redaction.error(error))
    }
}

impl ProvidersConfig {
    /// Whether there is such a profile. Another account's metric, or another cluster's Job, must not pass for the right
    /// one's.
    fn check_profile(&self, request: &MetricRequest) -> Result<(), MetricError> {
        match request.profile.as_deref() {
            Some(name) if !self.aws.profiles.contains_key(name) && !self.jobs.profiles.contains_key(name) => {
                Err(MetricError::new(format!(
                    "no metric profile {name:?} is configured: add it to the file of --metric-profiles, or correct \
                     annotation {METRIC_PROFILE_ANNOTATION}"
                )))
            }
            _ => Ok(()),
        }
    }

    fn aws_of(&self, request: &MetricRequest) -> Result<&AwsProfile, MetricError> {
        self.check_profile(request)?;
        let named = request.profile.as_deref().and_then(|name| self.aws.profiles.get(name));
        Ok(named.unwrap_or(&self.aws.default))
    }

    fn job_place(&self, request: &MetricRequest) -> Result<&JobPlace, MetricError> {
        self.check_profile(request)?;
        self.jobs.of(request.profile.as_deref())
    }
}

impl Inner {
    async fn query(&self, request: &MetricRequest, now: Timestamp) -> Result<Reading, MetricError> {
        let Some((kind, spec)) = Kind::of(&request.provider) else {
            return Err(MetricError::new(format!("no valid provider in metric '{}'", request.name)));
        };
        let mut redaction = Redaction::new(&request.secrets);
        let mut context = Context {
            http: &self.config.http,
            secrets: self.config.secrets.as_ref(),
            signer: self.config.signer.as_deref(),
            aws: self.config.aws_of(request)?,
            environment: &self.config.environment,
            own_namespace: &self.config.own_namespace,
            request,
            now,
            redaction: &mut redaction,
        };
        let outcome = self.ask(&mut context, kind, spec).await;
        outcome.map(|reading| redaction.reading(reading)).map_err(|error| redaction.error(error))
    }

    async fn ask(&self, context: &mut Context<'_>, kind: Kind, spec: &Json) -> Result<Reading, MetricError> {
        match kind {
            Kind::Prometheus => prometheus::run(context, read(kind, spec)?).await,
            Kind::Web => web::run(context, read(kind, spec)?).await,
            Kind::Datadog => datadog::run(context, read(kind, spec)?).await,
            Kind::Wavefront => wavefront::run(context, read(kind, spec)?).await,
            Kind::NewRelic => new_relic::run(context, read(kind, spec)?).await,
            Kind::Graphite => graphite::run(context, read(kind, spec)?).await,
            Kind::Influxdb => influxdb::run(context, read(kind, spec)?).await,
            Kind::SkyWalking => skywalking::run(context, read(kind, spec)?).await,
            Kind::Kayenta => kayenta::run(context, read(kind, spec)?).await,
            Kind::Job => {
                let place = self.config.job_place(context.request)?;
                job::run(place, context.request, read(kind, spec)?, context.now).await
            }
            Kind::CloudWatch => {
                cloud_watch::run(context, read(kind, spec)?, self.config.aws.endpoint_url.as_deref()).await
            }
            Kind::Plugin => Err(refused_plugin(&context.request.name, spec)),
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(kind: Kind, spec: &Json) -> Result<T, MetricError> {
    parse(kind, spec).map_err(MetricError::new)
}

fn refused_plugin(metric: &str, spec: &Json) -> MetricError {
    let name = spec.as_object().and_then(|plugins| plugins.keys().next()).map_or("", String::as_str);
    MetricError::new(format!(
        "failed to create plugin: metric '{metric}' wants plugin '{name}'. Plugins of Argo Rollouts are Go programs \
         that are not run here: measure with another provider (web asks any HTTP server), or hand the run to an \
         installed controller with --analysis-engine=argo"
    ))
}

#[async_trait]
impl MetricProvider for Providers {
    fn type_name(&self, provider: &Json) -> &'static str {
        Kind::of(provider).map_or("Unknown Provider", |(kind, _)| kind.type_name())
    }

    fn metadata(&self, request: &MetricRequest) -> BTreeMap<String, String> {
        let metadata = match Kind::of(&request.provider) {
            Some((kind @ Kind::Prometheus, spec)) => {
                parse(kind, spec).map(|spec| prometheus::metadata(&spec)).unwrap_or_default()
            }
            Some((kind @ Kind::NewRelic, spec)) => {
                parse(kind, spec).map(|spec| new_relic::metadata(&spec)).unwrap_or_default()
            }
            _ => BTreeMap::new(),
        };
        Redaction::new(&request.secrets).labels(metadata)
    }

    async fn run(&self, request: &MetricRequest, now: Timestamp) -> Result<Reading, MetricError> {
        match Kind::of(&request.provider) {
            // What begins something is begun each time.
            None | Some((Kind::Job | Kind::Kayenta | Kind::Plugin, _)) => self.inner.query(request, now).await,
            Some(_) => {
                let (inner, own) = (self.inner.clone(), request.clone());
                let send = async move { inner.query(&own, now).await }.boxed();
                let outcome = self.flights.join(request, now, send).await;
                Self::clean(request, outcome)
            }
        }
    }

    async fn resume(
        &self,
        request: &MetricRequest,
        open: &OpenMeasurement,
        now: Timestamp,
    ) -> Result<Reading, MetricError> {
        let config = &self.inner.config;
        let outcome = match Kind::of(&request.provider) {
            Some((Kind::Job, _)) => match config.job_place(request) {
                Ok(place) => job::resume(place, request, open, now).await,
                Err(error) => Err(error),
            },
            Some((kind @ Kind::Kayenta, spec)) => match read(kind, spec) {
                Ok(spec) => kayenta::resume(&config.http, &spec, open, now).await,
                Err(error) => Err(error),
            },
            _ => Err(not_resumable(request)),
        };
        Self::clean(request, outcome)
    }

    async fn terminate(
        &self,
        request: &MetricRequest,
        open: &OpenMeasurement,
        now: Timestamp,
    ) -> Result<Reading, MetricError> {
        let outcome = match Kind::of(&request.provider) {
            Some((Kind::Job, _)) => match self.inner.config.job_place(request) {
                Ok(place) => job::terminate(place, request, open).await,
                Err(error) => Err(error),
            },
            Some((Kind::Kayenta, _)) => Ok(kayenta::terminate(open, now)),
            _ => Err(not_resumable(request)),
        };
        Self::clean(request, outcome)
    }

    async fn garbage_collect(&self, request: &MetricRequest, keep: usize) -> Result<(), MetricError> {
        match Kind::of(&request.provider) {
            Some((Kind::Job, _)) => job::garbage_collect(self.inner.config.job_place(request)?, request, keep).await,
            _ => Ok(()),
        }
    }
}

fn not_resumable(request: &MetricRequest) -> MetricError {
    MetricError::new(format!("a measurement of metric '{}' cannot go on: its provider answers at once", request.name))
}
