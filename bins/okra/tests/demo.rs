//! `okra demo`, as a newcomer runs it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, Stdio},
};

use pretty_assertions::assert_eq;
use serde_json::Value;

/// A load that two busy cores can bear.
const FLAGS: [&str; 2] = ["--rate", "100"];

fn okra(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_okra"));
    command.env_clear().arg("demo").args(FLAGS).args(args);
    command
}

/// Asserts that each text is in a line after the one before.
fn assert_in_order(shown: &str, texts: &[&str]) {
    let mut lines = shown.lines();
    for text in texts {
        assert!(lines.any(|line| line.contains(text)), "{text:?} is missing, or not in its place, in\n{shown}");
    }
}

#[test]
fn a_good_version_is_swapped_in_and_a_bad_one_is_taken_back_by_itself() {
    let output = okra(&["--pause", "1500ms"]).output().unwrap();
    let (shown, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{shown}");
    assert!(!shown.contains('\x1b'), "no terminal, no escapes: {shown:?}");
    assert_in_order(
        &shown,
        &[
            "clusters-v1.yaml registers web-1-v1 and web-2-v1",
            "v1 serves",
            "100 requests a second begin",
            "clusters-v2.yaml registers web-1-v2 and web-2-v2",
            "v1  80 %  v2  20 %",
            "v1  50 %  v2  50 %",
            "v1   0 %  v2 100 %",
            "v2 serves",
            "clusters-v3.yaml registers web-1-v3 and web-2-v3",
            "v2  80 %  v3  20 %",
            "v3 goes back",
            "v2 100 %  v3   0 %",
            "ended Failed: Metric \"success-rate\" assessed Failed",
            "Done in",
            "failed, all of them by v3",
            "requests had failed: taken back and blocked",
            "ms from that measurement to the balancer's weights",
        ],
    );
    let folder = shown.lines().find_map(|line| line.trim().strip_prefix("manifests")).unwrap().trim();
    assert!(!Path::new(folder).exists(), "{folder} is left behind");
}

#[test]
fn the_summary_is_for_programs_too() {
    let output = okra(&["--pause", "1500ms", "-o", "json"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let requests = &summary["requests"];
    let tally = |version: &str, what: &str| requests["byVersion"][version][what].as_u64().unwrap();
    let (answers, failed) = (tally("v3", "answers"), tally("v3", "failed"));
    assert!(answers >= 20 && (answers / 4..=answers / 2).contains(&failed), "a third of them: {summary}");
    assert_eq!(requests["failed"].as_u64(), Some(failed), "no other version failed");
    let all = ["v1", "v2", "v3"].map(|version| tally(version, "answers"));
    assert_eq!(all.iter().sum::<u64>(), requests["sent"].as_u64().unwrap());
    let taken_back = &summary["takenBack"];
    assert_eq!(taken_back["version"], "v3");
    assert!(matches!(taken_back["share"].as_i64(), Some(20 | 50)), "{summary}");
    assert!(taken_back["measured"]["successRate"].as_f64().unwrap() < 0.95, "{summary}");
    let (weights, verified) = (&taken_back["measuredToWeightsMillis"], &taken_back["measuredToVerifiedMillis"]);
    assert!(weights.as_u64().unwrap() <= verified.as_u64().unwrap(), "{summary}");
    assert!(said.contains("Done in"), "the show is on stderr: {said}");
}

#[test]
fn an_interrupt_ends_it_cleanly() {
    let mut child = okra(&["--pause", "5m"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.contains("v2  20 %")).collect();
    let folder = head.iter().find_map(|line| line.trim().strip_prefix("manifests")).unwrap().trim().to_owned();
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    // The pipe ends with the process.
    let _rest = lines.count();
    let (status, mut said) = (child.wait().unwrap(), String::new());
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("stopped before the end"), "{said}");
    assert!(!Path::new(&folder).exists(), "{folder} is left behind");
}
