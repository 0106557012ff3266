//! What an API server with okra's CRDs, and Argo's, would say of a manifest: for a linter.

use std::{collections::BTreeMap, sync::OnceLock};

use serde_json::{Value, json};

use super::schema::{Fault, Schema};

/// The rules of okra's kinds and of Argo's analysis kinds, by `apiVersion` and `kind`.
pub struct ManifestRules(BTreeMap<(String, String), Rules>);

/// Those of one kind. Most of the kinds never occur, and rules take their time to be read.
struct Rules {
    structural: Value,
    schema: OnceLock<Result<Schema, String>>,
}

impl ManifestRules {
    /// The rules of this program's CRDs. An error is a fault of theirs.
    pub fn new() -> Result<Self, String> {
        let mut rules = BTreeMap::new();
        for crd in okra_api::crds().into_iter().chain(okra_api::argo_crds()) {
            for version in &crd.spec.versions {
                let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
                let structural = serde_json::to_value(schema).map_err(|error| error.to_string())?;
                let identity = (format!("{}/{}", crd.spec.group, version.name), crd.spec.names.kind.clone());
                rules.insert(identity, Rules { structural, schema: OnceLock::new() });
            }
        }
        Ok(Self(rules))
    }

    /// What is wrong with a manifest; none for a kind that is not known here. An unknown field is a fault, though an API
    /// server drops it without a word. An error is a fault of the CRD.
    pub fn faults(&self, manifest: &Value) -> Result<Option<Vec<Fault>>, String> {
        let text = |name: &str| manifest.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some(rules) = self.0.get(&(text("apiVersion"), text("kind"))) else { return Ok(None) };
        let schema = rules.schema.get_or_init(|| Schema::new(&rules.structural)).as_ref().map_err(Clone::clone)?;
        let mut manifest = manifest.clone();
        if let Some(Value::Object(metadata)) = manifest.get_mut("metadata")
            && metadata.contains_key("generateName")
        {
            metadata.entry("name").or_insert_with(|| json!("generated"));
        }
        let (_, mut faults) = schema.judge(manifest, None);
        faults.dedup();
        Ok(Some(faults))
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    fn faults(manifest: &Value) -> Option<Vec<String>> {
        let faults = ManifestRules::new().unwrap().faults(manifest).unwrap()?;
        Some(faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn faults_of_argos_kinds_are_found() {
        let template = |metric: Value| {
            json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"generateName": "t-"},
                   "spec": {"metrics": [metric]}})
        };
        let good = template(json!({"name": "m", "count": "3", "failureLimit": 1,
                                   "provider": {"job": {"spec": {"anything": {"goes": 1}}}}}));
        assert_eq!(faults(&good), Some(Vec::new()));
        let bad = template(json!({"name": "m", "provider": {"skywalking": {"adress": "x", "query": 1}}}));
        let bad = faults(&bad).unwrap();
        assert_eq!(bad.len(), 2, "{bad:?}");
        assert!(bad.iter().any(|fault| {
            fault == "spec.metrics[0].provider.skywalking.adress: unknown field; known here: address, interval, query"
        }));
        assert!(
            bad.iter().any(|fault| fault.starts_with("spec.metrics[0].provider.skywalking.query: 1 is not of type"))
        );
    }

    #[test]
    fn the_rules_of_a_count_or_percentage_are_evaluated() {
        let cell = |floor: Value| {
            json!({"apiVersion": "okra.mumo.co/v1alpha1", "kind": "Cell", "metadata": {"name": "web"}, "spec": {
                "ingress": {"type": "Local", "local": {"listen": "127.0.0.1:8080",
                            "targetGroupSelector": {"matchLabels": {"role": "web"}}}},
                "replicas": 1, "minHealthyTargets": floor,
            }})
        };
        let is_faulty = |floor| faults(&cell(floor)).unwrap().iter().any(|fault| fault.contains("minHealthyTargets"));
        for good in [json!("80%"), json!("100%"), json!(2), json!(1000), json!("3")] {
            assert!(!is_faulty(good.clone()), "{good}");
        }
        for bad in [json!("120%"), json!(-1), json!(1001), json!("many")] {
            assert!(is_faulty(bad.clone()), "{bad}");
        }
    }

    #[test]
    fn kinds_of_others_are_left_alone() {
        assert_eq!(faults(&json!({"apiVersion": "v1", "kind": "Service", "spec": 1})), None);
        assert!(
            faults(&json!({"apiVersion": "okra.mumo.co/v1alpha1", "kind": "Pause", "metadata": {"name": "p"}}))
                .is_some()
        );
    }
}
