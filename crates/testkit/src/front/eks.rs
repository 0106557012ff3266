//! What moto gets wrong of EKS clusters: all of them have one endpoint, and none has certificates.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

/// Endpoint and certificates of clusters by name.
pub(super) type Clusters = BTreeMap<String, (String, String)>;

/// The answer to an operation of EKS, with an endpoint of its own for the cluster that it describes: that of a real API
/// server, where there is one.
pub(super) fn corrected(clusters: &Clusters, operation: &str, body: Bytes) -> Bytes {
    let Some(name) = operation.strip_prefix("GET /clusters/").filter(|name| !name.contains('/')) else { return body };
    let Ok(mut answer) = serde_json::from_slice::<Value>(&body) else { return body };
    let Some(cluster) = answer.pointer_mut("/cluster").and_then(Value::as_object_mut) else { return body };
    if let Some((endpoint, ca)) = clusters.get(name) {
        cluster.insert("endpoint".to_owned(), json!(endpoint));
        cluster.insert("certificateAuthority".to_owned(), json!({"data": ca}));
    } else if let Some(endpoint) = cluster.get_mut("endpoint") {
        *endpoint = json!(format!("https://{name}.eks.test"));
    }
    answer.to_string().into()
}

/// A listing of EKS or the tagging API that names nothing.
pub(super) fn nothing() -> String {
    json!({"clusters": [], "ResourceTagMappingList": [], "PaginationToken": ""}).to_string()
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    #[test]
    fn every_cluster_has_an_endpoint_of_its_own() {
        let told = Bytes::from_static(br#"{"cluster":{"endpoint":"https://one.for.all","name":"a"}}"#);
        let real = Clusters::from([("real".to_owned(), ("https://127.0.0.1:1".to_owned(), "Q0E=".to_owned()))]);
        let corrected_of = |operation| String::from_utf8(corrected(&real, operation, told.clone()).to_vec()).unwrap();
        let own = r#"{"cluster":{"endpoint":"https://a.eks.test","name":"a"}}"#;
        assert_eq!(corrected_of("GET /clusters/a"), own);
        let of_real: Value = serde_json::from_str(&corrected_of("GET /clusters/real")).unwrap();
        assert_eq!(of_real["cluster"]["endpoint"], "https://127.0.0.1:1");
        assert_eq!(of_real["cluster"]["certificateAuthority"]["data"], "Q0E=");
        for other in ["GET /clusters", "POST /clusters", "GET /clusters/a/insights"] {
            assert_eq!(corrected_of(other).as_bytes(), &told[..]);
        }
    }
}
