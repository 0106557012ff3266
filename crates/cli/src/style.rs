//! How text looks: colours and glyphs, or neither.

use owo_colors::{AnsiColors, OwoColorize as _};

/// How text for people looks. Rendering is a pure function of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to colour.
    pub color: bool,
    /// Whether the terminal shows more than ASCII.
    pub unicode: bool,
    /// How the reader calls this program, store and context included: the commands that are shown begin with it.
    pub program: String,
}

impl Style {
    /// No colours, ASCII only.
    pub fn plain(program: impl Into<String>) -> Self {
        Self { color: false, unicode: false, program: program.into() }
    }

    /// Paints a text.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let color = match paint {
            Paint::Plain => return text.to_owned(),
            Paint::Dim => return text.dimmed().to_string(),
            Paint::Bold => return text.bold().to_string(),
            Paint::Good => AnsiColors::Green,
            Paint::Warn => AnsiColors::Yellow,
            Paint::Bad => AnsiColors::Red,
            Paint::Busy => AnsiColors::Cyan,
        };
        text.color(color).to_string()
    }

    /// One of two texts: the first where the terminal shows more than ASCII.
    pub fn glyph(&self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }
}

/// What a colour stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paint {
    /// As it is.
    #[default]
    Plain,
    /// A heading.
    Bold,
    /// Of less weight.
    Dim,
    /// As it should be.
    Good,
    /// Somebody should look.
    Warn,
    /// Wrong.
    Bad,
    /// Under way.
    Busy,
}

/// One line of an object's text: what came from outside must not be able to steer the terminal.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_only_when_asked() {
        let mut style = Style::plain("okractl");
        assert_eq!(style.paint(Paint::Bad, "x"), "x");
        style.color = true;
        assert_eq!(style.paint(Paint::Bad, "x"), "\u{1b}[31mx\u{1b}[39m");
        assert_eq!(style.paint(Paint::Plain, "x"), "x");
    }

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(one_line("a\u{1b}[2J\nb\r"), "a [2J b");
    }
}
