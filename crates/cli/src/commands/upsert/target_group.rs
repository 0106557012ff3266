//! AWSTargetGroups and AWSTargetGroupSets from flags.

use okra_api::{
    AWSTargetGroup, AWSTargetGroupSet, AWSTargetGroupSetSpec, AWSTargetGroupSpec,
    names::VERSION_LABEL,
    selector::LabelSelector,
    target_group_set::{BindingGenerator, TargetGroupGenerator},
};

use super::{Target, label, map, present, write};
use crate::{
    args::assignment,
    context::Context,
    error::{CommandError, ExitStatus},
};

/// The target group.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    #[command(flatten)]
    target: Target,
    /// ARN of the target group.
    #[arg(long, visible_alias = "target-group-arn", value_name = "ARN")]
    arn: Option<String>,
    /// Its version: label `okra.mumo.co/version`.
    #[arg(long)]
    version: Option<String>,
    /// Labels; may be repeated, or separated by commas.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = assignment)]
    labels: Vec<(String, String)>,
}

/// The set.
#[derive(Clone, Debug, clap::Args)]
pub struct SetFlags {
    #[command(flatten)]
    target: Target,
    /// Labels of the cluster Secrets; may be repeated, or separated by commas.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = assignment, required = true)]
    cluster_selector: Vec<(String, String)>,
    /// Labels of the TargetGroupBindings.
    #[arg(
        long = "targetgroupbinding-selector",
        visible_alias = "binding-selector",
        value_name = "KEY=VALUE",
        value_delimiter = ',',
        value_parser = assignment,
        required = true
    )]
    binding_selector: Vec<(String, String)>,
    /// Labels that the AWSTargetGroups get.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = assignment)]
    labels: Vec<(String, String)>,
}

const GROUP: [&str; 3] = ["awstargetgroup", "awstargetgroups", "atg"];
const SET: [&str; 3] = ["awstargetgroupset", "awstargetgroupsets", "atgs"];

/// Makes it; fails when it is there.
pub async fn create(flags: Flags, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let name = flags.target.name(&GROUP)?;
    let wanted = wanted(&flags, &name, None, context).await?;
    write(None, &wanted, flags.target.dry_run, context).await
}

/// Makes it, or brings it up to date.
pub async fn upsert(flags: Flags, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let name = flags.target.name(&GROUP)?;
    let (_, there) = present::<AWSTargetGroup>(&name, context).await?;
    let wanted = wanted(&flags, &name, there.as_ref(), context).await?;
    write(there.as_ref(), &wanted, flags.target.dry_run, context).await
}

async fn wanted(
    flags: &Flags,
    name: &str,
    there: Option<&AWSTargetGroup>,
    context: &mut Context,
) -> Result<AWSTargetGroup, CommandError> {
    let namespace = context.session().await?.namespace.clone();
    let mut group = match (there, &flags.arn) {
        (Some(there), _) => there.clone(),
        (None, Some(arn)) => AWSTargetGroup::new(name, AWSTargetGroupSpec { arn: arn.clone() }),
        (None, None) => {
            let what = format!("failed to make AWSTargetGroup {name}");
            return Err(CommandError::usage(what, "--arn is missing, and there is none of that name yet"));
        }
    };
    group.metadata.namespace = Some(namespace);
    if let Some(arn) = &flags.arn {
        group.spec.arn.clone_from(arn);
    }
    let version = flags.version.iter().map(|version| (VERSION_LABEL.to_owned(), version.clone()));
    let labels: Vec<(String, String)> = flags.labels.iter().cloned().chain(version).collect();
    label(&mut group, &labels);
    Ok(group)
}

/// Makes the set, or gives it these selectors.
pub async fn upsert_set(flags: SetFlags, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let name = flags.target.name(&SET)?;
    let (key, there) = present::<AWSTargetGroupSet>(&name, context).await?;
    let mut set = match &there {
        Some(there) => there.clone(),
        None => AWSTargetGroupSet::new(&name, AWSTargetGroupSetSpec::default()),
    };
    set.metadata.namespace = Some(key.namespace);
    let selector = |pairs: &[(String, String)]| LabelSelector { match_labels: map(pairs), ..LabelSelector::default() };
    let role_arn = set.spec.generators.first().and_then(|generator| generator.awseks.role_arn.clone());
    set.spec.generators = vec![TargetGroupGenerator {
        awseks: BindingGenerator {
            cluster_selector: selector(&flags.cluster_selector),
            binding_selector: selector(&flags.binding_selector),
            role_arn,
        },
    }];
    set.spec.template.metadata.labels.extend(flags.labels.iter().cloned());
    write(there.as_ref(), &set, flags.target.dry_run, context).await
}
