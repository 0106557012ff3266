//! What a test waits for. Every wait has a deadline and says at its end what it saw instead.

use std::{collections::BTreeMap, time::Duration};

use okra_api::{
    Cell,
    cell_status::{CellPhase, RolloutOutcome},
    condition,
};

use super::{Scene, WITHIN};

/// How often an object is looked at that no watch follows.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Names and weights as the scene tells them.
pub fn weights(pairs: &[(&str, i64)]) -> BTreeMap<String, i64> {
    pairs.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
}

impl Scene {
    /// Ends the test with what can be seen.
    fn give_up(&self, name: &str, what: &str) -> ! {
        let cell = self.cells.borrow().get(name).and_then(|cell| cell.status.clone());
        panic!(
            "{what}: it does not come; Cell {name} says {}\ncalls:\n{}\nokrad:\n{}",
            serde_json::to_string_pretty(&cell).unwrap_or_default(),
            self.told(30),
            self.log()
        )
    }

    /// Waits until something holds of a Cell.
    pub async fn until(&self, name: &str, what: &str, holds: impl Fn(&Cell) -> bool) -> Cell {
        self.until_within(WITHIN, name, what, holds).await
    }

    /// The same for one Cell of very many, which may take longer.
    pub async fn until_within(&self, within: Duration, name: &str, what: &str, holds: impl Fn(&Cell) -> bool) -> Cell {
        let mut cells = self.cells.clone();
        let waited = tokio::time::timeout(within, cells.wait_for(|cells| cells.get(name).is_some_and(&holds))).await;
        match waited {
            Ok(Ok(cells)) => cells[name].clone(),
            _ => self.give_up(name, what),
        }
    }

    /// Waits until a rollout of this version has succeeded and the Cell rests.
    pub async fn until_stable(&self, name: &str, version: &str) -> Cell {
        self.until(name, &format!("{version} is stable"), |cell| {
            cell.status.as_ref().is_some_and(|status| {
                status.stable_version.as_deref() == Some(version)
                    && condition::is_true(&status.conditions, condition::READY)
                    && status.observed_generation == cell.metadata.generation
            })
        })
        .await
    }

    /// Waits until the rollout is at this step.
    pub async fn until_step(&self, name: &str, step: i32) -> Cell {
        self.until(name, &format!("step {step}"), |cell| {
            let rollout = cell.status.as_ref().and_then(|status| status.rollout.as_ref());
            rollout.is_some_and(|rollout| rollout.current_step_index == step && rollout.finished_at.is_none())
        })
        .await
    }

    /// Waits until a rollout of this version is in the pause that is this step.
    pub async fn until_pause(&self, name: &str, version: &str, step: i32) -> Cell {
        self.until(name, &format!("{version} pauses at step {step}"), |cell| {
            let Some(status) = &cell.status else { return false };
            let rollout = status.rollout.as_ref().filter(|rollout| rollout.finished_at.is_none());
            rollout.is_some_and(|rollout| rollout.version == version && rollout.current_step_index == step)
                && is_paused_by(cell, condition::reason::PAUSE_STEP)
        })
        .await
    }

    /// Waits until the rollout is held for this reason.
    pub async fn until_paused(&self, name: &str, reason: &str) -> Cell {
        self.until(name, &format!("it pauses because of {reason}"), |cell| is_paused_by(cell, reason)).await
    }

    /// Waits until the Cell is in this phase, having acted on its present spec.
    pub async fn until_phase(&self, name: &str, phase: CellPhase) -> Cell {
        self.until(name, &format!("it is {phase:?}"), |cell| {
            let status = cell.status.as_ref();
            status.is_some_and(|status| {
                status.phase == Some(phase) && status.observed_generation == cell.metadata.generation
            })
        })
        .await
    }

    /// Waits until the last finished rollout is one of this version with this outcome.
    pub async fn until_outcome(&self, name: &str, version: &str, outcome: RolloutOutcome) -> Cell {
        self.until(name, &format!("the rollout of {version} ends {outcome:?}"), |cell| {
            let last = cell.status.as_ref().and_then(|status| status.history.first());
            last.is_some_and(|last| last.version == version && last.outcome == outcome)
        })
        .await
    }

    /// Waits for the words of a Cell's message.
    pub async fn until_says(&self, name: &str, words: &str) -> Cell {
        self.until(name, words, |cell| cell.status.as_ref().is_some_and(|status| status.message.contains(words))).await
    }

    /// Waits until the Cell knows a target group.
    pub async fn until_knows(&self, name: &str, group: &str) -> Cell {
        self.until(name, &format!("it knows {group}"), |cell| {
            cell.status.as_ref().is_some_and(|status| status.target_groups.iter().any(|known| known.name == group))
        })
        .await
    }

    /// Waits until the rule has exactly these weights.
    pub async fn until_weights(&self, wanted: &[(&str, i64)]) {
        let wanted = weights(wanted);
        let holds = || self.try_rule().is_some_and(|rule| self.named(&rule.weights) == wanted);
        self.until_front(&format!("weights {wanted:?}"), holds).await;
    }

    /// Waits until something holds of the AWS front.
    pub async fn until_front(&self, what: &str, holds: impl Fn() -> bool) {
        let mut changed = self.front.changed();
        let waiting = async {
            while !holds() {
                changed.changed().await.expect("the front runs");
            }
        };
        if tokio::time::timeout(WITHIN, waiting).await.is_err() {
            let names: Vec<String> = self.cells.borrow().keys().cloned().collect();
            self.give_up(names.first().map_or("", String::as_str), what)
        }
    }

    /// Waits until something holds of another object of the namespace.
    pub async fn until_object<K>(&self, name: &str, what: &str, holds: impl Fn(&K) -> bool) -> K
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope> + Clone + std::fmt::Debug,
        K: serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let api = self.api::<K>();
        let waiting = async {
            loop {
                if let Ok(Some(object)) = api.get_opt(name).await
                    && holds(&object)
                {
                    return object;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        match tokio::time::timeout(WITHIN, waiting).await {
            Ok(object) => object,
            Err(_) => self.give_up(name, what),
        }
    }

    /// Waits until an object of the namespace is gone.
    pub async fn until_gone<K>(&self, name: &str)
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope> + Clone + std::fmt::Debug,
        K: serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let api = self.api::<K>();
        let waiting = async {
            while !matches!(api.get_opt(name).await, Ok(None)) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        if tokio::time::timeout(WITHIN, waiting).await.is_err() {
            self.give_up(name, &format!("{} {name} is gone", K::kind(&K::DynamicType::default())));
        }
    }

    /// Waits until okrad has changed the load balancer this often since the scene began.
    pub async fn until_writes(&self, count: usize) {
        self.until_front(&format!("{count} writes"), || self.writes().len() >= count).await;
    }

    /// Waits until okrad has read the rule this often from now on.
    pub async fn until_looks(&self, count: usize) {
        let begun = self.looks();
        self.until_front(&format!("{count} looks"), || self.looks() >= begun + count).await;
    }
}

fn is_paused_by(cell: &Cell, reason: &str) -> bool {
    let conditions = cell.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    condition::find(conditions, condition::PAUSED)
        .is_some_and(|paused| paused.status == "True" && paused.reason == reason)
}
