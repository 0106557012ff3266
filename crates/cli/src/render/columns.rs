//! Columns that line up.

use crate::style::{Paint, Style, one_line};

/// A text and its colour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    text: String,
    paint: Paint,
}

impl Text {
    /// A text in a colour. Control characters become spaces.
    pub fn new(text: impl AsRef<str>, paint: Paint) -> Self {
        Self { text: one_line(text.as_ref()), paint }
    }

    /// A text as it is; `-` for an empty one.
    pub fn plain(text: impl AsRef<str>) -> Self {
        let text = one_line(text.as_ref());
        if text.is_empty() { Self::new("-", Paint::Dim) } else { Self { text, paint: Paint::Plain } }
    }

    /// A number, or `-`.
    pub fn number<N: ToString>(number: Option<N>) -> Self {
        Self::plain(number.map(|number| number.to_string()).unwrap_or_default())
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// A column: its heading, and on which side its texts stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    heading: &'static str,
    right: bool,
}

impl Column {
    /// A column of words.
    pub const fn left(heading: &'static str) -> Self {
        Self { heading, right: false }
    }

    /// A column of numbers.
    pub const fn right(heading: &'static str) -> Self {
        Self { heading, right: true }
    }
}

/// Lines of a table, the headings first; no line ends in a space. A row's missing texts are empty.
pub fn columns(head: &[Column], rows: &[Vec<Text>], style: &Style) -> Vec<String> {
    let heading = |column: &Column| Text { text: column.heading.to_owned(), paint: Paint::Bold };
    let first: Vec<Text> = head.iter().map(heading).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|at| std::iter::once(&first).chain(rows).filter_map(|row| row.get(at)).map(Text::width).max().unwrap_or(0))
        .collect();
    std::iter::once(&first).chain(rows).map(|row| line(head, row, &widths, style)).collect()
}

fn line(head: &[Column], row: &[Text], widths: &[usize], style: &Style) -> String {
    let mut line = String::new();
    let mut gap = 0;
    for ((column, text), width) in head.iter().zip(row).zip(widths) {
        let pad = width.saturating_sub(text.width());
        let before = if column.right { pad } else { 0 };
        if text.text.is_empty() {
            gap += before;
        } else {
            line.push_str(&" ".repeat(gap + before));
            line.push_str(&style.paint(text.paint, &text.text));
            gap = 0;
        }
        gap += pad - before + 3;
    }
    line
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    #[test]
    fn columns_line_up_with_and_without_colour() {
        let head = [Column::left("NAME"), Column::right("WEIGHT"), Column::left("NOTE")];
        let rows = vec![
            vec![Text::plain("a-long-name"), Text::number(Some(5)), Text::new("", Paint::Dim)],
            vec![Text::plain("b"), Text::number(None::<i32>), Text::new("bad\nnews", Paint::Bad)],
        ];
        let mut style = Style::plain("okractl");
        let plain = ["NAME          WEIGHT   NOTE", "a-long-name        5", "b                  -   bad news"];
        assert_eq!(columns(&head, &rows, &style), plain);
        style.color = true;
        let coloured = columns(&head, &rows, &style).join("\n");
        let stripped = anstream::adapter::strip_str(&coloured).to_string();
        assert_eq!(stripped.lines().collect::<Vec<_>>(), plain);
        assert_ne!(stripped, coloured);
    }
}
