//! `okra analyze` up to the run and after it: from files and arguments to what is measured, and from the verdict to the
//! exit code. Who measures is not known here, so that this crate needs no provider.

use std::{collections::BTreeMap, fmt::Display, fs, path::PathBuf, time::Duration};

use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use okra_api::{
    AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate, RunPhase,
    analysis::{
        AnalysisRunSpec, AnalysisTemplateRef, AnalysisTemplateSpec, Argument, Measurement, Metric, SecretKeyRef,
    },
};
use okra_core::analysis::{Annotations, Flattened, flatten, profile_annotations, run_spec};
use okra_provider::SecretText;
use serde::de::DeserializeOwned;

use crate::{
    analysis_run::{assignment, plain_args, repeated, secret_arg},
    context::Context,
    error::{CommandError, ExitStatus},
    manifests::{self, Document, Manifests},
    printer::{Printer, to_value},
    render::{duration, measurement_line},
    style::one_line,
};

/// Names of Secrets that hold what the command line gave. A Secret of a file cannot have them.
const FROM_ENVIRONMENT: &str = "--arg-from-env";
const FROM_FILE: &str = "--arg-from-file";

type Secrets = BTreeMap<String, BTreeMap<String, SecretText>>;

/// What is said of the template and its arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Subject {
    /// File with the template, and with the templates and Secrets that it refers to; a folder, or `-` for stdin. May be
    /// repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The template that is run; may be repeated [default: the one that no other refers to]
    #[arg(long = "template-name", value_name = "NAME")]
    pub template_names: Vec<String>,
    /// An argument of the template; may be repeated.
    #[arg(long = "arg", alias = "args", value_name = "NAME=VALUE", value_parser = assignment)]
    pub args: Vec<(String, String)>,
    /// An argument whose value is that of an environment variable and is never printed; may be repeated.
    #[arg(long = "arg-from-env", value_name = "NAME=VARIABLE", value_parser = assignment)]
    pub args_from_env: Vec<(String, String)>,
    /// An argument whose value is what a file holds, without the line end, and is never printed; may be repeated.
    #[arg(long = "arg-from-file", value_name = "NAME=FILE", value_parser = assignment)]
    pub args_from_file: Vec<(String, String)>,
}

/// What is to be measured.
pub struct Plan {
    /// Name of the run: that of its first template.
    pub name: String,
    /// What is measured, with its arguments.
    pub spec: AnalysisRunSpec,
    /// The profiles that the templates choose.
    pub annotations: Annotations,
    /// The Secrets that it reads, by name.
    pub secrets: Secrets,
}

impl Subject {
    /// Makes the run of the files. Every error is one of usage: nothing was measured yet.
    pub fn plan(&self) -> Result<Plan, CommandError> {
        let given = Given::read(manifests::read(&self.files)?)?;
        let roots = given.roots(&self.template_names)?;
        let name = roots.first().map(|root| root.template_name.clone()).unwrap_or_default();
        let (spec, annotations, secrets) = plan(given, &roots, self)?;
        Ok(Plan { name, spec, annotations, secrets })
    }
}

impl Plan {
    /// Says which metrics have no end.
    pub fn warn_of_endless(&self, printer: &mut Printer) {
        for metric in self.spec.metrics.iter().filter(|metric| metric.effective_count().is_none()) {
            printer.note(&format!("metric {} has no count: it is measured until Ctrl-C", metric.name));
        }
    }

    /// Who tells each measurement as it comes: on stdout, or on stderr where stdout is for a program. A reader who is gone
    /// does not stop the run.
    pub fn teller<'a>(&self, printer: &'a mut Printer) -> impl FnMut(&str, &Measurement) + Send + use<'a> {
        let room = self.spec.metrics.iter().map(|metric| metric.name.chars().count()).max().unwrap_or(0);
        let for_programs = printer.output().is_for_programs();
        move |metric, measurement| {
            let line = measurement_line(metric, room, measurement);
            if for_programs || printer.result(&line).is_err() {
                printer.note(&line);
            }
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a verdict: its phase.
    Done,
    /// By the timeout, with measurements missing that were asked for.
    TimedOut,
    /// By a person.
    Interrupted,
}

