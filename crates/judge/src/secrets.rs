//! S17: no planted credential stands in anything that leaves a process.

use serde_json::Value;

use crate::Findings;
use crate::case::Case;
use crate::record::{Event, Place};

pub(crate) fn no_credential_is_told(case: &Case<'_>, findings: &mut Findings) {
    let planted: Vec<&str> = case.rules.planted.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
    if planted.is_empty() {
        return;
    }
    for entry in &case.record.entries {
        let told = match &entry.event {
            Event::Said(said) => vec![(place(said.place).to_owned(), vec![said.text.as_str()])],
            Event::Decision(decision) => {
                let texts = decision.waits.iter().chain(&decision.actions).chain([&decision.text]);
                vec![("the decision log".to_owned(), texts.map(String::as_str).collect())]
            }
            // A Secret may hold one, and what people write into their own objects is theirs.
            Event::Object(seen) if seen.kind != "Secret" => {
                let parts = ["/status", "/message"].map(|part| seen.object.pointer(part));
                let texts = parts.into_iter().flatten().flat_map(texts_of).collect();
                vec![(format!("{} {}/{}", seen.kind, seen.namespace, seen.name), texts)]
            }
            Event::Api(call) if call.kind != "Secret" && case.rules.is_own_api(call) => {
                vec![(format!("{} {}", call.kind, call.key()), texts_of(&call.after))]
            }
            _ => continue,
        };
        for (place, texts) in told {
            findings.occasion();
            // The text itself is not repeated here: a report is a text too.
            let found = planted.iter().position(|secret| texts.iter().any(|text| text.contains(secret)));
            if let Some(number) = found {
                findings.breach(entry.seq, format!("planted credential {number} stands in {place}"));
            }
        }
    }
}

fn place(place: Place) -> &'static str {
    match place {
        Place::Log => "a log line",
        Place::Event => "an event",
        Place::Condition => "a condition",
        Place::Metric => "a metric",
        Place::Error => "the text of an error",
        Place::Output => "an output",
    }
}

/// Every text and key in a value.
fn texts_of(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(texts_of).collect(),
        Value::Object(fields) => {
            fields.iter().flat_map(|(key, value)| std::iter::once(key.as_str()).chain(texts_of(value))).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::fixture::{Builder, rules};
    use crate::judge;
    use crate::record::{ApiCall, Decision, Event, Place, Said};

    const SECRET: &str = "hunter2-hunter2";

    fn found(event: Event) -> Vec<String> {
        let mut rules = rules();
        rules.planted.insert(SECRET.to_owned());
        let mut builder = Builder::default();
        builder.event(event);
        let found = judge(&builder.record(), &rules);
        found.into_iter().filter(|violation| violation.invariant == "S17").map(|violation| violation.text).collect()
    }

    fn said(place: Place, text: String) -> Event {
        Event::Said(Said { process: "okrad".to_owned(), place, text })
    }

    #[test]
    fn a_planted_credential_is_found_everywhere_and_not_repeated() {
        let places = [Place::Log, Place::Event, Place::Condition, Place::Metric, Place::Error, Place::Output];
        for place in places {
            assert!(found(said(place, "all is well".to_owned())).is_empty());
            let texts = found(said(place, format!("token={SECRET}&x")));
            assert_eq!(texts.len(), 1, "{place:?}");
            assert!(!texts[0].contains(SECRET));
        }
        let decision = Decision { waits: vec![SECRET.to_owned()], ..Decision::default() };
        assert_eq!(found(Event::Decision(decision)).len(), 1);
    }

    #[test]
    fn only_a_secret_may_hold_it() {
        let write = |kind: &str| {
            let after = json!({"status": {"conditions": [{"message": format!("failed: {SECRET}")}]}});
            let (process, verb, kind) = ("okrad".to_owned(), "update".to_owned(), kind.to_owned());
            found(Event::Api(ApiCall { process, verb, kind, code: 200, after, ..ApiCall::default() })).len()
        };
        assert_eq!((write("Cell"), write("Secret")), (1, 0));
    }

    #[test]
    fn nothing_planted_is_nothing_to_find() {
        let mut builder = Builder::default();
        builder.event(said(Place::Log, SECRET.to_owned()));
        assert_eq!(crate::coverage(&builder.record(), &rules())["S17"], 0);
    }
}
