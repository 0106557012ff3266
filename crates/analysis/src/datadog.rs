//! `datadog`: timeseries queries of API v1, scalar queries of API v2.

use okra_api::analysis::{DatadogMetric, SecretRef};
use okra_expr::Value;
use okra_provider::metric::{MetricError, Reading, Sample, SecretText};
use reqwest::Url;
use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::go;
use crate::http::{Answer, Call, Deadline, parse_url};
use crate::prometheus::{not_json, numbers};

const DEFAULT_SECRET: &str = "datadog";
const DEFAULT_ADDRESS: &str = "https://api.datadoghq.com";
/// More groups than these are not listed in the metadata.
const MAX_GROUPS: usize = 100;

struct Credentials {
    address: String,
    api_key: SecretText,
    app_key: SecretText,
}

/// What the CRD fills in; a template from a file has not been through it.
fn defaulted(mut spec: DatadogMetric) -> DatadogMetric {
    let fill = |field: &mut String, value: &str| {
        if field.is_empty() {
            value.clone_into(field);
        }
    };
    fill(&mut spec.api_version, "v1");
    fill(&mut spec.interval, "5m");
    fill(&mut spec.request_timeout, "10s");
    spec
}

fn validate(spec: &DatadogMetric) -> Result<(), String> {
    let review = "Please review the Analysis Template.";
    if spec.query.is_empty() && spec.queries.is_empty() {
        return Err(format!("Must have either a query or queries. {review}"));
    }
    if !spec.query.is_empty() && !spec.queries.is_empty() {
        return Err(format!("Cannot have both a query and queries. {review}"));
    }
    if spec.api_version == "v1" && spec.query.is_empty() {
        return Err("Query is empty. API Version v1 only supports using the query parameter in your Analysis \
                    Template."
            .to_owned());
    }
    if !spec.formula.is_empty() && spec.queries.is_empty() {
        return Err(format!("Formula are only valid when queries are set. {review}"));
    }
    if spec.formula.is_empty() && spec.queries.len() > 1 {
        return Err("When multiple queries are provided you must include a formula.".to_owned());
    }
    if spec.api_version == "v1" && !spec.aggregator.is_empty() {
        return Err(format!("Aggregator is not supported in v1. {review}"));
    }
    match go::duration_nanos(&spec.request_timeout) {
        Err(error) => Err(format!("Could not parse the request timeout: {error}. {review}")),
        Ok(timeout) if timeout <= 0 => Err(format!("Request timeout must be a positive duration (e.g. 30s). {review}")),
        Ok(_) => Ok(()),
    }
}

pub(crate) async fn run(context: &mut Context<'_>, spec: DatadogMetric) -> Result<Reading, MetricError> {
    measure(context, &defaulted(spec)).await.map(Reading::Sample).map_err(MetricError::new)
}

async fn measure(context: &mut Context<'_>, spec: &DatadogMetric) -> Result<Sample, String> {
    let credentials = credentials(context, &spec.secret_ref).await?;
    context.redaction.add(&credentials.api_key);
    context.redaction.add(&credentials.app_key);
    validate(spec)?;
    let deadline = Deadline::after(go::duration(&spec.request_timeout)?);
    let route = if spec.api_version == "v2" { "/api/v2/query/scalar" } else { "/api/v1/query" };
    let url = parse_url(&format!("{}{route}", credentials.address))?;
    let window = go::duration_nanos(&spec.interval)? / 1_000_000_000;
    let now = context.now.as_second();
    let mut call = match spec.api_version.as_str() {
        "v1" => ask_v1(spec, url, now, window, deadline),
        _ => Call::post(url, "application/json", body_v2(spec, now, window).to_string(), deadline),
    };
    call.set_header("Content-Type", "application/json")?;
    call.set_header("DD-API-KEY", credentials.api_key.expose())?;
    call.set_header("DD-APPLICATION-KEY", credentials.app_key.expose())?;
    let answer = context.http.send(call).await?;
    let body = read(&answer)?;
    if spec.api_version == "v1" { sample_v1(&body) } else { sample_v2(&body) }
}

