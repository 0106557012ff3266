//! Cells in the states that a person meets.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use okra_api::{
    Cell, CellSpec, CellStatus, RouteOutcome, TargetGroupSelector, Verb,
    alb::{ListenerConfig, ListenerRule},
    cell::{AlbIngress, Ingress, IngressType},
    cell_status::{
        CellPhase, Hold, RetiredTargetGroup, RolloutOutcome, RolloutRecord, RolloutStatus, TargetGroupState,
    },
    condition::{self, NewCondition, reason},
    request::RequestRecord,
    route::{ForeignState, RouteStatus, RouteWeight},
    step::{AnalysisStep, CanaryStep, PauseStep, TemplateRef},
};

pub(crate) const NOW: Timestamp = Timestamp::constant(1_795_219_210, 0);

pub(crate) fn ago(seconds: i64) -> Timestamp {
    NOW - SignedDuration::from_secs(seconds)
}

pub(crate) fn cell() -> Cell {
    let rule = ListenerRule { priority: 10, hosts: vec!["example.com".to_owned()], ..ListenerRule::default() };
    let labels = BTreeMap::from([("role".to_owned(), "web".to_owned())]);
    let selector = TargetGroupSelector { match_labels: labels, ..TargetGroupSelector::default() };
    let alb = AlbIngress {
        listener_arn: "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/a/1/2".to_owned(),
        listener: ListenerConfig { rule },
        target_group_selector: selector,
        ..AlbIngress::default()
    };
    let ingress = Ingress {
        type_: IngressType::AWSApplicationLoadBalancer,
        aws_application_load_balancer: Some(alb),
        local: None,
    };
    let mut cell = Cell::new("web", CellSpec { ingress, replicas: 2, ..CellSpec::default() });
    cell.metadata.namespace = Some("shop".to_owned());
    cell.metadata.generation = Some(3);
    cell.metadata.creation_timestamp = Some(Time(ago(200_000)));
    cell
}

fn group(name: &str, version: &str, weight: i32, healthy: u32) -> TargetGroupState {
    TargetGroupState {
        name: name.to_owned(),
        version: version.to_owned(),
        weight: Some(weight),
        desired_weight: Some(weight),
        healthy_targets: Some(healthy),
        total_targets: Some(30),
        healthy_at_start: Some(30),
        read_at: Some(ago(8)),
    }
}

fn steps() -> Vec<CanaryStep> {
    let analysis = AnalysisStep {
        templates: vec![TemplateRef { template_name: "success-rate".to_owned(), cluster_scope: false }],
        ..AnalysisStep::default()
    };
    let pause = |duration: Option<&str>| CanaryStep {
        pause: Some(PauseStep { duration: duration.map(Into::into) }),
        ..CanaryStep::default()
    };
    vec![
        CanaryStep { set_weight: Some(20), ..CanaryStep::default() },
        pause(Some("10m")),
        CanaryStep { step_weight: Some(20), ..CanaryStep::default() },
        CanaryStep { analysis: Some(analysis), ..CanaryStep::default() },
        pause(None),
    ]
}

fn rollout(step: i32, weight: i32) -> RolloutStatus {
    RolloutStatus {
        id: "1.1.0-4".to_owned(),
        version: "1.1.0".to_owned(),
        previous_version: Some("1.0.0".to_owned()),
        started_at: ago(700),
        current_step_index: step,
        steps_total: 5,
        step_started_at: ago(250),
        canary_weight: weight,
        steps: steps(),
        ..RolloutStatus::default()
    }
}

fn route(outcome: RouteOutcome) -> RouteStatus {
    RouteStatus {
        observed_generation: Some(7),
        outcome: Some(outcome),
        read_at: Some(ago(8)),
        ..RouteStatus::default()
    }
}

fn with(status: CellStatus, conditions: &[(&str, bool, &str, &str)]) -> Cell {
    let mut cell = cell();
    let mut status = CellStatus { observed_generation: Some(3), ..status };
    for (type_, is, reason, message) in conditions {
        let new = NewCondition { type_, status: Some(*is), reason, message: (*message).to_owned() };
        condition::set(&mut status.conditions, ago(250), Some(3), new);
    }
    cell.status = Some(status);
    cell
}

fn record(version: &str, from: Option<&str>, outcome: RolloutOutcome, by: &str) -> RolloutRecord {
    RolloutRecord {
        id: format!("{version}-3"),
        version: version.to_owned(),
        previous_version: from.map(str::to_owned),
        outcome,
        reason: if by.is_empty() { String::new() } else { "latency over 300 ms".to_owned() },
        by: by.to_owned(),
        started_at: ago(90_000),
        finished_at: ago(89_280),
    }
}

