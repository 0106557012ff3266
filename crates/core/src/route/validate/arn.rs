//! The ARNs of Elastic Load Balancing and IAM.

/// The parts of an ARN: `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arn<'a> {
    pub(super) partition: &'a str,
    pub(super) service: &'a str,
    pub(super) region: &'a str,
    pub(super) account: &'a str,
    pub(super) resource: &'a str,
}

impl<'a> Arn<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next();
        let (prefix, partition, service) = (next()?, next()?, next()?);
        let (region, account, resource) = (next()?, next()?, next()?);
        let lower = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        let legal =
            prefix == "arn" && lower(partition) && !resource.chars().any(|c| c.is_whitespace() || c.is_control());
        legal.then_some(Self { partition, service, region, account, resource }).filter(|arn| lower(arn.service))
    }

    /// The ARN of something of Elastic Load Balancing whose resource begins with `kind` and goes on.
    pub(super) fn load_balancing(text: &'a str, kind: &str) -> Option<Self> {
        let arn = Self::parse(text)?;
        let region = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        let account = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        };
        let named = arn.resource.strip_prefix(kind).is_some_and(|rest| !rest.is_empty());
        (arn.service == "elasticloadbalancing" && region(arn.region) && account(arn.account) && named).then_some(arn)
    }

    /// The ARN of a role.
    pub(super) fn role(text: &'a str) -> Option<Self> {
        let named = |arn: &Self| arn.resource.strip_prefix("role/").is_some_and(|name| !name.is_empty());
        Self::parse(text).filter(|arn| arn.service == "iam" && !arn.account.is_empty() && named(arn))
    }
}
