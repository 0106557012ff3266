//! Servers that hang, drip, send too much, or lie: an error within the deadline, and never a pass.

use std::time::Duration;

use okra_provider::metric::MetricProvider as _;
use pretty_assertions::assert_eq;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wiremock::ResponseTemplate;

use crate::rig::*;

/// A server that does as it is told with each connection, after it has read the head of the request.
async fn raw<F, Fut>(answer: F) -> String
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            tokio::spawn(answer(stream));
        }
    });
    format!("http://{address}")
}

/// Sends one text over and over, without end.
async fn without_end(mut stream: TcpStream, head: &'static str, piece: Vec<u8>, pause: Duration) {
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    while stream.write_all(&piece).await.is_ok() {
        tokio::time::sleep(pause).await;
    }
}

/// The same server as every provider that has a timeout of its own.
fn everybody(address: &str, seconds: u32) -> Vec<Json> {
    let duration = format!("{seconds}s");
    vec![
        json!({"prometheus": {"address": address, "query": "x", "timeout": seconds}}),
        json!({"web": {"url": address, "timeoutSeconds": seconds}}),
        json!({"datadog": {"apiVersion": "v1", "query": "x", "requestTimeout": duration}}),
        json!({"datadog": {"apiVersion": "v2", "query": "x", "requestTimeout": duration}}),
    ]
}

fn bench(address: &str) -> Bench {
    let keys = [("address", address), ("api-key", "ap1-key"), ("app-key", "ap9-key")];
    Bench { secrets: FakeSecrets::default().with("okra/datadog", &keys), ..Bench::default() }
}

/// Within the deadline of a server that does answer; two loaded cores are slow.
async fn all_refused(address: &str, part: &str) {
    all_refused_within(30, address, part).await;
}

async fn all_refused_within(seconds: u32, address: &str, part: &str) {
    let bench = &bench(address);
    let refused = everybody(address, seconds).into_iter().map(|spec| async move {
        let ends = tokio::time::timeout(Duration::from_mins(1), bench.refusal(spec.clone()));
        let message = ends.await.expect("it ends by its deadline");
        assert!(message.contains(part), "{spec}: {message}");
        assert!(message.len() <= 1024);
    });
    futures::future::join_all(refused).await;
}

#[tokio::test]
async fn a_server_that_hangs_is_left() {
    let address = raw(|stream| async move {
        tokio::time::sleep(Duration::from_mins(10)).await;
        drop(stream);
    })
    .await;
    all_refused_within(1, &address, "context deadline exceeded").await;
}

#[tokio::test]
async fn a_server_that_drips_its_header_or_its_body_is_left() {
    let pause = Duration::from_millis(50);
    let header = raw(move |stream| without_end(stream, "HTTP/1.1 200 OK\r\nX: ", b"a".to_vec(), pause)).await;
    all_refused_within(1, &header, "context deadline exceeded").await;
    let body =
        raw(move |stream| without_end(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" ".to_vec(), pause))
            .await;
    all_refused_within(1, &body, "context deadline exceeded").await;
}

#[tokio::test]
async fn ten_mebibytes_are_not_read() {
    let large = server(ResponseTemplate::new(200).set_body_raw(vec![b'1'; 10 << 20], "application/json")).await;
    all_refused(&large.uri(), "the answer is larger than 1048576 bytes").await;
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
    let endless = raw(move |stream| without_end(stream, head, chunk.clone(), Duration::ZERO)).await;
    all_refused(&endless, "the answer is larger than 1048576 bytes").await;
}

#[tokio::test]
async fn a_header_without_end_is_not_read() {
    let line = b"X-Header: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".to_vec();
    let endless = raw(move |stream| without_end(stream, "HTTP/1.1 200 OK\r\n", line.clone(), Duration::ZERO)).await;
    all_refused(&endless, "").await;
}

#[tokio::test]
async fn what_comes_compressed_is_not_unpacked() {
    let bomb = ResponseTemplate::new(200).insert_header("content-encoding", "gzip").set_body_bytes(vec![0x1f, 0x8b, 8]);
    all_refused(&server(bomb).await.uri(), "the answer is compressed").await;
}

