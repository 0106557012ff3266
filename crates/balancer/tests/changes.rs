//! What lives through a change: keep-alive clients, WebSockets, requests under way at a shutdown.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step of a test fails the test"
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use okra_balancer::{Options, TableError};
use pretty_assertions::assert_eq;
use support::{Client, Origin, balancer, given, table, until, websocket_origin, within};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weight_changes_under_load_drop_no_request() {
    let origins = [Origin::start("v1").await, Origin::start("v2").await, Origin::start("v3").await];
    let [v1, v2, v3] = &origins;
    let balancer = Arc::new(balancer(Options::default()).await);
    let group = |origin: &Origin| given(&[origin.address]);
    let tables = [
        table(&[("v1", 100, group(v1))]),
        table(&[("v1", 80, group(v1)), ("v2", 20, group(v2))]),
        table(&[("v1", 0, group(v1)), ("v2", 100, group(v2))]),
        table(&[("v2", 60, group(v2)), ("v3", 40, group(v3))]),
        table(&[("v3", 1, group(v3))]),
    ];
    balancer.apply(tables[0].clone()).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (address, done) = (balancer.local_addr(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                let mut sent = 0_u64;
                while !done.load(SeqCst) {
                    // Fails on any error and on a closed connection: it never reconnects.
                    assert_eq!(client.get("/").await.status, 200);
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    for round in 1..=60 {
        let before = balancer.stats().requests;
        until("the load goes on", || balancer.stats().requests >= before + 20).await;
        balancer.apply(tables[round % tables.len()].clone()).unwrap();
    }
    done.store(true, SeqCst);
    let mut sent = 0;
    for client in clients {
        sent += within("the client ends", client).await.unwrap();
    }
    let stats = balancer.stats();
    assert_eq!((stats.requests, stats.connections), (sent, 8));
    let total = &stats.total;
    assert_eq!((total.balancer_errors, total.backend_errors, total.aborted, total.connect_failures), (0, 0, 0, 0));
    assert!(origins.iter().all(|origin| origin.requests() > 0));
}

async fn websocket(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let handshake = tokio_tungstenite::client_async(format!("ws://{address}/ws"), stream);
    within("the handshake", handshake).await.unwrap().0
}

async fn say(socket: &mut WebSocketStream<TcpStream>, text: &str) -> String {
    socket.send(text.into()).await.unwrap();
    within("the reply", socket.next()).await.unwrap().unwrap().into_text().unwrap().to_string()
}

#[tokio::test]
async fn a_websocket_stays_with_its_target_across_changes() {
    let (v1, v2) = (websocket_origin("v1").await, websocket_origin("v2").await);
    let balancer = balancer(Options::default()).await;
    balancer.apply(table(&[("v1", 1, given(&[v1]))])).unwrap();
    let mut old = websocket(balancer.local_addr()).await;
    assert_eq!(say(&mut old, "a").await, "v1:a");
    assert_eq!(balancer.stats().groups["v1"].active_upgrades, 1);

    balancer.apply(table(&[("v2", 1, given(&[v2]))])).unwrap();
    let mut new = websocket(balancer.local_addr()).await;
    assert_eq!(say(&mut new, "b").await, "v2:b");
    assert_eq!(say(&mut old, "c").await, "v1:c", "its group is gone and it lives on");
    let stats = balancer.stats();
    assert_eq!((stats.groups["v1"].active_upgrades, stats.groups["v1"].active_requests), (1, 1));
    assert_eq!(stats.active_connections, 2);

    old.close(None).await.unwrap();
    while let Some(Ok(_)) = within("the close", old.next()).await {}
    drop(old);
    until("it is counted out", || {
        let stats = balancer.stats();
        stats.groups["v1"].active_requests == 0 && stats.groups["v1"].active_connections == 0
    })
    .await;
    assert_eq!(balancer.stats().groups["v2"].active_upgrades, 1);
}

#[tokio::test]
async fn a_shutdown_waits_for_requests_and_websockets() {
    let (origin, ws) = (Origin::start("v1").await, websocket_origin("ws").await);
    let balancer = Arc::new(balancer(Options::default()).await);
    let address = balancer.local_addr();
    balancer.apply(table(&[("ws", 1, given(&[ws]))])).unwrap();
    let mut socket = websocket(address).await;
    let table = table(&[("v1", 1, given(&[origin.address]))]);
    balancer.apply(table.clone()).unwrap();
    let mut idle = Client::connect(address).await;
    assert_eq!(idle.get("/").await.body, "v1");
    let slow = tokio::spawn(async move { Client::connect(address).await.get("/slow").await });
    until("the slow request arrives", || origin.requests() == 2).await;

    let draining = tokio::spawn({
        let balancer = Arc::clone(&balancer);
        async move { balancer.shutdown(Duration::from_mins(10)).await }
    });
    within("the port closes", async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(balancer.apply(table), Err(TableError::ShutDown));
    assert_eq!(say(&mut socket, "a").await, "ws:a");
    origin.release();
    let answer = within("the slow answer", slow).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "v1"));
    assert!(!draining.is_finished(), "the WebSocket is still open");
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = within("the close", socket.next()).await {}
    drop(socket);
    within("the shutdown", draining).await.unwrap();
    assert_eq!(balancer.stats().active_connections, 0);
}

#[tokio::test]
async fn at_the_end_of_the_drain_time_the_rest_is_closed() {
    let ws = websocket_origin("ws").await;
    let balancer = balancer(Options::default()).await;
    balancer.apply(table(&[("ws", 1, given(&[ws]))])).unwrap();
    let mut socket = websocket(balancer.local_addr()).await;
    assert_eq!(say(&mut socket, "a").await, "ws:a");
    let (drain, began) = (Duration::from_millis(100), Instant::now());
    within("the shutdown", balancer.shutdown(drain)).await;
    assert!(began.elapsed() >= drain, "it had its time");
    let end = within("the end", socket.next()).await;
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    assert_eq!(balancer.stats().active_connections, 0);
}

#[tokio::test]
async fn a_dropped_balancer_closes_its_port() {
    let balancer = balancer(Options::default()).await;
    let address = balancer.local_addr();
    drop(balancer);
    within("the port closes", async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
