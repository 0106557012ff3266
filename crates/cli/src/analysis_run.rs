//! AnalysisRuns from the command line: which templates, with which arguments.

use std::collections::{BTreeMap, VecDeque};

use clap::{Args, ValueEnum};
use okra_api::{
    AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate,
    analysis::{AnalysisRunSpec, AnalysisTemplateRef, AnalysisTemplateSpec, Argument, ArgumentSource, SecretKeyRef},
    names::TIMESTAMP_LABEL,
};
use okra_core::analysis::{Annotations, INSTANCE_ID_LABEL, flatten, profile_annotations, run_spec};
use okra_provider::{Key, Store};
use uuid::Uuid;

use crate::{
    args::{RUN_KINDS, bare_name},
    context::{Context, get},
    error::CommandError,
};

/// So many templates are read for one run at most.
const MOST_TEMPLATES: usize = 1_000;
/// Longest name of an object.
const LONGEST_NAME: usize = 253;

/// What a new run is made of.
#[derive(Clone, Debug, Args)]
pub struct NewRun {
    /// The template that is run.
    #[arg(long, value_name = "NAME")]
    pub template_name: String,
    /// Its kind.
    #[arg(long, value_enum, ignore_case = true, default_value_t)]
    pub template_type: TemplateType,
    /// An argument of the template; may be repeated.
    #[arg(long = "args", alias = "arg", value_name = "NAME=VALUE", value_parser = assignment)]
    pub args: Vec<(String, String)>,
    /// An argument that is a key of a Secret in the run's namespace; may be repeated. Write SECRET/KEY when the Secret's
    /// name has a dot.
    #[arg(long = "args-from-secrets", value_name = "NAME=SECRET.KEY", value_parser = secret_assignment)]
    pub secrets: Vec<(String, SecretKeyRef)>,
    /// Instance id label of the run: that of the okrad which is to run it. Empty: no label.
    #[arg(long, env = "OKRA_ANALYSIS_INSTANCE_ID", hide_env_values = true, default_value = "okra", value_name = "ID")]
    pub analysis_instance_id: String,
    /// Print the AnalysisRun as YAML, and make none.
    #[arg(long)]
    pub dry_run: bool,
}

/// What a new run is called.
#[derive(Clone, Debug, Args)]
pub struct RunName {
    /// The run's name. Default: the template's, and five characters.
    name: Option<String>,
    /// The run's name, as a flag.
    #[arg(long = "name", id = "named", value_name = "NAME", conflicts_with = "name")]
    named: Option<String>,
}

impl RunName {
    /// The name, if one was given.
    pub fn get(&self) -> Result<Option<&str>, CommandError> {
        self.name.as_ref().or(self.named.as_ref()).map(|name| bare_name(name, &RUN_KINDS)).transpose()
    }
}

/// The kinds of templates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TemplateType {
    /// Of the run's namespace.
    #[default]
    #[value(name = "AnalysisTemplate", alias = "at")]
    AnalysisTemplate,
    /// Of the whole cluster.
    #[value(name = "ClusterAnalysisTemplate", alias = "cat")]
    ClusterAnalysisTemplate,
}

/// `NAME=VALUE` from the command line; the value may be empty and may hold more of `=`.
pub fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// `NAME=SECRET.KEY` or `NAME=SECRET/KEY` from the command line.
fn secret_assignment(text: &str) -> Result<(String, SecretKeyRef), String> {
    let usage = || "write NAME=SECRET.KEY".to_owned();
    let (name, place) = assignment(text).map_err(|_| usage())?;
    let (secret, key) = place.split_once('/').or_else(|| place.split_once('.')).ok_or_else(usage)?;
    if secret.is_empty() || key.is_empty() {
        return Err(usage());
    }
    Ok((name, SecretKeyRef { name: secret.to_owned(), key: key.to_owned() }))
}

/// Arguments with plain values, as a run lists them.
pub fn plain_args(args: &[(String, String)]) -> impl Iterator<Item = Argument> + '_ {
    args.iter().map(|(name, value)| Argument { name: name.clone(), value: Some(value.clone()), value_from: None })
}

/// The argument that comes from a key of a Secret.
pub fn secret_arg(name: &str, key: SecretKeyRef) -> Argument {
    let source = ArgumentSource { secret_key_ref: Some(key), field_ref: None };
    Argument { name: name.to_owned(), value: None, value_from: Some(source) }
}

/// The first name that is given twice.
pub fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

