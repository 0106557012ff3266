//! `wavefront`: a chart query for one point, the one nearest to now.

use std::collections::BTreeMap;

use okra_api::analysis::WavefrontMetric;
use okra_expr::Value;
use okra_provider::metric::{MetricError, Reading, Sample};
use serde_json::Value as Json;

use crate::context::Context;
use crate::go;
use crate::http::{Call, Deadline, parse_url};
use crate::prometheus::not_json;

const SECRET: &str = "wavefront-api-tokens";
const TIMEOUT: i64 = 30;

pub(crate) async fn run(context: &mut Context<'_>, spec: WavefrontMetric) -> Result<Reading, MetricError> {
    let mut metadata = BTreeMap::new();
    match measure(context, &spec, &mut metadata).await {
        Ok(mut sample) => {
            sample.metadata.append(&mut metadata);
            Ok(Reading::Sample(sample))
        }
        Err(message) => Err(MetricError { message, metadata }),
    }
}

async fn measure(
    context: &mut Context<'_>,
    spec: &WavefrontMetric,
    metadata: &mut BTreeMap<String, String>,
) -> Result<Sample, String> {
    let tokens = context.own_secret(SECRET, &[]).await?;
    let token = tokens.get(&spec.address).ok_or("API token not found")?;
    // The key of a Secret holds no scheme; one that does is taken at its word.
    let address = match spec.address.split_once("://") {
        Some(_) => spec.address.trim_end_matches('/').to_owned(),
        None => format!("https://{}", spec.address),
    };
    let now = context.now.as_second();
    let time = (now * 1000).to_string();
    let query = [("q", spec.query.as_str()), ("s", &time), ("e", &time), ("g", "s"), ("p", "1"), ("i", "true")];
    let url = parse_url(&format!("{address}/api/v2/chart/api?{}", go::encode_form(&query)))?;
    let mut call = Call::get(url, Deadline::after_seconds(TIMEOUT));
    call.set_header("Authorization", &format!("Bearer {}", token.expose()))?;
    call.set_header("Accept", "application/json")?;
    let answer = context.http.send(call).await?;
    if !answer.is_success() {
        return Err(format!("server returned {}\n{}", answer.status, answer.excerpt()));
    }
    let body: Json = serde_json::from_slice(&answer.body).map_err(|error| not_json(&answer.body, &error))?;
    let text = |field: &str| body.get(field).and_then(Json::as_str).filter(|text| !text.is_empty());
    if let Some(warnings) = text("warnings") {
        metadata.insert("warnings".to_owned(), warnings.to_owned());
    }
    if let Some(message) = text("errorMessage") {
        return Err(message.to_owned());
    }
    let series = body.get("timeseries").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    sample(series, now)
}

/// A point: its value, its time, and how far that is from now.
struct Point {
    value: f64,
    time: i64,
    drift: i64,
}

fn sample(series: &[Json], now: i64) -> Result<Sample, String> {
    let points = series.iter().map(|series| nearest(series, now)).collect::<Result<Vec<_>, _>>()?;
    let list = |parts: Vec<String>| format!("[{}]", parts.join(","));
    let all = |show: &dyn Fn(&Point) -> String| points.iter().map(show).collect::<Vec<_>>();
    let (value, timestamps, drift) =
        (&|point: &Point| two_digits(point.value), &|point: &Point| point.time.to_string(), &|point: &Point| {
            point.drift.to_string()
        });
    let (result, value, timestamps, drift) = match points.as_slice() {
        [] => return Err("No TimeSeries found in response from Wavefront".to_owned()),
        [point] => (Value::from(point.value), value(point), timestamps(point), drift(point)),
        points => {
            let values: Vec<f64> = points.iter().map(|point| point.value).collect();
            (Value::from(values), list(all(value)), list(all(timestamps)), list(all(drift)))
        }
    };
    let metadata = [("timestamps", timestamps), ("drift", drift)];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
    Ok(Sample { result, value, metadata })
}

/// A series without points would be 0 in Argo Rollouts; no data is no measurement here.
fn nearest(series: &Json, now: i64) -> Result<Point, String> {
    let points = series.get("data").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut best: Option<(f64, f64)> = None;
    for point in points {
        let (Some(time), Some(value)) = (point.get(0).and_then(Json::as_f64), point.get(1).and_then(Json::as_f64))
        else {
            return Err("json: a data point is no pair of numbers".to_owned());
        };
        let drift = |time: f64| (time - now as f64).abs();
        if best.is_none_or(|(best, _)| drift(time) < drift(best)) {
            best = Some((time, value));
        }
    }
    let (time, value) = best.ok_or("a TimeSeries in the response from Wavefront has no data points")?;
    Ok(Point { value, time: time as i64, drift: (time - now as f64) as i64 })
}

/// Go's `%.2f`.
fn two_digits(value: f64) -> String {
    if value.is_finite() { format!("{value:.2}") } else { go::plain(value) }
}
