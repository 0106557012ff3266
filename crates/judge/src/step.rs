//! S8: a weight step counts as done only after a read of the load balancer showed its weights.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::Findings;
use crate::case::{Case, Sighting};
use crate::record::{Entry, Event};
use crate::rules::{Rules, plain};
use crate::view::Meta;

/// Kubernetes times may be whole seconds.
const ROUNDING: SignedDuration = SignedDuration::from_secs(1);

/// What is known of a Cell's rollout from the objects seen so far.
#[derive(Debug, Default)]
struct Progress {
    id: String,
    index: usize,
    request: Option<String>,
    skips_all: bool,
}

pub(crate) fn steps_are_read_back(case: &Case<'_>, findings: &mut Findings) {
    let mut cells: BTreeMap<&str, Progress> = BTreeMap::new();
    for seen in case.of_kind("Cell") {
        let entries = case.record.entries.as_slice();
        let Some(entry) = entries.get(seen.position) else { continue };
        let earlier = entries.get(..seen.position).unwrap_or_default();
        let progress = cells.entry(&seen.key).or_default();
        for text in advance(progress, seen, earlier, case, findings) {
            findings.breach(entry.seq, text);
        }
    }
}

fn advance(
    progress: &mut Progress,
    seen: &Sighting<'_>,
    earlier: &[Entry],
    case: &Case<'_>,
    findings: &mut Findings,
) -> Vec<String> {
    let (key, rules) = (seen.key.as_str(), case.rules);
    let status = seen.object.get("status").unwrap_or(&Value::Null);
    let rollout = status.get("rollout").unwrap_or(&Value::Null);
    let (Some(id), Some(index)) = (text(rollout, "id"), rollout.get("currentStepIndex").and_then(Value::as_u64)) else {
        return Vec::new();
    };
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    if progress.id != id {
        // Requests made before this rollout skip none of its steps.
        *progress = Progress { id: id.to_owned(), request: progress.request.take(), ..Progress::default() };
    }
    let promoted = promoted(progress, status, seen);
    let from = std::mem::replace(&mut progress.index, index);
    if promoted || progress.skips_all || fell_back(rollout, seen, case) {
        return Vec::new();
    }
    let shares = shares(rollout, seen.object);
    let passed = shares.iter().enumerate().filter(|(step, _)| (from..index).contains(step));
    passed
        .filter_map(|(step, share)| share.map(|share| (step, share)))
        .inspect(|_| findings.occasion())
        .filter(|(_, share)| !was_read(*share, key, rollout, earlier, rules))
        .map(|(step, share)| {
            format!("cell {key}: step {step} counts as done, and no read showed the canary at {share} %")
        })
        .collect()
}

/// Whether every group of the version before was taken away: then the canary gets all traffic at once (L9).
fn fell_back(rollout: &Value, seen: &Sighting<'_>, case: &Case<'_>) -> bool {
    let (Some(before), Some(cell)) =
        (text(rollout, "previousVersion").map(plain), case.rules.cells.get(seen.key.as_str()))
    else {
        return false;
    };
    let mut groups = cell.versions.iter().filter(|(_, version)| **version == before).map(|(group, _)| group).peekable();
    let selector = rollout.pointer("/selector/matchLabels");
    let not_yet = case.not_yet_there(seen.position);
    groups.peek().is_some()
        && groups
            .all(|group| cell.gone.contains(group) || not_yet(group) || went_away(group, &before, selector, seen, case))
}

/// Whether the object of a group was there, and then was not, or did not count as one of the version any more. okra
/// may see it late, and after the object is back.
fn went_away(group: &str, version: &str, selector: Option<&Value>, seen: &Sighting<'_>, case: &Case<'_>) -> bool {
    let counts = |object: &Value| {
        let labels = Meta::of(object).labels;
        let selected = selector.and_then(Value::as_object).into_iter().flatten();
        let selected = selected.into_iter().all(|(name, value)| labels.get(name).map(String::as_str) == value.as_str());
        let own = labels.get(okra_api::names::VERSION_LABEL).map(|label| plain(label));
        selected && own.is_none_or(|own| own == version)
    };
    let mut known = case.group_states(group).iter().take_while(|own| own.position <= seen.position);
    known.any(|own| own.object.is_null() || !counts(own.object))
}

