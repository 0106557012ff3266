//! Figures that are read where they are kept, at each scrape.

use std::{fmt, sync::Arc, time::Duration};

use okra_aws::AwsMetrics;
use okra_core::route::Lane;
use okra_provider::{Leadership, Store};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::cell_metrics::CellMetrics;

/// Registers what this process is, whether it leads, how the Cells stand, and what its caches and its calls to AWS
/// count. Starts the watch of Cells, within the tokio runtime that it is called in.
pub fn register(registry: &mut Registry, store: Store, leadership: Arc<dyn Leadership>, aws: Option<Arc<AwsMetrics>>) {
    registry.register_collector(Box::new(CellMetrics::new(store.cache())));
    registry.register_collector(Box::new(Process { store, leadership }));
    if let Some(aws) = aws {
        registry.register_collector(Box::new(Aws(aws)));
    }
}

struct Process {
    store: Store,
    leadership: Arc<dyn Leadership>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut build = encoder.encode_descriptor("okra_build_info", "The build", None, MetricType::Gauge)?;
        ConstGauge::new(1_u64).encode(build.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)?;
        let leads = u64::from(self.leadership.permits(Duration::ZERO).is_ok());
        let leader = encoder.encode_descriptor("okra_leader", "1 while this process leads", None, MetricType::Gauge)?;
        ConstGauge::new(leads).encode(leader)?;
        let help = "Looks at an object put off until the watch shows our own last write of it";
        let skips = encoder.encode_descriptor("okra_stale_skips", help, None, MetricType::Counter)?;
        ConstCounter::new(self.store.stale_skips()).encode(skips)
    }
}

#[derive(Debug)]
struct Aws(Arc<AwsMetrics>);

impl Collector for Aws {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Calls to AWS by operation and code";
        let mut calls = encoder.encode_descriptor("okra_aws_requests", help, None, MetricType::Counter)?;
        for ((operation, code), count) in self.0.calls() {
            let labels = [("service", "elasticloadbalancing"), ("operation", operation), ("code", code.as_str())];
            ConstCounter::new(count).encode(calls.encode_family(&labels)?)?;
        }
        let waits = self.0.waits();
        let help = "Calls to AWS that the rate limit let through";
        let mut admitted = encoder.encode_descriptor("okra_aws_admitted", help, None, MetricType::Counter)?;
        for (lane, wait) in &waits {
            ConstCounter::new(wait.count).encode(admitted.encode_family(&[("lane", lane_label(*lane))])?)?;
        }
        let help = "Time that calls to AWS waited for the rate limit";
        let mut waited = encoder.encode_descriptor("okra_aws_wait_seconds", help, None, MetricType::Counter)?;
        for (lane, wait) in &waits {
            let total = wait.total.as_secs_f64();
            ConstCounter::new(total).encode(waited.encode_family(&[("lane", lane_label(*lane))])?)?;
        }
        let help = "Answers of AWS that asked to slow down";
        let throttled = encoder.encode_descriptor("okra_aws_throttled", help, None, MetricType::Counter)?;
        ConstCounter::new(self.0.throttled()).encode(throttled)?;
        let help = "Calls to AWS given up because the rate limit did not let them through in time";
        let gave_up = encoder.encode_descriptor("okra_aws_gave_up", help, None, MetricType::Counter)?;
        ConstCounter::new(self.0.gave_up()).encode(gave_up)
    }
}

fn lane_label(lane: Lane) -> &'static str {
    match lane {
        Lane::Rollback => "rollback",
        Lane::Verify => "verify",
        Lane::Promote => "promote",
        Lane::Drift => "drift",
        Lane::Discovery => "discovery",
    }
}

#[cfg(test)]
mod tests {
    use okra_provider::{
        Namespaces,
        testing::{AlwaysLeader, FixedClock, MemoryBackend, SeededEntropy},
    };
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[tokio::test]
    async fn shows_what_it_is_told() {
        let memory = MemoryBackend::new(Arc::new(FixedClock::default()), Arc::new(SeededEntropy::new(1)));
        let mut registry = Registry::default();
        let store = Store::new(Arc::new(memory), Namespaces::All);
        register(&mut registry, store, Arc::new(AlwaysLeader), Some(Arc::default()));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            concat!("okra_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "okra_leader 1",
            "okra_stale_skips_total 0",
            "okra_aws_throttled_total 0",
            "# TYPE okra_aws_requests counter",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
