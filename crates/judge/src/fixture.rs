//! Records for the tests of the checks.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use okra_api::names::{CELL_TAG, OWNER_TAG};
use serde_json::{Value, json};

use crate::record::{Decision, Entry, Event, GroupHealth, LbCall, ObjectSeen, Record, RuleState};
use crate::{CellRules, Rules};

pub(crate) const RULE: &str = "arn:rule";
/// Groups of version 1.
pub(crate) const A: &str = "arn:a";
pub(crate) const A2: &str = "arn:a2";
/// Groups of version 2.
pub(crate) const B: &str = "arn:b";
pub(crate) const B2: &str = "arn:b2";

/// One Cell `default/web` with steps 20, pause, 40.
pub(crate) fn rules() -> Rules {
    let versions = [(A, "v1"), (A2, "1"), (B, "2"), (B2, "v2")];
    Rules::alb("okra", "me").cell("default/web", CellRules::new([20, 40], versions))
}

/// Builds a record around one rule.
#[derive(Default)]
pub(crate) struct Builder {
    sticky: bool,
    entries: Vec<Entry>,
    rule: RuleState,
    waited: i64,
    /// Who makes okra's calls, and how long they may take.
    pub(crate) process: String,
    pub(crate) call_limit: Option<SignedDuration>,
}

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

impl Builder {
    pub(crate) fn with_stickiness(sticky: bool) -> Self {
        Self { sticky, ..Self::default() }
    }

    pub(crate) fn record(&self) -> Record {
        Record { entries: self.entries.clone() }
    }

    /// When the next event happens.
    pub(crate) fn now(&self) -> Timestamp {
        start() + SignedDuration::from_secs(10 * self.entries.len() as i64 + self.waited)
    }

    fn push(&mut self, event: Event) {
        let entry = Entry { seq: self.entries.len() as u64, at: self.now(), event };
        self.entries.push(entry);
    }

    pub(crate) fn call(&mut self, mut call: LbCall) {
        if call.caller == "okra" {
            call.process.clone_from(&self.process);
            call.deadline = self.call_limit.map(|limit| self.now() + limit);
        }
        self.push(Event::Call(call));
    }

    pub(crate) fn registered(&mut self, group: &str, total: u32) {
        self.push(Event::Health(GroupHealth { target_group: group.to_owned(), healthy: 0, total }));
    }

    /// okra reads the health of a group.
    pub(crate) fn health(&mut self, group: &str, healthy: u32, total: u32) {
        let health = GroupHealth { target_group: group.to_owned(), healthy, total };
        self.call(LbCall { health: Some(health), ..by("okra", "DescribeTargetHealth") });
    }

    pub(crate) fn create(&mut self, weights: &[(&str, i64)]) {
        self.create_with(weights, 1);
    }

    pub(crate) fn create_with(&mut self, weights: &[(&str, i64)], registered: u32) {
        for (group, _) in weights {
            self.registered(group, registered);
        }
        let tags = [(OWNER_TAG, "me"), (CELL_TAG, "default/web")];
        let mut asked = RuleState {
            listener: "arn:listener".to_owned(),
            priority: "10".to_owned(),
            tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            weights: map(weights),
            sticky: self.sticky,
            ..RuleState::default()
        };
        let wanted = Some(asked.clone());
        RULE.clone_into(&mut asked.arn);
        self.rule = asked.clone();
        self.call(LbCall { asked: wanted, after: Some(asked), ..by("okra", "CreateRule") });
    }

    fn write(&mut self, caller: &str, weights: &[(&str, i64)], error: Option<&str>) {
        let before = self.rule.clone();
        let asked = RuleState { weights: map(weights), ..before.clone() };
        if error.is_none() {
            self.rule = asked.clone();
        }
        let after = self.rule.clone();
        self.call(LbCall {
            error: error.map(str::to_owned),
            touched: vec![before.clone()],
            before: Some(before),
            asked: Some(asked),
            after: Some(after),
            ..by(caller, "ModifyRule")
        });
    }

    pub(crate) fn modify(&mut self, weights: &[(&str, i64)]) {
        self.write("okra", weights, None);
    }

    pub(crate) fn refused(&mut self, weights: &[(&str, i64)], error: &str) {
        self.write("okra", weights, Some(error));
    }

    pub(crate) fn foreign(&mut self, weights: &[(&str, i64)]) {
        self.write("foreign", weights, None);
    }

    /// okra reads the rule.
    pub(crate) fn read(&mut self) {
        let answered = vec![self.rule.clone()];
        self.call(LbCall { answered, ..by("okra", "DescribeRules") });
    }

    /// Anything happens.
    pub(crate) fn event(&mut self, event: Event) {
        self.push(event);
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, seconds: i64) {
        self.waited += seconds;
    }

    /// okra decides to send these weights.
    pub(crate) fn decision(&mut self, generation: i64, weights: &[(&str, i64)]) {
        self.push(Event::Decision(Decision {
            process: "okrad".to_owned(),
            kind: "AWSApplicationLoadBalancerConfig".to_owned(),
            object: "default/web".to_owned(),
            generation,
            action: "ModifyRule".to_owned(),
            weights: map(weights),
            ..Decision::default()
        }));
    }

    /// An object of namespace `default` is seen.
    pub(crate) fn object(&mut self, kind: &str, name: &str, object: Value) {
        let (kind, namespace, name) = (kind.to_owned(), "default".to_owned(), name.to_owned());
        self.push(Event::Object(ObjectSeen { kind, namespace, name, object }));
    }

    /// The Cell is seen at a step.
    pub(crate) fn cell(&mut self, index: u64, request: &Value) {
        let object = json!({
            "status": {
                "rollout": {
                    "id": "2-1",
                    "version": "2",
                    "previousVersion": "1",
                    "startedAt": start().to_string(),
                    "stepStartedAt": self.now().to_string(),
                    "currentStepIndex": index,
                    "steps": [{"setWeight": 20}, {"pause": {}}, {"stepWeight": 20}],
                },
                "lastRequest": request,
            },
        });
        let (kind, namespace, name) = ("Cell".to_owned(), "default".to_owned(), "web".to_owned());
        self.push(Event::Object(ObjectSeen { kind, namespace, name, object }));
    }
}

/// A Cell with this status.
pub(crate) fn cell(status: Value) -> Value {
    json!({"metadata": {"uid": "u-web"}, "status": status})
}

pub(crate) fn by(caller: &str, operation: &str) -> LbCall {
    LbCall { caller: caller.to_owned(), operation: operation.to_owned(), ..LbCall::default() }
}

fn map(weights: &[(&str, i64)]) -> BTreeMap<String, i64> {
    weights.iter().map(|(group, weight)| ((*group).to_owned(), *weight)).collect()
}

/// A swap of 1+1 groups in two steps, a parked group's detachment, and a look at everything.
pub(crate) fn rollout() -> (Record, Rules) {
    let mut builder = Builder::default();
    builder.create(&[(A, 100)]);
    builder.read();
    builder.modify(&[(A, 100), (B, 0)]);
    builder.cell(0, &Value::Null);
    builder.health(A, 2, 2);
    builder.health(B, 1, 1);
    builder.modify(&[(A, 80), (B, 20)]);
    builder.read();
    builder.cell(2, &Value::Null);
    builder.health(B, 1, 1);
    builder.modify(&[(A, 60), (B, 40)]);
    builder.read();
    builder.cell(3, &Value::Null);
    builder.modify(&[(A, 0), (B, 100)]);
    builder.read();
    builder.modify(&[(B, 100)]);
    (builder.record(), rules())
}
