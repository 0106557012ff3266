//! What the AWSTargetGroup of a binding should hold.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use okra_api::{
    AWSTargetGroup, AWSTargetGroupSet, AWSTargetGroupSpec, TargetGroupBinding,
    names::{
        BINDING_ANNOTATION, BINDING_CLUSTER_LABEL, BINDING_NAME_LABEL, BINDING_NAMESPACE_LABEL, CLUSTER_ID_ANNOTATION,
        TARGET_GROUP_SET_LABEL, TARGET_GROUP_SET_UID_LABEL, TEMPLATE_KEYS_ANNOTATION, VERSION_LABEL,
    },
    target_group_set::{BindingGenerator, TargetGroupDeletionPolicy},
};

use super::{ClusterAnswer, Facts, NamedGroup, ObservedCluster, TaggedGroup, ValidatedTargetGroupSet, labels};
use crate::{
    naming::{check_label, object_name, short_hash},
    ours, placeholder,
};

type Texts = BTreeMap<String, String>;

/// Labels that okra itself writes.
const OWN_LABELS: [&str; 5] = [
    BINDING_CLUSTER_LABEL,
    BINDING_NAMESPACE_LABEL,
    BINDING_NAME_LABEL,
    TARGET_GROUP_SET_LABEL,
    TARGET_GROUP_SET_UID_LABEL,
];
/// Annotations that okra itself writes.
const OWN_ANNOTATIONS: [&str; 3] = [CLUSTER_ID_ANNOTATION, BINDING_ANNOTATION, TEMPLATE_KEYS_ANNOTATION];

/// Whether a template may not set this.
pub(super) fn is_own(key: &str) -> bool {
    OWN_LABELS.contains(&key) || OWN_ANNOTATIONS.contains(&key)
}

/// Which binding of which cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BindingKey {
    /// [`ObservedCluster::id`].
    pub cluster: String,
    /// `<namespace>/<name>`.
    pub binding: String,
}

impl BindingKey {
    /// The binding that an AWSTargetGroup stands for.
    pub fn of(group: &AWSTargetGroup) -> Option<Self> {
        let annotations = group.metadata.annotations.as_ref()?;
        let text = |key| annotations.get(key).cloned();
        Some(Self { cluster: text(CLUSTER_ID_ANNOTATION)?, binding: text(BINDING_ANNOTATION)? })
    }
}

/// `<namespace>/<name>` of a binding.
pub(super) fn binding_name(binding: &TargetGroupBinding) -> String {
    let meta = &binding.metadata;
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// A binding that a set selects, with the generator that does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selected<'a> {
    pub cluster: &'a ObservedCluster,
    pub binding: &'a TargetGroupBinding,
    pub generator: &'a BindingGenerator,
}

/// The selected bindings of a cluster. One that is being deleted is gone: that cannot be taken back, and its targets
/// are leaving the target group.
pub(super) fn selected<'a>(
    set: &'a ValidatedTargetGroupSet,
    cluster: &'a ObservedCluster,
) -> impl Iterator<Item = Selected<'a>> {
    let bindings: &[_] = match &cluster.answer {
        ClusterAnswer::Bindings(bindings) => bindings,
        ClusterAnswer::Unknown(_) => &[],
    };
    bindings.iter().filter(|binding| binding.metadata.deletion_timestamp.is_none()).filter_map(move |binding| {
        let labels = binding.metadata.labels.as_ref();
        let generator = set.generator_of(&cluster.labels, labels.unwrap_or(const { &BTreeMap::new() }))?;
        Some(Selected { cluster, binding, generator })
    })
}

/// The target groups whose ARN has to be asked for.
pub fn unnamed(set: &ValidatedTargetGroupSet, clusters: &[ObservedCluster]) -> BTreeSet<NamedGroup> {
    clusters.iter().flat_map(|cluster| selected(set, cluster)).filter_map(|one| one.named_group()).collect()
}

/// The target groups whose tags have to be asked for: nothing that comes first says their version.
pub fn unversioned(
    set: &ValidatedTargetGroupSet,
    clusters: &[ObservedCluster],
    facts: &Facts,
) -> BTreeSet<TaggedGroup> {
    if set.template.labels.contains_key(VERSION_LABEL) {
        return BTreeSet::new();
    }
    let all = clusters.iter().flat_map(|cluster| selected(set, cluster));
    all.filter(|one| one.label(VERSION_LABEL).is_none()).filter_map(|one| one.tagged_group(facts).ok()).collect()
}

