//! S13: what a discovery keeps is not deleted because its answer was poor, and no rule goes unless its Cell does. L5: what
//! is deleted goes, even when the cloud is gone.

use std::collections::BTreeMap;

use okra_api::names::ROUTE_FINALIZER;

use crate::Findings;
use crate::case::{Case, plus};
use crate::record::{Answer, ApiCall, Discovery, Event, LbCall};
use crate::view::Meta;

pub(crate) fn poor_answers_delete_nothing(case: &Case<'_>, findings: &mut Findings) {
    let mut answers: BTreeMap<(&str, &str), &Discovery> = BTreeMap::new();
    let mut last: BTreeMap<&str, &Discovery> = BTreeMap::new();
    for (position, entry) in case.record.entries.iter().enumerate() {
        match &entry.event {
            Event::Discovery(answer) => {
                answers.insert((&answer.by, &answer.kind), answer);
                last.insert(&answer.kind, answer);
            }
            Event::Api(call) if call.verb.starts_with("delete") && case.rules.is_own_api(call) => {
                let owner = owner(case, call, position);
                let by_owner = owner.as_ref().and_then(|owner| answers.get(&(owner.as_str(), call.kind.as_str())));
                let Some(answer) = by_owner.or_else(|| last.get(call.kind.as_str())) else { continue };
                findings.occasion();
                let leaves = owner.as_ref().is_some_and(|owner| case.leaves(owner, position));
                if let Some(text) = unfounded(call, answer).filter(|_| !leaves) {
                    findings.breach(entry.seq, text);
                }
            }
            Event::Call(call) if call.operation == "DeleteRule" && case.rules.is_ours(call) => {
                if let Some(text) = rule_of_a_living_cell(case, call, position, findings) {
                    findings.breach(entry.seq, text);
                }
            }
            _ => {}
        }
    }
}

/// `<kind> <namespace>/<name>` of the object that keeps what is deleted.
fn owner(case: &Case<'_>, call: &ApiCall, position: usize) -> Option<String> {
    let seen = || {
        let of_it = |seen: &&crate::case::Sighting<'_>| seen.position < position && seen.key == call.key();
        case.of_kind(&call.kind).filter(of_it).map(|seen| Meta::of(seen.object)).last()
    };
    let meta = if call.before.is_null() { seen()? } else { Meta::of(&call.before) };
    let owner = meta.owner_references.first()?;
    Some(format!("{} {}/{}", owner.kind, call.namespace, owner.name))
}

fn unfounded(call: &ApiCall, answer: &Discovery) -> Option<String> {
    let key = call.key();
    if call.verb == "deletecollection" {
        return Some(format!("all {} of {} are deleted at once", call.kind, call.namespace));
    }
    if answer.answer != Answer::Complete {
        return Some(format!(
            "{} {key} is deleted after an answer of {} was {:?}",
            call.kind, answer.by, answer.answer
        ));
    }
    answer.found.contains(&key).then(|| format!("{} {key} is deleted, and {} had found it", call.kind, answer.by))
}

fn rule_of_a_living_cell(case: &Case<'_>, call: &LbCall, position: usize, findings: &mut Findings) -> Option<String> {
    let rule = call.before.as_ref()?;
    let cell = rule.tags.get(okra_api::names::CELL_TAG)?;
    let kinds = ["Cell", "AWSApplicationLoadBalancerConfig", "Route"];
    let known = case.sightings.iter().any(|seen| kinds.contains(&seen.kind) && seen.key == *cell);
    if !known {
        return None;
    }
    findings.occasion();
    let leaves = kinds.iter().any(|kind| case.leaves(&format!("{kind} {cell}"), position));
    (!leaves).then(|| format!("rule {} of cell {cell} is deleted, and the cell is not", rule.arn))
}

