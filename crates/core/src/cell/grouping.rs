//! Target groups by version.

use std::collections::BTreeMap;

use okra_api::TargetGroupSelector;

use super::observed::ObservedGroup;
use crate::version::{self, Version};

/// A target group that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedGroup {
    /// Its name.
    pub name: String,
    /// The router's id of it.
    pub id: String,
    /// Its version.
    pub version: Version,
    /// Whether a person drains it.
    pub drained: bool,
    /// Path that an embedded balancer asks for.
    pub health_path: Option<String>,
}

/// The selected target groups by version, and those that are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// Version to its groups, by name.
    by_version: BTreeMap<Version, Vec<VersionedGroup>>,
    /// What is left out and why: one sentence each, sorted.
    pub left_out: Vec<String>,
}

impl Grouping {
    /// Groups what the selector selects. A group with a bad or missing version or without a usable id is left
    /// out, and so is every group whose id stands under two versions; one id twice under one version counts once.
    pub fn new(groups: &[ObservedGroup], selector: &TargetGroupSelector) -> Self {
        let mut grouping = Self::default();
        let mut usable: Vec<VersionedGroup> = Vec::new();
        let mut selected: Vec<&ObservedGroup> = groups.iter().filter(|group| selector.matches(&group.labels)).collect();
        selected.sort_by(|a, b| a.name.cmp(&b.name));
        for group in selected {
            match usable_group(group, selector) {
                Ok(group) => usable.push(group),
                Err(why) => grouping.left_out.push(format!("{}: {why}", group.name)),
            }
        }
        let mut seen: BTreeMap<String, Namesakes> = BTreeMap::new();
        for group in &usable {
            seen.entry(group.id.clone()).or_default().add(group);
        }
        for group in usable {
            let Some(namesakes) = seen.get(&group.id) else { continue };
            if let Some((version, name)) = namesakes.clash(&group.version) {
                grouping.left_out.push(format!("{}: the same target group is {name} of version {version}", group.name));
            } else if let Some((_, original)) = namesakes.first.as_ref().filter(|(_, name)| *name != group.name) {
                grouping.left_out.push(format!("{}: the same target group as {original}", group.name));
            } else {
                grouping.by_version.entry(group.version.clone()).or_default().push(group);
            }
        }
        grouping.left_out.sort();
        grouping
    }

    /// The groups of a version, by name.
    pub fn of(&self, version: &Version) -> &[VersionedGroup] {
        self.by_version.get(version).map(Vec::as_slice).unwrap_or_default()
    }

    /// Every version that has groups, the highest first.
    pub fn versions(&self) -> impl Iterator<Item = &Version> {
        self.by_version.keys().rev()
    }

    /// Every usable group.
    pub fn all(&self) -> impl Iterator<Item = &VersionedGroup> {
        self.by_version.values().flatten()
    }

    /// A group by name.
    pub fn by_name(&self, name: &str) -> Option<&VersionedGroup> {
        self.all().find(|group| group.name == name)
    }

    /// A group by the router's id of it.
    pub fn by_id(&self, id: &str) -> Option<&VersionedGroup> {
        self.all().find(|group| group.id == id)
    }
}

/// The objects that name one target group, as far as they matter: there may be thousands.
#[derive(Debug, Default)]
struct Namesakes {
    /// The first by name.
    first: Option<(Version, String)>,
    /// The first by name of another version.
    other: Option<(Version, String)>,
}

impl Namesakes {
    /// Adds an object; they come by name.
    fn add(&mut self, group: &VersionedGroup) {
        let own = || Some((group.version.clone(), group.name.clone()));
        match &self.first {
            None => self.first = own(),
            Some((version, _)) if *version != group.version && self.other.is_none() => self.other = own(),
            Some(_) => {}
        }
    }

    /// The first by name that has another version than this.
    fn clash(&self, version: &Version) -> Option<&(Version, String)> {
        let (first, other) = (self.first.as_ref(), self.other.as_ref()?);
        first.filter(|(own, _)| own != version).or(Some(other))
    }
}

fn usable_group(group: &ObservedGroup, selector: &TargetGroupSelector) -> Result<VersionedGroup, String> {
    let id = group.id.clone()?;
    let label = selector.version_labels().find_map(|label| group.labels.get(label));
    let Some(label) = label else {
        let labels: Vec<&str> = selector.version_labels().collect();
        return Err(format!("has no version: set the label {}", labels.join(" or ")));
    };
    let version = version::parse(label).map_err(|error| format!("has a bad version: {error}"))?;
    Ok(VersionedGroup {
        name: group.name.clone(),
        id,
        version,
        drained: group.drained,
        health_path: group.health_path.clone(),
    })
}
