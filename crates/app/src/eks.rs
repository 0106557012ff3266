//! Tokens of EKS clusters, for `kubectl` and whoever else runs a program for them.

use jiff::Timestamp;
use okra_aws::SigV4Signer;
use okra_provider::{EksTokenRequest, EksTokens as _};
use serde_json::{Value, json};

/// The ExecCredential that `aws eks get-token` prints: a token made without a call, but for a role that is assumed.
pub async fn exec_credential(
    cluster_name: String,
    region: Option<String>,
    role_arn: Option<String>,
    profile: Option<String>,
) -> Result<Value, String> {
    let request = EksTokenRequest { cluster_name, region, role_arn, profile };
    let token = SigV4Signer::new(None).token(&request, Timestamp::now()).await?;
    Ok(json!({
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "spec": {},
        "status": {
            "expirationTimestamp": token.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "token": token.token.expose(),
        },
    }))
}
