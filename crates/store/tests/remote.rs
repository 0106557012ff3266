//! Remote clusters by their cluster Secrets, against a real API server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step ends the test"
)]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use okra_provider::{
    Clock, EksToken, EksTokenRequest, EksTokens, Key, Lookup, Reachability, RemoteClusters as _, SecretText,
    testing::FixedClock,
};
use okra_store::KubernetesClusters;
use okra_testkit::{ApiServer, shared_api_server};
use parking_lot::Mutex;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(1);

/// Gives out the token that it was told, for ten minutes.
struct Tokens {
    token: Mutex<String>,
    made: AtomicU32,
}

impl Tokens {
    fn new(token: &str) -> Arc<Self> {
        Arc::new(Self { token: Mutex::new(token.to_owned()), made: AtomicU32::new(0) })
    }
}

#[async_trait]
impl EksTokens for Tokens {
    async fn token(&self, request: &EksTokenRequest, now: Timestamp) -> Result<EksToken, String> {
        assert_eq!((request.cluster_name.as_str(), request.region.as_deref()), ("cdk1", Some("us-east-1")));
        self.made.fetch_add(1, Ordering::Relaxed);
        let token = SecretText::new(self.token.lock().clone());
        Ok(EksToken { token, expires_at: now + SignedDuration::from_mins(10) })
    }
}

/// The token of a user, and the server's certificates as a Secret holds them.
fn access(server: &ApiServer, user: &str) -> (String, ByteString) {
    let kubeconfig: Value = serde_json::from_slice(&std::fs::read(server.kubeconfig(user)).unwrap()).unwrap();
    let token = kubeconfig["users"][0]["user"]["token"].as_str().unwrap().to_owned();
    (token, ByteString(std::fs::read(server.ca_file()).unwrap()))
}

fn secret(name: &str, server: &str, config: &Value) -> Secret {
    let data = [("name", name), ("server", server), ("config", &*config.to_string())];
    let data = data.map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec())));
    let metadata = json!({
        "name": name, "namespace": "argocd",
        "annotations": {"okra.mumo.co/cluster-id": "arn:aws:eks:us-east-1:123456789012:cluster/cdk1"},
    });
    Secret { data: Some(data.into()), ..serde_json::from_value(json!({ "metadata": metadata })).unwrap() }
}

fn clusters(tokens: &Arc<Tokens>) -> (KubernetesClusters, Arc<FixedClock>) {
    let clock = Arc::new(FixedClock::default());
    (KubernetesClusters::new(tokens.clone(), clock.clone()), clock)
}

fn is_reachable(reachability: &Reachability) -> bool {
    matches!(reachability, Reachability::Reachable { version } if version.starts_with("v1."))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let holds = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, holds).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn objects_are_listed_and_watched_until_the_secret_changes() {
    let server = shared_api_server().await;
    let namespace = server.namespace("remote").await;
    let (token, ca) = access(server, "test");
    let (clusters, _) = clusters(&Tokens::new("none"));
    let config = json!({"bearerToken": token, "tlsClientConfig": {"insecure": false, "caData": ca}});
    let secret_of = |config: &Value| secret("a", &server.url(), config);
    assert!(is_reachable(&clusters.reach(&secret_of(&config)).await));
    let remote = clusters.connect(&secret_of(&config)).await.unwrap();
    assert_eq!((remote.name.as_str(), remote.server.as_str()), ("a", server.url().as_str()));
    let cache = remote.store.cache::<ConfigMap>();
    tokio::time::timeout(LIMIT, cache.synced()).await.unwrap();
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "one", "namespace": namespace}, "data": {"a": "1"}}))
            .unwrap();
    remote.store.create(&map).await.unwrap();
    let key = Key::new(&namespace, "one");
    until("the watch shows the object", || matches!(cache.get(&key), Lookup::Found(_))).await;
    let again = clusters.connect(&secret_of(&config)).await.unwrap();
    assert_eq!(again.connection, remote.connection, "one connection for each Secret");

    let (other, _) = access(server, "limited-1");
    let changed = json!({"bearerToken": other, "tlsClientConfig": {"insecure": false, "caData": ca}});
    let next = clusters.connect(&secret_of(&changed)).await.unwrap();
    assert_ne!(next.connection, remote.connection);
    assert!(next.store.get_live::<ConfigMap>(&key).await.is_err(), "the new user may not read it");
    let wrong = json!({"bearerToken": "wrong", "tlsClientConfig": {"insecure": false, "caData": ca}});
    assert!(matches!(clusters.reach(&secret_of(&wrong)).await, Reachability::Denied(_)));
    let untrusted = json!({"bearerToken": token});
    assert!(matches!(clusters.reach(&secret_of(&untrusted)).await, Reachability::Unreachable(_)), "its certificate");
    let insecure = json!({"bearerToken": token, "tlsClientConfig": {"insecure": true}});
    assert!(is_reachable(&clusters.reach(&secret_of(&insecure)).await));
    clusters.retain(&BTreeSet::new());
    let anew = clusters.connect(&secret_of(&insecure)).await.unwrap();
    assert!(anew.connection > next.connection + 1, "what is not kept is connected anew");
}

