//! Connections that are opened once and must last: kept alive for one request after the other, or a WebSocket.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};
use tokio_util::sync::CancellationToken;

use super::{TIMEOUT, VERSION_HEADER};

/// The pause between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(50);

/// What came over a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lasted {
    /// Requests or messages that were answered.
    pub answered: u64,
    /// The versions that answered, each change once.
    pub versions: Vec<String>,
    /// Why it ended before it was stopped.
    pub failure: Option<String>,
}

impl Lasted {
    fn add(&mut self, version: &str) {
        self.answered += 1;
        if self.versions.last().is_none_or(|last| last != version) {
            self.versions.push(version.to_owned());
        }
    }
}

/// One connection in use all the time. It is never opened again.
pub struct Pinned {
    lasted: watch::Receiver<Lasted>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Pinned {
    /// A connection that is kept alive, with one request after the other.
    pub async fn keep_alive(address: SocketAddr, host: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("failed to connect")?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let host = host.to_owned();
        Ok(Self::run(|line| async move { line.requests(sender, &host).await }))
    }

    /// A WebSocket with one message after the other, each of which must come back.
    pub async fn web_socket(address: SocketAddr, host: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("failed to connect")?;
        let handshake = tokio_tungstenite::client_async(format!("ws://{host}/socket"), stream);
        let (socket, response) = tokio::time::timeout(TIMEOUT, handshake).await.context("no handshake in time")??;
        let version = response.headers().get(VERSION_HEADER).and_then(|version| version.to_str().ok());
        let version = version.unwrap_or("none").to_owned();
        Ok(Self::run(|line| async move { line.messages(socket, &version).await }))
    }

    fn run<F>(drive: impl FnOnce(Line) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (sender, lasted) = watch::channel(Lasted::default());
        let stop = CancellationToken::new();
        let driven = drive(Line { lasted: sender.clone(), stop: stop.clone() });
        let task = tokio::spawn(async move {
            if let Err(error) = driven.await {
                sender.send_modify(|lasted| lasted.failure = Some(format!("{error:#}")));
            }
        });
        Self { lasted, stop, task }
    }

    /// What came over it so far.
    pub fn lasted(&self) -> Lasted {
        self.lasted.borrow().clone()
    }

    /// Waits until what came over it satisfies `condition`; an error with it once `within` has passed, or when the
    /// connection ended before.
    pub async fn until(&self, within: Duration, mut condition: impl FnMut(&Lasted) -> bool) -> anyhow::Result<Lasted> {
        let mut lasted = self.lasted.clone();
        let waiting = lasted.wait_for(|lasted| lasted.failure.is_some() || condition(lasted));
        let waited = tokio::time::timeout(within, waiting).await;
        let now = waited.map_err(|_| anyhow::anyhow!("it does not come: {:?}", self.lasted()))??.clone();
        anyhow::ensure!(now.failure.is_none(), "the connection ended: {now:?}");
        Ok(now)
    }

    /// Waits for so many more answers.
    pub async fn more(&self, within: Duration, count: u64) -> anyhow::Result<Lasted> {
        let goal = self.lasted().answered + count;
        self.until(within, |lasted| lasted.answered >= goal).await
    }

    /// Ends it from this side, and gives the account.
    pub async fn stop(mut self) -> Lasted {
        self.stop.cancel();
        // An error means that the task panicked, which it does not.
        let _ended = (&mut self.task).await;
        self.lasted()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The driven end of a connection.
struct Line {
    lasted: watch::Sender<Lasted>,
    stop: CancellationToken,
}

impl Line {
    fn add(&self, version: &str) {
        self.lasted.send_modify(|lasted| lasted.add(version));
    }

    /// Whether to go on, after a pause.
    async fn goes_on(&self) -> bool {
        tokio::time::timeout(PAUSE, self.stop.cancelled()).await.is_err()
    }

    async fn requests(self, mut sender: SendRequest<Empty<Bytes>>, host: &str) -> anyhow::Result<()> {
        while self.goes_on().await {
            sender.ready().await.context("the connection was closed")?;
            let request = Request::get("/").header("host", host).body(Empty::new())?;
            let answer = async {
                let response = sender.send_request(request).await?;
                let (parts, body) = response.into_parts();
                body.collect().await?;
                anyhow::Ok(parts)
            };
            let parts = tokio::time::timeout(TIMEOUT, answer).await.context("no answer in time")??;
            anyhow::ensure!(parts.status.is_success(), "answered with {}", parts.status);
            self.add(parts.headers.get(VERSION_HEADER).and_then(|version| version.to_str().ok()).unwrap_or("none"));
        }
        Ok(())
    }

    async fn messages(self, mut socket: WebSocketStream<TcpStream>, version: &str) -> anyhow::Result<()> {
        let mut number = 0_u64;
        while self.goes_on().await {
            number += 1;
            let text = number.to_string();
            let echo = async {
                socket.send(Message::text(text.clone())).await?;
                socket.next().await.context("the WebSocket was closed")?.map_err(anyhow::Error::from)
            };
            let echo = tokio::time::timeout(TIMEOUT, echo).await.context("no echo in time")??;
            anyhow::ensure!(echo.to_text().is_ok_and(|echo| echo == text), "{text} came back as {echo:?}");
            self.add(version);
        }
        socket.close(None).await.context("failed to close the WebSocket")
    }
}
