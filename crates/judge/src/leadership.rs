//! S9: only who holds the lease writes to the load balancer, and a new leader reads first. L7: a leader that ends is
//! followed by another in time.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::Findings;
use crate::case::{Calm, Case, minus, plus};
use crate::record::{ApiCall, Event, LbCall, Life, LifeChange};

/// A process held the lease, by its own clock.
#[derive(Clone, Debug)]
struct Span {
    position: usize,
    process: String,
    from: Timestamp,
    till: Timestamp,
}

/// Every span, in the order in which they were told.
fn spans(case: &Case<'_>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (position, entry) in case.record.entries.iter().enumerate() {
        match &entry.event {
            Event::Leadership(held) => {
                let (process, from, till) = (held.process.clone(), held.from, held.till);
                spans.push(Span { position, process, from, till });
            }
            Event::Api(call) if call.kind == "Lease" && call.accepted() && case.rules.is_own_api(call) => {
                match lease(call, entry.at) {
                    Some((from, till)) => spans.push(Span { position, process: call.process.clone(), from, till }),
                    // It was given up.
                    None => {
                        for span in spans.iter_mut().filter(|span| span.process == call.process) {
                            span.till = span.till.min(entry.at);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    spans
}

/// From when to when a write of a Lease holds; `None` when it gives the lease up.
fn lease(call: &ApiCall, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let spec = call.after.get("spec")?;
    spec.get("holderIdentity").and_then(Value::as_str).filter(|holder| !holder.is_empty())?;
    let renewed: Timestamp = spec.get("renewTime")?.as_str()?.parse().ok()?;
    let seconds = spec.get("leaseDurationSeconds")?.as_i64()?;
    Some((call.begun.unwrap_or(at), plus(renewed, SignedDuration::from_secs(seconds))))
}

pub(crate) fn only_the_leader_writes(case: &Case<'_>, findings: &mut Findings) {
    let spans = spans(case);
    if spans.is_empty() {
        return;
    }
    let mut frozen: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &case.record.entries {
        match &entry.event {
            Event::Life(Life { process, change: LifeChange::Frozen }) => *frozen.entry(process).or_default() += 1,
            Event::Call(call) if case.rules.is_own_write(call) => {
                findings.occasion();
                let Some(text) = without_lease(case, call, entry.at, &spans) else { continue };
                // One write may have been on its way when the process was frozen.
                let late = case.rules.process(call).and_then(|process| frozen.get_mut(process));
                match late.filter(|late| **late > 0 && call.begun.is_none()) {
                    Some(late) => *late -= 1,
                    None => findings.breach(entry.seq, text),
                }
            }
            _ => {}
        }
    }
    new_leaders_read_first(case, &spans, findings);
}

fn without_lease(case: &Case<'_>, call: &LbCall, at: Timestamp, spans: &[Span]) -> Option<String> {
    let process = case.rules.process(call);
    let of_it = |span: &&Span| process.is_none_or(|process| span.process == process);
    // The process's own clock needs no slack; that a call arrived later than it began does.
    let (begun, slack) = call.begun.map_or((at, case.rules.slack), |begun| (begun, SignedDuration::ZERO));
    let covers = |span: &&Span| minus(span.from, case.rules.slack) <= begun && begun <= plus(span.till, slack);
    let name = process.unwrap_or("okra");
    let last = spans.iter().filter(of_it).filter(covers).map(|span| span.till).max();
    match (last, call.deadline) {
        (None, _) => Some(format!("{} of {name} begins without the lease", call.operation)),
        (Some(till), Some(deadline)) if deadline > till => {
            Some(format!("the deadline of {} of {name} reaches past its lease, which ends at {till}", call.operation))
        }
        _ => None,
    }
}

/// Where each term of office begins: a span of another process than the one before, or of one that was started anew.
fn terms(case: &Case<'_>, spans: &[Span]) -> Vec<Span> {
    let mut terms: Vec<Span> = Vec::new();
    for span in spans {
        let started = |from: usize| {
            let between = case.record.entries.iter().take(span.position).skip(from);
            between.into_iter().any(|entry| match &entry.event {
                Event::Life(life) => life.process == span.process && life.change == LifeChange::Started,
                _ => false,
            })
        };
        if terms.last().is_none_or(|last| last.process != span.process || started(last.position)) {
            terms.push(span.clone());
        }
    }
    terms
}

fn new_leaders_read_first(case: &Case<'_>, spans: &[Span], findings: &mut Findings) {
    let terms = terms(case, spans);
    for (number, term) in terms.iter().enumerate() {
        let end = terms.get(number + 1).map_or(case.record.entries.len(), |next| next.position);
        let mut read: BTreeSet<&str> = BTreeSet::new();
        let mut looked = false;
        let mut judged = false;
        for entry in case.record.entries.iter().take(end).skip(term.position) {
            let Event::Call(call) = &entry.event else { continue };
            let theirs = case.rules.process(call).is_some_and(|process| process != term.process);
            if !case.rules.is_ours(call) || theirs {
                continue;
            }
            if call.operation == "DescribeRules" && call.error.is_none() {
                looked = true;
                read.extend(call.answered.iter().map(|rule| rule.arn.as_str()));
            } else if case.rules.is_own_write(call) {
                if !std::mem::replace(&mut judged, true) {
                    findings.occasion();
                }
                let rule = call.before.as_ref().map(|rule| rule.arn.as_str());
                if !looked || rule.is_some_and(|rule| !read.contains(rule)) {
                    let text = format!("{} leads anew and writes before it has read: {}", term.process, call.operation);
                    findings.breach(entry.seq, text);
                }
                read.extend(call.after.as_ref().map(|rule| rule.arn.as_str()));
            }
        }
    }
}

pub(crate) fn leaders_are_followed(case: &Case<'_>, findings: &mut Findings) {
    let spans = spans(case);
    for (position, entry) in case.record.entries.iter().enumerate() {
        let Event::Life(life) = &entry.event else { continue };
        let limit = match life.change {
            LifeChange::Killed | LifeChange::Frozen => case.rules.limits.death,
            LifeChange::Stopped => case.rules.limits.clean_stop,
            LifeChange::Started | LifeChange::Thawed => continue,
        };
        let leader = spans.iter().rev().find(|span| span.position < position && span.from <= entry.at);
        if leader.is_none_or(|span| span.process != life.process) || !another_lives(case, position, &life.process) {
            continue;
        }
        let Some((base, calm)) = base(case, position, entry.at) else { continue };
        let by = plus(plus(base, limit), case.rules.slack);
        if calm.till < by {
            continue;
        }
        findings.occasion();
        let follows = |span: &Span| span.process != life.process && span.till > entry.at && span.from <= by;
        if !spans.iter().any(follows) {
            let text = format!("nobody leads {limit:#} after the leader {} ended ({:?})", life.process, life.change);
            findings.breach(entry.seq, text);
        }
    }
}

/// From when on a successor is due: the end of the leader when all else was quiet, else the quiet after it.
fn base(case: &Case<'_>, position: usize, at: Timestamp) -> Option<(Timestamp, Calm)> {
    let calms = case.calms_but(position);
    let around = calms.iter().find(|calm| calm.start < position && position <= calm.end);
    let after = || calms.iter().find(|calm| calm.start > position);
    around.map(|calm| (at, *calm)).or_else(|| after().map(|calm| (calm.from, *calm)))
}

/// Whether another process runs when this one ends.
fn another_lives(case: &Case<'_>, position: usize, process: &str) -> bool {
    let mut lives: BTreeMap<&str, bool> = BTreeMap::new();
    for entry in case.record.entries.iter().take(position) {
        if let Event::Life(life) = &entry.event {
            let runs = matches!(life.change, LifeChange::Started | LifeChange::Thawed);
            lives.insert(&life.process, runs);
        }
    }
    lives.into_iter().any(|(other, runs)| runs && other != process)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use crate::fixture::{A, B, Builder, rules};
    use crate::record::{ApiCall, Event, Leadership, Life, LifeChange, Quiet};
    use crate::{Rules, judge};

    fn two() -> Rules {
        let mut rules = rules();
        rules.processes = ["a", "b"].map(str::to_owned).into();
        rules
    }

    fn found(builder: &Builder) -> Vec<&'static str> {
        let judged = judge(&builder.record(), &two());
        judged.iter().map(|v| v.invariant).filter(|invariant| ["S9", "L7"].contains(invariant)).collect()
    }

    fn life(builder: &mut Builder, process: &str, change: LifeChange) {
        builder.event(Event::Life(Life { process: process.to_owned(), change }));
    }

    /// The process leads from now for so many seconds.
    fn leads(builder: &mut Builder, process: &str, seconds: i64) {
        let from = builder.now();
        let till = from + SignedDuration::from_secs(seconds);
        builder.event(Event::Leadership(Leadership { process: process.to_owned(), from, till }));
    }

    fn led() -> Builder {
        let mut builder = Builder::default();
        builder.process = "a".to_owned();
        leads(&mut builder, "a", 100);
        builder.create(&[(A, 100)]);
        builder
    }

    #[test]
    fn who_holds_the_lease_writes() {
        let mut builder = led();
        builder.health(B, 1, 1);
        builder.read();
        builder.modify(&[(A, 100), (B, 0)]);
        assert_eq!(found(&builder), ["S9"], "the rule was made before anything was read");
        let mut builder = Builder::default();
        builder.process = "a".to_owned();
        leads(&mut builder, "a", 100);
        builder.read();
        builder.create(&[(A, 100)]);
        builder.modify(&[(A, 100), (B, 0)]);
        assert!(found(&builder).is_empty());
    }

    fn after_expiry(change: impl FnOnce(&mut Builder)) -> Vec<&'static str> {
        let mut builder = Builder::default();
        builder.process = "a".to_owned();
        leads(&mut builder, "a", 100);
        builder.read();
        builder.create(&[(A, 100)]);
        change(&mut builder);
        builder.wait(200);
        builder.modify(&[(A, 100), (B, 0)]);
        found(&builder)
    }

    #[test]
    fn a_write_after_the_lease_is_flagged_but_one_of_a_frozen_process() {
        assert_eq!(after_expiry(|_| {}), ["S9"]);
        assert_eq!(after_expiry(|builder| leads(builder, "b", 900)), ["S9"], "another one leads");
        assert!(after_expiry(|builder| leads(builder, "a", 900)).is_empty(), "it was renewed");
        assert!(after_expiry(|builder| life(builder, "a", LifeChange::Frozen)).is_empty());
        let twice = after_expiry(|builder| {
            life(builder, "a", LifeChange::Frozen);
            builder.wait(200);
            builder.modify(&[(A, 100), (B, 0)]);
        });
        assert_eq!(twice, ["S9"]);
    }

    #[test]
    fn a_deadline_must_not_reach_past_the_lease() {
        for (seconds, wrong) in [(5, false), (100, true)] {
            let mut builder = Builder::default();
            builder.process = "a".to_owned();
            leads(&mut builder, "a", 100);
            builder.read();
            builder.call_limit = Some(SignedDuration::from_secs(seconds));
            builder.create(&[(A, 100)]);
            assert_eq!(!found(&builder).is_empty(), wrong, "{seconds} s");
        }
    }

    #[test]
    fn a_new_leader_reads_before_it_writes() {
        let takes_over = |read: bool| {
            let mut builder = Builder::default();
            builder.process = "a".to_owned();
            leads(&mut builder, "a", 100);
            builder.read();
            builder.create(&[(A, 100)]);
            builder.process = "b".to_owned();
            leads(&mut builder, "b", 100);
            if read {
                builder.read();
            }
            builder.modify(&[(A, 100), (B, 0)]);
            found(&builder)
        };
        assert!(takes_over(true).is_empty());
        assert_eq!(takes_over(false), ["S9"]);
    }

    #[test]
    fn the_lease_is_read_from_the_audit_log() {
        let write = |holder: &str, till: i64| {
            let mut builder = Builder::default();
            builder.process = "a".to_owned();
            let renewed = builder.now().to_string();
            let spec = json!({"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": till});
            let (process, verb, kind) = ("a".to_owned(), "update".to_owned(), "Lease".to_owned());
            let after = json!({"spec": spec});
            builder.event(Event::Api(ApiCall { process, verb, kind, code: 200, after, ..ApiCall::default() }));
            builder.read();
            builder.create(&[(A, 100)]);
            found(&builder)
        };
        assert!(write("a_1", 100).is_empty());
        assert_eq!(write("a_1", 15), ["S9"]);
        assert!(write("", 100).is_empty(), "no lease is known at all");
    }

    fn dies(change: LifeChange, after: i64, calm: bool) -> Vec<&'static str> {
        let mut builder = Builder::default();
        for process in ["a", "b"] {
            life(&mut builder, process, LifeChange::Started);
        }
        leads(&mut builder, "a", 15);
        life(&mut builder, "a", change);
        builder.wait(-10);
        if calm {
            builder.event(Event::Quiet(Quiet::default()));
            builder.wait(-10);
        }
        builder.wait(after);
        leads(&mut builder, "b", 15);
        builder.wait(60);
        builder.event(Event::End);
        found(&builder)
    }

    #[test]
    fn a_dead_leader_is_followed_in_time() {
        assert!(dies(LifeChange::Killed, 19, true).is_empty());
        assert_eq!(dies(LifeChange::Killed, 40, true), ["L7"]);
        assert!(dies(LifeChange::Stopped, 1, true).is_empty());
        assert_eq!(dies(LifeChange::Stopped, 10, true), ["L7"]);
        assert!(dies(LifeChange::Killed, 40, false).is_empty(), "faults go on");
    }
}
