//! One request on its way to a target and back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HOST, SET_COOKIE, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, request};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;

use crate::balancer::Shared;
use crate::body::{InFlight, RequestBody, ResponseBody, Upload};
use crate::conditions::RequestFacts;
use crate::headers;
use crate::io::{ActiveRequest, IoState};
use crate::route::{ActiveGroup, Chosen, Decision};
use crate::tunnel;
use crate::upstream::{Backend, Connection};

/// The client's side of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) io: Arc<IoState>,
}

/// Answers a request; a failure is an answer too.
pub(crate) async fn handle(
    shared: Arc<Shared>,
    client: Client,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let busy = client.io.begin_request();
    shared.totals.requests.add(1);
    if let Some(refusal) = refuse(&request) {
        shared.totals.refused.add(1);
        return Ok(refusal.map(|body| body.hold(busy)));
    }
    let response = match decide(&shared, &client, &request) {
        Decision::Fixed(status, body) => {
            shared.totals.fixed.add(1);
            text(status, ResponseBody::full(body)).map(|body| body.hold(busy))
        }
        Decision::Unmatched => {
            shared.totals.unmatched.add(1);
            plain(StatusCode::NOT_FOUND, "no rule matches this request").map(|body| body.hold(busy))
        }
        Decision::Forward(forward) => match forward.choose(request.headers()) {
            Some(Chosen { group, cookie }) => {
                let mut response = Exchange::new(&shared, &client, group).run(request, busy).await;
                if let Some(cookie) = cookie {
                    response.headers_mut().append(SET_COOKIE, cookie);
                }
                response
            }
            None => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "no target group takes requests").map(|body| body.hold(busy))
            }
        },
    };
    Ok(response)
}

fn refuse(request: &Request<Incoming>) -> Option<Response<ResponseBody>> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "this method is not forwarded");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"));
        return Some(response);
    }
    // RFC 9112 section 3.2: exactly one Host, except from HTTP/1.0.
    let hosts = request.headers().get_all(HOST).iter().count();
    let named = hosts == 1 || (hosts == 0 && request.version() == Version::HTTP_10);
    (!named).then(|| plain(StatusCode::BAD_REQUEST, "exactly one Host header is needed"))
}

fn decide(shared: &Shared, client: &Client, request: &Request<Incoming>) -> Decision {
    let table = shared.active();
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    table.decide(&RequestFacts {
        host: headers::host_of(authority.or(host).unwrap_or_default()),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        method: request.method(),
        headers: request.headers(),
        source: client.peer.ip(),
    })
}

fn plain(status: StatusCode, reason: &'static str) -> Response<ResponseBody> {
    text(status, ResponseBody::full(format!("{reason}\n")))
}

fn text(status: StatusCode, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Why a group gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    NoTarget,
    Connect,
    Broken,
    Timeout,
    /// The client did not send what it announced; no fault of the group.
    Client(StatusCode),
}

impl Failure {
    fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::NoTarget => (StatusCode::SERVICE_UNAVAILABLE, "the target group has no targets"),
            Self::Connect => (StatusCode::BAD_GATEWAY, "no connection to the target"),
            Self::Broken => (StatusCode::BAD_GATEWAY, "the target closed the connection or sent no HTTP"),
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, "the target did not answer in time"),
            Self::Client(status) => (status, "the request's body did not arrive"),
        }
    }
}

/// What was sent, as far as a second attempt needs it.
enum Attempt {
    Answered(Response<Incoming>, Arc<Backend>, Connection),
    /// It never left, or it may be sent twice and the target gave no sign of having read it.
    Again(Request<RequestBody>),
    Failed(Failure),
}

/// One request given to one group.
struct Exchange<'a> {
    shared: &'a Arc<Shared>,
    client: &'a Client,
    group: Arc<ActiveGroup>,
    in_flight: InFlight,
    began: Instant,
}

impl<'a> Exchange<'a> {
    fn new(shared: &'a Arc<Shared>, client: &'a Client, group: Arc<ActiveGroup>) -> Self {
        let in_flight = InFlight::new(&group.counters);
        Self { shared, client, group, in_flight, began: Instant::now() }
    }

    async fn run(self, mut request: Request<Incoming>, busy: ActiveRequest) -> Response<ResponseBody> {
        let protocol = headers::upgrade(request.headers());
        let client_upgrade = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
        let upload = Upload::new(request.body().is_end_stream());
        let outgoing = self.outgoing(request, protocol, &upload);
        match self.send(outgoing, &upload).await {
            Ok((response, backend, connection)) => self.answer(response, backend, connection, client_upgrade, busy),
            Err(failure) => {
                if !matches!(failure, Failure::Client(_)) {
                    self.group.counters.balancer_errors.add(1);
                }
                let (status, reason) = failure.answer();
                tracing::debug!(group = self.group.name, ?failure, "request failed");
                plain(status, reason).map(|body| body.hold(busy))
            }
        }
    }