/// Whether a person's promotion explains that steps were passed.
fn promoted(progress: &mut Progress, status: &Value, seen: &Sighting<'_>) -> bool {
    let request = status.get("lastRequest").unwrap_or(&Value::Null);
    let Some(id) = text(request, "id") else { return false };
    if progress.request.as_deref() == Some(id) {
        return false;
    }
    progress.request = Some(id.to_owned());
    let accepted = request.get("accepted").and_then(Value::as_bool).unwrap_or(true);
    if text(request, "verb") != Some("promote") || !accepted {
        return false;
    }
    let annotation = seen
        .object
        .pointer("/metadata/annotations")
        .and_then(|annotations| text(annotations, okra_api::names::REQUEST_ANNOTATION))
        .and_then(|json| serde_json::from_str::<Value>(json).ok())
        .unwrap_or_default();
    progress.skips_all = annotation.pointer("/args/full").is_some();
    true
}

/// The canary share that each step asks for, in percent; `None` for steps that set no weight.
fn shares(rollout: &Value, cell: &Value) -> Vec<Option<i64>> {
    let own = rollout.get("steps").and_then(Value::as_array);
    // The spec may have been changed to a canary since: a blue-green rollout goes on as it began.
    let is_canary = text(rollout, "strategy") != Some("BlueGreen");
    let spec = cell.pointer("/spec/updateStrategy/canary/steps").and_then(Value::as_array).filter(|_| is_canary);
    let mut share = 0;
    let steps = own.or(spec).into_iter().flatten();
    steps
        .map(|step| {
            let number = |name: &str| step.get(name).and_then(Value::as_i64);
            share = number("setWeight").or_else(|| number("stepWeight").map(|add| (share + add).min(100)))?;
            Some(share)
        })
        .collect()
}

