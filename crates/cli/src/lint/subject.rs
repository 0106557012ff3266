//! What is looked at: a template or a run, and the templates that are around it.

use std::collections::{BTreeMap, BTreeSet};

use okra_api::{
    AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate,
    analysis::{AnalysisTemplateRef, AnalysisTemplateSpec},
};
use serde_json::Value;

use crate::manifests::Document;

const API_VERSION: &str = "argoproj.io/v1alpha1";

/// A template, or a run, which has what a template has.
pub(super) struct Subject<'a> {
    pub(super) document: &'a Document,
    /// The template by itself; none for a run.
    pub(super) reference: Option<AnalysisTemplateRef>,
    pub(super) spec: AnalysisTemplateSpec,
}

impl<'a> Subject<'a> {
    /// None for other kinds, and for what cannot be read, which the schema tells.
    pub(super) fn of(document: &'a Document) -> Option<Self> {
        let (api_version, kind, name) = document.identity();
        if api_version != API_VERSION {
            return None;
        }
        let value = document.value.clone();
        let reference = |cluster_scope| Some(AnalysisTemplateRef { template_name: name.to_owned(), cluster_scope });
        let (reference, spec) = match kind {
            "AnalysisTemplate" => (reference(false), serde_json::from_value::<AnalysisTemplate>(value).ok()?.spec),
            "ClusterAnalysisTemplate" => {
                (reference(true), serde_json::from_value::<ClusterAnalysisTemplate>(value).ok()?.spec.template)
            }
            "AnalysisRun" => {
                let run = serde_json::from_value::<AnalysisRun>(value).ok()?.spec;
                let okra_api::analysis::AnalysisRunSpec { metrics, args, dry_run, measurement_retention, .. } = run;
                let templates = Vec::new();
                (None, AnalysisTemplateSpec { metrics, args, dry_run, measurement_retention, templates })
            }
            _ => return None,
        };
        Some(Self { document, reference, spec })
    }

    /// What is written in the file, for a place in the metrics.
    pub(super) fn metric(&self, index: usize) -> Option<&Value> {
        self.document.value.pointer(&format!("/spec/metrics/{index}"))
    }
}

/// The templates of all files.
pub(super) struct Templates(BTreeMap<AnalysisTemplateRef, AnalysisTemplateSpec>);

/// A template and those it refers to.
pub(super) struct Family<'a> {
    /// The specs, the template itself among them.
    pub(super) specs: Vec<&'a AnalysisTemplateSpec>,
    /// Whether all that are referred to are in the files.
    pub(super) complete: bool,
}

impl Templates {
    pub(super) fn of(documents: &[Document]) -> Self {
        let subjects = documents.iter().filter_map(Subject::of);
        Self(subjects.filter_map(|subject| Some((subject.reference?, subject.spec))).collect())
    }

    pub(super) fn get(&self, reference: &AnalysisTemplateRef) -> Option<&AnalysisTemplateSpec> {
        self.0.get(reference)
    }

    /// The subject with all that its templates bring.
    pub(super) fn family<'a>(&'a self, subject: &'a Subject<'_>) -> Family<'a> {
        self.reached(vec![&subject.spec], subject.spec.templates.iter())
    }

    /// What is reached from references.
    pub(super) fn reached<'a>(
        &'a self,
        mut specs: Vec<&'a AnalysisTemplateSpec>,
        from: impl Iterator<Item = &'a AnalysisTemplateRef>,
    ) -> Family<'a> {
        let (mut seen, mut complete) = (BTreeSet::new(), true);
        let mut next: Vec<&AnalysisTemplateRef> = from.collect();
        while let Some(reference) = next.pop() {
            if !seen.insert(reference) {
                continue;
            }
            match self.0.get(reference) {
                Some(spec) => {
                    next.extend(&spec.templates);
                    specs.push(spec);
                }
                None => complete = false,
            }
        }
        Family { specs, complete }
    }
}

impl Family<'_> {
    /// Names of all arguments.
    pub(super) fn args(&self) -> BTreeSet<&str> {
        self.specs.iter().flat_map(|spec| &spec.args).map(|arg| arg.name.as_str()).collect()
    }
}
