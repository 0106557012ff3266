//! 200 Cells in one okrad, end to end: those that cannot go on (a poisoned object, a denied account, a throttled one)
//! hold up nobody else and make no noise.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, PostParams},
};
use okra_api::{AWSTargetGroup, AWSTargetGroupSpec, Cell, condition, names::VERSION_LABEL};
use okra_judge::{
    CellRules, Rules,
    record::{Event, LbCall},
};
use okra_testkit::{
    cluster::TestCluster,
    fault_plan::{ALWAYS, FaultPlan, PlannedFault},
    front::{AwsError, AwsFault, AwsPlan, AwsWorld},
    scene::{Scene, V1, V2, WITHIN},
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
/// The steps of the first Cell of each account; the others have none.
const STEPS: &str = "[{setWeight: 20}]";
const SHARES: [u32; 3] = [0, 20, 100];

/// So long that a busy machine does not lose it.
const LEASE: &str = "15s";

/// Accounts whose Cells can go on, and how many Cells each has: 168 Cells.
const GOOD: usize = 12;
const CELLS: usize = 14;
/// An account that is denied everything, and one that is throttled at every call; the latter has more Cells than one
/// controller reconciles at once.
const DENIED: usize = 11;
const THROTTLED: usize = 20;

/// Where the Cells of one account are.
struct Account {
    id: String,
    world: AwsWorld,
    groups: BTreeMap<&'static str, String>,
    cells: Vec<String>,
}

impl Account {
    async fn new(scene: &Scene, clusters: &[(&'static str, &TestCluster)], number: usize, cells: usize) -> Self {
        let id = format!("2{number:011}");
        let world = AwsWorld::in_account(&scene.front, &id).await.unwrap();
        let mut groups = BTreeMap::new();
        for (version, cluster) in clusters {
            let name = format!("v{}", &version[..1]);
            groups.insert(*version, world.target_group(&name, &[cluster.address()]).await.unwrap());
        }
        let cells = (0..cells).map(|cell| format!("cell-{number}-{cell}")).collect();
        Self { id, world, groups, cells }
    }

    /// All Cells of an account share its target groups; each has a rule of its own.
    fn manifest(&self, scene: &Scene, index: usize) -> String {
        let mut cell: Value =
            serde_saphyr::from_str(&scene.cell_manifest(&self.cells[index], 1, if index == 0 { STEPS } else { "[]" }))
                .unwrap();
        let alb = &mut cell["spec"]["ingress"]["awsApplicationLoadBalancer"];
        alb["listenerARN"] = json!(self.world.listener);
        alb["roleARN"] = json!(format!("arn:aws:iam::{}:role/okra", self.id));
        alb["listener"]["rule"]["priority"] = json!(index + 1);
        alb["targetGroupSelector"]["matchLabels"] = json!({"account": self.id});
        cell.to_string()
    }

    async fn register(&self, scene: &Scene, version: &'static str) {
        let name = format!("v{}-{}", &version[..1], self.id);
        let mut object = AWSTargetGroup::new(&name, AWSTargetGroupSpec { arn: self.groups[version].clone() });
        let labels = [("account".to_owned(), self.id.clone()), (VERSION_LABEL.to_owned(), version.to_owned())];
        object.metadata.labels = Some(labels.into());
        scene.api::<AWSTargetGroup>().create(&PostParams::default(), &object).await.unwrap();
    }

    /// Whether a call was about this account.
    fn has(&self, call: &LbCall) -> bool {
        let rules = call.touched.iter().chain(&call.before).chain(&call.after).chain(&call.asked).chain(&call.answered);
        rules.into_iter().any(|rule| rule.listener == self.world.listener)
    }
}

async fn accounts(scene: &Scene, clusters: &[(&'static str, &TestCluster)]) -> (Vec<Account>, Account, Account) {
    let mut good = Vec::new();
    for number in 0..GOOD {
        good.push(Account::new(scene, clusters, number, CELLS).await);
    }
    let denied = Account::new(scene, clusters, GOOD, DENIED).await;
    (good, denied, Account::new(scene, clusters, GOOD + 1, THROTTLED).await)
}

/// AWS's true rates, and what the two bad accounts meet.
fn plan(denied: &Account, throttled: &Account) -> AwsPlan {
    let always = |account: &Account, error: AwsError| {
        let about = format!(":elasticloadbalancing:us-east-1:{}:", account.id);
        PlannedFault::new("*", 1, AwsFault::Error(error)).about(&about).times(ALWAYS)
    };
    let faults = vec![always(denied, AwsError::access_denied("it")), always(throttled, AwsError::throttled())];
    AwsPlan { calls: FaultPlan::new(faults), ..AwsPlan::with_buckets() }
}

/// A Cell that cannot be read at all, from before there was a schema, in a namespace of its own.
async fn poison(scene: &mut Scene) {
    let namespace = scene.server.namespace("poison").await;
    let definitions: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
    let definition = definitions.get("cells.okra.mumo.co").await.unwrap();
    let schema = serde_json::to_value(&definition.spec.versions[0].schema).unwrap()["openAPIV3Schema"].clone();
    let set_schema = async |schema: Value| {
        let mut definition = definitions.get("cells.okra.mumo.co").await.unwrap();
        definition.spec.versions[0].schema = serde_json::from_value(json!({"openAPIV3Schema": schema})).unwrap();
        definitions.replace("cells.okra.mumo.co", &PostParams::default(), &definition).await.unwrap();
    };
    set_schema(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).await;
    let resource = ApiResource::erase::<Cell>(&());
    let cells: Api<DynamicObject> = Api::namespaced_with(scene.client.clone(), &namespace, &resource);
    let object = DynamicObject::new("poisoned", &resource).data(json!({"spec": {"replicas": "many", "ingress": []}}));
    let create = async {
        while cells.create(&PostParams::default(), &object).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(WITHIN, create).await.unwrap();
    set_schema(schema).await;
    scene.also.push(namespace);
}

async fn create_cells(scene: &Scene, accounts: impl Iterator<Item = &Account>) {
    let manifests = accounts.flat_map(|account| (0..account.cells.len()).map(|cell| account.manifest(scene, cell)));
    let apply = async |manifest: String| scene.apply(&manifest).await.unwrap();
    stream::iter(manifests.collect::<Vec<_>>()).map(apply).buffer_unordered(8).map(drop).collect::<()>().await;
}

async fn until_stable(scene: &Scene, accounts: &[Account], version: &str) {
    for cell in accounts.iter().flat_map(|account| &account.cells) {
        scene.until_stable(cell, version).await;
    }
}

/// The longest time in which nothing was heard of any good account although some of its Cells had work to do, and the
/// longest row of refused calls of the bad ones with no call of a good one in between.
fn held_up(scene: &Scene, good: &[Account], from: Timestamp) -> (Duration, usize) {
    let (mut last, mut row, mut silence, mut longest, mut after) = (from, 0, Duration::ZERO, 0, 0);
    for entry in scene.front.record().entries.iter().filter(|entry| entry.at >= from) {
        let Event::Call(call) = &entry.event else { continue };
        if call.caller != scene.namespace {
            continue;
        }
        if call.error.is_some() {
            row += 1;
        } else if good.iter().any(|account| account.has(call)) {
            let gap = Duration::try_from(entry.at.duration_since(last)).unwrap_or_default();
            // Before the first good call there was none to be held up.
            longest = if after == 0 { 0 } else { longest.max(row) };
            (last, row, silence, after) = (entry.at, 0, silence.max(gap), after + 1);
        }
    }
    (silence, longest)
}

fn judge(scene: &Scene, all: &[&Account]) {
    let mut rules = Rules::alb(&scene.namespace, &scene.namespace);
    for account in all {
        for cell in &account.cells {
            let versions = account.groups.iter().map(|(version, arn)| (arn.as_str(), *version));
            rules = rules.cell(&format!("{}/{cell}", scene.namespace), CellRules::new(SHARES, versions));
        }
    }
    assert_eq!(okra_judge::judge(&scene.front.record(), &rules), []);
}

/// What okrad logged as a warning or an error about an account's Cells, at most, for one of them.
fn loudest(log: &str, account: &Account) -> usize {
    let about = |cell: &String| {
        let loud = log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
        loud.filter(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == cell))
            .count()
    };
    account.cells.iter().map(about).max().unwrap()
}

#[tokio::test]
async fn two_hundred_cells_roll_out_beside_a_poisoned_one_and_two_bad_accounts() {
    let mut scene = Scene::with_own_server(OKRAD, "crowd").await;
    scene.drift_interval = "5m";
    scene.lease = LEASE;
    poison(&mut scene).await;
    let (old, new) = (TestCluster::start("old", V1).await.unwrap(), TestCluster::start("new", V2).await.unwrap());
    let (good, denied, throttled) = accounts(&scene, &[(V1, &old), (V2, &new)]).await;
    let all: Vec<&Account> = good.iter().chain([&denied, &throttled]).collect();
    assert_eq!(all.iter().map(|account| account.cells.len()).sum::<usize>() + 1, 200);
    for account in &all {
        account.register(&scene, V1).await;
    }
    scene.front.set_plan(plan(&denied, &throttled));
    scene.start_okrad();
    // The bad ones are there first.
    let from = Timestamp::now();
    create_cells(&scene, [&throttled, &denied].into_iter().chain(&good)).await;
    until_stable(&scene, &good, V1).await;
    let first = held_up(&scene, &good, from);

    let from = Timestamp::now();
    for account in &all {
        account.register(&scene, V2).await;
    }
    until_stable(&scene, &good, V2).await;
    for (silence, row) in [first, held_up(&scene, &good, from)] {
        // Those who wait for a throttled account's rate limit do so for up to a minute.
        assert!(silence < Duration::from_secs(20), "nothing was done for {silence:?}");
        assert!(row <= DENIED + THROTTLED, "{row} refused calls in a row: more than one of each Cell");
    }
    for account in &good {
        let weights: Vec<_> = scene.front.rules(&account.world.listener).into_iter().map(|rule| rule.weights).collect();
        assert_eq!(weights.len(), CELLS + 1);
        let new = &account.groups[V2];
        assert!(weights[..CELLS].iter().all(|weights| weights.get(new) == Some(&100)), "{weights:?}");
    }

    // The bad ones say why they stand still, and have called no more than their backoff lets them.
    for (account, words, most) in [(&denied, "AccessDenied", 12), (&throttled, "Throttling", 40)] {
        assert_eq!(scene.front.rules(&account.world.listener).len(), 1, "only the default rule");
        for cell in &account.cells {
            let cell = scene.until_says(cell, words).await;
            assert!(!condition::is_true(&cell.status.unwrap().conditions, condition::READY));
        }
        let struck = scene.front.plan().calls.struck();
        let calls =
            struck.iter().filter(|strike| matches!(&strike.fault, AwsFault::Error(e) if words.contains(&e.code)));
        let calls = calls.count();
        assert!(calls > 0, "{words}: Cells of one account ask together, and somebody must");
        assert!(calls <= most * account.cells.len(), "{words}: {calls} calls of {} Cells", account.cells.len());
    }
    let throttles = scene.front.plan().calls.struck().iter().filter(|strike| strike.index == 1).count();
    assert_eq!(scene.front.throttles(), throttles, "no good account was throttled");
    let log = std::fs::read_to_string(scene.okrad_process().log()).unwrap();
    for account in &all {
        assert!(loudest(&log, account) <= 12, "{} {}\n{log}", account.id, loudest(&log, account));
    }
    let loud = log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).count();
    assert!(loud <= 12 * (DENIED + THROTTLED) + 10, "{loud} lines\n{log}");
    scene.assert_okrad_runs();
    judge(&scene, &all);
    assert_eq!(scene.stop_okrad().await, 0);
}
