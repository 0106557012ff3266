//! What must hold once everything came to rest, and what the end of a run is.

use std::collections::BTreeMap;

use okra_api::{AWSApplicationLoadBalancerConfig, Cell, RouteOutcome, cell_status::CellPhase, names::VERSION_LABEL};
use okra_core::version;
use okra_provider::{Key, Kind};
use serde::de::DeserializeOwned;

use crate::{
    run::Breach,
    story::{Story, cell_name},
    world::{State, World},
};

/// Where one Cell came to rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The phase.
    pub phase: String,
    /// The version that serves.
    pub stable: Option<String>,
    /// The groups that serve: ARN to weight. Which others are parked depends on what was quicker.
    pub weights: BTreeMap<String, i32>,
    /// What is blocked.
    pub blocked: Vec<String>,
}

fn read<K: DeserializeOwned + kube_like::Typed>(state: &State, name: &str) -> Option<K> {
    let object = state.api.present(&K::kind(), &Key::new("default", name)).ok()?;
    serde_json::from_value(object.as_ref().clone()).ok()
}

/// The typed kinds that are read here.
mod kube_like {
    use super::{AWSApplicationLoadBalancerConfig, Cell, Kind};

    pub trait Typed {
        fn kind() -> Kind;
    }

    impl Typed for Cell {
        fn kind() -> Kind {
            Kind::of::<Self>()
        }
    }

    impl Typed for AWSApplicationLoadBalancerConfig {
        fn kind() -> Kind {
            Kind::of::<Self>()
        }
    }
}

/// Where every Cell came to rest; nothing for one that is gone.
pub fn ends(world: &World, story: &Story) -> Vec<Option<End>> {
    world.with(|state| (0..story.cells.len()).map(|cell| end(state, cell_name(cell))).collect())
}

fn end(state: &State, name: &str) -> Option<End> {
    let cell: Cell = read(state, name)?;
    let status = cell.status.unwrap_or_default();
    let rule = state.lb.rule_of(&format!("default/{name}"));
    Some(End {
        phase: status.phase.map(|phase| format!("{phase:?}")).unwrap_or_default(),
        stable: status.stable_version,
        weights: rule.into_iter().flat_map(|held| held.rule.weights).filter(|(_, weight)| *weight > 0).collect(),
        blocked: status.blocked_versions,
    })
}

/// What does not hold although everything came to rest.
pub fn check(world: &World, story: &Story) -> Vec<Breach> {
    world.with(|state| (0..story.cells.len()).flat_map(|cell| check_cell(state, cell_name(cell))).collect())
}

fn check_cell(state: &State, name: &str) -> Vec<Breach> {
    let Some(cell) = read::<Cell>(state, name) else { return Vec::new() };
    let seq = state.record.entries.len() as u64;
    let breach = |invariant, text: String| Breach { invariant, seq, text: format!("Cell {name}: {text}") };
    let status = cell.status.clone().unwrap_or_default();
    let Some(phase) = status.phase else { return vec![breach("L2", "says nothing at all".to_owned())] };
    if status.message.is_empty() {
        return vec![breach("L2", format!("{phase:?} without a word"))];
    }
    let route: Option<AWSApplicationLoadBalancerConfig> = read(state, name);
    let route_status = route.as_ref().and_then(|route| route.status.clone()).unwrap_or_default();
    let generation = route.as_ref().and_then(|route| route.metadata.generation);
    let verified =
        route_status.outcome == Some(RouteOutcome::Verified) && route_status.observed_generation == generation;
    if route_status.outcome == Some(RouteOutcome::Foreign) && status.message.contains("somebody else changed the rule")
    {
        // Held until a person resolves it, and it says so.
        return Vec::new();
    }
    match phase {
        CellPhase::Progressing | CellPhase::RollingBack => {
            vec![breach("L1", format!("came to rest as {phase:?}: {}", status.message))]
        }
        CellPhase::Healthy | CellPhase::Failed if !verified => {
            let text = format!("{phase:?}, and its route is {:?}: {}", route_status.outcome, route_status.message);
            vec![breach("L1", text)]
        }
        CellPhase::Healthy | CellPhase::Failed => {
            let wrong = unlike_stable(state, name, status.stable_version.as_deref());
            wrong.into_iter().map(|text| breach("L1", format!("{phase:?}, and {text}"))).collect()
        }
        CellPhase::Pending | CellPhase::Paused | CellPhase::Degraded => Vec::new(),
    }
}

/// Groups that serve although they are not of the stable version.
fn unlike_stable(state: &State, name: &str, stable: Option<&str>) -> Option<String> {
    let rule = state.lb.rule_of(&format!("default/{name}"))?.rule;
    let Some(stable) = stable.and_then(|text| version::parse(text).ok()) else {
        return Some("no version is stable".to_owned());
    };
    let version_of = |arn: &str| {
        let name = arn.rsplit('/').nth(1)?;
        let kind = Kind::of::<okra_api::AWSTargetGroup>();
        let group = state.api.present(&kind, &Key::new("default", name)).ok()?;
        let labels = group.pointer("/metadata/labels")?;
        version::parse(labels.get(VERSION_LABEL)?.as_str()?).ok()
    };
    let wrong = rule.weights.iter().find(|(arn, weight)| **weight > 0 && version_of(arn).as_ref() != Some(&stable));
    wrong.map(|(arn, weight)| format!("{arn} has weight {weight} while {stable} is stable"))
}
