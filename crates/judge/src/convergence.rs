//! L1: the weights come to what is planned. L9: a group that vanished does not keep its weight.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::Findings;
use crate::case::{Calm, Case, Held, WHOLE, plus, share};
use crate::record::Event;
use crate::rules::plain;
use crate::view::CellView;

/// What a Cell says when its weights may differ from the plan: somebody else holds the route, or nobody is healthy.
const SAID: [&str; 6] =
    ["ForeignEdit", "ForeignRule", "RuleTaken", "NothingHealthy", "WaitingForHealth", "NoTargetGroups"];

/// What the rules of Cells hold, and since when that differs from the plan.
#[derive(Default)]
struct Watch<'a> {
    held: Held<'a>,
    since: BTreeMap<&'a str, (Timestamp, String)>,
    told: BTreeSet<&'a str>,
}

fn span(case: &Case<'_>) -> SignedDuration {
    let limits = &case.rules.limits;
    limits.weights.saturating_add(limits.throttling).saturating_add(case.rules.slack)
}

pub(crate) fn weights_come_to_the_plan(case: &Case<'_>, findings: &mut Findings) {
    let span = span(case);
    let long_enough = |calm: &Calm| !calm.cloud_gone && calm.till >= plus(calm.from, span);
    let calms: Vec<Calm> = case.calms().into_iter().filter(long_enough).collect();
    let mut watch = Watch::default();
    let mut calm: Option<Calm> = None;
    for (position, entry) in case.record.entries.iter().enumerate() {
        if calm.is_some_and(|calm| position <= calm.end) {
            watch.tell_what_is_late(entry.seq, entry.at, span, findings);
        }
        if let Event::Call(call) = &entry.event {
            watch.held.see(call);
        }
        if let Some(next) = calms.iter().find(|calm| calm.start == position) {
            calm = Some(*next);
            watch.since.clear();
            watch.told.clear();
            let known = case.rules.cells.keys().filter(|key| case.cell_at(key, position).is_some());
            known.for_each(|_| findings.occasion());
        }
        let Some(now) = calm.filter(|calm| position <= calm.end) else { continue };
        watch.compare(case, position, entry.at.max(now.from));
    }
}

impl<'a> Watch<'a> {
    /// What has differed for too long until now.
    fn tell_what_is_late(&mut self, seq: u64, now: Timestamp, span: SignedDuration, findings: &mut Findings) {
        for (key, (since, text)) in &self.since {
            if plus(*since, span) < now && self.told.insert(key) {
                findings.breach(seq, format!("cell {key}: since {since} {text}"));
            }
        }
    }

    /// Looks anew at what differs from now on.
    fn compare(&mut self, case: &'a Case<'_>, position: usize, now: Timestamp) {
        for key in case.rules.cells.keys() {
            match case.cell_at(key, position).and_then(|cell| differs(case, key, cell, self)) {
                Some(text) => self.since.entry(key).or_insert((now, String::new())).1 = text,
                None => _ = self.since.remove(key.as_str()),
            }
        }
    }
}

/// How the rule of a Cell differs from what its status plans.
fn differs(case: &Case<'_>, key: &str, cell: &CellView, watch: &Watch<'_>) -> Option<String> {
    let excused = cell.status.hold.is_some()
        || cell.spec.suspend
        || !cell.status.accepted_weights.is_empty()
        || cell.metadata.deletion_timestamp.is_some()
        || cell.says(&SAID);
    let weights = watch.held.get(key)?;
    let rules = case.rules.cells.get(key)?;
    if excused {
        return None;
    }
    let (version, percent) = match (cell.open(), cell.stable()) {
        (Some(rollout), stable) if rollout.is_moving() && stable.is_some() => {
            (plain(&rollout.version), rollout.canary_weight)
        }
        (_, Some(stable)) => (stable, 100),
        (Some(rollout), None) => (plain(&rollout.version), 100),
        (None, None) => return None,
    };
    let (has, planned) = (share(rules, weights, &version), percent * (WHOLE / 100));
    let apart = (has - planned).abs() > WHOLE / 1000;
    apart.then(|| format!("{version} has {} %, and the plan gives it {percent} %", has / 10_000))
}

