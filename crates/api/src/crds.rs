//! The CustomResourceDefinitions, as they are installed and as the directory store checks manifests.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube_core::CustomResourceExt as _;

use crate::{
    AWSApplicationLoadBalancerConfig, AWSTargetGroup, AWSTargetGroupSet, Cell, ClusterSet, Pause, Route, TargetGroup,
    VersionBlocklist,
};

/// Every CRD of Okra, in the order in which they are listed.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [
        AWSApplicationLoadBalancerConfig::crd(),
        AWSTargetGroup::crd(),
        AWSTargetGroupSet::crd(),
        Cell::crd(),
        ClusterSet::crd(),
        Pause::crd(),
        Route::crd(),
        TargetGroup::crd(),
        VersionBlocklist::crd(),
    ]
    .into_iter()
    .map(tidied)
    .collect()
}

fn tidied(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            tidy(schema);
            // The derive's own text says nothing to a user of `kubectl explain`.
            let spec = schema.properties.as_ref().and_then(|properties| properties.get("spec"));
            schema.description = spec.and_then(|spec| spec.description.clone());
        }
    }
    crd
}

/// Says in the words of Kubernetes what schemars says in those of JSON Schema.
fn tidy(schema: &mut JSONSchemaProps) {
    // Kubernetes knows no other formats of numbers and warns of them; minimum and maximum say the same.
    if schema.format.as_deref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = None;
    }
    // A null would be kept and make `has()` of the rules true for a field that is not set.
    schema.nullable = None;
    // kube-core empties the two alternatives, the form that Kubernetes and other validators know has their types.
    if schema.x_kubernetes_int_or_string == Some(true) {
        let of = |type_: &str| JSONSchemaProps { type_: Some(type_.to_owned()), ..JSONSchemaProps::default() };
        schema.any_of = Some(vec![of("integer"), of("string")]);
    }
    if let Some(properties) = &mut schema.properties {
        for (name, property) in properties.iter_mut() {
            tidy(property);
            if name == "conditions" {
                tidy_conditions(property);
            }
        }
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(tidy),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}

/// As the conditions of Kubernetes' own kinds: a map by type, so that a server-side apply of one leaves the others
/// alone (KEP-555), and the bounds that the field docs of `metav1.Condition` state.
fn tidy_conditions(list: &mut JSONSchemaProps) {
    list.x_kubernetes_list_type = Some("map".to_owned());
    list.x_kubernetes_list_map_keys = Some(vec!["type".to_owned()]);
    let Some(JSONSchemaPropsOrArray::Schema(item)) = &mut list.items else { return };
    for (name, property) in item.properties.iter_mut().flatten() {
        match name.as_str() {
            "message" => property.max_length = Some(32_768),
            "reason" => (property.min_length, property.max_length) = (Some(1), Some(1024)),
            "type" => (property.min_length, property.max_length) = (Some(1), Some(316)),
            "status" => {
                property.enum_ = Some(["True", "False", "Unknown"].map(|status| JSON(status.into())).to_vec());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn walk(at: &str, value: &Value, see: &mut impl FnMut(&str, &Value)) {
        see(at, value);
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| walk(&format!("{at}.{key}"), value, see)),
            Value::Array(items) => items.iter().for_each(|item| walk(at, item, see)),
            _ => {}
        }
    }

    #[test]
    fn definitions_hold_nothing_that_the_server_warns_of_or_is_too_large_for_client_side_apply() {
        for crd in crds() {
            let name = crd.metadata.name.clone().unwrap();
            let value = serde_json::to_value(&crd).unwrap();
            walk(&name, &value, &mut |at, value| {
                assert!(value.get("nullable").is_none(), "{at}");
                let about = value.get("description").and_then(Value::as_str).unwrap_or_default();
                assert!(!about.starts_with("Auto-generated"), "{at}: {about}");
                let format = value.get("format").and_then(Value::as_str).unwrap_or("int32");
                assert!(["int32", "int64", "date-time"].contains(&format), "{at}: {format}");
            });
            assert!(value.to_string().len() < 256 * 1024, "{name}");
        }
    }

    #[test]
    fn conditions_are_a_map_by_type() {
        let cell = serde_json::to_value(crds().into_iter().find(|crd| crd.spec.names.kind == "Cell")).unwrap();
        let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/conditions";
        let conditions = cell.pointer(schema).unwrap();
        assert_eq!(conditions["x-kubernetes-list-type"], "map");
        assert_eq!(conditions["x-kubernetes-list-map-keys"], serde_json::json!(["type"]));
    }
}