pub(crate) fn deletions_finish(case: &Case<'_>, findings: &mut Findings) {
    let mut leaving: BTreeMap<(&str, &str), (usize, jiff::Timestamp)> = BTreeMap::new();
    let mut gone: Vec<(usize, Option<jiff::Timestamp>)> = Vec::new();
    for seen in &case.sightings {
        let meta = Meta::of(seen.object);
        let held = meta.finalizers.iter().any(|finalizer| finalizer == ROUTE_FINALIZER);
        let id = (seen.kind, seen.key.as_str());
        match (meta.deletion_timestamp.is_some() && held, leaving.get(&id).copied()) {
            (true, None) => _ = leaving.insert(id, (seen.position, seen.at)),
            (false, Some((position, _))) => {
                leaving.remove(&id);
                gone.push((position, Some(seen.at)));
            }
            _ => {}
        }
    }
    gone.extend(leaving.into_values().map(|(position, _)| (position, None)));
    let span = case.rules.limits.deletion.saturating_add(case.rules.slack);
    for (position, gone_at) in gone {
        let Some(entry) = case.record.entries.get(position) else { continue };
        let calms = case.calms();
        let Some(calm) = calms.iter().find(|calm| calm.till >= plus(entry.at.max(calm.from), span)) else { continue };
        findings.occasion();
        let by = plus(entry.at.max(calm.from), span);
        if gone_at.is_none_or(|at| at > by) {
            findings.breach(entry.seq, format!("what is deleted here is still there at {by}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::fixture::{A, Builder, by, rules};
    use crate::judge;
    use crate::record::{Answer, ApiCall, Discovery, Event, LbCall, Quiet, RuleState};

    fn found(builder: &Builder, invariant: &str) -> usize {
        judge(&builder.record(), &rules()).iter().filter(|violation| violation.invariant == invariant).count()
    }

    fn discovered(answer: Answer, names: &[&str]) -> Event {
        Event::Discovery(Discovery {
            by: "ClusterSet default/all".to_owned(),
            kind: "Secret".to_owned(),
            answer,
            found: names.iter().map(|name| format!("default/{name}")).collect(),
        })
    }

    fn delete(name: &str) -> ApiCall {
        ApiCall {
            process: "okrad".to_owned(),
            verb: "delete".to_owned(),
            kind: "Secret".to_owned(),
            namespace: "default".to_owned(),
            name: name.to_owned(),
            code: 200,
            gone: true,
            before: json!({"metadata": {"ownerReferences": [{"kind": "ClusterSet", "name": "all", "uid": "u"}]}}),
            ..ApiCall::default()
        }
    }

    #[test]
    fn only_a_whole_answer_that_misses_it_deletes() {
        let after = |answer: Answer, names: &[&str]| {
            let mut builder = Builder::default();
            builder.event(discovered(Answer::Complete, &["east", "west"]));
            builder.event(discovered(answer, names));
            builder.event(Event::Api(delete("west")));
            found(&builder, "S13")
        };
        assert_eq!(after(Answer::Complete, &["east"]), 0);
        assert_eq!(after(Answer::Complete, &["east", "west"]), 1);
        for answer in [Answer::Empty, Answer::Partial, Answer::Throttled, Answer::Failed] {
            assert_eq!(after(answer, &[]), 1, "{answer:?}");
        }
    }

    #[test]
    fn what_belongs_to_a_deleted_set_goes_with_it() {
        let mut builder = Builder::default();
        builder.event(discovered(Answer::Failed, &[]));
        builder.object("ClusterSet", "all", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
        builder.event(Event::Api(delete("west")));
        assert_eq!(found(&builder, "S13"), 0);
        builder.event(Event::Api(ApiCall { process: "somebody".to_owned(), ..delete("east") }));
        assert_eq!(found(&builder, "S13"), 0, "not okra's doing");
    }

    #[test]
    fn a_rule_goes_only_with_its_cell() {
        let remove = |object: Value| {
            let mut builder = Builder::default();
            builder.create(&[(A, 100)]);
            builder.object("Cell", "web", object);
            let tags = [("okra.mumo.co/owner", "me"), ("okra.mumo.co/cell", "default/web")];
            let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let rule =
                RuleState { arn: "arn:rule".to_owned(), priority: "10".to_owned(), tags, ..RuleState::default() };
            builder.call(LbCall { before: Some(rule.clone()), touched: vec![rule], ..by("okra", "DeleteRule") });
            found(&builder, "S13")
        };
        assert_eq!(remove(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})), 0);
        assert_eq!(remove(Value::Null), 0);
        assert_eq!(remove(json!({"metadata": {}})), 1);
    }

    fn deleted(after: i64, calm: bool) -> usize {
        let mut builder = Builder::default();
        let metadata = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["okra.mumo.co/route"]});
        builder.object("AWSApplicationLoadBalancerConfig", "web", json!({"metadata": metadata}));
        if calm {
            builder.event(Event::Quiet(Quiet { cloud_gone: true }));
        }
        builder.wait(after);
        builder.object("AWSApplicationLoadBalancerConfig", "web", Value::Null);
        builder.wait(100);
        builder.event(Event::End);
        found(&builder, "L5")
    }

    #[test]
    fn a_deletion_finishes_in_time() {
        assert_eq!(deleted(10, true), 0);
        assert_eq!(deleted(60, true), 1);
        assert_eq!(deleted(60, false), 0, "faults go on");
    }
}
