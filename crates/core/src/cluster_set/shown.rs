//! A cluster Secret as it may be shown to a person.

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

/// Members of `config` that are credentials, or may hold one.
const SECRET: [&str; 5] =
    ["/bearerToken", "/password", "/tlsClientConfig/keyData", "/proxyUrl", "/execProviderConfig/env"];

/// A cluster Secret with its texts in the clear (`stringData`), but for credentials.
pub fn shown_secret(secret: &Secret) -> Value {
    let texts = secret.data.iter().flatten().map(|(key, bytes)| {
        let text = String::from_utf8_lossy(&bytes.0).into_owned();
        let known = ["name", "server", "project", "namespaces", "clusterResources", "shard"];
        let text = match key.as_str() {
            "config" => without_credentials(&text),
            key if known.contains(&key) => text,
            _ => "***".to_owned(),
        };
        (key.clone(), Value::String(text))
    });
    let texts = Value::Object(texts.collect());
    let mut value = json!(secret);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("data");
        fields.insert("stringData".to_owned(), texts);
    }
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        metadata.remove("managedFields");
    }
    value
}

fn without_credentials(config: &str) -> String {
    let Ok(mut config) = serde_json::from_str::<Value>(config) else { return "***".to_owned() };
    for at in SECRET {
        if let Some(value) = config.pointer_mut(at) {
            *value = json!("***");
        }
    }
    config.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_without_what_is_secret() {
        let config = json!({"bearerToken": "hunter2", "tlsClientConfig": {"keyData": "hunter3", "caData": "Q0E="}});
        let secret: Secret = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
        let data = [("config", config.to_string()), ("server", "https://a".to_owned()), ("x", "hunter4".to_owned())];
        let data = data.map(|(key, text)| (key.to_owned(), k8s_openapi::ByteString(text.into_bytes())));
        let text = shown_secret(&Secret { data: Some(data.into()), ..secret }).to_string();
        assert!(!text.contains("hunter") && text.contains("Q0E=") && text.contains("https://a"), "{text}");
        assert_eq!(without_credentials("hunter2"), "***");
    }
}
