//! `prometheus`.

use std::sync::Arc;

use okra_analysis::Environment;
use okra_provider::metric::{MetricProvider as _, SecretText};
use pretty_assertions::assert_eq;
use serde_json::{Value as Json, json};
use wiremock::matchers::{header as has_header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::rig::*;

fn success(kind: &str, result: Json) -> Json {
    json!({"status": "success", "data": {"resultType": kind, "result": result}})
}

fn vector(values: &[&str]) -> Json {
    let samples: Vec<Json> =
        values.iter().map(|value| json!({"metric": {}, "value": [1_700_000_000.1, value]})).collect();
    success("vector", json!(samples))
}

#[tokio::test]
async fn an_instant_query_is_a_form_that_is_posted() {
    let server = json_server(vector(&["0.5", "1"])).await;
    let spec = json!({"address": format!("{}/prefix/?tenant=a", server.uri()), "query": "sum(rate(x[5m]))"});
    assert_eq!(ask(json!({"prometheus": spec})).await, ok("[0.5,1]", "[]float64"));
    let requests = got(&server).await;
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].method.as_str(), requests[0].url.path()), ("POST", "/prefix/api/v1/query"));
    assert_eq!(header(&requests[0], "content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(body(&requests[0]), "query=sum%28rate%28x%5B5m%5D%29%29&tenant=a&time=1795176000.5");
}

#[tokio::test]
async fn a_range_query_has_times_that_are_evaluated() {
    let result = json!([
        {"metric": {"a": "1"}, "values": [[1, "1"], [2, "NaN"]]},
        {"metric": {"a": "2"}, "values": [[1, "+Inf"]]},
        {"metric": {"a": "3"}, "values": []},
    ]);
    let server = json_server(success("matrix", result)).await;
    let range = json!({"start": "now() - duration('1h')", "end": "now()", "step": "1m30s"});
    let spec = json!({"address": server.uri(), "query": "x", "rangeQuery": range});
    assert_eq!(ask(json!({"prometheus": spec})).await, ok("[1,NaN,+Inf]", "[]float64"));
    let requests = got(&server).await;
    assert_eq!(requests[0].url.path(), "/api/v1/query_range");
    assert_eq!(body(&requests[0]), "end=1795176000.5&query=x&start=1795172400.5&step=90");

    for (range, message) in [
        (
            json!({"start": "1", "end": "now()", "step": "1m"}),
            "failed to parse rangeQuery.start as time: expected time.Time, but got int",
        ),
        (
            json!({"start": "now()", "end": "'x'", "step": "1m"}),
            "failed to parse rangeQuery.end as time: expected time.Time, but got string",
        ),
        (
            json!({"start": "now()", "end": "now()", "step": "1d"}),
            "failed to parse rangeQuery.step as duration: time: unknown unit \"d\" in duration \"1d\"",
        ),
    ] {
        let spec = json!({"address": server.uri(), "query": "x", "rangeQuery": range});
        assert_eq!(refusal(json!({"prometheus": spec})).await, message);
    }
}

#[tokio::test]
async fn results_have_the_type_of_the_answer() {
    let table = [
        (success("scalar", json!([1, "0.95"])), ok("0.95", "float64")),
        (success("scalar", json!([1, "NaN"])), ok("NaN", "float64")),
        (vector(&[]), ok("[]", "[]float64")),
        (success("vector", Json::Null), ok("[]", "[]float64")),
        (vector(&["NaN", "-Inf", "1e22"]), ok("[NaN,-Inf,10000000000000000000000]", "[]float64")),
        (success("string", json!([1, "x"])), Err("unexpected value type \"string\"".to_owned())),
        (success("streams", json!([])), Err("unexpected value type \"streams\"".to_owned())),
        (json!({"status": "success"}), Err("unexpected end of JSON input".to_owned())),
        (
            success("vector", json!([{"metric": {}, "value": [1, 2]}])),
            Err("sample value must be a quoted string".to_owned()),
        ),
        (
            success("vector", json!([{"metric": {}, "value": [1, "x"]}])),
            Err("strconv.ParseFloat: parsing \"x\": invalid syntax".to_owned()),
        ),
        (success("vector", json!([{"metric": {}, "histogram": [1, {}]}])), Err("the sample has no value".to_owned())),
        (
            success("vector", json!({"a": 1})),
            Err("json: cannot unmarshal the result into Go value of type model.Vector".to_owned()),
        ),
        (
            json!({"status": "error", "errorType": "execution", "error": "query timed out"}),
            Err("execution: query timed out".to_owned()),
        ),
    ];
    for (body, expected) in table {
        let server = json_server(body.clone()).await;
        let spec = json!({"prometheus": {"address": server.uri(), "query": "x"}});
        assert_eq!(ask(spec).await, expected, "{body}");
    }
}

#[tokio::test]
async fn not_a_number_and_no_data_are_what_they_are_in_go() {
    let nan = json_server(vector(&["NaN"])).await;
    let sample = Bench::default().read(json!({"prometheus": {"address": nan.uri(), "query": "x"}})).await.unwrap();
    assert_eq!(holds(&sample, "result[0] > 0.5"), Ok(false));
    assert_eq!(holds(&sample, "isNaN(result[0])"), Ok(true));
    let empty = json_server(vector(&[])).await;
    let sample = Bench::default().read(json!({"prometheus": {"address": empty.uri(), "query": "x"}})).await.unwrap();
    assert_eq!(holds(&sample, "len(result) == 0"), Ok(true));
    assert!(holds(&sample, "result[0] > 0.5").is_err());
}

#[tokio::test]
async fn statuses_are_told_as_the_go_client_does() {
    let html = |status| ResponseTemplate::new(status).set_body_string("<html>s3cret</html>");
    let api = |status: u16, body: Json| ResponseTemplate::new(status).set_body_json(body);
    let error = json!({"status": "error", "errorType": "bad_data", "error": "parse error"});
    let table = [
        (html(404), "client_error: client error: 404"),
        (html(500), "server_error: server error: 500"),
        (html(200), "bad_response: invalid character '<' looking for beginning of value"),
        (html(304), "bad_response: bad response code 304"),
        (api(400, error.clone()), "bad_data: parse error"),
        (api(422, error.clone()), "bad_data: parse error"),
        (api(503, error), "server_error: server error: 503"),
        (api(400, vector(&["1"])), "bad_response: inconsistent body for response code"),
        (ResponseTemplate::new(204), "bad_response: unexpected end of JSON input"),
    ];
    for (template, message) in table {
        let server = server(template).await;
        assert_eq!(refusal(json!({"prometheus": {"address": server.uri(), "query": "x"}})).await, message);
    }
}

#[tokio::test]
async fn servers_that_take_no_post_are_asked_again() {
    for status in [403, 405, 501] {
        let server = MockServer::start().await;
        Mock::given(method("POST")).respond_with(ResponseTemplate::new(status)).mount(&server).await;
        let answer = ResponseTemplate::new(200).set_body_json(vector(&["7"]));
        Mock::given(method("GET")).and(path("/api/v1/query")).respond_with(answer).mount(&server).await;
        let spec = json!({"prometheus": {"address": server.uri(), "query": "up == 1"}});
        assert_eq!(ask(spec).await, ok("[7]", "[]float64"));
        let requests = got(&server).await;
        assert_eq!(requests[1].url.query(), Some("query=up+%3D%3D+1&time=1795176000.5"));
    }
}

#[tokio::test]
async fn warnings_and_the_query_are_metadata() {
    let mut answer = vector(&["1"]);
    answer["warnings"] = json!(["one", "two"]);
    let server = json_server(answer).await;
    let spec = json!({"prometheus": {"address": server.uri(), "query": "x"}});
    let sample = Bench::default().read(spec.clone()).await.unwrap();
    assert_eq!(sample.metadata, [("warnings".to_owned(), "\"one\", \"two\"".to_owned())].into());
    let providers = Bench::default().providers();
    let metadata = providers.metadata(&request(spec.clone()));
    assert_eq!(metadata, [("ResolvedPrometheusQuery".to_owned(), "x".to_owned())].into());
    assert_eq!(providers.type_name(&spec), "Prometheus");
}

#[tokio::test]
async fn addresses_and_timeouts_are_checked_first() {
    let table = [
        (json!({"query": "x"}), "prometheus address is not configured"),
        (json!({"address": "prometheus:9090", "query": "x"}), "prometheus address is not is url format"),
        (json!({"address": "/api", "query": "x"}), "prometheus address is not is url format"),
        (json!({"address": "http://p", "timeout": -1}), "prometheus timeout should not be negative"),
        (
            json!({"address": "http://p", "authentication": {"oauth2": {"tokenUrl": "http://t", "clientId": "a"}}}),
            "missing mandatory parameter in metric for OAuth2 setup",
        ),
        (
            json!({"address": "http://p", "authentication": {"basicAuth": {"username": "a"}}}),
            "missing mandatory parameter in metric for basic authentication setup",
        ),
    ];
    for (spec, message) in table {
        assert_eq!(refusal(json!({"prometheus": spec})).await, message);
    }
    let server = json_server(vector(&["1"])).await;
    let environment = Environment::of([("ARGO_ROLLOUTS_PROMETHEUS_ADDRESS", server.uri().as_str())]);
    let bench = Bench { environment, ..Bench::default() };
    assert_eq!(bench.ask(json!({"prometheus": {"query": "x"}})).await, ok("[1]", "[]float64"));
    let of_template = json!({"prometheus": {"address": "http://127.0.0.1:1", "query": "x"}});
    assert!(bench.ask(of_template).await.is_err(), "the template wins");
}

#[tokio::test]
async fn headers_and_passwords_go_along() {
    let server = json_server(vector(&["1"])).await;
    let headers = json!([{"key": "X-Scope-OrgID", "value": "tenant"}, {"key": "Host", "value": "ignored"}]);
    let basic = json!({"basicAuth": {"username": "user", "password": "pass"}});
    let spec = json!({"address": server.uri(), "query": "x", "headers": headers, "authentication": basic});
    ask(json!({"prometheus": spec})).await.unwrap();
    let requests = got(&server).await;
    assert_eq!(header(&requests[0], "x-scope-orgid"), Some("tenant"));
    assert_eq!(header(&requests[0], "authorization"), Some("Basic dXNlcjpwYXNz"));
    assert_ne!(header(&requests[0], "host"), Some("ignored"));
    assert!(header(&requests[0], "user-agent").unwrap().starts_with("okra/"));
}

fn oauth2(server: &MockServer) -> Json {
    json!({
        "tokenUrl": format!("{}/token", server.uri()),
        "clientId": "id x",
        "clientSecret": "s3cret!",
        "scopes": ["a", "b"],
    })
}

#[tokio::test]
async fn a_token_is_fetched_with_the_credentials_in_the_header_or_else_in_the_form() {
    let server = MockServer::start().await;
    let token = ResponseTemplate::new(200).set_body_json(json!({"access_token": "t0ken", "token_type": "bearer"}));
    let refused = ResponseTemplate::new(401).set_body_json(json!({"error": "invalid_client"}));
    Mock::given(path("/token"))
        .and(has_header("authorization", "Basic aWQreDpzM2NyZXQlMjE="))
        .respond_with(refused)
        .mount(&server)
        .await;
    Mock::given(path("/token")).respond_with(token).with_priority(9).mount(&server).await;
    Mock::given(path("/api/v1/query"))
        .and(has_header("authorization", "Bearer t0ken"))
        .respond_with(ResponseTemplate::new(200).set_body_json(vector(&["1"])))
        .mount(&server)
        .await;
    let spec = json!({"address": server.uri(), "query": "x", "authentication": {"oauth2": oauth2(&server)}});
    assert_eq!(ask(json!({"prometheus": spec})).await, ok("[1]", "[]float64"));
    let requests = got(&server).await;
    assert_eq!(body(&requests[0]), "grant_type=client_credentials&scope=a+b");
    assert_eq!(body(&requests[1]), "client_id=id+x&client_secret=s3cret%21&grant_type=client_credentials&scope=a+b");
    assert_eq!(header(&requests[1], "authorization"), None);
}

#[tokio::test]
async fn a_refused_token_is_told_without_the_secret() {
    for (template, message) in [
        (
            ResponseTemplate::new(401).set_body_string("no s3cret! s3cret%21"),
            "oauth2: cannot fetch token: 401\nResponse: no ***** *****",
        ),
        (
            ResponseTemplate::new(400).set_body_json(json!({"error": "bad", "error_description": "not s3cret!"})),
            "oauth2: \"bad\" \"not *****\"",
        ),
        (ResponseTemplate::new(200).set_body_json(json!({})), "oauth2: server response missing access_token"),
    ] {
        let server = server(template).await;
        let spec = json!({"address": server.uri(), "query": "x", "authentication": {"oauth2": oauth2(&server)}});
        assert_eq!(refusal(json!({"prometheus": spec})).await, message);
    }
}

#[tokio::test]
async fn only_managed_prometheus_is_signed_for() {
    let server = json_server(vector(&["1"])).await;
    let bench = Bench { signer: Some(Arc::new(FakeSigner)), ..Bench::default() };
    let sigv4 = json!({"sigv4": {"region": "eu-west-1", "profile": "p", "roleArn": "arn:r"}});
    let managed = format!("{}/aps-workspaces/ws-1", server.uri());
    for (address, authentication) in [(&managed, &sigv4), (&server.uri(), &sigv4), (&managed, &json!({}))] {
        let spec = json!({"address": address, "query": "x", "authentication": authentication});
        bench.ask(json!({"prometheus": spec})).await.unwrap();
    }
    let requests = got(&server).await;
    let signed: Vec<_> = requests.iter().map(|request| header(request, "authorization")).collect();
    assert_eq!(signed, [Some("aps eu-west-1 p arn:r POST 25"), None, None]);
    let spec = json!({"prometheus": {"address": managed, "query": "x", "authentication": sigv4}});
    assert_eq!(refusal(spec).await, "failed to sign the request with SigV4: this process has no AWS credentials");
}

#[tokio::test]
async fn secrets_of_arguments_never_come_back() {
    let error =
        json!({"status": "error", "errorType": "bad_data", "error": "cannot parse pass+word/1 at pass%2Bword%2F1"});
    let server = json_server(error).await;
    let spec = json!({"prometheus": {"address": server.uri(), "query": "x{a=\"pass+word/1\"}"}});
    let mut request = request(spec);
    request.secrets = vec![SecretText::new("pass+word/1")];
    let providers = Bench::default().providers();
    let error = providers.run(&request, now()).await.unwrap_err();
    assert_eq!(error.message, "bad_data: cannot parse ***** at *****");
    assert_eq!(providers.metadata(&request)["ResolvedPrometheusQuery"], "x{a=\"*****\"}");
}
