//! Addresses that must not be asked are not asked, whichever way they are written.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use okra_analysis::{AwsProfiles, EgressPolicy, Environment, Http, JobPlaces, Lookup, Providers, ProvidersConfig};
use okra_provider::metric::MetricProvider as _;
use pretty_assertions::assert_eq;
use serde_json::json;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::rig::*;

/// Answers a name with one list after the other, and the last one from then on.
struct Names {
    answers: Vec<Vec<&'static str>>,
    asked: Arc<AtomicUsize>,
}

impl Lookup for Names {
    fn lookup(&self, _: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.get(turn).or(self.answers.last()).cloned().unwrap_or_default();
        Box::pin(async move { Ok(answer.into_iter().map(|address| address.parse().unwrap()).collect()) })
    }
}

fn providers(policy: EgressPolicy, answers: &[&[&'static str]]) -> (Providers, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let answers = answers.iter().map(|answer| answer.to_vec()).collect();
    let names = Names { answers, asked: asked.clone() };
    let providers = Providers::new(ProvidersConfig {
        http: Http::with_lookup(policy, Arc::new(names)).unwrap(),
        secrets: Arc::new(FakeSecrets::default()),
        signer: None,
        aws: AwsProfiles::default(),
        jobs: JobPlaces::default(),
        environment: Environment::default(),
        own_namespace: "okra".to_owned(),
    });
    (providers, asked)
}

fn loopback() -> EgressPolicy {
    EgressPolicy::new(vec!["127.0.0.1".parse().unwrap()], Vec::new())
}

async fn outcome(providers: &Providers, url: &str) -> String {
    match providers.run(&request(json!({"web": {"url": url, "timeoutSeconds": 30}})), now()).await {
        Ok(reading) => format!("{reading:?}"),
        Err(error) => error.message,
    }
}

#[tokio::test]
async fn hostile_urls_connect_to_nothing() {
    let (providers, _) =
        providers(EgressPolicy::default().with_api_server(["10.96.0.1".parse().unwrap()]), &[&["127.0.0.1"]]);
    let server = MockServer::start().await;
    let port = server.address().port();
    let hosts = [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.000.000.001",
        "127.127.127.127",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "metrics.test",
        "user@127.0.0.1",
        "user:pass@127.0.0.1",
        "good.test@127.0.0.1",
        "127.0.0.1%2f@127.0.0.1",
        "\u{2460}\u{2461}\u{2466}.0.0.1",
        "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
        "127\u{3002}0\u{3002}0\u{3002}1",
        "169.254.169.254",
        "169.254.43518",
        "0xa9fea9fe",
        "2852039166",
        "0251.0376.0251.0376",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "100.100.100.200",
        "168.63.129.16",
        "10.96.0.1",
        "[::ffff:10.96.0.1]",
        "0x0a600001",
    ];
    for host in hosts {
        let message = outcome(&providers, &format!("http://{host}:{port}/latest/meta-data")).await;
        let refused = message.contains("is denied") || message.starts_with("parse ");
        assert!(refused, "{host}: {message}");
        assert!(!message.contains("pass@"), "{message}");
    }
    assert!(got(&server).await.is_empty());
}

#[tokio::test]
async fn schemes_other_than_http_are_refused() {
    let (providers, _) = providers(loopback(), &[&["127.0.0.1"]]);
    for url in
        ["file:///etc/passwd", "gopher://127.0.0.1/", "unix:/run/x.sock", "data:,1", "javascript:1", "ldap://127.0.0.1"]
    {
        let message = outcome(&providers, url).await;
        assert!(message.contains("unsupported protocol scheme"), "{url}: {message}");
    }
}

#[tokio::test]
async fn redirects_are_checked_again() {
    let server = MockServer::start().await;
    let other = MockServer::start().await;
    let (providers, _) = providers(loopback(), &[&["169.254.169.254"]]);
    let targets = [
        "http://169.254.169.254/latest/meta-data/iam",
        "http://[::ffff:169.254.169.254]/",
        "http://metadata.test/",
        "http://[::1]/",
        "http://2852039166/",
        "//169.254.169.254/",
    ];
    for status in [301, 302, 303, 307, 308] {
        for (index, target) in targets.iter().enumerate() {
            let at = format!("/{status}/{index}");
            let redirect = ResponseTemplate::new(status).insert_header("location", *target);
            Mock::given(path(at.as_str())).respond_with(redirect).mount(&server).await;
            let message = outcome(&providers, &format!("{}{at}", server.uri())).await;
            assert!(message.contains("is denied"), "{target}: {message}");
        }
    }
    assert!(got(&other).await.is_empty());
}

#[tokio::test]
async fn redirects_are_followed_as_go_does_but_keys_stay_behind() {
    let (server, other) = (MockServer::start().await, json_server(json!(7)).await);
    let there = format!("{}/there", other.uri());
    let redirect = |status: u16, to: &str| ResponseTemplate::new(status).insert_header("location", to);
    Mock::given(path("/keeps")).respond_with(redirect(307, &there)).mount(&server).await;
    Mock::given(path("/drops")).respond_with(redirect(302, &there)).mount(&server).await;
    Mock::given(path("/stays")).respond_with(redirect(302, "end")).mount(&server).await;
    Mock::given(path("/end"))
        .and(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!(8)))
        .mount(&server)
        .await;
    let headers = json!([{"key": "X-Api-Key", "value": "k"}, {"key": "Authorization", "value": "Bearer b"}]);
    for (at, value) in [("keeps", "7"), ("drops", "7"), ("stays", "8")] {
        let spec = json!({"url": format!("{}/{at}", server.uri()), "method": "POST", "jsonBody": {"a": 1}, "headers": headers});
        assert_eq!(ask(json!({"web": spec})).await, ok(value, "float64"));
    }
    let requests = got(&other).await;
    assert_eq!((requests[0].method.as_str(), body(&requests[0]).as_str()), ("POST", "{\"a\":1}"));
    assert_eq!(header(&requests[0], "content-type"), Some("application/json"));
    assert_eq!((requests[1].method.as_str(), body(&requests[1]).as_str()), ("GET", ""));
    for request in &requests {
        assert_eq!((header(request, "x-api-key"), header(request, "authorization")), (None, None));
    }
    let requests = got(&server).await;
    assert_eq!(header(requests.last().unwrap(), "x-api-key"), Some("k"), "the same origin keeps them");
}

#[tokio::test]
async fn a_name_that_changes_its_address_leads_nowhere_else() {
    let server = json_server(json!(1)).await;
    let url = format!("http://metrics.test:{}/", server.address().port());

    // The first answer is good, every later one is not: it is the checked one that is connected to.
    let (good_first, asked) = providers(loopback(), &[&["127.0.0.1"], &["169.254.169.254"]]);
    assert!(outcome(&good_first, &url).await.contains("Sample"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);

    // Of several addresses only the good ones are tried.
    let (mixed, _) = providers(loopback(), &[&["169.254.169.254", "127.0.0.1", "::1"]]);
    assert!(outcome(&mixed, &url).await.contains("Sample"));

    let (bad, _) = providers(loopback(), &[&["169.254.169.254"]]);
    let message = outcome(&bad, &url).await;
    let expected = format!("Get \"{url}\": egress to metrics.test is denied: 169.254.169.254 is a link-local address");
    assert!(message.starts_with(&expected), "{message}");
    let (nothing, _) = providers(loopback(), &[&[]]);
    assert!(outcome(&nothing, &url).await.starts_with("Get "));
    assert_eq!(got(&server).await.len(), 2);
}
