//! The errors that ELBv2 answers with.

use serde::{Deserialize, Serialize};

/// What AWS says when it refuses a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwsError {
    /// The error code, for example `TargetGroupNotFound`.
    pub code: String,
    /// What a person reads.
    pub message: String,
    /// The HTTP status: 400 for everything that ELBv2 refuses, 503 and 500 for its own failures.
    #[serde(default = "refused")]
    pub status: u16,
}

/// The namespace of ELBv2's answers.
pub(crate) const NAMESPACE: &str = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/";

fn refused() -> u16 {
    400
}

/// The refusals of writes and reads that okra must expect, with what AWS says.
const DOCUMENTED: [(&str, &str); 14] = [
    ("TooManyTargetGroups", "You've reached the limit on the number of target groups"),
    ("TooManyUniqueTargetGroupsPerLoadBalancer", "You've reached the limit on the number of unique target groups"),
    ("TargetGroupAssociationLimit", "You've reached the limit on the number of load balancers per target group"),
    ("TooManyActions", "You've reached the limit on the number of actions per rule"),
    ("InvalidLoadBalancerAction", "The requested action is not valid"),
    ("IncompatibleProtocols", "The specified configuration is not valid with this protocol"),
    ("PriorityInUse", "The specified priority is in use"),
    ("TooManyRules", "You've reached the limit on the number of rules per load balancer"),
    ("TargetGroupNotFound", "One or more target groups not found"),
    ("RuleNotFound", "One or more rules not found"),
    ("ListenerNotFound", "One or more listeners not found"),
    ("OperationNotPermitted", "This operation is not allowed"),
    ("ValidationError", "The input fails to satisfy the constraints of the service"),
    ("TooManyTags", "You've reached the limit on the number of tags for this resource"),
];

impl AwsError {
    /// Every error that okra must expect of any call, once each.
    pub fn all() -> Vec<Self> {
        let own = [
            Self::throttled(),
            Self::limit_exceeded(),
            Self::internal(),
            Self::unavailable(),
            Self::access_denied("it"),
            Self::expired_token(),
        ];
        DOCUMENTED.iter().map(|(code, message)| Self::new(code, *message)).chain(own).collect()
    }

    /// A refusal: status 400.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), status: 400 }
    }

    /// `Throttling`, as ELBv2 answers when the bucket of that kind of call is empty.
    pub fn throttled() -> Self {
        Self::new("Throttling", "Rate exceeded")
    }

    /// `RequestLimitExceeded` with status 503, when all calls of the account together were too many.
    pub fn limit_exceeded() -> Self {
        Self { status: 503, ..Self::new("RequestLimitExceeded", "Request limit exceeded") }
    }

    /// `ExpiredToken` with status 403.
    pub fn expired_token() -> Self {
        Self { status: 403, ..Self::new("ExpiredToken", "The security token included in the request is expired") }
    }

    /// `InternalFailure` with status 500.
    pub fn internal() -> Self {
        Self {
            status: 500,
            ..Self::new("InternalFailure", "The request processing has failed because of an unknown error")
        }
    }

    /// `ServiceUnavailable` with status 503.
    pub fn unavailable() -> Self {
        Self { status: 503, ..Self::new("ServiceUnavailable", "The service is temporarily unavailable") }
    }

    /// `AccessDenied` with status 403.
    pub fn access_denied(operation: &str) -> Self {
        let message = format!("User is not authorized to perform: elasticloadbalancing:{operation}");
        Self { status: 403, ..Self::new("AccessDenied", message) }
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationError", message)
    }

    pub(crate) fn action(message: impl Into<String>) -> Self {
        Self::new("InvalidLoadBalancerAction", message)
    }

    pub(crate) fn group_not_found(arn: &str) -> Self {
        Self::new("TargetGroupNotFound", format!("Target groups '{arn}' not found"))
    }

    pub(crate) fn rule_not_found() -> Self {
        Self::new("RuleNotFound", "One or more rules not found")
    }

    pub(crate) fn listener_not_found() -> Self {
        Self::new("ListenerNotFound", "One or more listeners not found")
    }

    pub(crate) fn to_xml(&self, request_id: &str) -> String {
        let kind = if self.status >= 500 { "Receiver" } else { "Sender" };
        let mut error = String::new();
        super::node::Node::empty()
            .with(
                "Error",
                super::node::Node::empty()
                    .with_text("Type", kind)
                    .with_text("Code", &self.code)
                    .with_text("Message", &self.message),
            )
            .with_text("RequestId", request_id)
            .write_xml(&mut error);
        format!("<ErrorResponse xmlns=\"{NAMESPACE}\">{error}</ErrorResponse>")
    }
}
