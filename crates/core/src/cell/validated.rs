//! A Cell whose every field has been looked at.

use jiff::SignedDuration;
use okra_api::{
    GoDuration, TargetGroupSelector,
    cell::{CellSpec, CountOrPercent, IngressType, OnFailure, StrategyType},
    route::DeletionPolicy,
    step::{BackgroundAnalysis, BlueGreenStep, CanaryStep},
};

use super::{observed::RoutePlace, readiness, steps};
use crate::{
    field::FieldError,
    version::{self, Version},
};

/// Healthy targets that a group needs before its weight is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// So many.
    Count(u32),
    /// So many percent of what a serving group had when the rollout began, times the share about to be given.
    Percent(u32),
}

impl Floor {
    /// The count for a group that is about to get `share` percent, where a serving group had `at_start` healthy
    /// targets. A percentage asks for at least one target, a count for what it says.
    pub fn needed(self, at_start: Option<u32>, share: i32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                let parts = u64::from(at_start.unwrap_or(0))
                    * u64::from(percent)
                    * u64::from(share.clamp(0, 100).unsigned_abs());
                u32::try_from(parts.div_ceil(10_000)).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

/// A Cell's spec in the form in which it is acted on.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedCell {
    /// Where the rule is.
    pub place: RoutePlace,
    /// Which target groups.
    pub selector: TargetGroupSelector,
    /// Target groups that a version needs.
    pub replicas: usize,
    /// The pinned version.
    pub pin: Option<Version>,
    /// No weight moves, except towards safety.
    pub suspend: bool,
    /// Healthy targets that a group needs.
    pub floor: Floor,
    /// Canary or BlueGreen.
    pub strategy: StrategyType,
    /// Steps of a canary.
    pub steps: Vec<CanaryStep>,
    /// Steps of a blue-green rollout.
    pub blue_green_steps: Vec<BlueGreenStep>,
    /// Background analysis.
    pub analysis: Option<BackgroundAnalysis>,
    /// What happens when a step fails.
    pub on_failure: OnFailure,
    /// How long old groups stay attached; `None`: until the next rollout.
    pub retire_after: Option<SignedDuration>,
    /// How long until an old group counts as safe to destroy.
    pub drain: SignedDuration,
    /// How long waiting is fine.
    pub progress_deadline: SignedDuration,
    /// What becomes of the rule with the Cell.
    pub deletion_policy: DeletionPolicy,
}

/// Time after weight 0 until a group counts as safe to destroy, where the Cell does not say.
const DEFAULT_DRAIN: SignedDuration = SignedDuration::from_mins(10);
/// Time that waiting is fine, where the Cell does not say.
const DEFAULT_PROGRESS_DEADLINE: SignedDuration = SignedDuration::from_secs(600);

struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError::new(path, message));
    }

    fn duration(&mut self, path: &str, value: Option<&GoDuration>) -> Option<SignedDuration> {
        match value?.get() {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.add(path, error.to_string());
                None
            }
        }
    }
}

impl ValidatedCell {
    /// Looks at every field, also at what admission refuses: an object may be older than its schema.
    pub fn new(spec: &CellSpec) -> Result<Self, Vec<FieldError>> {
        let mut errors = Errors(Vec::new());
        let (place, selector) = ingress(spec, &mut errors);
        let strategy = spec.update_strategy.clone().unwrap_or_default();
        let (canary, blue_green) = (strategy.canary.unwrap_or_default(), strategy.blue_green.unwrap_or_default());
        check_steps(&canary.steps, &blue_green.steps, &mut errors);
        if spec.readiness.is_some() && spec.ingress.type_ == IngressType::Local {
            errors
                .add("spec.readiness", "is of AWS load balancers only: the groups of a Local route are in no cluster");
        }
        for (index, name) in spec.readiness.iter().flat_map(|readiness| &readiness.applications).enumerate() {
            if let Err(fault) = readiness::application_name(name, "x") {
                errors.add(format!("spec.readiness.applications[{index}]"), fault);
            }
        }
        if canary.analysis.as_ref().is_some_and(|analysis| analysis.templates.is_empty()) {
            errors.add("spec.updateStrategy.canary.analysis.templates", "is empty: name at least one template");
        }
        let replicas = usize::try_from(spec.replicas).ok().filter(|count| (1..=64).contains(count));
        if replicas.is_none() {
            errors.add("spec.replicas", format!("{} is not between 1 and 64", spec.replicas));
        }
        let pin = match spec.version.as_deref().filter(|text| !text.is_empty()).map(version::parse).transpose() {
            Ok(pin) => pin,
            Err(error) => {
                errors.add("spec.version", error.to_string());
                None
            }
        };
        let validated = Self {
            place,
            selector,
            replicas: replicas.unwrap_or(1),
            pin,
            suspend: spec.suspend,
            floor: floor(spec.min_healthy_targets.as_ref(), &mut errors),
            strategy: strategy.type_,
            steps: canary.steps,
            blue_green_steps: blue_green.steps,
            analysis: canary.analysis,
            on_failure: spec.on_failure,
            retire_after: errors.duration("spec.retireAfter", spec.retire_after.as_ref()),
            drain: errors.duration("spec.drainDuration", spec.drain_duration.as_ref()).unwrap_or(DEFAULT_DRAIN),
            progress_deadline: spec
                .progress_deadline_seconds
                .map_or(DEFAULT_PROGRESS_DEADLINE, |seconds| SignedDuration::from_secs(i64::from(seconds.max(1)))),
            deletion_policy: spec.deletion_policy,
        };
        if errors.0.is_empty() { Ok(validated) } else { Err(errors.0) }
    }
}

