//! The providers on a table: a Secret store, an allowed loopback, a fixed time.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use okra_analysis::{AwsProfiles, Cidr, EgressPolicy, Environment, Http, JobPlaces, Providers, ProvidersConfig};
use okra_expr::Budget;
use okra_provider::metric::{
    MetricError, MetricProvider, MetricRequest, Reading, RequestSigner, RunIdentity, Sample, SecretText, Secrets,
    Unsigned,
};
use serde_json::{Value as Json, json};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// 2026-11-20T12:00:00.5Z
pub const NOW: &str = "2026-11-20T12:00:00.5Z";

pub fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// Secrets by `namespace/name`.
#[derive(Clone, Default)]
pub struct FakeSecrets(pub BTreeMap<String, BTreeMap<String, SecretText>>);

impl FakeSecrets {
    pub fn with(mut self, name: &str, data: &[(&str, &str)]) -> Self {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), SecretText::new(*value))).collect();
        self.0.insert(name.to_owned(), data);
        self
    }
}

#[async_trait]
impl Secrets for FakeSecrets {
    async fn secret(&self, namespace: &str, name: &str) -> Result<BTreeMap<String, SecretText>, String> {
        let found = self.0.get(&format!("{namespace}/{name}")).cloned();
        found.ok_or_else(|| format!("secrets \"{name}\" not found"))
    }
}

/// Signs by telling what it was asked to sign.
pub struct FakeSigner;

#[async_trait]
impl RequestSigner for FakeSigner {
    async fn region(&self, region: &str, _: &str) -> Result<String, String> {
        Ok(if region.is_empty() { "eu-central-1" } else { region }.to_owned())
    }

    async fn sign(&self, request: &Unsigned<'_>, _: Timestamp) -> Result<Vec<(String, SecretText)>, String> {
        let Unsigned { service, region, profile, role_arn, method, body, .. } = request;
        let body = String::from_utf8_lossy(body);
        let signed = format!("{service} {region} {profile} {role_arn} {method} {}", body.len());
        Ok(vec![("Authorization".to_owned(), SecretText::new(signed))])
    }
}

thread_local! {
    /// One for each test, which has a thread and a runtime of its own: setting up TLS takes long.
    static HTTP: Http = Http::new(EgressPolicy::new(vec!["127.0.0.1".parse::<Cidr>().unwrap()], Vec::new())).unwrap();
}

#[derive(Default)]
pub struct Bench {
    pub secrets: FakeSecrets,
    pub environment: Environment,
    pub jobs: JobPlaces,
    pub signer: Option<Arc<dyn RequestSigner>>,
    pub aws: AwsProfiles,
}

impl Bench {
    pub fn providers(&self) -> Providers {
        Providers::new(ProvidersConfig {
            http: HTTP.with(Clone::clone),
            secrets: Arc::new(self.secrets.clone()),
            signer: self.signer.clone(),
            aws: self.aws.clone(),
            jobs: self.jobs.clone(),
            environment: self.environment.clone(),
            own_namespace: "okra".to_owned(),
        })
    }

    pub async fn read(&self, provider: Json) -> Result<Sample, MetricError> {
        match self.providers().run(&request(provider), now()).await? {
            Reading::Sample(sample) => Ok(sample),
            other => panic!("no sample: {other:?}"),
        }
    }

    /// Value and Go type of the result, or the message.
    pub async fn ask(&self, provider: Json) -> Result<(String, String), String> {
        let sample = self.read(provider).await.map_err(|error| error.message)?;
        Ok((sample.value, sample.result.type_name()))
    }

    pub async fn refusal(&self, provider: Json) -> String {
        self.ask(provider).await.expect_err("it is refused")
    }
}

/// The default bench's answer.
pub async fn ask(provider: Json) -> Result<(String, String), String> {
    Bench::default().ask(provider).await
}

pub async fn refusal(provider: Json) -> String {
    Bench::default().refusal(provider).await
}

pub fn request(provider: Json) -> MetricRequest {
    MetricRequest {
        run: RunIdentity {
            namespace: "shop".to_owned(),
            name: "run".to_owned(),
            uid: "0b7c0e5e-5f0e-4a6e-9d39-6a1c7b8e0d11".to_owned(),
            started_at: Some("2026-11-20T11:58:00Z".parse().unwrap()),
        },
        name: "success-rate".to_owned(),
        interval: "1m".to_owned(),
        provider,
        ..MetricRequest::default()
    }
}

#[allow(clippy::unnecessary_wraps, reason = "it stands beside errors in tables")]
pub fn ok(value: &str, ty: &str) -> Result<(String, String), String> {
    Ok((value.to_owned(), ty.to_owned()))
}

/// Whether a condition holds for a sample.
pub fn holds(sample: &Sample, condition: &str) -> Result<bool, String> {
    okra_expr::holds(condition, &sample.result, now(), Budget::default()).map_err(|error| error.to_string())
}

/// A server that gives one answer to everything.
pub async fn server(template: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any()).respond_with(template).mount(&server).await;
    server
}

pub async fn json_server(body: Json) -> MockServer {
    server(ResponseTemplate::new(200).set_body_json(body)).await
}

/// The requests that a server got.
pub async fn got(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.unwrap()
}

pub fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.get(name).map(|value| value.to_str().unwrap())
}

pub fn body(request: &Request) -> String {
    String::from_utf8(request.body.clone()).unwrap()
}

pub fn body_json(request: &Request) -> Json {
    serde_json::from_slice(&request.body).unwrap_or(json!("no JSON"))
}
