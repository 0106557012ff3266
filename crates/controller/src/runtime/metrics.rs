//! What the queues count.

use std::time::Duration;

use okra_provider::Disposition;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Labels of a metric that is kept per controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ControllerLabels {
    /// [`crate::Reconciler::name`].
    pub controller: &'static str,
}

/// Labels of `okra_reconcile_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// [`crate::Reconciler::name`].
    pub controller: &'static str,
    /// `success`, `transient`, `throttled`, `terminal`, `bug`, `deadline` or `panic`.
    pub outcome: &'static str,
}

/// Labels of `okra_reconcile_errors_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ErrorLabels {
    /// [`crate::Reconciler::name`].
    pub controller: &'static str,
    /// [`crate::ReconcileError::category`].
    pub category: &'static str,
}

/// What all queues count; cheap to clone, every clone counts into the same figures.
#[derive(Clone, Debug)]
pub struct RuntimeMetrics {
    reconciles: Family<OutcomeLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    panics: Family<ControllerLabels, Counter>,
    durations: Family<ControllerLabels, Histogram>,
    depth: Family<ControllerLabels, Gauge>,
    running: Family<ControllerLabels, Gauge>,
}

/// From 1 ms, which is a reconcile that finds nothing to do, to about two minutes, which is the deadline of one.
fn duration_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 18))
}

impl Default for RuntimeMetrics {
    fn default() -> Self {
        Self {
            reconciles: Family::default(),
            errors: Family::default(),
            panics: Family::default(),
            durations: Family::new_with_constructor(duration_buckets),
            depth: Family::default(),
            running: Family::default(),
        }
    }
}

impl RuntimeMetrics {
    /// Figures at zero, shown by `registry` from now on.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("okra_reconcile", "Reconciles by outcome", metrics.reconciles.clone());
        registry.register("okra_reconcile_errors", "Failed reconciles by category", metrics.errors.clone());
        registry.register("okra_reconcile_panics", "Reconciles that panicked", metrics.panics.clone());
        registry.register_with_unit(
            "okra_reconcile_duration",
            "How long reconciles took",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register("okra_queue_depth", "Objects that are due and do not run yet", metrics.depth.clone());
        registry.register("okra_reconciles_running", "Reconciles that run now", metrics.running.clone());
        metrics
    }

    pub(crate) fn queue(&self, controller: &'static str, depth: usize, running: usize) {
        let labels = ControllerLabels { controller };
        self.depth.get_or_create(&labels).set(depth as i64);
        self.running.get_or_create(&labels).set(running as i64);
    }

    pub(crate) fn ended(&self, controller: &'static str, outcome: &'static str, took: Duration) {
        self.reconciles.get_or_create(&OutcomeLabels { controller, outcome }).inc();
        self.durations.get_or_create(&ControllerLabels { controller }).observe(took.as_secs_f64());
    }

    pub(crate) fn error(&self, controller: &'static str, category: &'static str) {
        self.errors.get_or_create(&ErrorLabels { controller, category }).inc();
    }

    pub(crate) fn panicked(&self, controller: &'static str) {
        self.panics.get_or_create(&ControllerLabels { controller }).inc();
    }
}

/// The `outcome` label of a failure.
pub(crate) fn outcome_label(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Transient => "transient",
        Disposition::Throttled => "throttled",
        Disposition::Terminal => "terminal",
        Disposition::Bug => "bug",
    }
}
