//! Objects as the judge reads them: only what it needs, and whatever else stands in them. What cannot be read at all (a
//! status that somebody else spoiled) is passed over.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A `null` is as good as nothing.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(value: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(value)?.unwrap_or_default())
}

/// The metadata of any object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Meta {
    pub(crate) uid: String,
    pub(crate) generation: i64,
    pub(crate) resource_version: Option<String>,
    pub(crate) deletion_timestamp: Option<Timestamp>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) finalizers: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) owner_references: Vec<Owner>,
}

/// An owner reference.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Owner {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl Meta {
    pub(crate) fn of(object: &Value) -> Self {
        object.get("metadata").and_then(|meta| Self::deserialize(meta).ok()).unwrap_or_default()
    }
}

/// A Cell.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CellView {
    #[serde(deserialize_with = "or_default")]
    pub(crate) metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    pub(crate) spec: Spec,
    #[serde(deserialize_with = "or_default")]
    pub(crate) status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) version: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) suspend: bool,
    pub(crate) on_failure: Option<String>,
    pub(crate) retire_after: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) observed_generation: Option<i64>,
    pub(crate) phase: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) message: String,
    pub(crate) stable_version: Option<String>,
    pub(crate) rollout: Option<Rollout>,
    pub(crate) hold: Option<Hold>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) accepted_weights: BTreeMap<String, i64>,
    pub(crate) last_request: Option<LastRequest>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) blocked_versions: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) history: Vec<Ended>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) retired_target_groups: Vec<Retired>,
}

/// A rollout that is over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Ended {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) outcome: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Hold {
    pub(crate) reason: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Retired {
    pub(crate) detached_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) type_: String,
    pub(crate) status: String,
    pub(crate) reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct LastRequest {
    pub(crate) id: String,
    pub(crate) verb: String,
    pub(crate) user: String,
    pub(crate) at: Option<Timestamp>,
    pub(crate) accepted: Option<bool>,
}

impl LastRequest {
    pub(crate) fn was_accepted(&self) -> bool {
        self.accepted.unwrap_or(true)
    }
}

/// A rollout as the Cell's status holds it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Rollout {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) previous_version: Option<String>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) outcome: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) by: String,
    pub(crate) current_step_index: i64,
    pub(crate) current_step_run: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) canary_weight: i64,
    #[serde(deserialize_with = "or_default")]
    steps: Vec<Value>,
    #[serde(deserialize_with = "or_default")]
    blue_green_steps: Vec<Value>,
    pub(crate) analysis: Option<Value>,
}

/// What a step does, as far as the judge cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The canary's share from here on, in percent.
    Share(i64),
    /// A verdict is waited for.
    Verdict,
    /// Anything else.
    Other,
}

impl Rollout {
    /// The steps that it began with; empty when everything goes at once.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut share = 0;
        let steps = if self.blue_green_steps.is_empty() { &self.steps } else { &self.blue_green_steps };
        let read = |step: &Value| {
            let number = |name: &str| step.get(name).and_then(Value::as_i64);
            let set = number("setWeight").or_else(|| number("stepWeight").map(|add| (share + add).min(100)));
            let set = set.or_else(|| step.get("promote").map(|_| 100));
            if let Some(set) = set {
                share = set;
                return Step::Share(set);
            }
            let has = |name: &str| step.get(name).is_some_and(|value| !value.is_null());
            if has("analysis") || has("experiment") { Step::Verdict } else { Step::Other }
        };
        steps.iter().map(read).collect()
    }

    /// The step it is at.
    pub(crate) fn index(&self) -> usize {
        usize::try_from(self.current_step_index).unwrap_or(0)
    }

    /// The most that the canary may have now, in percent.
    pub(crate) fn due(&self) -> i64 {
        match self.outcome.as_deref() {
            Some("Succeeded") => return 100,
            Some(_) => return 0,
            None => {}
        }
        let (steps, index) = (self.steps(), self.index());
        if index >= steps.len() {
            return 100;
        }
        let mut shares = steps.iter().take(index + 1).filter_map(|step| match step {
            Step::Share(share) => Some(*share),
            _ => None,
        });
        shares.next_back().unwrap_or(0)
    }

    /// What the names of its children begin with: the counter in its id makes them new.
    pub(crate) fn child_prefix(&self, cell: &str) -> String {
        let name: String = cell.rsplit('/').next().unwrap_or(cell).chars().take(200).collect();
        let count = self.id.rsplit('-').next().unwrap_or_default();
        format!("{name}-r{count}-")
    }

    /// Whether its traffic has not come to rest.
    pub(crate) fn is_open(&self) -> bool {
        self.finished_at.is_none()
    }

    /// Whether it goes on: its end is not decided.
    pub(crate) fn is_moving(&self) -> bool {
        self.is_open() && self.outcome.is_none()
    }

    /// Whether it was decided that its traffic goes back.
    pub(crate) fn is_back(&self) -> bool {
        self.outcome.as_deref().is_some_and(|outcome| outcome != "Succeeded")
    }
}

impl CellView {
    pub(crate) fn of(object: &Value) -> Option<Self> {
        Self::deserialize(object).ok()
    }

    /// The rollout that goes on.
    pub(crate) fn moving(&self) -> Option<&Rollout> {
        self.status.rollout.as_ref().filter(|rollout| rollout.is_moving())
    }

    /// The rollout whose traffic has not come to rest.
    pub(crate) fn open(&self) -> Option<&Rollout> {
        self.status.rollout.as_ref().filter(|rollout| rollout.is_open())
    }

    /// The version that serves.
    pub(crate) fn stable(&self) -> Option<String> {
        self.status.stable_version.as_deref().map(crate::rules::plain)
    }

    /// Whether any condition stands for one of these reasons.
    pub(crate) fn says(&self, reasons: &[&str]) -> bool {
        let held = self.status.hold.iter().map(|hold| hold.reason.as_str());
        let all = self.status.conditions.iter().map(|condition| condition.reason.as_str()).chain(held);
        all.into_iter().any(|reason| reasons.contains(&reason))
    }

    /// Whether this condition is True, and for which reason.
    pub(crate) fn condition(&self, type_: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "True")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_due_follows_the_steps() {
        let rollout = |index: i64, outcome: Option<&str>| {
            let steps = json!([{"setWeight": 20}, {"pause": {}}, {"analysis": {}}, {"stepWeight": 30}]);
            let value = json!({"currentStepIndex": index, "steps": steps, "outcome": outcome});
            Rollout::deserialize(&value).unwrap()
        };
        assert_eq!((0..6).map(|index| rollout(index, None).due()).collect::<Vec<_>>(), [20, 20, 20, 50, 100, 100]);
        assert_eq!((rollout(1, Some("Aborted")).due(), rollout(0, Some("Succeeded")).due()), (0, 100));
        assert_eq!(rollout(0, None).steps(), [Step::Share(20), Step::Other, Step::Verdict, Step::Share(50)]);
        let at_once = Rollout::deserialize(&json!({"currentStepIndex": 0})).unwrap();
        assert_eq!(at_once.due(), 100);
    }

    #[test]
    fn what_is_null_or_unknown_does_no_harm() {
        let cell = CellView::of(&json!({"status": null, "spec": {"suspend": null, "more": 1}})).unwrap();
        assert!(cell.status.rollout.is_none() && !cell.spec.suspend);
        assert!(CellView::of(&json!({"status": {"rollout": "spoiled"}})).is_none());
    }
}
