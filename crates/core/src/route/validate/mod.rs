//! From a route object's spec to an [`Intent`](super::Intent), or to what is wrong with it.
//!
//! The rules of the schema are checked again, since an object can be older than a rule; and those that a schema
//! cannot say: duplicates, all weights zero, regions, numbers within CIDRs.

mod alb;
mod arn;
mod local;
mod rule;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use alb::validate_alb;
pub use local::validate_route;

use super::Adopt;
use crate::field::FieldError;

/// The largest weight of any router.
const MAX_WEIGHT: i32 = 999;
/// The largest health floor.
const MAX_FLOOR: i32 = 1000;

/// What an intent takes from the object's metadata, the installation and the last answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `<namespace>/<name>` of the route object.
    pub owner: String,
    /// Id of this installation.
    pub installation: String,
    /// The rule's id as it was last known.
    pub known_rule: Option<String>,
    /// Whether a rule that is not ours may be taken over.
    pub adopt: Adopt,
}

impl Adopt {
    /// Reads the value of annotation `okra.mumo.co/adopt-rule`: `"true"` for an untagged rule, an installation's id to
    /// take its rule over; absent, empty and `"false"` mean no.
    pub fn from_annotation(value: Option<&str>) -> Self {
        match value.map(str::trim) {
            None | Some("" | "false") => Self::No,
            Some("true") => Self::Untagged,
            Some(id) => Self::Installation(id.to_owned()),
        }
    }
}

/// Collects faults.
#[derive(Debug, Default)]
struct Faults(Vec<FieldError>);

impl Faults {
    fn add(&mut self, field: impl Into<String>, fault: impl Into<String>) {
        self.0.push(FieldError::new(field, fault));
    }

    fn unless(&mut self, holds: bool, field: impl Into<String>, fault: impl FnOnce() -> String) {
        if !holds {
            self.add(field, fault());
        }
    }

    fn range(&mut self, field: impl Into<String>, value: i32, low: i32, high: i32, remedy: &str) {
        self.unless((low..=high).contains(&value), field, || {
            format!("{value} is not between {low} and {high}: {remedy}")
        });
    }

    /// Whether the length, in characters, is within bounds.
    fn length(&mut self, field: impl Into<String>, value: &str, low: usize, high: usize) {
        let length = value.chars().count();
        self.unless((low..=high).contains(&length), field, || {
            if length == 0 {
                "is empty: set it".to_owned()
            } else {
                format!("has {length} characters: {high} at most are allowed")
            }
        });
    }

    fn done<T>(self, value: T) -> Result<T, Vec<FieldError>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

/// What is checked of a target group whatever the router.
struct GroupFields<'a> {
    name: &'a str,
    id: &'a str,
    weight: i32,
    min_healthy: Option<i32>,
}

/// The faults that target groups of all routers share. `path` is the list's path, `id_field` the name of the
/// field with the router's id.
fn check_groups<'a>(
    faults: &mut Faults,
    path: &str,
    id_field: &str,
    groups: impl Iterator<Item = GroupFields<'a>> + Clone,
) {
    let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for (index, group) in groups.clone().enumerate() {
        let at = |field: &str| format!("{path}[{index}].{field}");
        faults.length(at("name"), group.name, 1, 253);
        faults.unless(names.insert(group.name), at("name"), || {
            format!("{:?} is on the list twice: remove one", group.name)
        });
        faults
            .unless(ids.insert(group.id), at(id_field), || format!("{:?} is on the list twice: remove one", group.id));
        faults.range(at("weight"), group.weight, 0, MAX_WEIGHT, "choose one within");
        if let Some(floor) = group.min_healthy {
            faults.range(at("minHealthyTargets"), floor, 0, MAX_FLOOR, "choose one within");
        }
    }
    // Without target groups the rule is only looked at.
    if let Some(highest) = groups.clone().map(|group| group.weight).max() {
        faults.unless(highest > 0, path, || "all weights are 0: give one target group a weight above 0".to_owned());
    }
}

fn floor(value: Option<i32>) -> Option<u32> {
    value.and_then(|floor| u32::try_from(floor).ok())
}

/// The faults of the list of groups whose health is read, and of the fingerprint that may be overwritten.
fn check_requests(faults: &mut Faults, health_of: &[String], most: usize, overwrite: Option<&str>) {
    faults.unless(health_of.len() <= most, "spec.healthOf", || {
        format!("has {} names: {most} at most are allowed", health_of.len())
    });
    for (index, name) in health_of.iter().enumerate() {
        faults.length(format!("spec.healthOf[{index}]"), name, 1, 253);
    }
    if let Some(fingerprint) = overwrite {
        faults.length("spec.overwrite", fingerprint, 0, 64);
    }
}
