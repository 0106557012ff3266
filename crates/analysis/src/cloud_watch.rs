//! `cloudWatch`: one GetMetricData over the last interval.
//!
//! It is one call of AWS's JSON protocol, signed by whoever has the credentials: the SDK's client of this service would
//! be one of the largest crates of the workspace. Beyond Argo Rollouts, a named profile says in which region, with
//! which role and of which account the metrics are.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use okra_api::analysis::{CloudWatchMetric, CloudWatchQuery, MetricStat};
use okra_expr::{MetricDataResult, Value};
use okra_provider::metric::{MetricError, Reading, Sample};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use crate::context::Context;
use crate::go;
use crate::http::{Answer, Call, Deadline, parse_url};
use crate::sigv4::{self, Identity};

/// The window of a template that names none.
const DEFAULT_INTERVAL: &str = "5m";
const TIMEOUT: i64 = 30;
/// The AWS SDK for Go tries as often.
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Where metrics of AWS are; what is not said is as AWS's standard chain has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsProfile {
    /// The region.
    pub region: Option<String>,
    /// A role that is assumed.
    pub role_arn: Option<String>,
    /// The account that the metrics are of, seen from a monitoring account.
    pub account: Option<String>,
}

/// Profiles by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsProfiles {
    /// For metrics without a profile.
    pub default: AwsProfile,
    /// By name.
    pub profiles: BTreeMap<String, AwsProfile>,
    /// Where CloudWatch is; none for AWS itself.
    pub endpoint_url: Option<String>,
}

pub(crate) async fn run(
    context: &mut Context<'_>,
    spec: CloudWatchMetric,
    endpoint_url: Option<&str>,
) -> Result<Reading, MetricError> {
    measure(context, spec, endpoint_url).await.map(Reading::Sample).map_err(MetricError::new)
}

async fn measure(
    context: &mut Context<'_>,
    spec: CloudWatchMetric,
    endpoint_url: Option<&str>,
) -> Result<Sample, String> {
    let interval = if spec.interval.is_empty() { DEFAULT_INTERVAL } else { &spec.interval };
    let interval = SignedDuration::from_nanos(go::duration_nanos(interval)?);
    let start = context.now.saturating_sub(interval).unwrap_or(context.now);
    let profile = context.aws;
    let account = profile.account.as_deref();
    let queries: Vec<Json> = spec.metric_data_queries.into_iter().map(|asked| query(asked, account)).collect();
    let body = json!({"StartTime": seconds(start), "EndTime": seconds(context.now), "MetricDataQueries": queries});

    let signer = context.signer.ok_or("cloudWatch is not available: this process has no AWS credentials")?;
    let region = signer.region(profile.region.as_deref().unwrap_or_default(), "").await?;
    let url = endpoint_url.map_or_else(|| endpoint(&region), str::to_owned);
    let deadline = Deadline::after_seconds(TIMEOUT);
    let mut call = Call::post(parse_url(&url)?, "application/x-amz-json-1.0", body.to_string(), deadline);
    call.set_header("X-Amz-Target", "GraniteServiceVersion20100801.GetMetricData")?;
    let role_arn = profile.role_arn.as_deref().unwrap_or_default();
    let identity = Identity { service: "monitoring", region: &region, profile: "", role_arn };
    sigv4::sign(context, &mut call, identity).await?;
    let output = send(context, &call).await.and_then(sample);
    output.map_err(|error| format!("operation error CloudWatch: GetMetricData, {error}"))
}

fn endpoint(region: &str) -> String {
    let ending = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://monitoring.{region}.amazonaws.com{ending}/")
}

/// Whole seconds where they are, since that is how AWS writes them.
fn seconds(time: Timestamp) -> Json {
    match time.subsec_millisecond() {
        0 => json!(time.as_second()),
        milliseconds => json!(time.as_second() as f64 + f64::from(milliseconds) / 1e3),
    }
}

/// Text that is no number is 0, as in `IntOrString.IntValue`.
fn int(value: &IntOrString) -> i32 {
    match value {
        IntOrString::Int(value) => *value,
        IntOrString::String(text) => text.parse().unwrap_or(0),
    }
}

fn query(query: CloudWatchQuery, account: Option<&str>) -> Json {
    object([
        ("Id", Some(json!(query.id))),
        ("Expression", query.expression.map(Json::from)),
        ("Label", query.label.map(Json::from)),
        ("MetricStat", query.metric_stat.map(stat)),
        ("Period", query.period.map(|period| json!(int(&period)))),
        ("ReturnData", query.return_data.map(Json::from)),
        ("AccountId", account.map(Json::from)),
    ])
}

