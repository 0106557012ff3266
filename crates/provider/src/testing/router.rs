//! A load balancer that keeps its rules in memory.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use jiff::SignedDuration;
use okra_core::route::{Capabilities, Change, GroupHealth, Intent, Observed, ObservedRule, Place, Sticky};
use parking_lot::Mutex;

use crate::router::{CallContext, RouterError, RouterErrorKind, TrafficRouter};

/// A method of `TrafficRouter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterVerb {
    /// `observe`
    Observe,
    /// `apply`
    Apply,
    /// `health`
    Health,
}

/// A fault to come.
#[derive(Clone, Debug)]
pub struct RouterFault {
    /// Which method.
    pub verb: RouterVerb,
    /// Which of its calls, counted from now; 1 is the next.
    pub nth: u64,
    /// What the caller gets.
    pub error: RouterError,
    /// Whether the call does its work before its answer is lost.
    pub after_effect: bool,
}

/// A rule and the listener that it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeRule {
    /// The listener's ARN, or the address of the embedded balancer.
    pub listener: String,
    /// The rule.
    pub rule: ObservedRule,
}

/// A change that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedChange {
    /// The owner of the intent.
    pub owner: String,
    /// The rule that was made or changed.
    pub rule: String,
    /// The change.
    pub change: Change,
}

/// A [`TrafficRouter`] in memory: it refuses what an ALB refuses about priorities, weights and numbers of groups.
pub struct FakeRouter {
    state: Mutex<State>,
}

struct State {
    capabilities: Capabilities,
    rules: BTreeMap<String, FakeRule>,
    health: BTreeMap<String, GroupHealth>,
    default_health: GroupHealth,
    faults: Vec<RouterFault>,
    applied: Vec<AppliedChange>,
    made: u64,
}

impl fmt::Debug for FakeRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeRouter").field("rules", &self.state.lock().rules).finish_non_exhaustive()
    }
}

impl Default for FakeRouter {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                capabilities: Capabilities {
                    max_groups: 5,
                    max_weight: 999,
                    settle: SignedDuration::ZERO,
                    keeps_connections: true,
                    sees_health: true,
                },
                rules: BTreeMap::new(),
                health: BTreeMap::new(),
                default_health: GroupHealth { healthy: 1, total: 1, gone: false },
                faults: Vec::new(),
                applied: Vec::new(),
                made: 0,
            }),
        }
    }
}

impl FakeRouter {
    /// One without rules, where every group has one healthy target: 5 groups per action, weights up to 999, no
    /// time to settle.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Sets what it declares, and keeps to.
    pub fn set_capabilities(&self, capabilities: Capabilities) {
        self.state.lock().capabilities = capabilities;
    }

    /// Sets the health of one group. One that is gone cannot be named in a change.
    pub fn set_health(&self, group: &str, health: GroupHealth) {
        self.state.lock().health.insert(group.to_owned(), health);
    }

    /// Sets the health of every group that has none of its own.
    pub fn set_default_health(&self, health: GroupHealth) {
        self.state.lock().default_health = health;
    }

    /// Plans a fault.
    pub fn inject(&self, fault: RouterFault) {
        self.state.lock().faults.push(fault);
    }

    /// Puts a rule there, as somebody else would.
    pub fn put_rule(&self, rule: FakeRule) {
        self.state.lock().rules.insert(rule.rule.id.clone(), rule);
    }

    /// Edits a rule, as somebody else would; false when there is none.
    pub fn edit_rule(&self, id: &str, edit: impl FnOnce(&mut ObservedRule)) -> bool {
        self.state.lock().rules.get_mut(id).map(|held| edit(&mut held.rule)).is_some()
    }

    /// Takes a rule away, as somebody else would; false when there is none.
    pub fn remove_rule(&self, id: &str) -> bool {
        self.state.lock().rules.remove(id).is_some()
    }

    /// Every rule, sorted by id.
    pub fn rules(&self) -> Vec<FakeRule> {
        self.state.lock().rules.values().cloned().collect()
    }

