//! What is wrong with a field of an object.

/// So many faults are named; the rest is counted.
const NAMED_FAULTS: usize = 8;

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}")]
pub struct FieldError {
    /// The field's path, for example `spec.listener.rule.priority`.
    pub field: String,
    /// The value, what is wrong with it, and the remedy.
    pub fault: String,
}

impl FieldError {
    /// A fault of a field.
    pub fn new(field: impl Into<String>, fault: impl Into<String>) -> Self {
        Self { field: field.into(), fault: fault.into() }
    }

    /// All of them in one line: the first eight, and how many more there are.
    pub fn join(errors: &[Self]) -> String {
        let mut words: Vec<String> = errors.iter().take(NAMED_FAULTS).map(ToString::to_string).collect();
        if errors.len() > NAMED_FAULTS {
            words.push(format!("and {} more", errors.len() - NAMED_FAULTS));
        }
        words.join("; ")
    }
}
