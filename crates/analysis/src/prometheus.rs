//! `prometheus`: instant and range queries over its HTTP API, as `prometheus/client_golang` asks them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use okra_api::analysis::{BasicAuth, PrometheusMetric, SigV4};
use okra_expr::{Budget, Value};
use okra_provider::metric::{MetricError, Reading, Sample, SecretText};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::auth::{OAuth2Client, basic};
use crate::context::Context;
use crate::go;
use crate::http::{Answer, Call, Deadline, parse_url};
use crate::sigv4::{self, Identity};

/// Where to ask if a template does not say.
pub(crate) const ADDRESS_VARIABLE: &str = "ARGO_ROLLOUTS_PROMETHEUS_ADDRESS";
const DEFAULT_TIMEOUT: i64 = 30;

#[derive(Deserialize)]
struct ApiAnswer {
    #[serde(default)]
    status: String,
    #[serde(default)]
    data: Option<Json>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

pub(crate) fn metadata(spec: &PrometheusMetric) -> BTreeMap<String, String> {
    let query = Some(spec.query.clone()).filter(|query| !query.is_empty());
    query.map(|query| ("ResolvedPrometheusQuery".to_owned(), query)).into_iter().collect()
}

pub(crate) async fn run(context: &mut Context<'_>, spec: PrometheusMetric) -> Result<Reading, MetricError> {
    measure(context, &spec).await.map(Reading::Sample).map_err(MetricError::new)
}

async fn measure(context: &mut Context<'_>, spec: &PrometheusMetric) -> Result<Sample, String> {
    let address = address(spec, context.variable(ADDRESS_VARIABLE))?;
    let with_oauth = OAuth2Client(&spec.authentication.oauth2).is_set()?;
    let BasicAuth { username, password } = &spec.authentication.basic_auth;
    if username.is_empty() != password.is_empty() {
        return Err("missing mandatory parameter in metric for basic authentication setup".to_owned());
    }
    let timeout = spec.timeout.unwrap_or(DEFAULT_TIMEOUT);
    if timeout < 0 {
        return Err("prometheus timeout should not be negative".to_owned());
    }
    let deadline = Deadline::after_seconds(timeout);
    let (endpoint, arguments) = question(spec, context.now)?;

    let mut authorization = None;
    if !username.is_empty() {
        context.redaction.add(&SecretText::new(password.as_str()));
        authorization = Some(basic(username, password));
    }
    if with_oauth {
        let oauth2 = OAuth2Client(&spec.authentication.oauth2);
        oauth2.hide(context.redaction);
        authorization = Some(oauth2.authorize(context.http, spec.insecure, deadline, context.redaction).await?);
    }
    let asked = Asked { spec, address, endpoint, arguments, authorization, deadline };
    let mut answer = asked.send(context, Method::POST).await?;
    if matches!(answer.status, 403 | 405 | 501) {
        answer = asked.send(context, Method::GET).await?;
    }
    let (data, warnings) = unwrap(&answer)?;
    let mut sample = sample(&data)?;
    if !warnings.is_empty() {
        let quoted: Vec<String> = warnings.iter().map(|warning| format!("\"{warning}\"")).collect();
        sample.metadata.insert("warnings".to_owned(), quoted.join(", "));
    }
    Ok(sample)
}

fn address(spec: &PrometheusMetric, variable: Option<&str>) -> Result<Url, String> {
    let address = match (spec.address.as_str(), variable) {
        ("", Some(address)) if !address.is_empty() => address,
        ("", _) => return Err("prometheus address is not configured".to_owned()),
        (address, _) => address,
    };
    let url = parse_url(address).ok().filter(Url::has_host);
    url.ok_or_else(|| "prometheus address is not is url format".to_owned())
}

/// Names and values of a form.
type Arguments = Vec<(&'static str, String)>;

/// The end of the path, and what is asked.
fn question(spec: &PrometheusMetric, now: Timestamp) -> Result<(&'static str, Arguments), String> {
    let query = ("query", spec.query.clone());
    let Some(range) = &spec.range_query else {
        return Ok(("/api/v1/query", vec![query, ("time", unix_seconds(now))]));
    };
    let time = |name: &str, expression: &str| {
        let time = okra_expr::time(expression, now, Budget::default());
        time.map(unix_seconds).map_err(|error| format!("failed to parse rangeQuery.{name} as time: {error}"))
    };
    let start = time("start", &range.start)?;
    let end = time("end", &range.end)?;
    let step = go::duration_nanos(&range.step)
        .map_err(|error| format!("failed to parse rangeQuery.step as duration: {error}"))?;
    let step = go::plain((step / 1_000_000_000) as f64 + (step % 1_000_000_000) as f64 / 1e9);
    Ok(("/api/v1/query_range", vec![query, ("start", start), ("end", end), ("step", step)]))
}

fn unix_seconds(time: Timestamp) -> String {
    go::plain(time.as_second() as f64 + f64::from(time.subsec_nanosecond()) / 1e9)
}

/// A question with everything that goes with it.
struct Asked<'a> {
    spec: &'a PrometheusMetric,
    address: Url,
    endpoint: &'static str,
    arguments: Arguments,
    authorization: Option<String>,
    deadline: Deadline,
}

impl Asked<'_> {
    async fn send(&self, context: &mut Context<'_>, method: Method) -> Result<Answer, String> {
        let mut url = self.address.clone();
        url.set_path(&format!("{}{}", self.address.path().trim_end_matches('/'), self.endpoint));
        // What the address itself asks for is asked along.
        let mut arguments: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        arguments.extend(self.arguments.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let arguments: Vec<(&str, &str)> =
            arguments.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let form = go::encode_form(&arguments);
        let mut call = if method == Method::GET {
            url.set_query(Some(&form));
            Call::get(url, self.deadline)
        } else {
            Call::post(url, "application/x-www-form-urlencoded", form, self.deadline)
        };
        call.insecure = self.spec.insecure;
        if let Some(authorization) = &self.authorization {
            call.set_header("Authorization", authorization)?;
        }
        self.sign(context, &mut call).await?;
        for header in &self.spec.headers {
            call.set_header(&header.key, &header.value)?;
        }
        context.http.send(call).await
    }

    /// Amazon's managed Prometheus is known by its address, as in Argo Rollouts.
    async fn sign(&self, context: &mut Context<'_>, call: &mut Call) -> Result<(), String> {
        let SigV4 { region, profile, role_arn } = &self.spec.authentication.sigv4;
        let aws = context.aws;
        let or = |own: &'_ String, named: &Option<String>| {
            if own.is_empty() { named.clone().unwrap_or_default() } else { own.clone() }
        };
        // What the template says wins over the named profile.
        let (region, role_arn) = (or(region, &aws.region), or(role_arn, &aws.role_arn));
        let configured = [&region, profile, &role_arn].iter().any(|part| !part.is_empty());
        if !configured || !self.address.as_str().contains("aps-workspaces") {
            return Ok(());
        }
        let identity = Identity { service: "aps", region: &region, profile, role_arn: &role_arn };
        sigv4::sign(context, call, identity).await
    }
}

