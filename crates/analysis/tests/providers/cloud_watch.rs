//! `cloudWatch`.

use std::sync::Arc;

use okra_analysis::{AwsProfile, AwsProfiles};
use okra_provider::metric::{MetricProvider as _, MetricRequest, Reading};
use pretty_assertions::assert_eq;
use serde_json::{Value as Json, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::rig::*;

fn bench(server: &MockServer) -> Bench {
    let west = AwsProfile {
        region: Some("us-west-2".to_owned()),
        role_arn: Some("arn:r".to_owned()),
        account: Some("111122223333".to_owned()),
    };
    let aws = AwsProfiles {
        default: AwsProfile::default(),
        profiles: [("west".to_owned(), west)].into(),
        endpoint_url: Some(server.uri()),
    };
    Bench { signer: Some(Arc::new(FakeSigner)), aws, ..Bench::default() }
}

fn queries() -> Json {
    let metric = json!({
        "namespace": "AWS/ApplicationELB",
        "metricName": "HTTPCode_Target_5XX_Count",
        "dimensions": [{"name": "LoadBalancer", "value": "app/web/1"}],
    });
    let stat = json!({"metric": metric, "period": "60", "stat": "Sum", "unit": "Count"});
    json!([
        {"id": "rate", "expression": "errors / requests", "label": "Rate", "period": 300},
        {"id": "errors", "metricStat": stat, "returnData": false},
        {"id": "odd", "metricStat": {"metric": {"metricName": "x"}, "period": "soon", "stat": "p99"}},
    ])
}

#[tokio::test]
async fn one_call_asks_for_the_last_interval() {
    let server = json_server(json!({"MetricDataResults": []})).await;
    let spec = json!({"cloudWatch": {"interval": "10m", "metricDataQueries": queries()}});
    assert_eq!(bench(&server).ask(spec).await, ok("[]", "[]types.MetricDataResult"));
    bench(&server).ask(json!({"cloudWatch": {"metricDataQueries": []}})).await.unwrap();
    let requests = got(&server).await;
    assert_eq!((requests[0].method.as_str(), requests[0].url.path()), ("POST", "/"));
    assert_eq!(header(&requests[0], "x-amz-target"), Some("GraniteServiceVersion20100801.GetMetricData"));
    assert_eq!(header(&requests[0], "content-type"), Some("application/x-amz-json-1.0"));
    let signed = format!("monitoring eu-central-1   POST {}", requests[0].body.len());
    assert_eq!(header(&requests[0], "authorization"), Some(signed.as_str()));
    let metric = json!({
        "Namespace": "AWS/ApplicationELB",
        "MetricName": "HTTPCode_Target_5XX_Count",
        "Dimensions": [{"Name": "LoadBalancer", "Value": "app/web/1"}],
    });
    let stat = json!({"Metric": metric, "Period": 60, "Stat": "Sum", "Unit": "Count"});
    let expected = json!({"StartTime": 1_795_175_400.5, "EndTime": 1_795_176_000.5, "MetricDataQueries": [
        {"Id": "rate", "Expression": "errors / requests", "Label": "Rate", "Period": 300},
        {"Id": "errors", "MetricStat": stat, "ReturnData": false},
        {"Id": "odd", "MetricStat": {"Metric": {"MetricName": "x"}, "Period": 0, "Stat": "p99"}},
    ]});
    assert_eq!(body_json(&requests[0]), expected);
    assert_eq!(body_json(&requests[1])["StartTime"], json!(1_795_175_700.5));
}

#[tokio::test]
async fn results_are_the_structs_of_the_go_sdk() {
    let results = json!([
        {"Id": "rate", "Label": "Rate", "StatusCode": "Complete", "Values": [0.5, 1e21, "NaN"],
         "Timestamps": [1_795_176_000, 1_795_175_940.0, 1.795_175_88e9]},
        {"Id": "none", "Values": [], "Timestamps": []},
    ]);
    let messages = json!([{"Code": "Partial", "Value": "some are missing"}]);
    let server = json_server(json!({"MetricDataResults": results, "Messages": messages})).await;
    let sample = bench(&server).read(json!({"cloudWatch": {"metricDataQueries": queries()}})).await.unwrap();
    assert_eq!(sample.value, "[[0.5 1e+21 NaN] []]");
    assert_eq!(sample.metadata["messages"], "[{Code:Partial Value:some are missing}]");
    for condition in [
        "result[0].Values[0] == 0.5",
        "result[0].Id == 'rate' && string(result[0].StatusCode) == 'Complete'",
        "isNaN(result[0].Values[2])",
        "result[0].Timestamps[0] > result[0].Timestamps[1]",
        "len(result[1].Values) == 0 && all(result[0].Values[:1], # < 1)",
    ] {
        assert_eq!(holds(&sample, condition), Ok(true), "{condition}");
    }
    assert!(holds(&sample, "result[1].Values[0] < 1").is_err(), "no data is no pass");
    assert!(holds(&sample, "result[0].values[0] < 1").is_err(), "members are named as in Go");
}

#[tokio::test]
async fn a_profile_says_where_and_as_whom() {
    let server = json_server(json!({"MetricDataResults": []})).await;
    let providers = bench(&server).providers();
    let spec = json!({"cloudWatch": {"metricDataQueries": [{"id": "a", "expression": "b"}]}});
    let with = |profile: &str| MetricRequest { profile: Some(profile.to_owned()), ..request(spec.clone()) };
    assert!(matches!(providers.run(&with("west"), now()).await, Ok(Reading::Sample(_))));
    let requests = got(&server).await;
    let expected = json!([{"Id": "a", "Expression": "b", "AccountId": "111122223333"}]);
    assert_eq!(body_json(&requests[0])["MetricDataQueries"], expected);
    assert!(header(&requests[0], "authorization").unwrap().starts_with("monitoring us-west-2  arn:r POST "));
    let unknown = providers.run(&with("east"), now()).await.unwrap_err();
    let message = "no metric profile \"east\" is configured: add it to the file of --metric-profiles, or correct \
                   annotation okra.mumo.co/metric-profile";
    assert_eq!(unknown.message, message);
    assert_eq!(got(&server).await.len(), 1);
}

#[tokio::test]
async fn refusals_are_told_and_what_is_busy_is_asked_again() {
    let spec = || json!({"cloudWatch": {"metricDataQueries": []}});
    let error = |status: u16, kind: &str| {
        ResponseTemplate::new(status).set_body_json(json!({"__type": format!("com.amazonaws#{kind}"), "message": "no"}))
    };
    let prefix = "operation error CloudWatch: GetMetricData, https response error StatusCode";
    let signature = "api error SignatureDoesNotMatch: the request's signature was refused";
    let table = [
        (error(400, "ValidationException"), 1, format!("{prefix}: 400, api error ValidationException: no")),
        (error(403, "SignatureDoesNotMatch"), 1, format!("{prefix}: 403, {signature}")),
        (error(400, "ThrottlingException"), 3, format!("{prefix}: 400, api error ThrottlingException: no")),
        (ResponseTemplate::new(503).set_body_string("<html>"), 3, format!("{prefix}: 503, api error UnknownError: ")),
        (ResponseTemplate::new(200).set_body_string("<html>"), 1, format!("{prefix}: 200, deserialization failed")),
        (ResponseTemplate::new(200).set_body_json(json!({})), 1, format!("{prefix}: 200, deserialization failed")),
    ];
    for (template, times, message) in table {
        let server = server(template).await;
        assert_eq!(bench(&server).refusal(spec()).await, message);
        assert_eq!(got(&server).await.len(), times, "{message}");
    }
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(error(400, "Throttling")).up_to_n_times(1).mount(&server).await;
    let fine = ResponseTemplate::new(200).set_body_json(json!({"MetricDataResults": []}));
    Mock::given(any()).respond_with(fine).mount(&server).await;
    assert!(bench(&server).ask(spec()).await.is_ok());

    assert_eq!(refusal(spec()).await, "cloudWatch is not available: this process has no AWS credentials");
    let wrong = json!({"cloudWatch": {"interval": "1d"}});
    assert_eq!(bench(&server).refusal(wrong).await, "time: unknown unit \"d\" in duration \"1d\"");
}
