//! Tokens for EKS clusters, judged by the rules of the authenticator that checks them.

use std::time::{Duration, SystemTime};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use jiff::{SignedDuration, Timestamp};
use okra_provider::{EksTokenRequest, EksTokens as _};
use okra_testkit::eks_token::verify;
use pretty_assertions::assert_eq;

use super::aws::SECRET;
use crate::SigV4Signer;

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn signer(session: Option<&str>, expiry: Option<SystemTime>) -> SigV4Signer {
    let credentials = Credentials::new("AKIDBASE", SECRET, session.map(str::to_owned), expiry, "test");
    // Nobody answers there: a token takes no call.
    SigV4Signer::with_credentials(Some("http://127.0.0.1:9".to_owned()), SharedCredentialsProvider::new(credentials))
}

fn request(cluster: &str) -> EksTokenRequest {
    EksTokenRequest {
        cluster_name: cluster.to_owned(),
        region: Some("ap-northeast-1".to_owned()),
        ..EksTokenRequest::default()
    }
}

#[tokio::test]
async fn a_token_passes_the_authenticator_of_its_cluster_only() {
    for session in [None, Some("a+session/token==")] {
        let token = signer(session, None).token(&request("cdk1"), now()).await.unwrap();
        assert_eq!(token.expires_at, now() + SignedDuration::from_mins(14));
        let verified = verify(token.token.expose(), "cdk1", now()).unwrap();
        assert_eq!(
            (verified.host.as_str(), verified.access_key.as_str()),
            ("sts.ap-northeast-1.amazonaws.com", "AKIDBASE")
        );
        assert_eq!(verified.signed_headers, "host;x-k8s-aws-id");
        assert_eq!(verified.has_session_token, session.is_some());
        assert!(
            verify(token.token.expose(), "cdk1", now() + SignedDuration::from_mins(16)).unwrap_err().contains("old")
        );
        assert!(!format!("{token:?}").contains("k8s-aws-v1"), "a token is not shown by accident");
    }
}

#[tokio::test]
async fn it_ends_with_the_credentials_and_is_refused_where_it_cannot_be_made() {
    let soon = SystemTime::from(now()) + Duration::from_mins(6);
    let token = signer(None, Some(soon)).token(&request("a"), now()).await.unwrap();
    assert_eq!(token.expires_at, now() + SignedDuration::from_mins(6));
    for name in ["", "a b", "a/../b", &"a".repeat(101)] {
        let error = signer(None, None).token(&request(name), now()).await.unwrap_err();
        assert!(error.contains("no name of an EKS cluster"), "{error}");
    }
    let error = signer(Some(&"x".repeat(4000)), None).token(&request("a"), now()).await.unwrap_err();
    assert!(error.contains("4096") && !error.contains("xxxx"), "{error}");
}
