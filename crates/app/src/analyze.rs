//! An AnalysisRun without a cluster: the engine and the providers of okrad, driven in this process until there is a
//! verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use okra_analysis::{Cidr, EgressPolicy, Environment, Http, InvalidCidr, JobPlaces, Providers, ProvidersConfig};
use okra_api::{
    AnalysisRun, RunPhase,
    analysis::{AnalysisRunSpec, AnalysisRunStatus, Measurement},
};
use okra_aws::SigV4Signer;
use okra_controller::analysis_run::measure;
use okra_core::analysis::{
    Annotations, NoData, Observed, Secrets as Resolved, Taken, assess, missing_key, secret_keys,
};
use okra_provider::{
    Clock, MetricProvider, SecretText,
    metric::{RequestSigner, Secrets},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{clock::SystemClock, metric_profiles::MetricProfiles};

/// The providers look for their own Secrets here, and a template that says `namespaced` as well.
const NAMESPACE: &str = "default";

/// What is run, and within which bounds.
pub struct Options {
    /// Name of the run, for providers and reports.
    pub name: String,
    /// What is measured. Arguments that come from Secrets find them in `secrets`.
    pub spec: AnalysisRunSpec,
    /// The profiles that its metrics are measured with.
    pub annotations: Annotations,
    /// What these profiles are.
    pub profiles: MetricProfiles,
    /// Secrets by name: those of arguments, and those of providers.
    pub secrets: BTreeMap<String, BTreeMap<String, SecretText>>,
    /// Where measurements may go.
    pub egress: EgressPolicy,
    /// Endpoint for every AWS service.
    pub aws_endpoint_url: Option<String>,
    /// Ends the run after this; none: it ends by itself.
    pub timeout: Option<Duration>,
}

/// Where measurements may go, from the texts of the flags: as in okrad, and to this machine, where whoever runs a
/// template owns it.
pub fn egress(allow: &[String], deny: &[String]) -> Result<EgressPolicy, InvalidCidr> {
    let ranges = |texts: &[String]| {
        let given = texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
        given.map(str::parse).collect::<Result<Vec<Cidr>, _>>()
    };
    Ok(EgressPolicy::new(ranges(allow)?, ranges(deny)?).with_loopback())
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself: its phase is the verdict.
    Done,
    /// By the timeout, with measurements missing that were asked for.
    TimedOut,
    /// By the timeout, while only metrics without end were measured: its phase is the verdict.
    LongEnough,
    /// By a person.
    Interrupted,
}

/// A run that has ended.
#[derive(Clone, Debug)]
pub struct Analyzed {
    /// The run, with everything that was measured.
    pub run: AnalysisRun,
    /// How it ended.
    pub ending: Ending,
}

/// Runs until there is a verdict, and tells each measurement as it comes. `stop` ends the run as a person would: what is
/// in flight is ended. Errors when the machine's TLS cannot be set up.
pub async fn run(
    options: Options,
    stop: &CancellationToken,
    told: &mut (dyn FnMut(&str, &Measurement) + Send),
) -> anyhow::Result<Analyzed> {
    let secrets = Arc::new(GivenSecrets(options.secrets));
    let http =
        Http::new(options.egress).map_err(|error| anyhow::anyhow!("failed to set up HTTP for metrics: {error}"))?;
    let signer: Arc<dyn RequestSigner> = Arc::new(SigV4Signer::new(options.aws_endpoint_url.clone()));
    let provider = Arc::new(Providers::new(ProvidersConfig {
        http,
        secrets: secrets.clone(),
        signer: Some(signer),
        aws: options.profiles.aws(options.aws_endpoint_url),
        jobs: JobPlaces::default(),
        environment: Environment::of_process(),
        own_namespace: NAMESPACE.to_owned(),
    }));
    let mut run = AnalysisRun::new(&options.name, options.spec);
    run.metadata.namespace = Some(NAMESPACE.to_owned());
    run.metadata.annotations = Some(options.annotations);
    run.metadata.creation_timestamp = Some(Time(Timestamp::now()));
    let resolved = secrets.resolved(&run.spec);
    let driver = Driver { run, provider, secrets: resolved, flights: JoinSet::new(), outstanding: BTreeSet::new() };
    Ok(driver.drive(options.timeout, stop, told).await)
}

struct Driver {
    run: AnalysisRun,
    provider: Arc<dyn MetricProvider>,
    secrets: Resolved,
    flights: JoinSet<Taken>,
    outstanding: BTreeSet<String>,
}

impl Driver {
    async fn drive(
        mut self,
        timeout: Option<Duration>,
        stop: &CancellationToken,
        told: &mut (dyn FnMut(&str, &Measurement) + Send),
    ) -> Analyzed {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut ending = Ending::Done;
        let mut results: Vec<Taken> = Vec::new();
        loop {
            let now = clock.now();
            let observed = Observed {
                spec: &self.run.spec,
                status: self.run.status.as_ref(),
                results: &results,
                outstanding: &self.outstanding,
                ready: &BTreeSet::new(),
                secrets: &self.secrets,
                no_data: NoData::IsError,
            };
            let plan = assess(observed, now);
            if !plan.hold_results {
                let names: BTreeSet<&str> = results.iter().map(|taken| taken.take.name.as_str()).collect();
                tell(&plan.status, &names, told);
                results.clear();
                if plan.status != AnalysisRunStatus::default() || self.run.status.is_some() {
                    self.run.status = Some(plan.status);
                }
            }
            for name in &plan.abandon {
                self.outstanding.remove(name);
            }
            if self.phase().is_some_and(RunPhase::is_completed) {
                return Analyzed { run: self.run, ending };
            }
            for take in plan.take {
                self.outstanding.insert(take.name.clone());
                let request = measure::request(&self.run, &take);
                self.flights.spawn(measure::measure(self.provider.clone(), clock.clone(), request, take));
            }
            let wake = plan.wake_at.map(|at| Instant::now() + until(clock.now(), at));
            let terminated = self.run.spec.terminate;
            tokio::select! {
                biased;
                () = stop.cancelled(), if !terminated => {
                    ending = Ending::Interrupted;
                    self.terminate();
                }
                () = at(deadline), if !terminated => {
                    ending = if self.is_long_enough() { Ending::LongEnough } else { Ending::TimedOut };
                    self.terminate();
                }
                Some(landed) = self.flights.join_next() => {
                    // A flight catches panics of its provider, and nobody waits for one that is aborted.
                    let Ok(taken) = landed else { continue };
                    // One that was given up before may still land.
                    if self.outstanding.remove(&taken.take.name) {
                        results.push(taken);
                    }
                }
                () = at(wake) => {}
            }
        }
    }

    fn phase(&self) -> Option<RunPhase> {
        self.run.status.as_ref().and_then(|status| status.phase)
    }

    /// Asks the run to end. A call that is under way leaves nothing behind: it is given up.
    fn terminate(&mut self) {
        self.run.spec.terminate = true;
        self.flights.abort_all();
        self.outstanding.clear();
    }

    /// Whether only metrics without end are left, each measured at least once.
    fn is_long_enough(&self) -> bool {
        let results = self.run.status.iter().flat_map(|status| &status.metric_results);
        let results: Vec<_> = results.collect();
        self.run.spec.metrics.iter().all(|metric| {
            let result = results.iter().find(|result| result.name == metric.name);
            result.is_some_and(|result| {
                result.phase.is_completed() || metric.effective_count().is_none() && result.count > 0
            })
        })
    }
}

/// Tells the measurements that have just been written down. The status holds no secrets.
fn tell(status: &AnalysisRunStatus, names: &BTreeSet<&str>, told: &mut (dyn FnMut(&str, &Measurement) + Send)) {
    for result in status.metric_results.iter().filter(|result| names.contains(result.name.as_str())) {
        if let Some(last) = result.measurements.last().filter(|last| last.phase.is_completed()) {
            told(&result.name, last);
        }
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// How long until a time; a moment at least, so that a clock that is set back does not spin.
fn until(now: Timestamp, at: Timestamp) -> Duration {
    const MOMENT: SignedDuration = SignedDuration::from_millis(1);
    at.duration_since(now).max(MOMENT).unsigned_abs()
}

/// Secrets that were given by the caller.
struct GivenSecrets(BTreeMap<String, BTreeMap<String, SecretText>>);

impl GivenSecrets {
    /// Those of the run's arguments.
    fn resolved(&self, spec: &AnalysisRunSpec) -> Resolved {
        Resolved::new(secret_keys(&spec.args).into_iter().map(|key| {
            let value = match self.0.get(&key.name) {
                None => Err(not_given(&key.name)),
                Some(data) => data.get(&key.key).map(|text| text.expose().to_owned()).ok_or_else(|| missing_key(&key)),
            };
            (key, value)
        }))
    }
}

fn not_given(name: &str) -> String {
    format!("secrets \"{name}\" not found: there is no cluster; put the Secret into a file of -f")
}

#[async_trait]
impl Secrets for GivenSecrets {
    async fn secret(&self, _: &str, name: &str) -> Result<BTreeMap<String, SecretText>, String> {
        self.0.get(name).cloned().ok_or_else(|| not_given(name))
    }
}
