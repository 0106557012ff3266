//! Where the show is seen: lines that stay, and on a terminal one below them that is drawn again and again.

use std::{
    io::Write,
    time::{Duration, Instant},
};

/// How often the last line is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// Back to the start of the line, which is wiped; what is too long for the terminal is cut, not wrapped.
const REDRAW: &str = "\r\x1b[2K\x1b[?7l";
const WRAP_AGAIN: &str = "\x1b[?7h";
const WIPE: &str = "\r\x1b[2K";

/// A writer, and how it shows.
pub struct Screen {
    out: Box<dyn Write + Send>,
    terminal: bool,
    color: bool,
    started: Instant,
    drawn: Option<Instant>,
}

impl Screen {
    /// A screen. On a `terminal` the last line is redrawn; `color` marks headings.
    pub fn new(out: Box<dyn Write + Send>, terminal: bool, color: bool) -> Self {
        Self { out, terminal, color, started: Instant::now(), drawn: None }
    }

    /// How long the show has been going.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// A line that stays.
    pub(super) fn line(&mut self, text: &str) {
        let wipe = if self.drawn.take().is_some() { WIPE } else { "" };
        self.put(&format!("{wipe}{text}\n"));
    }

    /// A heading, with an empty line above.
    pub(super) fn heading(&mut self, text: &str) {
        let text = if self.color { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() };
        self.line("");
        self.line(&text);
    }

    /// The line below all others, on a terminal; made only when it is time to draw it.
    pub(super) fn redraw(&mut self, text: impl FnOnce() -> String) {
        if self.terminal && self.drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME) {
            self.put(&format!("{REDRAW}{}{WRAP_AGAIN}", text()));
            self.drawn = Some(Instant::now());
        }
    }

    /// Leaves the terminal as it was found.
    pub(super) fn end(&mut self) {
        if self.drawn.take().is_some() {
            self.put(WIPE);
        }
    }

    fn put(&mut self, text: &str) {
        // A reader who went away does not end the show: its exit code still counts.
        let _gone = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use parking_lot::Mutex;
    use pretty_assertions::assert_eq;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(terminal: bool) -> String {
        let out = Shared::default();
        let mut screen = Screen::new(Box::new(out.clone()), terminal, false);
        screen.heading("one");
        screen.redraw(|| "now".to_owned());
        screen.redraw(|| "too soon".to_owned());
        screen.line("two");
        screen.redraw(|| "then".to_owned());
        screen.end();
        let bytes = out.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn only_a_terminal_is_drawn_on() {
        assert_eq!(shown(false), "\none\ntwo\n");
        assert_eq!(shown(true), format!("\none\n{REDRAW}now{WRAP_AGAIN}{WIPE}two\n{REDRAW}then{WRAP_AGAIN}{WIPE}"));
    }
}
