//! Conditions of a rule, from AWS's words to ours and back.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{
    HostHeaderConditionConfig, HttpHeaderConditionConfig, HttpRequestMethodConditionConfig, PathPatternConditionConfig,
    QueryStringConditionConfig, QueryStringKeyValuePair, RuleCondition, SourceIpConditionConfig,
};
use okra_core::route::Conditions;

const HOST: &str = "host-header";
const PATH: &str = "path-pattern";
const METHOD: &str = "http-request-method";
const SOURCE_IP: &str = "source-ip";
const HEADER: &str = "http-header";
const QUERY: &str = "query-string";

/// What AWS answered, in canonical form. What Okra cannot write goes to `other`: regular expressions, address
/// types, unknown fields, and a field that is there twice (AWS demands both of them, ours is one list).
pub(crate) fn read(conditions: &[RuleCondition]) -> Conditions {
    let mut by_field: BTreeMap<(String, String), Vec<&RuleCondition>> = BTreeMap::new();
    for condition in conditions {
        by_field.entry((field(condition).to_owned(), header_name(condition))).or_default().push(condition);
    }
    let mut result = Conditions::default();
    for ((field, header), group) in by_field {
        match group.as_slice() {
            [one] => read_one(&field, header, one, &mut result),
            several => result.other.extend(several.iter().map(|condition| in_words(condition))),
        }
    }
    result.canonical()
}

fn read_one(field: &str, header: String, condition: &RuleCondition, result: &mut Conditions) {
    let values = values(condition);
    match field {
        HOST => result.hosts = values,
        PATH => result.path_patterns = values,
        METHOD => result.methods = values,
        SOURCE_IP => result.source_ips = values,
        QUERY => result.query_strings = pairs(condition),
        HEADER if !values.is_empty() => {
            result.headers.insert(header, values);
        }
        HEADER => {}
        _ => {
            result.other.push(in_words(condition));
            return;
        }
    }
    let strange = unwritable(condition);
    if !strange.is_empty() {
        result.other.push(format!("{field}{} {}", named(condition), strange.join(", ")));
    }
}

fn field(condition: &RuleCondition) -> &str {
    condition.field().unwrap_or_default()
}

fn header_name(condition: &RuleCondition) -> String {
    let name = condition.http_header_config().and_then(HttpHeaderConditionConfig::http_header_name);
    name.unwrap_or_default().to_ascii_lowercase()
}

/// The plain values of a condition. AWS says those of hosts and paths twice, moto only once.
fn values(condition: &RuleCondition) -> Vec<String> {
    let configured = match field(condition) {
        HOST => condition.host_header_config().map(HostHeaderConditionConfig::values),
        PATH => condition.path_pattern_config().map(PathPatternConditionConfig::values),
        METHOD => condition.http_request_method_config().map(HttpRequestMethodConditionConfig::values),
        SOURCE_IP => condition.source_ip_config().map(SourceIpConditionConfig::values),
        HEADER => condition.http_header_config().map(HttpHeaderConditionConfig::values),
        _ => None,
    };
    let configured = configured.unwrap_or_default();
    if configured.is_empty() { condition.values().to_vec() } else { configured.to_vec() }
}

fn pairs(condition: &RuleCondition) -> Vec<(String, String)> {
    let pairs = condition.query_string_config().map(QueryStringConditionConfig::values).unwrap_or_default();
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    pairs.iter().map(|pair| (text(pair.key()), text(pair.value()))).collect()
}

/// The parts of a condition that Okra cannot write.
fn unwritable(condition: &RuleCondition) -> Vec<String> {
    let configured = match field(condition) {
        HOST => condition.host_header_config().map(HostHeaderConditionConfig::regex_values),
        PATH => condition.path_pattern_config().map(PathPatternConditionConfig::regex_values),
        HEADER => condition.http_header_config().map(HttpHeaderConditionConfig::regex_values),
        _ => None,
    };
    let mut regexes = configured.unwrap_or_default().to_vec();
    regexes.extend(condition.regex_values().iter().cloned());
    regexes.sort();
    regexes.dedup();
    let mut parts: Vec<String> = regexes.iter().map(|regex| format!("regex {regex}")).collect();
    if let Some(family) = condition.source_ip_config().and_then(SourceIpConditionConfig::ip_address_type) {
        parts.push(format!("address type {family}"));
    }
    parts
}

fn named(condition: &RuleCondition) -> String {
    let name = header_name(condition);
    if name.is_empty() { name } else { format!(" {name}") }
}

fn in_words(condition: &RuleCondition) -> String {
    let mut values = values(condition);
    values.extend(pairs(condition).iter().map(|(key, value)| format!("{key}={value}")));
    values.extend(unwritable(condition));
    values.sort();
    format!("{}{} {}", field(condition), named(condition), values.join(", "))
}

