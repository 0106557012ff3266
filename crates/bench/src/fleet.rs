//! Cells with their listeners and target groups.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use okra_api::{AWSTargetGroup, AWSTargetGroupSpec, Cell, condition, names};
use okra_testkit::stub::StubCall;
use serde_json::{Value, json};

use crate::rig::Rig;

/// Cells on one load balancer: two target groups each, and 100 groups are its quota.
pub const CELLS_PER_LISTENER: usize = 50;
/// How many requests of ours are under way at once.
pub const AT_ONCE: usize = 16;
/// How often Cells are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The AWS account of a fleet that fits in one.
const ACCOUNT: &str = "123456789012";

/// Where a Cell is.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The Cell's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The listener's ARN.
    pub listener: String,
    /// The rule's priority.
    pub priority: u32,
}

/// The Cells of a workload.
pub struct Fleet {
    /// Where they are.
    pub seats: Vec<Seat>,
}

/// A new target group of a Cell.
#[derive(Clone, Debug)]
pub struct Release {
    /// The Cell.
    pub seat: Seat,
    /// The ARN of the new group.
    pub group: String,
    /// When the API server had answered to its creation.
    pub at: Instant,
}

impl Fleet {
    /// Seats for this many Cells, 50 on a listener, in namespaces of at most `per_namespace`.
    pub async fn new(rig: &Rig, count: usize, per_namespace: usize) -> Self {
        let mut seats = Vec::with_capacity(count);
        let (mut namespace, mut listener) = (String::new(), String::new());
        for index in 0..count {
            if index % per_namespace == 0 {
                namespace = rig.server.namespace("cells").await;
            }
            if index % CELLS_PER_LISTENER == 0 {
                listener = rig.stub.listener(ACCOUNT, &format!("lb-{}", index / CELLS_PER_LISTENER));
            }
            seats.push(Seat {
                name: format!("cell-{index}"),
                namespace: namespace.clone(),
                listener: listener.clone(),
                priority: (index % CELLS_PER_LISTENER) as u32 + 1,
            });
        }
        Self { seats }
    }

