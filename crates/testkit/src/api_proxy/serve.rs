//! One request: counted, struck or passed on, answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header, request, response::Parts};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use kube::client::Body;
use serde_json::{Value, json};

use super::call::Call;
use super::fault::Refusal;
use super::{ApiFault, Seen, Shared, When, Write};

/// Far above etcd's limit for one object, 1.5 MiB.
const MAX_REQUEST: usize = 16 << 20;
/// A page of 500 objects in practice has some 100 KiB each at the very most.
const MAX_ANSWER: usize = 256 << 20;
/// How long the body of a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);
/// How long a part of an answer needs at the most until it is sent.
const ON_ITS_WAY: Duration = Duration::from_millis(20);
/// The connection is closed without an answer, or in the middle of it.
#[derive(Debug)]
pub(super) struct Closed(String);

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Closed {}

fn closed(why: impl ToString) -> Closed {
    Closed(why.to_string())
}

type Answer = Response<UnsyncBoxBody<Bytes, Closed>>;

pub(super) async fn handle(shared: Arc<Shared>, user: Arc<str>, request: Request<Incoming>) -> Result<Answer, Closed> {
    let (parts, body) = request.into_parts();
    let body = tokio::time::timeout(ARRIVAL, Limited::new(body, MAX_REQUEST).collect()).await;
    let body = body.map_err(closed)?.map_err(closed)?.to_bytes();
    let call = Call::of(&parts.method, &parts.uri);
    let exchange = Exchange::arrive(shared, &user, call, &parts.uri);
    match exchange.fault.clone() {
        None => exchange.pass_on(parts, body).await,
        Some(fault) => exchange.struck(fault, parts, body).await,
    }
}

/// A request and what is known of it.
struct Exchange<'a> {
    shared: Arc<Shared>,
    user: &'a str,
    call: Call,
    fault: Option<ApiFault>,
    /// Its place in what was seen.
    index: usize,
    /// Which write of this user by this call it is.
    nth: u64,
}

impl<'a> Exchange<'a> {
    fn arrive(shared: Arc<Shared>, user: &'a str, call: Call, uri: &Uri) -> Self {
        let plan = shared.plan.lock().clone();
        let fault = plan.strikes_about(user, &call.name, &[uri.path()]);
        let index = {
            let mut seen = shared.seen.lock();
            seen.push(Seen {
                caller: user.to_owned(),
                call: call.name.clone(),
                path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
                fault: fault.clone(),
                status: None,
                created: None,
            });
            seen.len() - 1
        };
        let nth = if call.is_write { shared.count(user, &call.name) } else { 0 };
        shared.changed.send_modify(|changes| *changes += 1);
        Self { shared, user, call, fault, index, nth }
    }

    async fn struck(&self, fault: ApiFault, parts: request::Parts, body: Bytes) -> Result<Answer, Closed> {
        if let Some(refusal) = fault.refusal() {
            return Ok(refused(&refusal));
        }
        match fault {
            ApiFault::GoneEvent => Ok(gone(self.call.is_watch)),
            ApiFault::Silence if self.call.is_watch => Ok(streamed(stream::pending())),
            ApiFault::Silence => std::future::pending().await,
            ApiFault::CloseBefore => Err(closed("closed before the request was passed on")),
            ApiFault::StaleList if self.call.is_list => match self.shared.lists.stale(&parts.uri) {
                Some(list) => Ok(json_answer(StatusCode::OK, list)),
                None => self.pass_on(parts, body).await,
            },
            ApiFault::LoseAnswer => {
                self.pass_on(parts, body).await?;
                Err(closed("the answer is lost"))
            }
            ApiFault::Slow(time) => {
                let answer = self.pass_on(parts, body).await;
                tokio::time::sleep(time).await;
                answer
            }
            ApiFault::DropWatch(time) if self.call.is_watch => Ok(broken_after(self.pass_on(parts, body).await?, time)),
            ApiFault::HalfAnswer if self.call.is_watch => Ok(half_event(self.pass_on(parts, body).await?)),
            ApiFault::HalfAnswer => half(self.pass_on(parts, body).await?).await,
            _ => self.pass_on(parts, body).await,
        }
    }

    async fn pass_on(&self, parts: request::Parts, body: Bytes) -> Result<Answer, Closed> {
        self.hold(When::Before).await;
        let (uri, headers) = (parts.uri.clone(), without_hops(&parts.headers));
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = parts.method;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers.clone();
        if self.call.is_watch {
            let (answer, body) = self.shared.upstream.send(request).await.map_err(closed)?.into_parts();
            self.shared.answered(self.index, answer.status, None);
            let body = body.map_err(closed).boxed_unsync();
            return Ok(with(answer.status, &answer.headers, body));
        }
        // What was sent takes effect, and is recorded, whether or not its caller lives to see the answer.
        let sent = tokio::spawn(exchange(self.shared.clone(), self.index, request));
        let (answer, body) = sent.await.map_err(closed)??;
        if self.call.is_list && answer.status.is_success() {
            self.shared.lists.keep(&uri, &headers, &body);
        }
        self.hold(When::After).await;
        Ok(with(answer.status, &answer.headers, whole(body)))
    }

