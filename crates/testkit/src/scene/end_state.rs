//! What a scene comes to, without times and names of its own: two scenes that did the same compare equal, whatever went
//! wrong on the way.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::ListParams;
use okra_api::{AWSApplicationLoadBalancerConfig, Cell, PausePhase, PauseStatus, condition};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Scene, WITHIN};

/// Fields that say when; fingerprints, which hold names of the scene; how many targets were healthy, which depends on
/// when it was looked; and generations, since a crash can make two writes of a spec one.
const PASSING: [&str; 22] = [
    "startedAt",
    "finishedAt",
    "stepStartedAt",
    "readAt",
    "zeroSince",
    "detachedAt",
    "safeToDestroyAt",
    "waitingSince",
    "lastTransitionTime",
    "lastSyncTime",
    "verifiedAt",
    "since",
    "at",
    "expireTime",
    "recentIntents",
    "formerIntents",
    "verified",
    "health",
    "healthy",
    "healthyAtStart",
    "healthyTargets",
    "observedGeneration",
];

/// What a scene has come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndState {
    /// The Cell's status.
    pub cell: Value,
    /// Spec and status of each load balancer configuration, by name.
    pub routes: BTreeMap<String, Value>,
    /// Spec and status of each Pause, by name. One that has expired goes at some later look, and is left out.
    pub pauses: BTreeMap<String, Value>,
    /// Every weight map that the rule had, in order.
    pub history: Vec<BTreeMap<String, i64>>,
    /// The operations that changed the load balancer, in order.
    pub writes: Vec<String>,
}

impl EndState {
    /// Where this one differs from another, one line each.
    pub fn differences(&self, expected: &Self) -> Vec<String> {
        let mut found = Vec::new();
        differ("", &json!(self), &json!(expected), &mut found);
        found
    }
}

fn differ(path: &str, is: &Value, expected: &Value, found: &mut Vec<String>) {
    match (is, expected) {
        (Value::Object(is), Value::Object(expected)) => {
            let names: BTreeSet<&String> = is.keys().chain(expected.keys()).collect();
            for name in names {
                let side = |fields: &serde_json::Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                differ(&format!("{path}/{name}"), &side(is), &side(expected), found);
            }
        }
        (Value::Array(is), Value::Array(expected)) if is.len() == expected.len() => {
            for (index, (is, expected)) in is.iter().zip(expected).enumerate() {
                differ(&format!("{path}/{index}"), is, expected, found);
            }
        }
        _ if is == expected => {}
        _ => found.push(format!("{path}: {is}, expected {expected}")),
    }
}

impl Scene {
    /// What this scene has come to so far.
    pub async fn end_state(&self, cell: &str) -> EndState {
        let status = self.api::<Cell>().get(cell).await.expect("the Cell is there").status;
        let routes = self.api::<AWSApplicationLoadBalancerConfig>().list(&ListParams::default()).await;
        let routes = routes.expect("the load balancer configurations are listed").items.into_iter();
        let expired = |status: &PauseStatus| status.phase == Some(PausePhase::Expired);
        let pauses = self.pauses().await.into_iter().filter(|pause| !pause.status.as_ref().is_some_and(expired));
        EndState {
            cell: self.timeless(&json!(status)),
            routes: routes
                .map(|route| self.named_body(route.metadata.name.as_ref(), json!([route.spec, route.status])))
                .collect(),
            pauses: pauses
                .map(|pause| self.named_body(pause.metadata.name.as_ref(), json!([pause.spec, pause.status])))
                .collect(),
            history: if self.try_rule().is_some() { self.history() } else { Vec::new() },
            writes: self.operations_since(0),
        }
    }

    fn named_body(&self, name: Option<&String>, body: Value) -> (String, Value) {
        (name.cloned().unwrap_or_default(), self.timeless(&body))
    }

    /// What the scene has come to once it no longer changes: okrad has looked at the rule in between.
    pub async fn settled_end_state(&self, cell: &str) -> EndState {
        let settled = async {
            let mut last = self.end_state(cell).await;
            loop {
                self.until_looks(1).await;
                let now = self.end_state(cell).await;
                if now == last {
                    return now;
                }
                last = now;
            }
        };
        tokio::time::timeout(WITHIN, settled).await.expect("the scene comes to rest")
    }

    /// Waits until this scene has come to the same as another; panics with the differences when it does not.
    pub async fn until_end_state(&self, cell: &str, expected: &EndState) {
        let waiting = async {
            while self.end_state(cell).await != *expected {
                tokio::time::sleep(super::wait::LOOK_AGAIN).await;
            }
        };
        if tokio::time::timeout(WITHIN, waiting).await.is_err() {
            let differences = self.end_state(cell).await.differences(expected).join("\n");
            panic!("it ends otherwise:\n{differences}\ncalls:\n{}\nokrad:\n{}", self.told(60), self.log());
        }
    }

    /// Without times, and with words for what has other names in each scene.
    fn timeless(&self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let lasting = fields.iter().filter(|(name, _)| !PASSING.contains(&name.as_str()));
                lasting.map(|(name, value)| (name.clone(), self.timeless(value))).collect()
            }
            Value::Array(items) => {
                // What it says follows from the health that was seen last.
                let lasting = items.iter().filter(|item| item["type"] != condition::ROLLBACK_READY);
                let mut items: Vec<Value> = lasting.map(|item| self.timeless(item)).collect();
                if items.iter().all(|item| item["name"].is_string()) {
                    items.sort_by_key(|item| item["name"].to_string());
                }
                Value::Array(items)
            }
            Value::String(text) => Value::String(self.nameless(text)),
            other => other.clone(),
        }
    }

    fn nameless(&self, text: &str) -> String {
        let mut text = self.arns.iter().fold(text.to_owned(), |text, (name, arn)| text.replace(arn.as_str(), name));
        if let Some(rule) = self.try_rule() {
            text = text.replace(&rule.arn, "RULE");
        }
        text.replace(&self.world.listener, "LISTENER").replace(&self.namespace, "NAMESPACE")
    }
}
