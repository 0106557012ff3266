//! S11: okra writes only to rules whose tags say that one of its Cells owns them.

use okra_api::names::CELL_TAG;

use crate::Findings;
use crate::case::Case;
use crate::record::{Event, LbCall, RuleState};
use crate::rules::Rules;

/// Calls that change a listener or what hangs on it as a whole; no Cell owns those.
const LISTENER_WRITES: [&str; 4] = ["CreateListener", "ModifyListener", "DeleteListener", "DeleteLoadBalancer"];

pub(crate) fn only_our_rules_are_touched(case: &Case<'_>, findings: &mut Findings) {
    for entry in &case.record.entries {
        let Event::Call(call) = &entry.event else { continue };
        if !case.rules.is_ours(call) {
            continue;
        }
        if case.rules.is_own_write(call) {
            findings.occasion();
        }
        for text in breaches(call, case.rules) {
            findings.breach(entry.seq, text);
        }
    }
}

fn breaches(call: &LbCall, rules: &Rules) -> Vec<String> {
    let operation = call.operation.as_str();
    if LISTENER_WRITES.contains(&operation) {
        return vec![format!("{operation} changes what no cell owns")];
    }
    if operation == "CreateRule" {
        let tagged = call.asked.as_ref().or(call.after.as_ref()).is_some_and(|rule| rules.owns(rule));
        return if tagged { Vec::new() } else { vec!["a rule is created without the tags of its owner".to_owned()] };
    }
    if !matches!(operation, "ModifyRule" | "DeleteRule" | "SetRulePriorities" | "AddTags" | "RemoveTags") {
        return Vec::new();
    }
    let named = if call.touched.is_empty() { call.before.as_slice() } else { &call.touched };
    let mut texts: Vec<String> = named.iter().filter_map(|rule| foreign(operation, rule, rules)).collect();
    texts.extend(moved_between_cells(call, rules));
    texts
}

fn foreign(operation: &str, rule: &RuleState, rules: &Rules) -> Option<String> {
    let arn = &rule.arn;
    if rule.priority == "default" {
        return Some(format!("{operation} on default rule {arn}"));
    }
    (!rules.owns(rule) && !rules.adoptable.contains(arn))
        .then(|| format!("{operation} on rule {arn}, whose tags {:?} are not ours", rule.tags))
}

fn moved_between_cells(call: &LbCall, rules: &Rules) -> Option<String> {
    let (before, after) = (call.before.as_ref()?, call.after.as_ref()?);
    let (was, is) = (before.tags.get(CELL_TAG)?, after.tags.get(CELL_TAG)?);
    (was != is && rules.owns(before)).then(|| format!("rule {} is taken from cell {was} by cell {is}", before.arn))
}

#[cfg(test)]
mod tests {
    use okra_api::names::{CELL_TAG, OWNER_TAG};

    use crate::fixture::{A, B, Builder, RULE, rules};
    use crate::judge;
    use crate::record::{LbCall, RuleState};
    use crate::rules::Rules;

    fn breaches(builder: &Builder, rules: &Rules) -> Vec<&'static str> {
        judge(&builder.record(), rules).iter().map(|violation| violation.invariant).collect()
    }

    fn write(operation: &str, tags: &[(&str, &str)], priority: &str) -> Builder {
        let tags = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let rule = RuleState { arn: RULE.into(), priority: priority.into(), tags, ..RuleState::default() };
        let call = LbCall {
            caller: "okra".into(),
            operation: operation.into(),
            touched: vec![rule.clone()],
            before: Some(rule),
            ..LbCall::default()
        };
        let mut builder = Builder::default();
        builder.call(call);
        builder
    }

    #[test]
    fn our_own_rule_may_be_written() {
        let mut builder = Builder::default();
        builder.create(&[(A, 100)]);
        builder.modify(&[(A, 100), (B, 0)]);
        assert!(breaches(&builder, &rules()).is_empty());
        let ours = [(OWNER_TAG, "me"), (CELL_TAG, "default/web")];
        for operation in ["DeleteRule", "SetRulePriorities", "AddTags", "RemoveTags"] {
            assert!(breaches(&write(operation, &ours, "10"), &rules()).is_empty(), "{operation}");
            assert_eq!(breaches(&write(operation, &ours, "default"), &rules()), ["S11"], "{operation}");
        }
    }

    #[test]
    fn rules_of_others_are_flagged() {
        let theirs = [(OWNER_TAG, "them"), (CELL_TAG, "default/web")];
        for tags in [&theirs[..], &[], &[(OWNER_TAG, "me")]] {
            for operation in ["DeleteRule", "SetRulePriorities", "AddTags"] {
                assert_eq!(breaches(&write(operation, tags, "10"), &rules()), ["S11"], "{operation} {tags:?}");
            }
        }
        let mut adopting = rules();
        adopting.adoptable.insert(RULE.to_owned());
        assert!(breaches(&write("AddTags", &theirs, "10"), &adopting).is_empty());
        assert!(breaches(&write("DescribeRules", &theirs, "10"), &rules()).is_empty(), "reading is free");
    }

    #[test]
    fn listeners_are_left_alone() {
        assert_eq!(breaches(&write("ModifyListener", &[], "default"), &rules()), ["S11"]);
    }

    #[test]
    fn an_untagged_rule_of_our_own_is_flagged() {
        let asked = RuleState { weights: [(A.to_owned(), 1)].into(), ..RuleState::default() };
        let mut builder = Builder::default();
        builder.registered(A, 1);
        builder.call(LbCall {
            caller: "okra".into(),
            operation: "CreateRule".into(),
            asked: Some(asked),
            ..LbCall::default()
        });
        assert_eq!(breaches(&builder, &rules()), ["S11"]);
    }

    #[test]
    fn a_rule_never_changes_its_cell() {
        let tagged = |cell: &str| RuleState {
            arn: RULE.into(),
            priority: "10".into(),
            tags: [(OWNER_TAG.to_owned(), "me".to_owned()), (CELL_TAG.to_owned(), cell.to_owned())].into(),
            ..RuleState::default()
        };
        let mut builder = Builder::default();
        builder.call(LbCall {
            caller: "okra".into(),
            operation: "AddTags".into(),
            before: Some(tagged("default/web")),
            after: Some(tagged("default/api")),
            touched: vec![tagged("default/web")],
            ..LbCall::default()
        });
        assert_eq!(breaches(&builder, &rules()), ["S11"]);
    }
}
