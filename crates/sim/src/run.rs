//! One run of a story, and its judgement.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use okra_judge::{
    CellRules, Floor, Rules, judge,
    record::{Event, Record},
};

use crate::{
    balancer::OKRA,
    driver::Driver,
    end::{self, End},
    process::INSTALLATION,
    story::{Group, Story, What},
    world::name_of,
};

/// No process of a story lives more often.
const LIVES: u32 = 100;

/// Something that must not happen, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The invariant's number, or `panic`, `bug`, `own-check`, `end`.
    pub invariant: &'static str,
    /// The entry of the record at which it was seen.
    pub seq: u64,
    /// What happened, in words.
    pub text: String,
}

/// What became of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Every breach, in the order of the record.
    pub breaches: Vec<Breach>,
    /// The hash of the log.
    pub hash: u64,
    /// The log, if it was to be kept.
    pub log: Vec<String>,
    /// What was judged.
    pub record: Record,
    /// Where the Cells came to rest.
    pub ends: Vec<Option<End>>,
    /// How many choices were made.
    pub steps: u64,
    /// How long it took, in virtual milliseconds.
    pub length: u64,
}

/// Lets a story happen. `keep`: with the words of its log.
pub fn simulate(story: &Story, keep: bool) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let outcome = runtime.block_on(async {
        let mut driver = Driver::new(story, keep);
        driver.set_up(story);
        driver.run().await;
        finish(driver, story)
    });
    Ok(outcome)
}

fn finish(driver: Driver, story: &Story) -> Outcome {
    let world = driver.world.clone();
    let ends = end::ends(&world, story);
    let mut breaches = driver.breaches;
    breaches.extend(end::check(&world, story));
    let end = world.now();
    let (record, lost) = world.with(|state| {
        state.note(end, Event::End);
        let lost = state.lb.healths().iter().filter(|(_, health)| health.gone).map(|(group, _)| group.clone());
        let lost: BTreeSet<String> = lost.collect();
        (std::mem::take(&mut state.record), lost)
    });
    let skewed = story.happenings.iter().any(|happening| matches!(happening.what, What::Jump { .. }));
    let found = judge(&record, &rules(story, &lost)).into_iter();
    // Times in objects are those of the process that wrote them: they cannot be compared with the record's.
    // A rollout that is begun again at weights that were read for the one before needs no new reading of them.
    let retried = story
        .happenings
        .iter()
        .any(|happening| matches!(happening.what, What::Ask { verb: okra_api::Verb::Retry, .. }));
    let found = found.filter(|violation| !((skewed || retried) && violation.invariant == "S8"));
    breaches.extend(found.map(|violation| Breach {
        invariant: violation.invariant,
        seq: violation.seq,
        text: violation.text,
    }));
    breaches.sort_by_key(|breach| breach.seq);
    let length = world.now();
    let hash = driver.trace.hash();
    Outcome { breaches, hash, log: driver.trace.into_lines(), record, ends, steps: driver.steps, length }
}

/// What is allowed in a story in which the cloud lost these target groups.
fn rules(story: &Story, lost: &BTreeSet<String>) -> Rules {
    let mut rules = Rules::alb(OKRA, INSTALLATION);
    rules.processes =
        (0..story.processes).flat_map(|process| (1..=LIVES).map(move |life| name_of(process, life))).collect();
    // A call that was decided on before something happened may arrive after it; where everything is slow, the status,
    // the route and the watch take three times up to 3 s.
    let slow = story.happenings.iter().any(|happening| matches!(happening.what, What::Slow { .. }));
    rules.slack = SignedDuration::from_secs(if slow { 15 } else { 4 });
    rules.limits.rollout = SignedDuration::from_mins(20);
    rules.limits.rest = SignedDuration::from_mins(20);
    rules.limits.weights = SignedDuration::from_mins(5);
    for (cell, own) in story.cells.iter().enumerate() {
        let added = story.happenings.iter().filter_map(|happening| match &happening.what {
            What::Add(group) if group.cell == cell => Some(group.clone()),
            _ => None,
        });
        let groups: BTreeSet<Group> = added.collect();
        let versions: Vec<(String, String)> =
            groups.iter().map(|group| (group.arn(), format!("{}.0.0", group.version))).collect();
        let versions = versions.iter().map(|(arn, version)| (arn.as_str(), version.as_str()));
        let mut of_cell = CellRules::new(own.shares.iter().copied(), versions);
        of_cell.floor =
            Floor::Count(own.spec.get("minHealthyTargets").and_then(serde_json::Value::as_u64).unwrap_or(1) as u32);
        of_cell.gone.clone_from(lost);
        of_cell.away = taken(story, cell);
        rules = rules.cell(&format!("default/{}", own.name), of_cell);
    }
    rules
}

/// The groups that the story takes away, many of them only for a while.
fn taken(story: &Story, cell: usize) -> BTreeSet<String> {
    let taken = story.happenings.iter().filter_map(|happening| match &happening.what {
        What::Remove(group) | What::Gone(group) | What::Select(group, false) | What::Spoil(group, true) => Some(group),
        _ => None,
    });
    taken.filter(|group| group.cell == cell).map(Group::arn).collect()
}

/// Whether the end of a story without anything but faults is the one that it has without them.
pub fn compare(story: &Story, outcome: &Outcome) -> anyhow::Result<Option<Breach>> {
    let only_additions =
        story.happenings.iter().all(|happening| happening.what.is_fault() || matches!(happening.what, What::Add(_)));
    let any_fault = story.happenings.iter().any(|happening| happening.what.is_fault());
    if !only_additions || !any_fault {
        return Ok(None);
    }
    let mut plain = story.clone();
    plain.happenings.retain(|happening| !happening.what.is_fault());
    let reference = simulate(&plain, false)?;
    if reference.ends == outcome.ends {
        return Ok(None);
    }
    let text = format!("with faults {:?}, without {:?}", outcome.ends, reference.ends);
    Ok(Some(Breach { invariant: "end", seq: outcome.record.entries.len() as u64, text }))
}
