//! Placeholders of a cluster Secret's template: `{{.awseks.cluster.tags.Service}}`.

use crate::placeholder;

use super::{ClusterAuth, ClusterState, FoundCluster};

/// The text with every placeholder replaced; which one cannot be, and why.
pub(super) fn render(text: &str, cluster: &FoundCluster) -> Result<String, String> {
    placeholder::fill(text, |placeholder| value(placeholder, cluster))
}

/// Every placeholder of a text that no cluster could fill in, or a fault of its form.
pub(super) fn fault(text: &str) -> Option<String> {
    let probe = FoundCluster {
        id: String::new(),
        name: "x".to_owned(),
        state: ClusterState::Ready { server: "x".to_owned(), ca_data: None },
        version: Some("x".to_owned()),
        region: Some("x".to_owned()),
        arn: Some("x".to_owned()),
        tags: std::iter::empty().collect(),
        auth: ClusterAuth::Eks { cluster_name: String::new(), role_arn: None },
    };
    render(text, &probe).err().filter(|fault| !fault.starts_with(NO_TAG))
}

const NO_TAG: &str = "it has no tag ";

fn value(placeholder: &str, cluster: &FoundCluster) -> Result<String, String> {
    let unknown = || {
        format!(
            "{{{{{placeholder}}}}} is not a placeholder: write {{{{.awseks.cluster.X}}}} or {{{{.cluster.X}}}}, where X is \
             name, arn, region, version, server or tags.KEY"
        )
    };
    let missing = |what: &str| format!("it has no {what} for {{{{{placeholder}}}}}");
    let field = if let Some(field) = placeholder.strip_prefix(".awseks.cluster.") {
        if !matches!(cluster.auth, ClusterAuth::Eks { .. }) {
            return Err(format!("{{{{{placeholder}}}}} is of EKS clusters only: write {{{{.cluster.{field}}}}}"));
        }
        field
    } else {
        placeholder.strip_prefix(".cluster.").ok_or_else(unknown)?
    };
    match field {
        "name" => Ok(cluster.name.clone()),
        "arn" => cluster.arn.clone().ok_or_else(|| missing("ARN")),
        "region" => cluster.region.clone().ok_or_else(|| missing("region")),
        "version" => cluster.version.clone().ok_or_else(|| missing("version")),
        "server" | "endpoint" => match &cluster.state {
            ClusterState::Ready { server, .. } => Ok(server.clone()),
            ClusterState::NotReady(_) => Err(missing("server")),
        },
        other => {
            let key = other.strip_prefix("tags.").filter(|key| !key.is_empty()).ok_or_else(unknown)?;
            cluster.tags.get(key).cloned().ok_or_else(|| format!("{NO_TAG}{key} for {{{{{placeholder}}}}}"))
        }
    }
}
