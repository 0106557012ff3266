//! `kayenta`: an automated canary analysis, begun and then asked about. Its score is the verdict; conditions are not
//! looked at.

use jiff::{SignedDuration, Timestamp};
use okra_api::analysis::{KayentaMetric, KayentaScope, KayentaScopeDetail, KayentaThreshold};
use okra_provider::metric::{Judgement, MetricError, MetricRequest, OpenMeasurement, Outcome, Reading, Running};
use serde_json::{Map, Value as Json, json};

use crate::context::Context;
use crate::go;
use crate::http::{Answer, Call, Deadline, Http, parse_url};
use crate::prometheus::not_json;

const TIMEOUT: i64 = 15;
const POLL: SignedDuration = SignedDuration::from_secs(15);
const EXECUTION: &str = "canaryExecutionId";

pub(crate) async fn run(context: &mut Context<'_>, spec: KayentaMetric) -> Result<Reading, MetricError> {
    begin(context.http, context.request, &spec, context.now).await.map_err(MetricError::new)
}

async fn begin(http: &Http, request: &MetricRequest, spec: &KayentaMetric, now: Timestamp) -> Result<Reading, String> {
    let deadline = Deadline::after_seconds(TIMEOUT);
    let config = config_id(http, spec, deadline).await?;
    let scopes: Map<String, Json> = spec
        .scopes
        .iter()
        .map(|scope| Ok((scope.name.clone(), scope_request(scope, request, spec.lookback, now)?)))
        .collect::<Result<_, String>>()?;
    let thresholds = json!({"pass": spec.threshold.pass, "marginal": spec.threshold.marginal});
    let body = json!({"scopes": scopes, "thresholds": thresholds}).to_string();
    let url = format!(
        "{}/canary/{config}?application={}&metricsAccountName={}&configurationAccountName={}&storageAccountName={}",
        spec.address,
        spec.application,
        spec.metrics_account_name,
        spec.configuration_account_name,
        spec.storage_account_name
    );
    let answer = http.send(Call::post(parse_url(&url)?, "application/json", body, deadline)).await?;
    let answer = json_of(&answer)?;
    let execution = match answer.get(EXECUTION) {
        // It becomes a part of a path, and stands in the status.
        Some(Json::String(id)) if is_name(id) => id.clone(),
        Some(Json::Number(id)) => id.to_string(),
        _ => return Err("Invalid canaryExecutionId".to_owned()),
    };
    Ok(Reading::Running(Running {
        resume_at: now.saturating_add(POLL).unwrap_or(now),
        metadata: [(EXECUTION.to_owned(), execution)].into(),
    }))
}

fn is_name(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// By its name among those of the application. The storage account stands for the configuration account here, as in
/// Argo Rollouts.
async fn config_id(http: &Http, spec: &KayentaMetric, deadline: Deadline) -> Result<String, String> {
    let (address, application, account) = (&spec.address, &spec.application, &spec.storage_account_name);
    let url = format!("{address}/canaryConfig?application={application}&configurationAccountName={account}");
    let answer = http.send(Call::get(parse_url(&url)?, deadline)).await?;
    if answer.status != 200 {
        return Err(format!("Invalid Response: HTTP {}", answer.status));
    }
    let configs: Json = serde_json::from_slice(&answer.body).map_err(|error| not_json(&answer.body, &error))?;
    let configs = configs.as_array().ok_or("json: the answer is no list of canary configs")?;
    let text = |config: &Json, field: &str| config.get(field).and_then(Json::as_str).map(str::to_owned);
    let named = configs.iter().find(|config| text(config, "name").as_ref() == Some(&spec.canary_config_name));
    named.and_then(|config| text(config, "id")).ok_or_else(|| "Canary config not found".to_owned())
}

fn scope_request(
    scope: &KayentaScope,
    request: &MetricRequest,
    lookback: bool,
    now: Timestamp,
) -> Result<Json, String> {
    let (control, experiment) = (&scope.control_scope, &scope.experiment_scope);
    for (name, one, other) in [("start", &control.start, &experiment.start), ("end", &control.end, &experiment.end)] {
        if one.is_empty() != other.is_empty() {
            return Err(format!("controlScope.{name} and experimentScope.{name} must both be set or be empty"));
        }
    }
    let start = match control.start.as_str() {
        "" if lookback => go::rfc3339(request.run.started_at.unwrap_or(now)),
        "" => {
            let interval = go::duration_nanos(&request.interval)
                .map_err(|error| format!("Invalid duration {}: {error}", go::quote(&request.interval)))?;
            go::rfc3339(now.saturating_sub(SignedDuration::from_nanos(interval)).unwrap_or(now))
        }
        _ => String::new(),
    };
    let end = if control.end.is_empty() { go::rfc3339(now) } else { String::new() };
    let detail = |detail: &KayentaScopeDetail| {
        let or = |own: &String, common: &String| if own.is_empty() { common.clone() } else { own.clone() };
        json!({
            "scope": detail.scope,
            "location": detail.region,
            "step": detail.step,
            "start": or(&detail.start, &start),
            "end": or(&detail.end, &end),
        })
    };
    Ok(json!({"controlScope": detail(control), "experimentScope": detail(experiment)}))
}

fn json_of(answer: &Answer) -> Result<Json, String> {
    if answer.status != 200 {
        return Err("Invalid Response".to_owned());
    }
    serde_json::from_slice(&answer.body).map_err(|error| not_json(&answer.body, &error))
}

pub(crate) async fn resume(
    http: &Http,
    spec: &KayentaMetric,
    open: &OpenMeasurement,
    now: Timestamp,
) -> Result<Reading, MetricError> {
    look(http, spec, open, now).await.map_err(MetricError::new)
}

async fn look(http: &Http, spec: &KayentaMetric, open: &OpenMeasurement, now: Timestamp) -> Result<Reading, String> {
    let execution = open.metadata.get(EXECUTION).map(String::as_str).unwrap_or_default();
    let url = parse_url(&format!("{}/canary/{execution}", spec.address))?;
    let answer = http.send(Call::get(url, Deadline::after_seconds(TIMEOUT))).await?;
    let answer = json_of(&answer)?;
    match answer.get("complete") {
        Some(Json::Bool(true)) => {}
        Some(Json::Bool(false)) => return Ok(running(open, now)),
        Some(_) => return Err("complete accessor error: it is no bool".to_owned()),
        None => return Err("Missing Complete Status".to_owned()),
    }
    let score = answer.pointer("/result/judgeResult/score/score").ok_or("Missing Score")?;
    // Argo Rollouts cuts the fraction off.
    let score = score.as_f64().ok_or("score accessor error: it is no float64")?.trunc() as i64;
    let KayentaThreshold { pass, marginal } = spec.threshold;
    let outcome = match score {
        score if score >= pass => Outcome::Successful,
        score if score >= marginal => Outcome::Inconclusive,
        _ => Outcome::Failed,
    };
    let (value, metadata) = (score.to_string(), open.metadata.clone());
    Ok(Reading::Judged(Judgement { outcome, value, message: String::new(), metadata }))
}

fn running(open: &OpenMeasurement, now: Timestamp) -> Reading {
    let resume_at = now.saturating_add(POLL).unwrap_or(now);
    Reading::Running(Running { resume_at, metadata: open.metadata.clone() })
}

/// Nothing can be done about it there: the measurement stays open, as in Argo Rollouts.
pub(crate) fn terminate(open: &OpenMeasurement, now: Timestamp) -> Reading {
    running(open, now)
}
