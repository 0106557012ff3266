//! One decision about one Cell, from the objects of its namespace to the plan, in namespaces of different sizes: the
//! cost that each event pays. `make bench` runs it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark may end at what it did not expect")]

use std::{hint::black_box, sync::Arc};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use jiff::{SignedDuration, Timestamp};
use okra_api::{AWSTargetGroup, Cell, names::VERSION_LABEL};
use okra_core::{
    cell::{Plan, Surroundings, gather, plan},
    route::Capabilities,
};
use serde_json::json;

/// Cells in the namespace; each has two target groups.
const CELLS: [usize; 3] = [1, 100, 10_000];
const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn cell(name: &str) -> Cell {
    serde_json::from_value(json!({
        "apiVersion": "okra.mumo.co/v1alpha1",
        "kind": "Cell",
        "metadata": {"name": name, "namespace": "prod", "uid": format!("uid-{name}"), "generation": 1},
        "spec": {
            "ingress": {
                "type": "AWSApplicationLoadBalancer",
                "awsApplicationLoadBalancer": {
                    "listenerARN": "arn:aws:elasticloadbalancing:eu-west-1:111122223333:listener/app/web/1/2",
                    "listener": {"rule": {"forward": {}, "hosts": ["web.example.com"], "priority": 10}},
                    "targetGroupSelector": {"matchLabels": {"app": name}},
                },
            },
            "replicas": 1,
            "updateStrategy": {"type": "Canary", "canary": {"steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 50}]}},
        },
    }))
    .unwrap()
}

fn group(cell: &str, version: u32) -> Arc<AWSTargetGroup> {
    let group = serde_json::from_value(json!({
        "apiVersion": "okra.mumo.co/v1alpha1",
        "kind": "AWSTargetGroup",
        "metadata": {
            "name": format!("{cell}-v{version}"),
            "namespace": "prod",
            "labels": {"app": cell, VERSION_LABEL: format!("{version}.0.0")},
        },
        "spec": {"arn": format!("arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/{cell}-v{version}/1")},
    }));
    Arc::new(group.unwrap())
}

/// A namespace of this many Cells, as the caches hold it for one of them.
fn namespace(cells: usize) -> Surroundings {
    let names = (0..cells).map(|index| format!("cell-{index}"));
    Surroundings {
        aws_groups: names.flat_map(|name| [group(&name, 1), group(&name, 2)]).collect(),
        router: Some(Capabilities {
            max_groups: 5,
            max_weight: 999,
            settle: SignedDuration::from_mins(1),
            keeps_connections: true,
            sees_health: true,
        }),
        ..Surroundings::default()
    }
}

fn decide(cell: &Cell, around: &Surroundings) -> Plan {
    plan(&gather(cell, around).unwrap(), NOW)
}

fn decisions(criterion: &mut Criterion) {
    let mut decisions = criterion.benchmark_group("decision");
    for cells in CELLS {
        let (cell, around) = (cell("cell-0"), namespace(cells));
        assert!(!decide(&cell, &around).status.target_groups.is_empty(), "the plan is about target groups");
        decisions.bench_with_input(BenchmarkId::from_parameter(cells), &around, |bencher, around| {
            bencher.iter(|| decide(black_box(&cell), black_box(around)));
        });
    }
    decisions.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
