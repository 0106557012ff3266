//! The house as it is laid out: which crates there are, which way the arrows run, and what no source file may hold.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests; clippy.toml spares only the test functions themselves"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use pretty_assertions::assert_eq;
use serde_json::Value;

/// Crate, its folder, and the crates of the workspace that it may depend on. An arrow not in this table needs a reason
/// in `docs/adr/` and a line here.
const ROOMS: &[(&str, &str, &[&str])] = &[
    ("okra-api", "crates/api", &[]),
    ("okra-expr", "crates/expr", &[]),
    ("okra-core", "crates/core", &["okra-api", "okra-expr"]),
    ("okra-judge", "crates/judge", &["okra-api"]),
    ("okra-provider", "crates/provider", &["okra-api", "okra-core", "okra-expr"]),
    ("okra-store", "crates/store", PORTS),
    ("okra-aws", "crates/aws", PORTS),
    ("okra-analysis", "crates/analysis", PORTS),
    ("okra-balancer", "crates/balancer", PORTS),
    ("okra-controller", "crates/controller", PORTS),
    ("okra-app", "crates/app", APP),
    // It lints conditions, which it compiles and never evaluates.
    ("okra-cli", "crates/cli", &["okra-api", "okra-core", "okra-expr", "okra-provider", "okra-store"]),
    ("okra-sim", "crates/sim", &["okra-api", "okra-core", "okra-provider", "okra-controller", "okra-judge"]),
    ("okra-testkit", "crates/testkit", ALL),
    ("okra-bench", "crates/bench", &["okra-api", "okra-testkit"]),
    ("okrad", "bins/okrad", &["okra-app"]),
    ("okractl", "bins/okractl", &["okra-cli"]),
    ("okra", "bins/okra", &["okra-app", "okra-cli"]),
    ("xtask", "xtask", &["okra-api", "okra-app", "okra-cli"]),
];

const PORTS: &[&str] = &["okra-api", "okra-core", "okra-expr", "okra-provider"];

const APP: &[&str] = &[
    "okra-api",
    "okra-core",
    "okra-provider",
    "okra-store",
    "okra-aws",
    "okra-analysis",
    "okra-balancer",
    "okra-controller",
];

const ALL: &[&str] = &[
    "okra-api",
    "okra-core",
    "okra-judge",
    "okra-provider",
    "okra-store",
    "okra-aws",
    "okra-analysis",
    "okra-balancer",
    "okra-controller",
    "okra-app",
    "okra-cli",
];

/// Crates whose outcome must depend on their inputs only: the simulator runs them from a seed.
const DETERMINISTIC: &[&str] = &["api", "expr", "core", "provider", "controller"];

/// What a file may hold without its unit tests. The style asks for about 600; this is where it stops being "about".
const MOST_LINES: usize = 700;

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the repository is there")
}

fn cargo(args: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(args).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "cargo {args:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

fn packages() -> Vec<Value> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Names of every crate that ends up in a build of `package`, without its tests.
fn tree(package: &str) -> BTreeSet<String> {
    let lines = cargo(&["tree", "-p", package, "-e", "normal", "--prefix", "none", "--format", "{p}", "--locked"]);
    let names = lines.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    let names: BTreeSet<String> = names.collect();
    assert!(names.contains(package), "cargo tree shows {package} itself: {names:?}");
    names
}

/// Every `.rs` file below a folder of the repository, by its path from the root.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let (root, mut found) = (root(), BTreeMap::new());
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(&root).unwrap().display().to_string(), text);
            }
        }
    }
    found
}

fn all_sources() -> BTreeMap<String, String> {
    let all: BTreeMap<String, String> =
        ["crates", "bins", "xtask", "tests", "benches"].iter().flat_map(|folder| sources(folder)).collect();
    assert!(all.contains_key("crates/testkit/tests/architecture.rs"), "the scan finds this file");
    all
}

/// The source without whole-line comments, which may speak of what the code may not hold.
fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_crates_are_the_rooms_of_the_house() {
    let root = root();
    let found: BTreeSet<(String, String)> = packages()
        .iter()
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap());
            let folder = manifest.parent().unwrap().strip_prefix(&root).unwrap();
            (package["name"].as_str().unwrap().to_owned(), folder.display().to_string())
        })
        .collect();
    let rooms = ROOMS.iter().map(|(name, folder, _)| ((*name).to_owned(), (*folder).to_owned())).collect();
    assert_eq!(found, rooms);
}

