//! CSV as RFC 4180 has it.

/// The rows of a text.
///
/// # Errors
/// If a quoted field does not end.
pub(super) fn rows(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut field = String::new();
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            c if quoted => field.push(c),
            '"' if field.is_empty() => quoted = true,
            ',' => row.push(std::mem::take(&mut field)),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            c => field.push(c),
        }
    }
    if quoted {
        return Err("the answer ends within a quoted field".to_owned());
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn fields_are_quoted_or_not() {
        assert_eq!(rows("a,b\r\n\"c,\n\"\"d\"\"\",\n").unwrap(), [["a", "b"], ["c,\n\"d\"", ""]]);
        assert_eq!(rows("x").unwrap(), [["x"]]);
        assert_eq!(rows("").unwrap(), Vec::<Vec<String>>::new());
        assert!(rows("\"x").is_err());
    }
}
