//! Texts with placeholders: `{{.cluster.name}}`.

/// The text with every placeholder replaced by what `value` has for what stands between the braces; its words where it
/// has nothing.
pub(crate) fn fill(text: &str, value: impl Fn(&str) -> Result<String, String>) -> Result<String, String> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("{{") {
        let (placeholder, after) =
            after.split_once("}}").ok_or_else(|| format!("\"{text}\" has a placeholder that does not end"))?;
        filled.push_str(before);
        filled.push_str(&value(placeholder.trim())?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}
