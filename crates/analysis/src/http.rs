//! HTTP calls within the egress policy and within bounds of time and size.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Method, Response, Url, redirect};
use tokio::time::Instant;

use crate::egress::{CheckedResolver, EgressDenied, EgressPolicy, Lookup, SystemLookup};
use crate::go;

/// An answer's body, at most.
pub const MAX_BODY: usize = 1 << 20;
/// Header lines of an answer, at most.
const MAX_HEADERS: usize = 100;
/// Names and values of the header of an answer, at most.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// Go's client gives up after as many.
const MAX_REDIRECTS: usize = 10;
/// No call takes longer, whatever a template asks for.
const LONGEST: Duration = Duration::from_mins(10);

/// When all calls of one measurement have to be over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    within: Duration,
    at: Instant,
}

impl Deadline {
    pub(crate) fn after(within: Duration) -> Self {
        let within = within.min(LONGEST);
        Self { within, at: Instant::now() + within }
    }

    pub(crate) fn after_seconds(seconds: i64) -> Self {
        Self::after(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }
}

/// One HTTP call.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
    /// Whether the server's certificate is not looked at.
    pub(crate) insecure: bool,
    pub(crate) deadline: Deadline,
}

impl Call {
    pub(crate) fn get(url: Url, deadline: Deadline) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: None, insecure: false, deadline }
    }

    pub(crate) fn post(url: Url, content_type: &'static str, body: impl Into<Bytes>, deadline: Deadline) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(reqwest::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { method: Method::POST, url, headers, body: Some(body.into()), insecure: false, deadline }
    }

    /// Go's `Header.Set`. Headers that Go writes by itself are left alone, as there.
    pub(crate) fn set_header(&mut self, name: &str, value: &str) -> Result<(), String> {
        let known = |other: &str| name.eq_ignore_ascii_case(other);
        if known("host") || known("content-length") || known("transfer-encoding") || known("trailer") {
            return Ok(());
        }
        let field = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("net/http: invalid header field name {}", go::quote(name)))?;
        let mut value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| format!("net/http: invalid header field value for {}", go::quote(name)))?;
        value.set_sensitive(true);
        self.headers.insert(field, value);
        Ok(())
    }
}

/// What came back, read whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The beginning of the body, for a message.
    pub(crate) fn excerpt(&self) -> String {
        crate::redact::printable(&String::from_utf8_lossy(&self.body), crate::redact::MAX_TEXT)
    }
}

/// The HTTP client of all providers; cheap to clone. It goes through no proxy: a proxy would look names up itself,
/// and no address could be checked.
#[derive(Clone)]
pub struct Http {
    secure: Client,
    insecure: Client,
    policy: Arc<EgressPolicy>,
}

impl Http {
    /// A client within a policy.
    ///
    /// # Errors
    /// If the machine's TLS cannot be set up.
    pub fn new(policy: EgressPolicy) -> Result<Self, String> {
        Self::with_lookup(policy, Arc::new(SystemLookup))
    }

