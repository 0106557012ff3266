//! A small world around the plan: objects, a load balancer, pauses, and time.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use okra_api::{
    BlockedVersion, Cell, CellSpec, GoDuration, PausePhase, Request, RouteOutcome, RunPhase, Verb,
    alb::{ListenerConfig, ListenerRule},
    cell::{AlbIngress, BlueGreenStrategy, CanaryStrategy, Ingress, StrategyType, UpdateStrategy},
    cell_status::{CellPhase, CellStatus, RolloutOutcome},
    condition,
    names::{REQUEST_ANNOTATION, VERSION_LABEL},
    route::{ForeignState, RouteHealth, RouteWeight},
    step::{AnalysisStep, BlueGreenStep, CanaryStep, PauseStep, TemplateRef},
};

use crate::{
    cell::{
        Action, DesiredRoute, ObservedCell, ObservedGroup, ObservedPause, ObservedRoute, ObservedRun, Plan, plan,
        replica_sets_wanted,
    },
    route::Capabilities,
    version,
};

pub const LISTENER: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/web/50dc6c495c0c9188/f2f7dc8efc522ab2";

pub fn set_weight(weight: i32) -> CanaryStep {
    CanaryStep { set_weight: Some(weight), ..CanaryStep::default() }
}

pub fn pause(duration: Option<&str>) -> CanaryStep {
    CanaryStep { pause: Some(PauseStep { duration: duration.map(GoDuration::from) }), ..CanaryStep::default() }
}

pub fn analysis() -> CanaryStep {
    let templates = vec![TemplateRef { template_name: "success-rate".to_owned(), cluster_scope: false }];
    CanaryStep { analysis: Some(AnalysisStep { templates, ..AnalysisStep::default() }), ..CanaryStep::default() }
}

#[derive(Clone)]
pub struct World {
    pub now: Timestamp,
    pub cell: Cell,
    pub groups: BTreeMap<String, ObservedGroup>,
    /// Group name to what its cluster lacks.
    pub unready: BTreeMap<String, String>,
    pub route: Option<ObservedRoute>,
    /// What the load balancer holds: id to weight.
    pub lb: BTreeMap<String, i32>,
    /// Every distinct state that it held, oldest first.
    pub lb_history: Vec<BTreeMap<String, i32>>,
    /// Group name to (healthy, total).
    pub health: BTreeMap<String, (u32, u32)>,
    pub blocked: Vec<BlockedVersion>,
    pub pauses: BTreeMap<String, ObservedPause>,
    pub runs: BTreeMap<String, ObservedRun>,
    /// What the runs that the Cell made are made of.
    pub made: BTreeMap<String, okra_api::analysis::AnalysisRunSpec>,
    /// The annotations of the runs that the Cell made.
    pub annotations: BTreeMap<String, crate::analysis::Annotations>,
    /// What the Experiments that the Cell made are made of.
    pub experiments: BTreeMap<String, okra_api::analysis::ExperimentSpec>,
    pub templates: crate::cell::Templates,
    pub replica_sets: crate::cell::ReplicaSets,
    pub router: Capabilities,
    pub requests: u32,
    pub last: Option<Plan>,
    /// Whether the load balancer answers.
    pub lb_answers: bool,
}

impl World {
    pub fn new(steps: Vec<CanaryStep>, replicas: i32) -> Self {
        let mut cell = Cell::new(
            "web",
            CellSpec {
                ingress: Ingress {
                    aws_application_load_balancer: Some(AlbIngress {
                        listener_arn: LISTENER.to_owned(),
                        listener: ListenerConfig {
                            rule: ListenerRule {
                                priority: 10,
                                hosts: vec!["example.com".to_owned()],
                                ..ListenerRule::default()
                            },
                        },
                        target_group_selector: okra_api::TargetGroupSelector {
                            match_labels: BTreeMap::from([("role".to_owned(), "web".to_owned())]),
                            ..Default::default()
                        },
                        ..AlbIngress::default()
                    }),
                    ..Ingress::default()
                },
                replicas,
                update_strategy: Some(UpdateStrategy {
                    canary: Some(CanaryStrategy { steps, analysis: None }),
                    ..UpdateStrategy::default()
                }),
                ..CellSpec::default()
            },
        );
        cell.metadata.namespace = Some("default".to_owned());
        cell.metadata.generation = Some(1);
        Self {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            cell,
            groups: BTreeMap::new(),
            route: None,
            lb: BTreeMap::new(),
            lb_history: Vec::new(),
            health: BTreeMap::new(),
            blocked: Vec::new(),
            pauses: BTreeMap::new(),
            runs: BTreeMap::new(),
            made: BTreeMap::new(),
            annotations: BTreeMap::new(),
            experiments: BTreeMap::new(),
            templates: crate::cell::Templates::default(),
            replica_sets: crate::cell::ReplicaSets::default(),
            router: Capabilities {
                max_groups: 5,
                max_weight: 999,
                settle: SignedDuration::from_secs(10),
                keeps_connections: false,
                sees_health: true,
            },
            requests: 0,
            unready: BTreeMap::new(),
            last: None,
            lb_answers: true,
        }
    }

