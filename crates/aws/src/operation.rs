//! The calls that Okra makes, and what is true of each.

use crate::limiter::CallKind;

/// A call of the ELBv2 API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    DescribeRules,
    DescribeTags,
    DescribeTargetGroups,
    DescribeTargetHealth,
    CreateRule,
    ModifyRule,
    SetRulePriorities,
    AddTags,
    DeleteRule,
}

impl Operation {
    /// Its name in the API; the IAM action is `elasticloadbalancing:` and this.
    pub fn name(self) -> &'static str {
        match self {
            Self::DescribeRules => "DescribeRules",
            Self::DescribeTags => "DescribeTags",
            Self::DescribeTargetGroups => "DescribeTargetGroups",
            Self::DescribeTargetHealth => "DescribeTargetHealth",
            Self::CreateRule => "CreateRule",
            Self::ModifyRule => "ModifyRule",
            Self::SetRulePriorities => "SetRulePriorities",
            Self::AddTags => "AddTags",
            Self::DeleteRule => "DeleteRule",
        }
    }

    /// Which of AWS's buckets pays for it.
    pub fn kind(self) -> CallKind {
        match self {
            Self::DescribeRules | Self::DescribeTags | Self::DescribeTargetGroups | Self::DescribeTargetHealth => {
                CallKind::Describe
            }
            Self::CreateRule | Self::ModifyRule | Self::SetRulePriorities | Self::AddTags | Self::DeleteRule => {
                CallKind::Mutate
            }
        }
    }

    /// What was being done to `subject`, for "failed to ...".
    pub fn doing(self, subject: &str) -> String {
        match self {
            Self::DescribeRules => format!("read rule of {subject}"),
            Self::DescribeTags => format!("read tags of {subject}"),
            Self::DescribeTargetGroups => format!("find {subject}"),
            Self::DescribeTargetHealth => format!("read health of {subject}"),
            Self::CreateRule => format!("create rule of {subject}"),
            Self::ModifyRule => format!("modify rule of {subject}"),
            Self::SetRulePriorities => format!("move rule of {subject}"),
            Self::AddTags => format!("tag rule of {subject}"),
            Self::DeleteRule => format!("delete rule of {subject}"),
        }
    }
}
