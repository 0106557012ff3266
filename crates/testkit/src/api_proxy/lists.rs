//! Answers to lists, kept so that an API server can be played that lags behind.

use std::collections::BTreeMap;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Request, Uri};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;

/// What a client asks for anew with each page or watch; the rest of a query says which list it is.
const VOLATILE: [&str; 5] = ["limit", "continue", "resourceVersion", "resourceVersionMatch", "timeoutSeconds"];

struct Kept {
    headers: HeaderMap,
    answer: Bytes,
}

#[derive(Default)]
pub(crate) struct Lists {
    kept: Mutex<BTreeMap<String, Kept>>,
}

impl Lists {
    /// What is remembered of the same list.
    pub(super) fn stale(&self, uri: &Uri) -> Option<Bytes> {
        self.kept.lock().get(&key(uri)).map(|kept| kept.answer.clone())
    }

    /// Keeps the first answer to a list.
    pub(super) fn keep(&self, uri: &Uri, headers: &HeaderMap, answer: &Bytes) {
        let kept = || Kept { headers: headers.clone(), answer: answer.clone() };
        self.kept.lock().entry(key(uri)).or_insert_with(kept);
    }

    pub(super) async fn refresh(&self, upstream: &Client) -> anyhow::Result<()> {
        let known: Vec<(String, HeaderMap)> =
            self.kept.lock().iter().map(|(key, kept)| (key.clone(), kept.headers.clone())).collect();
        for (key, headers) in known {
            let mut request = Request::get(&key).body(Body::empty()).context("failed to ask for a list again")?;
            *request.headers_mut() = headers.clone();
            let response = upstream.send(request).await.context("failed to ask for a list again")?;
            anyhow::ensure!(response.status().is_success(), "the list {key} was answered with {}", response.status());
            let answer = response.into_body().collect_bytes().await.context("failed to read a list")?;
            self.kept.lock().insert(key, Kept { headers, answer });
        }
        Ok(())
    }
}

fn key(uri: &Uri) -> String {
    let of = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let lasting = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let lasting: Vec<&str> = lasting.filter(|pair| !VOLATILE.contains(&of(pair).as_str())).collect();
    if lasting.is_empty() { uri.path().to_owned() } else { format!("{}?{}", uri.path(), lasting.join("&")) }
}
