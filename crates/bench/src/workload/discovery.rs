//! Clusters and their bindings: how soon a binding is registered, and what a fleet costs at rest.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, PostParams},
};
use okra_api::{AWSTargetGroup, AWSTargetGroupSet};
use okra_testkit::{ApiServer, scene::repository};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    RunArgs,
    audit::Requests,
    process,
    report::{Aim, Report},
    rig::{Okrad, Rates, Rig},
    statistics::Sample,
};

/// What `--only` calls it.
pub const NAME: &str = "discovery";
/// What it does.
pub const ABOUT: &str = "300 clusters with 5 bindings each; all of them are one API server behind 300 ports";

const CLUSTERS: usize = 300;
const BINDINGS: usize = 5;
/// New bindings, one after another, that one cluster's set selects.
const ROUNDS: usize = 20;
const WITHIN: Duration = Duration::from_mins(5);
/// Who okrad is in the clusters: nobody else is that there.
const USER: &str = "okrad-2";

/// Runs it.
pub async fn run(args: &RunArgs, report: &mut Report) -> anyhow::Result<()> {
    let mut rig = Rig::start(&args.okrad).await?;
    let remote = ApiServer::start().await;
    remote.apply_crds(repository().join("testing/crd")).await;
    let remote_client = remote.client("test");
    for number in 0..BINDINGS {
        bind(&remote_client, &format!("web{number}"), "web").await?;
    }
    let ways = Ways::open(&remote).await?;
    let secrets: Api<Secret> = Api::namespaced(rig.client.clone(), &rig.namespace);
    for (number, server) in ways.servers.iter().enumerate() {
        secrets.create(&PostParams::default(), &secret(number, server, &remote)?).await?;
    }
    let sets: Api<AWSTargetGroupSet> = Api::namespaced(rig.client.clone(), &rig.namespace);
    let okrad = rig.okrad("okrad", Rates::Off, &[]).await?;
    let begun = Instant::now();
    sets.create(&PostParams::default(), &set("all", "service", "web")?).await?;
    let all = CLUSTERS * BINDINGS;
    let groups: Api<AWSTargetGroup> = Api::namespaced(rig.client.clone(), &rig.namespace);
    until(&groups, "all are registered", |there| there == all).await?;
    let took = (begun.elapsed().as_secs_f64(), "s");
    report.add(NAME, &format!("{CLUSTERS} clusters connected, {all} bindings registered"), took, None, "");
    latency(report, &remote_client, &sets, &groups).await?;
    at_rest(args, report, &rig, &remote, &okrad).await?;
    okrad.stop().await
}

/// From the creation of a binding to that of its AWSTargetGroup, as its creator sees both.
async fn latency(
    report: &mut Report,
    remote: &Client,
    sets: &Api<AWSTargetGroupSet>,
    groups: &Api<AWSTargetGroup>,
) -> anyhow::Result<()> {
    sets.create(&PostParams::default(), &set("one", "single", "single")?).await?;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let name = format!("single{round}");
        let begun = Instant::now();
        bind(remote, &name, "single").await?;
        let group = format!("default-{name}");
        let deadline = begun + WITHIN;
        while groups.get_opt(&group).await?.is_none() {
            anyhow::ensure!(Instant::now() < deadline, "{group} is not registered within {WITHIN:?}");
        }
        times.push(begun.elapsed());
    }
    let times = Sample::new(times);
    let note = "asked for without a pause, which costs the API server time";
    for (what, percent) in [("median", 50), ("slowest", 100)] {
        let what = format!("a new binding to its AWSTargetGroup, {what} of {ROUNDS}");
        report.add(NAME, &what, (times.percentile(percent), "ms"), Some(Aim::AtMost(1_000.0)), note);
    }
    Ok(())
}

