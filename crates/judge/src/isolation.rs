//! S14: no Secret of another namespace is read, and no child is taken for another Cell's because of a label or a name.

use crate::Findings;
use crate::case::{Case, CellState};
use crate::record::{Decision, Event};
use crate::view::Meta;

/// Actions of a Cell that name a child of it, as the decision log spells them.
const ON_CHILDREN: [&str; 3] = ["CancelPause", "DeletePause", "TerminateRun"];

pub(crate) fn namespaces_and_cells_keep_apart(case: &Case<'_>, findings: &mut Findings) {
    let allowed = &case.rules.secret_namespaces;
    for (position, entry) in case.record.entries.iter().enumerate() {
        match &entry.event {
            Event::Api(call) if call.kind == "Secret" && case.rules.is_own_api(call) && !allowed.is_empty() => {
                findings.occasion();
                if !allowed.contains(&call.namespace) {
                    let place = if call.namespace.is_empty() { "all namespaces" } else { &call.namespace };
                    findings.breach(entry.seq, format!("{} of Secrets of {place}", call.verb));
                }
            }
            Event::Decision(decision) if decision.kind == "Cell" => {
                let uid = case.cell_at(&decision.object, position).map(|cell| cell.metadata.uid.clone());
                for child in children(decision) {
                    judge_child(case, &decision.object, uid.as_deref(), &child, position, findings);
                }
            }
            _ => {}
        }
    }
    for (key, states) in &case.cells {
        let mut last = None;
        for CellState { position, view, .. } in states {
            let Some(cell) = view else { continue };
            let run = cell.open().and_then(|rollout| rollout.current_step_run.clone());
            if let Some(run) = run.as_ref().filter(|_| run != last) {
                judge_child(case, key, Some(&cell.metadata.uid), run, *position, findings);
            }
            last = run;
        }
    }
}

/// The names in actions like `CancelPause { name: "web-r2-1-pause" }`.
fn children(decision: &Decision) -> Vec<String> {
    let on_children = decision.actions.iter().filter(|action| ON_CHILDREN.iter().any(|kind| action.starts_with(kind)));
    let names = on_children.filter_map(|action| action.split_once("name: \"")?.1.split_once('"'));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// An object that others own is no child of this Cell. One that nobody owns may be: a person makes runs by hand.
fn judge_child(case: &Case<'_>, cell: &str, uid: Option<&str>, child: &str, position: usize, findings: &mut Findings) {
    let namespace = cell.split('/').next().unwrap_or_default();
    let key = format!("{namespace}/{child}");
    let kinds = ["Pause", "AnalysisRun", "Experiment"];
    let mut seen = case.sightings.iter().filter(|seen| seen.position <= position && !seen.object.is_null());
    let Some(seen) = seen.rfind(|seen| kinds.contains(&seen.kind) && seen.key == key) else { return };
    let Some(uid) = uid.filter(|uid| !uid.is_empty()) else { return };
    findings.occasion();
    let owners = Meta::of(seen.object).owner_references;
    if !owners.is_empty() && owners.iter().all(|owner| owner.uid != uid) {
        let text = format!("cell {cell} acts on {} {key}, which another object owns", seen.kind);
        findings.breach(case.seq(position), text);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::fixture::{Builder, cell, rules};
    use crate::judge;
    use crate::record::{ApiCall, Decision, Event};

    fn found(builder: &Builder) -> usize {
        let mut rules = rules();
        rules.secret_namespaces.insert("default".to_owned());
        judge(&builder.record(), &rules).iter().filter(|violation| violation.invariant == "S14").count()
    }

    #[test]
    fn secrets_are_read_in_the_own_namespaces_only() {
        let read = |verb: &str, namespace: &str, process: &str| {
            let mut builder = Builder::default();
            builder.event(Event::Api(ApiCall {
                process: process.to_owned(),
                verb: verb.to_owned(),
                kind: "Secret".to_owned(),
                namespace: namespace.to_owned(),
                code: 403,
                ..ApiCall::default()
            }));
            found(&builder)
        };
        assert_eq!(read("get", "default", "okrad"), 0);
        assert_eq!(read("get", "other", "okrad"), 1, "that it was refused is not okra's merit");
        assert_eq!(read("watch", "", "okrad"), 1);
        assert_eq!(read("get", "other", "somebody"), 0);
    }

    fn acts_on(owner: &str, by_status: bool) -> usize {
        let mut builder = Builder::default();
        let owners = json!([{"kind": "Cell", "name": "web", "uid": owner}]);
        let metadata = if owner.is_empty() { json!({}) } else { json!({"ownerReferences": owners}) };
        builder.object("AnalysisRun", "web-r2-0-analysis", json!({"metadata": metadata}));
        let run = by_status.then_some("web-r2-0-analysis");
        builder.object("Cell", "web", cell(json!({"rollout": {"id": "2-2", "currentStepRun": run}})));
        if !by_status {
            builder.event(Event::Decision(Decision {
                kind: "Cell".to_owned(),
                object: "default/web".to_owned(),
                actions: vec!["TerminateRun { name: \"web-r2-0-analysis\" }".to_owned()],
                ..Decision::default()
            }));
        }
        found(&builder)
    }

    #[test]
    fn another_cells_child_is_left_alone() {
        for by_status in [true, false] {
            assert_eq!(acts_on("u-web", by_status), 0);
            assert_eq!(acts_on("", by_status), 0, "a person made it");
            assert_eq!(acts_on("u-other", by_status), 1);
        }
    }
}
