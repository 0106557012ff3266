//! What went wrong, in the port's kinds and in a sentence that says what to do.

use std::{error::Error, time::Duration};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::{
    assume_role::AssumeRoleError, assume_role_with_web_identity::AssumeRoleWithWebIdentityError,
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use okra_provider::{RouterError, RouterErrorKind};

use okra_provider::router::ALB_MAX_GROUPS;

use crate::{operation::Operation, redact::redact};

/// A failed call, before it is told to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What kind.
    pub kind: RouterErrorKind,
    /// AWS's code, or a short name of ours.
    pub code: String,
    /// What AWS or the network said, without credentials.
    pub detail: String,
    /// Whether the credentials for the call could not be had, so that the call never went out.
    pub credentials: bool,
}

/// What a message needs to know about a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occasion<'a> {
    /// The call.
    pub operation: Operation,
    /// What it was about, for a person.
    pub subject: &'a str,
    /// Region of the call.
    pub region: &'a str,
    /// Role assumed for it.
    pub role: Option<&'a str>,
    /// Priority of the rule it was about.
    pub priority: i32,
}

impl Failure {
    /// Reads what the SDK says about a call that could take up to `timeout`.
    pub fn of<E>(error: &SdkError<E, HttpResponse>, timeout: Duration) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        if let Some(credentials) = find::<CredentialsError>(error) {
            return of_credentials(credentials, timeout);
        }
        of_sdk(error, timeout)
    }

    /// Whether it would have happened to any call just then, whatever it was about.
    pub fn concerns_all(&self) -> bool {
        matches!(self.kind, RouterErrorKind::Throttled | RouterErrorKind::Unreachable)
    }

    /// The error for the port's caller.
    pub fn explain(self, occasion: Occasion<'_>) -> RouterError {
        let doing = occasion.operation.doing(occasion.subject);
        let detail = self.detail.trim_end_matches('.');
        let mut message = format!("failed to {doing}: {}: {detail}", self.code);
        if let Some(remedy) = remedy(&self, occasion) {
            message.push_str(". ");
            message.push_str(&remedy);
        }
        RouterError::new(self.kind, self.code, message)
    }
}

impl From<RouterError> for Failure {
    /// A failure before the call went out.
    fn from(error: RouterError) -> Self {
        Self { kind: error.kind, code: error.code, detail: error.message, credentials: false }
    }
}

fn of_sdk<E>(error: &SdkError<E, HttpResponse>, timeout: Duration) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let unreachable = |code: &str, detail: String| Failure {
        kind: RouterErrorKind::Unreachable,
        code: code.to_owned(),
        detail,
        credentials: false,
    };
    match error {
        // A body that is no answer of AWS: what the call did is not known.
        SdkError::ServiceError(answer) if answer.err().code().is_none() && answer.raw().status().is_success() => {
            unreachable("InvalidAnswer", format!("the answer cannot be read: {}", deepest(error)))
        }
        SdkError::ResponseError(answer) if answer.raw().status().is_success() => {
            unreachable("InvalidAnswer", format!("the answer cannot be read: {}", deepest(error)))
        }
        SdkError::ServiceError(answer) => {
            of_answer(answer.err().code(), answer.err().message(), answer.raw().status().as_u16())
        }
        SdkError::ResponseError(answer) => of_answer(None, None, answer.raw().status().as_u16()),
        SdkError::TimeoutError(_) => unreachable("Timeout", format!("no answer within {timeout:?}")),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            unreachable("Timeout", format!("no connection: {}", deepest(error)))
        }
        SdkError::DispatchFailure(_) => unreachable("ConnectionFailed", deepest(error)),
        _ => Failure {
            kind: RouterErrorKind::Refused,
            code: "InvalidRequest".to_owned(),
            detail: deepest(error),
            credentials: false,
        },
    }
}

fn of_answer(code: Option<&str>, message: Option<&str>, status: u16) -> Failure {
    let detail = match (message.map(redact), code) {
        // These answers repeat the signed headers, the session token among them.
        _ if code.map(stem).is_some_and(repeats_the_request) => "the request's signature was refused".to_owned(),
        (Some(text), _) if !text.is_empty() => text,
        _ => format!("HTTP status {status} without a message"),
    };
    let kind = code.and_then(|code| kind_of(stem(code))).unwrap_or(match status {
        429 => RouterErrorKind::Throttled,
        500.. => RouterErrorKind::Unreachable,
        401 | 403 => RouterErrorKind::Denied,
        _ => RouterErrorKind::Refused,
    });
    let code = code.map_or_else(|| format!("HTTP{status}"), redact);
    Failure { kind, code, detail, credentials: false }
}

/// Codes come with and without this ending, depending on service and protocol.
fn stem(code: &str) -> &str {
    code.strip_suffix("Exception").unwrap_or(code)
}

fn kind_of(code: &str) -> Option<RouterErrorKind> {
    Some(match code {
        "Throttling" | "Throttled" | "RequestThrottled" | "RequestLimitExceeded" | "TooManyRequests" | "SlowDown" => {
            RouterErrorKind::Throttled
        }
        "RuleNotFound" => RouterErrorKind::RuleNotFound,
        "ListenerNotFound" | "LoadBalancerNotFound" => RouterErrorKind::ListenerNotFound,
        "TargetGroupNotFound" => RouterErrorKind::GroupNotFound,
        "AccessDenied"
        | "UnauthorizedOperation"
        | "NotAuthorized"
        | "AuthFailure"
        | "OptInRequired"
        | "InvalidClientTokenId"
        | "UnrecognizedClient"
        | "InvalidAccessKeyId"
        | "ExpiredToken"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "InvalidSignature"
        | "MissingAuthenticationToken"
        | "InvalidIdentityToken"
        | "IDPRejectedClaim"
        | "RegionDisabled" => RouterErrorKind::Denied,
        "InternalFailure"
        | "InternalError"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "RequestTimeout"
        | "HealthUnavailable"
        | "IDPCommunicationError" => RouterErrorKind::Unreachable,
        _ => return None,
    })
}