    fn outgoing(
        &self,
        request: Request<Incoming>,
        protocol: Option<HeaderValue>,
        upload: &Arc<Upload>,
    ) -> Request<RequestBody> {
        let (mut parts, body) = request.into_parts();
        // In absolute form the target of the request line outranks the Host header (RFC 9112 section 3.2.2).
        let named = parts
            .uri
            .authority()
            .and_then(|authority| HeaderValue::from_str(headers::without_user(authority.as_str())).ok());
        let local = || HeaderValue::from_str(&self.client.local.to_string()).ok();
        let missing = !parts.headers.contains_key(HOST);
        if let Some(host) = named.or_else(|| missing.then(local).flatten()) {
            parts.headers.insert(HOST, host);
        }
        parts.uri = parts.uri.path_and_query().map_or_else(|| Uri::from_static("/"), |path| Uri::from(path.clone()));
        parts.version = Version::HTTP_11;
        headers::strip_hop_by_hop(&mut parts.headers);
        headers::set_forwarded(&mut parts.headers, self.client.peer.ip(), self.client.local);
        if let Some(protocol) = protocol {
            headers::set_upgrade(&mut parts.headers, protocol);
        }
        parts.extensions = http::Extensions::new();
        if body.is_end_stream() {
            return Request::from_parts(parts, RequestBody::Empty);
        }
        // Without it hyper would send no body with a GET of unknown length.
        if !parts.headers.contains_key(CONTENT_LENGTH) {
            parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Request::from_parts(parts, RequestBody::Stream { inner: body, upload: Arc::clone(upload) })
    }

    /// At most two attempts: the second is on a fresh connection, which cannot have been closed for its age.
    async fn send(
        &self,
        request: Request<RequestBody>,
        upload: &Upload,
    ) -> Result<(Response<Incoming>, Arc<Backend>, Connection), Failure> {
        let again = match self.attempt(request, upload, true).await {
            Attempt::Answered(response, backend, connection) => return Ok((response, backend, connection)),
            Attempt::Failed(failure) => return Err(failure),
            Attempt::Again(request) => request,
        };
        self.group.counters.retries.add(1);
        match self.attempt(again, upload, false).await {
            Attempt::Answered(response, backend, connection) => Ok((response, backend, connection)),
            Attempt::Failed(failure) => Err(failure),
            Attempt::Again(_) => Err(Failure::Broken),
        }
    }

    async fn attempt(&self, request: Request<RequestBody>, upload: &Upload, may_reuse: bool) -> Attempt {
        let options = &self.shared.options;
        let Some(backend) = self.group.pick() else { return Attempt::Failed(Failure::NoTarget) };
        let idle = if may_reuse { backend.take_idle(options) } else { None };
        let mut connection = match idle {
            Some(connection) => connection,
            None => match backend.connect(options).await {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::debug!(group = self.group.name, target = backend.address, %error, "failed to connect");
                    self.group.counters.connect_failures.add(1);
                    return Attempt::Failed(Failure::Connect);
                }
            },
        };
        let spare = if connection.reused { spare_of(&request) } else { None };
        let read_before = connection.io.bytes_read();
        // A body that is still being sent is a sign of life; the time of the answer counts from its last frame.
        upload.moved.touch();
        let sent = tokio::select! {
            biased;
            sent = connection.sender.try_send_request(request) => sent,
            () = upload.moved.quiet(options.response_timeout) => {
                let failure = if upload.is_complete() { Failure::Timeout } else { Failure::Client(StatusCode::REQUEST_TIMEOUT) };
                return Attempt::Failed(failure);
            }
        };
        let mut error = match sent {
            Ok(response) => return Attempt::Answered(response, backend, connection),
            Err(error) => error,
        };
        tracing::debug!(group = self.group.name, target = backend.address, error = %error.error(), "failed to send request");
        if let Some(unsent) = error.take_message().filter(|_| connection.reused) {
            return Attempt::Again(unsent);
        }
        if error.error().is_user() {
            return Attempt::Failed(Failure::Client(StatusCode::BAD_REQUEST));
        }
        match spare {
            Some(parts) if connection.io.bytes_read() == read_before => {
                Attempt::Again(Request::from_parts(parts, RequestBody::Empty))
            }
            _ => Attempt::Failed(Failure::Broken),
        }
    }

    fn answer(
        self,
        mut response: Response<Incoming>,
        backend: Arc<Backend>,
        connection: Connection,
        client_upgrade: Option<OnUpgrade>,
        busy: ActiveRequest,
    ) -> Response<ResponseBody> {
        let counters = &self.group.counters;
        counters.responded(self.began.elapsed());
        if response.status().is_server_error() {
            counters.backend_errors.add(1);
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(client_upgrade) = client_upgrade else {
                counters.balancer_errors.add(1);
                let (status, reason) = Failure::Broken.answer();
                return plain(status, reason).map(|body| body.hold(busy));
            };
            let target_upgrade = hyper::upgrade::on(&mut response);
            let protocol = headers::upgrade(response.headers());
            let (mut parts, _) = response.into_parts();
            headers::strip_hop_by_hop(&mut parts.headers);
            if let Some(protocol) = protocol {
                headers::set_upgrade(&mut parts.headers, protocol);
            }
            tunnel::spawn(
                self.shared,
                self.client,
                tunnel::Ends { client_upgrade, target_upgrade },
                self.in_flight,
                busy,
            );
            return Response::from_parts(parts, ResponseBody::full(""));
        }
        backend.give_back(connection, &self.shared.options);
        let (mut parts, body) = response.into_parts();
        headers::strip_hop_by_hop(&mut parts.headers);
        parts.version = Version::HTTP_11;
        parts.extensions = http::Extensions::new();
        let body = ResponseBody::stream(body, self.in_flight, self.shared.options.response_timeout);
        Response::from_parts(parts, body.hold(busy))
    }
}

/// A copy of a request that does no harm when it arrives twice.
fn spare_of(request: &Request<RequestBody>) -> Option<request::Parts> {
    let idempotent =
        matches!(*request.method(), Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS);
    if !idempotent || !matches!(request.body(), RequestBody::Empty) {
        return None;
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = request.method().clone();
    parts.uri = request.uri().clone();
    parts.version = request.version();
    parts.headers = request.headers().clone();
    Some(parts)
}
