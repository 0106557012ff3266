//! The id of this installation: the owner tag of its listener rules.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Namespace;
use okra_provider::{Backend, BackendError, Entropy, Key, Kind};

use crate::admin::Readiness;

/// First and longest wait between two questions.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Asks for the UID of namespace `kube-system`, which no two clusters share, until there is an answer; what stands in
/// the way is told to `readiness` and to the log.
pub async fn of_cluster(backend: &Arc<dyn Backend>, readiness: &Readiness, entropy: &dyn Entropy) -> String {
    const PART: &str = "installation id";
    readiness.set(PART, Some("not known yet".to_owned()));
    let (mut wait, longest) = WAITS;
    loop {
        match cluster_uid(backend).await {
            Ok(uid) => {
                readiness.set(PART, None);
                return uid;
            }
            Err(error) => {
                let why = format!(
                    "failed to read the UID of namespace kube-system ({error}); mend it or give --installation-id"
                );
                tracing::warn!(error = why, "Does not know its installation id");
                readiness.set(PART, Some(why));
            }
        }
        let millis = u64::try_from(wait.as_millis()).unwrap_or(1000);
        tokio::time::sleep(wait / 2 + Duration::from_millis(entropy.below(millis / 2 + 1))).await;
        wait = (wait * 2).min(longest);
    }
}

async fn cluster_uid(backend: &Arc<dyn Backend>) -> Result<String, BackendError> {
    let namespace = backend.get(&Kind::of::<Namespace>(), &Key::new("", "kube-system")).await?;
    let uid = namespace.pointer("/metadata/uid").and_then(serde_json::Value::as_str).unwrap_or_default();
    if uid.is_empty() {
        return Err(BackendError::Invalid { message: "it has none".to_owned() });
    }
    Ok(uid.to_owned())
}

#[cfg(test)]
mod tests {
    use okra_provider::testing::{CallVerb, Fault, FixedClock, MemoryBackend, SeededEntropy};
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn asks_until_it_is_told() {
        let memory = Arc::new(MemoryBackend::new(Arc::new(FixedClock::default()), Arc::new(SeededEntropy::new(1))));
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}});
        let created = memory.create(&Kind::of::<Namespace>(), &object).await.unwrap();
        for _ in 0..5 {
            memory.inject(Fault::nth(CallVerb::Get, 1, BackendError::Denied { message: "may not get".into() }));
        }
        let (backend, readiness): (Arc<dyn Backend>, _) = (memory.clone(), Readiness::new());
        let asked = tokio::spawn({
            let readiness = readiness.clone();
            async move { of_cluster(&backend, &readiness, &SeededEntropy::new(1)).await }
        });
        tokio::time::sleep(Duration::from_secs(2)).await;
        let missing = readiness.missing().join("\n");
        assert!(missing.contains("may not get") && missing.contains("--installation-id"), "{missing}");
        assert_eq!(asked.await.unwrap(), created["metadata"]["uid"].as_str().unwrap());
        assert_eq!(readiness.missing(), Vec::<String>::new());
    }
}
