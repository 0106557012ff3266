//! Signatures of requests that other crates send: to CloudWatch, and to Amazon's managed Prometheus.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region, SdkConfig, sts::AssumeRoleProvider};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use jiff::Timestamp;
use okra_provider::metric::{RequestSigner, SecretText, Unsigned};
use tokio::sync::Mutex;

use crate::redact::redact;

/// Name of assumed-role sessions, as it stands in CloudTrail.
const SESSION_NAME: &str = "okra";
/// Credentials are asked for again this long before they expire.
const EARLY: Duration = Duration::from_mins(5);
/// How long credentials may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Region, profile, role.
type Identity = (String, String, String);

/// Signs with AWS Signature Version 4.
#[derive(Debug, Default)]
pub struct SigV4Signer {
    endpoint_url: Option<String>,
    credentials: Option<SharedCredentialsProvider>,
    known: Mutex<BTreeMap<Identity, Known>>,
    /// By profile.
    regions: Mutex<BTreeMap<String, String>>,
}

/// What was found out about an identity.
#[derive(Clone, Debug)]
struct Known {
    region: String,
    provider: SharedCredentialsProvider,
    credentials: Option<Credentials>,
}

impl SigV4Signer {
    /// With credentials of the SDK's standard chain. Roles are assumed at `endpoint_url`, if it is given.
    pub fn new(endpoint_url: Option<String>) -> Self {
        Self { endpoint_url, ..Self::default() }
    }

    /// With these credentials instead of the standard chain's; a role is assumed with them.
    pub fn with_credentials(endpoint_url: Option<String>, credentials: SharedCredentialsProvider) -> Self {
        Self { endpoint_url, credentials: Some(credentials), ..Self::default() }
    }

    /// The region and the credentials of an identity (region, profile, role), asked for again only when they are about to expire.
    pub(crate) async fn identity(&self, of: [&str; 3], now: SystemTime) -> Result<(String, Credentials), String> {
        let key = of.map(str::to_owned);
        let key = <(String, String, String)>::from(key);
        let mut known = self.known.lock().await;
        let known = match known.entry(key) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(self.find(of).await?),
        };
        let fresh = |credentials: &&Credentials| credentials.expiry().is_none_or(|expiry| now + EARLY < expiry);
        if let Some(credentials) = known.credentials.as_ref().filter(fresh) {
            return Ok((known.region.clone(), credentials.clone()));
        }
        let credentials = tokio::time::timeout(TIMEOUT, known.provider.provide_credentials()).await;
        let credentials = credentials
            .map_err(|_| format!("failed to sign the request with SigV4: no credentials within {TIMEOUT:?}"))?
            .map_err(|error| format!("failed to sign the request with SigV4: {}", redact(&chain(&error))))?;
        known.credentials = Some(credentials.clone());
        Ok((known.region.clone(), credentials))
    }

    async fn load(&self, region: &str, profile: &str) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if !region.is_empty() {
            loader = loader.region(Region::new(region.to_owned()));
        }
        if !profile.is_empty() {
            loader = loader.profile_name(profile);
        }
        if let Some(url) = &self.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some(credentials) = &self.credentials {
            loader = loader.credentials_provider(credentials.clone());
        }
        loader.load().await
    }

    async fn find(&self, [region, profile, role_arn]: [&str; 3]) -> Result<Known, String> {
        let config = self.load(region, profile).await;
        let region = config.region().map(ToString::to_string).ok_or_else(|| missing("region"))?;
        let provider = if role_arn.is_empty() {
            config.credentials_provider().ok_or_else(|| missing("credentials provider"))?
        } else {
            let role = AssumeRoleProvider::builder(role_arn).session_name(SESSION_NAME);
            SharedCredentialsProvider::new(role.configure(&config).build().await)
        };
        Ok(Known { region, provider, credentials: None })
    }
}

fn missing(what: &str) -> String {
    format!("failed to sign the request with SigV4: no AWS {what} is configured")
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source()).take(16);
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[async_trait]
impl RequestSigner for SigV4Signer {
    async fn region(&self, region: &str, profile: &str) -> Result<String, String> {
        if !region.is_empty() {
            return Ok(region.to_owned());
        }
        let mut regions = self.regions.lock().await;
        if let Some(known) = regions.get(profile) {
            return Ok(known.clone());
        }
        let config = self.load(region, profile).await;
        let found = config.region().map(ToString::to_string).ok_or_else(|| missing("region"))?;
        regions.insert(profile.to_owned(), found.clone());
        Ok(found)
    }

    async fn sign(&self, request: &Unsigned<'_>, now: Timestamp) -> Result<Vec<(String, SecretText)>, String> {
        let failed = |error: String| format!("failed to sign the request with SigV4: {}", redact(&error));
        let now = SystemTime::from(now);
        let (region, credentials) = self.identity([request.region, request.profile, request.role_arn], now).await?;
        let identity = credentials.into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&region)
            .name(request.service)
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| failed(error.to_string()))?
            .into();
        let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let signable = SignableRequest::new(request.method, request.url, headers, SignableBody::Bytes(request.body))
            .map_err(|error| failed(error.to_string()))?;
        let signed = sign(signable, &params).map_err(|error| failed(error.to_string()))?;
        let (instructions, _) = signed.into_parts();
        let headers = instructions.headers().map(|(name, value)| (name.to_owned(), SecretText::new(value)));
        Ok(headers.collect())
    }
}
