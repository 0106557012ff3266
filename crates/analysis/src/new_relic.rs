//! `newRelic`: an NRQL query through NerdGraph.

use std::collections::BTreeMap;

use okra_api::analysis::NewRelicMetric;
use okra_expr::Value;
use okra_provider::metric::{MetricError, Reading, Sample, SecretText};
use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::go;
use crate::http::{Answer, Call, Deadline, parse_url};
use crate::prometheus::not_json;

const DEFAULT_SECRET: &str = "newrelic";
const DEFAULT_TIMEOUT: i64 = 5;
/// What the call may take beyond the time that the query is given there.
const ON_THE_WAY: i64 = 10;

const QUERY: &str = "query (
  $query: Nrql!, 
  $accountId: Int!,
  $timeout: Seconds!
)
{
  actor {
    account(id: $accountId) {
      nrql(query: $query, timeout: $timeout) {
        results
      }
    }
  }
}
";

pub(crate) fn metadata(spec: &NewRelicMetric) -> BTreeMap<String, String> {
    let query = Some(spec.query.clone()).filter(|query| !query.is_empty());
    query.map(|query| ("ResolvedNewRelicQuery".to_owned(), query)).into_iter().collect()
}

pub(crate) async fn run(context: &mut Context<'_>, spec: NewRelicMetric) -> Result<Reading, MetricError> {
    measure(context, &spec).await.map(Reading::Sample).map_err(MetricError::new)
}

async fn measure(context: &mut Context<'_>, spec: &NewRelicMetric) -> Result<Sample, String> {
    let secret = if spec.profile.is_empty() { DEFAULT_SECRET } else { &spec.profile };
    let open = ["account-id", "region", "base-url-rest", "base-url-nerdgraph"];
    let data = context.own_secret(secret, &open).await?;
    let part = |key| data.get(key).map(SecretText::expose);
    let filled = |key| part(key).filter(|value| !value.is_empty());
    let (Some(key), Some(account)) = (filled("personal-api-key"), filled("account-id")) else {
        return Err("account ID or personal API key not found".to_owned());
    };
    let address = match (filled("base-url-nerdgraph"), part("region").unwrap_or("us")) {
        (Some(address), _) => address,
        (None, region) => of_region(region)?,
    };
    let account: i64 = account.parse().map_err(|_| {
        format!("could not parse account ID: strconv.Atoi: parsing {}: invalid syntax", go::quote(account))
    })?;
    let timeout = spec.timeout.unwrap_or(DEFAULT_TIMEOUT);
    if timeout < 0 {
        return Err("timeout value needs to be a positive value".to_owned());
    }
    let variables = json!({"accountId": account, "query": spec.query, "timeout": timeout});
    let body = json!({"query": QUERY, "variables": variables}).to_string();
    let deadline = Deadline::after_seconds(timeout.saturating_add(ON_THE_WAY));
    let mut call = Call::post(parse_url(address)?, "application/json", body, deadline);
    call.set_header("Api-Key", key)?;
    let answer = context.http.send(call).await?;
    sample(&rows(&answer)?)
}

fn of_region(region: &str) -> Result<&'static str, String> {
    match region.to_ascii_lowercase().as_str() {
        "us" | "" => Ok("https://api.newrelic.com/graphql"),
        "eu" => Ok("https://api.eu.newrelic.com/graphql"),
        _ => Err(format!("unknown region {}: expected us or eu", go::quote(region))),
    }
}

fn rows(answer: &Answer) -> Result<Vec<Json>, String> {
    if !answer.is_success() {
        return Err(format!("{} response returned: {}", answer.status, answer.excerpt()));
    }
    let mut body: Json = serde_json::from_slice(&answer.body).map_err(|error| not_json(&answer.body, &error))?;
    let errors = body.get("errors").and_then(Json::as_array).filter(|errors| !errors.is_empty());
    if let Some(errors) = errors {
        let messages = errors.iter().filter_map(|error| error.get("message")?.as_str());
        return Err(messages.collect::<Vec<_>>().join(", "));
    }
    match body.pointer_mut("/data/actor/account/nrql/results").map(Json::take) {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::Array(rows)) if rows.iter().all(Json::is_object) => Ok(rows),
        Some(_) => Err("json: the results are no list of rows".to_owned()),
    }
}

fn sample(rows: &[Json]) -> Result<Sample, String> {
    let shown = match rows {
        [] => return Err("no results returned from NRQL query".to_owned()),
        [Json::Object(row)] if row.is_empty() => return Err("no results returned from NRQL query".to_owned()),
        [row] => go::json(row),
        rows => go::json(&Json::from(rows.to_vec())),
    };
    Ok(Sample::new(Value::new_relic(rows), shown))
}