async fn at_rest(
    args: &RunArgs,
    report: &mut Report,
    rig: &Rig,
    remote: &ApiServer,
    okrad: &Okrad,
) -> anyhow::Result<()> {
    // What the rounds began comes to its end: no set writes any more.
    let pid = okrad.process.pid();
    tokio::time::sleep(Duration::from_secs(15)).await;
    let (mark, from, cpu) = (rig.stub.mark(), Timestamp::now(), process::cpu_time(pid)?);
    tokio::time::sleep(args.rest()).await;
    let (to, used) = (Timestamp::now(), process::cpu_time(pid)?.saturating_sub(cpu));
    let (resident, most) = process::memory(pid)?;
    let (own, theirs) =
        (Requests::of(&rig.server.audit(), "okrad", from, to), Requests::of(&remote.audit(), USER, from, to));
    let hours = args.rest().as_secs_f64() / 3600.0;
    let short = format!("of {} s", args.rest().as_secs());
    let mut add = |what: &str, value: (f64, &str), aim: Option<Aim>| report.add(NAME, what, value, aim, &short);
    add("at rest: API writes", (own.writes() as f64, "writes"), Some(Aim::AtMost(0.0)));
    // The watches of 300 clusters end and begin again every few minutes.
    let per_cluster = theirs.total() as f64 / hours / CLUSTERS as f64;
    add("at rest: requests to a cluster", (per_cluster, "an hour"), None);
    add("at rest: AWS calls", (rig.stub.calls_since(mark).len() as f64, "calls"), Some(Aim::AtMost(0.0)));
    add("at rest: processor time", (used.as_secs_f64() / hours, "s an hour"), None);
    add("at rest: resident memory", (resident, "MiB"), None);
    add("most memory since the start", (most, "MiB"), None);
    report.count("requests to clusters at rest", theirs.0);
    report.count("API requests at rest", own.0);
    Ok(())
}

async fn until(groups: &Api<AWSTargetGroup>, what: &str, holds: impl Fn(usize) -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let there = groups.list_metadata(&ListParams::default()).await?.items.len();
        if holds(there) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "{what}: not within {WITHIN:?}, {there} are");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn bind(client: &Client, name: &str, role: &str) -> anyhow::Result<()> {
    let gvk = kube::api::GroupVersionKind::gvk("elbv2.k8s.aws", "v1beta1", "TargetGroupBinding");
    let resource = kube::api::ApiResource::from_gvk(&gvk);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
    let arn = format!("arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/{name}/0000000000000000");
    let binding = json!({
        "apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "TargetGroupBinding",
        "metadata": {"name": name, "namespace": "default", "labels": {"role": role, "okra.mumo.co/version": "1.0.0"}},
        "spec": {"targetGroupARN": arn, "serviceRef": {"name": name, "port": 80}},
    });
    api.create(&PostParams::default(), &serde_json::from_value(binding)?).await?;
    Ok(())
}

/// A port of 127.0.0.1 for each cluster; all of them lead to one API server.
struct Ways {
    servers: Vec<String>,
    _tasks: JoinSet<()>,
}

impl Ways {
    async fn open(remote: &ApiServer) -> anyhow::Result<Self> {
        let (mut servers, mut tasks) = (Vec::new(), JoinSet::new());
        let url = remote.url();
        let to = url.trim_start_matches("https://").trim_end_matches('/').to_owned();
        for _ in 0..CLUSTERS {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            servers.push(format!("https://{}", listener.local_addr()?));
            let to = to.clone();
            tasks.spawn(async move {
                let mut ways = JoinSet::new();
                while let Ok((mut from, _)) = listener.accept().await {
                    let to = to.clone();
                    ways.spawn(async move {
                        if let Ok(mut there) = TcpStream::connect(to).await {
                            _ = tokio::io::copy_bidirectional(&mut from, &mut there).await;
                        }
                    });
                }
            });
        }
        Ok(Self { servers, _tasks: tasks })
    }
}

/// The Secret of a cluster; the first one is also what set `one` selects.
fn secret(number: usize, server: &str, remote: &ApiServer) -> anyhow::Result<Secret> {
    let tokens = std::fs::read_to_string(remote.dir().join("tokens.csv"))?;
    let mut lines = tokens.lines().filter_map(|line| line.split_once(','));
    let token = lines.find(|(_, rest)| rest.starts_with(&format!("{USER},"))).map(|(token, _)| token);
    let ca = ByteString(std::fs::read(remote.ca_file())?);
    let config = json!({
        "bearerToken": token.context("the server has no such user")?, "tlsClientConfig": {"insecure": false, "caData": ca},
    });
    let mut labels: BTreeMap<&str, &str> = [("argocd.argoproj.io/secret-type", "cluster"), ("service", "all")].into();
    if number == 0 {
        labels.insert("single", "all");
    }
    let name = format!("cluster-{number:03}");
    Ok(serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "labels": labels},
        "stringData": {"name": name, "server": server, "config": config.to_string()},
    }))?)
}

fn set(name: &str, cluster_label: &str, role: &str) -> anyhow::Result<AWSTargetGroupSet> {
    let value: Value = json!({
        "apiVersion": "okra.mumo.co/v1alpha1", "kind": "AWSTargetGroupSet", "metadata": {"name": name},
        "spec": {"generators": [{"awseks": {
            "clusterSelector": {"matchLabels": {cluster_label: "all"}},
            "bindingSelector": {"matchLabels": {"role": role}},
        }}]},
    });
    Ok(serde_json::from_value(value)?)
}
