//! What a cluster Secret of Argo CD says of how to reach its cluster.

use std::fmt;

use k8s_openapi::api::core::v1::Secret;
use okra_api::names::{CLUSTER_CA_ANNOTATION, CLUSTER_ENDPOINT_ANNOTATION, CLUSTER_ID_ANNOTATION};
use serde_json::Value;

use super::{data_text, secret::annotation};

/// How to reach a cluster. `Debug` shows no credential.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClusterAccess {
    /// Its name.
    pub name: String,
    /// URL of its API server.
    pub server: String,
    /// Whether the API server's certificate is not checked.
    pub insecure: bool,
    /// The name in the API server's certificate, where it is not the URL's.
    pub server_name: Option<String>,
    /// Certificates of the API server: PEM in base64.
    pub ca_data: Option<String>,
    /// Client certificate and key, each PEM in base64.
    pub client_certificate: Option<(String, String)>,
    /// How to log in besides.
    pub login: Login,
}

/// How to log in to an API server.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Login {
    /// Not at all, or by the client certificate.
    #[default]
    None,
    /// By this token.
    Bearer(String),
    /// By name and password.
    Basic(String, String),
    /// By a token for an EKS cluster.
    Eks {
        /// Its name.
        cluster_name: String,
        /// Its region, as far as the Secret tells.
        region: Option<String>,
        /// Role to assume.
        role_arn: Option<String>,
        /// Profile of the credentials.
        profile: Option<String>,
    },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Bearer(_) => "Bearer(***)",
            Self::Basic(..) => "Basic(***)",
            Self::Eks { .. } => "Eks",
        })
    }
}

impl fmt::Debug for ClusterAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterAccess").field("name", &self.name).field("server", &self.server).finish_non_exhaustive()
    }
}

/// Members of a cluster Secret's config that name a file of the process that reads it.
const FILES: [&str; 4] =
    ["/bearerTokenFile", "/tlsClientConfig/caFile", "/tlsClientConfig/certFile", "/tlsClientConfig/keyFile"];

/// Reads a cluster Secret. Refused is what would make this process run a program or read a file because a Secret says
/// so, and what cannot be meant. The words hold no credential.
pub fn read_cluster_secret(secret: &Secret) -> Result<ClusterAccess, String> {
    let (name, stated) = (data_text(secret, "name"), data_text(secret, "server"));
    let config = data_text(secret, "config");
    let config: Value = match config.trim() {
        "" => Value::Object(serde_json::Map::new()),
        text => serde_json::from_str(text).map_err(|_| "its config is no JSON".to_owned())?,
    };
    if !config.is_object() {
        return Err("its config is no JSON object".to_owned());
    }
    let is_set = |at: &str| config.pointer(at).is_some_and(|value| !value.is_null() && value.as_str() != Some(""));
    if is_set("/execProviderConfig") {
        return Err(
            "its execProviderConfig would run a program here, which okra never does: use awsAuthConfig or a token"
                .to_owned(),
        );
    }
    if let Some(at) = FILES.iter().find(|at| is_set(at)) {
        let field = at.trim_start_matches('/').replace('/', ".");
        return Err(format!("its {field} names a file of this machine, which okra never reads: give the data itself"));
    }
    if is_set("/proxyUrl") {
        return Err("its proxyUrl is not supported".to_owned());
    }
    let text = |at: &str| config.pointer(at).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let server = if stated.starts_with("arn:") {
        let endpoint = annotation(secret, CLUSTER_ENDPOINT_ANNOTATION).map(str::to_owned);
        endpoint
            .ok_or_else(|| format!("its server is an ARN, and annotation {CLUSTER_ENDPOINT_ANNOTATION} is missing"))?
    } else {
        stated.clone()
    };
    if !server.starts_with("https://") || server.len() > 2048 || server.contains(['@', '?', '#', ' ']) {
        return Err("its server must be the URL of an API server: https://HOST[:PORT]".to_owned());
    }
    let insecure = config.pointer("/tlsClientConfig/insecure").and_then(Value::as_bool).unwrap_or_default();
    let ca_data =
        text("/tlsClientConfig/caData").or_else(|| annotation(secret, CLUSTER_CA_ANNOTATION).map(str::to_owned));
    if insecure && ca_data.is_some() {
        return Err("its tlsClientConfig has insecure and caData: choose one".to_owned());
    }
    let client_certificate = match (text("/tlsClientConfig/certData"), text("/tlsClientConfig/keyData")) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err("its tlsClientConfig has only one of certData and keyData".to_owned()),
    };
    let id = annotation(secret, CLUSTER_ID_ANNOTATION).filter(|id| id.starts_with("arn:"));
    let arn = id.or(Some(stated.as_str()).filter(|server| server.starts_with("arn:")));
    let login = login(&text, arn, &server);
    Ok(ClusterAccess {
        name: if name.is_empty() { secret.metadata.name.clone().unwrap_or_default() } else { name },
        insecure,
        server_name: text("/tlsClientConfig/serverName"),
        ca_data,
        client_certificate,
        login,
        server,
    })
}

fn login(text: &impl Fn(&str) -> Option<String>, arn: Option<&str>, server: &str) -> Login {
    let region = arn.and_then(|arn| arn.split(':').nth(3)).map(str::to_owned).or_else(|| region_of(server));
    if let Some(cluster_name) = text("/awsAuthConfig/clusterName") {
        let (role_arn, profile) = (text("/awsAuthConfig/roleARN"), text("/awsAuthConfig/profile"));
        return Login::Eks { cluster_name, region, role_arn, profile };
    }
    if let Some(token) = text("/bearerToken") {
        return Login::Bearer(token);
    }
    if let Some(username) = text("/username") {
        return Login::Basic(username, text("/password").unwrap_or_default());
    }
    // The Argo CD of EKS needs no config: the ARN says which cluster it is.
    match arn.and_then(|arn| arn.split_once(":cluster/")) {
        Some((_, cluster)) if text("/tlsClientConfig/certData").is_none() => {
            Login::Eks { cluster_name: cluster.to_owned(), region, role_arn: None, profile: None }
        }
        _ => Login::None,
    }
}

/// The region in `https://ID.SHARD.REGION.eks.amazonaws.com`.
fn region_of(server: &str) -> Option<String> {
    let host = server.strip_prefix("https://")?.split(['/', ':']).next()?;
    let (before, _) = host.split_once(".eks.")?;
    before.rsplit('.').next().filter(|region| region.contains('-')).map(str::to_owned)
}
