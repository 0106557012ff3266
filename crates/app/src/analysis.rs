//! Who measures for AnalysisRuns: the providers, within the egress policy of the flags, and the Secrets they read.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Secret;
use okra_analysis::{Cidr, EgressPolicy, Environment, Http, JobPlace, JobPlaces, Providers, ProvidersConfig};
use okra_aws::SigV4Signer;
use okra_provider::{
    BackendError, Key, MetricProvider, SecretText, Store,
    metric::{RequestSigner, Secrets},
};

use crate::metric_profiles::MetricProfiles;

/// Who measures for AnalysisRuns.
#[derive(Clone)]
pub struct Analysis {
    /// Every provider.
    pub provider: Arc<dyn MetricProvider>,
    /// The Secrets of arguments.
    pub secrets: Arc<dyn Secrets>,
}

/// Where measurements may go, and what they may use.
#[derive(Clone, Debug, Default)]
pub struct AnalysisOptions {
    /// Ranges of addresses that are allowed whatever else is said.
    pub allow: Vec<Cidr>,
    /// Ranges of addresses that are denied.
    pub deny: Vec<Cidr>,
    /// Addresses of the API server, denied unless allowed.
    pub api_server: Vec<IpAddr>,
    /// Whether Jobs can run where the objects are.
    pub jobs: bool,
    /// The namespace of this process, for the Secrets of providers.
    pub namespace: String,
    /// Endpoint for every AWS service.
    pub aws_endpoint_url: Option<String>,
    /// Profiles that metrics may choose.
    pub profiles: MetricProfiles,
}

impl Analysis {
    /// Calls nothing yet. An error when the machine's TLS cannot be set up, or a kubeconfig of a profile is none.
    pub async fn new(store: Store, options: AnalysisOptions) -> anyhow::Result<Self> {
        let AnalysisOptions { allow, deny, api_server, jobs, namespace, aws_endpoint_url, profiles } = options;
        let policy = EgressPolicy::new(allow, deny).with_api_server(api_server);
        let http = Http::new(policy).map_err(|error| anyhow::anyhow!("failed to set up HTTP for metrics: {error}"))?;
        let secrets: Arc<dyn Secrets> = Arc::new(StoreSecrets(store.clone()));
        let aws = profiles.aws(aws_endpoint_url.clone());
        let signer: Arc<dyn RequestSigner> = Arc::new(SigV4Signer::new(aws_endpoint_url));
        let here = jobs.then_some(JobPlace { store, namespace: None, remote: false });
        let jobs = JobPlaces { profiles: profiles.job_places(here.as_ref()).await?, default: here };
        let provider = Arc::new(Providers::new(ProvidersConfig {
            http,
            secrets: secrets.clone(),
            signer: Some(signer),
            aws,
            jobs,
            environment: Environment::of_process(),
            own_namespace: namespace,
        }));
        Ok(Self { provider, secrets })
    }
}

/// Secrets as the API server has them at the moment of use; none is kept.
struct StoreSecrets(Store);

#[async_trait]
impl Secrets for StoreSecrets {
    async fn secret(&self, namespace: &str, name: &str) -> Result<BTreeMap<String, SecretText>, String> {
        let secret = self.0.get_live::<Secret>(&Key::new(namespace, name)).await.map_err(|error| match error {
            BackendError::NotFound { .. } => format!("secrets \"{name}\" not found"),
            BackendError::Denied { .. } => {
                format!("secret '{name}' may not be read: give okrad get on secrets in namespace {namespace}")
            }
            other => format!("failed to read secret '{name}': {other}"),
        })?;
        let text = |bytes: Vec<u8>| SecretText::new(String::from_utf8_lossy(&bytes).into_owned());
        let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, text(value.0)));
        Ok(data.collect())
    }
}

#[cfg(test)]
mod tests {
    use okra_provider::{
        Backend as _, Kind, Namespaces,
        testing::{FixedClock, MemoryBackend, SeededEntropy},
    };
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn secrets_are_read_on_use() {
        let backend = Arc::new(MemoryBackend::new(Arc::new(FixedClock::default()), Arc::new(SeededEntropy::new(1))));
        let secrets = StoreSecrets(Store::new(backend.clone(), Namespaces::All));
        let missing = secrets.secret("prod", "api").await.unwrap_err();
        assert_eq!(missing, "secrets \"api\" not found");
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "prod", "name": "api"},
            "data": {"token": "aHVudGVyMg=="},
        });
        backend.create(&Kind::of::<Secret>(), &object).await.unwrap();
        assert_eq!(secrets.secret("prod", "api").await.unwrap()["token"].expose(), "hunter2");
    }
}