/// Whether okra read the Cell's rule with the canary at `share` since the rollout began and before the step ended.
fn was_read(share: i64, key: &str, rollout: &Value, earlier: &[Entry], rules: &Rules) -> bool {
    let Some(canary) = text(rollout, "version").map(plain) else { return false };
    let time = |name: &str| text(rollout, name).and_then(|at| at.parse::<Timestamp>().ok());
    let begun = time("startedAt").unwrap_or(Timestamp::MIN);
    // The next step's beginning is this one's end, however late the watch told of it.
    let ended = time("stepStartedAt").and_then(|at| at.checked_add(ROUNDING).ok()).unwrap_or(Timestamp::MAX);
    let reads =
        earlier.iter().filter(|entry| entry.at <= ended && entry.at.checked_add(ROUNDING).is_ok_and(|at| at >= begun));
    reads
        .filter_map(|entry| match &entry.event {
            Event::Call(call) if rules.is_ours(call) && call.error.is_none() => Some(&call.answered),
            _ => None,
        })
        .flatten()
        .filter_map(|rule| rules.cell_of(rule).filter(|(cell, _)| *cell == key).map(|(_, cell)| (rule, cell)))
        .any(|(rule, cell)| {
            let sums = cell.by_version(&rule.weights);
            let total: i64 = sums.values().sum();
            let held = sums.get(canary.as_str());
            total > 0 && held.is_some_and(|held| held * 100 == share * total)
        })
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::fixture::{A, A2, B, Builder, rules};
    use crate::judge;

    fn started() -> Builder {
        let mut builder = Builder::default();
        builder.create(&[(A, 100)]);
        for group in [A, B] {
            builder.health(group, 2, 2);
        }
        builder.modify(&[(A, 100), (B, 0)]);
        builder.cell(0, &json!({}));
        builder.modify(&[(A, 80), (B, 20)]);
        builder
    }

    fn breaches(builder: &Builder) -> Vec<&'static str> {
        judge(&builder.record(), &rules()).iter().map(|violation| violation.invariant).collect()
    }

    #[test]
    fn a_step_that_was_read_back_passes() {
        let mut builder = started();
        builder.read();
        builder.cell(1, &json!({}));
        assert!(breaches(&builder).is_empty());
    }

    #[test]
    fn a_step_without_a_reading_is_flagged() {
        let mut builder = started();
        builder.cell(1, &json!({}));
        builder.read();
        assert_eq!(breaches(&builder), ["S8"], "the reading came after");
    }

    #[test]
    fn a_reading_of_other_weights_proves_nothing() {
        let mut builder = started();
        builder.foreign(&[(A, 90), (B, 10)]);
        builder.read();
        builder.cell(1, &json!({}));
        assert_eq!(breaches(&builder), ["S8"]);
    }

    #[test]
    fn steps_without_weight_need_no_reading_and_every_passed_weight_does() {
        let mut builder = started();
        builder.read();
        builder.cell(2, &json!({}));
        assert!(breaches(&builder).is_empty(), "step 1 is a pause");
        builder.cell(3, &json!({}));
        assert_eq!(breaches(&builder), ["S8"], "step 2 adds 20");
        let mut builder = started();
        builder.read();
        builder.modify(&[(A, 60), (B, 40)]);
        builder.read();
        builder.cell(3, &json!({}));
        assert!(breaches(&builder).is_empty());
    }

    #[test]
    fn a_blue_green_rollout_has_no_steps_of_a_canary() {
        let status = |index: u64, strategy: &str| {
            let rollout = json!({"id": "2-7", "version": "2", "currentStepIndex": index, "strategy": strategy});
            json!({"status": {"rollout": rollout}, "spec": {"updateStrategy": {"canary": {"steps": [{"setWeight": 80}]}}}})
        };
        let found = |strategy: &str| {
            let mut builder = Builder::default();
            for index in [0, 1] {
                builder.object("Cell", "web", status(index, strategy));
            }
            breaches(&builder)
        };
        assert_eq!((found("Canary"), found("BlueGreen")), (vec!["S8"], vec![]));
    }

    #[test]
    fn a_fall_back_skips_steps_once_all_stable_groups_are_gone() {
        let mut builder = started();
        builder.cell(3, &json!({}));
        let mut rules = rules();
        let cell = rules.cells.get_mut("default/web").unwrap();
        cell.gone.insert(A.to_owned());
        let flagged =
            |rules: &crate::Rules| judge(&builder.record(), rules).iter().map(|v| v.invariant).collect::<Vec<_>>();
        assert_eq!(flagged(&rules), ["S8", "S8"], "one of two is left");
        rules.cells.get_mut("default/web").unwrap().gone.insert(A2.to_owned());
        assert!(flagged(&rules).is_empty());
    }

    #[test]
    fn a_fall_back_is_seen_by_the_objects_of_the_groups() {
        let object = |arn: &str, version: &str| json!({"metadata": {"labels": {"role": "web", okra_api::names::VERSION_LABEL: version}}, "spec": {"arn": arn}});
        let with = |ends: [serde_json::Value; 2]| {
            let mut builder = started();
            for (name, arn) in [("a", A), ("a2", A2)] {
                builder.object("AWSTargetGroup", name, object(arn, "v1"));
            }
            for (name, end) in ["a", "a2"].into_iter().zip(ends) {
                builder.object("AWSTargetGroup", name, end);
            }
            builder.cell(3, &json!({}));
            breaches(&builder)
        };
        let gone = serde_json::Value::Null;
        assert!(with([gone.clone(), gone.clone()]).is_empty(), "deleted");
        assert!(with([gone.clone(), object(A2, "latest")]).is_empty(), "deleted, and of no version any more");
        assert_eq!(with([gone, object(A2, "v1.0.0")]), ["S8", "S8"], "one of two is left");
    }

    #[test]
    fn a_promotion_by_a_person_passes_once() {
        let promotion = json!({"id": "r1", "verb": "promote", "user": "ada", "accepted": true});
        let mut builder = started();
        builder.cell(1, &promotion);
        assert!(breaches(&builder).is_empty());
        builder.cell(3, &promotion);
        assert_eq!(breaches(&builder), ["S8"]);
        let mut builder = started();
        builder.cell(1, &json!({"id": "r1", "verb": "promote", "accepted": false}));
        assert_eq!(breaches(&builder), ["S8"], "refused");
    }
}