#[tokio::test]
async fn eks_tokens_are_kept_until_they_end_or_are_refused() {
    let server = shared_api_server().await;
    let (good, ca) = access(server, "test");
    let tokens = Tokens::new(&good);
    let (clusters, clock) = clusters(&tokens);
    let config =
        json!({"awsAuthConfig": {"clusterName": "cdk1"}, "tlsClientConfig": {"insecure": false, "caData": ca}});
    let secret = secret("a", &server.url(), &config);
    for _ in 0..3 {
        assert!(is_reachable(&clusters.reach(&secret).await));
    }
    assert_eq!(tokens.made.load(Ordering::Relaxed), 1);
    clock.advance(SignedDuration::from_mins(8));
    assert!(is_reachable(&clusters.reach(&secret).await));
    assert_eq!(tokens.made.load(Ordering::Relaxed), 2, "before it ends");
    // Credentials that were rotated: the kept token is refused once, and the next look makes a new one.
    "revoked".clone_into(&mut tokens.token.lock());
    clock.set(clock.now() + SignedDuration::from_mins(8));
    assert!(matches!(clusters.reach(&secret).await, Reachability::Denied(_)));
    good.clone_into(&mut tokens.token.lock());
    assert!(is_reachable(&clusters.reach(&secret).await));
}

#[tokio::test]
async fn what_would_run_a_program_or_read_a_file_is_refused() {
    let server = shared_api_server().await;
    let (token, _) = access(server, "test");
    let (clusters, _) = clusters(&Tokens::new("none"));
    for (config, words) in [
        (json!({"execProviderConfig": {"command": "sh", "args": ["-c", "touch /tmp/x"]}}), "run a program"),
        (json!({"bearerTokenFile": "/etc/passwd"}), "names a file"),
        (json!({"bearerToken": token, "tlsClientConfig": {"caData": "bm90IGEgY2VydGlmaWNhdGU="}}), "PEM"),
        (json!({"tlsClientConfig": {"certData": "!!", "keyData": "!!"}}), "PEM"),
    ] {
        let secret = secret("bad", &server.url(), &config);
        let error = clusters.connect(&secret).await.unwrap_err();
        assert!(error.0.contains(words) && !error.0.contains(&token), "{config}: {error}");
        assert_eq!(clusters.reach(&secret).await, Reachability::Refused(error.0));
    }
}

#[tokio::test]
async fn a_dead_cluster_delays_no_other() {
    let server = shared_api_server().await;
    let (token, ca) = access(server, "test");
    let (clusters, _) = clusters(&Tokens::new("none"));
    // It takes connections and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = json!({"bearerToken": token, "tlsClientConfig": {"insecure": false, "caData": ca}});
    let dead = secret("dead", &format!("https://{}", silent.local_addr().unwrap()), &config);
    let live = secret("live", &server.url(), &config);
    let remote = clusters.connect(&dead).await.unwrap();
    let cache = remote.store.cache::<ConfigMap>();
    let asked = clusters.reach(&dead);
    tokio::pin!(asked);
    tokio::select! {
        biased;
        answer = clusters.reach(&live) => assert!(is_reachable(&answer), "{answer:?}"),
        answer = &mut asked => panic!("the dead one answered first: {answer:?}"),
    }
    assert!(matches!(asked.await, Reachability::Unreachable(_)));
    until("its watch says so", || cache.trouble().is_some()).await;
    assert!(!cache.is_synced(), "what cannot be reached is not empty");
}
