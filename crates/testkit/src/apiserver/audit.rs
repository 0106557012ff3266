//! The audit log: who asked the API server for what, and what it answered.

use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use okra_judge::record::ApiCall;
use serde::Deserialize;
use serde_json::Value;

/// One audited request. Requests of the API server to itself and looks at its health are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    /// The user, one of those the server was started with.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The plural, for example `cells`; empty for a path that is no resource.
    pub resource: String,
    /// For example `status`; empty without.
    pub subresource: String,
    /// Empty for objects without a namespace.
    pub namespace: String,
    /// Empty for lists, watches, and creations with a generated name.
    pub name: String,
    /// The HTTP status that was answered.
    pub code: u16,
    /// When the request arrived.
    pub at: Timestamp,
    /// When it was answered; for [`ResponseStarted`](Self::stage), when the answer began.
    pub answered_at: Timestamp,
    /// `ResponseComplete`, `Panic`, or `ResponseStarted` for the beginning of a watch.
    pub stage: String,
    /// The path and query.
    pub uri: String,
    /// What the client calls itself.
    pub user_agent: String,
    /// What was sent (with [`Options::audit_bodies`](super::Options::audit_bodies)).
    pub request_object: Option<Value>,
    /// What was answered (with [`Options::audit_bodies`](super::Options::audit_bodies)).
    pub response_object: Option<Value>,
}

impl AuditEvent {
    /// The request as the judge reads it, with the time of its answer; `None` for what is no request of a resource, and
    /// for the end of a watch, whose beginning was told.
    pub fn api_call(&self) -> Option<(Timestamp, ApiCall)> {
        let counts =
            if self.verb == "watch" { self.stage == "ResponseStarted" } else { self.stage != "ResponseStarted" };
        if self.resource.is_empty() || !counts {
            return None;
        }
        let empty = Value::Null;
        let (sent, stored) = (
            self.request_object.as_ref().unwrap_or(&empty),
            self.response_object.as_ref().filter(|_| self.code < 300).unwrap_or(&empty),
        );
        let text = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let writes = matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete");
        let is_object = writes && text(stored, "/kind").is_some_and(|kind| kind != "Status");
        // A deleted object goes with its last finalizer, whoever takes that away.
        let held = stored.pointer("/metadata/finalizers").is_some();
        let leaves = self.verb == "delete" || stored.pointer("/metadata/deletionTimestamp").is_some();
        let version = text(sent, "/metadata/resourceVersion").or_else(|| text(sent, "/preconditions/resourceVersion"));
        let call = ApiCall {
            process: self.user.clone(),
            verb: self.verb.clone(),
            kind: text(stored, "/kind").filter(|_| is_object).unwrap_or_else(|| kind_of(&self.resource)),
            subresource: self.subresource.clone(),
            namespace: self.namespace.clone(),
            name: text(stored, "/metadata/name").filter(|_| is_object).unwrap_or_else(|| self.name.clone()),
            sent_version: version.filter(|version| !version.is_empty()),
            stored_version: text(stored, "/metadata/resourceVersion").filter(|_| is_object),
            code: self.code,
            begun: Some(self.at),
            after: if is_object { stored.clone() } else { Value::Null },
            gone: writes && self.code < 300 && leaves && !held,
            ..ApiCall::default()
        };
        Some((self.answered_at, call))
    }
}

/// The kind of a resource, for requests whose answer the log does not keep.
fn kind_of(resource: &str) -> String {
    let kind = match resource {
        "analysisruns" => "AnalysisRun",
        "awsapplicationloadbalancerconfigs" => "AWSApplicationLoadBalancerConfig",
        "awstargetgroups" => "AWSTargetGroup",
        "cells" => "Cell",
        "events" => "Event",
        "experiments" => "Experiment",
        "leases" => "Lease",
        "pauses" => "Pause",
        "routes" => "Route",
        "secrets" => "Secret",
        "targetgroups" => "TargetGroup",
        "versionblocklists" => "VersionBlocklist",
        other => other,
    };
    kind.to_owned()
}

/// The line format, `audit.k8s.io/v1` Event.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: LineUser,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    request_object: Option<Value>,
    response_object: Option<Value>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct LineUser {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
struct ObjectRef {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

#[derive(Default, Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

/// Reads a log that the server may be writing to: what stands after the last end of line is not yet whole. Lines about
/// other namespaces than these are passed over unread; `None` for all.
pub(super) fn read(path: &Path, namespaces: Option<&[String]>) -> Result<Vec<AuditEvent>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context("failed to read the audit log"),
    };
    let whole = text.iter().rposition(|byte| *byte == b'\n').and_then(|end| text.get(..end)).unwrap_or_default();
    let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.filter(|line| namespaces.is_none_or(|wanted| is_about(line, wanted))).map(parse).collect()
}

