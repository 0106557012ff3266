//! What AWS says to the conditions of a rule before it takes them. moto takes them all, none included.

use std::collections::BTreeSet;

use super::error::AwsError;
use super::node::Node;
use super::state::{Condition, config_name};

/// Condition values, wildcards and match evaluations of one rule; quotas of the load balancer guide.
const MAX_VALUES: usize = 5;
const MAX_WILDCARDS: usize = 5;
const MAX_LENGTH: usize = 128;
const MAX_NAME: usize = 40;
const FIELDS: [&str; 6] =
    ["http-request-method", "host-header", "path-pattern", "query-string", "http-header", "source-ip"];

/// Reads and judges the conditions of a rule.
pub(crate) fn parse(items: &[Node]) -> Result<Vec<Condition>, AwsError> {
    if items.is_empty() {
        return Err(AwsError::validation("A condition must be specified"));
    }
    let conditions = items.iter().map(parse_one).collect::<Result<Vec<_>, _>>()?;
    let mut seen = BTreeSet::new();
    for condition in &conditions {
        let repeatable = matches!(condition.field.as_str(), "http-header" | "query-string");
        if !repeatable && !seen.insert(condition.field.as_str()) {
            return Err(AwsError::validation(format!("A rule can only have one '{}' condition", condition.field)));
        }
    }
    if conditions.iter().map(Condition::count).sum::<usize>() > MAX_VALUES {
        return Err(AwsError::validation(format!("A rule can only have '{MAX_VALUES}' condition values")));
    }
    if conditions.iter().map(wildcards).sum::<usize>() > MAX_WILDCARDS {
        return Err(AwsError::validation(format!("A rule can only have '{MAX_WILDCARDS}' condition wildcards")));
    }
    Ok(conditions)
}

fn parse_one(item: &Node) -> Result<Condition, AwsError> {
    let field = item.str("Field").unwrap_or_default();
    if !FIELDS.contains(&field) {
        let fields = FIELDS.join(", ");
        return Err(AwsError::validation(format!("Condition field '{field}' must be one of '[{fields}]'")));
    }
    let config = item.get(config_name(field));
    let mut condition = Condition { field: field.to_owned(), ..Condition::default() };
    let configured = config.map(|c| c.strings("Values")).unwrap_or_default();
    let plain = item.strings("Values");
    if !plain.is_empty() && !matches!(field, "host-header" | "path-pattern") {
        return Err(AwsError::validation(format!("Condition '{field}' takes its values in {}", config_name(field))));
    }
    if !plain.is_empty() && !configured.is_empty() && plain != configured {
        return Err(AwsError::validation(format!("Condition '{field}' has two different lists of values")));
    }
    condition.values = if configured.is_empty() { plain } else { configured };
    condition.regex = config.map(|c| c.strings("RegexValues")).unwrap_or_default();
    if field == "http-header" {
        condition.header = config.and_then(|c| c.str("HttpHeaderName")).map(str::to_owned);
    }
    if field == "query-string" {
        condition.values.clear();
        for pair in config.map(|c| c.list("Values")).unwrap_or_default() {
            let value = pair.str("Value").ok_or_else(|| AwsError::validation("A query string value is required"))?;
            condition.pairs.push((pair.str("Key").map(str::to_owned), value.to_owned()));
        }
    }
    judge(&condition)?;
    Ok(condition)
}

fn judge(condition: &Condition) -> Result<(), AwsError> {
    let field = condition.field.as_str();
    if condition.count() == 0 {
        return Err(AwsError::validation(format!("A condition value must be specified for '{field}'")));
    }
    if !condition.regex.is_empty() && !matches!(field, "host-header" | "path-pattern" | "http-header") {
        return Err(AwsError::validation(format!("Condition '{field}' takes no regular expressions")));
    }
    let texts = condition.pairs.iter().flat_map(|(k, v)| k.iter().chain([v]));
    for text in condition.values.iter().chain(&condition.regex).chain(texts) {
        if text.is_empty() || text.chars().count() > MAX_LENGTH {
            return Err(AwsError::validation(format!(
                "Condition value '{text}' must have 1 to {MAX_LENGTH} characters"
            )));
        }
    }
    if field == "http-header" {
        judge_header(condition.header.as_deref().unwrap_or_default())?;
    }
    match condition.values.iter().find(|value| !valid(field, value)) {
        Some(bad) => Err(AwsError::validation(format!("The value '{bad}' is not valid for condition '{field}'"))),
        None => Ok(()),
    }
}

