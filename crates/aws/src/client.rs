//! SDK clients: one for each region and role.

use std::{collections::BTreeMap, time::Duration};

use aws_config::{AppName, BehaviorVersion, Region, SdkConfig, retry::RetryConfig, sts::AssumeRoleProvider};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_elasticloadbalancingv2::{
    Client,
    config::{self, Builder, timeout::TimeoutConfig},
};
use tokio::sync::Mutex;

use crate::answer_limit::AnswerLimit;

/// Name of assumed-role sessions, as it stands in CloudTrail.
const SESSION_NAME: &str = "okra";

type RegionAndRole = (String, Option<String>);

/// The clients of this process.
#[derive(Debug)]
pub(crate) struct Clients {
    endpoint_url: Option<String>,
    credentials: Option<SharedCredentialsProvider>,
    known: Mutex<BTreeMap<RegionAndRole, Client>>,
}

impl Clients {
    /// Clients of an endpoint (`None`: AWS's, or what the SDK's variables say), with these credentials (`None`: the
    /// SDK's standard chain).
    pub fn new(endpoint_url: Option<String>, credentials: Option<SharedCredentialsProvider>) -> Self {
        Self { endpoint_url, credentials, known: Mutex::default() }
    }

    /// The client of a region and a role.
    pub async fn get(&self, region: &str, role: Option<&str>) -> Client {
        let key = (region.to_owned(), role.map(str::to_owned));
        let mut known = self.known.lock().await;
        if let Some(client) = known.get(&key) {
            return client.clone();
        }
        let client = self.build(region, role).await;
        known.insert(key, client.clone());
        client
    }

    async fn build(&self, region: &str, role: Option<&str>) -> Client {
        let config = self.load(region).await;
        let mut builder = Builder::from(&config).interceptor(AnswerLimit);
        if let Some(role) = role {
            builder = builder.credentials_provider(assume(role, &config).await);
        }
        // A repeated write is decided by whoever holds the lease then, never by the SDK (safety.md S9).
        Client::from_conf(builder.retry_config(RetryConfig::disabled()).build())
    }

    async fn load(&self, region: &str) -> SdkConfig {
        load(Some(region), self.endpoint_url.as_deref(), self.credentials.as_ref()).await
    }
}

/// The configuration of a region (`None`: the process's own).
pub(crate) async fn load(
    region: Option<&str>,
    endpoint_url: Option<&str>,
    credentials: Option<&SharedCredentialsProvider>,
) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    if let Ok(name) = AppName::new("okra") {
        loader = loader.app_name(name);
    }
    if let Some(url) = endpoint_url {
        loader = loader.endpoint_url(url);
    }
    if let Some(credentials) = credentials {
        loader = loader.credentials_provider(credentials.clone());
    }
    loader.load().await
}

/// A role's credentials, asked for with those of a configuration.
pub(crate) async fn assume(role: &str, config: &SdkConfig) -> AssumeRoleProvider {
    AssumeRoleProvider::builder(role).session_name(SESSION_NAME).configure(config).build().await
}

/// A call's own deadline in place of its client's.
pub(crate) fn timeouts(timeout: Duration) -> config::Builder {
    let timeouts = TimeoutConfig::builder().operation_timeout(timeout).operation_attempt_timeout(timeout);
    config::Config::builder().timeout_config(timeouts.build())
}
