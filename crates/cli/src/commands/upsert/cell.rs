//! Cells from flags.

use okra_api::{
    Cell, CellSpec, GoDuration,
    cell::{AlbIngress, CanaryStrategy, IngressType, StrategyType, UpdateStrategy},
    step::{AnalysisArg, AnalysisStep, CanaryStep, PauseStep, TemplateRef},
};

use super::{Target, present, write};
use crate::{
    args::assignment,
    context::Context,
    error::{CommandError, ExitStatus},
};

/// The priority of the rule of a new Cell, where none is given.
const PRIORITY: i32 = 10;

/// The Cell.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    #[command(flatten)]
    target: Target,
    /// ARN of the load balancer's listener.
    #[arg(long, value_name = "ARN")]
    listener_arn: Option<String>,
    /// Priority of the rule [default: 10].
    #[arg(long, value_name = "N")]
    listener_rule_priority: Option<i32>,
    /// Host that the rule is for; may be repeated, or separated by commas.
    #[arg(
        long = "listener-rule-host",
        visible_alias = "listener-rule-hosts",
        value_name = "HOST",
        value_delimiter = ','
    )]
    listener_rule_hosts: Vec<String>,
    /// Labels of the target groups; may be repeated, or separated by commas.
    #[arg(long = "match-label", visible_alias = "match-labels", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = assignment)]
    match_labels: Vec<(String, String)>,
    /// Label that holds the version; may be repeated.
    #[arg(long = "version-label", visible_alias = "version-labels", value_name = "KEY", value_delimiter = ',')]
    version_labels: Vec<String>,
    /// Target groups of a version that must be there before it may roll out.
    #[arg(long, value_name = "N")]
    replicas: Option<i32>,
    /// The canary's steps, in order: `weight=20`, `pause=10m`, `pause` (until resumed), `analysis=TEMPLATE[:ARG=VALUE]...`.
    #[arg(long, value_name = "STEP", value_delimiter = ',', value_parser = step)]
    canary_steps: Vec<CanaryStep>,
}

/// Makes the Cell, or brings it up to date.
pub async fn upsert(flags: Flags, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let name = flags.target.name(&["cell", "cells"])?;
    let (key, there) = present::<Cell>(&name, context).await?;
    let mut cell = match &there {
        Some(there) => there.clone(),
        None => Cell::new(&name, CellSpec { replicas: 1, ..CellSpec::default() }),
    };
    cell.metadata.namespace = Some(key.namespace);
    fill(&mut cell.spec, &flags, there.is_none())
        .map_err(|why| CommandError::usage(format!("failed to make Cell {name}"), why))?;
    write(there.as_ref(), &cell, flags.target.dry_run, context).await
}

fn fill(spec: &mut CellSpec, flags: &Flags, is_new: bool) -> Result<(), String> {
    if spec.ingress.type_ != IngressType::AWSApplicationLoadBalancer {
        return Err("it is not behind an Application Load Balancer: these flags do not fit it".to_owned());
    }
    for (flag, is_missing) in [
        ("--listener-arn", flags.listener_arn.is_none()),
        ("--listener-rule-host", flags.listener_rule_hosts.is_empty()),
        ("--match-label", flags.match_labels.is_empty()),
    ] {
        if is_new && is_missing {
            return Err(format!("{flag} is missing, and there is no Cell of that name yet"));
        }
    }
    let alb = spec.ingress.aws_application_load_balancer.get_or_insert_with(AlbIngress::default);
    if let Some(arn) = &flags.listener_arn {
        alb.listener_arn.clone_from(arn);
    }
    let rule = &mut alb.listener.rule;
    if let Some(priority) = flags.listener_rule_priority.or(is_new.then_some(PRIORITY)) {
        rule.priority = priority;
    }
    if !flags.listener_rule_hosts.is_empty() {
        rule.hosts.clone_from(&flags.listener_rule_hosts);
    }
    let selector = &mut alb.target_group_selector;
    if !flags.match_labels.is_empty() {
        selector.match_labels = super::map(&flags.match_labels);
    }
    if !flags.version_labels.is_empty() {
        selector.version_labels.clone_from(&flags.version_labels);
    }
    if let Some(replicas) = flags.replicas {
        spec.replicas = replicas;
    }
    if !flags.canary_steps.is_empty() {
        let strategy = spec.update_strategy.get_or_insert_with(UpdateStrategy::default);
        strategy.type_ = StrategyType::Canary;
        strategy.canary.get_or_insert_with(CanaryStrategy::default).steps.clone_from(&flags.canary_steps);
    }
    Ok(())
}

/// A step: `weight=20`, `pause=10m`, `pause`, `analysis=TEMPLATE:ARG=VALUE`.
fn step(text: &str) -> Result<CanaryStep, String> {
    let unknown =
        || format!("\"{text}\" is no step: write weight=N, pause=DURATION, pause, or analysis=TEMPLATE[:ARG=VALUE]");
    let (what, value) = text.trim().split_once('=').unwrap_or((text.trim(), ""));
    let mut step = CanaryStep::default();
    match (what, value) {
        ("pause", "") => step.pause = Some(PauseStep::default()),
        ("pause", duration) => {
            let duration = GoDuration::from(duration);
            duration.get().map_err(|error| error.to_string())?;
            step.pause = Some(PauseStep { duration: Some(duration) });
        }
        ("weight", weight) => {
            let weight = weight.parse().ok().filter(|weight| (0..=100).contains(weight));
            step.set_weight = Some(weight.ok_or_else(|| format!("\"{text}\": a weight is a number from 0 to 100"))?);
        }
        ("analysis", value) if !value.is_empty() => {
            let mut parts = value.split(':');
            let template_name = parts.next().unwrap_or_default().to_owned();
            let args = parts.map(|part| {
                assignment(part).map(|(name, value)| AnalysisArg { name, value: Some(value), value_from: None })
            });
            step.analysis = Some(AnalysisStep {
                templates: vec![TemplateRef { template_name, cluster_scope: false }],
                args: args.collect::<Result<Vec<_>, _>>()?,
                dry_run: Vec::new(),
            });
        }
        _ => return Err(unknown()),
    }
    Ok(step)
}