    /// A world in which v1 serves with these groups.
    pub fn serving(steps: Vec<CanaryStep>, replicas: i32, groups: &[&str]) -> Self {
        let mut world = Self::new(steps, replicas);
        for group in groups {
            world.add(group, "1.0.0");
        }
        world.run();
        assert_eq!(world.phase(), CellPhase::Healthy, "{}", world.status().message);
        world.lb_history.clear();
        world
    }

    pub fn blue_green(mut self, steps: Vec<BlueGreenStep>) -> Self {
        let strategy = self.cell.spec.update_strategy.get_or_insert_default();
        strategy.type_ = StrategyType::BlueGreen;
        strategy.blue_green = Some(BlueGreenStrategy { steps });
        self
    }

    pub fn add(&mut self, name: &str, version: &str) {
        let labels = [("role", "web"), (VERSION_LABEL, version)];
        let group = ObservedGroup {
            name: name.to_owned(),
            id: Ok(format!("arn:{name}")),
            labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            drained: false,
            health_path: None,
        };
        self.groups.insert(name.to_owned(), group);
        self.health.entry(name.to_owned()).or_insert((3, 3));
    }

    pub fn remove(&mut self, name: &str) {
        self.groups.remove(name);
    }

    pub fn relabel(&mut self, name: &str, version: &str) {
        let group = self.groups.get_mut(name).unwrap();
        group.labels.insert(VERSION_LABEL.to_owned(), version.to_owned());
    }

    pub fn observe(&self) -> ObservedCell {
        ObservedCell {
            cell: self.cell.clone(),
            groups: self.groups.values().cloned().collect(),
            unready: self.unready.clone(),
            route: self.route.clone(),
            blocked: self.blocked.clone(),
            pauses: self.pauses.clone(),
            runs: self.runs.clone(),
            templates: self.templates.clone(),
            replica_sets: replica_sets_wanted(&self.cell)
                .into_iter()
                .map(|name| {
                    let missing = || Err(format!("ReplicaSet default/{name} does not exist"));
                    let set = self.replica_sets.get(&name).cloned().unwrap_or_else(missing);
                    (name, set)
                })
                .collect(),
            router: Some(self.router.clone()),
        }
    }

    /// One reconcile; tells whether anything was done or said.
    pub fn reconcile(&mut self) -> bool {
        let observed = self.observe();
        let decided = plan(&observed, self.now);
        assert_eq!(decided, plan(&observed, self.now), "the plan is not deterministic");
        let breach = decided.status.conditions.iter().find(|condition| condition.reason == "InvariantBreach");
        assert!(breach.is_none(), "{breach:?}");
        let before = self.cell.status.clone();
        self.carry_out(&decided, usize::MAX);
        let changed = before != self.cell.status || !decided.actions.is_empty();
        self.last = Some(decided);
        changed
    }

    /// Carries out the first `count` writes of a plan, the status among them.
    pub fn carry_out(&mut self, plan: &Plan, count: usize) {
        let (before, after): (Vec<Action>, Vec<Action>) =
            plan.actions.iter().cloned().partition(Action::precedes_status);
        for action in before.iter().take(count) {
            self.act(action.clone());
        }
        if count > before.len() {
            self.cell.status = Some(plan.status.clone());
        }
        for action in after.into_iter().take(count.saturating_sub(before.len() + 1)) {
            self.act(action);
        }
    }

