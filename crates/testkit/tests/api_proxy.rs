//! The proxy before the API server: each fault as a plain client sees it, and what the API server has afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are not seen as tests"
)]

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, Stream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use okra_testkit::{
    ApiServer,
    api_proxy::{ApiFault, ApiProxy, Cut, When, Write},
    fault_plan::{ALWAYS, FaultPlan, PlannedFault},
    shared_api_server,
};
use parking_lot::Mutex;
use pretty_assertions::assert_eq;
use serde_json::json;

const WITHIN: Duration = Duration::from_mins(1);
/// Long enough to tell silence from a slow machine's answer by what came before it.
const SILENT: Duration = Duration::from_millis(500);

/// A namespace of its own behind a proxy of its own.
struct Rig {
    proxy: ApiProxy,
    /// Through the proxy.
    api: Api<ConfigMap>,
    /// Past the proxy.
    direct: Api<ConfigMap>,
}

impl Rig {
    async fn new() -> Self {
        let server: &ApiServer = shared_api_server().await;
        let namespace = server.namespace("proxy").await;
        let proxy = ApiProxy::start(server).unwrap();
        let of = |client: Client| Api::namespaced(client, &namespace);
        let (api, direct) = (of(proxy.client("okrad").unwrap()), of(server.client("test")));
        Self { proxy, api, direct }
    }

    async fn with(call: &str, fault: ApiFault) -> Self {
        let rig = Self::new().await;
        rig.proxy.set_plan(FaultPlan::once(call, 1, fault));
        rig
    }

    async fn exists(&self, name: &str) -> bool {
        self.direct.get_opt(name).await.unwrap().is_some()
    }

    async fn create(&self, name: &str) -> kube::Result<ConfigMap> {
        within(self.api.create(&PostParams::default(), &object(name))).await
    }

    async fn names(&self) -> Vec<String> {
        within(self.api.list(&ListParams::default())).await.unwrap().items.into_iter().map(name).collect()
    }

    async fn watch(&self, from: &str) -> Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Send>> {
        within(self.api.watch(&WatchParams::default(), from)).await.unwrap().boxed()
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WITHIN, future).await.expect("it ends in time")
}

fn object(name: &str) -> ConfigMap {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    ConfigMap { metadata, ..ConfigMap::default() }
}

fn name(object: ConfigMap) -> String {
    object.metadata.name.unwrap()
}

fn version(object: &ConfigMap) -> String {
    object.metadata.resource_version.clone().unwrap()
}

fn code(result: kube::Result<ConfigMap>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("no answer with an error: {other:?}"),
    }
}

fn added(event: Option<kube::Result<WatchEvent<ConfigMap>>>) -> String {
    match event {
        Some(Ok(WatchEvent::Added(object))) => name(object),
        other => panic!("not added: {other:?}"),
    }
}

#[tokio::test]
async fn without_a_plan_everything_passes_and_is_seen() {
    let rig = Rig::new().await;
    let first = rig.create("one").await.unwrap();
    let mut watch = rig.watch(&version(&first)).await;
    rig.direct.create(&PostParams::default(), &object("two")).await.unwrap();
    assert_eq!(added(within(watch.next()).await), "two");
    let patch = Patch::Merge(json!({"data": {"a": "b"}}));
    within(rig.api.patch("two", &PatchParams::default(), &patch)).await.unwrap();
    within(rig.api.delete("one", &DeleteParams::default())).await.unwrap();
    let told = [within(watch.next()).await, within(watch.next()).await];
    assert!(matches!(told, [Some(Ok(WatchEvent::Modified(_))), Some(Ok(WatchEvent::Deleted(_)))]), "{told:?}");
    assert_eq!(rig.names().await.iter().filter(|name| !name.starts_with("kube-")).collect::<Vec<_>>(), ["two"]);
    let missing = within(rig.api.get("one")).await;
    assert_eq!(code(missing), 404, "errors pass, too");
    let seen: Vec<(String, Option<u16>, Option<String>)> =
        rig.proxy.seen().into_iter().map(|seen| (seen.call, seen.status, seen.created)).collect();
    let expected = [
        ("POST configmaps", 201, Some("one")),
        ("WATCH configmaps", 200, None),
        ("PATCH configmaps", 200, None),
        ("DELETE configmaps", 200, None),
        ("LIST configmaps", 200, None),
        ("GET configmaps", 404, None),
    ];
    let expected = expected.map(|(call, status, made)| (call.to_owned(), Some(status), made.map(str::to_owned)));
    assert_eq!(seen, expected);
    assert!(rig.proxy.seen().iter().all(|seen| seen.caller == "okrad" && seen.fault.is_none()));
}