fn judge_header(name: &str) -> Result<(), AwsError> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'+-.^_`|~".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(token) {
        return Err(AwsError::validation(format!("The HTTP header name '{name}' is not valid")));
    }
    if name.eq_ignore_ascii_case("host") {
        return Err(AwsError::validation("Use a host-header condition for the header 'host'"));
    }
    Ok(())
}

fn valid(field: &str, value: &str) -> bool {
    match field {
        "host-header" => {
            let chars = value.chars().all(|c| c.is_ascii_alphanumeric() || "-.*?".contains(c));
            let end = value.rsplit('.').next().unwrap_or_default();
            let ends_in_letters = !end.is_empty() && end.chars().all(|c| c.is_ascii_alphabetic() || "*?-".contains(c));
            chars && value.contains('.') && ends_in_letters
        }
        "path-pattern" => value.chars().all(|c| c.is_ascii_alphanumeric() || "_-.$/~\"'@:+&()!,;=%*?".contains(c)),
        "http-request-method" => {
            value.len() <= MAX_NAME && value.chars().all(|c| c.is_ascii_uppercase() || c == '-' || c == '_')
        }
        "source-ip" => value.split_once('/').is_some_and(|(ip, bits)| {
            let most = match ip.parse() {
                Ok(std::net::IpAddr::V4(_)) => 32,
                Ok(std::net::IpAddr::V6(_)) => 128,
                Err(_) => return false,
            };
            bits.parse::<u8>().is_ok_and(|bits| bits <= most)
        }),
        _ => true,
    }
}

fn wildcards(condition: &Condition) -> usize {
    let texts = condition.pairs.iter().flat_map(|(k, v)| k.iter().chain([v]));
    // A method and an address are compared as they are.
    let plain = matches!(condition.field.as_str(), "http-request-method" | "source-ip");
    let values = condition.values.iter().filter(|_| !plain).chain(texts);
    values.map(|text| text.chars().filter(|c| matches!(c, '*' | '?')).count()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(field: &str, values: &[&str]) -> Node {
        let config = Node::empty().with("Values", Node::texts(values));
        Node::empty().with_text("Field", field).with(config_name(field), config)
    }

    #[test]
    fn values_of_every_field_are_judged() {
        for (field, good, bad) in [
            ("host-header", "*.example.com", "localhost"),
            ("host-header", "a.b.c", "10.0.0.1"),
            ("path-pattern", "/api/*", "/a b"),
            ("http-request-method", "GET", "get"),
            ("source-ip", "10.0.0.0/8", "10.0.0.1"),
            ("source-ip", "2001:db8::/32", "10.0.0.0/33"),
        ] {
            assert!(parse(&[condition(field, &[good])]).is_ok(), "{field} {good}");
            assert!(parse(&[condition(field, &[bad])]).is_err(), "{field} {bad}");
        }
    }

    #[test]
    fn quotas_of_a_rule_are_judged() {
        let four = condition("host-header", &["a.io", "b.io", "c.io", "d.io"]);
        assert!(parse(&[four.clone(), condition("path-pattern", &["/"])]).is_ok());
        assert!(parse(&[four.clone(), condition("path-pattern", &["/", "/a"])]).is_err());
        assert!(parse(&[four.clone(), four]).is_err());
        assert!(parse(&[condition("path-pattern", &["/******"])]).is_err());
        assert!(parse(&[condition("path-pattern", &[])]).is_err());
        assert!(parse(&[]).is_err());
    }
}