    /// The weights of the rule that carries an owner's tag; empty when there is none.
    pub fn weights(&self, owner: &str) -> BTreeMap<String, i32> {
        let state = self.state.lock();
        let rule = state.rules.values().find(|held| held.rule.cell_tag.as_deref() == Some(owner));
        rule.map(|held| held.rule.weights.clone()).unwrap_or_default()
    }

    /// Every change that took effect, in order.
    pub fn applied(&self) -> Vec<AppliedChange> {
        self.state.lock().applied.clone()
    }

    fn call<T>(
        &self,
        verb: RouterVerb,
        work: impl FnOnce(&mut State) -> Result<T, RouterError>,
    ) -> Result<T, RouterError> {
        let mut state = self.state.lock();
        for fault in state.faults.iter_mut().filter(|fault| fault.verb == verb) {
            fault.nth = fault.nth.saturating_sub(1);
        }
        let struck = state.faults.iter().position(|fault| fault.verb == verb && fault.nth == 0);
        match struck.map(|index| state.faults.remove(index)) {
            Some(fault) if fault.after_effect => work(&mut state).and(Err(fault.error)),
            Some(fault) => Err(fault.error),
            None => work(&mut state),
        }
    }
}

fn listener(place: &Place) -> &str {
    match place {
        Place::Alb { listener_arn, .. } => listener_arn,
        Place::Local { listen } => listen,
    }
}

fn refused(code: &str, message: String) -> RouterError {
    RouterError::new(RouterErrorKind::Refused, code, message)
}

impl State {
    fn observe(&self, intent: &Intent) -> Observed {
        let here =
            || self.rules.values().filter(|held| held.listener == listener(&intent.place)).map(|held| &held.rule);
        let tagged = here().find(|rule| {
            rule.cell_tag.as_deref() == Some(&intent.owner) && rule.owner_tag.as_deref() == Some(&intent.installation)
        });
        let known = || here().find(|rule| Some(&rule.id) == intent.known_rule.as_ref());
        let ours = tagged.or_else(known).cloned();
        let in_the_way = here().find(|rule| {
            rule.priority == intent.place.priority() && ours.as_ref().is_none_or(|ours| ours.id != rule.id)
        });
        Observed { in_the_way: in_the_way.cloned(), ours }
    }

    fn apply(&mut self, intent: &Intent, change: &Change) -> Result<(), RouterError> {
        let rule = match change {
            Change::Create { weights, stickiness } => self.create(intent, weights, *stickiness)?,
            Change::Modify { rule, weights, conditions, stickiness } => {
                if let Some(weights) = weights {
                    self.check_weights(weights)?;
                }
                let held = self.rule(rule)?;
                if let Some(weights) = weights {
                    held.weights.clone_from(weights);
                }
                if let Some(conditions) = conditions {
                    held.conditions = conditions.clone().canonical();
                }
                held.stickiness = stickiness.unwrap_or(held.stickiness);
                rule.clone()
            }
            Change::Move { rule } => {
                self.check_priority(intent, Some(rule))?;
                self.rule(rule)?.priority = intent.place.priority();
                rule.clone()
            }
            Change::Adopt { rule } => {
                let held = self.rule(rule)?;
                held.cell_tag = Some(intent.owner.clone());
                held.owner_tag = Some(intent.installation.clone());
                rule.clone()
            }
            Change::Remove { rule } => {
                self.rule(rule)?;
                self.rules.remove(rule);
                rule.clone()
            }
        };
        self.applied.push(AppliedChange { owner: intent.owner.clone(), rule, change: change.clone() });
        Ok(())
    }

    fn create(
        &mut self,
        intent: &Intent,
        weights: &BTreeMap<String, i32>,
        stickiness: Option<Sticky>,
    ) -> Result<String, RouterError> {
        self.check_weights(weights)?;
        self.check_priority(intent, None)?;
        self.made += 1;
        let id = format!("rule-{:03}", self.made);
        let rule = ObservedRule {
            id: id.clone(),
            priority: intent.place.priority(),
            conditions: intent.place.conditions().canonical(),
            weights: weights.clone(),
            stickiness: stickiness.unwrap_or_default(),
            cell_tag: Some(intent.owner.clone()),
            owner_tag: Some(intent.installation.clone()),
        };
        self.rules.insert(id.clone(), FakeRule { listener: listener(&intent.place).to_owned(), rule });
        Ok(id)
    }

