//! The CustomResourceDefinitions as YAML: `okra crd`, and the files of `config/crd`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value};

use crate::{
    context::Context,
    error::{CommandError, ExitStatus},
    printer::{to_value, yaml},
};

/// Prints all of them.
pub fn run(context: &mut Context) -> Result<ExitStatus, CommandError> {
    let crds = okra_api::crds();
    if context.printer.output().is_for_programs() {
        let values = crds.iter().map(to_value).collect::<Result<Vec<_>, _>>()?;
        context.printer.objects("customresourcedefinition.apiextensions.k8s.io", &values)?;
        return Ok(ExitStatus::Ok);
    }
    let documents = crds.iter().map(crd_yaml).collect::<Result<Vec<_>, _>>()?;
    context.printer.result(&documents.join("---\n"))?;
    Ok(ExitStatus::Ok)
}

/// One of them as YAML, the same bytes each time.
pub fn crd_yaml(crd: &CustomResourceDefinition) -> Result<String, CommandError> {
    yaml(&whole(to_value(crd)?))
}

/// 5.0 as 5: a bound of a whole number reads like one.
fn whole(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            #[allow(clippy::float_cmp, reason = "exactly the whole numbers are meant")]
            Some(float) if number.is_f64() && float.trunc() == float && float.abs() < 1e15 => Value::from(float as i64),
            _ => Value::Number(number),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(whole).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(key, value)| (key, whole(value))).collect::<Map<_, _>>())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_reads_back_as_the_same_definition() {
        for crd in okra_api::crds() {
            let text = crd_yaml(&crd).unwrap();
            assert!(!text.contains(".0\n"), "a bound is written as a float");
            let back: CustomResourceDefinition = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(back, crd);
        }
    }
}
