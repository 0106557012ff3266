//! The only place that writes to the terminal: results to stdout, everything else to stderr.

use std::io::{self, IsTerminal as _, Write};

use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    error::CommandError,
    style::{Paint, Style},
};

/// In which form results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For people with a wide terminal.
    Wide,
    /// The objects as JSON.
    Json,
    /// The objects as YAML.
    Yaml,
    /// One `kind/name` per line.
    Name,
}

impl Output {
    /// Whether a program reads it: whole objects, or names.
    pub fn is_for_programs(self) -> bool {
        matches!(self, Self::Json | Self::Yaml | Self::Name)
    }
}

/// Prints. A reader who closed the pipe (`| head`) is no error: what follows is dropped.
pub struct Printer {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    output: Output,
    style: Style,
    error_style: Style,
    closed: bool,
}

impl Printer {
    /// Prints to this process' stdout and stderr. Colours follow `NO_COLOR`, `CLICOLOR_FORCE` and whether it is a
    /// terminal; glyphs beyond ASCII follow the locale.
    pub fn standard(output: Output, program: &str) -> Self {
        let color = |choice: ColorChoice| choice != ColorChoice::Never;
        let unicode = locale_is_utf8();
        let style = |color| Style { color, unicode, program: program.to_owned() };
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            output,
            style: style(color(AutoStream::choice(&io::stdout()))),
            error_style: style(color(AutoStream::choice(&io::stderr()))),
            closed: false,
        }
    }

    /// Prints to these writers, for tests.
    pub fn to(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>, output: Output, style: Style) -> Self {
        Self { out, err, output, error_style: style.clone(), style, closed: false }
    }

    /// The form that was asked for.
    pub fn output(&self) -> Output {
        self.output
    }

    /// How text for people looks.
    pub fn style(&self) -> &Style {
        &self.style
    }

    /// Whether nobody reads any more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a person is likely to see stdout as it is written.
    pub fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Prints a result, and a line end where it has none.
    pub fn result(&mut self, text: &str) -> Result<(), CommandError> {
        if self.closed {
            return Ok(());
        }
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        match write!(self.out, "{text}{end}").and_then(|()| self.out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(CommandError::failed("failed to write to stdout", error)),
            Ok(()) => Ok(()),
        }
    }

    /// Tells how things go, on stderr.
    pub fn note(&mut self, text: &str) {
        // There is nobody left to tell when stderr is gone.
        let _gone = writeln!(self.err, "{text}");
    }

    /// Tells a failure, on stderr.
    pub fn error(&mut self, error: &CommandError) {
        let head = self.error_style.paint(Paint::Bad, "error:");
        self.note(&format!("{head} {error}"));
    }

    /// Prints one object in a form for programs. Nothing for the forms for people.
    pub fn object<K: Serialize>(&mut self, kind: &str, name: &str, object: &K) -> Result<(), CommandError> {
        let value = to_value(object)?;
        self.value(&value, &format!("{kind}/{name}"))
    }

    /// Prints objects in a form for programs, as a `List`. Nothing for the forms for people.
    pub fn objects(&mut self, kind: &str, objects: &[Value]) -> Result<(), CommandError> {
        let name = |object: &Value| {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            format!("{kind}/{name}")
        };
        let names: Vec<String> = objects.iter().map(name).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        if self.output == Output::Name && names.is_empty() {
            return Ok(());
        }
        self.value(&list, &names.join("\n"))
    }

    /// Prints a value in a form for programs; `name` is what `-o name` shows. Nothing for the forms for people.
    pub fn value(&mut self, value: &Value, name: &str) -> Result<(), CommandError> {
        match self.output {
            Output::Json => {
                let text = serde_json::to_string_pretty(value);
                self.result(&text.map_err(|error| CommandError::internal("failed to write JSON", error))?)
            }
            Output::Yaml => self.result(&yaml(value)?),
            Output::Name => self.result(name),
            Output::Table | Output::Wide => Ok(()),
        }
    }
}

/// The object as a JSON value.
pub fn to_value<K: Serialize>(object: &K) -> Result<Value, CommandError> {
    serde_json::to_value(object).map_err(|error| CommandError::internal("failed to write JSON", error))
}

/// The value as YAML.
pub fn yaml<K: Serialize>(value: &K) -> Result<String, CommandError> {
    serde_saphyr::to_string(value).map_err(|error| CommandError::internal("failed to write YAML", error))
}

fn locale_is_utf8() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shared::Shared;

    use super::*;

    /// A writer that a test can look into.
    mod shared {
        use std::{
            io::{self, Write},
            sync::{Arc, Mutex},
        };

        #[derive(Clone, Default)]
        pub struct Shared(pub Arc<Mutex<Vec<u8>>>);

        impl Shared {
            pub fn text(&self) -> String {
                String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
            }
        }

        impl Write for Shared {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn printer(output: Output) -> (Printer, Shared, Shared) {
        let (out, err) = (Shared::default(), Shared::default());
        let style = Style::plain("okractl");
        (Printer::to(Box::new(out.clone()), Box::new(err.clone()), output, style), out, err)
    }

    #[test]
    fn results_and_notes_stay_apart() {
        let (mut printer, out, err) = printer(Output::Table);
        printer.result("one").unwrap();
        printer.result("two\n").unwrap();
        printer.note("note");
        printer.error(&CommandError::failed("failed", "why").hint("do"));
        assert_eq!(out.text(), "one\ntwo\n");
        assert_eq!(err.text(), "note\nerror: failed: why\n  do\n");
        assert_eq!(Arc::strong_count(&out.0), 2);
    }

    #[test]
    fn objects_are_a_list_for_programs() {
        let objects = [json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "b"}})];
        for (output, expected) in [
            (Output::Name, "cell.okra.mumo.co/a\ncell.okra.mumo.co/b\n"),
            (Output::Yaml, "apiVersion: v1\nitems:\n- metadata:\n    name: a\n- metadata:\n    name: b\nkind: List\n"),
            (Output::Table, ""),
        ] {
            let (mut printer, out, _) = printer(output);
            printer.objects("cell.okra.mumo.co", &objects).unwrap();
            assert_eq!(out.text(), expected, "{output:?}");
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let style = Style::plain("okractl");
        let mut printer = Printer::to(Box::new(Closed), Box::new(io::sink()), Output::Table, style);
        printer.result("one").unwrap();
        assert!(printer.is_closed());
        printer.result("two").unwrap();
    }
}
