//! What moto gets wrong of EKS clusters: all of them have one endpoint.

use bytes::Bytes;
use serde_json::{Value, json};

/// The answer to an operation of EKS, with an endpoint of its own for the cluster that it describes.
pub(super) fn corrected(operation: &str, body: Bytes) -> Bytes {
    let Some(name) = operation.strip_prefix("GET /clusters/").filter(|name| !name.contains('/')) else { return body };
    let Ok(mut answer) = serde_json::from_slice::<Value>(&body) else { return body };
    let Some(endpoint) = answer.pointer_mut("/cluster/endpoint") else { return body };
    *endpoint = json!(format!("https://{name}.eks.test"));
    answer.to_string().into()
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    #[test]
    fn every_cluster_has_an_endpoint_of_its_own() {
        let told = Bytes::from_static(br#"{"cluster":{"endpoint":"https://one.for.all","name":"a"}}"#);
        let corrected_of = |operation| String::from_utf8(corrected(operation, told.clone()).to_vec()).unwrap();
        let own = r#"{"cluster":{"endpoint":"https://a.eks.test","name":"a"}}"#;
        assert_eq!(corrected_of("GET /clusters/a"), own);
        for other in ["GET /clusters", "POST /clusters", "GET /clusters/a/insights"] {
            assert_eq!(corrected_of(other).as_bytes(), &told[..]);
        }
    }
}