#[test]
fn arrows_run_downwards_only() {
    let rooms: BTreeMap<&str, &[&str]> = ROOMS.iter().map(|(name, _, allowed)| (*name, *allowed)).collect();
    let mut wrong = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let Some(allowed) = rooms.get(name) else { panic!("{name} is not in the table of rooms") };
        for dependency in package["dependencies"].as_array().unwrap() {
            let target = dependency["name"].as_str().unwrap();
            // Tests may reach further: they judge the house from outside.
            let in_tests_only = dependency["kind"] == "dev";
            if rooms.contains_key(target) && !in_tests_only && !allowed.contains(&target) {
                wrong.push(format!("{name} -> {target}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn the_table_of_rooms_has_no_circle() {
    let rooms: BTreeMap<&str, &[&str]> = ROOMS.iter().map(|(name, _, allowed)| (*name, *allowed)).collect();
    let mut settled: BTreeSet<&str> = BTreeSet::new();
    while settled.len() < rooms.len() {
        let before = settled.len();
        let is_next = |uses: &[&str]| uses.iter().all(|used| settled.contains(used));
        let next: Vec<&str> = rooms.iter().filter(|(_, uses)| is_next(uses)).map(|(name, _)| *name).collect();
        settled.extend(next);
        assert!(settled.len() > before, "a circle among {:?}", rooms.keys().filter(|name| !settled.contains(*name)));
    }
}

/// Crate, and the crates from outside that its build must not hold; `*` at the end matches any rest.
const KEPT_OUT: &[(&str, &[&str])] = &[
    ("okra-api", &["tokio", "kube", "kube-client", "kube-runtime", "hyper", "reqwest", "aws-*"]),
    ("okra-core", &["tokio", "kube", "kube-client", "kube-runtime", "hyper", "reqwest", "aws-*", "rand", "uuid"]),
    ("okra-expr", &["tokio", "kube", "kube-client", "kube-runtime", "hyper", "reqwest", "aws-*", "rand", "uuid"]),
    ("okra-judge", &["tokio", "kube", "kube-client", "kube-runtime", "hyper", "reqwest", "aws-*"]),
    ("okra-provider", &["kube", "kube-client", "kube-runtime", "hyper", "reqwest", "aws-*", "rand", "uuid"]),
    ("okra-controller", &["kube", "kube-client", "kube-runtime", "hyper", "reqwest", "aws-*", "rand", "uuid"]),
    ("okra-cli", &["aws-config", "aws-sdk-*"]),
    ("okractl", &["aws-config", "aws-sdk-*", "okra-testkit", "okra-sim"]),
    ("okrad", &["okra-testkit", "okra-sim"]),
    ("okra", &["okra-testkit", "okra-sim"]),
];

fn matches(name: &str, pattern: &str) -> bool {
    pattern.strip_suffix('*').map_or(name == pattern, |prefix| name.starts_with(prefix))
}

#[test]
fn what_must_stay_outside_a_room_is_outside() {
    let mut wrong = Vec::new();
    for (package, patterns) in KEPT_OUT {
        let inside = tree(package);
        let unwanted = inside.iter().filter(|name| patterns.iter().any(|pattern| matches(name, pattern)));
        wrong.extend(unwanted.map(|name| format!("{package} holds {name}")));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for (name, folder, _) in ROOMS {
        let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} does not take them");
    }
}

#[test]
fn deterministic_crates_share_one_list_of_bans() {
    let root = root();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let everywhere = read("clippy.toml");
    let bans = read("crates/core/clippy.toml");
    // Clippy reads the nearest file only, so what holds everywhere is repeated there.
    for line in everywhere.lines().filter(|line| line.contains('=')) {
        assert!(bans.lines().any(|other| other == line), "crates/core/clippy.toml lacks {line:?}");
    }
    for banned in ["collections::HashMap", "time::SystemTime::now", "jiff::Timestamp::now", "spawn_blocking"] {
        assert!(bans.contains(banned), "crates/core/clippy.toml does not ban {banned}");
    }
    for folder in DETERMINISTIC {
        let path = format!("crates/{folder}/clippy.toml");
        assert_eq!(read(&path), bans, "{path}");
    }
}

/// Line numbers of `select!` whose branches are looked at in random order.
fn unbiased_selects(text: &str) -> Vec<usize> {
    // Comments become empty lines, so that the numbers stay right.
    let lines = text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (position, macro_name) in text.match_indices("select!") {
        let before = text[..position].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let body = text[position + macro_name.len()..].trim_start().trim_start_matches(['{', '(', '[']).trim_start();
        if !body.starts_with("biased;") {
            found.push(text[..position].lines().count().max(1));
        }
    }
    found
}

#[test]
fn the_scan_for_select_tells_biased_from_random() {
    const NONE: [usize; 0] = [];
    assert_eq!(unbiased_selects("a\n  tokio::select! {\n    // in order\n    biased;\n    x = y => {}\n}"), NONE);
    assert_eq!(unbiased_selects("a\n  tokio::select! {\n    x = y => {}\n}"), [2]);
    assert_eq!(unbiased_selects("// tokio::select! { x\nfutures::select_biased! { x }"), NONE);
}

#[test]
fn deterministic_crates_never_choose_at_random() {
    let mut wrong = Vec::new();
    for folder in DETERMINISTIC {
        let sources = sources(&format!("crates/{folder}"));
        assert!(!sources.is_empty(), "crates/{folder} holds sources");
        for (path, text) in sources {
            let lines = unbiased_selects(&text).into_iter();
            wrong.extend(lines.map(|line| format!("{path}:{line}: select! without biased")));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Lines before the unit tests at the end of the file.
fn lines_of_code(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod "));
    tests.unwrap_or(lines.len())
}

#[test]
fn no_file_is_too_long_to_read() {
    assert_eq!(lines_of_code("one\ntwo\n#[cfg(test)]\nmod tests {\n}\n"), 2);
    let is_test = |path: &str| path.split('/').any(|part| part == "tests" || part == "tests.rs" || part == "benches");
    let long: Vec<String> = all_sources()
        .iter()
        .filter(|(path, text)| !is_test(path) && lines_of_code(text) > MOST_LINES)
        .map(|(path, text)| format!("{path}: {} lines", lines_of_code(text)))
        .collect();
    assert_eq!(long, Vec::<String>::new());
}

#[test]
fn no_test_is_switched_off() {
    // In two pieces, so that this file does not hold it.
    let attribute = ["#[", "ignore"].concat();
    let off: Vec<String> = all_sources()
        .into_iter()
        .filter(|(_, text)| without_comments(text).contains(&attribute))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(off, Vec::<String>::new());
}
