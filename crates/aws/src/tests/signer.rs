//! Signatures for others.

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use okra_provider::metric::{RequestSigner as _, Unsigned};
use pretty_assertions::assert_eq;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::aws::SECRET;
use crate::SigV4Signer;

const ROLE: &str = "arn:aws:iam::210987654321:role/metrics";

fn now() -> jiff::Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn signer(endpoint_url: Option<String>) -> SigV4Signer {
    let credentials = Credentials::new("AKIDBASE", SECRET, None, None, "test");
    SigV4Signer::with_credentials(endpoint_url, SharedCredentialsProvider::new(credentials))
}

/// The headers of a signed request to managed Prometheus.
async fn sign(signer: &SigV4Signer, role_arn: &str, body: &[u8]) -> Result<Vec<(String, String)>, String> {
    let headers = [("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned())];
    let request = Unsigned {
        service: "aps",
        region: "eu-west-1",
        profile: "",
        role_arn,
        method: "POST",
        url: "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/api/v1/query",
        headers: &headers,
        body,
    };
    let signed = signer.sign(&request, now()).await?;
    Ok(signed.into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect())
}

#[tokio::test]
async fn headers_and_body_are_signed() {
    let signer = signer(None);
    let signed = sign(&signer, "", b"query=up").await.unwrap();
    assert_eq!(signed[0], ("x-amz-date".to_owned(), "20261120T120000Z".to_owned()));
    let (name, value) = &signed[1];
    assert_eq!(name, "authorization");
    let scope = "AWS4-HMAC-SHA256 Credential=AKIDBASE/20261120/eu-west-1/aps/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date, Signature=";
    assert!(value.starts_with(scope), "{value}");
    assert_ne!(Ok(signed.clone()), sign(&signer, "", b"query=down").await);
    assert_eq!(Ok(signed), sign(&signer, "", b"query=up").await);
    assert_eq!(signer.region("eu-north-1", "").await, Ok("eu-north-1".to_owned()));
}

#[tokio::test]
async fn a_role_is_assumed_once() {
    let sts = MockServer::start().await;
    let assumed = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
         <AccessKeyId>AKIDROLE</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>t0ken</SessionToken>\
         <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><Arn>{ROLE}</Arn>\
         <AssumedRoleId>A:okra</AssumedRoleId></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>"
    );
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_string(assumed)).mount(&sts).await;
    let signer = signer(Some(sts.uri()));
    for _ in 0..2 {
        let signed = sign(&signer, ROLE, b"").await.unwrap();
        let header = |wanted: &str| signed.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        assert_eq!(header("x-amz-security-token"), Some("t0ken".to_owned()));
        assert!(header("authorization").unwrap().contains("Credential=AKIDROLE/"));
    }
    assert_eq!(sts.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_refused_role_is_told_without_credentials() {
    let sts = MockServer::start().await;
    let refused = ResponseTemplate::new(403).set_body_string(format!(
        "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you, secret={SECRET}</Message></Error>\
         </ErrorResponse>"
    ));
    Mock::given(any()).respond_with(refused).mount(&sts).await;
    let message = sign(&signer(Some(sts.uri())), ROLE, b"").await.unwrap_err();
    assert!(message.starts_with("failed to sign the request with SigV4: "), "{message}");
    assert!(!message.contains(SECRET), "{message}");
}