    fn rule(&mut self, id: &str) -> Result<&mut ObservedRule, RouterError> {
        let gone =
            || RouterError::new(RouterErrorKind::RuleNotFound, "RuleNotFound", format!("rule {id} does not exist"));
        self.rules.get_mut(id).map(|held| &mut held.rule).ok_or_else(gone)
    }

    fn check_priority(&self, intent: &Intent, own: Option<&str>) -> Result<(), RouterError> {
        let (listener, priority) = (listener(&intent.place), intent.place.priority());
        let mut others = self.rules.values().filter(|held| Some(held.rule.id.as_str()) != own);
        if others.any(|held| held.listener == listener && held.rule.priority == priority) {
            return Err(refused("PriorityInUse", format!("priority {priority} is in use")));
        }
        Ok(())
    }

    fn check_weights(&self, weights: &BTreeMap<String, i32>) -> Result<(), RouterError> {
        let Capabilities { max_groups, max_weight, .. } = self.capabilities;
        if let Some(group) = weights.keys().find(|group| self.health.get(*group).is_some_and(|health| health.gone)) {
            let message = format!("target group {group} does not exist");
            return Err(RouterError::new(RouterErrorKind::GroupNotFound, "TargetGroupNotFound", message));
        }
        if weights.len() > max_groups {
            return Err(refused("TooManyTargetGroups", format!("at most {max_groups} target groups")));
        }
        if weights.values().any(|weight| !(0..=max_weight).contains(weight)) {
            return Err(refused("ValidationError", format!("weights are between 0 and {max_weight}")));
        }
        if weights.values().all(|weight| *weight == 0) {
            return Err(refused("InvalidLoadBalancerAction", "at least one weight must be above 0".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl TrafficRouter for FakeRouter {
    fn capabilities(&self) -> Capabilities {
        self.state.lock().capabilities.clone()
    }

    async fn observe(&self, intent: &Intent, _: &CallContext) -> Result<Observed, RouterError> {
        self.call(RouterVerb::Observe, |state| Ok(state.observe(intent)))
    }

    async fn apply(&self, intent: &Intent, change: &Change, call: &CallContext) -> Result<(), RouterError> {
        call.leadership.permits(call.timeout)?;
        self.call(RouterVerb::Apply, |state| state.apply(intent, change))
    }

    async fn health(&self, _: &Intent, group: &str, _: &CallContext) -> Result<GroupHealth, RouterError> {
        self.call(RouterVerb::Health, |state| Ok(state.health.get(group).copied().unwrap_or(state.default_health)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use okra_core::route::{Adopt, IntentGroup, Lane};
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::{
        ports::{Leadership, NotLeader},
        testing::AlwaysLeader,
    };

    struct Follower;

    impl Leadership for Follower {
        fn permits(&self, _: Duration) -> Result<(), NotLeader> {
            Err(NotLeader)
        }
    }

    fn call(leadership: Arc<dyn Leadership>) -> CallContext {
        CallContext { lane: Lane::Promote, timeout: Duration::from_secs(10), leadership }
    }

    fn intent(owner: &str, priority: i32) -> Intent {
        let group = IntentGroup { name: "a".into(), id: "a".into(), weight: 1, min_healthy: None, health_path: None };
        Intent {
            owner: owner.into(),
            installation: "here".into(),
            place: Place::Alb {
                listener_arn: "listener".into(),
                role_arn: None,
                priority,
                conditions: okra_core::route::Conditions::default(),
            },
            groups: vec![group],
            stickiness: None,
            known_rule: None,
            adopt: Adopt::No,
        }
    }

    fn weights(weights: &[(&str, i32)]) -> BTreeMap<String, i32> {
        weights.iter().map(|(id, weight)| ((*id).to_owned(), *weight)).collect()
    }

    #[tokio::test]
    async fn a_rule_lives_and_is_found_by_its_tags() {
        let (router, leader) = (FakeRouter::new(), call(Arc::new(AlwaysLeader)));
        let web = intent("ns/web", 10);
        let create = Change::Create { weights: weights(&[("a", 100)]), stickiness: None };
        router.apply(&web, &create, &leader).await.unwrap();
        let rule = router.observe(&web, &leader).await.unwrap().ours.unwrap();
        assert_eq!(rule.weights, weights(&[("a", 100)]));
        assert_eq!(router.observe(&intent("ns/other", 10), &leader).await.unwrap().in_the_way, Some(rule.clone()));
        router.apply(&intent("ns/web", 20), &Change::Move { rule: rule.id.clone() }, &leader).await.unwrap();
        let modify = Change::Modify {
            rule: rule.id.clone(),
            weights: Some(weights(&[("a", 80), ("b", 20)])),
            conditions: None,
            stickiness: None,
        };
        router.apply(&web, &modify, &leader).await.unwrap();
        assert_eq!(router.weights("ns/web"), weights(&[("a", 80), ("b", 20)]));
        router.apply(&web, &Change::Remove { rule: rule.id }, &leader).await.unwrap();
        assert_eq!(router.rules(), vec![]);
        assert_eq!(router.applied().len(), 4);
    }

    #[tokio::test]
    async fn what_a_load_balancer_refuses_is_refused() {
        let (router, leader) = (FakeRouter::new(), call(Arc::new(AlwaysLeader)));
        router.set_health("gone", GroupHealth { healthy: 0, total: 0, gone: true });
        let many: Vec<_> = ["a", "b", "c", "d", "e", "f"].into_iter().map(|id| (id, 1)).collect();
        for (bad, code) in [
            (weights(&[("a", 0)]), "InvalidLoadBalancerAction"),
            (weights(&[("a", 1000)]), "ValidationError"),
            (weights(&many), "TooManyTargetGroups"),
            (weights(&[("gone", 1)]), "TargetGroupNotFound"),
        ] {
            let create = Change::Create { weights: bad, stickiness: None };
            assert_eq!(router.apply(&intent("ns/web", 10), &create, &leader).await.unwrap_err().code, code);
        }
        let create = Change::Create { weights: weights(&[("a", 1)]), stickiness: None };
        let denied = router.apply(&intent("ns/web", 10), &create, &call(Arc::new(Follower))).await.unwrap_err();
        assert_eq!(denied.kind, RouterErrorKind::NotLeader);
        router.apply(&intent("ns/web", 10), &create, &leader).await.unwrap();
        let taken = router.apply(&intent("ns/other", 10), &create, &leader).await.unwrap_err();
        assert_eq!(taken.code, "PriorityInUse");
        assert_eq!(router.applied().len(), 1);
    }

    #[tokio::test]
    async fn faults_strike_once_before_or_after_the_effect() {
        let (router, leader) = (FakeRouter::new(), call(Arc::new(AlwaysLeader)));
        let error = RouterError::new(RouterErrorKind::Unreachable, "Timeout", "no answer");
        let fault =
            |nth, after_effect| RouterFault { verb: RouterVerb::Apply, nth, error: error.clone(), after_effect };
        router.inject(fault(1, false));
        router.inject(fault(2, true));
        let create = Change::Create { weights: weights(&[("a", 1)]), stickiness: None };
        let web = intent("ns/web", 10);
        assert_eq!(router.apply(&web, &create, &leader).await, Err(error.clone()));
        assert_eq!(router.rules().len(), 0);
        assert_eq!(router.apply(&web, &create, &leader).await, Err(error.clone()));
        assert_eq!(router.rules().len(), 1);
        let rule = router.rules()[0].rule.id.clone();
        assert_eq!(router.apply(&web, &Change::Adopt { rule }, &leader).await, Ok(()));
    }
}
