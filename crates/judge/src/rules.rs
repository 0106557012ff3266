//! What was allowed in a test.

use std::collections::{BTreeMap, BTreeSet};

use okra_api::names::{CELL_TAG, OWNER_TAG};

use crate::record::{LbCall, RuleState};

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
        }
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

/// A version without the leading `v` that labels may carry.
pub(crate) fn plain(version: &str) -> String {
    version.strip_prefix('v').unwrap_or(version).to_owned()
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