pub(crate) fn vanished_groups_are_left(case: &Case<'_>, findings: &mut Findings) {
    let span = span(case);
    for calm in case.calms().into_iter().filter(|calm| !calm.cloud_gone && calm.till >= plus(calm.from, span)) {
        let vanished = case.gone_groups(calm.start);
        for (key, rules) in &case.rules.cells {
            let gone = |group: &str| vanished.contains(group) || rules.gone.contains(group);
            let known = rules.versions.keys().any(|group| gone(group));
            let (Some(cell), Some(weights)) = (case.cell_at(key, calm.end), case.weights_at(key, calm.end)) else {
                continue;
            };
            if !known || cell.metadata.deletion_timestamp.is_some() {
                continue;
            }
            findings.occasion();
            let kept = weights.iter().find(|(group, weight)| **weight > 0 && gone(group));
            if let Some((group, weight)) = kept.filter(|_| !cell.says(&SAID)) {
                let text =
                    format!("cell {key}: {group} is gone and keeps weight {weight}, and the Cell does not say why");
                findings.breach(case.seq(calm.end), text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::fixture::{A, A2, B, Builder, cell, rules};
    use crate::judge;
    use crate::record::{Event, Quiet};

    fn found(builder: &Builder, rules: &crate::Rules, invariant: &str) -> usize {
        judge(&builder.record(), rules).iter().filter(|violation| violation.invariant == invariant).count()
    }

    fn mid_canary(more: &Value) -> Value {
        let rollout =
            json!({"id": "2-7", "version": "2", "canaryWeight": 20, "steps": [{"setWeight": 20}, {"pause": {}}]});
        let mut status = json!({"stableVersion": "1", "rollout": rollout});
        for (key, value) in more.as_object().into_iter().flatten() {
            status[key] = value.clone();
        }
        cell(status)
    }

    /// The plan gives version 2 20 % from the beginning of the quiet on, and the rule follows after so many seconds.
    fn follows(after: i64, status: &Value, quiet: Option<bool>) -> usize {
        let mut builder = Builder::default();
        builder.create(&[(A, 100)]);
        builder.modify(&[(A, 100), (B, 0)]);
        builder.object("Cell", "web", mid_canary(status));
        if let Some(cloud_gone) = quiet {
            builder.event(Event::Quiet(Quiet { cloud_gone }));
        }
        builder.wait(after);
        builder.modify(&[(A, 80), (B, 20)]);
        builder.wait(300);
        builder.event(Event::End);
        found(&builder, &rules(), "L1")
    }

    #[test]
    fn weights_come_to_the_plan_in_time() {
        let nothing = json!({});
        assert_eq!(follows(30, &nothing, Some(false)), 0);
        assert_eq!(follows(90, &nothing, Some(false)), 1);
        assert_eq!(follows(90, &nothing, None), 0, "faults go on");
        assert_eq!(follows(90, &nothing, Some(true)), 0, "the cloud stays gone");
        let foreign = json!({"conditions": [{"type": "Paused", "status": "True", "reason": "ForeignEdit"}]});
        assert_eq!(follows(90, &foreign, Some(false)), 0, "somebody else holds the route, and the Cell says so");
    }

    #[test]
    fn weights_that_never_come_are_flagged_at_the_end() {
        let mut builder = Builder::default();
        builder.create(&[(A, 100)]);
        builder.object("Cell", "web", mid_canary(&json!({})));
        builder.event(Event::Quiet(Quiet::default()));
        builder.wait(300);
        builder.event(Event::End);
        assert_eq!(found(&builder, &rules(), "L1"), 1);
    }

    #[test]
    fn a_vanished_group_loses_its_weight_or_the_cell_says_why() {
        let vanished = |weights: &[(&str, i64)], status: &Value| {
            let mut builder = Builder::default();
            builder.create(&[(A, 50), (A2, 50)]);
            builder.object("AWSTargetGroup", "a2", json!({"spec": {"arn": A2}}));
            builder.object("Cell", "web", cell(status.clone()));
            builder.object("AWSTargetGroup", "a2", Value::Null);
            builder.event(Event::Quiet(Quiet::default()));
            builder.modify(weights);
            builder.wait(300);
            builder.event(Event::End);
            found(&builder, &rules(), "L9")
        };
        let stable = json!({"stableVersion": "1"});
        assert_eq!(vanished(&[(A, 100)], &stable), 0);
        assert_eq!(vanished(&[(A, 50), (A2, 50)], &stable), 1);
        let says = json!({"stableVersion": "1", "conditions": [{"type": "Degraded", "status": "True", "reason": "NoTargetGroups"}]});
        assert_eq!(vanished(&[(A, 50), (A2, 50)], &says), 0);
    }
}
