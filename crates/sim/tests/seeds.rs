//! Many seeds, that a seed decides everything, and that the simulator sees faults.

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use okra_core::planted::Planted;
use okra_sim::mutants::hunt;

/// So many seeds may a planted fault stay unseen, from the one that saw it when this was written on.
const RANGE: u64 = 40;

/// A seed for every planted fault that finds it.
const FOUND: [(Planted, u64); 17] = [
    (Planted::StepDoneBeforeReadBack, 0),
    (Planted::LeaseCheckSkipped, 120),
    (Planted::HealthFloorIgnored, 0),
    (Planted::StaleCopyUsed, 70),
    (Planted::GenerationFenceIgnored, 0),
    (Planted::ForeignEditOverwritten, 17),
    (Planted::RequestRepeated, 3),
    (Planted::SightIgnored, 27),
    (Planted::BlockedVersionBegins, 10),
    (Planted::AbortIgnored, 34),
    (Planted::ShareOneStepAhead, 0),
    (Planted::DetachedTooEarly, 0),
    (Planted::PauseNameReused, 1),
    (Planted::StatusAfterAction, 31),
    (Planted::ErrorCountsAsPass, 98),
    (Planted::PauseIgnored, 31),
    (Planted::IntentNotRemembered, 0),
];

/// What the simulator prints for its arguments, and whether it found nothing.
fn run(arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    let output = Command::new(env!("CARGO_BIN_EXE_okra-sim")).args(arguments).output()?;
    Ok((output.status.success(), String::from_utf8(output.stdout)?))
}

#[test]
fn no_seed_breaks_an_invariant() {
    let (well, told) = run(&["--from", "0", "--seeds", "120", "--whole"]).unwrap();
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
fn every_planted_fault_is_found() {
    for fault in Planted::ALL {
        assert!(FOUND.iter().any(|(known, _)| *known == fault), "{fault:?} has no seed");
    }
    let next = AtomicUsize::new(0);
    let search = || {
        let mut missed = Vec::new();
        while let Some((fault, from)) = FOUND.get(next.fetch_add(1, Ordering::Relaxed)) {
            if hunt(*fault, *from, RANGE).unwrap().is_none() {
                missed.push(format!("{fault:?}: not found by seeds {from} to {}", from + RANGE - 1));
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