#[tokio::test]
async fn what_is_no_http_or_ends_early_is_an_error() {
    for text in ["SSH-2.0-OpenSSH_9.9\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1", ""] {
        let address = raw(move |mut stream| async move {
            drop(stream.write_all(text.as_bytes()).await);
        })
        .await;
        all_refused(&address, "").await;
    }
}

#[tokio::test]
async fn redirects_without_end_are_left() {
    let circle = server(ResponseTemplate::new(302).insert_header("location", "/again")).await;
    all_refused(&circle.uri(), "stopped after 10 redirects").await;
}

#[tokio::test]
async fn answers_that_lie_pass_no_condition() {
    let prometheus = |result: Json| json!({"status": "success", "data": {"resultType": "vector", "result": result}});
    let lies = [
        json!("ok"),
        json!({"status": "success", "data": {"resultType": "vector", "result": []}}),
        prometheus(json!([{"metric": {}, "value": [1, "NaN"]}])),
        prometheus(json!([{"metric": {}, "value": [1]}])),
        prometheus(json!([{"metric": {}}])),
        prometheus(json!([null])),
        json!({"status": "success", "data": null}),
        json!({"status": "success", "data": {"resultType": "vector", "result": {"0": 1}}}),
        json!({"series": [{"pointlist": [[1, null]]}], "data": {"attributes": {"columns": [{"values": [null]}]}}}),
        json!({"data": {"attributes": {"columns": "x"}}, "series": [{"pointlist": "x"}]}),
        Json::Null,
    ];
    for lie in lies {
        let server = json_server(lie.clone()).await;
        let bench = bench(&server.uri());
        for spec in everybody(&server.uri(), 30) {
            let Ok(sample) = bench.read(spec.clone()).await else { continue };
            for condition in
                ["result > 0.9", "result[0] > 0.9", "result < 0.1", "result[0] < 0.1", "result", "result.ok"]
            {
                assert_ne!(holds(&sample, condition), Ok(true), "{condition} of {spec} for {lie}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_server_says_is_kept_short_and_printable() {
    let page = format!("\u{1b}[31m<html>{}", "x".repeat(5000));
    let server = server(ResponseTemplate::new(500).set_body_string(page.clone())).await;
    let message = bench(&server.uri()).refusal(json!({"datadog": {"query": "x"}})).await;
    assert!(message.len() < 400 && !message.contains('\u{1b}'), "{message}");
    let server = json_server(json!(page)).await;
    let (value, _) = ask(json!({"web": {"url": server.uri()}})).await.unwrap();
    assert!(value.len() <= 256 && !value.contains('\u{1b}'), "{value}");
}

#[tokio::test]
async fn plugins_and_nothing_are_refused() {
    let message = refusal(json!({"plugin": {"argoproj-labs/sample": {"a": 1}}})).await;
    assert!(
        message.contains("plugin 'argoproj-labs/sample'") && message.contains("--analysis-engine=argo"),
        "{message}"
    );
    assert_eq!(refusal(json!({})).await, "no valid provider in metric 'success-rate'");
    assert_eq!(refusal(json!({"web": null})).await, "no valid provider in metric 'success-rate'");
    let providers = Bench::default().providers();
    assert_eq!(providers.type_name(&json!({"cloudWatch": {}})), "CloudWatch");
    assert_eq!(providers.type_name(&json!({})), "Unknown Provider");
    assert!(refusal(json!({"cloudWatch": {}})).await.contains("no AWS credentials"));
}

#[tokio::test]
async fn a_fleet_that_asks_the_same_is_one_question() {
    let server = json_server(json!(1)).await;
    let providers = Bench::default().providers();
    let mut request = request(json!({"web": {"url": server.uri()}}));
    request.fresh_since = Some(now());
    let of_run = |run: i32| {
        let mut request = request.clone();
        request.run.uid = run.to_string();
        request
    };
    let requests: Vec<_> = (0..100).map(of_run).collect();
    let asked = requests.iter().map(|request| providers.run(request, now()));
    assert!(futures::future::join_all(asked).await.iter().all(Result::is_ok));
    assert_eq!(got(&server).await.len(), 1);
}