/// A Secret that the template names, or the environment, or the Secret `datadog`.
async fn credentials(context: &Context<'_>, reference: &SecretRef) -> Result<Credentials, String> {
    let own = context.own_namespace;
    if reference.namespaced && reference.name.is_empty() {
        return Err("secret name is required for namespaced credentials".to_owned());
    }
    let found = if reference.name.is_empty() {
        let variable = |name| context.environment.get(name);
        match (variable("DD_ADDRESS"), variable("DD_API_KEY"), variable("DD_APP_KEY")) {
            (Some(address), Some(api_key), Some(app_key)) if filled(api_key) && filled(app_key) => {
                let address = address.expose().to_owned();
                Some(Credentials { address, api_key: api_key.clone(), app_key: app_key.clone() })
            }
            _ => of_secret(context, own, DEFAULT_SECRET).await,
        }
    } else {
        let namespace = if reference.namespaced { &context.request.run.namespace } else { own };
        of_secret(context, namespace, &reference.name).await
    };
    let mut found = found.ok_or("failed to find the credentials for datadog metrics provider")?;
    if found.address.is_empty() {
        DEFAULT_ADDRESS.clone_into(&mut found.address);
    }
    Ok(found)
}

fn filled(secret: &SecretText) -> bool {
    !secret.expose().is_empty()
}

async fn of_secret(context: &Context<'_>, namespace: &str, name: &str) -> Option<Credentials> {
    let mut data = context.secrets.secret(namespace, name).await.ok()?;
    let address = data.get("address").map(|address| address.expose().to_owned()).unwrap_or_default();
    let api_key = data.remove("api-key").filter(filled)?;
    let app_key = data.remove("app-key").filter(filled)?;
    Some(Credentials { address, api_key, app_key })
}

fn ask_v1(spec: &DatadogMetric, mut url: Url, now: i64, window: i64, deadline: Deadline) -> Call {
    let (from, to) = ((now - window).to_string(), now.to_string());
    url.set_query(Some(&go::encode_form(&[("query", &spec.query), ("from", &from), ("to", &to)])));
    Call::get(url, deadline)
}

fn body_v2(spec: &DatadogMetric, now: i64, window: i64) -> Json {
    let aggregator = if spec.aggregator.is_empty() { "last" } else { &spec.aggregator };
    let query = |(name, query): (&str, &str)| json!({"aggregator": aggregator, "data_source": "metrics", "name": name, "query": query});
    let queries: Vec<Json> = if spec.query.is_empty() {
        spec.queries.iter().map(|(name, text)| query((name, text))).collect()
    } else {
        vec![query(("query", &spec.query))]
    };
    let formulas: Vec<Json> = Some(&spec.formula)
        .filter(|formula| !formula.is_empty())
        .map(|formula| json!({"formula": formula}))
        .into_iter()
        .collect();
    let attributes = json!({"from": (now - window) * 1000, "to": now * 1000, "queries": queries, "formulas": formulas});
    json!({"data": {"type": "scalar_request", "attributes": attributes}})
}

fn read(answer: &Answer) -> Result<Json, String> {
    match answer.status {
        200 => serde_json::from_slice(&answer.body)
            .map_err(|error| format!("Could not parse JSON body: {}", not_json(&answer.body, &error))),
        401 | 403 => {
            Err(format!("received authentication error response code: {} {}", answer.status, answer.excerpt()))
        }
        status => Err(format!("received non 2xx response code: {status} {}", answer.excerpt())),
    }
}

fn unexpected(what: &str) -> String {
    format!("Could not parse JSON body: {what} is not what the API promises")
}

/// The last point of the first series.
fn sample_v1(body: &Json) -> Result<Sample, String> {
    let series = match body.get("series") {
        None | Some(Json::Null) => None,
        Some(Json::Array(series)) => Some(series),
        Some(_) => return Err(unexpected("series")),
    };
    let first = series.and_then(|series| series.first());
    let points = match first.and_then(|series| series.get("pointlist")) {
        None | Some(Json::Null) => None,
        Some(Json::Array(points)) => Some(points),
        Some(_) => return Err(unexpected("pointlist")),
    };
    let Some(point) = points.and_then(|points| points.last()) else {
        let shown = |series: &Json| json!({"Pointlist": series.get("pointlist").cloned().unwrap_or(Json::Null)});
        let shown = series.map(|series| Json::Array(series.iter().map(shown).collect())).unwrap_or_default();
        return Ok(Sample::new(Value::Nil, go::json(&shown)));
    };
    match point.as_array().map(Vec::as_slice) {
        Some([_, Json::Null]) => Ok(Sample::new(Value::Nil, "null")),
        Some([_, Json::Number(value)]) => Ok(number(value.as_f64().unwrap_or(f64::NAN))),
        Some([_, _]) | None => Err(unexpected("a point")),
        Some(_) => Err("Datapoint does not have 2 values".to_owned()),
    }
}

