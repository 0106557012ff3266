//! The spec of a `Route`.

use okra_api::{RouteSpec, route::RouteTargetGroup};

use super::{Faults, FieldError, GroupFields, Identity, check_groups, check_requests, floor};
use crate::route::{Intent, IntentGroup, Place};

const GROUPS: &str = "spec.targetGroups";

/// The intent of a `Route`, or every fault of its spec.
pub fn validate_route(spec: &RouteSpec, identity: &Identity) -> Result<Intent, Vec<FieldError>> {
    let mut faults = Faults::default();
    faults.unless(is_address(&spec.local.listen), "spec.local.listen", || {
        format!("{:?} is not an address and a port, like 127.0.0.1:8080", spec.local.listen)
    });
    check_groups(&mut faults, GROUPS, "url", spec.target_groups.iter().map(fields));
    for (index, group) in spec.target_groups.iter().enumerate() {
        faults.unless(is_url(&group.url), format!("{GROUPS}[{index}].url"), || {
            format!("{:?} is not a URL like http://127.0.0.1:8080", group.url)
        });
        if let Some(path) = &group.health_path {
            let legal = path.starts_with('/') && path.len() <= 1024 && !path.chars().any(is_blank);
            faults.unless(legal, format!("{GROUPS}[{index}].healthPath"), || {
                format!("{path:?} is not a path: it begins with / and has at most 1024 characters")
            });
        }
    }
    check_requests(&mut faults, &spec.health_of, 64, spec.overwrite.as_deref());
    faults.done(Intent {
        owner: identity.owner.clone(),
        installation: identity.installation.clone(),
        place: Place::Local { listen: spec.local.listen.clone() },
        groups: spec.target_groups.iter().map(intent_group).collect(),
        stickiness: None,
        known_rule: identity.known_rule.clone(),
        adopt: identity.adopt.clone(),
    })
}

fn is_address(text: &str) -> bool {
    let port = |port: &str| port.chars().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    text.len() <= 64
        && !text.chars().any(is_blank)
        && text.rsplit_once(':').is_some_and(|(host, text)| !host.is_empty() && port(text))
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    text.len() <= 2048
        && !text.chars().any(is_blank)
        && rest.is_some_and(|rest| rest.split('/').next().is_some_and(|host| !host.is_empty()))
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

fn fields(group: &RouteTargetGroup) -> GroupFields<'_> {
    GroupFields { name: &group.name, id: &group.url, weight: group.weight, min_healthy: group.min_healthy_targets }
}

fn intent_group(group: &RouteTargetGroup) -> IntentGroup {
    IntentGroup {
        name: group.name.clone(),
        id: group.url.clone(),
        weight: group.weight,
        min_healthy: floor(group.min_healthy_targets),
        health_path: group.health_path.clone(),
    }
}