impl Selected<'_> {
    pub fn key(&self) -> BindingKey {
        BindingKey { cluster: self.cluster.id.clone(), binding: binding_name(self.binding) }
    }

    fn label(&self, key: &str) -> Option<&String> {
        self.binding.metadata.labels.as_ref().and_then(|labels| labels.get(key))
    }

    fn named_group(&self) -> Option<NamedGroup> {
        let spec = &self.binding.spec;
        let name = spec.name().filter(|_| spec.arn().is_none())?;
        Some(NamedGroup {
            region: region_of(&self.cluster.id),
            role_arn: self.generator.role_arn.clone(),
            name: name.to_owned(),
        })
    }

    fn tagged_group(&self, facts: &Facts) -> Result<TaggedGroup, String> {
        Ok(TaggedGroup { arn: self.arn(facts)?, role_arn: self.generator.role_arn.clone() })
    }

    fn arn(&self, facts: &Facts) -> Result<String, String> {
        if let Some(arn) = self.binding.spec.arn() {
            return Ok(arn.to_owned());
        }
        let group = self.named_group().ok_or("it has neither targetGroupARN nor targetGroupName")?;
        match facts.arns.get(&group) {
            Some(Ok(Some(arn))) => Ok(arn.clone()),
            Some(Ok(None)) => Err(format!("there is no target group {}", group.name)),
            Some(Err(why)) => Err(why.clone()),
            None => Err(format!("the ARN of target group {} has not been asked for yet", group.name)),
        }
    }

    /// The version, from the first that says one: the binding's label, the target group's tag, the label of the
    /// cluster's Secret, the cluster's tag. Not knowing the tag is no reason to go on to the next: it could say
    /// otherwise.
    fn version(&self, facts: &Facts) -> Result<Option<String>, String> {
        if let Some(version) = self.label(VERSION_LABEL) {
            return Ok(Some(version.clone()));
        }
        let tag = match facts.versions.get(&self.tagged_group(facts)?) {
            Some(Ok(tag)) => tag.clone(),
            Some(Err(why)) => return Err(why.clone()),
            None => return Err("the tags of its target group have not been asked for yet".to_owned()),
        };
        Ok(tag.or_else(|| self.cluster.labels.get(VERSION_LABEL).cloned()).or_else(|| self.cluster.version_tag.clone()))
    }

    /// What its AWSTargetGroup should hold, or why it gets none.
    pub fn wanted(&self, set: &ValidatedTargetGroupSet, facts: &Facts) -> Result<Wanted, String> {
        let arn = self.arn(facts)?;
        let template = &set.template;
        let render = |text: &String| placeholder::fill(text, |placeholder| self.value(placeholder));
        let mut labels = Texts::new();
        let theirs = self.cluster.labels.iter().chain(self.binding.metadata.labels.iter().flatten());
        labels.extend(
            theirs.filter(|(key, _)| labels::may_be_copied(key)).map(|(key, value)| (key.clone(), value.clone())),
        );
        if !template.labels.contains_key(VERSION_LABEL) {
            labels.extend(self.version(facts)?.map(|version| (VERSION_LABEL.to_owned(), version)));
        }
        for (key, text) in &template.labels {
            labels.insert(key.clone(), render(text)?);
        }
        for (key, value) in &labels {
            check_label(key, value)?;
        }
        let mut annotations = Texts::new();
        for (key, text) in &template.annotations {
            annotations.insert(key.clone(), render(text)?);
        }
        ours::note_keys(&labels, &mut annotations);
        let key = self.key();
        annotations.insert(CLUSTER_ID_ANNOTATION.to_owned(), key.cluster.clone());
        annotations.insert(BINDING_ANNOTATION.to_owned(), key.binding.clone());
        let (namespace, name) = key.binding.split_once('/').unwrap_or_default();
        for (label, value) in [
            (BINDING_CLUSTER_LABEL, self.cluster.name.as_str()),
            (BINDING_NAMESPACE_LABEL, namespace),
            (BINDING_NAME_LABEL, name),
            (TARGET_GROUP_SET_LABEL, &set.name),
            (TARGET_GROUP_SET_UID_LABEL, &set.uid),
        ] {
            if check_label(label, value).is_ok() {
                labels.insert(label.to_owned(), value.to_owned());
            }
        }
        let base = object_name(&format!("{namespace}-{name}"));
        let longer = object_name(&format!("{base}-{}", self.cluster.name));
        let longest = format!("{base}-{:08x}", short_hash(&format!("{}\n{}", key.cluster, key.binding)));
        Ok(Wanted { names: [base, longer, longest], key, arn, labels, annotations })
    }

    fn value(&self, placeholder: &str) -> Result<String, String> {
        let meta = &self.binding.metadata;
        match placeholder {
            ".cluster.name" => return Ok(self.cluster.name.clone()),
            ".binding.name" => return Ok(meta.name.clone().unwrap_or_default()),
            ".binding.namespace" => return Ok(meta.namespace.clone().unwrap_or_default()),
            _ => {}
        }
        let (whose, key, labels) = if let Some(key) = placeholder.strip_prefix(".cluster.labels.") {
            ("its cluster's Secret", key, Some(&self.cluster.labels))
        } else if let Some(key) = placeholder.strip_prefix(".binding.labels.") {
            ("it", key, meta.labels.as_ref())
        } else {
            return Err(unknown(placeholder));
        };
        let value = labels.and_then(|labels| labels.get(key));
        value.cloned().ok_or_else(|| format!("{whose} has no label {key} for {{{{{placeholder}}}}}"))
    }
}

