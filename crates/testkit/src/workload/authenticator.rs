//! The webhook by which an EKS cluster's API server asks who a token is of.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::eks_token;

/// Answers TokenReviews by the rules of [`eks_token`].
pub(super) struct Authenticator {
    address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    cluster: String,
    caller: String,
    past: Mutex<Past>,
}

#[derive(Default)]
struct Past {
    seen: BTreeSet<String>,
    revoked: BTreeSet<String>,
    let_in: usize,
    refused: Vec<String>,
}

impl Authenticator {
    pub async fn start(cluster: &str, caller: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let state = State { cluster: cluster.to_owned(), caller: caller.to_owned(), past: Mutex::default() };
        let state = Arc::new(state);
        let mut tasks = JoinSet::new();
        let of_server = state.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = of_server.clone();
                connections.spawn(async move {
                    let service = hyper::service::service_fn(|request| answer(request, state.clone()));
                    let server = hyper::server::conn::http1::Builder::new();
                    _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, state, _tasks: tasks }
    }

    /// The file by which the API server finds it.
    pub fn kubeconfig(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": format!("http://{}/authenticate", self.address)}}],
            "users": [{"name": "it", "user": {}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        })
    }

    pub fn logins(&self) -> (usize, Vec<String>) {
        let past = self.state.past.lock();
        (past.let_in, past.refused.clone())
    }

    pub fn revoke(&self) {
        let mut past = self.state.past.lock();
        let Past { seen, revoked, .. } = &mut *past;
        revoked.clone_from(seen);
    }
}

impl State {
    fn review(&self, token: &str) -> Result<(), String> {
        let verified = eks_token::verify(token, &self.cluster, Timestamp::now());
        let mut past = self.past.lock();
        let outcome = verified.and_then(|verified| match verified.access_key == self.caller {
            _ if past.revoked.contains(token) => Err("the token was revoked".to_owned()),
            true => Ok(()),
            false => Err(format!("{} has no access entry", verified.access_key)),
        });
        past.seen.insert(token.to_owned());
        match &outcome {
            Ok(()) => past.let_in += 1,
            Err(why) => past.refused.push(why.clone()),
        }
        outcome
    }
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let token = review.pointer("/spec/token").and_then(Value::as_str).unwrap_or_default();
    let status = match state.review(token) {
        Ok(()) => json!({"authenticated": true, "user": {"username": "okrad", "groups": ["okra"]}}),
        Err(why) => json!({"authenticated": false, "error": why}),
    };
    let answer = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status});
    let mut response = Response::new(Full::new(answer.to_string().into()));
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Ok(response)
}
