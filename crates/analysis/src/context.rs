//! What a provider has at hand for one measurement.

use std::collections::BTreeMap;

use jiff::Timestamp;
use okra_provider::metric::{MetricRequest, RequestSigner, SecretText, Secrets};

use crate::cloud_watch::AwsProfile;
use crate::http::Http;
use crate::redact::Redaction;

/// Variables of the environment that providers know.
const VARIABLES: [&str; 4] = [crate::prometheus::ADDRESS_VARIABLE, "DD_API_KEY", "DD_APP_KEY", "DD_ADDRESS"];

/// The part of the environment that providers look at.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, SecretText>);

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        let known = VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        Self(known.map(|(name, value)| (name, SecretText::new(value))).collect())
    }

    /// These variables.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let variables = variables.into_iter();
        Self(variables.map(|(name, value)| (name.to_owned(), SecretText::new(value))).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&SecretText> {
        self.0.get(name)
    }
}

/// One measurement's surroundings.
pub(crate) struct Context<'a> {
    pub(crate) http: &'a Http,
    pub(crate) secrets: &'a dyn Secrets,
    pub(crate) signer: Option<&'a dyn RequestSigner>,
    /// Where metrics of AWS are, by the profile of the request.
    pub(crate) aws: &'a AwsProfile,
    pub(crate) environment: &'a Environment,
    /// The namespace of this process, where Argo Rollouts looks for the Secrets of providers.
    pub(crate) own_namespace: &'a str,
    pub(crate) request: &'a MetricRequest,
    pub(crate) now: Timestamp,
    pub(crate) redaction: &'a mut Redaction,
}

impl Context<'_> {
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(SecretText::expose)
    }

    /// A Secret in the namespace of this process. All of its data is kept out of what is handed back, but for the
    /// keys named here, which are no secrets.
    pub(crate) async fn own_secret(
        &mut self,
        name: &str,
        in_the_open: &[&str],
    ) -> Result<BTreeMap<String, SecretText>, String> {
        let data = self.secrets.secret(self.own_namespace, name).await?;
        for (key, value) in &data {
            if !in_the_open.contains(&key.as_str()) {
                self.redaction.add(value);
            }
        }
        Ok(data)
    }
}
