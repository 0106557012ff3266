//! Between the neutral terms of a plan and the specs of the two kinds of route object.

use okra_api::{
    alb::{AWSApplicationLoadBalancerConfigSpec, ForwardConfig, ForwardTargetGroup},
    route::{LocalListener, RouteSpec, RouteTargetGroup},
};

use super::observed::{DesiredRoute, RouteGroup, RoutePlace};
use crate::route::{Identity, validate_alb, validate_route};

fn floor(count: Option<u32>) -> Option<i32> {
    count.map(|count| i32::try_from(count).unwrap_or(i32::MAX))
}

fn count(floor: Option<i32>) -> Option<u32> {
    floor.map(|floor| u32::try_from(floor).unwrap_or(0))
}

/// The spec of an AWSApplicationLoadBalancerConfig; `None` when the place is not one.
pub fn alb_spec(desired: &DesiredRoute) -> Option<AWSApplicationLoadBalancerConfigSpec> {
    let RoutePlace::Alb { listener_arn, role_arn, listener, stickiness } = &desired.place else { return None };
    let mut listener = (**listener).clone();
    let group = |group: &RouteGroup| ForwardTargetGroup {
        name: group.name.clone(),
        arn: group.id.clone(),
        weight: group.weight,
        min_healthy_targets: floor(group.min_healthy),
    };
    listener.rule.forward = ForwardConfig { target_groups: desired.groups.iter().map(group).collect() };
    Some(AWSApplicationLoadBalancerConfigSpec {
        listener_arn: listener_arn.clone(),
        role_arn: role_arn.clone(),
        listener,
        stickiness: stickiness.clone(),
        health_of: desired.health_of.iter().cloned().collect(),
        overwrite: desired.overwrite.clone(),
        way_back: Some(desired.way_back),
        former_intents: Some(desired.former.clone()),
        deletion_policy: desired.deletion_policy,
    })
}

/// The neutral terms of an AWSApplicationLoadBalancerConfig.
pub fn desired_of_alb(spec: &AWSApplicationLoadBalancerConfigSpec, adopt: Option<String>) -> DesiredRoute {
    let mut listener = spec.listener.clone();
    let forward = std::mem::take(&mut listener.rule.forward);
    let group = |group: ForwardTargetGroup| RouteGroup {
        name: group.name,
        id: group.arn,
        weight: group.weight,
        min_healthy: count(group.min_healthy_targets),
        health_path: None,
    };
    DesiredRoute {
        place: RoutePlace::Alb {
            listener_arn: spec.listener_arn.clone(),
            role_arn: spec.role_arn.clone().filter(|arn| !arn.is_empty()),
            listener: Box::new(listener),
            stickiness: spec.stickiness.clone(),
        },
        groups: forward.target_groups.into_iter().map(group).collect(),
        health_of: spec.health_of.iter().cloned().collect(),
        overwrite: spec.overwrite.clone(),
        way_back: spec.way_back.unwrap_or(false),
        former: spec.former_intents.clone().unwrap_or_default(),
        deletion_policy: spec.deletion_policy,
        adopt,
    }
}

/// The spec of a Route; `None` when the place is not one.
pub fn route_spec(desired: &DesiredRoute) -> Option<RouteSpec> {
    let RoutePlace::Local { listen } = &desired.place else { return None };
    let group = |group: &RouteGroup| RouteTargetGroup {
        name: group.name.clone(),
        url: group.id.clone(),
        health_path: group.health_path.clone(),
        weight: group.weight,
        min_healthy_targets: floor(group.min_healthy),
    };
    Some(RouteSpec {
        local: LocalListener { listen: listen.clone() },
        target_groups: desired.groups.iter().map(group).collect(),
        health_of: desired.health_of.iter().cloned().collect(),
        overwrite: desired.overwrite.clone(),
        way_back: Some(desired.way_back),
        former_intents: Some(desired.former.clone()),
        deletion_policy: desired.deletion_policy,
    })
}

/// The neutral terms of a Route.
pub fn desired_of_route(spec: &RouteSpec, adopt: Option<String>) -> DesiredRoute {
    let group = |group: &RouteTargetGroup| RouteGroup {
        name: group.name.clone(),
        id: group.url.clone(),
        weight: group.weight,
        min_healthy: count(group.min_healthy_targets),
        health_path: group.health_path.clone(),
    };
    DesiredRoute {
        place: RoutePlace::Local { listen: spec.local.listen.clone() },
        groups: spec.target_groups.iter().map(group).collect(),
        health_of: spec.health_of.iter().cloned().collect(),
        overwrite: spec.overwrite.clone(),
        way_back: spec.way_back.unwrap_or(false),
        former: spec.former_intents.clone().unwrap_or_default(),
        deletion_policy: spec.deletion_policy,
        adopt,
    }
}

/// The fingerprint of what is asked for; `None`: nothing, or what no router would take.
pub(super) fn fingerprint_of(desired: &DesiredRoute) -> Option<String> {
    let identity = Identity::default();
    let alb = alb_spec(desired).and_then(|spec| validate_alb(&spec, &identity).ok());
    let local = || route_spec(desired).and_then(|spec| validate_route(&spec, &identity).ok());
    let intent = alb.or_else(local).filter(|intent| !intent.groups.is_empty())?;
    Some(intent.fingerprint())
}
