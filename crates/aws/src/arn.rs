//! Amazon Resource Names of listeners, rules and target groups, as far as Okra reads them.

use okra_provider::{RouterError, RouterErrorKind};

/// A listener's ARN, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenerArn {
    /// All of it.
    pub arn: String,
    /// The region of its load balancer.
    pub region: String,
    /// The account of its load balancer.
    pub account: String,
    /// What follows `listener/`: kind, name and ids. Short enough for a message.
    pub path: String,
}

impl ListenerArn {
    /// Reads `arn:<partition>:elasticloadbalancing:<region>:<account>:listener/<path>`.
    pub fn parse(arn: &str) -> Result<Self, RouterError> {
        let mut parts = arn.splitn(6, ':');
        let fields =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next().unwrap_or_default());
        if let (Some("arn"), Some(_), Some("elasticloadbalancing"), Some(region), Some(account), resource) = fields
            && !region.is_empty()
            && !account.is_empty()
            && let Some(path) = resource.strip_prefix("listener/")
        {
            let (region, account) = (region.to_owned(), account.to_owned());
            return Ok(Self { arn: arn.to_owned(), region, account, path: path.to_owned() });
        }
        Err(RouterError::new(
            RouterErrorKind::Refused,
            "InvalidArn",
            format!(
                "failed to read listenerARN {arn:?}: it must be \
                 arn:aws:elasticloadbalancing:REGION:ACCOUNT:listener/app/NAME/ID/ID"
            ),
        ))
    }

    /// Whether a rule stands on this listener: its ARN repeats the listener's path.
    pub fn holds(&self, rule: &str) -> bool {
        let resource = rule.splitn(6, ':').nth(5).unwrap_or_default();
        resource
            .strip_prefix("listener-rule/")
            .and_then(|rest| rest.strip_prefix(self.path.as_str()))
            .is_some_and(|rest| rest.starts_with('/'))
    }
}

/// What a message calls a resource: the part of its ARN after region and account.
pub(crate) fn short(arn: &str) -> &str {
    arn.splitn(6, ':').nth(5).filter(|resource| !resource.is_empty()).unwrap_or(arn)
}

/// Region and account of a target group's ARN.
pub(crate) fn group_place(arn: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", _, "elasticloadbalancing", region, account, resource]
            if !region.is_empty() && !account.is_empty() && resource.starts_with("targetgroup/") =>
        {
            Some(((*region).to_owned(), (*account).to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    const LISTENER: &str = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/web/50dc6c495c0c9188/f2f7";

    #[test]
    fn region_and_account_come_from_the_listener() {
        let listener = ListenerArn::parse(LISTENER).unwrap();
        assert_eq!(
            (listener.region.as_str(), listener.account.as_str(), listener.path.as_str()),
            ("eu-west-1", "123456789012", "app/web/50dc6c495c0c9188/f2f7")
        );
    }

    #[test]
    fn what_is_no_listener_is_refused_by_its_field() {
        for bad in [
            "",
            "web",
            "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/1",
            "arn:aws:elasticloadbalancing::123456789012:listener/app/web/1/2",
            "arn:aws:elasticloadbalancing:eu-west-1::listener/app/web/1/2",
            "arn:aws:ec2:eu-west-1:123456789012:listener/app/web/1/2",
        ] {
            let error = ListenerArn::parse(bad).unwrap_err();
            assert_eq!(error.kind, RouterErrorKind::Refused, "{bad}");
            assert!(error.message.contains("listenerARN"), "{error}");
        }
    }

    #[test]
    fn a_rule_belongs_to_the_listener_whose_path_it_repeats() {
        let listener = ListenerArn::parse(LISTENER).unwrap();
        let rule = |path: &str| format!("arn:aws:elasticloadbalancing:eu-west-1:123456789012:{path}");
        assert!(listener.holds(&rule("listener-rule/app/web/50dc6c495c0c9188/f2f7/9683")));
        assert!(!listener.holds(&rule("listener-rule/app/web/50dc6c495c0c9188/f2f70/9683")));
        assert!(!listener.holds(&rule("listener-rule/app/other/50dc6c495c0c9188/f2f7/9683")));
        assert!(!listener.holds("nonsense"));
    }
}