fn stat(stat: MetricStat) -> Json {
    let dimensions = stat.metric.dimensions.into_iter();
    let dimensions: Vec<Json> =
        dimensions.map(|dimension| json!({"Name": dimension.name, "Value": dimension.value})).collect();
    let metric = object([
        ("Namespace", stat.metric.namespace.map(Json::from)),
        ("MetricName", Some(json!(stat.metric.metric_name))),
        ("Dimensions", Some(dimensions).filter(|dimensions| !dimensions.is_empty()).map(Json::from)),
    ]);
    object([
        ("Metric", Some(metric)),
        ("Period", Some(json!(stat.period.as_ref().map_or(0, int)))),
        ("Stat", Some(json!(stat.stat))),
        ("Unit", Some(stat.unit).filter(|unit| !unit.is_empty()).map(Json::from)),
    ])
}

fn object<const N: usize>(members: [(&str, Option<Json>); N]) -> Json {
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Json::Object(members.collect::<Map<_, _>>())
}

/// Sends it, and again where AWS asks for that.
async fn send(context: &Context<'_>, call: &Call) -> Result<Output, String> {
    let (mut attempt, mut pause) = (1, FIRST_PAUSE);
    loop {
        let answer = context.http.send(call.clone()).await?;
        let refused = match read(&answer) {
            Ok(output) => return Ok(output),
            Err(refused) => refused,
        };
        let again = matches!(answer.status, 429 | 500..=504) || refused.contains("Throttl");
        if !again || attempt == ATTEMPTS {
            return Err(refused);
        }
        tokio::time::sleep(pause).await;
        (attempt, pause) = (attempt + 1, pause * 2);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    metric_data_results: Vec<DataResult>,
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DataResult {
    id: Option<String>,
    label: Option<String>,
    #[serde(default)]
    status_code: String,
    #[serde(default)]
    messages: Vec<Message>,
    #[serde(default)]
    timestamps: Vec<f64>,
    #[serde(default)]
    values: Vec<Json>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    code: Option<String>,
    value: Option<String>,
}

fn read(answer: &Answer) -> Result<Output, String> {
    let status = answer.status;
    if status == 200 {
        return serde_json::from_slice(&answer.body)
            .map_err(|_| format!("https response error StatusCode: {status}, deserialization failed"));
    }
    let body: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = |field: &str| body.get(field).and_then(Json::as_str).unwrap_or_default();
    let code = text("__type").rsplit('#').next().unwrap_or_default();
    let code = if code.is_empty() { "UnknownError" } else { code };
    let message = match (text("message"), text("Message")) {
        // These answers repeat the signed headers.
        _ if code.contains("Signature") => "the request's signature was refused",
        ("", message) | (message, _) => message,
    };
    Err(format!("https response error StatusCode: {status}, api error {code}: {message}"))
}

/// The results as the Go SDK types them, newest value first as AWS gives them.
fn sample(output: Output) -> Result<Sample, String> {
    let messages: Vec<String> = output.messages.into_iter().map(shown).collect();
    let results = output.metric_data_results.into_iter().map(result).collect::<Result<Vec<_>, _>>()?;
    let values: Vec<String> = results.iter().map(|result| Value::from(result.values.clone()).to_string()).collect();
    let mut sample = Sample::new(Value::cloud_watch(results), format!("[{}]", values.join(" ")));
    if !messages.is_empty() {
        sample.metadata.insert("messages".to_owned(), format!("[{}]", messages.join(" ")));
    }
    Ok(sample)
}

fn result(result: DataResult) -> Result<MetricDataResult, String> {
    let wrong = |what: &str| format!("deserialization failed: {what}");
    let time = |seconds: f64| {
        let time = SignedDuration::try_from_secs_f64(seconds).ok().and_then(|time| Timestamp::from_duration(time).ok());
        time.ok_or_else(|| wrong("a timestamp"))
    };
    let value = |value: Json| match value {
        Json::Number(number) => number.as_f64().ok_or_else(|| wrong("a value")),
        // What JSON has no number for.
        Json::String(text) => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(wrong("a value")),
        },
        _ => Err(wrong("a value")),
    };
    Ok(MetricDataResult {
        id: result.id,
        label: result.label,
        messages: result.messages.into_iter().map(|message| (message.code, message.value)).collect(),
        status_code: result.status_code,
        timestamps: result.timestamps.into_iter().map(time).collect::<Result<_, _>>()?,
        values: result.values.into_iter().map(value).collect::<Result<_, _>>()?,
    })
}

/// Argo Rollouts prints addresses of memory here; what they point to is of more use.
fn shown(message: Message) -> String {
    format!("{{Code:{} Value:{}}}", message.code.unwrap_or_default(), message.value.unwrap_or_default())
}