fn unknown(placeholder: &str) -> String {
    format!(
        "{{{{{placeholder}}}}} is not a placeholder: write {{{{.cluster.name}}}}, {{{{.cluster.labels.KEY}}}}, \
         {{{{.binding.name}}}}, {{{{.binding.namespace}}}} or {{{{.binding.labels.KEY}}}}"
    )
}

/// What is wrong with a text whatever the binding; `None`: nothing.
pub(super) fn fault(text: &str) -> Option<String> {
    let is_known = |placeholder: &str| {
        let labels = [".cluster.labels.", ".binding.labels."];
        [".cluster.name", ".binding.name", ".binding.namespace"].contains(&placeholder)
            || labels.iter().any(|prefix| placeholder.strip_prefix(prefix).is_some_and(|key| !key.is_empty()))
    };
    let value = |placeholder: &str| {
        if is_known(placeholder) { Ok(String::new()) } else { Err(unknown(placeholder)) }
    };
    placeholder::fill(text, value).err()
}

/// The region of an EKS cluster's ARN.
fn region_of(id: &str) -> Option<String> {
    let region = id.strip_prefix("arn:")?.split(':').nth(2)?;
    Some(region.to_owned()).filter(|region| !region.is_empty())
}

/// What the AWSTargetGroup of a binding should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub key: BindingKey,
    /// Names that it may have, the best first.
    pub names: [String; 3],
    pub arn: String,
    labels: Texts,
    annotations: Texts,
}

impl Wanted {
    /// A new AWSTargetGroup.
    pub fn create(&self, set: &ValidatedTargetGroupSet, name: String) -> AWSTargetGroup {
        let mut group = AWSTargetGroup::new(&name, AWSTargetGroupSpec { arn: self.arn.clone() });
        group.metadata = ObjectMeta {
            namespace: Some(set.namespace.clone()),
            name: Some(name),
            labels: Some(self.labels.clone()),
            annotations: Some(self.annotations.clone()),
            owner_references: owners(set, &ObjectMeta::default()),
            ..ObjectMeta::default()
        };
        group
    }

    /// The AWSTargetGroup brought up to date; `None` when it is. What others wrote to it stays.
    pub fn update(&self, set: &ValidatedTargetGroupSet, present: &AWSTargetGroup) -> Option<AWSTargetGroup> {
        let mut next = present.clone();
        ours::replace(&mut next.metadata, &self.labels, &self.annotations, &OWN_ANNOTATIONS);
        next.metadata.owner_references = owners(set, &present.metadata);
        next.spec.arn.clone_from(&self.arn);
        (next != *present).then_some(next)
    }
}

fn owners(
    set: &ValidatedTargetGroupSet,
    present: &ObjectMeta,
) -> Option<Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference>> {
    let owners = present.owner_references.clone().unwrap_or_default();
    let is_owner = set.deletion_policy == TargetGroupDeletionPolicy::Delete;
    ours::owners::<AWSTargetGroupSet>(owners, &set.name, &set.uid, is_owner)
}
