//! What AWS says, made fit for a status, an event and a log: short, one line, no credentials (safety.md S17).

/// Long enough for every message that AWS documents.
const MAX_LENGTH: usize = 600;
/// ARNs and urls are shorter or have colons; session tokens and encoded authorization messages do not.
const MAX_OPAQUE_WORD: usize = 100;
const HIDDEN: &str = "[redacted]";

/// A message without what could be a credential.
pub(crate) fn redact(message: &str) -> String {
    let mut result = String::new();
    for word in message.split_whitespace() {
        if !result.is_empty() {
            result.push(' ');
        }
        result.push_str(&hide(word));
        if result.len() > MAX_LENGTH {
            let end = result.floor_char_boundary(MAX_LENGTH);
            result.truncate(end);
            result.push_str("...");
            break;
        }
    }
    result
}

fn hide(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    let telling = ["x-amz-", "signature=", "credential=", "secret", "token="];
    // The names alone ("the security token included in the request") tell nothing; a value does.
    if lower.contains('=') || lower.contains(':') {
        if let Some(url) = word.split_once('?').filter(|_| lower.contains("://")) {
            return format!("{}?{HIDDEN}", url.0);
        }
        if telling.iter().any(|name| lower.contains(name)) && !lower.contains("arn:") {
            return HIDDEN.to_owned();
        }
    }
    let opaque = word.len() > MAX_OPAQUE_WORD && !word.contains(':');
    if opaque || holds_key_id(word) { HIDDEN.to_owned() } else { word.to_owned() }
}

/// Access key ids: `AKIA`, `ASIA` and 16 more (IAM user guide, unique identifiers).
fn holds_key_id(word: &str) -> bool {
    ["AKIA", "ASIA"].iter().any(|prefix| {
        word.match_indices(prefix).any(|(at, _)| {
            let rest = word.get(at + prefix.len()..).unwrap_or_default();
            rest.chars().take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit()).count() >= 12
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helps_stays() {
        for message in [
            "Rule 'arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener-rule/app/web/1/2/3' not found",
            "The security token included in the request is expired",
            "User: arn:aws:sts::123456789012:assumed-role/okra/okra is not authorized to perform: \
             elasticloadbalancing:ModifyRule on resource: arn:aws:secretsmanager:eu-west-1:1:secret:x",
            "Priority '10' is currently in use",
        ] {
            let flat = message.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(redact(message), flat);
        }
    }

    #[test]
    fn what_could_be_a_credential_goes() {
        let token = "FwoGZXIvYXdzEBYaD".repeat(20);
        for (message, secret) in [
            (format!("x-amz-security-token:{token}"), token.as_str()),
            (format!("Encoded authorization failure message: {token}"), token.as_str()),
            ("Credential=AKIAIOSFODNN7EXAMPLE/20260101/eu-west-1".to_owned(), "AKIAIOSFODNN7EXAMPLE"),
            ("key AKIAIOSFODNN7EXAMPLE is not known".to_owned(), "AKIAIOSFODNN7EXAMPLE"),
            (
                "GET https://sts.amazonaws.com/?Action=GetCallerIdentity&X-Amz-Signature=abcdef0123".to_owned(),
                "abcdef0123",
            ),
            ("client_secret=hunter2hunter2".to_owned(), "hunter2"),
        ] {
            let redacted = redact(&message);
            assert!(!redacted.contains(secret), "{redacted}");
            assert!(redacted.contains(HIDDEN), "{redacted}");
        }
    }

    #[test]
    fn it_is_one_short_line() {
        let redacted = redact(&"many\nwords ".repeat(1000));
        assert!(redacted.len() <= MAX_LENGTH + 3);
        assert!(!redacted.contains('\n'));
        assert!(redact(&"ä ".repeat(1000)).ends_with("..."));
    }
}
