//! Which kinds a directory keeps, and where.

use std::collections::BTreeMap;

use okra_provider::{BackendError, Kind};

use super::schema::Schema;

/// A kind that is kept.
pub(super) struct Kept {
    pub(super) kind: Kind,
    pub(super) namespaced: bool,
    /// What its objects must look like; `None` for Argo's kinds, whose specs are judged by whoever runs them.
    pub(super) schema: Option<Schema>,
}

impl Kept {
    /// The name of its folder, as the name of its CRD would be.
    pub(super) fn folder(&self) -> String {
        folder(&self.kind)
    }
}

fn folder(kind: &Kind) -> String {
    format!("{}.{}", kind.plural, kind.group)
}

/// Every kind that is kept.
pub(super) struct Catalog {
    by_folder: BTreeMap<String, Kept>,
}

impl Catalog {
    /// Okra's own kinds, with their schemas, and Argo's analysis kinds.
    pub(super) fn new() -> Result<Self, String> {
        let mut by_folder = BTreeMap::new();
        for crd in okra_api::crds() {
            let names = &crd.spec.names;
            for version in &crd.spec.versions {
                let kind = Kind {
                    group: crd.spec.group.clone().into(),
                    version: version.name.clone().into(),
                    kind: names.kind.clone().into(),
                    plural: names.plural.clone().into(),
                };
                let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
                let schema = serde_json::to_value(schema).map_err(|error| error.to_string())?;
                let schema = Schema::new(&schema).map_err(|error| format!("the schema of {kind}: {error}"))?;
                let kept = Kept { namespaced: crd.spec.scope == "Namespaced", schema: Some(schema), kind };
                by_folder.insert(kept.folder(), kept);
            }
        }
        for (name, plural, namespaced) in [
            ("AnalysisRun", "analysisruns", true),
            ("AnalysisTemplate", "analysistemplates", true),
            ("ClusterAnalysisTemplate", "clusteranalysistemplates", false),
            ("Experiment", "experiments", true),
        ] {
            let kind = Kind {
                group: "argoproj.io".into(),
                version: "v1alpha1".into(),
                kind: name.into(),
                plural: plural.into(),
            };
            by_folder.insert(folder(&kind), Kept { kind, namespaced, schema: None });
        }
        Ok(Self { by_folder })
    }

    /// The kind that is kept, or why it is not.
    pub(super) fn find(&self, kind: &Kind) -> Result<&Kept, BackendError> {
        let kept = self.by_folder.get(&folder(kind)).filter(|kept| kept.kind == *kind);
        kept.ok_or_else(|| refusal(&kind.group, &kind.kind))
    }

    /// The kind of a folder in `.okra/objects`.
    pub(super) fn of_folder(&self, name: &str) -> Option<&Kept> {
        self.by_folder.get(name)
    }

    /// The kind that a manifest names, or why it is not kept.
    pub(super) fn named(&self, api_version: &str, kind: &str) -> Result<&Kept, BackendError> {
        let mut kept = self.by_folder.values();
        let found = kept.find(|kept| kept.kind.kind == kind && kept.kind.api_version() == api_version);
        found.ok_or_else(|| refusal(api_version.split_once('/').map_or("", |(group, _)| group), kind))
    }
}

fn refusal(group: &str, kind: &str) -> BackendError {
    let okras = ["okra.mumo.co", "argoproj.io"].contains(&group);
    if okras {
        return BackendError::Absent(kind.to_owned());
    }
    BackendError::Unsupported(format!(
        "{kind} needs a real cluster, which a directory is not: use the Kubernetes store (--store kubernetes)"
    ))
}
