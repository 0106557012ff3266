//! What a failed call means.

use std::{error::Error as _, fmt::Write as _, time::Duration};

use kube::core::Status;
use okra_provider::{BackendError, Key, Kind};

/// The longest message that is taken over from a server.
const MAX_MESSAGE: usize = 2000;

/// A call that failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server answered with an error.
    Refused { code: u16, retry_after: Option<u64>, status: Box<Status>, readable: bool },
    /// No answer within the deadline.
    Slow,
    /// No answer, or none that can be read.
    Broken(String),
    /// The request could not be made; the words name the field.
    Unsendable(String),
    /// There are no credentials for the call.
    Unauthenticated,
    /// There is no token for the call; why.
    NoToken(String),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused { code: status.code, retry_after: None, status, readable: true },
            // The words of a credential plugin may hold what it printed.
            kube::Error::Auth(_) => Self::Unauthenticated,
            other => {
                let mut words = other.to_string();
                let mut source = other.source();
                while let Some(cause) = source {
                    let cause_words = cause.to_string();
                    if !words.ends_with(&cause_words) {
                        _ = write!(words, ": {cause_words}");
                    }
                    source = cause.source();
                }
                Self::Broken(words)
            }
        }
    }
}

impl Failure {
    /// An answer with an error status. A body that is no `Status` is a proxy's or says that the path is unknown.
    pub(super) fn refused(code: u16, retry_after: Option<u64>, body: &[u8]) -> Self {
        let parsed = serde_json::from_slice::<Status>(body).ok();
        let readable = parsed.is_some();
        Self::Refused { code, retry_after, status: parsed.unwrap_or_else(Status::success).boxed(), readable }
    }

    /// The version that was asked for is no longer kept: list again.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Refused { code: 410, .. })
    }

    /// The server does not know the kind: an unknown path, not an unknown object.
    pub(super) fn is_absent(&self) -> bool {
        match self {
            Self::Refused { code: 404, status, readable, .. } => {
                !readable || status.details.as_ref().is_none_or(|details| details.name.is_empty())
            }
            _ => false,
        }
    }

    /// In words, about a kind as a whole.
    pub(super) fn words(self, kind: &Kind) -> String {
        self.about(kind, &Key::default()).to_string()
    }

    /// What it means for a call about an object.
    pub(super) fn about(self, kind: &Kind, key: &Key) -> BackendError {
        if self.is_absent() {
            return BackendError::Absent(kind.to_string());
        }
        match self {
            Self::Slow => BackendError::Unreachable("the API server did not answer in time".to_owned()),
            Self::Broken(words) => {
                BackendError::Unreachable(format!("the API server cannot be reached: {}", cut(&words)))
            }
            Self::Unsendable(message) => BackendError::Invalid { message },
            Self::Unauthenticated => BackendError::Denied {
                message: "failed to get credentials for the API server: look at the user of the kubeconfig's context"
                    .to_owned(),
            },
            Self::NoToken(message) => BackendError::Denied { message },
            Self::Refused { code, retry_after, status, .. } => refusal(code, retry_after, &status, kind, key),
        }
    }
}

fn refusal(code: u16, retry_after: Option<u64>, status: &Status, kind: &Kind, key: &Key) -> BackendError {
    let details = status.details.as_ref();
    let message = || if status.message.is_empty() { format!("HTTP status {code}") } else { cut(&status.message) };
    let (name, key) = (kind.to_string(), key.clone());
    match code {
        404 if details.is_some_and(|details| details.kind == "namespaces") && kind.kind != "Namespace" => {
            let namespace = &key.namespace;
            BackendError::Invalid { message: format!("metadata.namespace: namespace {namespace} does not exist") }
        }
        404 => BackendError::NotFound { kind: name, key },
        409 if status.reason == "AlreadyExists" => BackendError::AlreadyExists { kind: name, key },
        409 => BackendError::Conflict { kind: name, key },
        400 | 413 | 415 | 422 => BackendError::Invalid { message: causes(status).unwrap_or_else(message) },
        401 => BackendError::Denied { message: "the API server does not accept the credentials".to_owned() },
        403 => BackendError::Denied { message: message() },
        405 => BackendError::Unsupported(message()),
        429 => {
            let told = details.map(|details| u64::from(details.retry_after_seconds)).filter(|seconds| *seconds > 0);
            BackendError::Throttled { retry_after: retry_after.or(told).map(Duration::from_secs) }
        }
        _ => BackendError::Unreachable(format!("the API server failed: {}", message())),
    }
}

