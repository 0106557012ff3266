use okra_core::route::{Change, Lane, Place};
use okra_provider::{RouterError, RouterErrorKind as Kind, TrafficRouter};
use pretty_assertions::assert_eq;

use super::aws::*;

async fn create(answer: wiremock::ResponseTemplate) -> RouterError {
    let aws = Aws::start().await;
    aws.answer_with("CreateRule", &[], answer).await;
    let change = Change::Create { weights: weights(&[("blue", 100)]), stickiness: None };
    let error = aws.router().apply(&intent(), &change, &call(Lane::Promote)).await.unwrap_err();
    assert_eq!(aws.calls().await.len(), 1);
    error
}

#[tokio::test]
async fn codes_have_a_kind_and_a_remedy() {
    for (status, code, kind, remedy) in [
        (400, "Throttling", Kind::Throttled, ""),
        (400, "ThrottlingException", Kind::Throttled, ""),
        (400, "ThrottledException", Kind::Throttled, ""),
        (400, "RequestLimitExceeded", Kind::Throttled, ""),
        (429, "TooManyRequestsException", Kind::Throttled, ""),
        (400, "ListenerNotFound", Kind::ListenerNotFound, "region eu-west-1"),
        (400, "RuleNotFound", Kind::RuleNotFound, "region eu-west-1"),
        (400, "TargetGroupNotFound", Kind::GroupNotFound, "region eu-west-1"),
        (400, "PriorityInUse", Kind::Refused, "priority 10"),
        (400, "TooManyRules", Kind::Refused, "Service Quotas of eu-west-1"),
        (400, "TooManyTargetGroups", Kind::Refused, "5 target groups at most"),
        (400, "TooManyUniqueTargetGroupsPerLoadBalancer", Kind::Refused, "100 target groups"),
        (400, "TargetGroupAssociationLimit", Kind::Refused, "one load balancer"),
        (400, "TooManyActions", Kind::Refused, "one forward action"),
        (400, "IncompatibleProtocols", Kind::Refused, "HTTP or HTTPS"),
        (400, "InvalidLoadBalancerAction", Kind::Refused, ""),
        (400, "OperationNotPermitted", Kind::Refused, ""),
        (400, "ValidationError", Kind::Refused, ""),
        (403, "AccessDenied", Kind::Denied, "elasticloadbalancing:CreateRule"),
        (403, "AccessDeniedException", Kind::Denied, "elasticloadbalancing:CreateRule"),
        (403, "ExpiredToken", Kind::Denied, "renew them"),
        (403, "ExpiredTokenException", Kind::Denied, "renew them"),
        (403, "InvalidClientTokenId", Kind::Denied, "region eu-west-1 is enabled"),
        (403, "OptInRequired", Kind::Denied, "region eu-west-1 is enabled"),
        (403, "SomethingNew", Kind::Denied, ""),
        (500, "InternalFailure", Kind::Unreachable, ""),
        (503, "ServiceUnavailable", Kind::Unreachable, ""),
        (500, "SomethingNew", Kind::Unreachable, ""),
        (400, "SomethingNew", Kind::Refused, ""),
    ] {
        let error = create(error(status, code, "AWS says so.")).await;
        assert_eq!((error.kind, error.code.as_str()), (kind, code));
        let expected = format!("failed to create rule of listener app/web/1111/2222: {code}: AWS says so");
        assert!(error.message.starts_with(&expected), "{error}");
        assert!(error.message.contains(remedy), "{error}");
        assert!(!error.message.contains(".."), "{error}");
    }
}

#[tokio::test]
async fn answers_that_are_not_of_aws_are_told_by_their_status() {
    for (status, kind, code) in [
        (502, Kind::Unreachable, "HTTP502"),
        (429, Kind::Throttled, "HTTP429"),
        (403, Kind::Denied, "HTTP403"),
        (404, Kind::Refused, "HTTP404"),
    ] {
        for body in ["", "<html>no</html>", "not xml at all"] {
            let error = create(wiremock::ResponseTemplate::new(status).set_body_string(body)).await;
            assert_eq!((error.kind, error.code.as_str()), (kind, code), "{body:?}: {error}");
        }
    }
    let error = create(wiremock::ResponseTemplate::new(200).set_body_string("<html>welcome</html>")).await;
    assert_eq!((error.kind, error.code.as_str()), (Kind::Unreachable, "InvalidAnswer"));
}

#[tokio::test]
async fn no_credential_is_in_a_message() {
    let token = "FwoGZXIvYXdzEBYaDHqa0AP".repeat(10);
    for (code, message) in [
        ("SignatureDoesNotMatch", format!("The Canonical String should have been host:x x-amz-security-token:{token}")),
        ("IncompleteSignature", format!("Authorization=AWS4-HMAC-SHA256 Credential=AKIDBASE Signature={token}")),
        ("AccessDenied", format!("not allowed. Encoded authorization failure message: {token}")),
        ("SomethingNew", format!("token={token} key AKIAIOSFODNN7EXAMPLE {SECRET}=x")),
    ] {
        let error = create(error(403, code, &message)).await;
        for secret in [token.as_str(), "AKIAIOSFODNN7EXAMPLE", SECRET] {
            assert!(!error.message.contains(secret), "{error}");
        }
        assert_eq!(error.kind, Kind::Denied);
        assert!(error.message.len() < 1_000);
    }
}

#[tokio::test]
async fn who_does_not_answer_is_unreachable() {
    let aws = Aws::start().await;
    // Bound, so that nobody else gets it, and nobody listens.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let nobody = socket.local_addr().unwrap();
    let router =
        Aws::router_with(crate::AlbRouterConfig { endpoint_url: Some(format!("http://{nobody}")), ..aws.config() });
    let error = router.observe(&intent(), &call(Lane::Verify)).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (Kind::Unreachable, "ConnectionFailed"));
    assert!(error.message.contains("endpoint of region eu-west-1"), "{error}");
}

#[tokio::test]
async fn what_is_no_listener_is_refused_before_any_call() {
    let aws = Aws::start().await;
    let mut broken = intent();
    broken.place = Place::Local { listen: "127.0.0.1:80".to_owned() };
    let error = aws.router().observe(&broken, &call(Lane::Verify)).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (Kind::Refused, "UnsupportedPlace"));
    if let Place::Alb { listener_arn, .. } = &mut broken.place {
        "web".clone_into(listener_arn);
    }
    assert!(aws.calls().await.is_empty());
}

#[tokio::test]
async fn an_answer_without_end_is_broken_off() {
    let start = "<CreateRuleResponse><CreateRuleResult><Rules><member><RuleArn>";
    let body = format!("{start}{}", "a".repeat(17 << 20));
    let error = create(wiremock::ResponseTemplate::new(200).set_body_string(body)).await;
    assert_eq!((error.kind, error.code.as_str()), (Kind::Unreachable, "InvalidAnswer"));
    assert!(error.message.contains("length limit exceeded"), "{error}");
    // The same for an answer that is as long as it may be.
    let body = format!("{start}{}", "a".repeat(15 << 20));
    let aws = Aws::start().await;
    aws.answer_with("CreateRule", &[], wiremock::ResponseTemplate::new(200).set_body_string(body)).await;
    let change = Change::Create { weights: weights(&[("blue", 100)]), stickiness: None };
    aws.router().apply(&intent(), &change, &call(Lane::Promote)).await.unwrap();
}
