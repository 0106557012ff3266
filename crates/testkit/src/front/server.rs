//! The HTTP side of the front: one request in, judged, carried out here or by moto, recorded, answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use okra_judge::record::LbCall;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::error::{AwsError, NAMESPACE};
use super::faults::{CallInfo, Verdict};
use super::node::Node;
use super::{Shared, listeners, operations};

/// Larger than any request of ELBv2.
const MAX_BODY: usize = 1 << 20;
const ELB: &str = "elasticloadbalancing";
const ELB_VERSION: &str = "2015-12-01";

/// A request that was read whole.
struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    params: Node,
    info: CallInfo,
}

/// The connection is to be closed without an answer.
#[derive(Debug)]
struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection dropped by a fault")
    }
}

impl std::error::Error for Dropped {}

type Answer = Response<Full<Bytes>>;

pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (shared, stop) = (shared.clone(), stop.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| handle(shared.clone(), request));
            let io = hyper_util::rt::TokioIo::new(stream);
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                // A caller that goes away is its own affair.
                _ = connection => {}
            }
        });
    }
}

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Dropped> {
    let call = match read(request).await {
        Ok(call) => call,
        Err(error) => return Ok(refusal(&error, &shared.request_id())),
    };
    let faults = shared.faults();
    match faults.before(&call.info) {
        Verdict::Pass => {}
        Verdict::Delay(time) => tokio::time::sleep(time).await,
        verdict @ (Verdict::Fail(_) | Verdict::Drop) => {
            let (error, answer) = match verdict {
                Verdict::Fail(error) => (error.code.clone(), Ok(refusal(&error, &shared.request_id()))),
                _ => ("ConnectionDropped".to_owned(), Err(Dropped)),
            };
            shared.locked(|inner| {
                let mut outcome = operations::named(&inner.state, &call.params, &call.info);
                outcome.error = Some(error);
                inner.push_call(outcome);
            });
            return answer;
        }
    }
    if call.info.service == ELB { elb(&shared, &call).await } else { other(&shared, &call).await }
}

async fn read(request: Request<Incoming>) -> Result<Call, AwsError> {
    let (parts, body) = request.into_parts();
    let body = tokio::time::timeout(Duration::from_secs(30), Limited::new(body, MAX_BODY).collect())
        .await
        .map_err(|_| AwsError::new("RequestTimeout", "the body did not arrive within 30 s"))?
        .map_err(|error| AwsError::new("MalformedQueryString", error.to_string()))?
        .to_bytes();
    let query = parts.uri.query().unwrap_or_default();
    let form = std::str::from_utf8(&body).ok().filter(|_| is_form(&parts.headers)).unwrap_or(query);
    let params = Node::from_form(form).map_err(|error| AwsError::new("MalformedQueryString", error))?;
    let (caller, scope) = signer(&parts.headers);
    let elb = scope.as_deref() == Some(ELB) || params.str("Version") == Some(ELB_VERSION);
    let service = if elb { ELB.to_owned() } else { scope.unwrap_or_else(|| "unknown".to_owned()) };
    let operation = match (params.str("Action"), parts.headers.get("x-amz-target").and_then(|v| v.to_str().ok())) {
        (Some(action), _) => action.to_owned(),
        (None, Some(target)) => target.rsplit('.').next().unwrap_or(target).to_owned(),
        (None, None) => format!("{} {}", parts.method, parts.uri.path()),
    };
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let info = CallInfo { caller, service, operation };
    Ok(Call { method: parts.method, path, headers: parts.headers, body, params, info })
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    kind.starts_with("application/x-www-form-urlencoded")
}

/// The access key id and the service of a SigV4 signature, whose correctness nobody here can check.
fn signer(headers: &HeaderMap) -> (String, Option<String>) {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let Some((_, credential)) = authorization.split_once("Credential=") else { return ("anonymous".to_owned(), None) };
    let mut parts = credential.split([',', ' ']).next().unwrap_or_default().split('/');
    let caller = parts.next().unwrap_or_default().to_owned();
    (caller, parts.nth(2).map(str::to_owned))
}

async fn elb(shared: &Arc<Shared>, call: &Call) -> Result<Answer, Dropped> {
    if operations::is_native(&call.info.operation) {
        let (result, verdict) = shared.run(&call.params, &call.info);
        if result.is_ok() && matches!(call.info.operation.as_str(), "AddTags" | "RemoveTags") {
            // moto answers the tagging API, so it must know the tags of what it stores; what it does
            // not store it refuses, which is no concern of the caller.
            let _ = forward(shared, call, call.body.clone()).await;
        }
        return answer(shared, call, result, verdict).await;
    }
    let judged = shared.locked(|inner| listeners::judge_forwarded(&inner.state, &call.info.operation, &call.params));
    let mut raw = None;
    let result = match judged {
        Err(error) => Err(error),
        Ok(()) => match forward(shared, call, unpaged(call)).await {
            Err(error) => Err(AwsError { message: error.to_string(), ..AwsError::unavailable() }),
            Ok(response) => {
                let result = understand(&call.info.operation, &response);
                raw = Some(response);
                result
            }
        },
    };
    let (result, verdict) = shared.locked(|inner| {
        let mut outcome = operations::named(&inner.state, &call.params, &call.info);
        let result = result.and_then(|node| {
            listeners::learn(&mut inner.state, &call.info.operation, &call.params, &node);
            match call.info.operation.as_str() {
                "DescribeTargetGroups" => listeners::correct_groups(&inner.state, &call.params, &node).map(Some),
                _ => Ok(None),
            }
        });
        outcome.error = result.as_ref().err().map(|error: &AwsError| error.code.clone());
        let verdict = shared.faults().after(&call.info, &outcome);
        operations::note_verdict(&mut outcome, &verdict);
        inner.push_call(outcome);
        inner.settle(Instant::now());
        (result, verdict)
    });
    match (result, raw) {
        // What the front does not understand better than moto goes through byte by byte.
        (Ok(None), Some(raw)) => match verdict {
            Verdict::Pass | Verdict::Delay(_) => {
                wait(&verdict).await;
                Ok(raw.into_answer())
            }
            verdict => answer(shared, call, Ok(Node::empty()), verdict).await,
        },
        (result, _) => answer(shared, call, result.map(|node| node.unwrap_or_else(Node::empty)), verdict).await,
    }
}