/// What is wrong with which fields.
fn causes(status: &Status) -> Option<String> {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let parts: Vec<_> = causes
        .iter()
        .filter(|cause| !cause.message.is_empty())
        .map(|cause| match cause.field.as_str() {
            "" | "<nil>" => cause.message.clone(),
            field => format!("{field}: {}", cause.message),
        })
        .collect();
    if parts.is_empty() { None } else { Some(cut(&parts.join("; "))) }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_MESSAGE { text.to_owned() } else { text.chars().take(MAX_MESSAGE).collect() }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;

    fn about(code: u16, retry_after: Option<u64>, body: serde_json::Value) -> BackendError {
        let kind = Kind {
            group: "okra.mumo.co".into(),
            version: "v1alpha1".into(),
            kind: "Cell".into(),
            plural: "cells".into(),
        };
        Failure::refused(code, retry_after, body.to_string().as_bytes()).about(&kind, &Key::new("ns", "web"))
    }

    #[test]
    fn answers_are_told_apart() {
        let (kind, key) = ("Cell".to_owned(), Key::new("ns", "web"));
        let named = json!({"reason": "NotFound", "details": {"name": "web", "kind": "cells"}});
        assert_eq!(about(404, None, named), BackendError::NotFound { kind: kind.clone(), key: key.clone() });
        assert_eq!(about(404, None, json!("404 page not found")), BackendError::Absent(kind.clone()));
        assert_eq!(about(404, None, json!({"reason": "NotFound", "details": {}})), BackendError::Absent(kind.clone()));
        let namespace = json!({"reason": "NotFound", "details": {"name": "ns", "kind": "namespaces"}});
        assert_eq!(about(404, None, namespace).to_string(), "metadata.namespace: namespace ns does not exist");
        let exists = BackendError::AlreadyExists { kind: kind.clone(), key: key.clone() };
        assert_eq!(about(409, None, json!({"reason": "AlreadyExists"})), exists);
        assert_eq!(about(409, None, json!({"reason": "Conflict"})), BackendError::Conflict { kind, key });
        assert!(
            matches!(about(403, None, json!({"message": "no"})), BackendError::Denied { message } if message == "no")
        );
        assert!(matches!(about(401, None, json!({})), BackendError::Denied { .. }));
        assert!(matches!(about(405, None, json!({})), BackendError::Unsupported(_)));
        for code in [408, 500, 502, 503, 504] {
            assert!(matches!(about(code, None, json!({})), BackendError::Unreachable(_)), "{code}");
        }
    }

    #[test]
    fn causes_name_their_fields() {
        let body = json!({"message": "Cell is invalid", "reason": "Invalid", "details": {"causes": [
            {"field": "spec.replicas", "message": "Invalid value: 0"},
            {"field": "<nil>", "message": "some validation rules were not checked"},
        ]}});
        assert_eq!(
            about(422, None, body).to_string(),
            "spec.replicas: Invalid value: 0; some validation rules were not checked"
        );
        assert_eq!(about(400, None, json!({"message": "unknown field"})).to_string(), "unknown field");
    }

    #[test]
    fn the_wait_comes_from_header_or_body() {
        let seconds = |seconds| BackendError::Throttled { retry_after: Some(Duration::from_secs(seconds)) };
        assert_eq!(about(429, Some(7), json!({"details": {"retryAfterSeconds": 3}})), seconds(7));
        assert_eq!(about(429, None, json!({"details": {"retryAfterSeconds": 3}})), seconds(3));
        assert_eq!(about(429, None, json!("Too many requests")), BackendError::Throttled { retry_after: None });
    }
}
