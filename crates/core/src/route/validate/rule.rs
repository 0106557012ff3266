//! A listener rule's priority and conditions.

use std::{collections::BTreeSet, net::IpAddr};

use okra_api::alb::ListenerRule;

use super::Faults;
use crate::route::Conditions;

/// Condition values and wildcards that one rule can hold: quotas of Application Load Balancers.
const MAX_VALUES: usize = 5;
const MAX_WILDCARDS: usize = 5;
/// Characters of one condition value (ELBv2 API reference, RuleCondition).
const MAX_VALUE: usize = 128;
const MAX_HEADER_NAME: usize = 40;

const PATH: &str = "spec.listener.rule";

/// Checks a rule and gives its conditions in canonical form.
pub(super) fn check_rule(faults: &mut Faults, rule: &ListenerRule) -> Conditions {
    faults.range(
        format!("{PATH}.priority"),
        rule.priority,
        1,
        50_000,
        "choose one that no other rule of the listener has",
    );
    check_count(faults, rule);
    check_texts(faults, "hosts", &rule.hosts);
    check_texts(faults, "pathPatterns", &rule.path_patterns);
    check_methods(faults, &rule.methods);
    check_sources(faults, &rule.source_ips);
    check_headers(faults, rule);
    for (key, value) in &rule.query_strings {
        faults.length(format!("{PATH}.queryStrings[{key:?}]"), &value.0, 1, MAX_VALUE);
        faults.length(format!("{PATH}.queryStrings"), key, 0, MAX_VALUE);
    }
    conditions(rule)
}

fn check_count(faults: &mut Faults, rule: &ListenerRule) {
    let headers: usize = rule.headers.values().map(|values| values.0.len()).sum();
    let count = rule.hosts.len()
        + rule.path_patterns.len()
        + rule.methods.len()
        + rule.source_ips.len()
        + rule.query_strings.len()
        + headers;
    faults.unless(count > 0, PATH, || {
        "at least one condition is required: set hosts, pathPatterns, methods, sourceIPs, headers or queryStrings"
            .into()
    });
    faults.unless(count <= MAX_VALUES, PATH, || {
        format!("has {count} condition values: an Application Load Balancer's rule holds at most {MAX_VALUES}")
    });
    let texts = rule.hosts.iter().chain(&rule.path_patterns).chain(rule.headers.values().flat_map(|values| &values.0));
    let queries = rule.query_strings.iter().flat_map(|(key, value)| [key, &value.0]);
    let wildcards = texts.chain(queries).flat_map(|text| text.chars()).filter(|c| matches!(c, '*' | '?')).count();
    faults.unless(wildcards <= MAX_WILDCARDS, PATH, || {
        format!("has {wildcards} wildcards: an Application Load Balancer's rule holds at most {MAX_WILDCARDS}")
    });
}

fn check_texts(faults: &mut Faults, field: &str, values: &[String]) {
    for (index, value) in values.iter().enumerate() {
        let at = format!("{PATH}.{field}[{index}]");
        faults.length(at.clone(), value, 1, MAX_VALUE);
        faults.unless(!value.chars().any(|c| c.is_whitespace() || c.is_control()), at, || {
            format!("{value:?} holds white space: remove it")
        });
    }
}

fn check_methods(faults: &mut Faults, methods: &[String]) {
    for (index, method) in methods.iter().enumerate() {
        let legal = (1..=40).contains(&method.len())
            && method.chars().all(|c| c.is_ascii_uppercase() || matches!(c, '_' | '-'));
        faults.unless(legal, format!("{PATH}.methods[{index}]"), || {
            format!("{method:?} is not an HTTP method in upper case, like GET")
        });
    }
}

fn check_sources(faults: &mut Faults, sources: &[String]) {
    for (index, source) in sources.iter().enumerate() {
        faults.unless(is_cidr(source), format!("{PATH}.sourceIPs[{index}]"), || {
            format!("{source:?} is not a CIDR, like 10.0.0.0/8 or 2001:db8::/32")
        });
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return false };
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let digits = !prefix.is_empty() && prefix.chars().all(|c| c.is_ascii_digit());
    digits && prefix.parse::<u8>().is_ok_and(|prefix| prefix <= most)
}

fn check_headers(faults: &mut Faults, rule: &ListenerRule) {
    let mut names = BTreeSet::new();
    for (name, values) in &rule.headers {
        let at = format!("{PATH}.headers[{name:?}]");
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'+-.^_`|~".contains(c);
        faults.unless((1..=MAX_HEADER_NAME).contains(&name.len()) && name.chars().all(token), at.clone(), || {
            format!("is not a header's name: up to {MAX_HEADER_NAME} letters, digits and dashes, no wildcards")
        });
        faults.unless(!name.eq_ignore_ascii_case("host"), at.clone(), || "use hosts for the host header".into());
        faults.unless(names.insert(name.to_ascii_lowercase()), at.clone(), || {
            "is on the list twice, since case does not count in a header's name: put the values together".into()
        });
        faults.unless(!values.0.is_empty(), at.clone(), || "has no value: give at least one".into());
        for (index, value) in values.0.iter().enumerate() {
            faults.length(format!("{at}[{index}]"), value, 1, MAX_VALUE);
        }
    }
}

fn conditions(rule: &ListenerRule) -> Conditions {
    Conditions {
        hosts: rule.hosts.clone(),
        path_patterns: rule.path_patterns.clone(),
        methods: rule.methods.clone(),
        source_ips: rule.source_ips.clone(),
        headers: rule.headers.iter().map(|(name, values)| (name.clone(), values.0.clone())).collect(),
        query_strings: rule.query_strings.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect(),
        other: Vec::new(),
    }
    .canonical()
}
