//! The structs of the AWS SDK for Go that the CloudWatch provider hands to a condition.

use std::sync::Arc;

use crate::types::{StructType, Type};
use crate::value::{List, Struct, Value};

/// `types.MetricDataResult`.
pub(crate) static RESULT: StructType = StructType {
    name: "types.MetricDataResult",
    fields: &["Id", "Label", "Messages", "StatusCode", "Timestamps", "Values"],
    types: |index| match index {
        0 | 1 => Type::Pointer(Arc::new(Type::String)),
        2 => Type::slice(Type::Struct(&MESSAGE)),
        3 => Type::NamedString("types.StatusCode"),
        4 => Type::slice(Type::Time),
        _ => Type::slice(Type::Float),
    },
};

/// `types.MessageData`.
pub(crate) static MESSAGE: StructType = StructType {
    name: "types.MessageData",
    fields: &["Code", "Value"],
    types: |_| Type::Pointer(Arc::new(Type::String)),
};

/// One result of CloudWatch's GetMetricData.
#[derive(Debug, Clone, Default)]
pub struct MetricDataResult {
    /// `Id`.
    pub id: Option<String>,
    /// `Label`.
    pub label: Option<String>,
    /// `Messages`: code and value of each.
    pub messages: Vec<(Option<String>, Option<String>)>,
    /// `StatusCode`.
    pub status_code: String,
    /// `Timestamps`.
    pub timestamps: Vec<jiff::Timestamp>,
    /// `Values`, which may hold NaN.
    pub values: Vec<f64>,
}

fn optional(text: Option<String>) -> Value {
    text.map_or(Value::Nil, Value::from)
}

impl From<MetricDataResult> for Value {
    fn from(result: MetricDataResult) -> Self {
        let message = |(code, value)| Struct::value(&MESSAGE, vec![optional(code), optional(value)]);
        let messages: Vec<Self> = result.messages.into_iter().map(message).collect();
        let timestamps: Vec<Self> = result.timestamps.into_iter().map(Self::from).collect();
        Struct::value(
            &RESULT,
            vec![
                optional(result.id),
                optional(result.label),
                List::of(Type::Struct(&MESSAGE), messages),
                Self::from(result.status_code),
                List::of(Type::Time, timestamps),
                Self::from(result.values),
            ],
        )
    }
}

impl Value {
    /// What the CloudWatch provider hands to a condition: `[]types.MetricDataResult`.
    pub fn cloud_watch(results: Vec<MetricDataResult>) -> Self {
        List::of(Type::Struct(&RESULT), results.into_iter().map(Self::from).collect())
    }
}
