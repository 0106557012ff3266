//! `web`: any HTTP server that answers with JSON.

use bytes::Bytes;
use okra_api::analysis::WebMetric;
use okra_expr::Value;
use okra_provider::metric::{MetricError, Reading, Sample};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value as Json;

use crate::auth::OAuth2Client;
use crate::context::Context;
use crate::http::{Call, Deadline, parse_url};
use crate::jsonpath::JsonPath;

const DEFAULT_TIMEOUT: i64 = 10;

pub(crate) async fn run(context: &mut Context<'_>, spec: WebMetric) -> Result<Reading, MetricError> {
    measure(context, &spec).await.map(Reading::Sample).map_err(MetricError::new)
}

async fn measure(context: &mut Context<'_>, spec: &WebMetric) -> Result<Sample, String> {
    let with_oauth = OAuth2Client(&spec.authentication.oauth2).is_set()?;
    let path = if spec.json_path.is_empty() { "{$}" } else { &spec.json_path };
    let path = JsonPath::parse(path)?;
    let seconds = if spec.timeout_seconds > 0 { spec.timeout_seconds } else { DEFAULT_TIMEOUT };
    let deadline = Deadline::after_seconds(seconds);
    let mut call = request(spec, deadline)?;
    if with_oauth {
        let oauth2 = OAuth2Client(&spec.authentication.oauth2);
        oauth2.hide(context.redaction);
        let authorization = oauth2.authorize(context.http, spec.insecure, deadline, context.redaction).await?;
        // Go's transport sets it last.
        call.set_header("Authorization", &authorization)?;
    }
    let answer = context.http.send(call).await?;
    if !answer.is_success() {
        return Err(format!("received non 2xx response code: {}", answer.status));
    }
    read(&path, &answer.body)
}

fn request(spec: &WebMetric, deadline: Deadline) -> Result<Call, String> {
    let method = if spec.method.is_empty() { "GET" } else { &spec.method };
    if !spec.body.is_empty() && spec.json_body.is_some() {
        return Err("use either Body or JSONBody; both cannot exists for WebMetric payload".to_owned());
    }
    if (!spec.body.is_empty() || spec.json_body.is_some()) && method == "GET" {
        return Err("Body/JSONBody can only be used with POST or PUT WebMetric Method types".to_owned());
    }
    let body = match &spec.json_body {
        Some(body) => Some(Bytes::from(body.to_string())),
        None if spec.body.is_empty() => None,
        None => Some(Bytes::from(spec.body.clone())),
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("net/http: invalid method {method:?}"))?;
    let (url, insecure) = (parse_url(&spec.url)?, spec.insecure);
    let mut call = Call { method, url, headers: HeaderMap::new(), body, insecure, deadline };
    for header in &spec.headers {
        call.set_header(&header.key, &header.value)?;
    }
    if spec.json_body.is_some() {
        call.set_header("Content-Type", "application/json")?;
    }
    Ok(call)
}

/// What the `web` provider makes of the body of a server's answer: the value at a JSONPath. The error is Argo's.
///
/// # Errors
/// If the path is none, is longer than 4 KiB, costs too much, or finds nothing.
pub fn read_web_answer(json_path: &str, body: &[u8]) -> Result<Sample, String> {
    read(&JsonPath::parse(json_path)?, body)
}

/// A body that is no JSON is the result as it stands, and is judged by the conditions like any other.
fn read(path: &JsonPath, body: &[u8]) -> Result<Sample, String> {
    let Ok(data) = serde_json::from_slice::<Json>(body) else {
        let text = String::from_utf8_lossy(body).into_owned();
        return Ok(Sample::new(Value::from(text.as_str()), text));
    };
    let found = path.find(&data).map_err(|error| format!("Could not find JSONPath in body: {error}"))?;
    let first = found.into_iter().next().ok_or("result of web metric produced no value")?;
    Ok(Sample::new(first.value(), first.json()))
}
