//! Keeps secrets out of what is handed back, and what is handed back short.

use std::collections::BTreeMap;

use okra_provider::metric::{Judgement, MetricError, Reading, SecretText};

/// Text of an answer in a status, at most: bytes.
pub(crate) const MAX_TEXT: usize = 256;
/// A value that is numbers only, at most: bytes.
const MAX_NUMBERS: usize = 4096;
/// A message, at most: bytes.
const MAX_MESSAGE: usize = 1024;
/// Shorter secrets are left in values: taking out each `1` would change what was measured.
const SHORTEST: usize = 4;
/// What stands in place of a secret, as in Argo Rollouts.
const STARS: &str = "*****";

/// The secrets of one measurement.
#[derive(Default)]
pub(crate) struct Redaction {
    secrets: Vec<SecretText>,
}

impl Redaction {
    pub(crate) fn new(secrets: &[SecretText]) -> Self {
        let mut redaction = Self::default();
        for secret in secrets {
            redaction.add(secret);
        }
        redaction
    }

    /// Adds a secret: with its forms in a URL, and in JSON.
    pub(crate) fn add(&mut self, secret: &SecretText) {
        let text = secret.expose();
        let escaped = crate::go::query_escape(text);
        let quoted = crate::go::quote(text);
        let unquoted = quoted.trim_start_matches('"').trim_end_matches('"').to_owned();
        for form in [text.to_owned(), escaped.replace('+', "%20"), escaped, unquoted] {
            if !form.is_empty() && !self.secrets.iter().any(|known| known.expose() == form) {
                self.secrets.push(SecretText::new(form));
            }
        }
        // The longest first: one secret may be the beginning of another.
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
    }

    fn apply(&self, text: &str, shortest: usize) -> String {
        let secrets = self.secrets.iter().map(SecretText::expose).filter(|secret| secret.len() >= shortest);
        secrets.fold(
            text.to_owned(),
            |text, secret| if text.contains(secret) { text.replace(secret, STARS) } else { text },
        )
    }

    fn metadata(&self, metadata: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let clean = |value: String| printable(&self.apply(&value, SHORTEST), MAX_NUMBERS);
        metadata.into_iter().map(|(key, value)| (key, clean(value))).collect()
    }

    pub(crate) fn value(&self, value: &str) -> String {
        let numbers = value.bytes().all(|byte| byte.is_ascii_digit() || b"[], .+-eENaInf".contains(&byte));
        printable(&self.apply(value, SHORTEST), if numbers { MAX_NUMBERS } else { MAX_TEXT })
    }

    pub(crate) fn error(&self, error: MetricError) -> MetricError {
        MetricError {
            message: printable(&self.apply(&error.message, 1), MAX_MESSAGE),
            metadata: self.metadata(error.metadata),
        }
    }

    pub(crate) fn reading(&self, reading: Reading) -> Reading {
        match reading {
            Reading::Sample(mut sample) => {
                sample.value = self.value(&sample.value);
                sample.metadata = self.metadata(sample.metadata);
                Reading::Sample(sample)
            }
            Reading::Judged(judgement) => Reading::Judged(Judgement {
                value: self.value(&judgement.value),
                message: printable(&self.apply(&judgement.message, 1), MAX_MESSAGE),
                metadata: self.metadata(judgement.metadata),
                ..judgement
            }),
            // Its metadata names what is to be resumed and comes from here, not from an answer's text.
            Reading::Running(running) => Reading::Running(running),
        }
    }

    pub(crate) fn labels(&self, metadata: BTreeMap<String, String>) -> BTreeMap<String, String> {
        self.metadata(metadata)
    }
}

/// At most so many bytes, without control characters.
pub(crate) fn printable(text: &str, most: usize) -> String {
    let kept = |c: char| if c.is_control() && c != '\n' && c != '\t' { ' ' } else { c };
    if text.len() <= most {
        return text.chars().map(kept).collect();
    }
    let end = (0..=most.saturating_sub(3)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let (start, _) = text.split_at(end);
    start.chars().map(kept).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    #[test]
    fn secrets_are_taken_out_in_every_form() {
        let redaction =
            Redaction::new(&[SecretText::new("s3cr t/\"x"), SecretText::new("s3cr t/\"x+y"), SecretText::new("7")]);
        let error = redaction.error(MetricError::new("a s3cr t/\"x b s3cr+t%2F%22x c s3cr t/\\\"x d 7 s3cr t/\"x+y"));
        assert_eq!(error.message, "a ***** b ***** c ***** d ***** *****");
        assert_eq!(redaction.value("[7,\"s3cr t/\\\"x\"]"), "[7,\"*****\"]");
    }

    #[test]
    fn what_an_answer_says_is_kept_short() {
        let redaction = Redaction::default();
        assert_eq!(redaction.value(&"<html>".repeat(100)).len(), 256);
        assert_eq!(redaction.value(&format!("[{}]", ["0.123"].repeat(400).join(","))).len(), 2401);
        assert_eq!(printable("a\u{7}b\u{1b}[31m", 100), "a b [31m");
        assert_eq!(printable("\u{e4}\u{e4}\u{e4}\u{e4}", 6), "\u{e4}...");
    }
}