/// moto ignores paging and does not know which load balancer uses a group: it is asked for all of them.
fn unpaged(call: &Call) -> Bytes {
    if call.info.operation != "DescribeTargetGroups" {
        return call.body.clone();
    }
    let text = String::from_utf8_lossy(&call.body);
    let own = |pair: &&str| !["PageSize=", "Marker=", "LoadBalancerArn="].iter().any(|name| pair.starts_with(name));
    Bytes::from(text.split('&').filter(own).collect::<Vec<_>>().join("&"))
}

fn understand(operation: &str, response: &Raw) -> Result<Node, AwsError> {
    let parsed = Node::from_xml(&String::from_utf8_lossy(&response.body)).map(|(_, node)| node);
    if response.status.is_success() {
        let parsed = parsed.map_err(|error| AwsError { message: error, ..AwsError::internal() })?;
        return Ok(parsed.get(&format!("{operation}Result")).cloned().unwrap_or_else(Node::empty));
    }
    let error = parsed.ok().and_then(|node| node.get("Error").cloned()).unwrap_or_else(Node::empty);
    Err(AwsError {
        code: error.str("Code").unwrap_or("InternalFailure").to_owned(),
        message: error.str("Message").unwrap_or_default().to_owned(),
        status: response.status.as_u16(),
    })
}

async fn other(shared: &Arc<Shared>, call: &Call) -> Result<Answer, Dropped> {
    let result = forward(shared, call, call.body.clone()).await;
    let mut outcome = LbCall {
        caller: call.info.caller.clone(),
        operation: format!("{}:{}", call.info.service, call.info.operation),
        ..LbCall::default()
    };
    outcome.error = match &result {
        Ok(response) if response.status.is_success() => None,
        Ok(response) => Some(response.status.as_u16().to_string()),
        Err(_) => Some("ServiceUnavailable".to_owned()),
    };
    let verdict = shared.faults().after(&call.info, &outcome);
    operations::note_verdict(&mut outcome, &verdict);
    shared.locked(|inner| inner.push_call(outcome));
    match (verdict, result) {
        (Verdict::Drop, _) => Err(Dropped),
        (Verdict::Fail(error), _) => Ok(refusal(&error, &shared.request_id())),
        (verdict, Ok(response)) => {
            wait(&verdict).await;
            Ok(response.into_answer())
        }
        (_, Err(error)) => {
            Ok(refusal(&AwsError { message: error.to_string(), ..AwsError::unavailable() }, &shared.request_id()))
        }
    }
}

async fn wait(verdict: &Verdict) {
    if let Verdict::Delay(time) = verdict {
        tokio::time::sleep(*time).await;
    }
}

async fn answer(
    shared: &Shared,
    call: &Call,
    result: Result<Node, AwsError>,
    verdict: Verdict,
) -> Result<Answer, Dropped> {
    let id = shared.request_id();
    wait(&verdict).await;
    match (verdict, result) {
        (Verdict::Drop, _) => Err(Dropped),
        (Verdict::Fail(error), _) | (_, Err(error)) => Ok(refusal(&error, &id)),
        (_, Ok(node)) => Ok(success(&call.info.operation, &node, &id)),
    }
}

fn success(operation: &str, result: &Node, id: &str) -> Answer {
    let mut content = String::new();
    Node::empty()
        .with(&format!("{operation}Result"), result.clone())
        .with("ResponseMetadata", Node::empty().with_text("RequestId", id))
        .write_xml(&mut content);
    xml(StatusCode::OK, format!("<{operation}Response xmlns=\"{NAMESPACE}\">{content}</{operation}Response>"), id)
}

fn refusal(error: &AwsError, id: &str) -> Answer {
    xml(StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST), error.to_xml(id), id)
}

fn xml(status: StatusCode, body: String, id: &str) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/xml"));
    if let Ok(id) = http::HeaderValue::from_str(id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

/// What moto answered.
struct Raw {
    status: StatusCode,
    kind: Option<http::HeaderValue>,
    body: Bytes,
}

impl Raw {
    fn into_answer(self) -> Answer {
        let mut answer = Response::new(Full::new(self.body));
        *answer.status_mut() = self.status;
        if let Some(kind) = self.kind {
            answer.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        answer
    }
}

async fn forward(shared: &Shared, call: &Call, body: Bytes) -> Result<Raw, reqwest::Error> {
    let url = format!("{}{}", shared.moto, call.path);
    let mut headers = call.headers.clone();
    for hop in [header::HOST, header::CONTENT_LENGTH, header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(hop);
    }
    // Credentials that STS gave out carry an account of their own.
    if !call.info.caller.starts_with("ASIA")
        && let Ok(account) = http::HeaderValue::from_str(&shared.account)
    {
        headers.insert("x-moto-account-id", account);
    }
    let response = shared.http.request(call.method.clone(), url).headers(headers).body(body).send().await?;
    let (status, kind) = (response.status(), response.headers().get(header::CONTENT_TYPE).cloned());
    Ok(Raw { status, kind, body: response.bytes().await? })
}