    /// A client that looks names up elsewhere than this machine does.
    ///
    /// # Errors
    /// If the machine's TLS cannot be set up.
    pub fn with_lookup(policy: EgressPolicy, lookup: Arc<dyn Lookup>) -> Result<Self, String> {
        let policy = Arc::new(policy);
        let build = |insecure: bool| {
            let resolver = CheckedResolver { policy: policy.clone(), lookup: lookup.clone() };
            Client::builder()
                .user_agent(concat!("okra/", env!("CARGO_PKG_VERSION")))
                .no_proxy()
                .redirect(redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .http1_max_headers(MAX_HEADERS)
                .pool_max_idle_per_host(8)
                .pool_idle_timeout(Duration::from_secs(30))
                .connect_timeout(Duration::from_secs(30))
                .tls_danger_accept_invalid_certs(insecure)
                .dns_resolver(resolver)
                .build()
                .map_err(|error| format!("failed to set up the HTTP client: {}", deepest(&error)))
        };
        Ok(Self { secure: build(false)?, insecure: build(true)?, policy: policy.clone() })
    }

    /// Sends a call and reads its answer, through redirects. The message is of the form of Go's `url.Error`.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, String> {
        let Deadline { within, at } = call.deadline;
        let (method, shown) = (go_method(&call.method), shown(&call.url));
        let outcome = match tokio::time::timeout_at(at, self.follow(call)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("context deadline exceeded (no whole answer within {within:?})")),
        };
        outcome.map_err(|cause| format!("{method} {}: {cause}", go::quote(&shown)))
    }

    async fn follow(&self, mut call: Call) -> Result<Answer, String> {
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.exchange(&call).await?;
            let status = answer.status().as_u16();
            let location = match status {
                301 | 302 | 303 | 307 | 308 => answer.headers().get(LOCATION).cloned(),
                _ => None,
            };
            let Some(location) = location else { return read(answer).await };
            let target = location.to_str().ok().and_then(|location| call.url.join(location).ok());
            let target = target.ok_or_else(|| "failed to parse Location header".to_owned())?;
            redirect_to(&mut call, target, status);
        }
        Err(format!("stopped after {MAX_REDIRECTS} redirects"))
    }

    async fn exchange(&self, call: &Call) -> Result<Response, String> {
        if !matches!(call.url.scheme(), "http" | "https") {
            return Err(format!("unsupported protocol scheme {}", go::quote(call.url.scheme())));
        }
        self.check_literal(&call.url).map_err(|denied| denied.to_string())?;
        let client = if call.insecure { &self.insecure } else { &self.secure };
        let mut request = client.request(call.method.clone(), call.url.clone()).headers(call.headers.clone());
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        request.send().await.map_err(|error| deepest(&error))
    }

    /// The connector looks names up through the resolver, which checks; an address in the URL never gets there.
    fn check_literal(&self, url: &Url) -> Result<(), EgressDenied> {
        let host = url.host_str().unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        bare.parse::<IpAddr>().map_or(Ok(()), |address| self.policy.check(host, address))
    }
}

/// What Go's client does at a redirect; but headers go to another origin only if they say what the body is, since a
/// key in a header of its own would go along in Go.
fn redirect_to(call: &mut Call, target: Url, status: u16) {
    if target.origin() != call.url.origin() {
        let content_type = call.headers.remove(reqwest::header::CONTENT_TYPE);
        call.headers.clear();
        if let Some(content_type) = content_type {
            call.headers.insert(reqwest::header::CONTENT_TYPE, content_type);
        }
    }
    if matches!(status, 301..=303) && call.method != Method::HEAD {
        call.method = Method::GET;
        call.body = None;
        call.headers.remove(reqwest::header::CONTENT_TYPE);
    }
    call.url = target;
}

async fn read(mut answer: Response) -> Result<Answer, String> {
    let bytes: usize = answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > MAX_HEADER_BYTES || answer.headers().len() > MAX_HEADERS {
        return Err(format!("the header of the answer is larger than {MAX_HEADER_BYTES} bytes"));
    }
    // None was asked for, so that nothing small can grow large here.
    if answer
        .headers()
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err("the answer is compressed, which was not asked for".to_owned());
    }
    let too_large = || format!("the answer is larger than {MAX_BODY} bytes");
    if answer.content_length().is_some_and(|length| length > MAX_BODY as u64) {
        return Err(too_large());
    }
    let status = answer.status().as_u16();
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| deepest(&error))? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, body: body.freeze() })
}

/// The innermost cause: the outer ones repeat the URL.
fn deepest(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.source().is_none() {
        return error.to_string().split(" for url").next().unwrap_or_default().to_owned();
    }
    cause.to_string()
}

/// Go names the method in an error as `Get`.
fn go_method(method: &Method) -> String {
    let name = method.as_str();
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_string() + &chars.as_str().to_ascii_lowercase())
}

/// The URL as Go shows it: without a password.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        // A URL with a password has a host, so this cannot fail.
        let _ = url.set_password(Some("***"));
    }
    crate::redact::printable(url.as_str(), 512)
}

/// Go's `url.Parse`, as far as an absolute URL is wanted.
pub(crate) fn parse_url(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|error| format!("parse {}: {error}", go::quote(&crate::redact::printable(text, 256))))
}