/// The data of an answer and its warnings, or the error in the words of `v1.Error`.
fn unwrap(answer: &Answer) -> Result<(Json, Vec<String>), String> {
    let status = answer.status;
    let is_api_error = matches!(status, 400 | 422);
    if !answer.is_success() && !is_api_error {
        return Err(match status / 100 {
            4 => format!("client_error: client error: {status}"),
            5 => format!("server_error: server error: {status}"),
            _ => format!("bad_response: bad response code {status}"),
        });
    }
    let parsed: ApiAnswer = serde_json::from_slice(&answer.body)
        .map_err(|error| format!("bad_response: {}", not_json(&answer.body, &error)))?;
    if parsed.status == "error" {
        return Err(format!("{}: {}", parsed.error_type, parsed.error));
    }
    if is_api_error {
        return Err("bad_response: inconsistent body for response code".to_owned());
    }
    let data = parsed.data.ok_or("unexpected end of JSON input")?;
    Ok((data, parsed.warnings.unwrap_or_default()))
}

/// Why a body is no JSON, as Go says it for the cases that people meet.
pub(crate) fn not_json(body: &[u8], error: &serde_json::Error) -> String {
    let text = String::from_utf8_lossy(body);
    match text.trim_start().chars().next() {
        None => "unexpected end of JSON input".to_owned(),
        Some('{' | '[' | '"' | '-' | '0'..='9' | 't' | 'f' | 'n') => error.to_string(),
        Some(c) => format!("invalid character '{}' looking for beginning of value", c.escape_default()),
    }
}

fn sample(data: &Json) -> Result<Sample, String> {
    let result = data.get("result").unwrap_or(&Json::Null);
    let kind = data.get("resultType").and_then(Json::as_str).unwrap_or_default();
    match kind {
        "scalar" => {
            let value = number(Some(result))?;
            Ok(Sample::new(Value::from(value), go::plain(value)))
        }
        "vector" => {
            // A native histogram counts as 0 in Argo Rollouts, which is no measurement: it is refused here.
            let values = series(result)?.iter().map(|series| number(series.get("value")));
            Ok(numbers(values.collect::<Result<_, _>>()?))
        }
        "matrix" => {
            let mut values = Vec::new();
            for series in series(result)? {
                for pair in series.get("values").and_then(Json::as_array).into_iter().flatten() {
                    values.push(number(Some(pair))?);
                }
            }
            Ok(numbers(values))
        }
        // A string, which a query can be too, has no place in Argo's list.
        "string" => Err("unexpected value type \"string\"".to_owned()),
        "" => Err("Prometheus metric type not supported".to_owned()),
        other => Err(format!("unexpected value type {}", go::quote(other))),
    }
}

fn series(result: &Json) -> Result<&[Json], String> {
    match result {
        Json::Array(items) => Ok(items),
        Json::Null => Ok(&[]),
        _ => Err("json: cannot unmarshal the result into Go value of type model.Vector".to_owned()),
    }
}

/// The value of `[time, "value"]`.
fn number(pair: Option<&Json>) -> Result<f64, String> {
    let pair = pair.and_then(Json::as_array).ok_or("the sample has no value")?;
    let [time, value] = pair.as_slice() else { return Err("the sample is no pair of time and value".to_owned()) };
    if !time.is_number() {
        return Err("the time of the sample is no number".to_owned());
    }
    let text = value.as_str().ok_or("sample value must be a quoted string")?;
    go::parse_float(text).ok_or_else(|| format!("strconv.ParseFloat: parsing {}: invalid syntax", go::quote(text)))
}

/// `[]float64`, with its text.
pub(crate) fn numbers(values: Vec<f64>) -> Sample {
    let shown: Vec<String> = values.iter().copied().map(go::plain).collect();
    Sample::new(Value::from(values), format!("[{}]", shown.join(",")))
}
