//! The CustomResourceDefinitions of Argo's kinds, for clusters that have none: small, and as lenient as Argo's own.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube_core::CustomResourceExt as _;

use super::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate, Experiment};

/// The four CRDs, in the order in which they are listed. None has a status subresource: as with Argo's own, a status is
/// written to the object itself.
pub fn argo_crds() -> Vec<CustomResourceDefinition> {
    [AnalysisRun::crd(), AnalysisTemplate::crd(), ClusterAnalysisTemplate::crd(), Experiment::crd()]
        .into_iter()
        .map(as_argo_has_it)
        .collect()
}

/// What is required by Argo's own schema: the property (`[]`: an item of the list), and its required members. Parsing
/// is more lenient, because an object without them is judged when it is carried out.
const REQUIRED: &[(&str, &[&str])] = &[
    ("analyses[]", &["name", "templateName"]),
    ("analysisRuns[]", &["analysisRun", "name", "phase"]),
    ("args[]", &["name"]),
    ("cloudWatch", &["metricDataQueries"]),
    ("conditions[]", &["lastTransitionTime", "lastUpdateTime", "message", "reason", "status", "type"]),
    ("controlScope", &["region", "scope", "step"]),
    ("dryRun[]", &["metricName"]),
    ("experimentScope", &["region", "scope", "step"]),
    ("fieldRef", &["fieldPath"]),
    ("headers[]", &["key", "value"]),
    ("job", &["spec"]),
    (
        "kayenta",
        &[
            "address",
            "application",
            "canaryConfigName",
            "configurationAccountName",
            "metricsAccountName",
            "scopes",
            "storageAccountName",
            "threshold",
        ],
    ),
    ("matchExpressions[]", &["key", "operator"]),
    ("measurementRetention[]", &["limit", "metricName"]),
    ("measurements[]", &["phase"]),
    ("metricResults[]", &["name", "phase"]),
    ("metrics[]", &["name", "provider"]),
    ("newRelic", &["query"]),
    ("scopes[]", &["controlScope", "experimentScope", "name"]),
    ("secretKeyRef", &["key", "name"]),
    ("templateStatuses[]", &["availableReplicas", "name", "readyReplicas", "replicas", "updatedReplicas"]),
    ("threshold", &["marginal", "pass"]),
    ("web", &["url"]),
];

fn as_argo_has_it(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let kind = crd.spec.names.kind.clone();
    for version in &mut crd.spec.versions {
        version.subresources = None;
        let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) else {
            continue;
        };
        let about = property(schema, "spec").and_then(|spec| spec.description.take());
        lenient(schema, "");
        (schema.title, schema.description) = (None, about);
        schema.required = Some(vec!["spec".to_owned()]);
        let of_kind: &[(&str, &[&str])] = match kind.as_str() {
            "AnalysisRun" => &[("spec", &["metrics"]), ("status", &["phase"])],
            "Experiment" => &[("spec", &["templates"])],
            _ => &[],
        };
        for (name, required) in of_kind {
            if let Some(part) = property(schema, name) {
                part.required = Some(required.iter().map(ToString::to_string).collect());
            }
        }
    }
    crd
}

fn property<'a>(schema: &'a mut JSONSchemaProps, name: &str) -> Option<&'a mut JSONSchemaProps> {
    schema.properties.as_mut()?.get_mut(name)
}

/// Takes away what Argo's schema does not say, and adds what it does.
fn lenient(schema: &mut JSONSchemaProps, name: &str) {
    schema.nullable = None;
    schema.minimum = None;
    schema.maximum = None;
    let is_templates_of_experiment =
        name == "templates[]" && schema.properties.iter().flatten().any(|(name, _)| name == "template");
    let required = if is_templates_of_experiment {
        Some(["name", "selector", "template"].as_slice())
    } else {
        REQUIRED.iter().find(|(of, _)| *of == name).map(|(_, required)| *required)
    };
    schema.required = required
        .filter(|_| schema.properties.is_some())
        .map(|required| required.iter().map(ToString::to_string).collect());
    match name {
        "selector" => schema.x_kubernetes_map_type = Some("atomic".to_owned()),
        "matchExpressions" | "values" => schema.x_kubernetes_list_type = Some("atomic".to_owned()),
        _ => {}
    }
    if schema.x_kubernetes_int_or_string == Some(true) {
        let of = |type_: &str| JSONSchemaProps { type_: Some(type_.to_owned()), ..JSONSchemaProps::default() };
        schema.any_of = Some(vec![of("integer"), of("string")]);
    }
    // What serde fills in for a missing field is no default of the API.
    if !schema.default.as_ref().is_some_and(|JSON(value)| is_default_of_argo(name, value)) {
        schema.default = None;
    }
    for (name, property) in schema.properties.iter_mut().flatten() {
        lenient(property, name);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => lenient(items, &format!("{name}[]")),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => {
            for item in items {
                lenient(item, &format!("{name}[]"));
            }
        }
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        lenient(values, "");
    }
}