fn canary(step: i32, weight: i32) -> CellStatus {
    CellStatus {
        phase: Some(CellPhase::Progressing),
        stable_version: Some("1.0.0".to_owned()),
        desired_version: Some("1.1.0".to_owned()),
        rollout: Some(rollout(step, weight)),
        rollout_count: 4,
        target_groups: vec![
            group("web-1", "1.0.0", (100 - weight) / 2, 30),
            group("web-2", "1.0.0", (100 - weight) / 2, 29),
            group("web-3", "1.1.0", weight / 2, 30),
            group("web-4", "1.1.0", weight / 2, 30),
        ],
        history: vec![
            record("1.0.1", Some("1.0.0"), RolloutOutcome::Aborted, "alice"),
            record("1.0.0", None, RolloutOutcome::Succeeded, ""),
        ],
        ..CellStatus::default()
    }
}

pub(crate) fn healthy() -> (Cell, RouteStatus) {
    let finished = RolloutStatus {
        finished_at: Some(ago(300)),
        outcome: Some(RolloutOutcome::Succeeded),
        current_step_index: 5,
        ..rollout(5, 100)
    };
    let status = CellStatus {
        phase: Some(CellPhase::Healthy),
        message: "1.1.0 serves on 2 target groups".to_owned(),
        stable_version: Some("1.1.0".to_owned()),
        desired_version: Some("1.1.0".to_owned()),
        rollout: Some(finished),
        target_groups: vec![
            group("web-3", "1.1.0", 50, 30),
            group("web-4", "1.1.0", 50, 30),
            group("web-1", "1.0.0", 0, 30),
        ],
        retired_target_groups: vec![
            RetiredTargetGroup {
                name: "web-1".to_owned(),
                version: "1.0.0".to_owned(),
                zero_since: ago(300),
                detached_at: None,
                safe_to_destroy_at: ago(-300),
            },
            RetiredTargetGroup {
                name: "web-2".to_owned(),
                version: "1.0.0".to_owned(),
                zero_since: ago(900),
                detached_at: Some(ago(800)),
                safe_to_destroy_at: ago(200),
            },
        ],
        last_request: Some(RequestRecord {
            id: "r1".to_owned(),
            verb: Verb::Promote,
            user: "alice".to_owned(),
            at: ago(250),
            accepted: true,
            message: "step 5 was skipped".to_owned(),
        }),
        history: vec![
            record("1.1.0", Some("1.0.0"), RolloutOutcome::Succeeded, ""),
            record("1.0.0", None, RolloutOutcome::Succeeded, ""),
        ],
        ..canary(5, 100)
    };
    let ready = (condition::ROLLBACK_READY, true, reason::AS_DESIRED, "1.0.0: 30 of 30 healthy");
    (with(status, &[(condition::READY, true, "", ""), ready]), route(RouteOutcome::Verified))
}

pub(crate) fn waiting_for_pause() -> (Cell, RouteStatus) {
    let status = CellStatus {
        phase: Some(CellPhase::Paused),
        message: "step 2 of 5: pause 10m, until 12:05:10".to_owned(),
        rollout: Some(RolloutStatus { current_step_run: Some("web-1-1-0-4-1".to_owned()), ..rollout(1, 20) }),
        ..canary(1, 20)
    };
    let ready = (condition::ROLLBACK_READY, true, reason::AS_DESIRED, "1.0.0: 59 of 60 healthy");
    (with(status, &[ready]), route(RouteOutcome::Verified))
}

pub(crate) fn waiting_for_health() -> (Cell, RouteStatus) {
    let mut status = canary(2, 20);
    status.message = "step 3 of 5: web-4 has 12 healthy targets and needs 24".to_owned();
    status.waiting_since = Some(ago(120));
    for group in &mut status.target_groups {
        let canary = group.version == "1.1.0";
        group.desired_weight = Some(if canary { 20 } else { 30 });
        if group.name == "web-4" {
            group.healthy_targets = Some(12);
        }
    }
    let mut route = route(RouteOutcome::NotYet);
    route.message = "web-4 has 12 healthy targets and needs 24".to_owned();
    (with(status, &[(condition::PROGRESSING, true, reason::WAITING_FOR_HEALTH, "")]), route)
}

pub(crate) fn paused_by_person() -> (Cell, RouteStatus) {
    let status = CellStatus {
        phase: Some(CellPhase::Paused),
        message: "paused by alice; go on with okractl resume web".to_owned(),
        hold: Some(Hold {
            reason: reason::PAUSED_BY_PERSON.to_owned(),
            message: "paused".to_owned(),
            by: "alice".to_owned(),
            since: ago(90),
        }),
        last_request: Some(RequestRecord {
            id: "r1".to_owned(),
            verb: Verb::Pause,
            user: "alice".to_owned(),
            at: ago(90),
            accepted: true,
            message: "the weights are held".to_owned(),
        }),
        ..canary(3, 40)
    };
    let paused = (condition::PAUSED, true, reason::PAUSED_BY_PERSON, "paused by alice");
    (with(status, &[paused, (condition::READY, false, reason::PAUSED_BY_PERSON, "")]), route(RouteOutcome::Verified))
}

