//! `{{...}}` in templates, as `fasttemplate` scans for it: the first end mark ends it, and there is no escape.

use std::collections::BTreeMap;

use super::quote::quote;

/// Why a text could not be resolved, in Argo's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    /// Nobody knows what it stands for.
    #[error("failed to resolve {{{{{0}}}}}")]
    Unknown(String),
    /// It has no end.
    #[error("Cannot find end tag={} in the template={} starting from {}", quote(CLOSE), quote(template), quote(from))]
    NoEnd {
        /// The whole text.
        template: String,
        /// What comes after the mark.
        from: String,
    },
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// Whether a text has nothing to replace.
pub(super) fn is_plain(text: &str) -> bool {
    !text.contains(OPEN)
}

/// A text cut into what stays and what is replaced.
pub(super) struct Template<'a> {
    /// Pairs of a text and the placeholder after it.
    parts: Vec<(&'a str, &'a str)>,
    rest: &'a str,
}

impl<'a> Template<'a> {
    pub(super) fn parse(template: &'a str) -> Result<Self, PlaceholderError> {
        let (mut parts, mut rest) = (Vec::new(), template);
        while let Some((text, from)) = rest.split_once(OPEN) {
            let no_end = || PlaceholderError::NoEnd { template: template.to_owned(), from: from.to_owned() };
            let (tag, after) = from.split_once(CLOSE).ok_or_else(no_end)?;
            parts.push((text, tag));
            rest = after;
        }
        Ok(Self { parts, rest })
    }

    /// Whether there is nothing to replace.
    pub(super) fn is_plain(&self) -> bool {
        self.parts.is_empty()
    }

    /// The text with every placeholder replaced. Of several that are not known, the last is reported.
    pub(super) fn resolve(&self, values: &BTreeMap<String, String>) -> Result<String, PlaceholderError> {
        let (mut resolved, mut unknown) = (String::new(), None);
        for (text, tag) in &self.parts {
            resolved.push_str(text);
            match values.get(tag.trim()) {
                Some(value) => resolved.push_str(value),
                None => unknown = Some(PlaceholderError::Unknown((*tag).to_owned())),
            }
        }
        resolved.push_str(self.rest);
        unknown.map_or(Ok(resolved), Err)
    }
}