impl NewRun {
    /// The run, made of the templates as they are in the store now. Nothing is written.
    pub async fn build(&self, name: Option<&str>, context: &mut Context) -> Result<AnalysisRun, CommandError> {
        let session = context.session().await?;
        let what = || format!("failed to make an AnalysisRun of {}", self.template_name);
        let names = self.args.iter().map(|(name, _)| name).chain(self.secrets.iter().map(|(name, _)| name));
        if let Some(name) = repeated(names.map(String::as_str)) {
            return Err(CommandError::usage(what(), format!("argument {name} is given twice")));
        }
        let (spec, annotations, unknown) = self.spec(&session.store, &session.namespace).await?;
        for name in unknown {
            context.printer.note(&format!("the template has no argument {name}; it is left out"));
        }
        let name = name.map_or_else(|| generated_name(&self.template_name), str::to_owned);
        let mut run = AnalysisRun::new(&name, spec);
        run.metadata.namespace = Some(session.namespace.clone());
        let mut labels = BTreeMap::from([(TIMESTAMP_LABEL.to_owned(), context.now().as_second().to_string())]);
        if !self.analysis_instance_id.is_empty() {
            labels.insert(INSTANCE_ID_LABEL.to_owned(), self.analysis_instance_id.clone());
        }
        run.metadata.labels = Some(labels);
        run.metadata.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
        Ok(run)
    }

    /// The spec, the profiles that the templates choose, and the arguments that no template has.
    async fn spec(
        &self,
        store: &Store,
        namespace: &str,
    ) -> Result<(AnalysisRunSpec, Annotations, Vec<String>), CommandError> {
        let what = || format!("failed to make an AnalysisRun of {}", self.template_name);
        let cluster_scope = self.template_type == TemplateType::ClusterAnalysisTemplate;
        let root = AnalysisTemplateRef { template_name: self.template_name.clone(), cluster_scope };
        let found = templates(store, namespace, root.clone()).await?;
        let flat = flatten(&[root], |reference| found.get(reference).map(|(_, spec)| spec));
        let flat = flat.map_err(|error| CommandError::failed(what(), error))?;
        let annotations = profile_annotations(&flat.origins, |reference| found.get(reference).map(|(own, _)| own));
        let annotations = annotations.map_err(|error| CommandError::failed(what(), error))?;
        let secrets = self.secrets.iter().map(|(name, key)| secret_arg(name, key.clone()));
        let args: Vec<Argument> = plain_args(&self.args).chain(secrets).collect();
        let is_unknown = |arg: &&Argument| !flat.args.iter().any(|declared| declared.name == arg.name);
        let unknown = args.iter().filter(is_unknown).map(|arg| arg.name.clone()).collect();
        let spec = run_spec(flat, &args, &[], &[]).map_err(|error| {
            CommandError::failed(what(), error).hint("give each argument that has no default with --args NAME=VALUE")
        })?;
        Ok((spec, annotations, unknown))
    }
}

/// The template and all that it refers to, with their annotations.
async fn templates(
    store: &Store,
    namespace: &str,
    root: AnalysisTemplateRef,
) -> Result<BTreeMap<AnalysisTemplateRef, (Annotations, AnalysisTemplateSpec)>, CommandError> {
    let mut found = BTreeMap::new();
    let mut next = VecDeque::from([root]);
    while let Some(reference) = next.pop_front() {
        if found.contains_key(&reference) || found.len() > MOST_TEMPLATES {
            continue;
        }
        let (meta, spec) = if reference.cluster_scope {
            let template = get::<ClusterAnalysisTemplate>(store, &Key::new("", &reference.template_name)).await?;
            (template.metadata, template.spec.template)
        } else {
            let template = get::<AnalysisTemplate>(store, &Key::new(namespace, &reference.template_name)).await?;
            (template.metadata, template.spec)
        };
        next.extend(spec.templates.iter().cloned());
        found.insert(reference, (meta.annotations.unwrap_or_default(), spec));
    }
    Ok(found)
}

/// `<template>-<five characters>`, as the API server generates names.
fn generated_name(template: &str) -> String {
    let random: String = Uuid::new_v4().simple().to_string().chars().take(5).collect();
    let kept: String = template.chars().take(LONGEST_NAME - 6).collect();
    format!("{kept}-{random}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_assignments() {
        assert_eq!(assignment("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(assignment("a="), Ok(("a".to_owned(), String::new())));
        assert!(assignment("a").is_err() && assignment("=b").is_err());
        let secret = |text| secret_assignment(text).map(|(name, key)| (name, key.name, key.key));
        let is = |name: &str, secret: &str, key: &str| Ok((name.to_owned(), secret.to_owned(), key.to_owned()));
        assert_eq!(secret("token=api.tls.key"), is("token", "api", "tls.key"));
        assert_eq!(secret("token=my.api/tls.key"), is("token", "my.api", "tls.key"));
        for text in ["token", "token=api", "token=.key", "token=api.", "=a.b"] {
            assert!(secret(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_generated_within_their_length() {
        let long = generated_name(&"x".repeat(300));
        assert_eq!(long.len(), LONGEST_NAME);
        assert_ne!(generated_name("rate"), generated_name("rate"));
        assert!(generated_name("rate").starts_with("rate-"));
    }
}
