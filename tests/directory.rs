//! The product without a cluster and without a cloud, end to end: okrad on a folder of manifests with the embedded
//! balancer, real requests through it, and okractl beside it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use okra_api::{
    Cell, CellStatus,
    cell_status::{RolloutOutcome, RolloutStatus},
    condition,
};
use okra_testkit::{
    cluster::TestCluster,
    load::{Load, LoadOptions, Summary},
    ports::free_port,
    process::{Process, Spec},
    scene::{V1, V2, V3, WITHIN},
};
use pretty_assertions::assert_eq;

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "web";

/// A folder of manifests with an okrad on it.
struct Folder {
    dir: tempfile::TempDir,
    listen: String,
    clusters: Vec<TestCluster>,
    okrad: Option<Process>,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("manifests")).unwrap();
        let mut folder = Self { dir, listen: format!("127.0.0.1:{}", free_port()), clusters: Vec::new(), okrad: None };
        folder.start_okrad();
        folder
    }

    fn manifests(&self) -> PathBuf {
        self.dir.path().join("manifests")
    }

    fn store(&self) -> String {
        format!("dir:{}", self.manifests().display())
    }

    fn decisions(&self) -> PathBuf {
        self.dir.path().join("decisions")
    }

    fn start_okrad(&mut self) {
        let spec = Spec::new("okrad", OKRAD, self.dir.path().join("okrad.log"))
            .args(["--store", &self.store(), "--health-addr", "127.0.0.1:0", "--metrics-addr", "127.0.0.1:0"])
            .arg("--record")
            .arg(self.decisions());
        self.okrad = Some(spec.start().unwrap());
    }

    fn log(&self) -> String {
        self.okrad.as_ref().map(Process::log_tail).unwrap_or_default()
    }

    /// Puts a file in place in one go, as git and editors do.
    fn write(&self, name: &str, text: &str) {
        let parts = self.dir.path().join("part");
        std::fs::write(&parts, text).unwrap();
        std::fs::rename(parts, self.manifests().join(name)).unwrap();
    }

    fn write_cell(&self, steps: &str) {
        self.write(
            "cell.yaml",
            &format!(
                "apiVersion: okra.mumo.co/v1alpha1\nkind: Cell\nmetadata: {{name: {CELL}}}\nspec:\n  replicas: 2\n  ingress:\n    \
                 type: Local\n    local:\n      listen: {}\n      targetGroupSelector: {{matchLabels: {{role: web}}}}\n  \
                 updateStrategy:\n    canary:\n      steps: {steps}\n",
                self.listen
            ),
        );
    }

    /// Two clusters of a version and a file that names them.
    async fn version(&mut self, version: &str) {
        let major = &version[..1];
        let mut text = String::new();
        for number in [1, 2] {
            let name = format!("web-{number}-v{major}");
            let cluster = TestCluster::start(&name, version).await.unwrap();
            write!(
                text,
                "apiVersion: okra.mumo.co/v1alpha1\nkind: TargetGroup\nmetadata:\n  name: {name}\n  labels: {{role: web, \
                 okra.mumo.co/version: {version}}}\nspec: {{endpoint: {{url: 'http://{}'}}}}\n---\n",
                cluster.address()
            )
            .unwrap();
            self.clusters.push(cluster);
        }
        self.write(&format!("v{major}.yaml"), &text);
    }

    async fn run(&self, args: &[&str]) -> Output {
        // Built beside okrad: `cargo build -p okractl`, as `make test` does.
        let okractl = Path::new(OKRAD).with_file_name("okractl");
        let mut command = tokio::process::Command::new(&okractl);
        command.args(["--store", &self.store()]).args(args).env("NO_COLOR", "1").env("USER", "ann").kill_on_drop(true);
        let output = tokio::time::timeout(WITHIN, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("okractl {args:?} does not end\n{}", self.log()));
        output.unwrap_or_else(|error| panic!("{}: {error}: build it with cargo build -p okractl", okractl.display()))
    }

    /// What okractl prints when it succeeds.
    async fn okractl(&self, args: &[&str]) -> String {
        let output = self.run(args).await;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "okractl {args:?}: {}\n{out}\n{err}\nokrad:\n{}", output.status, self.log());
        out.into_owned()
    }

    async fn wait(&self, goal: &str) {
        self.okractl(&["wait", CELL, &format!("--for={goal}"), "--timeout=55s"]).await;
    }

    async fn cell(&self) -> Cell {
        serde_json::from_str(&self.okractl(&["get", "cell", CELL, "-o", "json"]).await).unwrap()
    }

    /// Waits until something holds of the Cell.
    async fn until(&self, what: &str, holds: impl Fn(&CellStatus) -> bool) {
        let waiting = async {
            while !self.cell().await.status.is_some_and(|status| holds(&status)) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let waited = tokio::time::timeout(WITHIN, waiting).await;
        waited.unwrap_or_else(|_| panic!("{what}: it does not come\n{}", self.log()));
    }

    /// Waits until this version is stable.
    async fn until_stable(&self, version: &str) {
        let ready = |status: &CellStatus| condition::is_true(&status.conditions, condition::READY);
        self.until(version, |status| ready(status) && status.stable_version.as_deref() == Some(version)).await;
    }

    /// Waits until a rollout of this version is in the pause after its first weight.
    async fn until_pause(&self, version: &str) {
        let paused = |status: &CellStatus| condition::is_true(&status.conditions, condition::PAUSED);
        let here = |rollout: &RolloutStatus| rollout.version == version && rollout.current_step_index == 1;
        self.until(version, |status| paused(status) && status.rollout.as_ref().is_some_and(here)).await;
    }

    /// Target group name to the weight that the balancer holds.
    async fn weights(&self) -> BTreeMap<String, i32> {
        let groups = self.cell().await.status.unwrap().target_groups;
        groups.into_iter().filter_map(|group| Some((group.name, group.weight?))).collect()
    }

    /// The share in percent of a version's groups in everything that okrad wrote, each change once.
    fn shares(&self, version: &str) -> Vec<i64> {
        let ending = format!("-v{}", &version[..1]);
        let names: BTreeMap<String, String> = self.names();
        let mut shares = Vec::new();
        for line in std::fs::read_to_string(self.decisions()).unwrap().lines() {
            let decision: serde_json::Value = serde_json::from_str(line).unwrap();
            let Some(weights) = decision["weights"].as_object() else { continue };
            let weight = |own: bool| -> i64 {
                let of_version = |id: &String| names.get(id).unwrap_or(id).ends_with(&ending);
                weights.iter().filter(|(id, _)| !own || of_version(id)).filter_map(|(_, weight)| weight.as_i64()).sum()
            };
            let share = weight(true) * 100 / weight(false);
            if shares.last() != Some(&share) {
                shares.push(share);
            }
        }
        shares
    }

    /// What the balancer calls a group to the name of its object.
    fn names(&self) -> BTreeMap<String, String> {
        let mut names = BTreeMap::new();
        for major in ["1", "2", "3"] {
            let Ok(text) = std::fs::read_to_string(self.manifests().join(format!("v{major}.yaml"))) else { continue };
            let ids = text.split("url: '").skip(1).filter_map(|rest| rest.split('\'').next());
            for (id, number) in ids.zip(1..) {
                names.insert(id.to_owned(), format!("web-{number}-v{major}"));
            }
        }
        names
    }

    fn files(&self) -> BTreeMap<PathBuf, String> {
        let files = std::fs::read_dir(self.manifests()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
    }

    fn load(&self) -> Load {
        Load::start(&format!("http://{}", self.listen), LoadOptions { per_second: 200, ..LoadOptions::default() })
            .unwrap()
    }
}

fn weights(pairs: &[(&str, i32)]) -> BTreeMap<String, i32> {
    pairs.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
}

/// What becomes of the next thousand requests.
async fn next_thousand(load: &Load) -> Summary {
    let before = load.mark(WITHIN).await.unwrap();
    let after = load.wait_for(WITHIN, |now| now.sent >= before.sent + 1000).await.unwrap();
    after.since(&before)
}

#[tokio::test]
async fn a_folder_of_manifests_swaps_clusters_and_takes_one_back() {
    let mut folder = Folder::new();
    folder.write_cell("[{setWeight: 20}, {pause: {}}, {setWeight: 40}, {pause: {duration: 1s}}]");
    folder.version(V1).await;
    folder.wait("condition=Ready").await;
    assert_eq!(folder.weights().await, weights(&[("web-1-v1", 50), ("web-2-v1", 50)]));

    let load = folder.load();
    folder.version(V2).await;
    folder.until_pause(V2).await;
    folder.wait("step=2").await;
    assert_eq!(
        folder.weights().await,
        weights(&[("web-1-v1", 40), ("web-2-v1", 40), ("web-1-v2", 10), ("web-2-v2", 10)])
    );
    let share = next_thousand(&load).await.share(V2);
    assert!((15.0..25.0).contains(&share), "{share} % of the requests");
    let page = folder.okractl(&["get", "cell", CELL]).await;
    for words in ["web-2-v2", "1.0.0", "2.0.0", "setWeight", "resume web", "abort web"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    folder.okractl(&["resume", CELL]).await;
    folder.until_stable(V2).await;
    assert_eq!(next_thousand(&load).await.by_version.into_keys().collect::<Vec<_>>(), [V2]);
    assert_eq!(folder.shares(V2), [0, 20, 40, 100]);

    folder.version(V3).await;
    folder.until_pause(V3).await;
    let files = folder.files();
    folder.okractl(&["abort", CELL]).await;
    folder.wait("rollout=Aborted").await;
    let status = folder.cell().await.status.unwrap();
    assert_eq!((status.stable_version.as_deref(), &status.blocked_versions[..]), (Some(V2), &[V3.to_owned()][..]));
    assert_eq!((status.history[0].outcome, status.history[0].by.is_empty()), (RolloutOutcome::Aborted, false));
    assert_eq!(next_thousand(&load).await.by_version.into_keys().collect::<Vec<_>>(), [V2]);
    assert_eq!(folder.shares(V3), [0, 20, 0]);
    let again = folder.run(&["abort", CELL]).await;
    assert_eq!(again.status.code(), Some(1), "{}", String::from_utf8_lossy(&again.stderr));
    let summary = load.stop().await;
    assert!(summary.answers(V3) > 0, "the canary had its share");
    assert_eq!((summary.failed, summary.first_failure), (0, None));

    // What okrad knows is in the folder, and the user's files are as they were.
    folder.okrad.take().unwrap().kill();
    folder.start_okrad();
    let load = folder.load();
    load.wait_for(WITHIN, |now| now.answers(V2) > 100).await.unwrap();
    assert_eq!(folder.files(), files);
    folder.wait("phase=Failed").await;
    assert_eq!(folder.cell().await.status.unwrap().history.len(), 3);
    let mut okrad = folder.okrad.take().unwrap();
    assert!(okrad.is_running());
    okrad.signal("TERM").unwrap();
    assert_eq!(okrad.wait(WITHIN).await.unwrap(), 0, "{}", okrad.log_tail());
}

#[tokio::test]
async fn a_broken_file_keeps_its_last_good_version_and_a_bad_cell_says_why() {
    let mut folder = Folder::new();
    folder.write_cell("[{setWeight: 20}, {pause: {duration: 1s}}]");
    folder.version(V1).await;
    folder.wait("condition=Ready").await;
    let load = folder.load();
    folder.write("v1.yaml", "apiVersion: okra.mumo.co/v1alpha1\nkind: TargetGroup\nmetadata: {name: ");
    folder.write(
        "bad.yaml",
        "apiVersion: okra.mumo.co/v1alpha1\nkind: Cell\nmetadata: {name: bad}\nspec:\n  drainDuration: 9999999h\n  ingress:\n    \
         type: Local\n    local: {listen: '127.0.0.1:1', targetGroupSelector: {matchLabels: {role: web}}}\n",
    );
    folder.okractl(&["wait", "bad", "--for=condition=Valid=False", "--timeout=55s"]).await;
    let page = folder.okractl(&["get", "cell", "bad"]).await;
    assert!(page.contains("spec.drainDuration"), "{page}");
    folder.version(V2).await;
    folder.until_stable(V2).await;
    assert_eq!(folder.shares(V2), [0, 20, 100]);
    let summary = load.stop().await;
    assert_eq!((summary.failed, summary.first_failure), (0, None));
    assert!(folder.okrad.as_mut().unwrap().is_running(), "{}", folder.log());
}
