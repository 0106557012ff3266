//! Arguments: those of templates merged with those that come in, and those whose values come from elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use okra_api::analysis::{Argument, SecretKeyRef};
use serde_json::Value;

use super::field_path::{FieldPathError, field_path};

/// Why arguments could not be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// It has neither a value nor a source.
    #[error("args.{0} was not resolved")]
    NotResolved(String),
    /// The field that it names cannot be read.
    #[error("args.{name}: {error}")]
    Field {
        /// Name of the argument.
        name: String,
        /// What is wrong with the field.
        error: FieldPathError,
    },
}

/// Argo's `MergeArgs`: what comes in fills in what the template declares. A source that comes in counts only without a
/// value, a value that comes in leaves the source of the template where it is (so that a Secret still wins), and what
/// the template does not declare is dropped.
pub fn merge_args(incoming: &[Argument], declared: &[Argument]) -> Result<Vec<Argument>, ArgumentError> {
    let mut merged = declared.to_vec();
    for arg in incoming {
        let Some(own) = merged.iter_mut().find(|own| own.name == arg.name) else { continue };
        if arg.value.is_some() {
            own.value.clone_from(&arg.value);
        } else if arg.value_from.is_some() {
            own.value_from.clone_from(&arg.value_from);
        }
    }
    let unresolved = merged.iter().find(|arg| arg.value.is_none() && arg.value_from.is_none());
    unresolved.map_or(Ok(()), |arg| Err(ArgumentError::NotResolved(arg.name.clone())))?;
    Ok(merged)
}

/// An argument as the object that makes a run lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingArgument {
    /// Its name.
    pub name: String,
    /// Where its value comes from.
    pub source: IncomingValue,
}

/// Where the value of an incoming argument comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IncomingValue {
    /// It is listed with it. An argument listed with only a name has the empty text, which overrides a default.
    Plain(String),
    /// A field of the object.
    Field(String),
    /// The pod template hash of the stable pods.
    StableHash,
    /// The pod template hash of the latest pods.
    LatestHash,
}

/// What incoming arguments can refer to.
#[derive(Clone, Copy, Debug)]
pub struct IncomingContext<'a> {
    /// The object that makes the run, as JSON.
    pub object: &'a Value,
    /// The pod template hash of the stable pods; for a Cell its stable version.
    pub stable_hash: &'a str,
    /// The pod template hash of the latest pods; for a Cell its desired version.
    pub latest_hash: &'a str,
}

/// The values of incoming arguments: Argo's `BuildArgumentsForRolloutAnalysisRun`. Unlike there, where the next argument
/// hides the error of the one before, every field that cannot be read is an error.
pub fn incoming_args(args: &[IncomingArgument], context: IncomingContext<'_>) -> Result<Vec<Argument>, ArgumentError> {
    let value = |arg: &IncomingArgument| match &arg.source {
        IncomingValue::Plain(value) => Ok(value.clone()),
        IncomingValue::StableHash => Ok(context.stable_hash.to_owned()),
        IncomingValue::LatestHash => Ok(context.latest_hash.to_owned()),
        IncomingValue::Field(path) => {
            field_path(context.object, path).map_err(|error| ArgumentError::Field { name: arg.name.clone(), error })
        }
    };
    args.iter().map(|arg| Ok(Argument { name: arg.name.clone(), value: Some(value(arg)?), value_from: None })).collect()
}

/// Arguments of a Cell's step.
impl From<&okra_api::step::AnalysisArg> for IncomingArgument {
    fn from(arg: &okra_api::step::AnalysisArg) -> Self {
        let field = arg.value_from.as_ref().and_then(|source| source.field_ref.as_ref());
        let source = match field {
            Some(field) => IncomingValue::Field(field.field_path.clone()),
            None => IncomingValue::Plain(arg.value.clone().unwrap_or_default()),
        };
        Self { name: arg.name.clone(), source }
    }
}

/// The Secrets that arguments refer to, as they were read for one pass: the value of each key, or why it could not be
/// read. It prints without the values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<SecretKeyRef, Result<String, String>>);

impl Secrets {
    /// What was read.
    pub fn new(values: impl IntoIterator<Item = (SecretKeyRef, Result<String, String>)>) -> Self {
        Self(values.into_iter().collect())
    }

    fn get(&self, key: &SecretKeyRef) -> Result<String, String> {
        let unread = || Err(format!("secret '{}' was not read", key.name));
        self.0.get(key).cloned().unwrap_or_else(unread)
    }

    /// The values, for redaction.
    pub(super) fn values(&self) -> BTreeSet<String> {
        self.0.values().filter_map(|value| value.clone().ok()).filter(|value| !value.is_empty()).collect()
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn secret_of(arg: &Argument) -> Option<&SecretKeyRef> {
    arg.value_from.as_ref().and_then(|source| source.secret_key_ref.as_ref())
}

/// The keys of Secrets that a run needs, to be read in its namespace before each pass, past any cache.
pub fn secret_keys(args: &[Argument]) -> BTreeSet<SecretKeyRef> {
    args.iter().filter_map(secret_of).cloned().collect()
}

/// The message for a key that is not in the Secret.
pub fn missing_key(key: &SecretKeyRef) -> String {
    format!("key '{}' does not exist in secret '{}'", key.key, key.name)
}

/// The arguments with a stand-in for each Secret, to check a spec without them.
pub(super) fn without_secrets(args: &[Argument]) -> Vec<Argument> {
    let stand_in = |arg: &Argument| match secret_of(arg) {
        Some(_) => Argument { value: Some("temp-for-secret".to_owned()), value_from: None, ..arg.clone() },
        None => arg.clone(),
    };
    args.iter().map(stand_in).collect()
}

/// The arguments with the values of Secrets, which win over values. The first that could not be read is the error.
pub(super) fn with_secrets(args: &[Argument], secrets: &Secrets) -> Result<Vec<Argument>, String> {
    let resolved = |arg: &Argument| match secret_of(arg) {
        Some(key) => Ok(Argument { value: Some(secrets.get(key)?), ..arg.clone() }),
        None => Ok(arg.clone()),
    };
    args.iter().map(resolved).collect()
}
