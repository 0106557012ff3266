//! What a reader of the record knows about a rule at an entry: which version is stable, which have been.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{LbCall, RuleState};
use crate::rules::Rules;

#[derive(Debug, Default)]
struct Served {
    /// The version that last held everything.
    stable: Option<String>,
    /// Every version that once held everything.
    once: BTreeSet<String>,
}

/// Follows okra's writes. A foreign edit makes no version stable.
#[derive(Debug, Default)]
pub(crate) struct Track {
    rules: BTreeMap<String, Served>,
}

impl Track {
    /// Takes a call into account; to be called after it was judged.
    pub(crate) fn see(&mut self, call: &LbCall, rules: &Rules) {
        if call.operation == "DeleteRule" && call.error.is_none() {
            if let Some(rule) = &call.before {
                self.rules.remove(&rule.arn);
            }
            return;
        }
        if rules.wanted(call).is_none() {
            return;
        }
        // What was there when okra came counts as well: after a restart, or an adoption.
        for state in [call.before.as_ref(), call.after.as_ref()].into_iter().flatten() {
            self.see_state(state, rules);
        }
    }

    fn see_state(&mut self, state: &RuleState, rules: &Rules) {
        let Some((_, cell)) = rules.cell_of(state) else { return };
        let sums = cell.by_version(&state.weights);
        let mut serving = sums.iter().filter(|(_, weight)| **weight > 0);
        if let (Some((version, _)), None) = (serving.next(), serving.next()) {
            let served = self.rules.entry(state.arn.clone()).or_default();
            served.stable = Some((*version).to_owned());
            served.once.insert((*version).to_owned());
        }
    }

    /// The version that last held everything.
    pub(crate) fn stable(&self, rule: &str) -> Option<&str> {
        self.rules.get(rule).and_then(|served| served.stable.as_deref())
    }

    /// Whether a version once held everything.
    pub(crate) fn once_stable(&self, rule: &str, version: &str) -> bool {
        self.rules.get(rule).is_some_and(|served| served.once.contains(version))
    }
}
