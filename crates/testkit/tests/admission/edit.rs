//! One change that makes a good object bad, and what the server must say of it.

use serde_json::Value;

/// A change of an object.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Puts a value at a JSON pointer; objects on the way are made.
    Set(&'static str, Value),
    /// Takes a field away.
    Drop(&'static str),
}

/// Edits, the path of the field at fault, and words that the server must say of it.
#[derive(Clone, Debug)]
pub struct Case {
    name: String,
    edits: Vec<Edit>,
    path: String,
    words: String,
}

impl Case {
    pub fn new(name: &str, edits: Vec<Edit>, path: &str, words: &str) -> Self {
        Self { name: name.to_owned(), edits, path: path.to_owned(), words: words.to_owned() }
    }

    /// A value at a pointer that is at fault itself.
    pub fn set(pointer: &'static str, value: Value, path: &str, words: &str) -> Self {
        let name = format!("{pointer} = {}", value.to_string().chars().take(60).collect::<String>());
        Self::new(&name, vec![Edit::Set(pointer, value)], path, words)
    }

    /// A required field that is missing.
    pub fn missing(pointer: &'static str) -> Self {
        let path = pointer.trim_start_matches('/').replace('/', ".");
        Self::new(&format!("no {pointer}"), vec![Edit::Drop(pointer)], &path, "Required value")
    }

    pub fn applied_to(&self, good: &Value) -> Value {
        let mut object = good.clone();
        for edit in &self.edits {
            match edit {
                Edit::Set(pointer, value) => *at(&mut object, pointer) = value.clone(),
                Edit::Drop(pointer) => {
                    let (parent, field) = pointer.rsplit_once('/').unwrap();
                    let removed = at(&mut object, parent).as_object_mut().unwrap().remove(field);
                    assert!(removed.is_some(), "{}: there is no {pointer}", self.name);
                }
            }
        }
        object
    }
}

fn at<'a>(object: &'a mut Value, pointer: &str) -> &'a mut Value {
    pointer.split('/').filter(|part| !part.is_empty()).fold(object, |value, part| &mut value[part])
}

/// Whether the server refused it as the case says: 422, a cause at the path, and the words.
pub fn refusal(case: &Case, outcome: Result<(), kube::Error>) -> Result<(), String> {
    let name = &case.name;
    let status = match outcome {
        Ok(()) => return Err(format!("{name}: accepted")),
        Err(kube::Error::Api(status)) => status,
        Err(other) => return Err(format!("{name}: {other}")),
    };
    let causes = status.details.as_ref().map(|details| details.causes.clone()).unwrap_or_default();
    if status.code != 422 || !causes.iter().any(|cause| cause.field == case.path) {
        let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
        return Err(format!("{name}: no cause at {}, only at {fields:?}: {}", case.path, status.message));
    }
    if !status.message.contains(&case.words) || !status.message.contains(&case.path) {
        return Err(format!("{name}: no word of {:?}: {}", case.words, status.message));
    }
    Ok(())
}