fn number(value: f64) -> Sample {
    Sample::new(Value::from(value), go::plain(value))
}

fn sample_v2(body: &Json) -> Result<Sample, String> {
    let data = body.get("data").unwrap_or(&Json::Null);
    match data.get("errors") {
        Some(Json::String(errors)) if !errors.is_empty() => {
            return Err(format!("There were errors in your query: {errors}"));
        }
        None | Some(Json::Null | Json::String(_)) => {}
        Some(_) => return Err(unexpected("errors")),
    }
    let columns = match data.pointer("/attributes/columns") {
        None | Some(Json::Null) => &[],
        Some(Json::Array(columns)) => columns.as_slice(),
        Some(_) => return Err(unexpected("columns")),
    };
    let groups: Vec<&Json> = columns.iter().filter(|column| column.get("type") == Some(&json!("group"))).collect();
    if !groups.is_empty() {
        return grouped(columns, &groups);
    }
    match columns.first().and_then(|column| column.get("values")).and_then(|values| values.get(0)) {
        Some(Json::Number(value)) => Ok(number(value.as_f64().unwrap_or(f64::NAN))),
        None | Some(Json::Null) => Ok(Sample::new(Value::Nil, nothing_in(columns))),
        Some(_) => Err(unexpected("a value")),
    }
}

/// The value that Argo records where there is none.
fn nothing_in(columns: &[Json]) -> String {
    let values = |column: &Json| column.get("values").cloned().unwrap_or(Json::Null);
    match columns {
        [column] => go::json(&values(column)),
        [] => r#"{"Columns":null}"#.to_owned(),
        columns => {
            let columns: Vec<Json> = columns.iter().map(|column| json!({"Values": values(column)})).collect();
            go::json(&json!({"Columns": columns}))
        }
    }
}

/// One value for each group, in the order of the answer; a group without a value is left out.
fn grouped(columns: &[Json], groups: &[&Json]) -> Result<Sample, String> {
    let values = columns.iter().find(|column| column.get("type") != Some(&json!("group")));
    let values =
        values.and_then(|column| column.get("values")).and_then(Json::as_array).ok_or(unexpected("columns"))?;
    let mut found: Vec<(String, f64)> = Vec::new();
    for (index, value) in values.iter().enumerate() {
        match value {
            Json::Null => {}
            Json::Number(value) => found.push((name(groups, index), value.as_f64().unwrap_or(f64::NAN))),
            _ => return Err(unexpected("a value")),
        }
    }
    let mut sample = numbers(found.iter().map(|(_, value)| *value).collect());
    let truncated = found.len() > MAX_GROUPS;
    if truncated {
        found.sort_by(|one, two| one.1.total_cmp(&two.1));
        found.drain(MAX_GROUPS / 2..found.len() - MAX_GROUPS / 2);
        sample.metadata.insert("groups_truncated".to_owned(), "true".to_owned());
    }
    let listed: Vec<Json> = found.iter().map(|(group, value)| json!({"group": group, "value": value})).collect();
    sample.metadata.insert("groups".to_owned(), go::json(&Json::Array(listed)));
    Ok(sample)
}

/// `service:web,env:prod`
fn name(groups: &[&Json], index: usize) -> String {
    let part = |column: &&Json| {
        let tag = column.get("name").and_then(Json::as_str).unwrap_or_default();
        let value = column.get("values").and_then(|values| values.get(index));
        let value = match value {
            Some(Json::Array(values)) => values.iter().filter_map(Json::as_str).collect::<Vec<_>>().join("|"),
            Some(Json::String(value)) => value.clone(),
            _ => String::new(),
        };
        format!("{tag}:{value}")
    };
    groups.iter().map(part).collect::<Vec<_>>().join(",")
}
