//! `datadog`.

use okra_analysis::Environment;
use pretty_assertions::assert_eq;
use serde_json::{Value as Json, json};
use wiremock::ResponseTemplate;

use crate::rig::*;

fn keys(address: &str) -> Vec<(String, String)> {
    [("address", address), ("api-key", "ap1-key"), ("app-key", "ap9-key")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec()
}

fn bench(name: &str, address: &str) -> Bench {
    let keys = keys(address);
    let keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    Bench { secrets: FakeSecrets::default().with(name, &keys), ..Bench::default() }
}

fn points(points: Json) -> Json {
    json!({"status": "ok", "series": [{"pointlist": points}, {"pointlist": [[1.0, 99.0]]}]})
}

fn columns(columns: Json) -> Json {
    json!({"data": {"type": "scalar_response", "attributes": {"columns": columns}}})
}

#[tokio::test]
async fn version_1_asks_for_a_window_of_seconds() {
    let server = json_server(points(json!([[1.0, 0.5], [2.0, 0.25]]))).await;
    let bench = bench("okra/datadog", &server.uri());
    let spec = json!({"datadog": {"query": "avg:a{b:c}", "interval": "2m"}});
    assert_eq!(bench.ask(spec).await, ok("0.25", "float64"));
    bench.ask(json!({"datadog": {"apiVersion": "v1", "query": "x"}})).await.unwrap();
    let requests = got(&server).await;
    assert_eq!((requests[0].method.as_str(), requests[0].url.path()), ("GET", "/api/v1/query"));
    assert_eq!(requests[0].url.query(), Some("from=1795175880&query=avg%3Aa%7Bb%3Ac%7D&to=1795176000"));
    assert_eq!(requests[1].url.query(), Some("from=1795175700&query=x&to=1795176000"));
    assert_eq!(header(&requests[0], "dd-api-key"), Some("ap1-key"));
    assert_eq!(header(&requests[0], "dd-application-key"), Some("ap9-key"));
    assert_eq!(header(&requests[0], "content-type"), Some("application/json"));
}

#[tokio::test]
async fn version_1_takes_the_last_point_of_the_first_series() {
    let table = [
        (points(json!([])), ok("[{\"Pointlist\":[]},{\"Pointlist\":[[1,99]]}]", "<nil>")),
        (json!({"series": []}), ok("[]", "<nil>")),
        (json!({}), ok("null", "<nil>")),
        (points(json!([[1.0, null]])), ok("null", "<nil>")),
        (points(json!([[1.0, 1e21]])), ok("1000000000000000000000", "float64")),
        (points(json!([[1.0]])), Err("Datapoint does not have 2 values".to_owned())),
        (json!("x"), ok("null", "<nil>")),
        (json!({"series": "x"}), Err("Could not parse JSON body: series is not what the API promises".to_owned())),
    ];
    for (body, expected) in table {
        let server = json_server(body.clone()).await;
        let spec = json!({"datadog": {"apiVersion": "v1", "query": "x"}});
        assert_eq!(bench("okra/datadog", &server.uri()).ask(spec).await, expected, "{body}");
    }
}

#[tokio::test]
async fn version_2_posts_queries_and_a_formula() {
    let server = json_server(columns(json!([{"type": "number", "name": "r", "values": [0.75]}]))).await;
    let bench = bench("okra/datadog", &server.uri());
    let queries = json!({"a": "sum:errors{*}", "b": "sum:requests{*}"});
    let spec =
        json!({"apiVersion": "v2", "queries": queries, "formula": "a / b", "aggregator": "sum", "interval": "10m"});
    assert_eq!(bench.ask(json!({"datadog": spec})).await, ok("0.75", "float64"));
    bench.ask(json!({"datadog": {"apiVersion": "v2", "query": "x"}})).await.unwrap();
    let requests = got(&server).await;
    assert_eq!((requests[0].method.as_str(), requests[0].url.path()), ("POST", "/api/v2/query/scalar"));
    let query = |name: &str, aggregator: &str, query: &str| json!({"aggregator": aggregator, "data_source": "metrics", "name": name, "query": query});
    let expected = json!({"data": {"type": "scalar_request", "attributes": {
        "from": 1_795_175_400_000_i64,
        "to": 1_795_176_000_000_i64,
        "queries": [query("a", "sum", "sum:errors{*}"), query("b", "sum", "sum:requests{*}")],
        "formulas": [{"formula": "a / b"}],
    }}});
    assert_eq!(body_json(&requests[0]), expected);
    let second = body_json(&requests[1]);
    assert_eq!(second["data"]["attributes"]["queries"], json!([query("query", "last", "x")]));
    assert_eq!(second["data"]["attributes"]["formulas"], json!([]));
}

#[tokio::test]
async fn version_2_takes_the_first_value_or_all_groups() {
    let group = json!({"type": "group", "name": "service", "values": [["web"], ["api"], ["db"]]});
    let table = [
        (columns(json!([{"values": [null]}])), ok("[null]", "<nil>")),
        (columns(json!([{"values": []}])), ok("[]", "<nil>")),
        (columns(json!([])), ok("{\"Columns\":null}", "<nil>")),
        (
            columns(json!([{"values": []}, {"values": [1]}])),
            ok("{\"Columns\":[{\"Values\":[]},{\"Values\":[1]}]}", "<nil>"),
        ),
        (columns(json!([group, {"type": "number", "values": [0.5, null, 0.25]}])), ok("[0.5,0.25]", "[]float64")),
        (columns(json!([group, {"type": "number", "values": [null, null, null]}])), ok("[]", "[]float64")),
        (
            json!({"data": {"errors": "no such metric"}}),
            Err("There were errors in your query: no such metric".to_owned()),
        ),
        (
            columns(json!([{"values": ["1"]}])),
            Err("Could not parse JSON body: a value is not what the API promises".to_owned()),
        ),
    ];
    for (body, expected) in table {
        let server = json_server(body.clone()).await;
        let spec = json!({"datadog": {"apiVersion": "v2", "query": "x"}});
        assert_eq!(bench("okra/datadog", &server.uri()).ask(spec).await, expected, "{body}");
    }
}

#[tokio::test]
async fn groups_are_metadata_and_not_too_many() {
    let names: Vec<Json> = (0..150).map(|index| json!([format!("s{index}")])).collect();
    let values: Vec<f64> = (0..150).map(|index| f64::from(149 - index)).collect();
    let answer = columns(json!([
        {"type": "group", "name": "service", "values": names},
        {"type": "number", "name": "a", "values": values},
    ]));
    let server = json_server(answer).await;
    let spec = json!({"datadog": {"apiVersion": "v2", "query": "x by {service}"}});
    let sample = bench("okra/datadog", &server.uri()).read(spec).await.unwrap();
    assert_eq!(holds(&sample, "len(result) == 150 && result[0] == 149"), Ok(true));
    assert_eq!(sample.metadata["groups_truncated"], "true");
    let groups = &sample.metadata["groups"];
    assert!(groups.starts_with("[{\"group\":\"service:s149\",\"value\":0},"), "{groups}");
}

#[tokio::test]
async fn specs_are_checked_before_anything_is_sent() {
    let review = "Please review the Analysis Template.";
    let table = [
        (json!({}), format!("Must have either a query or queries. {review}")),
        (
            json!({"apiVersion": "v2", "query": "a", "queries": {"b": "c"}}),
            format!("Cannot have both a query and queries. {review}"),
        ),
        (
            json!({"queries": {"b": "c"}}),
            "Query is empty. API Version v1 only supports using the query parameter in your Analysis Template."
                .to_owned(),
        ),
        (
            json!({"apiVersion": "v2", "query": "a", "formula": "b"}),
            format!("Formula are only valid when queries are set. {review}"),
        ),
        (
            json!({"apiVersion": "v2", "queries": {"a": "1", "b": "2"}}),
            "When multiple queries are provided you must include a formula.".to_owned(),
        ),
        (json!({"query": "a", "aggregator": "sum"}), format!("Aggregator is not supported in v1. {review}")),
        (
            json!({"query": "a", "requestTimeout": "0s"}),
            format!("Request timeout must be a positive duration (e.g. 30s). {review}"),
        ),
        (
            json!({"query": "a", "requestTimeout": "x"}),
            format!("Could not parse the request timeout: time: invalid duration \"x\". {review}"),
        ),
    ];
    let bench = bench("okra/datadog", "http://127.0.0.1:1");
    for (spec, message) in table {
        assert_eq!(bench.refusal(json!({"datadog": spec})).await, message);
    }
}

#[tokio::test]
async fn credentials_come_from_where_argo_looks() {
    let server = json_server(points(json!([[1.0, 1.0]]))).await;
    let named = json!({"datadog": {"query": "x", "secretRef": {"name": "mine"}}});
    let namespaced = json!({"datadog": {"query": "x", "secretRef": {"name": "mine", "namespaced": true}}});
    let plain = json!({"datadog": {"query": "x"}});
    let none = "failed to find the credentials for datadog metrics provider".to_owned();
    assert_eq!(bench("okra/mine", &server.uri()).ask(named.clone()).await, ok("1", "float64"));
    assert_eq!(bench("shop/mine", &server.uri()).ask(named).await, Err(none.clone()));
    assert_eq!(bench("shop/mine", &server.uri()).ask(namespaced.clone()).await, ok("1", "float64"));
    assert_eq!(bench("okra/mine", &server.uri()).ask(namespaced).await, Err(none.clone()));
    assert_eq!(refusal(plain.clone()).await, none);
    let unnamed = json!({"datadog": {"query": "x", "secretRef": {"namespaced": true}}});
    assert_eq!(refusal(unnamed).await, "secret name is required for namespaced credentials");

    let with =
        |variables: &[(&str, &str)]| Bench { environment: Environment::of(variables.to_vec()), ..Bench::default() };
    let (uri, api, app) = (server.uri(), ("DD_API_KEY", "a"), ("DD_APP_KEY", "b"));
    assert_eq!(with(&[api, app, ("DD_ADDRESS", &uri)]).ask(plain.clone()).await, ok("1", "float64"));
    assert_eq!(with(&[api, app]).refusal(plain).await, none, "all three are needed");
}

#[tokio::test]
async fn refusals_are_told_without_the_keys() {
    for (status, message) in [
        (403, "received authentication error response code: 403 bad ***** and *****"),
        (401, "received authentication error response code: 401 bad ***** and *****"),
        (429, "received non 2xx response code: 429 bad ***** and *****"),
        (202, "received non 2xx response code: 202 bad ***** and *****"),
    ] {
        let server = server(ResponseTemplate::new(status).set_body_string("bad ap1-key and ap9-key")).await;
        for version in ["v1", "v2"] {
            let spec = json!({"datadog": {"apiVersion": version, "query": "x"}});
            assert_eq!(bench("okra/datadog", &server.uri()).refusal(spec).await, message);
        }
    }
}
