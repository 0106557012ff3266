//! Go's `strconv.Quote`.

use std::fmt::Write as _;

/// The text as Go quotes it, with the quotes around.
pub(super) fn quote(text: &str) -> String {
    format!("\"{}\"", escape(text))
}

/// The text as Go quotes it, without the quotes around.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        let code = u32::from(c);
        let _infallible = match c {
            '"' | '\\' => write!(escaped, "\\{c}"),
            c if is_print(c) => write!(escaped, "{c}"),
            '\u{7}' => write!(escaped, "\\a"),
            '\u{8}' => write!(escaped, "\\b"),
            '\u{c}' => write!(escaped, "\\f"),
            '\n' => write!(escaped, "\\n"),
            '\r' => write!(escaped, "\\r"),
            '\t' => write!(escaped, "\\t"),
            '\u{b}' => write!(escaped, "\\v"),
            c if c < ' ' || c == '\u{7f}' => write!(escaped, "\\x{code:02x}"),
            _ if code < 0x1_0000 => write!(escaped, "\\u{code:04x}"),
            _ => write!(escaped, "\\U{code:08x}"),
        };
    }
    escaped
}

/// Go's `strconv.IsPrint`: letters, marks, numbers, punctuation, symbols and the plain space. The tables of the
/// standard library say the same, but for characters that are younger than Go's version of Unicode; it escapes a mark
/// only at the start of a text.
fn is_print(c: char) -> bool {
    c == ' ' || c == '\'' || "a".chars().chain([c]).collect::<String>().escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        for (text, quoted) in [
            ("plain", r#""plain""#),
            ("it's \"so\" \\", r#""it's \"so\" \\""#),
            ("\t\n\r\u{8}\u{c}", r#""\t\n\r\b\f""#),
            ("\u{7}\u{b}\u{0}\u{1b}\u{7f}", r#""\a\v\x00\x1b\x7f""#),
            ("é 日本 😀 e\u{301}", "\"é 日本 😀 e\u{301}\""),
            ("\u{a0}\u{200b}\u{feff}", r#""\u00a0\u200b\ufeff""#),
            ("\u{e0001}\u{10ffff}", r#""\U000e0001\U0010ffff""#),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }
}