    /// Creates the Cells of these seats, with these canary steps.
    pub async fn create_cells(&self, rig: &Rig, seats: &[Seat], steps: &Value) -> anyhow::Result<()> {
        let create = |seat: &Seat| {
            let (api, cell) = (api::<Cell>(rig, &seat.namespace), cell(seat, steps));
            async move { api.create(&PostParams::default(), &cell?).await.map(drop).context("failed to create a Cell") }
        };
        futures::stream::iter(seats.iter().map(create)).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Creates a target group of a version for each of these seats, all at once.
    pub async fn release(&self, rig: &Rig, seats: &[Seat], version: u32) -> anyhow::Result<Vec<Release>> {
        let mut wanted = Vec::new();
        for seat in seats {
            let object = object_name(seat, version);
            let account = seat.listener.split(':').nth(4).unwrap_or_default();
            let arn = rig.stub.target_group(account, &object, 2);
            wanted.push((seat.clone(), object, arn));
        }
        let create = |(seat, object, arn): (Seat, String, String)| {
            let api = api::<AWSTargetGroup>(rig, &seat.namespace);
            let mut group = AWSTargetGroup::new(&object, AWSTargetGroupSpec { arn: arn.clone() });
            group.metadata.labels = Some(BTreeMap::from([
                ("app".to_owned(), seat.name.clone()),
                (names::VERSION_LABEL.to_owned(), format!("{version}.0.0")),
            ]));
            async move {
                api.create(&PostParams::default(), &group).await.context("failed to create a target group")?;
                anyhow::Ok(Release { seat, group: arn, at: Instant::now() })
            }
        };
        futures::stream::iter(wanted.into_iter().map(create)).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Deletes the objects of a version's target groups.
    pub async fn retire(&self, rig: &Rig, seats: &[Seat], version: u32) -> anyhow::Result<()> {
        let delete = |seat: &Seat| {
            let (api, object) = (api::<AWSTargetGroup>(rig, &seat.namespace), object_name(seat, version));
            async move {
                api.delete(&object, &DeleteParams::default()).await.map(drop).context("failed to delete a target group")
            }
        };
        futures::stream::iter(seats.iter().map(delete)).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Waits until all these Cells satisfy a condition. The API server is asked seldom: a list of many Cells costs it
    /// as much as many of okrad's own requests.
    pub async fn until(
        &self,
        rig: &Rig,
        seats: &[Seat],
        within: Duration,
        what: &str,
        holds: impl Fn(&Cell) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        let key_of = |seat: &Seat| (seat.namespace.clone(), seat.name.clone());
        let mut open: BTreeMap<_, _> = seats.iter().map(|seat| (key_of(seat), "was not seen".to_owned())).collect();
        while !open.is_empty() {
            let first = open.first_key_value().map(|((namespace, name), says)| format!("{namespace}/{name}: {says}"));
            anyhow::ensure!(
                Instant::now() < deadline,
                "{} of {} Cells were not {what} within {within:?}; {}",
                open.len(),
                seats.len(),
                first.unwrap_or_default()
            );
            tokio::time::sleep(LOOK_AGAIN).await;
            for cell in list(rig).await? {
                let (namespace, name) = (cell.metadata.namespace.clone(), cell.metadata.name.clone());
                let key = (namespace.unwrap_or_default(), name.unwrap_or_default());
                if holds(&cell) {
                    open.remove(&key);
                } else if let Some(says) = open.get_mut(&key) {
                    cell.status.as_ref().map_or("", |status| status.message.as_str()).clone_into(says);
                }
            }
        }
        Ok(())
    }

    /// Waits until a version is stable on all these Cells and they rest.
    pub async fn until_stable(&self, rig: &Rig, seats: &[Seat], version: u32, within: Duration) -> anyhow::Result<()> {
        let version = format!("{version}.0.0");
        self.until(rig, seats, within, &format!("stable at {version}"), |cell| {
            cell.status.as_ref().is_some_and(|status| {
                status.stable_version.as_deref() == Some(version.as_str())
                    && condition::is_true(&status.conditions, condition::READY)
            })
        })
        .await
    }

    /// Waits until the rollouts of a version stand in a pause on all these Cells.
    pub async fn until_paused(&self, rig: &Rig, seats: &[Seat], version: u32, within: Duration) -> anyhow::Result<()> {
        let version = format!("{version}.0.0");
        self.until(rig, seats, within, &format!("paused in {version}"), |cell| {
            cell.status.as_ref().is_some_and(|status| {
                let rollout = status.rollout.as_ref().filter(|rollout| rollout.finished_at.is_none());
                rollout.is_some_and(|rollout| rollout.version == version)
                    && condition::is_true(&status.conditions, condition::PAUSED)
            })
        })
        .await
    }

    /// Waits until the rollouts of a version have ended on all these Cells.
    pub async fn until_over(&self, rig: &Rig, seats: &[Seat], version: u32, within: Duration) -> anyhow::Result<()> {
        let version = format!("{version}.0.0");
        self.until(rig, seats, within, &format!("done with {version}"), |cell| {
            let rollout = cell.status.as_ref().and_then(|status| status.rollout.as_ref());
            rollout.is_some_and(|rollout| rollout.version == version && rollout.finished_at.is_some())
        })
        .await
    }

    /// Cells, their first version, and a wait until it serves.
    pub async fn serve(&self, rig: &Rig, steps: &Value, within: Duration) -> anyhow::Result<()> {
        let seats = self.seats.clone();
        self.create_cells(rig, &seats, steps).await?;
        self.release(rig, &seats, 1).await?;
        self.until_stable(rig, &seats, 1, within).await
    }
}

impl Release {
    /// From the creation of the group until the first change of a rule that satisfies a condition on the new group's
    /// weight arrived at the load balancer; `None`: none did.
    pub fn until(&self, calls: &[StubCall], holds: impl Fn(i64) -> bool) -> Option<Duration> {
        let is_it =
            |call: &&StubCall| call.weights.iter().any(|(group, weight)| *group == self.group && holds(*weight));
        Some(calls.iter().find(is_it)?.at.saturating_duration_since(self.at))
    }
}

/// A person's request to abort the rollout that is under way; when the API server had answered.
pub async fn abort(rig: &Rig, seat: &Seat, id: &str) -> anyhow::Result<Instant> {
    let request = json!({"id": id, "verb": "abort", "user": "bench"}).to_string();
    let patch = json!({"metadata": {"annotations": {names::REQUEST_ANNOTATION: request}}});
    let api = api::<Cell>(rig, &seat.namespace);
    api.patch(&seat.name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .context("failed to ask for an abort")?;
    Ok(Instant::now())
}

fn api<K>(rig: &Rig, namespace: &str) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    Api::namespaced(rig.client.clone(), namespace)
}

/// All Cells, from the API server's cache, which is cheap for it.
async fn list(rig: &Rig) -> anyhow::Result<Vec<Cell>> {
    let listed = Api::<Cell>::all(rig.client.clone()).list(&ListParams::default().match_any()).await;
    Ok(listed.context("failed to list Cells")?.items)
}

fn object_name(seat: &Seat, version: u32) -> String {
    format!("{}-v{version}", seat.name)
}

fn cell(seat: &Seat, steps: &Value) -> anyhow::Result<Cell> {
    let Seat { name, listener, priority, .. } = seat;
    serde_json::from_value(json!({
        "apiVersion": "okra.mumo.co/v1alpha1",
        "kind": "Cell",
        "metadata": {"name": name},
        "spec": {
            "ingress": {
                "type": "AWSApplicationLoadBalancer",
                "awsApplicationLoadBalancer": {
                    "listenerARN": listener,
                    "listener": {"rule": {"forward": {}, "hosts": [format!("{name}.example.com")], "priority": priority}},
                    "targetGroupSelector": {"matchLabels": {"app": name}},
                },
            },
            "replicas": 1,
            "updateStrategy": {"type": "Canary", "canary": {"steps": steps}},
        },
    }))
    .context("failed to make a Cell")
}