#[tokio::test]
async fn refusals_do_nothing_and_the_next_call_passes() {
    for (fault, expected) in [
        (ApiFault::Conflict, 409),
        (ApiFault::TooManyRequests { retry_after: 2 }, 429),
        (ApiFault::Status(500), 500),
        (ApiFault::Status(503), 503),
        (ApiFault::Status(410), 410),
        (ApiFault::GoneEvent, 410),
    ] {
        let rig = Rig::with("POST configmaps", fault.clone()).await;
        assert_eq!(code(rig.create("one").await), expected, "{fault:?}");
        assert!(!rig.exists("one").await, "{fault:?}");
        rig.create("one").await.unwrap();
        assert_eq!(rig.proxy.plan().pending(), [0; 0]);
        let seen: Vec<(bool, Option<u16>)> =
            rig.proxy.seen().iter().map(|seen| (seen.fault.is_some(), seen.status)).collect();
        assert_eq!(seen, [(true, None), (false, Some(201))]);
    }
}

#[tokio::test]
async fn retry_after_is_a_header() {
    let rig = Rig::with("LIST configmaps", ApiFault::TooManyRequests { retry_after: 7 }).await;
    let client = rig.proxy.client("okrad").unwrap();
    let request = http::Request::get("/api/v1/configmaps").body(kube::client::Body::empty()).unwrap();
    let answer = within(client.send(request)).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (429, "7"));
}

#[tokio::test]
async fn a_connection_closed_before_does_nothing_and_a_lost_or_halved_answer_did_everything() {
    for (fault, done) in [(ApiFault::CloseBefore, false), (ApiFault::LoseAnswer, true), (ApiFault::HalfAnswer, true)] {
        let rig = Rig::with("POST configmaps", fault.clone()).await;
        let answer = rig.create("one").await;
        assert!(!matches!(answer, Ok(_) | Err(kube::Error::Api(_))), "{fault:?}: {answer:?}");
        assert_eq!(rig.exists("one").await, done, "{fault:?}");
        rig.create("two").await.unwrap();
    }
}

#[tokio::test]
async fn a_slow_answer_took_effect_before_it_came() {
    let rig = Rig::with("POST configmaps", ApiFault::Slow(Duration::from_secs(2))).await;
    let began = Instant::now();
    let mut creating = Box::pin(rig.create("one"));
    let watcher = async {
        let stream = rig.direct.watch(&WatchParams::default(), "0").await.unwrap();
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            if matches!(event, Ok(WatchEvent::Added(object)) if name(object.clone()) == "one") {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        _ = &mut creating => panic!("the answer came before the effect was seen"),
        () = within(watcher) => {}
    }
    creating.await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_silent_watch_tells_nothing_and_the_next_one_everything() {
    let rig = Rig::with("WATCH configmaps", ApiFault::Silence).await;
    let from = version(&rig.create("one").await.unwrap());
    let mut silent = rig.watch(&from).await;
    let mut open = rig.watch(&from).await;
    rig.create("two").await.unwrap();
    assert_eq!(added(within(open.next()).await), "two");
    assert!(tokio::time::timeout(SILENT, silent.next()).await.is_err(), "it is open, and silent");
}

#[tokio::test]
async fn a_dropped_watch_tells_what_happened_until_then() {
    let rig = Rig::with("WATCH configmaps", ApiFault::DropWatch(Duration::from_secs(2))).await;
    let from = version(&rig.create("one").await.unwrap());
    let mut watch = rig.watch(&from).await;
    rig.create("two").await.unwrap();
    assert_eq!(added(within(watch.next()).await), "two");
    let end = within(watch.next()).await;
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    assert_eq!(added(within(rig.watch(&from).await.next()).await), "two");
}

#[tokio::test]
async fn half_an_event_is_no_event() {
    let rig = Rig::with("WATCH configmaps", ApiFault::HalfAnswer).await;
    let from = version(&rig.create("one").await.unwrap());
    let mut watch = rig.watch(&from).await;
    rig.create("two").await.unwrap();
    let told = within(watch.next()).await;
    assert!(!matches!(told, Some(Ok(_))), "{told:?}");
    assert_eq!(added(within(rig.watch(&from).await.next()).await), "two");
}

#[tokio::test]
async fn gone_comes_as_a_status_or_as_an_event() {
    let rig = Rig::new().await;
    let planned =
        [PlannedFault::new("WATCH *", 1, ApiFault::Status(410)), PlannedFault::new("WATCH *", 2, ApiFault::GoneEvent)];
    rig.proxy.set_plan(FaultPlan::new(planned.into()));
    let refused = within(rig.api.watch(&WatchParams::default(), "0")).await.map(drop);
    assert!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 410), "{refused:?}");
    let event = within(rig.watch("0").await.next()).await;
    assert!(matches!(&event, Some(Ok(WatchEvent::Error(status))) if status.code == 410), "{event:?}");
    rig.create("one").await.unwrap();
    let mut watch = rig.watch("0").await;
    while added(within(watch.next()).await) != "one" {}
}

