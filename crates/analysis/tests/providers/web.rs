//! `web`.

use pretty_assertions::assert_eq;
use serde_json::{Value as Json, json};
use wiremock::matchers::{header as has_header, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::rig::*;

#[tokio::test]
async fn a_get_is_what_is_asked_without_a_method() {
    let server = json_server(json!({"data": {"ok": true, "rate": 0.95}})).await;
    let headers = json!([{"key": "Authorization", "value": "Bearer x"}, {"key": "X-A", "value": "1"}, {"key": "x-a", "value": "2"}]);
    let url = format!("{}/api?q=a%20b", server.uri());
    let spec = json!({"url": url, "headers": headers, "jsonPath": "{$.data.rate}"});
    assert_eq!(ask(json!({"web": spec})).await, ok("0.95", "float64"));
    let requests = got(&server).await;
    assert_eq!((requests[0].method.as_str(), requests[0].url.path()), ("GET", "/api"));
    assert_eq!(requests[0].url.query(), Some("q=a%20b"));
    assert_eq!(header(&requests[0], "authorization"), Some("Bearer x"));
    assert_eq!(header(&requests[0], "x-a"), Some("2"), "the last of a name counts");
    assert!(requests[0].body.is_empty());
}

#[tokio::test]
async fn bodies_are_sent_as_they_stand() {
    let server = json_server(json!(1)).await;
    let ask_with = async |more: Json| {
        let mut spec = json!({"url": server.uri()});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(json!({"web": spec})).await
    };
    assert_eq!(ask_with(json!({"method": "POST", "body": "a=b"})).await, ok("1", "float64"));
    assert_eq!(ask_with(json!({"method": "PUT", "jsonBody": {"b": null, "a": [1]}})).await, ok("1", "float64"));
    let requests = got(&server).await;
    assert_eq!((requests[0].method.as_str(), body(&requests[0]).as_str()), ("POST", "a=b"));
    assert_eq!(header(&requests[0], "content-type"), None);
    assert_eq!(requests[1].method.as_str(), "PUT");
    assert_eq!(body_json(&requests[1]), json!({"b": null, "a": [1]}));
    assert_eq!(header(&requests[1], "content-type"), Some("application/json"));

    let wrong = "Body/JSONBody can only be used with POST or PUT WebMetric Method types";
    assert_eq!(ask_with(json!({"body": "x"})).await, Err(wrong.to_owned()));
    assert_eq!(ask_with(json!({"jsonBody": {}, "method": "GET"})).await, Err(wrong.to_owned()));
    let both = "use either Body or JSONBody; both cannot exists for WebMetric payload";
    assert_eq!(ask_with(json!({"body": "x", "jsonBody": {}, "method": "POST"})).await, Err(both.to_owned()));
    assert_eq!(got(&server).await.len(), 2, "nothing was sent for these");
}

#[tokio::test]
async fn results_are_of_every_type() {
    let table = [
        ("3", "", ok("3", "float64")),
        ("\"x<y\"", "", ok("\"x\\u003cy\"", "string")),
        ("true", "", ok("true", "bool")),
        ("null", "", ok("null", "<nil>")),
        ("{\"a\":{\"c\":1,\"b\":2.50}}", "{$.a}", ok("{\"b\":2.5,\"c\":1}", "map[string]interface {}")),
        ("[1,\"a\",null]", "{$}", ok("[1,\"a\",null]", "[]interface {}")),
        ("[{\"v\":1},{\"v\":2}]", "{[*].v}", ok("1", "float64")),
        ("{\"a\":null}", "{.a}", ok("null", "<nil>")),
        ("{\"a\":1}", "a", ok("\"a\"", "string")),
        ("12345678901234567890", "", ok("12345678901234567000", "float64")),
        ("up 1\n", "{.a.b}", ok("up 1\n", "string")),
        ("", "", ok("", "string")),
        ("{\"a\":1}", "{.b}", Err("Could not find JSONPath in body: b is not found".to_owned())),
        (
            "[{\"v\":2}]",
            "{[?(@.v>1)].v}",
            Err("Could not find JSONPath in body: incompatible types for comparison".to_owned()),
        ),
        (
            "[]",
            "{[0]}",
            Err("Could not find JSONPath in body: array index out of bounds: index 0, length 0".to_owned()),
        ),
        ("[]", "{[*]}", Err("result of web metric produced no value".to_owned())),
        ("{}", "{.*}", Err("result of web metric produced no value".to_owned())),
        ("{}", "{.a", Err("unclosed action".to_owned())),
    ];
    for (text, json_path, expected) in table {
        let server = server(ResponseTemplate::new(200).set_body_string(text)).await;
        let spec = json!({"web": {"url": server.uri(), "jsonPath": json_path}});
        assert_eq!(ask(spec).await, expected, "{text} {json_path}");
    }
}

#[tokio::test]
async fn an_error_page_is_no_success() {
    let page = "<html><body>Sorry, we are down for maintenance: true</body></html>";
    let server = server(ResponseTemplate::new(200).set_body_string(page)).await;
    let spec = json!({"web": {"url": server.uri(), "jsonPath": "{$.ok}"}});
    let sample = Bench::default().read(spec).await.unwrap();
    for condition in
        ["result", "result.ok", "result == true", "result > 0.9", "asFloat(result) > 0", "result == 'true'"]
    {
        assert_ne!(holds(&sample, condition), Ok(true), "{condition}");
    }
}

#[tokio::test]
async fn other_statuses_are_errors() {
    for status in [201, 300, 304, 400, 404, 500, 503] {
        let server = server(ResponseTemplate::new(status).set_body_json(json!(1))).await;
        let expected = match status {
            201 => ok("1", "float64"),
            status => Err(format!("received non 2xx response code: {status}")),
        };
        assert_eq!(ask(json!({"web": {"url": server.uri()}})).await, expected);
    }
}

#[tokio::test]
async fn urls_and_headers_that_are_none_are_refused() {
    assert!(refusal(json!({"web": {"url": "no url"}})).await.starts_with("parse \"no url\": "));
    assert_eq!(
        refusal(json!({"web": {"url": "ftp://127.0.0.1/x"}})).await,
        "Get \"ftp://127.0.0.1/x\": unsupported protocol scheme \"ftp\""
    );
    let headers = json!([{"key": "a b", "value": "x"}]);
    assert_eq!(
        refusal(json!({"web": {"url": "http://127.0.0.1:1", "headers": headers}})).await,
        "net/http: invalid header field name \"a b\""
    );
    let wrong = refusal(json!({"web": {"url": "http://x", "timeoutSeconds": "5"}})).await;
    assert!(wrong.starts_with("failed to parse provider.web: "), "{wrong}");
}

#[tokio::test]
async fn a_token_of_oauth2_goes_along() {
    let server = MockServer::start().await;
    let token = ResponseTemplate::new(200).set_body_json(json!({"access_token": "t0ken"}));
    Mock::given(path("/token")).respond_with(token).mount(&server).await;
    let echo = ResponseTemplate::new(200).set_body_json(json!("you are Bearer t0ken"));
    Mock::given(path("/m")).and(has_header("authorization", "Bearer t0ken")).respond_with(echo).mount(&server).await;
    let oauth2 = json!({"tokenUrl": format!("{}/token", server.uri()), "clientId": "a", "clientSecret": "b"});
    let headers = json!([{"key": "Authorization", "value": "mine"}]);
    let spec = json!({"url": format!("{}/m", server.uri()), "headers": headers, "authentication": {"oauth2": oauth2}});
    // A server that echoes a token does not get it into the status.
    assert_eq!(ask(json!({"web": spec})).await, ok("\"you are Bearer *****\"", "string"));
}