    pub fn act(&mut self, action: Action) {
        match action {
            Action::WriteRoute { desired, .. } => {
                let route = self.route.get_or_insert_with(ObservedRoute::default);
                route.generation += 1;
                route.desired = *desired;
            }
            Action::CreatePause { name, expire_time, .. } => {
                assert!(!self.pauses.contains_key(&name), "S16: {name} twice");
                self.pauses.insert(name, ObservedPause { phase: Some(PausePhase::Started), expire_time });
            }
            Action::CancelPause { name } => {
                if let Some(pause) = self.pauses.get_mut(&name) {
                    pause.phase = Some(PausePhase::Cancelled);
                }
            }
            Action::DeletePause { name } => {
                self.pauses.remove(&name);
            }
            Action::Block(items) => self.blocked.extend(items),
            Action::Unblock { version } => {
                let version = version::parse(&version).unwrap();
                self.blocked.retain(|item| version::parse(&item.version).unwrap() != version);
            }
            Action::CreateRun { name, spec, annotations, .. } => {
                self.annotations.insert(name.clone(), annotations);
                assert!(!self.runs.contains_key(&name), "S16: {name} twice");
                self.made.insert(name.clone(), *spec);
                let run = ObservedRun { is_own: true, created: Some(self.now), ..ObservedRun::default() };
                self.runs.insert(name, run);
            }
            Action::CreateExperiment { name, spec, .. } => {
                assert!(!self.runs.contains_key(&name), "S16: {name} twice");
                self.experiments.insert(name.clone(), *spec);
                let created = Some(self.now);
                let run = ObservedRun { is_own: true, is_experiment: true, created, ..ObservedRun::default() };
                self.runs.insert(name, run);
            }
            Action::DeleteRun { name } => {
                self.runs.remove(&name);
            }
            Action::TerminateRun { name } => {
                if let Some(run) = self.runs.get_mut(&name) {
                    run.phase = RunPhase::Successful;
                }
            }
        }
    }

    /// What the route controller and the load balancer do; tells whether anything changed.
    pub fn route_tick(&mut self) -> bool {
        let Some(route) = self.route.clone() else { return false };
        if !self.lb_answers
            || route.status.outcome == Some(RouteOutcome::Foreign)
                && route.desired.overwrite.is_none()
                && !self.lb_matches(&route.desired)
        {
            return false;
        }
        let mut status = route.status.clone();
        let mut read: Vec<String> = route.desired.health_of.iter().cloned().collect();
        let mut waits = String::new();
        for group in &route.desired.groups {
            let before = share(&self.lb, &group.id);
            let total: i32 = route.desired.groups.iter().map(|group| group.weight).sum();
            let after = i64::from(group.weight) * 1_000_000 / i64::from(total.max(1));
            if after > before {
                read.push(group.name.clone());
                let (healthy, registered) = self.health.get(&group.name).copied().unwrap_or_default();
                let needed = group.min_healthy.unwrap_or(0);
                let enough = if self.lb.is_empty() { registered >= needed } else { healthy >= needed };
                if !enough {
                    waits =
                        format!("waits for health: {}: {healthy} of {registered} healthy, needs {needed}", group.name);
                }
            }
        }
        for name in read {
            let (healthy, total) = self.health.get(&name).copied().unwrap_or_default();
            let known = status.health.iter().find(|health| health.name == name);
            // As the route controller does: the same counts are no news.
            if known.is_none_or(|known| (known.healthy, known.total) != (healthy, total)) {
                status.health.retain(|health| health.name != name);
                status.health.push(RouteHealth {
                    name,
                    id: String::new(),
                    healthy,
                    total,
                    read_at: self.now,
                    gone: false,
                });
            }
        }
        status.health.sort_by(|a, b| a.name.cmp(&b.name));
        status.observed_generation = Some(route.generation);
        if route.desired.groups.is_empty() {
            status.outcome = Some(RouteOutcome::Verified);
        } else if waits.is_empty() {
            self.set_lb(route.desired.groups.iter().map(|group| (group.id.clone(), group.weight)).collect());
            status.outcome = Some(RouteOutcome::Verified);
            status.foreign = None;
        } else {
            status.outcome = Some(RouteOutcome::NotYet);
            let ready = condition::NewCondition {
                type_: condition::READY,
                status: Some(false),
                reason: condition::reason::WAITING_FOR_HEALTH,
                message: waits.clone(),
            };
            condition::set(&mut status.conditions, self.now, Some(route.generation), ready);
        }
        status.message = waits;
        status.weights = self
            .lb
            .iter()
            .map(|(id, weight)| RouteWeight {
                name: id.trim_start_matches("arn:").to_owned(),
                id: id.clone(),
                weight: *weight,
            })
            .collect();
        let changed = status != route.status;
        if changed && status.outcome == Some(RouteOutcome::Verified) {
            status.verified_at = Some(self.now);
        }
        self.route.as_mut().unwrap().status = status;
        changed
    }

    fn lb_matches(&self, desired: &DesiredRoute) -> bool {
        let wanted: BTreeMap<String, i32> =
            desired.groups.iter().map(|group| (group.id.clone(), group.weight)).collect();
        wanted == self.lb
    }

    fn set_lb(&mut self, weights: BTreeMap<String, i32>) {
        if self.lb != weights {
            self.lb = weights;
            self.lb_history.push(self.lb.clone());
        }
    }

