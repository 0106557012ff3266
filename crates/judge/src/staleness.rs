//! S10: no write is computed from a copy that is older than okra's own last write.
//!
//! Three marks of it can be seen: an object that is replaced without a resourceVersion; a resourceVersion that is older
//! than the one with which the same process was answered for the same part of the object; a change of the load balancer
//! that was decided on an older generation of a route than the process itself had written.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::Findings;
use crate::case::{Case, plus};
use crate::record::{ApiCall, Decision, Event, LifeChange};
use crate::view::Meta;

/// What a process was answered for its last write of a part of an object.
#[derive(Clone, Copy, Debug)]
struct Written {
    at: Timestamp,
    version: Option<u64>,
    generation: i64,
}

/// Process, kind, object and part to the last write.
type Own<'a> = BTreeMap<(&'a str, &'a str, String, &'a str), Written>;

pub(crate) fn no_write_from_an_old_copy(case: &Case<'_>, findings: &mut Findings) {
    let mut own: Own<'_> = BTreeMap::new();
    for entry in &case.record.entries {
        match &entry.event {
            // Who begins anew has read everything anew.
            Event::Life(life) if life.change == LifeChange::Started => own.retain(|key, _| key.0 != life.process),
            Event::Api(call) if case.rules.is_own_api(call) && call.is_write() => {
                if let Some(text) = old_version(case, call, entry.at, &own, findings) {
                    findings.breach(entry.seq, text);
                }
                remember(call, entry.at, &mut own);
            }
            Event::Decision(decision) => {
                if let Some(text) = old_generation(case, decision, entry.at, &own, findings) {
                    findings.breach(entry.seq, text);
                }
            }
            _ => {}
        }
    }
}

fn remember<'a>(call: &'a ApiCall, at: Timestamp, own: &mut Own<'a>) {
    // What the process never heard of it cannot go by.
    if !call.accepted() || call.lost || call.name.is_empty() {
        return;
    }
    let meta = Meta::of(&call.after);
    let version = call.stored_version.as_ref().or(meta.resource_version.as_ref());
    let version = version.and_then(|version| version.parse().ok());
    let key = (call.process.as_str(), call.kind.as_str(), call.key(), call.subresource.as_str());
    if call.gone {
        own.remove(&key);
    } else {
        own.insert(key, Written { at, version, generation: meta.generation });
    }
}

fn old_version(
    case: &Case<'_>,
    call: &ApiCall,
    at: Timestamp,
    own: &Own<'_>,
    findings: &mut Findings,
) -> Option<String> {
    let Some(sent) = &call.sent_version else {
        // Whether none was sent can be told only where the source tells of the others.
        let replaces = call.verb == "update" && call.accepted() && case.tells_sent_versions();
        return replaces.then(|| format!("{} {} is replaced whatever stands there", call.kind, call.key()));
    };
    let key = (call.process.as_str(), call.kind.as_str(), call.key(), call.subresource.as_str());
    findings.occasion();
    let last = own.get(&key)?;
    // Two writes at the same time know nothing of each other.
    if call.begun.unwrap_or(at) < plus(last.at, case.rules.slack) {
        return None;
    }
    let (sent, stored) = (sent.parse::<u64>().ok()?, last.version?);
    let what = format!("{} {} {}", call.kind, call.key(), call.subresource);
    (sent < stored)
        .then(|| format!("{what}: {} writes from version {sent}, and was answered {stored} before", call.process))
}

fn old_generation(
    case: &Case<'_>,
    decision: &Decision,
    at: Timestamp,
    own: &Own<'_>,
    findings: &mut Findings,
) -> Option<String> {
    if decision.generation == 0 || decision.action.is_empty() {
        return None;
    }
    let key = (decision.process.as_str(), decision.kind.as_str(), decision.object.clone(), "");
    let last = own.get(&key)?;
    findings.occasion();
    let known = plus(last.at, case.rules.slack) <= at;
    let Decision { kind, object, generation, action, .. } = decision;
    (known && last.generation > *generation).then(|| {
        format!("{action} of {kind} {object} by generation {generation}, and {} was written before", last.generation)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::fixture::{Builder, rules};
    use crate::judge;
    use crate::record::{ApiCall, Decision, Event, Life, LifeChange};

    fn found(builder: &Builder) -> usize {
        judge(&builder.record(), &rules()).iter().filter(|violation| violation.invariant == "S10").count()
    }

    fn update(sent: Option<&str>, stored: &str, code: u16) -> ApiCall {
        ApiCall {
            process: "okrad".to_owned(),
            verb: "update".to_owned(),
            kind: "Cell".to_owned(),
            subresource: "status".to_owned(),
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            sent_version: sent.map(str::to_owned),
            stored_version: Some(stored.to_owned()),
            code,
            ..ApiCall::default()
        }
    }

    fn writes(calls: impl IntoIterator<Item = ApiCall>) -> usize {
        let mut builder = Builder::default();
        for call in calls {
            builder.event(Event::Api(call));
        }
        found(&builder)
    }

    #[test]
    fn a_version_from_before_the_own_last_write_is_flagged() {
        assert_eq!(writes([update(Some("5"), "6", 200), update(Some("6"), "7", 200)]), 0);
        assert_eq!(writes([update(Some("5"), "6", 200), update(Some("5"), "", 409)]), 1);
        assert_eq!(writes([update(Some("5"), "6", 409), update(Some("5"), "6", 200)]), 0, "the first was refused");
        let other = ApiCall { subresource: String::new(), ..update(Some("5"), "6", 200) };
        assert_eq!(writes([other, update(Some("5"), "", 409)]), 0, "another part of the object");
    }

    #[test]
    fn an_answer_that_was_lost_or_an_earlier_life_binds_nobody() {
        let lost = ApiCall { lost: true, ..update(Some("5"), "6", 200) };
        assert_eq!(writes([lost, update(Some("5"), "", 409)]), 0);
        let mut builder = Builder::default();
        builder.event(Event::Api(update(Some("5"), "6", 200)));
        builder.event(Event::Life(Life { process: "okrad".to_owned(), change: LifeChange::Started }));
        builder.event(Event::Api(update(Some("5"), "", 409)));
        assert_eq!(found(&builder), 0);
    }

    #[test]
    fn a_replacement_without_a_version_is_flagged() {
        assert_eq!(writes([update(Some("5"), "6", 200), update(None, "7", 200)]), 1);
        assert_eq!(writes([update(None, "7", 200)]), 0, "the source tells of no versions");
    }

    #[test]
    fn a_change_by_an_old_generation_is_flagged() {
        let decided = |generation: i64| {
            let mut builder = Builder::default();
            let written = ApiCall {
                kind: "Route".to_owned(),
                subresource: String::new(),
                after: json!({"metadata": {"generation": 4}}),
                ..update(Some("5"), "6", 200)
            };
            builder.event(Event::Api(written));
            builder.event(Event::Decision(Decision {
                process: "okrad".to_owned(),
                kind: "Route".to_owned(),
                object: "default/web".to_owned(),
                generation,
                action: "ModifyRule".to_owned(),
                ..Decision::default()
            }));
            found(&builder)
        };
        assert_eq!((decided(4), decided(3)), (0, 1));
    }
}
