//! A canned metric server: it answers at once, and remembers when it was asked.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::Context as _;
use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};
use jiff::Timestamp;
use tokio::{net::TcpListener, task::JoinSet};

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The metric that was asked for.
    pub metric: String,
    /// When, by the wall clock.
    pub asked: Timestamp,
    /// When, by a clock that never jumps.
    pub at: Instant,
    /// Whether it was told to be bad.
    pub bad: bool,
}

#[derive(Default)]
struct Book {
    answers: Vec<Answer>,
    bad: BTreeSet<String>,
}

/// Answers `GET /NAME` with `{"rate": 1}`, or 0 for a metric that is bad.
pub struct Metrics {
    /// Where it listens.
    pub address: SocketAddr,
    book: Arc<Mutex<Book>>,
    _server: JoinSet<()>,
}

impl Metrics {
    /// Starts it on a free port of 127.0.0.1.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to listen for metrics")?;
        let address = listener.local_addr()?;
        let book = Arc::<Mutex<Book>>::default();
        let router = Router::new().route("/{name}", get(answer)).with_state(book.clone());
        let mut server = JoinSet::new();
        // It ends with the set.
        server.spawn(async move { _ = axum::serve(listener, router).await });
        Ok(Self { address, book, _server: server })
    }

    /// From now on these metrics, and no others, are bad.
    pub fn set_bad(&self, names: BTreeSet<String>) {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).bad = names;
    }

    /// Every answer since the last call of this.
    pub fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner).answers)
    }
}

async fn answer(State(book): State<Arc<Mutex<Book>>>, Path(metric): Path<String>) -> String {
    let (asked, at) = (Timestamp::now(), Instant::now());
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    let bad = book.bad.contains(&metric);
    book.answers.push(Answer { metric, asked, at, bad });
    format!("{{\"rate\": {}}}", u8::from(!bad))
}
