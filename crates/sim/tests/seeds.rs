//! Some seeds, that a seed decides everything, and that the simulator sees faults. Hundreds of seeds and every planted
//! fault take a build that is optimized: `make test` runs them, `make sim` and `make mutants` do so alone.

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use okra_core::planted::Planted;
use okra_sim::mutants::hunt;

/// So many seeds may a planted fault stay unseen here.
const RANGE: u64 = 40;

/// Faults that nearly every story shows. `make mutants`, which is a part of `make test`, plants all of them.
const SEEN_SOON: [Planted; 5] = [
    Planted::StepDoneBeforeReadBack,
    Planted::HealthFloorIgnored,
    Planted::GenerationFenceIgnored,
    Planted::ShareOneStepAhead,
    Planted::DetachedTooEarly,
];

/// What the simulator prints for its arguments, and whether it found nothing.
fn run(arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    let output = Command::new(env!("CARGO_BIN_EXE_okra-sim")).args(arguments).output()?;
    Ok((output.status.success(), String::from_utf8(output.stdout)?))
}

#[test]
fn no_seed_breaks_an_invariant() {
    let (well, told) = run(&["--from", "0", "--seeds", "40", "--whole"]).unwrap();
    assert!(well, "{told}");
}

#[test]
fn two_processes_log_the_same() {
    let hashes = |told: String| told.lines().filter(|line| line.starts_with("hash ")).map(str::to_owned).collect();
    let arguments = ["--from", "500", "--seeds", "25", "--hashes", "--whole"];
    let [first, second]: [Vec<String>; 2] = [run(&arguments), run(&arguments)].map(|told| hashes(told.unwrap().1));
    assert_eq!(first.len(), 25);
    assert_eq!(first, second);
}

#[test]
fn planted_faults_are_found() {
    let next = AtomicUsize::new(0);
    let search = || {
        let mut missed = Vec::new();
        while let Some(fault) = SEEN_SOON.get(next.fetch_add(1, Ordering::Relaxed)) {
            if hunt(*fault, 0, RANGE).unwrap().is_none() {
                missed.push(format!("{fault:?}: not found by the first {RANGE} seeds"));
            }
        }
        missed
    };
    let missed: Vec<String> = thread::scope(|scope| {
        let workers = [scope.spawn(search), scope.spawn(search)];
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