/// Prints the verdict, which is the exit code.
pub fn conclude(
    run: &AnalysisRun,
    ended: Ended,
    timeout: Option<Duration>,
    context: &mut Context,
) -> Result<ExitStatus, CommandError> {
    let status = run.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    // The engine refused the spec before anything was measured.
    if phase == RunPhase::Error && status.metric_results.is_empty() {
        return Err(CommandError::usage("the template cannot be run", one_line(&status.message))
            .hint("`okractl lint -f FILE` says more"));
    }
    let name = run.metadata.name.as_deref().unwrap_or_default();
    if context.printer.output().is_for_programs() {
        context.printer.value(&to_value(run)?, &format!("analysisrun.argoproj.io/{name}"))?;
    }
    let within = duration(timeout.unwrap_or_default().try_into().unwrap_or_default());
    match ended {
        Ended::Interrupted => {
            context.printer.note("ended by a person: no verdict");
            return Ok(ExitStatus::Interrupted);
        }
        // What is bad already is bad.
        Ended::TimedOut if phase == RunPhase::Successful => {
            return Err(CommandError::failed(format!("no verdict of {name}"), format!("not done within {within}"))
                .hint(
                    "give it more time with --timeout; the intervals and counts of its metrics say how long it takes",
                ));
        }
        Ended::Done | Ended::TimedOut => {}
    }
    if !context.printer.output().is_for_programs() {
        let gap = if status.message.is_empty() { "" } else { ": " };
        context.printer.result(&format!("{name} is {phase}{gap}{}", one_line(&status.message)))?;
    }
    Ok(ExitStatus::of_verdict(phase))
}

fn bad(what: impl Display) -> CommandError {
    CommandError::usage("failed to make a run of the files", what).hint("`okractl lint -f FILE` says more")
}

/// What the files hold.
#[derive(Default)]
struct Given {
    templates: BTreeMap<AnalysisTemplateRef, AnalysisTemplateSpec>,
    annotations: BTreeMap<AnalysisTemplateRef, Annotations>,
    secrets: Secrets,
}

impl Given {
    fn read(manifests: Manifests) -> Result<Self, CommandError> {
        if let Some(file) = manifests.bad.first() {
            return Err(CommandError::usage(format!("failed to parse {}", file.file), &file.message));
        }
        let mut given = Self::default();
        for document in &manifests.documents {
            match document.identity() {
                ("argoproj.io/v1alpha1", "AnalysisTemplate", name) => {
                    let template = typed::<AnalysisTemplate>(document)?;
                    given.take(name, false, template.metadata, template.spec)?;
                }
                ("argoproj.io/v1alpha1", "ClusterAnalysisTemplate", name) => {
                    let template = typed::<ClusterAnalysisTemplate>(document)?;
                    given.take(name, true, template.metadata, template.spec.template)?;
                }
                ("v1", "Secret", name) => {
                    let data = secret(typed::<Secret>(document)?);
                    given.secrets.insert(name.to_owned(), data);
                }
                _ => {}
            }
        }
        Ok(given)
    }

    fn take(
        &mut self,
        name: &str,
        cluster_scope: bool,
        meta: ObjectMeta,
        spec: AnalysisTemplateSpec,
    ) -> Result<(), CommandError> {
        let reference = AnalysisTemplateRef { template_name: name.to_owned(), cluster_scope };
        self.annotations.insert(reference.clone(), meta.annotations.unwrap_or_default());
        match self.templates.insert(reference, spec) {
            None => Ok(()),
            Some(_) => Err(bad(format!("there are two templates of the name {name}"))),
        }
    }

    /// The templates that were asked for; without a name the one that no other refers to.
    fn roots(&self, names: &[String]) -> Result<Vec<AnalysisTemplateRef>, CommandError> {
        if !names.is_empty() {
            let of_name = |name: &String| {
                let found = self.templates.keys().find(|reference| reference.template_name == *name);
                found.cloned().ok_or_else(|| bad(format!("there is no template {name} in them")))
            };
            return names.iter().map(of_name).collect();
        }
        let is_referred_to = |reference: &&AnalysisTemplateRef| {
            self.templates.values().any(|spec| spec.templates.iter().any(|inner| inner == *reference))
        };
        let mut roots: Vec<_> = self.templates.keys().filter(|reference| !is_referred_to(reference)).cloned().collect();
        match roots.len() {
            1 => Ok(roots),
            // A circle has no first one; the engine names it.
            0 if !self.templates.is_empty() => Ok(self.templates.keys().take(1).cloned().collect()),
            0 => Err(CommandError::usage("there is nothing to analyze", "no AnalysisTemplate in the files")),
            _ => {
                let names: Vec<String> = roots.drain(..).map(|root| root.template_name).collect();
                let why = format!("several templates are in the files: {}", names.join(", "));
                Err(CommandError::usage("which template?", why).hint("choose with --template-name"))
            }
        }
    }
}

