//! L6: an object that cannot be acted on delays no other. L8: a watch that went silent is made again in time.

use jiff::{SignedDuration, Timestamp};

use crate::Findings;
use crate::case::{Case, CellState, plus};
use crate::record::{Event, WatchSilent};

/// A change of a Cell's spec and when okra had acted on it.
#[derive(Clone, Copy, Debug)]
struct Reaction {
    position: usize,
    at: Timestamp,
    done: Option<Timestamp>,
}

pub(crate) fn poison_delays_nobody(case: &Case<'_>, findings: &mut Findings) {
    let poison = &case.rules.poisoned;
    let named = |seen: &&crate::case::Sighting<'_>| poison.contains(&format!("{} {}", seen.kind, seen.key));
    let Some(begun) = case.sightings.iter().find(named).map(|seen| seen.at) else { return };
    let others = case.cells.iter().filter(|(key, _)| !poison.contains(&format!("Cell {key}")));
    let reactions: Vec<(&String, Reaction)> =
        others.flat_map(|(key, states)| reactions(states).into_iter().map(move |reaction| (key, reaction))).collect();
    // What a change takes without the poison is no delay.
    let usual = reactions.iter().filter(|(_, reaction)| reaction.at < begun);
    let usual = usual.filter_map(|(_, reaction)| Some(reaction.done?.duration_since(reaction.at))).max();
    let limit = case.rules.limits.poison.saturating_add(case.rules.slack);
    let limit = limit.saturating_add(usual.unwrap_or(SignedDuration::ZERO));
    let Some(end) = case.record.entries.last().map(|entry| entry.at) else { return };
    for (key, reaction) in reactions.iter().filter(|(_, reaction)| reaction.at >= begun) {
        let by = plus(reaction.at, limit);
        if reaction.done.is_none() && end <= by {
            continue;
        }
        findings.occasion();
        if reaction.done.is_none_or(|done| done > by) {
            let text = format!("cell {key} was not acted on by {by}, beside what cannot be acted on");
            findings.breach(case.seq(reaction.position), text);
        }
    }
}

/// Every new generation of a Cell, and when its status told of it.
fn reactions(states: &[CellState]) -> Vec<Reaction> {
    let mut reactions: Vec<(i64, Reaction)> = Vec::new();
    for state in states {
        let Some(cell) = &state.view else {
            // What is gone needs no answer.
            reactions.retain(|(_, reaction)| reaction.done.is_some());
            continue;
        };
        let (generation, observed) = (cell.metadata.generation, cell.status.observed_generation.unwrap_or(0));
        if generation > observed && reactions.last().is_none_or(|(last, _)| *last < generation) {
            let reaction = Reaction { position: state.position, at: state.at, done: None };
            reactions.push((generation, reaction));
        }
        for (_, reaction) in
            reactions.iter_mut().filter(|(asked, reaction)| *asked <= observed && reaction.done.is_none())
        {
            reaction.done = Some(state.at);
        }
    }
    reactions.into_iter().map(|(_, reaction)| reaction).collect()
}

pub(crate) fn silent_watches_heal(case: &Case<'_>, findings: &mut Findings) {
    let Some(end) = case.record.entries.last().map(|entry| entry.at) else { return };
    for (position, entry) in case.record.entries.iter().enumerate() {
        let Event::WatchSilent(silent) = &entry.event else { continue };
        let by = plus(entry.at, case.rules.limits.watch.saturating_add(case.rules.slack));
        let Some(healed) = healed(case, silent, position, by) else { continue };
        if !healed && end < by {
            continue;
        }
        findings.occasion();
        if !healed {
            let text =
                format!("the watch of {} on {} is silent and was not made again by {by}", silent.process, silent.kind);
            findings.breach(entry.seq, text);
        }
    }
}

/// Whether a watch or list of the kind was made again; `None`: the process ended, or the source does not tell.
fn healed(case: &Case<'_>, silent: &WatchSilent, position: usize, by: Timestamp) -> Option<bool> {
    let told = |event: &Event| match event {
        Event::Api(call) => call.process == silent.process && matches!(call.verb.as_str(), "watch" | "list"),
        _ => false,
    };
    if !case.record.entries.iter().any(|entry| told(&entry.event)) {
        return None;
    }
    for entry in case.record.entries.iter().skip(position + 1).take_while(|entry| entry.at <= by) {
        match &entry.event {
            Event::Life(life) if life.process == silent.process => return None,
            Event::Api(call) if told(&entry.event) && call.kind == silent.kind => return Some(true),
            _ => {}
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::fixture::{Builder, rules};
    use crate::judge;
    use crate::record::{ApiCall, Event, WatchSilent};

    fn found(builder: &Builder, invariant: &str) -> usize {
        let mut rules = rules();
        rules.poisoned.insert("Cell default/bad".to_owned());
        judge(&builder.record(), &rules).iter().filter(|violation| violation.invariant == invariant).count()
    }

    fn changed(builder: &mut Builder, generation: i64, after: i64) {
        let cell = |observed: i64| {
            let status = json!({"observedGeneration": observed});
            json!({"metadata": {"generation": generation}, "status": status})
        };
        builder.object("Cell", "web", cell(generation - 1));
        builder.wait(after - 10);
        builder.object("Cell", "web", cell(generation));
    }

    #[test]
    fn poison_delays_nobody_beyond_the_usual() {
        let with = |usual: i64, beside: i64, poison: bool| {
            let mut builder = Builder::default();
            changed(&mut builder, 1, usual);
            if poison {
                builder.object("Cell", "bad", json!({"metadata": {"generation": 1}}));
            }
            changed(&mut builder, 2, beside);
            found(&builder, "L6")
        };
        assert_eq!((with(5, 6, true), with(5, 60, true), with(5, 60, false)), (0, 1, 0));
    }

    #[test]
    fn a_change_that_is_never_acted_on_is_a_delay() {
        let mut builder = Builder::default();
        builder.object("Cell", "bad", json!({"metadata": {"generation": 1}}));
        builder.object("Cell", "web", json!({"metadata": {"generation": 1}}));
        builder.wait(60);
        builder.event(Event::End);
        assert_eq!(found(&builder, "L6"), 1);
    }

    fn silent(again: i64, kind: &str) -> usize {
        let watch = |kind: &str| {
            let (process, verb, kind) = ("okrad".to_owned(), "watch".to_owned(), kind.to_owned());
            Event::Api(ApiCall { process, verb, kind, code: 200, ..ApiCall::default() })
        };
        let mut builder = Builder::default();
        builder.event(watch("Cell"));
        builder.event(Event::WatchSilent(WatchSilent { process: "okrad".to_owned(), kind: "Cell".to_owned() }));
        builder.wait(again);
        builder.event(watch(kind));
        builder.wait(600);
        builder.event(Event::End);
        found(&builder, "L8")
    }

    #[test]
    fn a_silent_watch_is_made_again_in_time() {
        assert_eq!((silent(200, "Cell"), silent(400, "Cell"), silent(200, "Pause")), (0, 1, 1));
    }
}