/// The conditions for CreateRule and ModifyRule. All query strings go into one condition: any of them matches.
/// An error, in words, when they cannot be written.
pub(crate) fn write(conditions: &Conditions) -> Result<Vec<RuleCondition>, String> {
    if !conditions.other.is_empty() {
        return Err(format!("conditions of this kind can only be read: {}", conditions.other.join("; ")));
    }
    let field = |name: &str| RuleCondition::builder().field(name);
    let list = |values: &[String]| Some(values.to_vec()).filter(|values| !values.is_empty());
    let mut result = Vec::new();
    if let Some(values) = list(&conditions.hosts) {
        let config = HostHeaderConditionConfig::builder().set_values(Some(values)).build();
        result.push(field(HOST).host_header_config(config).build());
    }
    if let Some(values) = list(&conditions.path_patterns) {
        let config = PathPatternConditionConfig::builder().set_values(Some(values)).build();
        result.push(field(PATH).path_pattern_config(config).build());
    }
    if let Some(values) = list(&conditions.methods) {
        let config = HttpRequestMethodConditionConfig::builder().set_values(Some(values)).build();
        result.push(field(METHOD).http_request_method_config(config).build());
    }
    if let Some(values) = list(&conditions.source_ips) {
        let config = SourceIpConditionConfig::builder().set_values(Some(values)).build();
        result.push(field(SOURCE_IP).source_ip_config(config).build());
    }
    for (name, values) in &conditions.headers {
        let config = HttpHeaderConditionConfig::builder().http_header_name(name).set_values(list(values)).build();
        result.push(field(HEADER).http_header_config(config).build());
    }
    if !conditions.query_strings.is_empty() {
        let pairs = conditions.query_strings.iter().map(|(key, value)| {
            let key = Some(key.clone()).filter(|key| !key.is_empty());
            QueryStringKeyValuePair::builder().set_key(key).value(value).build()
        });
        let config = QueryStringConditionConfig::builder().set_values(Some(pairs.collect())).build();
        result.push(field(QUERY).query_string_config(config).build());
    }
    if result.is_empty() {
        return Err("a rule needs at least one condition".to_owned());
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    fn all_kinds() -> Conditions {
        Conditions {
            hosts: strings(&["a.example.com", "b.example.com"]),
            path_patterns: strings(&["/Api/*"]),
            methods: strings(&["GET"]),
            source_ips: strings(&["10.0.0.0/8"]),
            headers: BTreeMap::from([("x-a".to_owned(), strings(&["1", "2"])), ("x-b".to_owned(), strings(&["*"]))]),
            query_strings: vec![(String::new(), "any".to_owned()), ("key".to_owned(), "value".to_owned())],
            other: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let written = write(&all_kinds()).unwrap();
        assert_eq!(written.len(), 7);
        assert_eq!(read(&written), all_kinds());
    }

    #[test]
    fn the_order_and_the_double_form_of_an_answer_do_not_matter() {
        let mut written = write(&all_kinds()).unwrap();
        written.reverse();
        let hosts = HostHeaderConditionConfig::builder().values("B.example.com").values("a.example.com").build();
        let echoed = RuleCondition::builder()
            .field(HOST)
            .values("B.example.com")
            .values("a.example.com")
            .host_header_config(hosts);
        written.retain(|condition| condition.field() != Some(HOST));
        written.push(echoed.build());
        assert_eq!(read(&written), all_kinds());
    }

    #[test]
    fn plain_values_alone_are_read() {
        let condition = RuleCondition::builder().field(PATH).values("/a").build();
        assert_eq!(read(&[condition]).path_patterns, strings(&["/a"]));
    }

    #[test]
    fn what_cannot_be_written_makes_a_rule_differ() {
        let regex = RuleCondition::builder()
            .field(HOST)
            .host_header_config(
                HostHeaderConditionConfig::builder().values("a.example.com").regex_values("^b$").build(),
            )
            .build();
        let conditions = read(&[regex]);
        assert_eq!(conditions.hosts, strings(&["a.example.com"]));
        assert_eq!(conditions.other, strings(&["host-header regex ^b$"]));
        assert!(write(&conditions).unwrap_err().contains("^b$"));

        let unknown = RuleCondition::builder().field("client-cert").values("x").build();
        assert_eq!(read(&[unknown]).other, strings(&["client-cert x"]));
    }

    #[test]
    fn conditions_that_must_both_hold_are_not_taken_for_alternatives() {
        let header = |value: &str| {
            let config = HttpHeaderConditionConfig::builder().http_header_name("X-A").values(value).build();
            RuleCondition::builder().field(HEADER).http_header_config(config).build()
        };
        let both = read(&[header("2"), header("1")]);
        assert_eq!(both.headers, BTreeMap::new());
        assert_eq!(both.other, strings(&["http-header x-a 1", "http-header x-a 2"]));

        let query = |value: &str| {
            let pair = QueryStringKeyValuePair::builder().key("k").value(value).build();
            let config = QueryStringConditionConfig::builder().values(pair).build();
            RuleCondition::builder().field(QUERY).query_string_config(config).build()
        };
        assert_eq!(read(&[query("1"), query("2")]).other, strings(&["query-string k=1", "query-string k=2"]));
    }

    #[test]
    fn a_rule_without_conditions_is_not_written() {
        assert!(write(&Conditions::default()).is_err());
    }
}
