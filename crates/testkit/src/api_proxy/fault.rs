//! What can happen to a request on its way to the API server and back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A fault of the API server, or of the way to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ApiFault {
    /// 409, reason Conflict; nothing is done.
    Conflict,
    /// 429 with `Retry-After`, in seconds; nothing is done.
    TooManyRequests {
        /// Seconds; 0 sends none.
        retry_after: u32,
    },
    /// An error with this status, as the API server words it; nothing is done. 500, 503 and so on; 410 says Expired.
    Status(u16),
    /// Of a watch: it is opened and tells of an error 410 Gone, as after a compaction. Other calls: 410.
    GoneEvent,
    /// Of a watch: the connection breaks after this time; what happened until then is told. Other calls are let by.
    DropWatch(Duration),
    /// Of a watch: it stays open and tells nothing until the client leaves. Other calls are never answered.
    Silence,
    /// Of a list: what the proxy remembers is answered, with the resourceVersion of that time (see
    /// [`ApiProxy::remember_lists`](super::ApiProxy::remember_lists); without it, the first answer to the same list).
    /// Other calls are let by.
    StaleList,
    /// The answer comes this much later; the effect does not.
    Slow(Duration),
    /// The connection is closed before the request is passed on: nothing is done.
    CloseBefore,
    /// The request takes effect, and the connection is closed without an answer.
    LoseAnswer,
    /// The request takes effect, and half of the answer's body arrives before the connection is closed. Of a watch:
    /// half of its first event.
    HalfAnswer,
}

/// An error as the API server words it.
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) retry_after: Option<u32>,
    pub(super) status: Value,
}

impl ApiFault {
    /// The error that is answered instead of passing the request on.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Conflict => Some(Refusal::new(409, None)),
            Self::TooManyRequests { retry_after } => {
                Some(Refusal::new(429, Some(*retry_after).filter(|seconds| *seconds > 0)))
            }
            Self::Status(code) => Some(Refusal::new(*code, None)),
            _ => None,
        }
    }
}

impl Refusal {
    pub(super) fn new(code: u16, retry_after: Option<u32>) -> Self {
        let (reason, message) = words(code);
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code,
        });
        if let (Some(seconds), Some(fields)) = (retry_after, status.as_object_mut()) {
            fields.insert("details".to_owned(), json!({"retryAfterSeconds": seconds}));
        }
        Self { code, retry_after, status }
    }
}

/// Reason and message of the API server's own errors (k8s.io/apimachinery, `metav1.StatusReason`).
fn words(code: u16) -> (&'static str, &'static str) {
    match code {
        400 => ("BadRequest", "the request is bad (planned fault)"),
        401 => ("Unauthorized", "Unauthorized"),
        403 => ("Forbidden", "forbidden (planned fault)"),
        404 => ("NotFound", "not found (planned fault)"),
        409 => {
            ("Conflict", "the object has been modified; please apply your changes to the latest version and try again")
        }
        410 => ("Expired", "The resourceVersion for the provided watch is too old."),
        422 => ("Invalid", "invalid (planned fault)"),
        429 => ("TooManyRequests", "too many requests, please try again later."),
        500 => ("InternalError", "an error on the server has prevented the request from succeeding (planned fault)"),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request (planned fault)"),
        504 => ("Timeout", "Timeout: request did not complete within the allotted timeout (planned fault)"),
        _ => ("Unknown", "planned fault"),
    }
}
