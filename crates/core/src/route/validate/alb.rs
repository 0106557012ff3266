//! The spec of an `AWSApplicationLoadBalancerConfig`.

use okra_api::{
    AWSApplicationLoadBalancerConfigSpec,
    alb::{ForwardTargetGroup, Stickiness},
};

use super::{
    Faults, FieldError, GroupFields, Identity, arn::Arn, check_groups, check_requests, floor, rule::check_rule,
};
use crate::route::{Intent, IntentGroup, Place, Sticky};

const GROUPS: &str = "spec.listener.rule.forward.targetGroups";
/// The longest stickiness of a rule: 7 days (ELBv2 API reference, TargetGroupStickinessConfig).
const MAX_STICKY_SECONDS: i32 = 604_800;

/// The intent of an Application Load Balancer's route object, or every fault of its spec.
///
/// How many target groups the router can hold is not checked here: that is the plan's part.
pub fn validate_alb(
    spec: &AWSApplicationLoadBalancerConfigSpec,
    identity: &Identity,
) -> Result<Intent, Vec<FieldError>> {
    let mut faults = Faults::default();
    let listener = check_listener(&mut faults, &spec.listener_arn);
    let role_arn = spec.role_arn.clone().filter(|role| !role.is_empty());
    if let Some(role) = &role_arn {
        faults.unless(role.len() <= 512 && Arn::role(role).is_some(), "spec.roleARN", || {
            format!("{role:?} is not the ARN of a role: arn:aws:iam::ACCOUNT:role/NAME")
        });
    }
    let rule = &spec.listener.rule;
    let conditions = check_rule(&mut faults, rule);
    let groups = &rule.forward.target_groups;
    check_groups(&mut faults, GROUPS, "arn", groups.iter().map(fields));
    for (index, group) in groups.iter().enumerate() {
        check_group_arn(&mut faults, index, &group.arn, listener);
    }
    let stickiness = spec.stickiness.as_ref().map(|stickiness| check_stickiness(&mut faults, stickiness));
    check_requests(&mut faults, &spec.health_of, 16, spec.overwrite.as_deref());
    faults.done(Intent {
        owner: identity.owner.clone(),
        installation: identity.installation.clone(),
        place: Place::Alb { listener_arn: spec.listener_arn.clone(), role_arn, priority: rule.priority, conditions },
        groups: groups.iter().map(intent_group).collect(),
        stickiness,
        known_rule: identity.known_rule.clone(),
        adopt: identity.adopt.clone(),
    })
}

fn check_listener<'a>(faults: &mut Faults, arn: &'a str) -> Option<Arn<'a>> {
    let parsed = Arn::load_balancing(arn, "listener/app/").filter(|_| arn.len() <= 512);
    faults.unless(parsed.is_some(), "spec.listenerARN", || {
        format!(
            "{arn:?} is not the ARN of an Application Load Balancer's listener: \
             arn:aws:elasticloadbalancing:REGION:ACCOUNT:listener/app/NAME/ID/ID"
        )
    });
    parsed
}

fn check_group_arn(faults: &mut Faults, index: usize, arn: &str, listener: Option<Arn<'_>>) {
    let field = format!("{GROUPS}[{index}].arn");
    let Some(parsed) = Arn::load_balancing(arn, "targetgroup/").filter(|_| arn.len() <= 512) else {
        faults.add(
            field,
            format!(
                "{arn:?} is not the ARN of a target group: arn:aws:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/ID"
            ),
        );
        return;
    };
    let Some(listener) = listener else { return };
    faults.unless((parsed.partition, parsed.region) == (listener.partition, listener.region), field, || {
        format!(
            "is in region {}, the listener in {}: an Application Load Balancer forwards only within its region",
            parsed.region, listener.region
        )
    });
}

fn check_stickiness(faults: &mut Faults, stickiness: &Stickiness) -> Sticky {
    match stickiness.duration_seconds {
        Some(seconds) => {
            faults.range("spec.stickiness.durationSeconds", seconds, 1, MAX_STICKY_SECONDS, "choose one within");
        }
        None => faults.unless(!stickiness.enabled, "spec.stickiness.durationSeconds", || {
            "is required when stickiness is enabled".into()
        }),
    }
    Sticky { enabled: stickiness.enabled, seconds: stickiness.duration_seconds.unwrap_or_default() }.normal()
}

fn fields(group: &ForwardTargetGroup) -> GroupFields<'_> {
    GroupFields { name: &group.name, id: &group.arn, weight: group.weight, min_healthy: group.min_healthy_targets }
}

fn intent_group(group: &ForwardTargetGroup) -> IntentGroup {
    IntentGroup {
        name: group.name.clone(),
        id: group.arn.clone(),
        weight: group.weight,
        min_healthy: floor(group.min_healthy_targets),
        health_path: None,
    }
}
