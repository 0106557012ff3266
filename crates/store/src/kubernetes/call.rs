//! One request and its answer, with a deadline and a limit of size.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, Request, header::AUTHORIZATION};
use http_body_util::{BodyExt as _, Limited};
use kube::{
    Client,
    client::Body,
    core::{Request as Builder, request},
};
use okra_provider::{Key, Kind, SecretText};
use serde_json::{Value, json};

use super::{Timings, errors::Failure};

/// The most that one answer may hold. A page holds 500 objects of at most 1.5 MiB each (etcd's limit), in
/// practice of some KiB.
const MAX_ANSWER: usize = 256 << 20;

/// A client and how long its calls may take.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) timings: Timings,
    /// Who gives out the token of each request; `None`: the client has what it needs.
    pub(super) tokens: Option<Arc<dyn BearerTokens>>,
}

/// Who gives out tokens that end.
#[async_trait]
pub trait BearerTokens: Send + Sync {
    /// The token to use now; why there is none, in words without a credential.
    async fn token(&self) -> Result<SecretText, String>;
    /// The server did not accept the last one: the next must be a new one.
    fn refused(&self);
}

impl Caller {
    /// Sends a request about an object and gives the answer, if it is a good one.
    pub(super) async fn checked(
        &self,
        key: &Key,
        request: Result<Request<Vec<u8>>, request::Error>,
    ) -> Result<Value, Failure> {
        check_segments(key)?;
        let request = request.map_err(|error| Failure::Unsendable(error.to_string()))?;
        tokio::time::timeout(self.timings.call, self.exchange(request)).await.unwrap_or(Err(Failure::Slow))
    }

    /// The request with a token, where tokens are given out.
    pub(super) async fn authorized(&self, mut request: Request<Vec<u8>>) -> Result<Request<Vec<u8>>, Failure> {
        if let Some(tokens) = &self.tokens {
            let token = tokens.token().await.map_err(Failure::NoToken)?;
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
            let mut value = value.map_err(|_| Failure::NoToken("the token is no header value".to_owned()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// Tells who gives out tokens that the last one was not accepted.
    pub(super) fn learn(&self, code: u16) {
        if let (401, Some(tokens)) = (code, &self.tokens) {
            tokens.refused();
        }
    }

    async fn exchange(&self, request: Request<Vec<u8>>) -> Result<Value, Failure> {
        let request = self.authorized(request).await?;
        let response = self.client.send(request.map(Body::from)).await?;
        let status = response.status();
        let retry_after = response.headers().get(http::header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| Failure::Broken(format!("failed to read the answer: {error}")))?.to_bytes();
        if !status.is_success() {
            self.learn(status.as_u16());
            return Err(Failure::refused(status.as_u16(), retry_after, &body));
        }
        serde_json::from_slice(&body).map_err(|error| Failure::Broken(format!("failed to parse the answer: {error}")))
    }
}

/// The path of a kind's collection in the namespace of a key.
pub(super) fn path(kind: &Kind, key: &Key) -> Builder {
    let root = if kind.group.is_empty() { "/api" } else { "/apis" };
    let namespace = if key.namespace.is_empty() { String::new() } else { format!("namespaces/{}/", key.namespace) };
    Builder::new(format!("{root}/{}/{namespace}{}", kind.api_version(), kind.plural))
}

/// Names come from people and manifests: one that is not a path segment would ask for something else.
fn check_segments(key: &Key) -> Result<(), Failure> {
    for (field, segment) in [("metadata.namespace", &key.namespace), ("metadata.name", &key.name)] {
        let odd = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.' | ':' | '_');
        if segment.contains(odd) || segment == "." || segment == ".." || segment.len() > 253 {
            return Err(Failure::Unsendable(format!("{field}: {segment:?} is not a name")));
        }
    }
    Ok(())
}

/// An object as Okra keeps it: without `managedFields`, which are most of its size and nobody's concern here, and
/// with the apiVersion and kind that lists of built-in kinds leave out.
pub(super) fn tidied(kind: &Kind, mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    if let Some(fields) = object.as_object_mut() {
        fields.entry("apiVersion").or_insert_with(|| json!(kind.api_version()));
        fields.entry("kind").or_insert_with(|| json!(kind.kind));
    }
    object
}
