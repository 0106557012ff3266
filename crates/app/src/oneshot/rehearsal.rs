//! What stands in for the world while a run is only planned.

use std::{fmt::Write as _, sync::Arc};

use async_trait::async_trait;
use okra_core::route::{Capabilities, Change, GroupHealth, Intent, Observed};
use okra_provider::{CallContext, DecisionLog, Key, RouterError, RouterErrorKind, TrafficRouter};
use parking_lot::Mutex;
use serde_json::Value;

use super::overlay::Write;

/// What the routers were asked for.
#[derive(Debug, Default)]
pub(super) struct Wish(Mutex<Option<String>>);

impl Wish {
    /// The first change, in words.
    pub(super) fn told(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

/// A router that looks, and changes nothing: the first change is noted.
pub(super) struct Onlooker {
    inner: Arc<dyn TrafficRouter>,
    wish: Arc<Wish>,
}

impl Onlooker {
    /// Looks through `inner`.
    pub(super) fn new(inner: Arc<dyn TrafficRouter>, wish: Arc<Wish>) -> Self {
        Self { inner, wish }
    }
}

#[async_trait]
impl TrafficRouter for Onlooker {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn observe(&self, intent: &Intent, call: &CallContext) -> Result<Observed, RouterError> {
        self.inner.observe(intent, call).await
    }

    async fn apply(&self, intent: &Intent, change: &Change, _: &CallContext) -> Result<(), RouterError> {
        self.wish.0.lock().get_or_insert_with(|| change_in_words(intent, change));
        Err(RouterError::new(RouterErrorKind::Refused, "DryRun", "dry run: the load balancer was not changed"))
    }

    async fn health(&self, intent: &Intent, group: &str, call: &CallContext) -> Result<GroupHealth, RouterError> {
        self.inner.health(intent, group, call).await
    }
}

fn change_in_words(intent: &Intent, change: &Change) -> String {
    let weights = change.weights().map(|weights| {
        let name =
            |id: &str| intent.groups.iter().find(|group| group.id == id).map_or(id, |group| &group.name).to_owned();
        let mut words: Vec<String> = weights.iter().map(|(id, weight)| format!("{}={weight}", name(id))).collect();
        words.sort();
        words.join(", ")
    });
    let mut text = match change {
        Change::Create { .. } => "create its rule on the load balancer".to_owned(),
        Change::Modify { rule, .. } => format!("change rule {rule}"),
        Change::Move { rule } => format!("move rule {rule} to priority {}", intent.place.priority()),
        Change::Adopt { rule } => format!("take over rule {rule}"),
        Change::Remove { rule } => format!("remove rule {rule}"),
    };
    if let Some(weights) = weights {
        // A String takes everything.
        let _written = write!(text, ": {weights}");
    }
    if let Change::Modify { conditions: Some(_), .. } = change {
        text.push_str(" (with new conditions)");
    }
    text
}

/// What was written in words, in the order of the last writes; several writes of one object are one.
pub(super) fn writes_in_words(writes: &[Write]) -> Vec<String> {
    let same = |a: &Write, b: &Write| a.kind == b.kind && Key::of(&a.object) == Key::of(&b.object);
    let last = writes.iter().enumerate().filter(|(index, write)| {
        let later = writes.iter().skip(index + 1);
        !later.into_iter().any(|later| same(write, later))
    });
    let words = last.map(|(_, write)| {
        let created = writes.iter().any(|first| first.verb == "create" && same(first, write));
        let verb = if created && write.verb == "change" { "create" } else { write.verb };
        write_in_words(&Write { verb, ..write.clone() })
    });
    words.collect()
}

/// A write of an object in words, with its weights where it has some.
fn write_in_words(write: &Write) -> String {
    let Write { verb, kind, object } = write;
    let groups = ["/spec/targetGroups", "/spec/listener/rule/forward/targetGroups"];
    let groups = groups.iter().find_map(|path| object.pointer(path)?.as_array()).filter(|groups| !groups.is_empty());
    let words = groups.map(|groups| {
        let group = |group: &Value| {
            let text = |field| group.get(field).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
            format!("{}={}", text("name").unwrap_or_default(), text("weight").unwrap_or_default())
        };
        groups.iter().map(group).collect::<Vec<_>>().join(", ")
    });
    let weights = words.map_or_else(String::new, |words| format!(": {words}"));
    format!("{verb} {kind} {}{weights}", Key::of(object))
}

/// Keeps the last decision about the Cell.
#[derive(Debug, Default)]
pub(super) struct LastDecision(Mutex<Option<Vec<String>>>);

impl LastDecision {
    /// What the Cell waits for by its last decision; `None`: nothing was decided.
    pub(super) fn waits(&self) -> Option<Vec<String>> {
        self.0.lock().clone()
    }
}

impl DecisionLog for LastDecision {
    fn append(&self, decision: &Value) {
        if decision.get("kind").and_then(Value::as_str) != Some("Cell") {
            return;
        }
        let waits = decision.get("waits").and_then(Value::as_array);
        let waits = waits.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        *self.0.lock() = Some(waits);
    }
}

#[cfg(test)]
mod tests {
    use okra_api::{Pause, Route};
    use okra_provider::Kind;
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;

    fn write(verb: &'static str, kind: Kind, name: &str, spec: Value) -> Write {
        Write { verb, kind, object: json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec}) }
    }

    #[test]
    fn several_writes_of_one_object_are_one() {
        let route = Kind::of::<Route>;
        let groups = json!({"targetGroups": [{"name": "web-1", "weight": 80}, {"name": "web-2", "weight": 20}]});
        let alb = json!({"listener": {"rule": {"forward": {"targetGroups": [{"name": "a", "weight": 1}]}}}});
        let writes = [
            write("create", route(), "web", json!({})),
            write("create", Kind::of::<Pause>(), "web-r1", json!({})),
            write("change", route(), "web", groups),
            write("change", route(), "api", alb),
        ];
        let words =
            ["create Pause shop/web-r1", "create Route shop/web: web-1=80, web-2=20", "change Route shop/api: a=1"];
        assert_eq!(writes_in_words(&writes), words);
        assert_eq!(writes_in_words(&[]), Vec::<String>::new());
    }

    #[test]
    fn only_the_last_decision_about_a_cell_counts() {
        let decisions = LastDecision::default();
        assert_eq!(decisions.waits(), None);
        decisions.append(&json!({"kind": "Cell", "waits": ["a", "b"]}));
        decisions.append(&json!({"kind": "Cell", "waits": ["c"]}));
        decisions.append(&json!({"kind": "Route", "waits": ["d"]}));
        assert_eq!(decisions.waits(), Some(vec!["c".to_owned()]));
    }
}
