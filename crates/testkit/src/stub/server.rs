//! The HTTP side: one form in, one XML document out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Shared, StubCall,
    buckets::Buckets,
    operations::{self, Noted},
};
use crate::front::{AwsError, NAMESPACE, Node};

/// Larger than any request of ELBv2.
const MAX_BODY: usize = 1 << 20;
const READ_TIMEOUT: Duration = Duration::from_secs(30);

type Answer = Response<Full<Bytes>>;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        // An answer is one small packet: it must not wait for the caller's acknowledgement of the last.
        let _best_effort = stream.set_nodelay(true);
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

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, std::convert::Infallible> {
    let at = Instant::now();
    let id = shared.request_id();
    let (parts, body) = request.into_parts();
    let answer = match read(body).await {
        Ok(params) => {
            let operation = params.str("Action").unwrap_or_default().to_owned();
            run(&shared, at, &operation, &caller(&parts.headers), &params).map(|node| (operation, node))
        }
        Err(error) => Err(error),
    };
    Ok(match answer {
        Ok((operation, node)) => success(&operation, node, &id),
        Err(error) => {
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
            xml(status, error.to_xml(&id), &id)
        }
    })
}

async fn read(body: Incoming) -> Result<Node, AwsError> {
    let malformed = |why: String| AwsError::new("MalformedQueryString", why);
    let body = tokio::time::timeout(READ_TIMEOUT, Limited::new(body, MAX_BODY).collect())
        .await
        .map_err(|_| AwsError::new("RequestTimeout", "the body did not arrive in time"))?
        .map_err(|error| malformed(error.to_string()))?
        .to_bytes();
    let form = std::str::from_utf8(&body).map_err(|error| malformed(error.to_string()))?;
    Node::from_form(form).map_err(malformed)
}

/// The access key id of a SigV4 signature, whose correctness nobody here can check.
fn caller(headers: &HeaderMap) -> String {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let credential = authorization.split_once("Credential=").map(|(_, rest)| rest).unwrap_or_default();
    credential.split('/').next().unwrap_or_default().to_owned()
}

fn run(shared: &Shared, at: Instant, operation: &str, caller: &str, params: &Node) -> Result<Node, AwsError> {
    let mut noted = Noted { about: operations::about(params), ..Noted::default() };
    let mut inner = shared.inner.lock();
    let now = Instant::now();
    let is_write = !operation.starts_with("Describe");
    let account = operations::account(&noted.about).to_owned();
    let may = inner
        .buckets
        .as_mut()
        .is_none_or(|buckets| buckets.entry(account).or_insert_with(|| Buckets::full(now)).pay(is_write, now));
    let result = if may {
        operations::dispatch(&mut inner.state, operation, params, &mut noted, now)
    } else {
        Err(AwsError::new("Throttling", "Rate exceeded"))
    };
    inner.calls.push(StubCall {
        at,
        operation: operation.to_owned(),
        caller: caller.to_owned(),
        about: noted.about,
        weights: noted.weights,
        error: result.as_ref().err().map(|error| error.code.clone()),
    });
    result
}

fn success(operation: &str, result: Node, id: &str) -> Answer {
    let mut content = String::new();
    Node::empty()
        .with(&format!("{operation}Result"), result)
        .with("ResponseMetadata", Node::empty().with_text("RequestId", id))
        .write_xml(&mut content);
    xml(StatusCode::OK, format!("<{operation}Response xmlns=\"{NAMESPACE}\">{content}</{operation}Response>"), id)
}

fn xml(status: StatusCode, body: String, id: &str) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}
