//! What was allowed in a test.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use okra_api::names::{CELL_TAG, OWNER_TAG};

use crate::record::{ApiCall, LbCall, RuleState};

/// How many healthy targets a group needs before its share may rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// So many.
    Count(u32),
    /// `percent` of `of` (the healthy targets of a serving group when the rollout began), times the share that the
    /// group is about to get; at least 1.
    Percent {
        /// Percent, 0 to 100.
        percent: u32,
        /// Healthy targets of a serving group when the rollout began.
        of: u32,
    },
}

impl Floor {
    /// The healthy targets needed for a share of `weight` in `total`.
    pub(crate) fn needed(self, weight: i64, total: i64) -> u32 {
        match self {
            Floor::Count(count) => count,
            Floor::Percent { percent, of } => {
                let (weight, total) = (u64::try_from(weight).unwrap_or(0), u64::try_from(total).unwrap_or(0).max(1));
                let needed = (u64::from(percent) * u64::from(of) * weight).div_ceil(100 * total);
                u32::try_from(needed).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

/// What was allowed for one Cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellRules {
    /// The canary shares of the plan, in percent. 0 and 100 are always allowed: before and after.
    pub shares: BTreeSet<u32>,
    /// Target group ARN to version, for every group that the Cell may use.
    pub versions: BTreeMap<String, String>,
    /// The health floor of a group.
    pub floor: Floor,
    /// The floors of single groups, by ARN, where they differ.
    pub floors: BTreeMap<String, Floor>,
    /// Groups that the test takes away, by ARN: their removal is not okra's doing.
    pub gone: BTreeSet<String>,
    /// Groups that the test takes away for a while, by ARN: their removal is not okra's doing either, and whether they
    /// are there at the end their objects say.
    pub away: BTreeSet<String>,
}

impl CellRules {
    /// A plan with these canary shares, in percent, over these groups (ARN and version), with a floor of 1.
    pub fn new<'a>(
        shares: impl IntoIterator<Item = u32>,
        versions: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        Self {
            shares: shares.into_iter().collect(),
            versions: versions.into_iter().map(|(arn, version)| (arn.to_owned(), plain(version))).collect(),
            floor: Floor::Count(1),
            floors: BTreeMap::new(),
            gone: BTreeSet::new(),
            away: BTreeSet::new(),
        }
    }

    /// Whether the test takes a group away, for good or for a while.
    pub(crate) fn is_taken(&self, group: &str) -> bool {
        self.gone.contains(group) || self.away.contains(group)
    }

    pub(crate) fn version(&self, group: &str) -> Option<&str> {
        self.versions.get(group).map(String::as_str)
    }

    pub(crate) fn floor_of(&self, group: &str) -> Floor {
        self.floors.get(group).copied().unwrap_or(self.floor)
    }

    /// The summed weight of every version in a rule.
    pub(crate) fn by_version(&self, weights: &BTreeMap<String, i64>) -> BTreeMap<&str, i64> {
        let mut sums = BTreeMap::new();
        for (group, weight) in weights {
            if let Some(version) = self.version(group) {
                *sums.entry(version).or_insert(0) += weight;
            }
        }
        sums
    }
}

/// A version in one spelling: labels may carry a leading `v`, and leave out parts that are zero.
pub(crate) fn plain(version: &str) -> String {
    let bare = version.strip_prefix(['v', 'V']).unwrap_or(version);
    let bare = bare.split('+').next().unwrap_or(bare);
    let (numbers, rest) = bare.find('-').map_or((bare, ""), |cut| bare.split_at(cut));
    let missing = 3_usize.saturating_sub(numbers.split('.').count());
    format!("{numbers}{}{rest}", ".0".repeat(missing))
}

/// What was allowed in a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The access key ids that okra calls with; nobody else is judged.
    pub callers: BTreeSet<String>,
    /// The installation's id: the value of the owner tag.
    pub owner: String,
    /// The greatest weight that the router takes.
    pub max_weight: i64,
    /// The most groups that one action can hold.
    pub max_groups: usize,
    /// Rules, by ARN, that an annotation allows to adopt.
    pub adoptable: BTreeSet<String>,
    /// The Cells by `<namespace>/<name>`.
    pub cells: BTreeMap<String, CellRules>,
    /// The names of okra's processes at the API server; nobody else is judged there.
    pub processes: BTreeSet<String>,
    /// Which process calls the load balancer as which caller, where a call does not say it itself.
    pub process_of: BTreeMap<String, String>,
    /// Namespaces whose Secrets okra may read; empty: nothing is known, and no read is judged.
    pub secret_namespaces: BTreeSet<String>,
    /// Credentials that were planted: no text may hold one.
    pub planted: BTreeSet<String>,
    /// Objects, by `<kind> <namespace>/<name>`, that cannot be acted on and must not hinder others.
    pub poisoned: BTreeSet<String>,
    /// How far the clocks of the record's sources may be apart, and how long a call that was decided on before may be
    /// on its way: 1 s unless set. A simulation, whose sources share a clock, sets less.
    pub slack: SignedDuration,
    /// The limits of what must happen in time.
    pub limits: Limits,
}

/// How long what must happen in time may take (L1 to L9). The numbers of the safety page unless set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// L1: until the weights are as planned; the cloud's rate limit comes on top.
    pub weights: SignedDuration,
    /// What the cloud's rate limit costs in this run.
    pub throttling: SignedDuration,
    /// L2: until a rollout has ended or says why it is paused: the longest that the plan's timed steps and waits take.
    pub rollout: SignedDuration,
    /// The interval of the metrics of this run (L3).
    pub metric_interval: SignedDuration,
    /// L3: until a failed analysis has led to its end, on top of the interval.
    pub failure: SignedDuration,
    /// L4: until what rests writes nothing any more.
    pub rest: SignedDuration,
    /// L5: until what is deleted is gone.
    pub deletion: SignedDuration,
    /// L6: by how much a poisoned object may delay others.
    pub poison: SignedDuration,
    /// L7: until another process acts after the leader died.
    pub death: SignedDuration,
    /// L7: until another process acts after the leader stopped cleanly.
    pub clean_stop: SignedDuration,
    /// L8: until a silent watch is made again.
    pub watch: SignedDuration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = SignedDuration::from_secs;
        Self {
            weights: seconds(60),
            throttling: SignedDuration::ZERO,
            rollout: seconds(600),
            metric_interval: SignedDuration::ZERO,
            failure: seconds(5),
            rest: seconds(60),
            deletion: seconds(30),
            poison: seconds(1),
            death: seconds(20),
            clean_stop: seconds(2),
            watch: seconds(300),
        }
    }
}

