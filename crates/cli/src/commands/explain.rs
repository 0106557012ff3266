//! `explain`: what a Cell waits for and why.

use serde_json::json;

use crate::{
    context::{Context, route_status},
    error::{CommandError, ExitStatus},
    printer::to_value,
    render::{choices, render_explanation},
};

/// Say what a Cell waits for and why: its message, conditions, and what the load balancer answered.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The Cell's name.
    name: String,
}

/// Prints it.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let cell = context.cell(&args.name).await?;
    let session = context.session().await?;
    let route = route_status(&session.store, &cell).await?;
    let now = context.now();
    let printer = &mut context.printer;
    if printer.output().is_for_programs() {
        let status = cell.status.clone().unwrap_or_default();
        let commands: Vec<_> = choices(&cell, route.as_ref())
            .into_iter()
            .map(|choice| json!({"command": choice.command, "effect": choice.effect, "leadsTo": choice.leads_to}))
            .collect();
        let value = json!({
            "phase": status.phase,
            "message": status.message,
            "hold": status.hold,
            "waitingSince": status.waiting_since,
            "conditions": status.conditions,
            "route": route.as_ref().map(to_value).transpose()?,
            "commands": commands,
        });
        printer.value(&value, &status.message)?;
        return Ok(ExitStatus::Ok);
    }
    let text = render_explanation(&cell, route.as_ref(), now, printer.style());
    printer.result(&text)?;
    Ok(ExitStatus::Ok)
}