/// Only the datadog provider has defaults in the schema.
fn is_default_of_argo(name: &str, value: &serde_json::Value) -> bool {
    [("apiVersion", "v1"), ("interval", "5m"), ("requestTimeout", "10s")]
        .iter()
        .any(|(field, default)| *field == name && value == default)
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::{Value, json};

    use super::*;

    fn schema(kind: &str) -> Value {
        let crd = argo_crds().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
        serde_json::to_value(&crd).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    }

    #[test]
    fn names_and_columns_are_those_of_argo() {
        let names: Vec<(String, Vec<String>, String)> = argo_crds()
            .into_iter()
            .map(|crd| (crd.metadata.name.unwrap(), crd.spec.names.short_names.unwrap(), crd.spec.scope))
            .collect();
        let row = |name: &str, short: &str, scope: &str| {
            (format!("{name}.argoproj.io"), vec![short.to_owned()], scope.to_owned())
        };
        assert_eq!(
            names,
            [
                row("analysisruns", "ar", "Namespaced"),
                row("analysistemplates", "at", "Namespaced"),
                row("clusteranalysistemplates", "cat", "Cluster"),
                row("experiments", "exp", "Namespaced"),
            ]
        );
    }

    #[test]
    fn there_is_no_status_subresource_no_rule_and_no_bound() {
        for crd in argo_crds() {
            let text = serde_json::to_string(&crd).unwrap();
            assert!(text.len() < 64 * 1024, "client-side apply keeps a copy in an annotation: {}", text.len());
            assert!(crd.spec.versions.iter().all(|version| version.subresources.is_none()));
            for word in ["x-kubernetes-validations", "maxLength", "maxItems", "pattern", "minimum", "nullable"] {
                assert!(!text.contains(word), "{word}");
            }
        }
    }

    #[test]
    fn only_datadog_has_defaults() {
        fn defaults(at: &str, value: &Value, found: &mut Vec<(String, Value)>) {
            let Value::Object(fields) = value else { return };
            if let Some(default) = fields.get("default").filter(|default| !default.is_object()) {
                found.push((at.to_owned(), default.clone()));
            }
            for (name, value) in fields {
                defaults(if name == "properties" || name == "items" { at } else { name }, value, found);
            }
        }
        let mut found = Vec::new();
        defaults("", &schema("AnalysisRun"), &mut found);
        let wanted = [("apiVersion", "v1"), ("interval", "5m"), ("requestTimeout", "10s")];
        assert_eq!(found, wanted.map(|(name, value)| (name.to_owned(), json!(value))));
    }

    #[test]
    fn what_is_required_is_what_argo_requires() {
        let run = schema("AnalysisRun");
        assert_eq!(run["required"], json!(["spec"]));
        assert_eq!(run["properties"]["spec"]["required"], json!(["metrics"]));
        assert_eq!(run["properties"]["status"]["required"], json!(["phase"]));
        let metric = &run["properties"]["spec"]["properties"]["metrics"]["items"];
        assert_eq!(metric["required"], json!(["name", "provider"]));
        assert_eq!(metric["properties"]["provider"]["properties"]["web"]["required"], json!(["url"]));
        assert_eq!(metric["properties"]["provider"].get("required"), None);
        let template = schema("AnalysisTemplate");
        assert_eq!(template["properties"]["spec"].get("required"), None);
        assert_eq!(template["properties"]["spec"], schema("ClusterAnalysisTemplate")["properties"]["spec"]);
        let experiment = &schema("Experiment")["properties"]["spec"];
        assert_eq!(experiment["required"], json!(["templates"]));
        assert_eq!(experiment["properties"]["templates"]["items"]["required"], json!(["name", "selector", "template"]));
    }
}
