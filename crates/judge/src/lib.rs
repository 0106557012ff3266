//! The invariants of a traffic shifter, judged over records of what happened.
//!
//! A [`record::Record`] holds what arrived at the load balancer's API, what was seen of Kubernetes objects, and whatever
//! else is known of a run; [`Rules`] holds what was allowed in it. [`judge`] answers with every breach. The invariants carry
//! the numbers of the safety page. A check whose sources are not in the record says nothing: [`coverage`] tells how many
//! occasions each had to find a breach, so that a test can assert that a check was not in vain.
//!
//! | check | an occasion is |
//! |---|---|
//! | S1, S2 | a write that says what a rule should be, carried out or not |
//! | S3 | such a write that raises a group, or makes a rule |
//! | S4 | such a write, or a decision about one, while a rollout with a stable version goes on; a verdict step that is passed |
//! | S5 | a write that raises a version; a new stable version |
//! | S6 | a raise while something is blocked |
//! | S7 | a raise of a canary while it is held, or on its way back; the first write of a way back |
//! | S8 | a step that sets a weight and counts as done |
//! | S9 | a write while it is known who leads; the first write of a new leader |
//! | S10 | a write that was sent with a resourceVersion; a decision about a generation |
//! | S11 | a write of okra |
//! | S12 | a write that takes a serving group out |
//! | S13 | a deletion of what a discovery keeps; a deletion of a rule |
//! | S14 | a read of Secrets; an action on a child |
//! | S15 | a measurement |
//! | S16 | a Pause, AnalysisRun or Experiment of a step, each time it is seen |
//! | S17 | a text, for each planted credential |
//! | S18 | an answered request |
//! | S19 | a stable group that leaves the rule |
//! | L1 to L4, L9 | a Cell in a quiet that lasts long enough |
//! | L5 | an object of okra's that is being deleted |
//! | L6 | a change of a Cell beside a poisoned object |
//! | L7 | the end of a leader |
//! | L8 | a watch that went silent |

pub mod record;

mod analysis;
mod case;
mod children;
mod convergence;
mod delay;
mod deletion;
mod entitlement;
mod isolation;
mod leadership;
mod outcome;
mod ownership;
mod raise;
mod removal;
mod requests;
mod rest;
mod rules;
mod secrets;
mod staleness;
mod step;
mod track;
mod view;
mod way_back;
mod weights;

use std::collections::BTreeMap;

pub use rules::{CellRules, Floor, Limits, Rules};

use case::Case;
use record::Record;

/// A breach of an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's number, for example `S1`.
    pub invariant: &'static str,
    /// The entry of the record in which it was broken.
    pub seq: u64,
    /// What happened, in words.
    pub text: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at entry {}: {}", self.invariant, self.seq, self.text)
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    occasions: u64,
    breaches: Vec<(u64, String)>,
}

impl Findings {
    /// Here the invariant could have been broken.
    pub(crate) fn occasion(&mut self) {
        self.occasions += 1;
    }

    /// Here it was.
    pub(crate) fn breach(&mut self, seq: u64, text: impl Into<String>) {
        self.breaches.push((seq, text.into()));
    }
}

type Check = fn(&Case<'_>, &mut Findings);

/// Every check by its invariant. A new invariant is one more line.
const CHECKS: [(&str, Check); 28] = [
    ("S1", weights::weights_follow_the_plan),
    ("S2", weights::action_fits_the_router),
    ("S3", raise::raised_groups_are_healthy),
    ("S4", entitlement::canary_keeps_to_its_step),
    ("S5", entitlement::only_who_passed_gets_more),
    ("S6", entitlement::blocked_versions_get_nothing),
    ("S7", way_back::nothing_rises_once_it_is_stopped),
    ("S8", step::steps_are_read_back),
    ("S9", leadership::only_the_leader_writes),
    ("S10", staleness::no_write_from_an_old_copy),
    ("S11", ownership::only_our_rules_are_touched),
    ("S12", removal::serving_groups_stay),
    ("S13", deletion::poor_answers_delete_nothing),
    ("S14", isolation::namespaces_and_cells_keep_apart),
    ("S15", analysis::only_values_pass),
    ("S16", children::one_child_per_step),
    ("S17", secrets::no_credential_is_told),
    ("S18", requests::a_request_counts_once),
    ("S19", removal::stable_groups_make_no_room),
    ("L1", convergence::weights_come_to_the_plan),
    ("L2", outcome::rollouts_end_or_say_why),
    ("L3", analysis::failures_lead_back),
    ("L4", rest::what_rests_writes_nothing),
    ("L5", deletion::deletions_finish),
    ("L6", delay::poison_delays_nobody),
    ("L7", leadership::leaders_are_followed),
    ("L8", delay::silent_watches_heal),
    ("L9", convergence::vanished_groups_are_left),
];

/// The numbers of the invariants that are judged.
pub fn invariants() -> Vec<&'static str> {
    CHECKS.iter().map(|(name, _)| *name).collect()
}

/// What was found, and how much there was to find.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Every breach in the order of the record.
    pub violations: Vec<Violation>,
    /// How many occasions each check had; all invariants are named.
    pub coverage: BTreeMap<&'static str, u64>,
}

/// Judges a record, and tells what could be judged of it.
pub fn examine(record: &Record, rules: &Rules) -> Judgement {
    let case = Case::new(record, rules);
    let mut judgement = Judgement::default();
    for (invariant, check) in CHECKS {
        let mut findings = Findings::default();
        check(&case, &mut findings);
        judgement.coverage.insert(invariant, findings.occasions);
        let breaches = findings.breaches.into_iter();
        judgement.violations.extend(breaches.map(|(seq, text)| Violation { invariant, seq, text }));
    }
    judgement.violations.sort_by_key(|violation| violation.seq);
    judgement
}

/// Judges a record; every breach in the order of the record, none if all is well.
pub fn judge(record: &Record, rules: &Rules) -> Vec<Violation> {
    examine(record, rules).violations
}

/// How many occasions each check had to find a breach in this record: 0 where its sources are missing.
pub fn coverage(record: &Record, rules: &Rules) -> BTreeMap<&'static str, u64> {
    examine(record, rules).coverage
}

#[cfg(test)]
mod fixture;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_record_breaks_nothing() {
        assert_eq!(judge(&Record::default(), &Rules::alb("okra", "me")), []);
    }

    #[test]
    fn a_whole_rollout_breaks_nothing() {
        let (record, rules) = fixture::rollout();
        assert_eq!(judge(&record, &rules), []);
        let all = (1..=19).map(|n| format!("S{n}")).chain((1..=9).map(|n| format!("L{n}")));
        assert_eq!(invariants(), all.collect::<Vec<_>>());
    }

    #[test]
    fn a_record_survives_json() {
        let (record, _) = fixture::rollout();
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
