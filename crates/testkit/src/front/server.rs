//! The HTTP side of the front: one request in, judged, carried out here or by moto, recorded, answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use okra_judge::record::LbCall;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::accounts::{Credential, Identity};
use super::error::{AwsError, NAMESPACE};
use super::faults::{AwsFault, CallInfo, Moment};
use super::node::Node;
use super::{ANONYMOUS, REGION, Shared, eks, is_exempt, listeners, operations, told};

/// Larger than any request of ELBv2.
const MAX_BODY: usize = 1 << 20;
const ERROR_TYPE: &str = "x-amzn-errortype";
const ELB: &str = "elasticloadbalancing";
const ELB_VERSION: &str = "2015-12-01";

/// How long half an answer stays half before the connection is reset, so that it has reached its reader.
const HALF_FOR: Duration = Duration::from_millis(20);

/// A request that was read whole.
struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    params: Node,
    credential: Credential,
    info: CallInfo,
}

/// The connection is to be reset without an answer, or without the rest of one.
#[derive(Debug)]
struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection dropped by a fault")
    }
}

impl std::error::Error for Dropped {}

type Answer = Response<UnsyncBoxBody<Bytes, Dropped>>;

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
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = serve_connection(stream, shared) => {}
            }
        });
    }
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    let service = hyper::service::service_fn(|request| Box::pin(handle(shared.clone(), request)));
    let io = hyper_util::rt::TokioIo::new(stream);
    let mut connection = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
    let ended = std::future::poll_fn(|context| connection.poll_without_shutdown(context)).await;
    // A caller that goes away is its own affair; what a fault drops is reset, not closed.
    if ended.is_err_and(|error| error.is_user()) {
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Dropped> {
    let call = match read(&shared, request).await {
        Ok(call) => call,
        Err(error) => return Ok(refusal(&error, &shared.request_id())),
    };
    shared.call_hook(Moment::Before, &call.info).await;
    let fault = match judge(&shared, &call) {
        Ok(fault) => fault,
        Err((code, end)) => {
            shared.noted(|inner| {
                let mut outcome = operations::named(&inner.state, &call.params, &call.info);
                outcome.error = Some(code);
                inner.push_call(outcome);
            });
            return match end {
                End::Refused(error) => Ok(refusal_of(&call.info.service, &error, &shared.request_id())),
                End::Reset => Err(Dropped),
                End::Silence => std::future::pending().await,
            };
        }
    };
    if let Some(AwsFault::Slow { millis }) = fault {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    let answer = if call.info.service == ELB {
        elb(&shared, &call, fault.as_ref()).await
    } else {
        other(&shared, &call, fault.as_ref()).await
    };
    shared.call_hook(Moment::After, &call.info).await;
    spoil(&shared, &call, answer, fault).await
}

/// How a call ends that is not carried out.
enum End {
    Refused(AwsError),
    Reset,
    Silence,
}

/// Whether a call may be carried out, and the fault that strikes it then; else the code for the record.
fn judge(shared: &Shared, call: &Call) -> Result<Option<AwsFault>, (String, End)> {
    if is_exempt(&call.info.caller) {
        return Ok(None);
    }
    let plan = shared.plan();
    let about: Vec<&str> = call.info.about.iter().map(String::as_str).collect();
    let fault = plan.calls.strikes_about(&call.info.caller, &call.info.operation, &about);
    let refused = |error: AwsError| (error.code.clone(), End::Refused(error));
    let mut accounts = shared.accounts.lock();
    if matches!(fault, Some(AwsFault::Expire)) {
        accounts.expire(&call.credential);
    }
    if accounts.is_expired(&call.credential) {
        return Err(refused(AwsError::expired_token()));
    }
    if let Some(fault) = fault.as_ref().filter(|fault| !fault.is_after()) {
        let code = fault.told().unwrap_or_default().to_owned();
        return Err(match fault {
            AwsFault::Error(error) => refused(error.clone()),
            AwsFault::Reset => (code, End::Reset),
            _ => (code, End::Silence),
        });
    }
    if call.info.service == ELB {
        accounts.check_reach(&call.info).map_err(refused)?;
        if plan.buckets {
            accounts.pay(&call.info, Instant::now()).map_err(refused)?;
        }
    }
    Ok(fault)
}

/// What becomes of the answer to a call that was carried out.
async fn spoil(shared: &Shared, call: &Call, answer: Answer, fault: Option<AwsFault>) -> Result<Answer, Dropped> {
    match fault {
        Some(AwsFault::ErrorAfter(error)) => Ok(refusal_of(&call.info.service, &error, &shared.request_id())),
        Some(AwsFault::Empty) => Ok(json(StatusCode::OK, eks::nothing())),
        Some(AwsFault::ResetAfter) => Err(Dropped),
        Some(AwsFault::SilenceAfter) => std::future::pending().await,
        Some(AwsFault::Half) => halve(answer).await,
        Some(AwsFault::SlowAfter { millis }) => {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(answer)
        }
        _ => Ok(answer),
    }
}

/// Half of the answer under the length of the whole, then nothing more.
async fn halve(answer: Answer) -> Result<Answer, Dropped> {
    let (mut parts, body) = answer.into_parts();
    let whole = body.collect().await?.to_bytes();
    parts.headers.insert(header::CONTENT_LENGTH, whole.len().into());
    let half = Frame::data(whole.slice(..whole.len() / 2));
    let end = async {
        tokio::time::sleep(HALF_FOR).await;
        Err(Dropped)
    };
    let frames = stream::iter([Ok(half)]).chain(stream::once(end));
    Ok(Response::from_parts(parts, StreamBody::new(frames).boxed_unsync()))
}

async fn read(shared: &Shared, request: Request<Incoming>) -> Result<Call, AwsError> {
    let (parts, body) = request.into_parts();
    let body = tokio::time::timeout(Duration::from_secs(30), Limited::new(body, MAX_BODY).collect())
        .await
        .map_err(|_| AwsError::new("RequestTimeout", "the body did not arrive within 30 s"))?
        .map_err(|error| AwsError::new("MalformedQueryString", error.to_string()))?
        .to_bytes();
    let query = parts.uri.query().unwrap_or_default();
    let form = std::str::from_utf8(&body).ok().filter(|_| is_form(&parts.headers)).unwrap_or(query);
    let params = Node::from_form(form).map_err(|error| AwsError::new("MalformedQueryString", error))?;
    let (key, region, scope) = signer(&parts.headers);
    let elb = scope.as_deref() == Some(ELB) || params.str("Version") == Some(ELB_VERSION);
    let service = if elb { ELB.to_owned() } else { scope.unwrap_or_else(|| "unknown".to_owned()) };
    let operation = match (params.str("Action"), parts.headers.get("x-amz-target").and_then(|v| v.to_str().ok())) {
        (Some(action), _) => action.to_owned(),
        (None, Some(target)) => target.rsplit('.').next().unwrap_or(target).to_owned(),
        (None, None) => format!("{} {}", parts.method, parts.uri.path()),
    };
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let token = parts.headers.get("x-amz-security-token").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let credential = Credential { key, token: token.to_owned() };
    let Identity { name: caller, account } = shared.accounts.lock().of(&credential.key);
    let about = operations::about(&shared.inner.lock().state, &params);
    let info = CallInfo { caller, service, operation, account, region, about };
    Ok(Call { method: parts.method, path, headers: parts.headers, body, params, credential, info })
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    kind.starts_with("application/x-www-form-urlencoded")
}

/// The access key id, the region and the service of a SigV4 signature, whose correctness nobody here can check.
fn signer(headers: &HeaderMap) -> (String, String, Option<String>) {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let Some((_, credential)) = authorization.split_once("Credential=") else {
        return (ANONYMOUS.to_owned(), REGION.to_owned(), None);
    };
    let mut parts = credential.split([',', ' ']).next().unwrap_or_default().split('/').map(str::to_owned);
    let key = parts.next().unwrap_or_default();
    (key, parts.nth(1).unwrap_or_else(|| REGION.to_owned()), parts.next())
}

async fn elb(shared: &Arc<Shared>, call: &Call, fault: Option<&AwsFault>) -> Answer {
    if operations::is_native(&call.info.operation) {
        let result = shared.run(&call.params, &call.info, fault);
        if result.is_ok() && matches!(call.info.operation.as_str(), "AddTags" | "RemoveTags") {
            // moto answers the tagging API, so it must know the tags of what it stores; what it does
            // not store it refuses, which is no concern of the caller.
            let _ = forward(shared, call, call.body.clone()).await;
        }
        return answer(shared, call, result);
    }
    let judged = shared.noted(|inner| listeners::judge_forwarded(&inner.state, &call.info.operation, &call.params));
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
    let result = shared.locked(|inner| {
        let mut outcome = operations::named(&inner.state, &call.params, &call.info);
        let result = result.and_then(|node| {
            listeners::learn(&mut inner.state, &call.info.operation, &call.params, &node);
            match call.info.operation.as_str() {
                "DescribeTargetGroups" => listeners::correct_groups(&inner.state, &call.params, &node).map(Some),
                _ => Ok(None),
            }
        });
        outcome.error = told(fault, result.as_ref().err());
        inner.push_call(outcome);
        result
    });
    match (result, raw) {
        // What the front does not understand better than moto goes through byte by byte.
        (Ok(None), Some(raw)) => raw.into_answer(),
        (result, _) => answer(shared, call, result.map(|node| node.unwrap_or_else(Node::empty))),
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

async fn other(shared: &Arc<Shared>, call: &Call, fault: Option<&AwsFault>) -> Answer {
    let result = forward(shared, call, call.body.clone()).await;
    let mut outcome = LbCall {
        caller: call.info.caller.clone(),
        operation: format!("{}:{}", call.info.service, call.info.operation),
        ..LbCall::default()
    };
    let error = match &result {
        Ok(response) if response.status.is_success() => None,
        Ok(response) => Some(response.status.as_u16().to_string()),
        Err(_) => Some("ServiceUnavailable".to_owned()),
    };
    outcome.error = told(fault, None).or(error);
    shared.noted(|inner| inner.push_call(outcome));
    match result {
        Ok(mut response) => {
            if call.info.service == "eks" {
                response.body = eks::corrected(&shared.eks.lock(), &call.info.operation, response.body);
            }
            if let Ok((_, node)) = Node::from_xml(&String::from_utf8_lossy(&response.body)) {
                shared.accounts.lock().learn(&call.info, &call.params, &node);
            }
            response.into_answer()
        }
        Err(error) => {
            refusal(&AwsError { message: error.to_string(), ..AwsError::unavailable() }, &shared.request_id())
        }
    }
}

fn answer(shared: &Shared, call: &Call, result: Result<Node, AwsError>) -> Answer {
    let id = shared.request_id();
    match result {
        Err(error) => refusal(&error, &id),
        Ok(node) => success(&call.info.operation, &node, &id),
    }
}

fn whole(body: Bytes) -> UnsyncBoxBody<Bytes, Dropped> {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
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

/// The same in the protocol of a service.
fn refusal_of(service: &str, error: &AwsError, id: &str) -> Answer {
    if !["eks", "tagging"].contains(&service) {
        return refusal(error, id);
    }
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    let body = serde_json::json!({"__type": error.code, "message": error.message});
    let mut answer = json(status, body.to_string());
    if let Ok(code) = http::HeaderValue::from_str(&error.code) {
        answer.headers_mut().insert("x-amzn-errortype", code);
    }
    answer
}

fn json(status: StatusCode, body: String) -> Answer {
    let mut response = Response::new(whole(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

fn xml(status: StatusCode, body: String, id: &str) -> Answer {
    let mut response = Response::new(whole(Bytes::from(body)));
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
    /// The error's code, where the body does not hold it (REST with JSON).
    error: Option<http::HeaderValue>,
    body: Bytes,
}

impl Raw {
    fn into_answer(self) -> Answer {
        let mut answer = Response::new(whole(self.body));
        *answer.status_mut() = self.status;
        if let Some(kind) = self.kind {
            answer.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        if let Some(error) = self.error {
            answer.headers_mut().insert(ERROR_TYPE, error);
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
    if !call.credential.key.starts_with("ASIA")
        && let Ok(account) = http::HeaderValue::from_str(&call.info.account)
    {
        headers.insert("x-moto-account-id", account);
    }
    let _turn = shared.turn.lock().await;
    let response = shared.http.request(call.method.clone(), url).headers(headers).body(body).send().await?;
    let header = |name: &str| response.headers().get(name).cloned();
    let (status, kind, error) = (response.status(), header(header::CONTENT_TYPE.as_str()), header(ERROR_TYPE));
    Ok(Raw { status, kind, error, body: response.bytes().await? })
}