#[tokio::test]
async fn a_stale_list_is_an_older_one_with_its_older_version() {
    let rig = Rig::new().await;
    rig.create("one").await.unwrap();
    let first = within(rig.api.list(&ListParams::default())).await.unwrap();
    rig.create("two").await.unwrap();
    rig.proxy.set_plan(FaultPlan::new(vec![
        PlannedFault::new("LIST configmaps", 1, ApiFault::StaleList),
        PlannedFault::new("LIST configmaps", 3, ApiFault::StaleList).times(ALWAYS),
    ]));
    // Pages are asked for with a limit; it is the same list.
    let stale = within(rig.api.list(&ListParams::default().limit(500))).await.unwrap();
    assert_eq!((stale.metadata.resource_version, stale.items), (first.metadata.resource_version, first.items.clone()));
    assert!(rig.names().await.contains(&"two".to_owned()));
    rig.proxy.remember_lists().await.unwrap();
    rig.create("three").await.unwrap();
    let names = rig.names().await;
    assert!(names.contains(&"two".to_owned()) && !names.contains(&"three".to_owned()), "{names:?}");
    let from = within(rig.api.list(&ListParams::default())).await.unwrap().metadata.resource_version.unwrap();
    assert_eq!(added(within(rig.watch(&from).await.next()).await), "three", "the watch goes on from there");
}

#[tokio::test]
async fn writes_are_counted_and_can_be_held_on_both_sides_of_their_effect() {
    let rig = Rig::new().await;
    let held: Arc<Mutex<Vec<Write>>> = Arc::default();
    let record = held.clone();
    rig.proxy.on_write(Arc::new(move |write| {
        let (nth, when) = (write.nth, write.when);
        record.lock().push(write);
        async move {
            if (nth, when) == (2, When::Before) || (nth, when) == (3, When::After) {
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }));
    rig.create("one").await.unwrap();
    within(rig.api.get("one")).await.unwrap();
    assert!(tokio::time::timeout(SILENT, rig.create("two")).await.is_err());
    assert!(!rig.exists("two").await, "it was never passed on");
    let mut creating = Box::pin(rig.create("three"));
    let taking_effect = async {
        while !rig.exists("three").await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        biased;
        _ = &mut creating => panic!("the answer is held"),
        () = within(taking_effect) => {}
    }
    drop(creating);
    let written: Vec<(String, u64, When)> =
        held.lock().iter().map(|write| (write.call.clone(), write.nth, write.when)).collect();
    let on = |nth, when| ("POST configmaps".to_owned(), nth, when);
    assert_eq!(
        written[..4],
        [on(1, When::Before), on(1, When::After), on(2, When::Before), on(3, When::Before)],
        "reads do not count"
    );
}

#[tokio::test]
async fn one_user_is_cut_off_and_the_others_are_not() {
    for cut in [Cut::Refused, Cut::BlackHole] {
        let rig = Rig::new().await;
        let other: Api<ConfigMap> = Api::all(rig.proxy.client("okrad-2").unwrap());
        let from = version(&rig.create("one").await.unwrap());
        let mut watch = rig.watch(&from).await;
        assert!(!rig.proxy.cut("nobody", cut) && rig.proxy.cut("okrad", cut));
        let answer = tokio::time::timeout(SILENT, rig.api.get("one")).await;
        if cut == Cut::BlackHole {
            assert!(answer.is_err(), "{answer:?}");
            rig.direct.create(&PostParams::default(), &object("two")).await.unwrap();
            assert!(tokio::time::timeout(SILENT, watch.next()).await.is_err(), "open, and silent");
        } else {
            assert!(matches!(&answer, Ok(Err(error)) if !matches!(error, kube::Error::Api(_))), "{answer:?}");
            assert!(!matches!(within(watch.next()).await, Some(Ok(_))));
        }
        within(other.list(&ListParams::default())).await.unwrap();
        rig.proxy.cut("okrad", Cut::Healed);
        let healed = async {
            while rig.api.get("one").await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(healed).await;
    }
}

#[tokio::test]
async fn a_plan_is_for_whom_it_names_and_can_be_printed_and_read() {
    let rig = Rig::new().await;
    let plan = FaultPlan::new(vec![
        PlannedFault::new("GET configmaps", 1, ApiFault::Status(500)).by("okrad-2"),
        PlannedFault::new("GET configmaps", 1, ApiFault::TooManyRequests { retry_after: 1 }).about("/two"),
        PlannedFault::new("WATCH *", 1, ApiFault::DropWatch(Duration::from_millis(5))),
    ]);
    let read: FaultPlan<ApiFault> = plan.to_string().parse().unwrap();
    assert_eq!(read.faults, plan.faults, "{plan}");
    rig.proxy.set_plan(read);
    rig.create("one").await.unwrap();
    rig.create("two").await.unwrap();
    within(rig.api.get("one")).await.unwrap();
    assert_eq!(code(within(rig.api.get("two")).await), 429);
    let other: Api<ConfigMap> = Api::namespaced(rig.proxy.client("okrad-2").unwrap(), rig.api.namespace().unwrap());
    assert_eq!(code(within(other.get("one")).await), 500);
    let calls: BTreeMap<String, usize> = rig.proxy.seen().into_iter().fold(BTreeMap::new(), |mut calls, seen| {
        *calls.entry(seen.caller).or_default() += 1;
        calls
    });
    assert_eq!(calls, BTreeMap::from([("okrad".to_owned(), 4), ("okrad-2".to_owned(), 1)]));
}