fn typed<K: DeserializeOwned>(document: &Document) -> Result<K, CommandError> {
    let (_, kind, name) = document.identity();
    serde_json::from_value(document.value.clone()).map_err(|error| {
        // What serde says of a bad value may quote it.
        let why = if kind == "Secret" { "it is not as a Secret is".to_owned() } else { error.to_string() };
        bad(format!("{} document {}: {kind} {name}: {why}", document.file, document.number))
    })
}

fn secret(secret: Secret) -> BTreeMap<String, SecretText> {
    let encoded = secret.data.unwrap_or_default().into_iter();
    let encoded = encoded.map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned()));
    // As in the API server, plain text wins.
    let plain = secret.string_data.unwrap_or_default();
    encoded.chain(plain).map(|(key, value)| (key, SecretText::new(value))).collect()
}

/// The run, the profiles that its templates choose, and the Secrets that it reads.
fn plan(
    given: Given,
    roots: &[AnalysisTemplateRef],
    args: &Subject,
) -> Result<(AnalysisRunSpec, Annotations, Secrets), CommandError> {
    let Given { templates, annotations, mut secrets } = given;
    let flat = flatten(roots, |reference| templates.get(reference)).map_err(bad)?;
    let profiles = profile_annotations(&flat.origins, |reference| annotations.get(reference)).map_err(bad)?;
    let incoming = arguments(args, &flat, &mut secrets)?;
    let spec = run_spec(flat, &incoming, &[], &[]).map_err(|error| {
        bad(error).hint("give each argument that has no default with --arg NAME=VALUE or --arg-from-env NAME=VARIABLE")
    })?;
    if let Some(metric) = spec.metrics.iter().find(|metric: &&Metric| metric.provider.job.is_some()) {
        let why = format!("metric {} is a Job, which needs a cluster", metric.name);
        return Err(CommandError::usage("the template cannot be run here", why).hint("use `okra run analysis`"));
    }
    Ok((spec, profiles, secrets))
}

/// The arguments of the command line. What must not be seen becomes a Secret, and so does a value for an argument that
/// the template takes from one: else the Secret, which nobody has here, would win.
fn arguments(args: &Subject, flat: &Flattened, secrets: &mut Secrets) -> Result<Vec<Argument>, CommandError> {
    let lists = [&args.args, &args.args_from_env, &args.args_from_file];
    if let Some(name) = repeated(lists.into_iter().flatten().map(|(name, _)| name.as_str())) {
        return Err(CommandError::usage(format!("argument {name} is given twice"), ""));
    }
    let declared = |name: &str| flat.args.iter().find(|arg| arg.name == name);
    if let Some((name, _)) = lists.into_iter().flatten().find(|(name, _)| declared(name).is_none()) {
        let known: Vec<&str> = flat.args.iter().map(|arg| arg.name.as_str()).collect();
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        return Err(CommandError::usage(format!("the template has no argument {name}"), known));
    }
    let secret_of = |name: &str| declared(name)?.value_from.as_ref()?.secret_key_ref.clone();
    let mut incoming = Vec::new();
    for (name, value) in &args.args {
        match secret_of(name) {
            Some(key) => keep(secrets, &key, value.clone()),
            None => incoming.extend(plain_args(&[(name.clone(), value.clone())])),
        }
    }
    for (name, variable) in &args.args_from_env {
        let value = std::env::var(variable)
            .map_err(|_| CommandError::usage(format!("environment variable {variable} is not set"), ""))?;
        let key = SecretKeyRef { name: FROM_ENVIRONMENT.to_owned(), key: variable.clone() };
        keep(secrets, &key, value);
        incoming.push(secret_arg(name, key));
    }
    for (name, path) in &args.args_from_file {
        let text = fs::read_to_string(path)
            .map_err(|error| CommandError::usage(format!("failed to read {path} for argument {name}"), error))?;
        let key = SecretKeyRef { name: FROM_FILE.to_owned(), key: path.clone() };
        keep(secrets, &key, text.trim_end_matches(['\r', '\n']).to_owned());
        incoming.push(secret_arg(name, key));
    }
    Ok(incoming)
}

fn keep(secrets: &mut Secrets, key: &SecretKeyRef, value: String) {
    secrets.entry(key.name.clone()).or_default().insert(key.key.clone(), SecretText::new(value));
}