fn repeats_the_request(code: &str) -> bool {
    matches!(code, "SignatureDoesNotMatch" | "IncompleteSignature" | "InvalidSignature")
}

/// Why there are no credentials: what STS said, when it was asked, else what the provider chain says.
fn of_credentials(error: &CredentialsError, timeout: Duration) -> Failure {
    let asked = find::<SdkError<AssumeRoleError, HttpResponse>>(error)
        .map(|error| of_sdk(error, timeout))
        .or_else(|| {
            find::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>(error).map(|error| of_sdk(error, timeout))
        })
        .map(|failure| match failure.kind {
            // STS refuses in its own words; for us each of them means: not allowed.
            RouterErrorKind::Throttled | RouterErrorKind::Unreachable => failure,
            _ => Failure { kind: RouterErrorKind::Denied, ..failure },
        });
    let failure = asked.unwrap_or_else(|| {
        let (kind, code) = match error {
            CredentialsError::CredentialsNotLoaded(_) => (RouterErrorKind::Denied, "NoCredentials"),
            CredentialsError::ProviderTimedOut(_) => (RouterErrorKind::Unreachable, "CredentialsTimeout"),
            CredentialsError::InvalidConfiguration(_) => (RouterErrorKind::Denied, "InvalidCredentialsConfiguration"),
            _ => (RouterErrorKind::Denied, "CredentialsFailed"),
        };
        Failure { kind, code: code.to_owned(), detail: deepest(error), credentials: true }
    });
    Failure { credentials: true, ..failure }
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref::<T>())
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let next: fn(&&'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> = |error| (*error).source();
    std::iter::successors(Some(error), next).take(32)
}

/// The innermost cause: the outer ones only say that there is one.
fn deepest(error: &(dyn Error + 'static)) -> String {
    redact(&chain(error).last().map(ToString::to_string).unwrap_or_default())
}

fn remedy(failure: &Failure, occasion: Occasion<'_>) -> Option<String> {
    if failure.credentials {
        return remedy_for_credentials(failure, occasion);
    }
    let region = occasion.region;
    Some(match stem(&failure.code) {
        "TooManyTargetGroups" => format!("An action holds {ALB_MAX_GROUPS} target groups at most, and AWS raises that for nobody: detach some"),
        "TooManyUniqueTargetGroupsPerLoadBalancer" => {
            "A load balancer uses 100 target groups at most, and AWS raises that for nobody: remove unused rules".into()
        }
        "TargetGroupAssociationLimit" => {
            "A target group serves one load balancer: make another target group for this one".into()
        }
        "TooManyRules" => format!("Raise the quota \"Rules per Application Load Balancer\" in Service Quotas of {region}, or remove rules"),
        "TooManyTags" => "A rule holds 50 tags: remove some, okra needs two".into(),
        "TooManyActions" => "A rule holds one forward action and at most one that authenticates".into(),
        "IncompatibleProtocols" | "UnsupportedProtocol" => {
            "All target groups of a rule need a protocol that an Application Load Balancer serves: HTTP or HTTPS".into()
        }
        "PriorityInUse" => format!("Another rule has priority {}: choose a free one in listener.rule.priority, or remove that rule", occasion.priority),
        "AccessDenied" | "UnauthorizedOperation" | "NotAuthorized" => format!("Allow elasticloadbalancing:{} to {}", occasion.operation.name(), who(occasion)),
        "ExpiredToken" | "RequestExpired" => {
            "The credentials have expired: renew them (okra reads them again by itself), and check the clock of this machine".into()
        }
        "SignatureDoesNotMatch" | "InvalidSignature" | "IncompleteSignature" | "RequestTimeTooSkewed" => {
            "Check the secret access key and the clock of this machine".into()
        }
        "InvalidClientTokenId" | "UnrecognizedClient" | "InvalidAccessKeyId" | "AuthFailure" | "OptInRequired"
        | "RegionDisabled" => {
            format!("Check that the credentials are valid, and that region {region} is enabled for their account")
        }
        "RuleNotFound" | "ListenerNotFound" | "LoadBalancerNotFound" | "TargetGroupNotFound" => {
            format!("Check that its ARN is right and of region {region} and the account of {}", who(occasion))
        }
        "ConnectionFailed" | "Timeout" => {
            format!("Check that the ELB endpoint of region {region} can be reached from here")
        }
        _ => return None,
    })
}

fn remedy_for_credentials(failure: &Failure, occasion: Occasion<'_>) -> Option<String> {
    if failure.kind != RouterErrorKind::Denied {
        return None;
    }
    Some(match (occasion.role, failure.code.as_str()) {
        (_, "NoCredentials") => {
            "Give this process credentials: environment, profile, web identity, pod identity or instance role".into()
        }
        (Some(role), _) => format!(
            "Allow sts:AssumeRole on {role} to the identity of this process, in its own policy and in the role's trust policy"
        ),
        (None, _) => "Check the credentials of this process".into(),
    })
}

fn who(occasion: Occasion<'_>) -> &str {
    occasion.role.unwrap_or("the identity of this process")
}
