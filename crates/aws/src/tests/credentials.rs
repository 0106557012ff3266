use std::{collections::BTreeMap, path::Path, process::Command};

use okra_core::route::{GroupHealth, Lane};
use okra_provider::{RouterErrorKind, TrafficRouter};
use pretty_assertions::assert_eq;
use wiremock::{
    Mock, Request, ResponseTemplate,
    matchers::{header, method, path},
};

use super::aws::*;
use crate::{AlbRouter, AlbRouterConfig};

const ROLE: &str = "arn:aws:iam::210987654321:role/okra";

fn assumed(action: &str, key: &str) -> String {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>session</SessionToken>\
         <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><Arn>{ROLE}</Arn>\
         <AssumedRoleId>A:okra</AssumedRoleId></AssumedRoleUser></{action}Result></{action}Response>"
    )
}

fn no_targets() -> String {
    answer("DescribeTargetHealth", "<TargetHealthDescriptions></TargetHealthDescriptions>")
}

/// Access keys by which the calls were signed.
async fn keys(aws: &Aws) -> Vec<String> {
    let signed = |request: &Request| {
        let header = request.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let key = header.split("Credential=").nth(1).and_then(|rest| rest.split('/').next());
        key.unwrap_or("none").to_owned()
    };
    aws.server.received_requests().await.unwrap().iter().map(signed).collect()
}

#[tokio::test]
async fn a_role_is_assumed_once_and_signs_the_calls() {
    let aws = Aws::start().await;
    aws.answer("AssumeRole", assumed("AssumeRole", "AKIDROLE")).await;
    aws.answer("DescribeTargetHealth", no_targets()).await;
    let router = aws.router();
    for _ in 0..2 {
        router.health(&with_role(ROLE, intent()), &group_arn("blue"), &call(Lane::Verify)).await.unwrap();
    }
    router.health(&intent(), &group_arn("blue"), &call(Lane::Verify)).await.unwrap();
    assert_eq!(aws.calls().await[0], form(&[("Action", "AssumeRole"), ("RoleArn", ROLE), ("RoleSessionName", "okra")]));
    assert_eq!(keys(&aws).await, ["AKIDBASE", "AKIDROLE", "AKIDROLE", "AKIDBASE"]);
}

#[tokio::test]
async fn a_refused_role_is_named_with_what_to_allow() {
    for (status, code, kind) in [
        (403, "AccessDenied", RouterErrorKind::Denied),
        (400, "ValidationError", RouterErrorKind::Denied),
        (403, "ExpiredToken", RouterErrorKind::Denied),
        (400, "Throttling", RouterErrorKind::Throttled),
        (503, "ServiceUnavailable", RouterErrorKind::Unreachable),
    ] {
        let aws = Aws::start().await;
        aws.answer_with("AssumeRole", &[], error(status, code, "STS says so")).await;
        let intent = with_role(ROLE, intent());
        let error = aws.router().health(&intent, &group_arn("blue"), &call(Lane::Verify)).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (kind, code), "{error}");
        assert!(error.message.starts_with("failed to read health of target group blue/3333: "), "{error}");
        assert!(error.message.contains("STS says so"), "{error}");
        if kind == RouterErrorKind::Denied {
            assert!(error.message.contains("sts:AssumeRole") && error.message.contains(ROLE), "{error}");
        }
        assert!(!error.message.contains(SECRET), "{error}");
        assert!(aws.actions().await.iter().all(|action| action == "AssumeRole"));
    }
}

/// Runs the next test in a process of its own with exactly this environment: variables of this one are shared by all
/// tests that run beside it.
async fn in_environment(variables: BTreeMap<&str, String>) {
    let home = std::env::temp_dir().join("okra-no-aws-profiles");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "tests::credentials::reads_health_with_what_the_environment_says", "--nocapture"])
        .env_clear()
        .env("HOME", home)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("OKRA_TEST_EXPECTS_HEALTH", "1")
        .envs(variables);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert!(text.contains("health was read"), "{text}");
    assert!(!text.contains(SECRET), "{text}");
}

/// On its own there is nothing to see: [`in_environment`] gives it an environment.
#[tokio::test]
async fn reads_health_with_what_the_environment_says() {
    if std::env::var_os("OKRA_TEST_EXPECTS_HEALTH").is_none() {
        return;
    }
    let router = AlbRouter::new(AlbRouterConfig::default());
    let health = router.health(&intent(), &group_arn("blue"), &call(Lane::Verify)).await.unwrap();
    assert_eq!(health, GroupHealth::default());
    println!("health was read");
}

#[tokio::test]
async fn keys_and_endpoints_come_from_the_environment() {
    for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2"] {
        let aws = Aws::start().await;
        aws.answer("DescribeTargetHealth", no_targets()).await;
        in_environment(BTreeMap::from([
            (variable, aws.server.uri()),
            ("AWS_ACCESS_KEY_ID", "AKIDENV".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ]))
        .await;
        assert_eq!(keys(&aws).await, ["AKIDENV"]);
    }
}

#[tokio::test]
async fn a_web_identity_is_exchanged() {
    let aws = Aws::start().await;
    let action = "AssumeRoleWithWebIdentity";
    aws.answer(action, assumed(action, "AKIDWEB")).await;
    aws.answer("DescribeTargetHealth", no_targets()).await;
    let token = token_file("web-identity");
    in_environment(BTreeMap::from([
        ("AWS_ENDPOINT_URL", aws.server.uri()),
        ("AWS_ROLE_ARN", ROLE.to_owned()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.path().to_owned()),
    ]))
    .await;
    assert_eq!(keys(&aws).await, ["none", "AKIDWEB"]);
    assert_eq!(aws.calls().await[0].get("WebIdentityToken").map(String::as_str), Some("web-identity"));
}

#[tokio::test]
async fn a_pod_identity_is_exchanged() {
    let aws = Aws::start().await;
    let body = format!(
        r#"{{"AccessKeyId":"AKIDPOD","SecretAccessKey":"{SECRET}","Token":"session","Expiration":"2999-01-01T00:00:00Z"}}"#
    );
    Mock::given(method("GET"))
        .and(path("/v1/credentials"))
        .and(header("authorization", "pod-identity"))
        .respond_with(ResponseTemplate::new(200).set_body_string(body))
        .mount(&aws.server)
        .await;
    aws.answer("DescribeTargetHealth", no_targets()).await;
    let token = token_file("pod-identity");
    in_environment(BTreeMap::from([
        ("AWS_ENDPOINT_URL", aws.server.uri()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v1/credentials", aws.server.uri())),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.path().to_owned()),
    ]))
    .await;
    assert_eq!(keys(&aws).await, ["none", "AKIDPOD"]);
}

/// A file that goes when it is dropped.
struct TokenFile(String);

impl TokenFile {
    fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(Path::new(&self.0));
    }
}

fn token_file(content: &str) -> TokenFile {
    let name = format!("okra-aws-{}-{content}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, content).unwrap();
    TokenFile(path.to_string_lossy().into_owned())
}