fn ingress(spec: &CellSpec, errors: &mut Errors) -> (RoutePlace, TargetGroupSelector) {
    let ingress = &spec.ingress;
    let (path, place, selector) = match (ingress.type_, &ingress.aws_application_load_balancer, &ingress.local) {
        (IngressType::AWSApplicationLoadBalancer, Some(alb), _) => {
            let mut listener = alb.listener.clone();
            listener.rule.forward = okra_api::alb::ForwardConfig::default();
            let place = RoutePlace::Alb {
                listener_arn: alb.listener_arn.clone(),
                role_arn: alb.role_arn.clone().filter(|arn| !arn.is_empty()),
                listener: Box::new(listener),
                stickiness: alb.stickiness.clone(),
            };
            ("spec.ingress.awsApplicationLoadBalancer", place, alb.target_group_selector.clone())
        }
        (IngressType::AWSApplicationLoadBalancer, None, _) => {
            errors
                .add("spec.ingress.awsApplicationLoadBalancer", "is missing: type AWSApplicationLoadBalancer needs it");
            return Default::default();
        }
        (IngressType::Local, _, Some(local)) => (
            "spec.ingress.local",
            RoutePlace::Local { listen: local.listen.clone() },
            local.target_group_selector.clone(),
        ),
        (IngressType::Local, _, None) => {
            errors.add("spec.ingress.local", "is missing: type Local needs it");
            return Default::default();
        }
        (IngressType::AWSNetworkLoadBalancer, ..) => {
            errors.add(
                "spec.ingress.type",
                "AWSNetworkLoadBalancer is planned and not there yet: use AWSApplicationLoadBalancer",
            );
            return Default::default();
        }
    };
    if selector.is_empty() {
        errors.add(
            format!("{path}.targetGroupSelector"),
            "selects every target group: set matchLabels or matchExpressions",
        );
    }
    if let RoutePlace::Alb { listener, .. } = &place {
        let rule = &listener.rule;
        if !(1..=50_000).contains(&rule.priority) {
            errors
                .add(format!("{path}.listener.rule.priority"), format!("{} is not between 1 and 50000", rule.priority));
        }
        if rule.hosts.is_empty()
            && rule.path_patterns.is_empty()
            && rule.methods.is_empty()
            && rule.source_ips.is_empty()
            && rule.headers.is_empty()
            && rule.query_strings.is_empty()
        {
            errors.add(
                format!("{path}.listener.rule"),
                "has no condition: set hosts, pathPatterns, methods, sourceIPs, headers or queryStrings",
            );
        }
    }
    (place, selector)
}

fn check_steps(canary: &[CanaryStep], blue_green: &[BlueGreenStep], errors: &mut Errors) {
    let canary = canary.iter().enumerate().map(|(index, step)| ("canary", index, steps::of_canary(step)));
    let blue_green =
        blue_green.iter().enumerate().map(|(index, step)| ("blueGreen", index, steps::of_blue_green(step)));
    for (strategy, index, step) in canary.chain(blue_green) {
        if let Err(error) = step {
            errors.add(format!("spec.updateStrategy.{strategy}.steps[{index}]{}", error.field), error.fault);
        }
    }
}

fn floor(value: Option<&CountOrPercent>, errors: &mut Errors) -> Floor {
    let parsed = match value {
        None => Some(Floor::Count(1)),
        Some(CountOrPercent::Count(count)) => {
            u32::try_from(*count).ok().filter(|count| *count <= 1000).map(Floor::Count)
        }
        Some(CountOrPercent::Text(text)) => match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().filter(|percent| *percent <= 100).map(Floor::Percent),
            None => text.parse().ok().filter(|count| *count <= 1000).map(Floor::Count),
        },
    };
    parsed.unwrap_or_else(|| {
        errors.add("spec.minHealthyTargets", "is neither a count from 0 to 1000 nor a percentage from 0% to 100%");
        Floor::Count(1)
    })
}
