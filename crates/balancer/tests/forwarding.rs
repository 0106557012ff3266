//! How a request gets to its target and back: headers, bodies, limits, retries.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step of a test fails the test"
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use okra_balancer::{Options, StartError};
use pretty_assertions::assert_eq;
use support::{Client, Origin, balancer, given, table, until, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Sends bytes as they are and returns all that comes until the connection closes.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good as a close.
    let _ = within("the connection closes", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn headers_are_those_of_a_proxy() {
    let origin = Origin::start("v1").await;
    let balancer = balancer(Options::default()).await;
    balancer.apply(table(&[("v1", 1, given(&[origin.address]))])).unwrap();
    let mut client = Client::connect(balancer.local_addr()).await;
    let request = Request::builder()
        .uri("/headers?a=b%20c")
        .header("host", "shop.example.com")
        .header("connection", "keep-alive, x-private")
        .header("x-private", "1")
        .header("te", "trailers")
        .header("x-forwarded-for", "192.0.2.1")
        .header("x-forwarded-proto", "gopher")
        .header("x-public", "2");
    let answer = client.send(request).await;
    assert_eq!(answer.headers.get("x-hop"), None, "named by the target's Connection");
    let seen: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let expected = serde_json::json!({
        ":uri": ["/headers?a=b%20c"],
        "host": ["shop.example.com"],
        "x-forwarded-for": ["192.0.2.1, 127.0.0.1"],
        "x-forwarded-proto": ["http"],
        "x-forwarded-port": [balancer.local_addr().port().to_string()],
        "x-public": ["2"],
    });
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let origin = Origin::start("v1").await;
    let balancer = balancer(Options::default()).await;
    balancer.apply(table(&[("v1", 1, given(&[origin.address]))])).unwrap();
    let mut client = Client::connect(balancer.local_addr()).await;
    // A GET whose length is unknown is the hard case: it has a body only because the framing says so.
    for method in [Method::POST, Method::GET] {
        let (mut send, receive) = mpsc::channel::<Bytes>(1);
        let body = StreamBody::new(receive.map(|bytes| Ok(Frame::data(bytes)))).boxed_unsync();
        let request = Request::builder().method(&method).uri("/echo").header("host", "a");
        let request = request.header("transfer-encoding", "chunked").body(body).unwrap();
        send.send(Bytes::from_static(b"first")).await.unwrap();
        let response = client.raw(request).await.unwrap();
        let mut body = response.into_body();
        let first = within("the first part", body.frame()).await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "first", "{method}: echoed before the rest was sent");
        let big = Bytes::from(vec![7_u8; 4 << 20]);
        let rest = tokio::spawn(async move { body.collect().await.unwrap().to_bytes() });
        send.send(big.clone()).await.unwrap();
        drop(send);
        assert!(within("the rest", rest).await.unwrap() == big, "{method}: the rest is the same");
    }
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let origin = Origin::start("v1").await;
    let options = Options { max_header_bytes: 16 * 1024, ..Options::default() };
    let balancer = balancer(options).await;
    balancer.apply(table(&[("v1", 1, given(&[origin.address]))])).unwrap();
    let address = balancer.local_addr();
    let big = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\nconnection: close\r\n\r\n", "y".repeat(40 * 1024));
    let cases = [
        ("GET / HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n".to_owned(), "400"),
        ("TRACE / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_owned(), "405"),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\nconnection: close\r\n\r\n".to_owned(), "405"),
        ("GE T / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), "400"),
        (big, "431"),
    ];
    let count = cases.len() as u64;
    for (request, status) in cases {
        let answer = exchange(address, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status} for {request:.40}: {answer:.80}");
    }
    assert_eq!(origin.requests(), 0);
    until("all are counted", || balancer.stats().refused == count).await;
    let answer = exchange(address, b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("v1"), "{answer}");
}

#[tokio::test]
async fn a_slow_head_and_an_idle_connection_are_closed() {
    let origin = Origin::start("v1").await;
    let options = Options {
        request_header_timeout: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(50),
        ..Options::default()
    };
    let balancer = balancer(options).await;
    balancer.apply(table(&[("v1", 1, given(&[origin.address]))])).unwrap();
    assert_eq!(exchange(balancer.local_addr(), b"GET / HTTP/1.1\r\nhost: a").await, "");
    assert_eq!(exchange(balancer.local_addr(), b"").await, "");
    // This one is answered first, and closed for its idleness only then.
    let answer = exchange(balancer.local_addr(), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.ends_with("v1"), "{answer}");
    until("all are closed", || balancer.stats().active_connections == 0).await;
}

#[tokio::test]
async fn above_the_limit_connections_wait() {
    let origin = Origin::start("v1").await;
    let balancer = balancer(Options { max_connections: 1, ..Options::default() }).await;
    balancer.apply(table(&[("v1", 1, given(&[origin.address]))])).unwrap();
    let mut first = Client::connect(balancer.local_addr()).await;
    assert_eq!(first.get("/").await.body, "v1");
    let mut second = Client::connect(balancer.local_addr()).await;
    let waiting = tokio::spawn(async move { second.get("/").await.body });
    for _ in 0..10 {
        assert_eq!(first.get("/").await.body, "v1");
    }
    assert_eq!(balancer.stats().connections, 1, "the second is not accepted");
    drop(first);
    assert_eq!(within("the second is served", waiting).await.unwrap(), "v1");
}

#[tokio::test]
async fn a_target_that_is_not_there_is_502_and_a_silent_one_504() {
    let origin = Origin::start("v1").await;
    // Bound and not listening: a connect is refused, and no other test can get the port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let gone = socket.local_addr().unwrap();
    let balancer = balancer(Options { response_timeout: Duration::from_millis(50), ..Options::default() }).await;
    balancer.apply(table(&[("gone", 1, given(&[gone]))])).unwrap();
    let mut client = Client::connect(balancer.local_addr()).await;
    assert_eq!(client.get("/").await.status, StatusCode::BAD_GATEWAY);
    balancer.apply(table(&[("v1", 1, given(&[origin.address]))])).unwrap();
    assert_eq!(client.get("/slow").await.status, StatusCode::GATEWAY_TIMEOUT);
    let stats = balancer.stats();
    assert_eq!((stats.groups["gone"].connect_failures, stats.groups["gone"].balancer_errors), (1, 1));
    assert_eq!(stats.groups["v1"].balancer_errors, 1);
}

#[tokio::test]
async fn a_target_that_does_not_accept_is_502_after_the_connect_timeout() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // With the queue of the listener full the kernel leaves a connect without an answer.
    let mut queue = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queue.push(stream.unwrap());
        assert!(queue.len() < 100, "the queue is never full");
    }
    let balancer = balancer(Options { connect_timeout: Duration::from_millis(50), ..Options::default() }).await;
    balancer.apply(table(&[("g", 1, given(&[address]))])).unwrap();
    let answer = Client::connect(balancer.local_addr()).await.get("/").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(balancer.stats().groups["g"].connect_failures, 1);
}

