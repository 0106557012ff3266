//! `version`: which program this is.

use serde_json::json;

use crate::{
    context::Context,
    error::{CommandError, ExitStatus},
};

/// Prints it.
pub fn run(context: &mut Context) -> Result<ExitStatus, CommandError> {
    let name = (context.command)().get_name().to_owned();
    let version = env!("CARGO_PKG_VERSION");
    let text = format!("{name} {version}");
    if context.printer.output().is_for_programs() {
        context.printer.value(&json!({"name": name, "version": version}), &text)?;
    } else {
        context.printer.result(&text)?;
    }
    Ok(ExitStatus::Ok)
}