impl Rules {
    /// The limits of an ALB for one caller and one installation.
    pub fn alb(caller: &str, owner: &str) -> Self {
        Self {
            callers: BTreeSet::from([caller.to_owned()]),
            owner: owner.to_owned(),
            max_weight: 999,
            max_groups: 5,
            adoptable: BTreeSet::new(),
            cells: BTreeMap::new(),
            processes: BTreeSet::from(["okrad".to_owned()]),
            process_of: BTreeMap::new(),
            secret_namespaces: BTreeSet::new(),
            planted: BTreeSet::new(),
            poisoned: BTreeSet::new(),
            slack: SignedDuration::from_secs(1),
            limits: Limits::default(),
        }
    }

    /// The same with a Cell, by `<namespace>/<name>`.
    #[must_use]
    pub fn cell(mut self, key: &str, rules: CellRules) -> Self {
        self.cells.insert(key.to_owned(), rules);
        self
    }

    pub(crate) fn is_ours(&self, call: &LbCall) -> bool {
        self.callers.contains(&call.caller)
    }

    /// The process that called, where that is known.
    pub(crate) fn process<'a>(&'a self, call: &'a LbCall) -> Option<&'a str> {
        let said = Some(call.process.as_str()).filter(|process| !process.is_empty());
        said.or_else(|| self.process_of.get(&call.caller).map(String::as_str))
    }

    /// Whether one of okra's processes asked.
    pub(crate) fn is_own_api(&self, call: &ApiCall) -> bool {
        self.processes.contains(&call.process)
    }

    /// Whether the call asks for a change of a rule, by okra, carried out or not.
    pub(crate) fn is_own_write(&self, call: &LbCall) -> bool {
        const WRITES: [&str; 6] =
            ["CreateRule", "ModifyRule", "DeleteRule", "SetRulePriorities", "AddTags", "RemoveTags"];
        self.is_ours(call) && WRITES.contains(&call.operation.as_str())
    }

    pub(crate) fn owns(&self, rule: &RuleState) -> bool {
        rule.tags.get(OWNER_TAG) == Some(&self.owner) && rule.tags.contains_key(CELL_TAG)
    }

    /// The Cell that a rule's tag names.
    pub(crate) fn cell_of(&self, rule: &RuleState) -> Option<(&str, &CellRules)> {
        self.cells.get_key_value(rule.tags.get(CELL_TAG)?).map(|(key, cell)| (key.as_str(), cell))
    }

    /// What okra wanted a rule to be, if the call is a write of okra that says so, refused or not.
    pub(crate) fn wanted<'a>(&self, call: &'a LbCall) -> Option<&'a RuleState> {
        let writes = matches!(call.operation.as_str(), "CreateRule" | "ModifyRule");
        if writes && self.is_ours(call) { call.asked.as_ref().or(call.after.as_ref()) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_one_spelling() {
        assert_eq!(["2", "v2.0", "V2.0.0", "2.0.0+b1"].map(plain), ["2.0.0"; 4]);
        assert_eq!(plain("v1.2-rc.1"), "1.2.0-rc.1");
    }

    #[test]
    fn a_relative_floor_grows_with_the_share() {
        let floor = Floor::Percent { percent: 80, of: 10 };
        assert_eq!(floor.needed(0, 100), 1);
        assert_eq!(floor.needed(20, 100), 2);
        assert_eq!(floor.needed(21, 100), 2);
        assert_eq!(floor.needed(50, 100), 4);
        assert_eq!(floor.needed(100, 100), 8);
        assert_eq!(Floor::Count(3).needed(1, 100), 3);
    }
}
