//! `newRelic`, `graphite`, `influxdb`, `wavefront`, `skywalking`, `kayenta`.

use std::collections::BTreeMap;

use okra_provider::metric::{Judgement, MetricProvider as _, OpenMeasurement, Outcome, Reading, Running};
use serde_json::{Value as Json, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::rig::*;

fn with_secret(name: &str, data: &[(&str, &str)]) -> Bench {
    Bench { secrets: FakeSecrets::default().with(name, data), ..Bench::default() }
}

mod new_relic {
    use pretty_assertions::assert_eq;

    use super::*;

    /// Data of the Secret, spec, message.
    type Case<'a> = (&'a [(&'a str, &'a str)], Json, &'a str);

    fn bench(url: &str) -> Bench {
        let data = [("personal-api-key", "NRAK-1"), ("account-id", "42"), ("base-url-nerdgraph", url)];
        with_secret("okra/newrelic", &data)
    }

    fn rows(rows: Json) -> Json {
        json!({"data": {"actor": {"account": {"nrql": {"results": rows}}}}})
    }

    #[tokio::test]
    async fn a_query_goes_through_nerdgraph() {
        let server = json_server(rows(json!([{"count": 3, "name": "a"}]))).await;
        let spec = json!({"newRelic": {"query": "SELECT count(*) FROM T", "timeout": 7}});
        let bench = bench(&format!("{}/graphql", server.uri()));
        assert_eq!(bench.ask(spec.clone()).await, ok("{\"count\":3,\"name\":\"a\"}", "nrdb.NRDBResult"));
        let requests = got(&server).await;
        assert_eq!((requests[0].method.as_str(), requests[0].url.path()), ("POST", "/graphql"));
        assert_eq!(header(&requests[0], "api-key"), Some("NRAK-1"));
        let body = body_json(&requests[0]);
        assert_eq!(body["variables"], json!({"accountId": 42, "query": "SELECT count(*) FROM T", "timeout": 7}));
        assert!(body["query"].as_str().unwrap().contains("nrql(query: $query, timeout: $timeout)"));
        let metadata = bench.providers().metadata(&request(spec));
        assert_eq!(metadata, [("ResolvedNewRelicQuery".to_owned(), "SELECT count(*) FROM T".to_owned())].into());
    }

    #[tokio::test]
    async fn rows_are_one_or_many_or_none() {
        let none = Err("no results returned from NRQL query".to_owned());
        let table = [
            (rows(json!([{"a": 1}, {"a": 2}])), ok("[{\"a\":1},{\"a\":2}]", "[]nrdb.NRDBResult")),
            (rows(json!([])), none.clone()),
            (rows(json!([{}])), none.clone()),
            (json!({"data": null}), none),
            (json!({"errors": [{"message": "one"}, {"message": "NRAK-1"}]}), Err("one, *****".to_owned())),
            (rows(json!("x")), Err("json: the results are no list of rows".to_owned())),
        ];
        for (body, expected) in table {
            let server = json_server(body.clone()).await;
            assert_eq!(bench(&server.uri()).ask(json!({"newRelic": {"query": "x"}})).await, expected, "{body}");
        }
        let server = server(ResponseTemplate::new(401).set_body_string("NRAK-1 is bad")).await;
        let message = bench(&server.uri()).refusal(json!({"newRelic": {"query": "x"}})).await;
        assert_eq!(message, "401 response returned: ***** is bad");
    }

    #[tokio::test]
    async fn credentials_and_specs_are_checked() {
        let spec = json!({"newRelic": {"query": "x"}});
        assert_eq!(refusal(spec.clone()).await, "secrets \"newrelic\" not found");
        let table: [Case<'_>; 4] = [
            (&[("account-id", "1")], spec.clone(), "account ID or personal API key not found"),
            (
                &[("personal-api-key", "NRAK-2"), ("account-id", "x")],
                spec.clone(),
                "could not parse account ID: strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            (
                &[("personal-api-key", "NRAK-2"), ("account-id", "1"), ("region", "moon")],
                spec,
                "unknown region \"moon\": expected us or eu",
            ),
            (
                &[("personal-api-key", "NRAK-2"), ("account-id", "1")],
                json!({"newRelic": {"query": "x", "timeout": -1}}),
                "timeout value needs to be a positive value",
            ),
        ];
        for (data, spec, message) in table {
            assert_eq!(with_secret("okra/newrelic", data).refusal(spec).await, message);
        }
        let other = with_secret("okra/other", &[("account-id", "1")]);
        let spec = json!({"newRelic": {"query": "x", "profile": "other"}});
        assert_eq!(other.refusal(spec).await, "account ID or personal API key not found");
    }
}

mod graphite {
    use pretty_assertions::assert_eq;

    use super::*;

    async fn of(body: Json) -> Result<(String, String), String> {
        let server = json_server(body).await;
        ask(json!({"graphite": {"address": server.uri(), "query": "target=x"}})).await
    }

    #[tokio::test]
    async fn a_query_is_rendered_as_json() {
        let server = json_server(
            json!([{"target": "a", "datapoints": [[0.5, 1], [null, 2], ["1.25", "3"]]}, {"datapoints": [[9, 1]]}]),
        )
        .await;
        let query = "target=sumSeries(app.http.*.{a, b})&from=-5min\n";
        let spec = json!({"graphite": {"address": format!("{}/graphite/", server.uri()), "query": query}});
        assert_eq!(ask(spec).await, ok("[0.500000,1.250000]", "[]float64"));
        let requests = got(&server).await;
        assert_eq!((requests[0].method.as_str(), requests[0].url.path()), ("GET", "/graphite/render"));
        let expected = "format=json&from=-5min&target=sumSeries%28app.http.%2A.%7Ba%2Cb%7D%29";
        assert_eq!(requests[0].url.query(), Some(expected));
    }

    #[tokio::test]
    async fn points_are_read_or_refused() {
        let series = |points: Json| json!([{"target": "a", "datapoints": points}]);
        let none = Err("no values found".to_owned());
        assert_eq!(of(json!([])).await, none);
        assert_eq!(of(series(json!([]))).await, none);
        assert_eq!(of(series(json!([[null, 1]]))).await, ok("[]", "[]float64"));
        assert_eq!(of(series(json!([[1, 2, 3]]))).await, Err("error unmarshaling data point: [1 2 3]".to_owned()));
        assert_eq!(of(series(json!([[true, 2]]))).await, Err("error unmarshaling value: true".to_owned()));
        assert_eq!(
            of(series(json!([["x", 2]]))).await,
            Err("strconv.ParseFloat: parsing \"x\": invalid syntax".to_owned())
        );
        assert_eq!(of(json!({})).await, Err("json: the answer is no list of series".to_owned()));
        let server = server(ResponseTemplate::new(500).set_body_string("broken")).await;
        let spec = json!({"graphite": {"address": server.uri(), "query": "target=x"}});
        assert_eq!(refusal(spec).await, "error response: broken");
        assert_eq!(refusal(json!({"graphite": {"query": "x"}})).await, "Graphite address  is not a valid URL");
    }
}

mod influxdb {
    use pretty_assertions::assert_eq;

    use super::*;

    fn bench(address: &str) -> Bench {
        with_secret("okra/influxdb", &[("address", address), ("authToken", "t0ken-1"), ("org", "my org")])
    }

    fn spec() -> Json {
        json!({"influxdb": {"query": "from(bucket: \"b\")"}})
    }

    #[tokio::test]
    async fn a_query_is_posted_and_its_values_are_the_result() {
        let csv = "#datatype,string,long,double\r\n#group,false,false,false\r\n#default,_result,,\r\n\
                   ,result,table,_value\r\n,,0,0.5\r\n,,1,\r\n";
        let server = server(ResponseTemplate::new(200).set_body_raw(csv, "text/csv")).await;
        let sample = bench(&format!("{}/", server.uri())).read(spec()).await.unwrap();
        assert_eq!((sample.value.as_str(), sample.result.type_name().as_str()), ("[0.5 <nil>]", "[]interface {}"));
        assert_eq!(holds(&sample, "result[0] == 0.5 && result[1] == nil"), Ok(true));
        let requests = got(&server).await;
        assert_eq!((requests[0].method.as_str(), requests[0].url.path()), ("POST", "/api/v2/query"));
        assert_eq!(requests[0].url.query(), Some("org=my+org"));
        assert_eq!(header(&requests[0], "authorization"), Some("Token t0ken-1"));
        let dialect = json!({"annotations": ["datatype", "group", "default"], "delimiter": ",", "header": true});
        assert_eq!(
            body_json(&requests[0]),
            json!({"query": "from(bucket: \"b\")", "type": "flux", "dialect": dialect})
        );
    }

    #[tokio::test]
    async fn refusals_are_told_without_the_token() {
        let refused = json!({"code": "unauthorized", "message": "t0ken-1 may not"});
        let table = [
            (ResponseTemplate::new(401).set_body_json(refused), "unauthorized: ***** may not"),
            (ResponseTemplate::new(500).set_body_string("<html>"), "Unexpected status code 500"),
            (ResponseTemplate::new(200), "no results returned from flux query"),
            (ResponseTemplate::new(200).set_body_string("<html>"), "parsing error, annotations not found"),
        ];
        for (template, message) in table {
            let server = server(template).await;
            assert_eq!(bench(&server.uri()).refusal(spec()).await, message);
        }
        assert_eq!(refusal(spec()).await, "secrets \"influxdb\" not found");
        let part = with_secret("okra/influxdb", &[("address", "http://x"), ("org", "o")]);
        assert_eq!(part.refusal(spec()).await, "authToken, org, or address not found");
    }
}

mod wavefront {
    use pretty_assertions::assert_eq;

    use super::*;

    async fn of(answer: Json) -> Result<(String, String, BTreeMap<String, String>), String> {
        let server = json_server(answer).await;
        let address = server.uri();
        let bench = with_secret("okra/wavefront-api-tokens", &[(&address, "t0ken-1"), ("other.example", "x")]);
        let sample = bench.read(json!({"wavefront": {"address": address, "query": "ts(x)"}})).await;
        let sample = sample.map_err(|error| error.message)?;
        let requests = got(&server).await;
        assert_eq!((requests[0].method.as_str(), requests[0].url.path()), ("GET", "/api/v2/chart/api"));
        let query = "e=1795176000000&g=s&i=true&p=1&q=ts%28x%29&s=1795176000000";
        assert_eq!(requests[0].url.query(), Some(query));
        assert_eq!(header(&requests[0], "authorization"), Some("Bearer t0ken-1"));
        Ok((sample.value, sample.result.type_name(), sample.metadata))
    }

    fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[tokio::test]
    async fn the_point_nearest_to_now_is_taken() {
        let one = json!({"warnings": "slow", "timeseries": [{"data": [[1_795_175_000, 1.0], [1_795_175_990, 2.345], [1_795_176_100, 3.0]]}]});
        let expected = metadata(&[("timestamps", "1795175990"), ("drift", "-10"), ("warnings", "slow")]);
        assert_eq!(of(one).await, Ok(("2.35".to_owned(), "float64".to_owned(), expected)));
        let two = json!({"timeseries": [{"data": [[1_795_176_000, 1]]}, {"data": [[1_795_176_001, 2]]}]});
        let expected = metadata(&[("timestamps", "[1795176000,1795176001]"), ("drift", "[0,1]")]);
        assert_eq!(of(two).await, Ok(("[1.00,2.00]".to_owned(), "[]float64".to_owned(), expected)));
    }

    #[tokio::test]
    async fn no_data_is_an_error() {
        let none = "No TimeSeries found in response from Wavefront";
        assert_eq!(of(json!({})).await, Err(none.to_owned()));
        assert_eq!(of(json!({"timeseries": []})).await, Err(none.to_owned()));
        let empty = "a TimeSeries in the response from Wavefront has no data points";
        assert_eq!(of(json!({"timeseries": [{"data": []}]})).await, Err(empty.to_owned()));
        assert_eq!(of(json!({"errorMessage": "bad t0ken-1"})).await, Err("bad *****".to_owned()));
        let other = with_secret("okra/wavefront-api-tokens", &[("other.example", "x")]);
        let spec = json!({"wavefront": {"address": "http://127.0.0.1:1", "query": "x"}});
        assert_eq!(other.refusal(spec).await, "API token not found");
    }
}

mod skywalking {
    use pretty_assertions::assert_eq;

    use super::*;

    async fn of(template: ResponseTemplate) -> Result<(String, String), String> {
        let server = server(template).await;
        ask(json!({"skywalking": {"address": server.uri(), "query": "query q", "interval": "3m"}})).await
    }

    #[tokio::test]
    async fn a_query_is_asked_over_the_last_interval() {
        let server = json_server(json!({"data": {"readMetricsValues": {"values": [1, 2.5]}}})).await;
        let spec = json!({"address": format!("{}/sw", server.uri()), "query": "query q", "interval": "3m"});
        let expected = ok("{\"readMetricsValues\":{\"values\":[1,2.5]}}", "map[string]interface {}");
        assert_eq!(ask(json!({"skywalking": spec})).await, expected);
        let requests = got(&server).await;
        assert_eq!((requests[0].method.as_str(), requests[0].url.path()), ("POST", "/sw/graphql"));
        let duration = json!({"start": "2026-11-20 1157", "end": "2026-11-20 1200", "step": "MINUTE"});
        assert_eq!(body_json(&requests[0]), json!({"query": "query q", "variables": {"duration": duration}}));
    }

    #[tokio::test]
    async fn refusals_are_told_as_the_go_client_does() {
        let table = [
            (
                ResponseTemplate::new(200).set_body_json(json!({"data": null})),
                "no results returned from SkyWalking query",
            ),
            (ResponseTemplate::new(200).set_body_json(json!({"errors": [{"message": "bad"}]})), "graphql: bad"),
            (
                ResponseTemplate::new(502).set_body_string("<html>"),
                "graphql: server returned a non-200 status code: 502",
            ),
            (
                ResponseTemplate::new(500).set_body_json(json!({"data": {}})),
                "graphql: server returned a non-200 status code: 500",
            ),
            (
                ResponseTemplate::new(200).set_body_string("<html>"),
                "decoding response: invalid character '<' looking for beginning of value",
            ),
        ];
        for (template, message) in table {
            assert_eq!(of(template).await, Err(message.to_owned()));
        }
        let spec = json!({"skywalking": {"address": "http://x", "query": "q"}});
        assert_eq!(refusal(spec).await, "time: invalid duration \"\"");
    }
}

mod kayenta {
    use pretty_assertions::assert_eq;

    use super::*;

    fn spec(address: &str, lookback: bool, times: Json) -> Json {
        let mut control = json!({"scope": "stable", "region": "eu", "step": 60});
        control.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
        let experiment = json!({"scope": "canary", "region": "us", "step": 30});
        json!({"kayenta": {
            "address": address, "application": "shop", "canaryConfigName": "mine", "metricsAccountName": "m",
            "configurationAccountName": "c", "storageAccountName": "s", "lookback": lookback,
            "threshold": {"pass": 90, "marginal": 75},
            "scopes": [{"name": "default", "controlScope": control, "experimentScope": experiment}],
        }})
    }

    async fn kayenta(configs: Json, begun: Json) -> MockServer {
        let server = MockServer::start().await;
        let answer = |body: Json| ResponseTemplate::new(200).set_body_json(body);
        Mock::given(method("GET")).and(path("/canaryConfig")).respond_with(answer(configs)).mount(&server).await;
        Mock::given(method("POST")).and(path("/canary/id-2")).respond_with(answer(begun)).mount(&server).await;
        server
    }

    fn configs() -> Json {
        json!([{"id": "id-1", "name": "other"}, {"id": "id-2", "name": "mine"}])
    }

    async fn begin(spec: Json) -> Result<Running, String> {
        match Bench::default().providers().run(&request(spec), now()).await {
            Ok(Reading::Running(running)) => Ok(running),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.message),
        }
    }

    #[tokio::test]
    async fn an_analysis_is_begun() {
        let server = kayenta(configs(), json!({"canaryExecutionId": "exec-1"})).await;
        let running = begin(spec(&server.uri(), false, json!({}))).await.unwrap();
        assert_eq!(running.resume_at, "2026-11-20T12:00:15.5Z".parse().unwrap());
        assert_eq!(running.metadata, [("canaryExecutionId".to_owned(), "exec-1".to_owned())].into());
        begin(spec(&server.uri(), true, json!({}))).await.unwrap();
        let requests = got(&server).await;
        assert_eq!(requests[0].url.query(), Some("application=shop&configurationAccountName=s"));
        let accounts = "application=shop&metricsAccountName=m&configurationAccountName=c&storageAccountName=s";
        assert_eq!(requests[1].url.query(), Some(accounts));
        let detail = |scope: &str, location: &str, step: i64, start: &str| json!({"scope": scope, "location": location, "step": step, "start": start, "end": "2026-11-20T12:00:00Z"});
        let expected = |start: &str| {
            let default = json!({
                "controlScope": detail("stable", "eu", 60, start),
                "experimentScope": detail("canary", "us", 30, start),
            });
            json!({"thresholds": {"pass": 90, "marginal": 75}, "scopes": {"default": default}})
        };
        assert_eq!(body_json(&requests[1]), expected("2026-11-20T11:59:00Z"));
        assert_eq!(body_json(&requests[3]), expected("2026-11-20T11:58:00Z"));
    }

    #[tokio::test]
    async fn what_cannot_begin_is_an_error() {
        for id in [json!(null), json!(""), json!("../admin"), json!("x".repeat(1000)), json!({})] {
            let server = kayenta(configs(), json!({"canaryExecutionId": id})).await;
            let begun = begin(spec(&server.uri(), false, json!({}))).await;
            assert_eq!(begun, Err("Invalid canaryExecutionId".to_owned()), "{id}");
        }
        let server = kayenta(configs(), json!({})).await;
        let start = "controlScope.start and experimentScope.start must both be set or be empty";
        let half = spec(&server.uri(), false, json!({"start": "2026-11-20T00:00:00Z"}));
        assert_eq!(begin(half).await, Err(start.to_owned()));
        let server = kayenta(json!([]), json!({})).await;
        assert_eq!(begin(spec(&server.uri(), false, json!({}))).await, Err("Canary config not found".to_owned()));
        let server = super::server(ResponseTemplate::new(500)).await;
        assert_eq!(begin(spec(&server.uri(), false, json!({}))).await, Err("Invalid Response: HTTP 500".to_owned()));
    }

    #[tokio::test]
    async fn the_score_is_the_verdict() {
        let score = |score: Json| json!({"complete": true, "result": {"judgeResult": {"score": {"score": score}}}});
        let judged = |outcome| Ok(Some(outcome));
        let table = [
            (200, score(json!(90.9)), judged((Outcome::Successful, "90"))),
            (200, score(json!(89.99)), judged((Outcome::Inconclusive, "89"))),
            (200, score(json!(74)), judged((Outcome::Failed, "74"))),
            (200, json!({"complete": false}), Ok(None)),
            (200, json!({}), Err("Missing Complete Status")),
            (200, json!({"complete": "yes"}), Err("complete accessor error: it is no bool")),
            (200, json!({"complete": true}), Err("Missing Score")),
            (200, score(json!("99")), Err("score accessor error: it is no float64")),
            (404, score(json!(99)), Err("Invalid Response")),
        ];
        for (status, body, expected) in table {
            let server = server(ResponseTemplate::new(status).set_body_json(body.clone())).await;
            let open = OpenMeasurement {
                started_at: Some(now()),
                metadata: [("canaryExecutionId".to_owned(), "exec-1".to_owned())].into(),
            };
            let spec = request(spec(&server.uri(), false, json!({})));
            let reading = Bench::default().providers().resume(&spec, &open, now()).await;
            let actual = match &reading {
                Ok(Reading::Judged(Judgement { outcome, value, metadata, .. })) => {
                    assert_eq!(metadata, &open.metadata);
                    Ok(Some((*outcome, value.as_str())))
                }
                Ok(Reading::Running(running)) => {
                    assert_eq!(running.metadata, open.metadata);
                    Ok(None)
                }
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error.message.as_str()),
            };
            assert_eq!(actual, expected, "{body}");
            assert_eq!(got(&server).await[0].url.path(), "/canary/exec-1");
        }
    }
}
