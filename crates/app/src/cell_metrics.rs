//! How the Cells stand, counted at each scrape from what the watch told.

use std::{collections::BTreeMap, fmt};

use okra_api::{
    Cell,
    cell_status::CellPhase,
    condition::{self, DEGRADED, PAUSED, ROLLBACK_READY, reason},
};
use okra_provider::{Cache, Key};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};

/// So many Cells are named one by one: a fault that all of ten thousand have must not be ten thousand series.
const MOST_NAMED: usize = 200;

const PHASES: [(CellPhase, &str); 7] = [
    (CellPhase::Pending, "Pending"),
    (CellPhase::Progressing, "Progressing"),
    (CellPhase::Paused, "Paused"),
    (CellPhase::RollingBack, "RollingBack"),
    (CellPhase::Healthy, "Healthy"),
    (CellPhase::Degraded, "Degraded"),
    (CellPhase::Failed, "Failed"),
];

/// Pauses that a step asked for or a person is taking are no trouble; these wait for a decision nobody may know of.
const NEEDS_A_PERSON: [&str; 4] =
    [reason::FOREIGN_EDIT, reason::INCONCLUSIVE, reason::HELD_ON_FAILURE, reason::STATE_LOST];

/// `okra_cells` by phase, and `okra_cell_needs_attention` for each Cell that does.
pub(crate) struct CellMetrics {
    cells: Cache<Cell>,
}

impl CellMetrics {
    pub(crate) fn new(cells: Cache<Cell>) -> Self {
        Self { cells }
    }
}

impl fmt::Debug for CellMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CellMetrics")
    }
}

impl Collector for CellMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let cells = self.cells.list(None);
        let mut counts: BTreeMap<&str, u64> = PHASES.iter().map(|(_, name)| (*name, 0)).collect();
        for cell in &cells {
            *counts.entry(phase_of(cell)).or_default() += 1;
        }
        let help = "Cells by phase";
        let mut by_phase = encoder.encode_descriptor("okra_cells", help, None, MetricType::Gauge)?;
        for (phase, count) in counts {
            ConstGauge::new(count).encode(by_phase.encode_family(&[("phase", phase)])?)?;
        }
        let help = "1 for each Cell that is degraded, waits for a person's decision, or moves without a way back";
        let mut named = encoder.encode_descriptor("okra_cell_needs_attention", help, None, MetricType::Gauge)?;
        let troubled = cells.iter().filter_map(|cell| Some((Key::of_typed(&**cell), trouble_of(cell)?)));
        for (key, why) in troubled.take(MOST_NAMED) {
            let labels = [("namespace", key.namespace.as_str()), ("cell", key.name.as_str()), ("reason", why)];
            ConstGauge::new(1_u64).encode(named.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn phase_of(cell: &Cell) -> &'static str {
    let phase = cell.status.as_ref().and_then(|status| status.phase).unwrap_or(CellPhase::Pending);
    PHASES.iter().find(|(known, _)| *known == phase).map_or("Pending", |(_, name)| name)
}

/// Why somebody should look at the Cell; a reason of a condition.
fn trouble_of(cell: &Cell) -> Option<&str> {
    let status = cell.status.as_ref()?;
    let reason_of = |type_: &str| {
        let found = condition::find(&status.conditions, type_)?;
        (found.status == "True").then_some(found.reason.as_str())
    };
    let moves = matches!(status.phase, Some(CellPhase::Progressing | CellPhase::Paused));
    let shrunk = || {
        let found = condition::find(&status.conditions, ROLLBACK_READY)?;
        (moves && found.reason == reason::PREVIOUS_VERSION_SHRUNK).then_some(reason::PREVIOUS_VERSION_SHRUNK)
    };
    reason_of(DEGRADED).or_else(|| reason_of(PAUSED).filter(|why| NEEDS_A_PERSON.contains(why))).or_else(shrunk)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use okra_api::{CellSpec, CellStatus, condition::NewCondition};
    use okra_provider::{
        Backend as _, Kind, Namespaces, Store,
        testing::{FixedClock, MemoryBackend, SeededEntropy},
    };
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    fn cell(name: &str, phase: CellPhase, type_: &str, why: &'static str) -> Cell {
        let mut cell = Cell::new(name, CellSpec::default());
        cell.metadata.namespace = Some("shop".to_owned());
        let mut status = CellStatus { phase: Some(phase), ..CellStatus::default() };
        let holds = type_ != ROLLBACK_READY;
        let new = NewCondition { type_, status: Some(holds), reason: why, message: String::new() };
        condition::set(&mut status.conditions, "2026-01-01T00:00:00Z".parse().unwrap(), None, new);
        cell.status = Some(status);
        cell
    }

    #[tokio::test]
    async fn cells_are_counted_and_those_in_trouble_are_named() {
        let backend = Arc::new(MemoryBackend::new(Arc::new(FixedClock::default()), Arc::new(SeededEntropy::new(1))));
        let kind = Kind::of::<Cell>();
        for cell in [
            cell("well", CellPhase::Healthy, condition::READY, reason::AS_DESIRED),
            cell("step", CellPhase::Paused, PAUSED, reason::PAUSE_STEP),
            cell("edited", CellPhase::Paused, PAUSED, reason::FOREIGN_EDIT),
            cell("ill", CellPhase::Degraded, DEGRADED, reason::NOTHING_HEALTHY),
            cell("risky", CellPhase::Progressing, ROLLBACK_READY, reason::PREVIOUS_VERSION_SHRUNK),
            cell("rested", CellPhase::Healthy, ROLLBACK_READY, reason::PREVIOUS_VERSION_SHRUNK),
        ] {
            let object = serde_json::to_value(&cell).unwrap();
            let mut made = backend.create(&kind, &object).await.unwrap();
            made["status"] = object["status"].clone();
            backend.update_status(&kind, &made).await.unwrap();
        }
        let store = Store::new(backend, Namespaces::All);
        let cells = store.cache::<Cell>();
        cells.synced().await;
        let mut registry = Registry::default();
        registry.register_collector(Box::new(CellMetrics::new(cells)));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "okra_cells{phase=\"Healthy\"} 2",
            "okra_cells{phase=\"Paused\"} 2",
            "okra_cells{phase=\"Failed\"} 0",
            "okra_cell_needs_attention{namespace=\"shop\",cell=\"edited\",reason=\"ForeignEdit\"} 1",
            "okra_cell_needs_attention{namespace=\"shop\",cell=\"ill\",reason=\"NothingHealthy\"} 1",
            "okra_cell_needs_attention{namespace=\"shop\",cell=\"risky\",reason=\"PreviousVersionShrunk\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("okra_cell_needs_attention{").count(), 3, "{text}");
    }
}
