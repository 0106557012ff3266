//! Names and tags of target groups: which requests go out, and what the answers come to.

use std::collections::BTreeSet;

use okra_provider::{
    TargetGroupInventory as _,
    target_group::{NamedGroup, TaggedGroup},
};
use pretty_assertions::assert_eq;

use super::aws::{Aws, TIMEOUT, answer, error, group_arn, ok};

fn tagged(name: &str) -> TaggedGroup {
    TaggedGroup { arn: group_arn(name), role_arn: None }
}

fn tags(versions: &[(&str, Option<&str>)]) -> String {
    let members: Vec<String> = versions
        .iter()
        .map(|(name, version)| {
            let tag = version.map(|version| {
                format!("<member><Key>okra.mumo.co/version</Key><Value>{version}</Value></member>")
            });
            format!(
                "<member><ResourceArn>{}</ResourceArn><Tags><member><Key>team</Key><Value>9.9.9</Value></member>{}</Tags>\
                 </member>",
                group_arn(name),
                tag.unwrap_or_default()
            )
        })
        .collect();
    format!("<TagDescriptions>{}</TagDescriptions>", members.concat())
}

#[tokio::test]
async fn tags_of_many_come_in_one_call_and_are_remembered() {
    let aws = Aws::start().await;
    aws.answer("DescribeTags", answer("DescribeTags", &tags(&[("a", Some("1.0.0")), ("b", None)]))).await;
    let router = aws.router();
    let groups = BTreeSet::from([tagged("a"), tagged("b")]);
    for _ in 0..3 {
        let told = router.versions(&groups, TIMEOUT).await;
        assert_eq!(told[&tagged("a")], Ok(Some("1.0.0".to_owned())));
        assert_eq!(told[&tagged("b")], Ok(None));
    }
    assert_eq!(aws.actions().await, ["DescribeTags"]);
}

#[tokio::test]
async fn one_that_is_gone_does_not_hide_the_others() {
    let aws = Aws::start().await;
    let gone = error(400, "TargetGroupNotFound", "One or more target groups not found");
    aws.answer_once("DescribeTags", gone.clone()).await;
    let alone = [("ResourceArns.member.1", &*group_arn("a"))];
    aws.answer_with("DescribeTags", &alone, ok("DescribeTags", &tags(&[("a", Some("1.0.0"))]))).await;
    aws.answer_with("DescribeTags", &[], gone).await;
    let told = aws.router().versions(&BTreeSet::from([tagged("a"), tagged("b")]), TIMEOUT).await;
    assert_eq!(told[&tagged("a")], Ok(Some("1.0.0".to_owned())));
    let why = told[&tagged("b")].clone().unwrap_err();
    assert!(why.contains("TargetGroupNotFound"), "{why}");
}

#[tokio::test]
async fn a_refusal_names_the_right_and_is_no_storm() {
    let aws = Aws::start().await;
    aws.answer_with("DescribeTags", &[], error(403, "AccessDenied", "no")).await;
    let (router, groups) = (aws.router(), BTreeSet::from([tagged("a")]));
    for _ in 0..3 {
        let why = router.versions(&groups, TIMEOUT).await[&tagged("a")].clone().unwrap_err();
        assert!(why.contains("Allow elasticloadbalancing:DescribeTags"), "{why}");
    }
    assert_eq!(aws.actions().await.len(), 1);
    let odd = TaggedGroup { arn: "arn:aws:s3:::x".to_owned(), role_arn: None };
    let why = router.versions(&BTreeSet::from([odd.clone()]), TIMEOUT).await[&odd].clone().unwrap_err();
    assert!(why.contains("is no ARN of a target group"), "{why}");
}

#[tokio::test]
async fn a_name_is_looked_up_in_its_region() {
    let aws = Aws::start().await;
    let found = format!(
        "<TargetGroups><member><TargetGroupName>web</TargetGroupName><TargetGroupArn>{}</TargetGroupArn></member>\
         </TargetGroups>",
        group_arn("web")
    );
    aws.answer_with("DescribeTargetGroups", &[("Names.member.1", "web")], ok("DescribeTargetGroups", &found)).await;
    let none = error(400, "TargetGroupNotFound", "One or more target groups not found");
    aws.answer_with("DescribeTargetGroups", &[], none).await;
    let named = |name: &str, region: Option<&str>| NamedGroup {
        region: region.map(str::to_owned),
        role_arn: None,
        name: name.to_owned(),
    };
    let (web, other, nowhere) =
        (named("web", Some("eu-west-1")), named("other", Some("eu-west-1")), named("web", None));
    let told = aws.router().arns(&BTreeSet::from([web.clone(), other.clone(), nowhere.clone()]), TIMEOUT).await;
    assert_eq!(told[&web], Ok(Some(group_arn("web"))));
    assert_eq!(told[&other], Ok(None));
    assert!(told[&nowhere].clone().unwrap_err().contains("write targetGroupARN"));
}
