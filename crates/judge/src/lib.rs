//! The invariants of a traffic shifter, judged over records of what happened.
//!
//! A [`record::Record`] holds what arrived at the load balancer's API and what was seen of Kubernetes objects;
//! [`Rules`] holds what was allowed in that test. [`judge`] answers with every breach. The invariants carry the
//! numbers of the safety page.

pub mod record;

mod ownership;
mod raise;
mod removal;
mod rules;
mod step;
mod track;
mod weights;

pub use rules::{CellRules, Floor, Rules};

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

type Check = fn(&Record, &Rules) -> Vec<Violation>;

/// Every check by its invariant. A new invariant is one more line.
const CHECKS: [(&str, Check); 6] = [
    ("S1", weights::weights_follow_the_plan),
    ("S2", weights::action_fits_the_router),
    ("S3", raise::raised_groups_are_healthy),
    ("S8", step::steps_are_read_back),
    ("S11", ownership::only_our_rules_are_touched),
    ("S12", removal::serving_groups_stay),
];

/// The numbers of the invariants that are judged.
pub fn invariants() -> Vec<&'static str> {
    CHECKS.iter().map(|(name, _)| *name).collect()
}

/// Judges a record; every breach in the order of the record, none if all is well.
pub fn judge(record: &Record, rules: &Rules) -> Vec<Violation> {
    let mut violations: Vec<Violation> = CHECKS.iter().flat_map(|(_, check)| check(record, rules)).collect();
    violations.sort_by_key(|violation| violation.seq);
    violations
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
        assert_eq!(invariants(), ["S1", "S2", "S3", "S8", "S11", "S12"]);
    }

    #[test]
    fn a_record_survives_json() {
        let (record, _) = fixture::rollout();
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
