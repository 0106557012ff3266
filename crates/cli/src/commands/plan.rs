//! `plan`: what okrad would decide now.

use jiff::Timestamp;
use okra_core::cell::{Action, DesiredRoute, Plan, plan};
use serde_json::json;

use crate::{
    context::Context,
    error::{CommandError, ExitStatus},
    observe::observe,
    printer::to_value,
    render::duration,
    style::one_line,
};

/// Show what okrad would decide now, from the objects as they are. Nothing is written.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The Cell's name.
    name: String,
}

/// Prints it.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let cell = context.cell(&args.name).await?;
    let session = context.session().await?;
    let observed = observe(&session, &cell).await?;
    let now = context.now();
    let plan = plan(&observed, now);
    if context.printer.output().is_for_programs() {
        let value = json!({
            "headline": plan.report.headline,
            "waits": plan.report.waits,
            "actions": plan.actions.iter().map(action).collect::<Vec<_>>(),
            "status": to_value(&plan.status)?,
            "wakeAt": plan.wake_at,
        });
        context.printer.value(&value, &plan.report.headline)?;
    } else {
        context.printer.result(&render(&plan, now))?;
    }
    Ok(ExitStatus::Ok)
}

fn render(plan: &Plan, now: Timestamp) -> String {
    let mut lines = vec![one_line(&plan.report.headline)];
    lines.extend(plan.report.waits.iter().map(|wait| format!("  {}", one_line(wait))));
    if plan.actions.is_empty() {
        lines.push("Nothing to do now.".to_owned());
    } else {
        lines.push("Would now:".to_owned());
        lines.extend(plan.actions.iter().map(|act| format!("  {}", one_line(&action(act)))));
    }
    lines.push(plan.wake_at.map_or_else(
        || "Looks again when something changes.".to_owned(),
        |at| format!("Looks again in {}.", duration(at.duration_since(now))),
    ));
    lines.join("\n")
}

fn action(action: &Action) -> String {
    match action {
        Action::WriteRoute { desired, .. } => format!("ask the load balancer for {}", weights(desired)),
        Action::CreatePause { name, expire_time: Some(at), .. } => format!("create Pause {name} until {at}"),
        Action::CreatePause { name, .. } => format!("create Pause {name} until somebody resumes"),
        Action::CancelPause { name } => format!("cancel Pause {name}"),
        Action::DeletePause { name } => format!("delete Pause {name} of an earlier rollout"),
        Action::Block(versions) => {
            let words = versions.iter().map(|version| format!("{} ({})", version.version, version.cause));
            format!("block {}", words.collect::<Vec<_>>().join(", "))
        }
        Action::Unblock { version } => format!("unblock {version}"),
        Action::CreateRun { name, .. } => format!("create AnalysisRun {name}"),
        Action::CreateExperiment { name, .. } => format!("create Experiment {name}"),
        Action::TerminateRun { name } => format!("end run {name}"),
        Action::DeleteRun { name } => format!("delete run {name} of an earlier rollout"),
    }
}

fn weights(route: &DesiredRoute) -> String {
    if route.groups.is_empty() {
        return "its rule and the health of its target groups".to_owned();
    }
    let groups = route.groups.iter().map(|group| format!("{}={}", group.name, group.weight));
    groups.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use okra_core::cell::{ObservedCell, ObservedGroup};

    use super::*;
    use crate::render::fixtures::{self, NOW};

    fn observed(groups: Vec<ObservedGroup>) -> ObservedCell {
        ObservedCell {
            cell: fixtures::cell(),
            groups,
            unready: BTreeMap::new(),
            route: None,
            blocked: Vec::new(),
            pauses: BTreeMap::new(),
            templates: okra_core::cell::Templates::default(),
            replica_sets: BTreeMap::new(),
            runs: BTreeMap::new(),
            router: crate::observe::capabilities(okra_api::cell::IngressType::AWSApplicationLoadBalancer, false),
        }
    }

    fn group(name: &str) -> ObservedGroup {
        let labels = [("role", "web"), ("okra.mumo.co/version", "1.0.0")];
        ObservedGroup {
            name: name.to_owned(),
            id: Ok(format!("arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/{name}/1")),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            drained: false,
            health_path: None,
        }
    }

    #[test]
    fn a_plan_that_waits_says_for_what() {
        let text = render(&plan(&observed(vec![group("web-1")]), NOW), NOW);
        assert!(text.contains("waits for 2 target group") && text.contains("Nothing to do now."), "{text}");
    }

    #[test]
    fn a_plan_names_its_actions() {
        let text = render(&plan(&observed(vec![group("web-1"), group("web-2")]), NOW), NOW);
        assert!(text.contains("Would now:") && text.contains("ask the load balancer for"), "{text}");
    }
}
