//! `skywalking`: a GraphQL query over the last interval.

use jiff::SignedDuration;
use okra_api::analysis::SkyWalkingMetric;
use okra_expr::Value;
use okra_provider::metric::{MetricError, Reading, Sample};
use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::go;
use crate::http::{Call, Deadline, parse_url};
use crate::prometheus::not_json;

const TIMEOUT: i64 = 30;

pub(crate) async fn run(context: &mut Context<'_>, spec: SkyWalkingMetric) -> Result<Reading, MetricError> {
    measure(context, &spec).await.map(Reading::Sample).map_err(MetricError::new)
}

async fn measure(context: &Context<'_>, spec: &SkyWalkingMetric) -> Result<Sample, String> {
    let interval = SignedDuration::from_nanos(go::duration_nanos(&spec.interval)?);
    let start = context.now.saturating_sub(interval).unwrap_or(context.now);
    let minute = |time: jiff::Timestamp| time.strftime("%Y-%m-%d %H%M").to_string();
    let duration = json!({"start": minute(start), "end": minute(context.now), "step": "MINUTE"});
    let body = json!({"query": spec.query, "variables": {"duration": duration}}).to_string();
    let url = parse_url(&format!("{}/graphql", spec.address))?;
    let deadline = Deadline::after_seconds(TIMEOUT);
    let mut call = Call::post(url, "application/json; charset=utf-8", body, deadline);
    call.set_header("Accept", "application/json; charset=utf-8")?;
    let answer = context.http.send(call).await?;
    let body: Json = match serde_json::from_slice(&answer.body) {
        Ok(body) => body,
        Err(_) if answer.status != 200 => {
            return Err(format!("graphql: server returned a non-200 status code: {}", answer.status));
        }
        Err(error) => return Err(format!("decoding response: {}", not_json(&answer.body, &error))),
    };
    if let Some(error) = body.get("errors").and_then(Json::as_array).and_then(|errors| errors.first()) {
        let message = error.get("message").and_then(Json::as_str).unwrap_or_default();
        return Err(format!("graphql: {message}"));
    }
    // A refusal with a body of JSON must not count as a result.
    if answer.status != 200 {
        return Err(format!("graphql: server returned a non-200 status code: {}", answer.status));
    }
    match body.get("data") {
        None | Some(Json::Null) => Err("no results returned from SkyWalking query".to_owned()),
        Some(data) => Ok(Sample::new(Value::json(data), go::json(data))),
    }
}