#[tokio::test]
async fn a_length_beside_chunks_does_not_split_the_request() {
    let origin = Origin::start("v1").await;
    let balancer = balancer(Options::default()).await;
    balancer.apply(table(&[("v1", 1, given(&[origin.address]))])).unwrap();
    let head = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n";
    let request = format!("{head}connection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let answer = exchange(balancer.local_addr(), request.as_bytes()).await;
    // Refusing it is as safe as passing the whole body on; RFC 9112 allows both.
    let whole = answer.starts_with("HTTP/1.1 200 ") && answer.contains("hello");
    assert!(whole || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(origin.requests() <= 1);
}

/// A target that closes each connection on its second request after no more than `last`, as one does whose keep-alive
/// time ends at that moment. Returns its address and the count of requests that arrived.
async fn closes_on_second_request(last: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let arrived = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&arrived);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                for request in 0..2 {
                    if stream.read(&mut buffer).await.unwrap_or(0) == 0 {
                        return;
                    }
                    counter.fetch_add(1, SeqCst);
                    let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    stream.write_all(if request == 0 { whole } else { last }).await.unwrap();
                }
            });
        }
    });
    (address, arrived)
}

#[tokio::test]
async fn only_what_may_be_repeated_is_repeated_on_a_stale_connection() {
    let (address, arrived) = closes_on_second_request(b"").await;
    let balancer = balancer(Options::default()).await;
    balancer.apply(table(&[("g", 1, given(&[address]))])).unwrap();
    let mut client = Client::connect(balancer.local_addr()).await;
    assert_eq!(client.get("/").await.body, "ok");
    assert_eq!(client.get("/").await.body, "ok", "sent again on a fresh connection");
    assert_eq!((arrived.load(SeqCst), balancer.stats().total.retries), (3, 1));
    // The connection of the retry is idle now and would close on its next request.
    let post = Request::builder().method(Method::POST).uri("/").header("content-length", "0");
    assert_eq!(client.send(post).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!((arrived.load(SeqCst), balancer.stats().total.retries), (4, 1), "a POST is never sent twice");
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_asked_for_again() {
    let (address, arrived) = closes_on_second_request(b"HTTP/1.1 2").await;
    let balancer = balancer(Options::default()).await;
    balancer.apply(table(&[("g", 1, given(&[address]))])).unwrap();
    let mut client = Client::connect(balancer.local_addr()).await;
    assert_eq!(client.get("/").await.body, "ok");
    assert_eq!(client.get("/").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!((arrived.load(SeqCst), balancer.stats().total.retries), (2, 0));
}

#[tokio::test]
async fn a_broken_answer_is_counted_and_not_repeated() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        }
    });
    let balancer = balancer(Options::default()).await;
    balancer.apply(table(&[("g", 1, given(&[address]))])).unwrap();
    let mut client = Client::connect(balancer.local_addr()).await;
    assert!(client.try_send(Request::builder().uri("/")).await.is_err(), "the client must see that half is missing");
    until("it is counted", || balancer.stats().groups["g"].aborted == 1).await;
    assert_eq!(balancer.stats().groups["g"].retries, 0);
}

#[tokio::test]
async fn a_bad_start_says_why() {
    let taken = balancer(Options::default()).await;
    let start = okra_balancer::Balancer::start(taken.local_addr(), Options::default()).await;
    assert!(matches!(start, Err(StartError::Listen { address, .. }) if address == taken.local_addr()));
    let options = Options { max_connections: 0, ..Options::default() };
    let error = okra_balancer::Balancer::start("127.0.0.1:0".parse().unwrap(), options).await.unwrap_err();
    assert_eq!(error.to_string(), "failed to start balancer: options.max_connections must be above 0");
}