/// Whether a line is about one of these namespaces, or about none. Parsing takes far longer than this look.
fn is_about(line: &[u8], namespaces: &[String]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else { return true };
    let object = line.split_once(r#""objectRef":{"#).and_then(|(_, rest)| rest.split_once('}'));
    let named = object.and_then(|(object, _)| object.split_once(r#""namespace":""#));
    named.and_then(|(_, rest)| rest.split_once('"')).is_none_or(|(name, _)| namespaces.iter().any(|own| own == name))
}

fn parse(line: &[u8]) -> Result<AuditEvent> {
    let line: Line = serde_json::from_slice(line).context("failed to parse a line of the audit log")?;
    let object = line.object_ref.unwrap_or_default();
    Ok(AuditEvent {
        user: line.user.username,
        verb: line.verb,
        resource: object.resource,
        subresource: object.subresource,
        namespace: object.namespace,
        name: object.name,
        code: line.response_status.unwrap_or_default().code,
        at: line.request_received_timestamp,
        answered_at: line.stage_timestamp,
        stage: line.stage,
        uri: line.request_uri,
        user_agent: line.user_agent,
        request_object: line.request_object,
        response_object: line.response_object,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/a/configmaps?fieldManager=x","verb":"create","user":{"username":"okrad","groups":["system:masters"]},"sourceIPs":["127.0.0.1"],"userAgent":"u","objectRef":{"resource":"configmaps","namespace":"a","name":"c","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":201},"requestReceivedTimestamp":"2026-01-02T03:04:05.000001Z","stageTimestamp":"2026-01-02T03:04:05.002000Z"}"#;

    fn event(verb: &str, sent: Value, answered: Value) -> AuditEvent {
        let mut line: Value = serde_json::from_str(LINE).unwrap();
        line["verb"] = verb.into();
        line["objectRef"] = serde_json::json!({"resource": "cells", "namespace": "a", "name": "web"});
        line["responseStatus"]["code"] = 200.into();
        line["requestObject"] = sent;
        line["responseObject"] = answered;
        parse(line.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_judge_is_told_which_version_was_sent_and_which_was_stored() {
        let object = |version: &str| serde_json::json!({"kind": "Cell", "metadata": {"name": "web", "resourceVersion": version}});
        let (at, call) = event("update", object("5"), object("6")).api_call().unwrap();
        assert_eq!(
            (call.kind.as_str(), call.sent_version.as_deref(), call.stored_version.as_deref()),
            ("Cell", Some("5"), Some("6"))
        );
        assert_eq!((call.after["metadata"]["resourceVersion"].as_str(), call.gone), (Some("6"), false));
        assert!(call.begun.unwrap() < at);
        let read = AuditEvent { verb: "get".to_owned(), ..event("update", Value::Null, object("6")) };
        assert_eq!(read.api_call().unwrap().1.after, Value::Null, "a read changes nothing");
    }

    #[test]
    fn what_is_deleted_is_gone_with_its_last_finalizer() {
        let object = |finalizers: Value| {
            let metadata = serde_json::json!({"name": "web", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers});
            let mut object = serde_json::json!({"kind": "Cell", "metadata": metadata});
            if finalizers.is_null() {
                object["metadata"].as_object_mut().unwrap().remove("finalizers");
            }
            object
        };
        let gone = |verb: &str, answered: Value| event(verb, Value::Null, answered).api_call().unwrap().1.gone;
        assert!(!gone("delete", object(serde_json::json!(["okra.mumo.co/route"]))));
        assert!(gone("patch", object(Value::Null)));
        assert!(gone("delete", serde_json::json!({"kind": "Status"})));
    }

    #[test]
    fn a_line_still_being_written_is_left_for_later() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{LINE}\n{LINE}\n{}", &LINE[..40])).unwrap();
        let events = read(file.path(), None).unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!((events[0].user.as_str(), events[0].verb.as_str(), events[0].code), ("okrad", "create", 201));
        assert_eq!((events[0].resource.as_str(), events[0].namespace.as_str()), ("configmaps", "a"));
        assert!(events[0].answered_at > events[0].at);
    }

    #[test]
    fn lines_about_other_namespaces_are_passed_over() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let other = LINE.replace(r#""namespace":"a""#, r#""namespace":"a2""#);
        let none = LINE.replace(r#""namespace":"a","#, "");
        std::fs::write(file.path(), format!("{LINE}\n{other}\n{none}\n")).unwrap();
        let namespaces = |wanted: Option<&[String]>| {
            let events = read(file.path(), wanted).unwrap();
            events.into_iter().map(|event| event.namespace).collect::<Vec<_>>()
        };
        assert_eq!(namespaces(Some(&["a".to_owned()])), ["a", ""]);
        assert_eq!(namespaces(Some(&["a".to_owned(), "a2".to_owned()])), ["a", "a2", ""]);
        assert_eq!(namespaces(None), ["a", "a2", ""]);
    }

    #[test]
    fn no_log_yet_is_no_request_yet() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&dir.path().join("audit.log"), None).unwrap(), Vec::new());
    }

    #[test]
    fn a_broken_line_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{}\n").unwrap();
        assert!(read(file.path(), None).is_err());
    }
}