    async fn hold(&self, when: When) {
        if !self.call.is_write {
            return;
        }
        let hook = self.shared.hook.lock().clone();
        if let Some(hook) = hook {
            let (caller, call) = (self.user.to_owned(), self.call.name.clone());
            hook(Write { caller, call, nth: self.nth, when }).await;
        }
    }
}

/// Sends a request that is no watch, and records what came back.
async fn exchange(shared: Arc<Shared>, index: usize, request: Request<Body>) -> Result<(Parts, Bytes), Closed> {
    let (answer, body) = shared.upstream.send(request).await.map_err(closed)?.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(closed)?.to_bytes();
    shared.answered(index, answer.status, created(answer.status, &body));
    Ok((answer, body))
}

impl Shared {
    fn answered(&self, index: usize, status: StatusCode, created: Option<String>) {
        if let Some(seen) = self.seen.lock().get_mut(index) {
            seen.status = Some(status.as_u16());
            seen.created = created;
        }
        self.changed.send_modify(|changes| *changes += 1);
    }

    fn count(&self, user: &str, call: &str) -> u64 {
        let mut counts = self.counts.lock();
        let count = counts.entry((user.to_owned(), call.to_owned())).or_default();
        *count += 1;
        *count
    }
}

/// The name of what was created.
fn created(status: StatusCode, body: &Bytes) -> Option<String> {
    if status != StatusCode::CREATED {
        return None;
    }
    let object: Value = serde_json::from_slice(body).ok()?;
    object.pointer("/metadata/name")?.as_str().map(str::to_owned)
}

/// Without what concerns one connection only, or is made anew by whoever sends.
fn without_hops(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for hop in [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
        headers.remove(hop);
    }
    headers
}

fn whole(body: Bytes) -> UnsyncBoxBody<Bytes, Closed> {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

fn with(status: StatusCode, headers: &HeaderMap, body: UnsyncBoxBody<Bytes, Closed>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = without_hops(headers);
    answer
}

fn json_answer(status: StatusCode, body: Bytes) -> Answer {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    with(status, &headers, whole(body))
}

fn refused(refusal: &Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = json_answer(status, refusal.status.to_string().into());
    if let Some(seconds) = refusal.retry_after {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

fn gone(is_watch: bool) -> Answer {
    let refusal = Refusal::new(410, None);
    if !is_watch {
        return refused(&refusal);
    }
    let event = json!({"type": "ERROR", "object": refusal.status});
    json_answer(StatusCode::OK, format!("{event}\n").into())
}

/// A watch that is open, with these parts of its body.
fn streamed(parts: impl stream::Stream<Item = Result<Frame<Bytes>, Closed>> + Send + 'static) -> Answer {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    with(StatusCode::OK, &headers, StreamBody::new(parts).boxed_unsync())
}

fn broken_after(answer: Answer, time: Duration) -> Answer {
    let (parts, body) = answer.into_parts();
    let until = Box::pin(tokio::time::sleep(time));
    let told = body.into_data_stream().map(|part| part.map(Frame::data)).take_until(until);
    let broken = told.chain(stream::once(async { Err(closed("the watch breaks")) }));
    with(parts.status, &parts.headers, StreamBody::new(broken).boxed_unsync())
}

/// Half of the body, then the end of the connection.
async fn half(answer: Answer) -> Result<Answer, Closed> {
    let (parts, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut answer = with(parts.status, &parts.headers, cut_short(whole(body.clone())));
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    Ok(answer)
}

/// A watch that breaks in the middle of its first event.
fn half_event(answer: Answer) -> Answer {
    let (parts, body) = answer.into_parts();
    with(parts.status, &parts.headers, cut_short(body))
}

fn cut_short(body: UnsyncBoxBody<Bytes, Closed>) -> UnsyncBoxBody<Bytes, Closed> {
    let first = body.into_data_stream().take(1).map(|part| part.map(|data| Frame::data(data.slice(..data.len() / 2))));
    let broken = first.chain(stream::once(async {
        // The half must be on its way before the connection breaks, or the client would see no answer at all.
        tokio::time::sleep(ON_ITS_WAY).await;
        Err(closed("half of the answer is lost"))
    }));
    StreamBody::new(broken).boxed_unsync()
}
