//! From what the engine asks for to a call of a provider, and from its answer to what the engine takes.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use okra_api::{
    AnalysisRun, RunPhase,
    analysis::{Measurement, Metric},
};
use okra_core::analysis::{Action, Outcome, Take, Taken, metric_profile};
use okra_provider::{
    Clock, MetricError, MetricProvider, MetricRequest, Reading, SecretText,
    metric::{OpenMeasurement, Outcome as Judged, RunIdentity},
};

/// No measurement takes longer, whatever its provider promises.
const LONGEST: Duration = Duration::from_mins(10);

/// What a provider needs to know for a measurement.
pub fn request(run: &AnalysisRun, take: &Take) -> MetricRequest {
    MetricRequest {
        taken: i64::from(take.number),
        secrets: take.secrets().map(SecretText::new).collect(),
        ..plain_request(run, &take.metric)
    }
}

/// What a provider needs to know of a metric beside its measurements.
pub fn plain_request(run: &AnalysisRun, metric: &Metric) -> MetricRequest {
    let meta = &run.metadata;
    // Times of objects have whole seconds: the run was made within the one that they name.
    let made = meta.creation_timestamp.as_ref().and_then(|time| time.0.checked_add(SignedDuration::from_secs(1)).ok());
    MetricRequest {
        run: RunIdentity {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            started_at: run.status.as_ref().and_then(|status| status.started_at),
        },
        name: metric.name.clone(),
        interval: metric.interval.clone(),
        provider: serde_json::to_value(&metric.provider).unwrap_or_default(),
        profile: meta.annotations.as_ref().and_then(|annotations| metric_profile(annotations, &metric.name)),
        fresh_since: made,
        ..MetricRequest::default()
    }
}

/// Takes a measurement. It ends: by its own deadline, at the latest by ours.
pub async fn measure(
    provider: Arc<dyn MetricProvider>,
    clock: Arc<dyn Clock>,
    request: MetricRequest,
    take: Take,
) -> Taken {
    let started_at = clock.now();
    let metric_metadata = if take.action == Action::Run { provider.metadata(&request) } else { BTreeMap::new() };
    let call = AssertUnwindSafe(call(&*provider, &request, &take, started_at)).catch_unwind();
    let outcome = match tokio::time::timeout(LONGEST, call).await {
        Ok(Ok(Ok(reading))) => outcome(reading),
        Ok(Ok(Err(MetricError { message, metadata }))) => Outcome::Error { message, metadata },
        Ok(Err(_)) => {
            let name = provider.type_name(&request.provider);
            tracing::error!(run = %request.run.name, metric = %request.name, provider = name, "Provider panicked");
            Outcome::error(format!("provider {name} broke off: a fault of okra's own, please report it"))
        }
        Err(_) => Outcome::error(format!("no answer within {} s", LONGEST.as_secs())),
    };
    Taken { take, outcome, started_at, finished_at: clock.now(), metric_metadata }
}

async fn call(
    provider: &dyn MetricProvider,
    request: &MetricRequest,
    take: &Take,
    now: Timestamp,
) -> Result<Reading, MetricError> {
    match &take.action {
        Action::Run => provider.run(request, now).await,
        Action::Resume(before) => provider.resume(request, &open(before), now).await,
        Action::Terminate(before) => provider.terminate(request, &open(before), now).await,
    }
}

fn open(before: &Measurement) -> OpenMeasurement {
    OpenMeasurement { started_at: before.started_at, metadata: before.metadata.clone() }
}

fn outcome(reading: Reading) -> Outcome {
    match reading {
        Reading::Sample(sample) => {
            Outcome::Value { result: sample.result, value: sample.value, metadata: sample.metadata }
        }
        Reading::Judged(judged) => Outcome::Verdict {
            phase: match judged.outcome {
                Judged::Successful => RunPhase::Successful,
                Judged::Failed => RunPhase::Failed,
                Judged::Inconclusive => RunPhase::Inconclusive,
            },
            value: judged.value,
            message: judged.message,
            metadata: judged.metadata,
        },
        Reading::Running(running) => {
            Outcome::InFlight { metadata: running.metadata, resume_at: Some(running.resume_at) }
        }
    }
}