pub(crate) fn foreign_edit() -> (Cell, RouteStatus) {
    let mut status = canary(1, 20);
    status.phase = Some(CellPhase::Paused);
    status.message = "somebody else changed the rule: okractl resume --accept-weights or --restore".to_owned();
    let held = [("web-1", 25), ("web-2", 25), ("web-3", 25), ("web-4", 25)];
    for (group, (_, weight)) in status.target_groups.iter_mut().zip(held) {
        group.weight = Some(weight);
    }
    let mut route = route(RouteOutcome::Foreign);
    route.weights =
        held.map(|(name, weight)| RouteWeight { name: name.to_owned(), id: format!("arn:{name}"), weight }).to_vec();
    route.foreign = Some(ForeignState {
        fingerprint: "f00".to_owned(),
        difference: "weights are 25, 25, 25, 25 instead of 40, 40, 10, 10".to_owned(),
        since: ago(65),
    });
    (with(status, &[(condition::TRAFFIC_VERIFIED, false, reason::FOREIGN_EDIT, "")]), route)
}

pub(crate) fn rolling_back() -> (Cell, RouteStatus) {
    let mut status = canary(3, 40);
    status.phase = Some(CellPhase::RollingBack);
    status.message = "all traffic goes back to 1.0.0".to_owned();
    status.blocked_versions = vec!["1.1.0".to_owned()];
    if let Some(rollout) = &mut status.rollout {
        rollout.outcome = Some(RolloutOutcome::Failed);
        rollout.reason = "analysis success-rate failed".to_owned();
    }
    for group in &mut status.target_groups {
        group.desired_weight = Some(if group.version == "1.1.0" { 0 } else { 50 });
    }
    (with(status, &[]), route(RouteOutcome::NotYet))
}

pub(crate) fn failed() -> (Cell, RouteStatus) {
    let mut status = canary(3, 0);
    status.phase = Some(CellPhase::Failed);
    status.message = "1.1.0 was taken back: analysis success-rate failed; 1.0.0 serves".to_owned();
    status.desired_version = Some("1.0.0".to_owned());
    status.blocked_versions = vec!["1.1.0".to_owned()];
    if let Some(rollout) = &mut status.rollout {
        rollout.outcome = Some(RolloutOutcome::Failed);
        rollout.reason = "analysis success-rate failed".to_owned();
        rollout.finished_at = Some(ago(240));
    }
    (with(status, &[]), route(RouteOutcome::Verified))
}

pub(crate) fn degraded() -> (Cell, RouteStatus) {
    let status = CellStatus {
        phase: Some(CellPhase::Degraded),
        message: "no target group is left; the rule stays as it is: register target groups with role=web".to_owned(),
        stable_version: Some("1.0.0".to_owned()),
        desired_version: Some("1.0.0".to_owned()),
        ..CellStatus::default()
    };
    let degraded = (condition::DEGRADED, true, reason::NO_TARGET_GROUPS, "web-1 and web-2 are gone");
    (with(status, &[degraded]), route(RouteOutcome::Verified))
}

pub(crate) fn first_deployment() -> (Cell, Option<RouteStatus>) {
    let mut waiting = group("web-1", "1.0.0", 0, 0);
    waiting = TargetGroupState {
        weight: None,
        desired_weight: None,
        healthy_targets: None,
        total_targets: None,
        healthy_at_start: None,
        read_at: None,
        ..waiting
    };
    let status = CellStatus {
        phase: Some(CellPhase::Pending),
        message: "1.0.0 has 1 of 2 target groups".to_owned(),
        target_groups: vec![waiting],
        ..CellStatus::default()
    };
    (with(status, &[(condition::READY, false, reason::WAITING_FOR_TARGET_GROUPS, "")]), None)
}

pub(crate) fn state_lost() -> (Cell, RouteStatus) {
    let mut status = canary(0, 40);
    status.phase = Some(CellPhase::Paused);
    status.message = "the status was lost while the rule was split; the weights stay".to_owned();
    status.rollout = None;
    status.stable_version = None;
    status.desired_version = None;
    status.history.clear();
    status.hold = Some(Hold {
        reason: reason::STATE_LOST.to_owned(),
        message: "1.0.0 has 60% and 1.1.0 has 40%".to_owned(),
        by: String::new(),
        since: ago(30),
    });
    (with(status, &[]), route(RouteOutcome::Verified))
}
