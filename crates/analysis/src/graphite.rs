//! `graphite`: the render API.

use okra_api::analysis::GraphiteMetric;
use okra_expr::Value;
use okra_provider::metric::{MetricError, Reading, Sample};
use reqwest::Url;
use serde_json::Value as Json;

use crate::context::Context;
use crate::go;
use crate::http::{Call, Deadline, parse_url};
use crate::prometheus::not_json;

const TIMEOUT: i64 = 10;

pub(crate) async fn run(context: &mut Context<'_>, spec: GraphiteMetric) -> Result<Reading, MetricError> {
    measure(context, &spec).await.map(Reading::Sample).map_err(MetricError::new)
}

async fn measure(context: &Context<'_>, spec: &GraphiteMetric) -> Result<Sample, String> {
    let mut url =
        parse_url(&spec.address).map_err(|_| format!("Graphite address {} is not a valid URL", spec.address))?;
    url.set_path(&format!("{}/render", url.path().trim_end_matches('/')));
    url.set_query(Some(&query(&spec.query)));
    let answer = context.http.send(Call::get(url, Deadline::after_seconds(TIMEOUT))).await?;
    if answer.status >= 400 {
        return Err(format!("error response: {}", answer.excerpt()));
    }
    let series: Json = serde_json::from_slice(&answer.body).map_err(|error| not_json(&answer.body, &error))?;
    sample(&series)
}

/// The query without its white space, and with a format.
fn query(text: &str) -> String {
    let text: String = text.chars().filter(|c| !matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}')).collect();
    let mut pairs: Vec<(String, String)> = Url::parse(&format!("http://graphite.invalid/?{text}"))
        .map(|url| url.query_pairs().into_owned().collect())
        .unwrap_or_default();
    pairs.retain(|(key, _)| key != "format");
    pairs.push(("format".to_owned(), "json".to_owned()));
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    go::encode_form(&pairs)
}

/// The points of the first series that have a value.
fn sample(series: &Json) -> Result<Sample, String> {
    let series = series.as_array().ok_or("json: the answer is no list of series")?;
    let points = series.first().and_then(|series| series.get("datapoints")).and_then(Json::as_array);
    let points = points.filter(|points| !points.is_empty()).ok_or("no values found")?;
    let mut values = Vec::new();
    for point in points {
        let pair = point.as_array().map(Vec::as_slice);
        let Some([value, Json::Null | Json::Number(_) | Json::String(_)]) = pair else {
            return Err(format!("error unmarshaling data point: {}", Value::json(point)));
        };
        match value {
            Json::Null => {}
            Json::Number(number) => values.push(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => values.push(
                go::parse_float(text)
                    .ok_or_else(|| format!("strconv.ParseFloat: parsing {}: invalid syntax", go::quote(text)))?,
            ),
            other => return Err(format!("error unmarshaling value: {}", Value::json(other))),
        }
    }
    let shown: Vec<String> = values.iter().map(|value| six_digits(*value)).collect();
    Ok(Sample::new(Value::from(values), format!("[{}]", shown.join(","))))
}

/// Go's `%f`.
fn six_digits(value: f64) -> String {
    if value.is_finite() { format!("{value:.6}") } else { go::plain(value) }
}
