//! `okra demo`.

use std::io::{self, Write};

use okra_app::demo::{self, Failure, Options, Screen};
use okra_cli::{CommandError, Context, ExitStatus, printer::to_value};

use crate::args::Demo;

/// Plays the demo on stdout; where stdout is for a program, on stderr, and the summary goes to stdout.
pub async fn run(args: Demo, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let Demo { listen, rate, keep, pause } = args;
    let printer = &mut context.printer;
    let for_programs = printer.output().is_for_programs();
    let out: Box<dyn Write + Send> = if for_programs { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
    let is_terminal = !for_programs && printer.is_terminal();
    let mut screen = Screen::new(out, is_terminal, is_terminal && printer.style().color);
    let played = demo::run(Options { listen, rate, pause, keep }, &mut screen).await;
    let summary = played.map_err(failed)?;
    printer.value(&to_value(&summary)?, "demo")?;
    Ok(ExitStatus::Ok)
}

fn failed(failure: Failure) -> CommandError {
    let error = CommandError::failed("the demo did not come to a good end", &failure);
    match failure.log {
        Some(log) => error.hint(format!("the controllers' log is in {}", log.display())),
        None => error,
    }
}
