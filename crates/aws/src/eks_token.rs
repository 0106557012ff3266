//! The bearer token that an EKS cluster accepts: a presigned `GetCallerIdentity`, made without a call.
//!
//! The API server sends the URL to STS and takes the identity that STS names. Its authenticator checks host, path and
//! query first, so the URL names AWS's own STS, whatever the endpoint variables say.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4::SigningParams,
};
use jiff::{SignedDuration, Timestamp};
use okra_provider::{EksToken, EksTokenRequest, EksTokens, SecretText};

use crate::{redact::redact, signer::SigV4Signer};

/// The cluster's name, signed with the URL: a token of one cluster is none of another.
const CLUSTER_HEADER: &str = "x-k8s-aws-id";
const PREFIX: &str = "k8s-aws-v1.";
/// What the AWS CLI asks for. STS looks only at the signature's date.
const URL_EXPIRES: Duration = Duration::from_mins(1);
/// A token counts for 15 minutes from its date; one less, as the AWS CLI has it, for clocks that differ.
const LIFETIME: SignedDuration = SignedDuration::from_mins(14);
/// The authenticator reads no longer one.
const LONGEST: usize = 4096;

#[async_trait]
impl EksTokens for SigV4Signer {
    async fn token(&self, request: &EksTokenRequest, now: Timestamp) -> Result<EksToken, String> {
        let name = &request.cluster_name;
        let failed = |error: String| format!("failed to make a token of cluster {name}: {}", redact(&error));
        let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || name.len() > 100 || !name.chars().all(is_legal) {
            return Err(format!("failed to make a token: \"{name}\" is no name of an EKS cluster"));
        }
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (region, profile, role) = (text(&request.region), text(&request.profile), text(&request.role_arn));
        let time = SystemTime::from(now);
        let (region, credentials) = self.identity([&region, &profile, &role], time).await.map_err(failed)?;
        let url = format!("https://{}/?Action=GetCallerIdentity&Version=2011-06-15", sts_host(&region));
        let until = credentials.expiry().and_then(|expiry| Timestamp::try_from(expiry).ok());
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(URL_EXPIRES);
        let params = SigningParams::builder().identity(&identity).region(&region).name("sts").time(time);
        let params = params.settings(settings).build().map_err(|error| failed(error.to_string()))?.into();
        let headers = [(CLUSTER_HEADER, name.as_str())].into_iter();
        let signable = SignableRequest::new("GET", &url, headers, SignableBody::Bytes(&[]));
        let signed =
            signable.and_then(|signable| sign(signable, &params)).map_err(|error| failed(error.to_string()))?;
        let mut presigned = http::Request::builder().uri(&url).body(()).map_err(|error| failed(error.to_string()))?;
        signed.into_parts().0.apply_to_request_http1x(&mut presigned);
        let token = format!("{PREFIX}{}", base64_url(presigned.uri().to_string().as_bytes()));
        if token.len() > LONGEST {
            return Err(failed(format!(
                "it would have {} characters, and the authenticator reads {LONGEST}: the session's tags or policy are too long",
                token.len()
            )));
        }
        let expires_at = now.checked_add(LIFETIME).map_err(|error| failed(error.to_string()))?;
        let expires_at = until.map_or(expires_at, |until| until.min(expires_at));
        Ok(EksToken { token: SecretText::new(token), expires_at })
    }
}

/// The regional STS of AWS itself.
fn sts_host(region: &str) -> String {
    let suffix = [
        ("cn-", "amazonaws.com.cn"),
        ("us-iso-", "c2s.ic.gov"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("us-isof-", "csp.hci.ic.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("eusc-", "amazonaws.eu"),
    ];
    let suffix = suffix.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("amazonaws.com", |(_, own)| own);
    format!("sts.{region}.{suffix}")
}

/// Base64 for URLs, without padding (RFC 4648, section 5).
fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..=chunk.len() {
            let sextet = (bits >> (18 - 6 * index)) & 63;
            text.extend(ALPHABET.get(sextet as usize).map(|letter| char::from(*letter)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("??>", "Pz8-"),
            ("\u{ff}", "w78"),
        ] {
            assert_eq!(base64_url(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn every_partition_has_its_own_host() {
        assert_eq!(sts_host("ap-northeast-1"), "sts.ap-northeast-1.amazonaws.com");
        assert_eq!(sts_host("cn-north-1"), "sts.cn-north-1.amazonaws.com.cn");
        assert_eq!(sts_host("us-gov-west-1"), "sts.us-gov-west-1.amazonaws.com");
    }
}
