//! The errors that ELBv2 answers with.

/// What AWS says when it refuses a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsError {
    /// The error code, for example `TargetGroupNotFound`.
    pub code: String,
    /// What a person reads.
    pub message: String,
    /// The HTTP status: 400 for everything that ELBv2 refuses, 503 and 500 for its own failures.
    pub status: u16,
}

/// The namespace of ELBv2's answers.
pub(crate) const NAMESPACE: &str = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/";

impl AwsError {
    /// A refusal: status 400.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), status: 400 }
    }

    /// `ThrottlingException`, as ELBv2 answers when a bucket is empty.
    pub fn throttled() -> Self {
        Self::new("ThrottlingException", "Rate exceeded")
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