    /// Somebody else changes the rule.
    pub fn foreign_edit(&mut self, weights: &[(&str, i32)]) {
        self.lb = weights.iter().map(|(name, weight)| (format!("arn:{name}"), *weight)).collect();
        let route = self.route.as_mut().unwrap();
        route.status.outcome = Some(RouteOutcome::Foreign);
        route.status.foreign =
            Some(ForeignState { fingerprint: "f00".to_owned(), difference: "weights".to_owned(), since: self.now });
        route.status.weights = self
            .lb
            .iter()
            .map(|(id, weight)| RouteWeight {
                name: id.trim_start_matches("arn:").to_owned(),
                id: id.clone(),
                weight: *weight,
            })
            .collect();
    }

    /// Runs until nothing changes any more without time passing.
    pub fn run(&mut self) {
        for _ in 0..200 {
            let acted = self.reconcile();
            let moved = self.route_tick();
            if !acted && !moved {
                return;
            }
        }
        panic!("no end: {:?}", self.last);
    }

    /// Lets time pass: pauses expire.
    pub fn pass(&mut self, duration: SignedDuration) {
        self.now = self.now.checked_add(duration).unwrap();
        for pause in self.pauses.values_mut() {
            if pause.phase == Some(PausePhase::Started) && pause.expire_time.is_some_and(|at| at <= self.now) {
                pause.phase = Some(PausePhase::Expired);
            }
        }
        self.run();
    }

    /// A person asks something.
    pub fn ask(&mut self, verb: Verb, args: &[(&str, &str)]) -> (bool, String) {
        self.requests += 1;
        let rollout = self.status().rollout;
        let request = Request {
            id: format!("request-{}", self.requests),
            verb,
            rollout_id: rollout.as_ref().map(|rollout| rollout.id.clone()),
            step: rollout.map(|rollout| rollout.current_step_index),
            user: "ann".to_owned(),
            args: args.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        self.ask_raw(&request)
    }

    pub fn ask_raw(&mut self, request: &Request) -> (bool, String) {
        let annotations = self.cell.metadata.annotations.get_or_insert_default();
        annotations.insert(REQUEST_ANNOTATION.to_owned(), serde_json::to_string(request).unwrap());
        self.run();
        let last = self.status().last_request.unwrap();
        assert_eq!(last.id, request.id);
        (last.accepted, last.message)
    }

    pub fn edit(&mut self, edit: impl FnOnce(&mut CellSpec)) {
        edit(&mut self.cell.spec);
        *self.cell.metadata.generation.get_or_insert(1) += 1;
        self.run();
    }

    pub fn set_run(&mut self, name: &str, phase: RunPhase) {
        self.runs.entry(name.to_owned()).or_default().phase = phase;
        self.run();
    }

    pub fn status(&self) -> CellStatus {
        self.cell.status.clone().unwrap_or_default()
    }

    pub fn phase(&self) -> CellPhase {
        self.status().phase.unwrap()
    }

    pub fn message(&self) -> String {
        self.status().message
    }

    pub fn stable(&self) -> String {
        self.status().stable_version.unwrap_or_default()
    }

    pub fn outcome(&self) -> Option<RolloutOutcome> {
        self.status().rollout.and_then(|rollout| rollout.outcome)
    }

    pub fn step(&self) -> i32 {
        self.status().rollout.unwrap().current_step_index
    }

    /// Name to weight, at the load balancer.
    pub fn weights(&self) -> Vec<(String, i32)> {
        self.lb.iter().map(|(id, weight)| (id.trim_start_matches("arn:").to_owned(), *weight)).collect()
    }

    /// The share in percent of every state that the load balancer held, of the groups whose name begins so.
    pub fn shares_of(&self, prefix: &str) -> Vec<i64> {
        let mut shares: Vec<i64> = Vec::new();
        for state in &self.lb_history {
            let total: i64 = state.values().map(|weight| i64::from(*weight)).sum();
            let own: i64 = state
                .iter()
                .filter(|(id, _)| id.trim_start_matches("arn:").starts_with(prefix))
                .map(|(_, weight)| i64::from(*weight))
                .sum();
            let share = own * 100 / total.max(1);
            if shares.last() != Some(&share) {
                shares.push(share);
            }
        }
        shares
    }
}

fn share(weights: &BTreeMap<String, i32>, id: &str) -> i64 {
    let total: i64 = weights.values().map(|weight| i64::from(*weight)).sum();
    i64::from(weights.get(id).copied().unwrap_or(0)) * 1_000_000 / total.max(1)
}
