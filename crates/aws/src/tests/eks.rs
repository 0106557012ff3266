//! EKS clusters: which requests go out, and what the answers come to.

use std::{sync::Arc, time::Duration};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use okra_api::cluster_set::AnswerState;
use okra_provider::{
    ClusterInventory as _, InventoryAnswer,
    cluster::{ClusterQuery, ClusterState},
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{body_partial_json, header, method, path, query_param, query_param_is_missing},
};

use super::aws::SECRET;
use crate::{AwsMetrics, EksInventory, EksInventoryConfig};

const TIMEOUT: Duration = Duration::from_secs(10);

fn arn(name: &str) -> String {
    format!("arn:aws:eks:eu-west-1:123456789012:cluster/{name}")
}

struct Rig {
    server: MockServer,
    inventory: EksInventory,
    metrics: Arc<AwsMetrics>,
}

impl Rig {
    async fn new() -> Self {
        let server = MockServer::start().await;
        let metrics = Arc::<AwsMetrics>::default();
        let config = EksInventoryConfig { endpoint_url: Some(server.uri()), metrics: metrics.clone() };
        let credentials = Credentials::new("AKIDBASE", SECRET, None, None, "test");
        let inventory = EksInventory::with_credentials(config, SharedCredentialsProvider::new(credentials));
        Self { server, inventory, metrics }
    }

    /// Answers GetResources: pages of ARNs.
    async fn tagged(&self, pages: &[&[&str]]) {
        for (index, names) in pages.iter().enumerate() {
            let next = if index + 1 < pages.len() { format!("page{}", index + 1) } else { String::new() };
            let resources: Vec<Value> = names
                .iter()
                .map(|name| json!({"ResourceARN": arn(name), "Tags": [{"Key": "Service", "Value": "demo"}]}))
                .collect();
            let answer = json!({"PaginationToken": next, "ResourceTagMappingList": resources});
            let mut asked = Mock::given(method("POST"))
                .and(header("x-amz-target", "ResourceGroupsTaggingAPI_20170126.GetResources"));
            if index > 0 {
                asked = asked.and(body_partial_json(json!({"PaginationToken": format!("page{index}")})));
            }
            let answer = ResponseTemplate::new(200).set_body_raw(answer.to_string(), "application/x-amz-json-1.1");
            // What is asked with a token is looked at before what is asked without.
            asked.respond_with(answer).with_priority(10 - index as u8).mount(&self.server).await;
        }
    }

    async fn tagging_fails(&self, status: u16, code: &str) {
        let body = json!({"__type": code, "message": "no"}).to_string();
        let answer = ResponseTemplate::new(status).set_body_raw(body, "application/x-amz-json-1.1");
        Mock::given(method("POST")).respond_with(answer).mount(&self.server).await;
    }

    async fn names(&self, pages: &[&[&str]]) {
        for (index, names) in pages.iter().enumerate() {
            let next = (index + 1 < pages.len()).then(|| format!("page{}", index + 1));
            let mut asked = Mock::given(method("GET")).and(path("/clusters")).and(query_param("maxResults", "100"));
            asked = match index {
                0 => asked.and(query_param_is_missing("nextToken")),
                _ => asked.and(query_param("nextToken", format!("page{index}"))),
            };
            let answer = ResponseTemplate::new(200).set_body_json(json!({"clusters": names, "nextToken": next}));
            asked.respond_with(answer).mount(&self.server).await;
        }
    }

    async fn cluster(&self, name: &str, more: Value) {
        let mut cluster = json!({
            "name": name, "arn": arn(name), "status": "ACTIVE", "version": "1.33",
            "endpoint": format!("https://{name}.yl4.eu-west-1.eks.amazonaws.com"),
            "certificateAuthority": {"data": "Q0E="}, "tags": {"Service": "demo"},
        });
        for (key, value) in more.as_object().unwrap() {
            cluster[key] = value.clone();
        }
        let answer = ResponseTemplate::new(200).set_body_json(json!({"cluster": cluster}));
        self.describe(name, answer).await;
    }

    async fn describe(&self, name: &str, answer: ResponseTemplate) {
        Mock::given(method("GET"))
            .and(path(format!("/clusters/{name}")))
            .respond_with(answer)
            .mount(&self.server)
            .await;
    }

    async fn describe_fails(&self, name: &str, status: u16, code: &str) {
        let answer = ResponseTemplate::new(status).set_body_json(json!({"message": "no"}));
        self.describe(name, answer.insert_header("x-amzn-errortype", code)).await;
    }

    async fn list(&self, known: &[&str]) -> InventoryAnswer {
        let query = ClusterQuery {
            region: Some("eu-west-1".to_owned()),
            role_arn: None,
            match_tags: [("Service".to_owned(), "demo".to_owned())].into(),
            known: known.iter().map(|name| arn(name)).collect(),
        };
        self.inventory.list(&query, TIMEOUT).await
    }

    async fn asked(&self) -> Vec<String> {
        let requests = self.server.received_requests().await.unwrap();
        let line = |request: &Request| match request.url.path() {
            "/" => "GetResources".to_owned(),
            path => path.to_owned(),
        };
        requests.iter().map(line).collect()
    }
}

fn names(answer: &InventoryAnswer) -> Vec<&str> {
    answer.clusters.iter().map(|cluster| cluster.name.as_str()).collect()
}

#[tokio::test]
async fn the_tagging_api_names_them_page_by_page_and_each_is_described_once() {
    let rig = Rig::new().await;
    rig.tagged(&[&["a"], &[], &["b"]]).await;
    rig.cluster("a", json!({})).await;
    rig.cluster("b", json!({"status": "CREATING", "endpoint": null, "certificateAuthority": null})).await;
    let answer = rig.list(&[]).await;
    assert_eq!((answer.state, answer.name.as_str()), (AnswerState::Complete, "awseks eu-west-1"));
    assert_eq!(names(&answer), ["a", "b"]);
    let a = &answer.clusters[0];
    assert_eq!(
        (a.id.as_str(), a.version.as_deref(), a.region.as_deref()),
        (&*arn("a"), Some("1.33"), Some("eu-west-1"))
    );
    assert!(
        matches!(&a.state, ClusterState::Ready { server, ca_data: Some(ca) } if server.contains("a.yl4") && ca == "Q0E=")
    );
    assert_eq!(answer.clusters[1].state, ClusterState::NotReady("CREATING".to_owned()));
    let first = &rig.server.received_requests().await.unwrap()[0];
    let body: Value = first.body_json().unwrap();
    assert_eq!(
        body,
        json!({"ResourceTypeFilters": ["eks:cluster"], "ResourcesPerPage": 100,
               "TagFilters": [{"Key": "Service", "Values": ["demo"]}]})
    );
    assert!(first.headers["authorization"].to_str().unwrap().contains("/eu-west-1/tagging/aws4_request"));
    let before = rig.asked().await.len();
    rig.list(&["a"]).await;
    let again = rig.asked().await.split_off(before);
    let settled = ["GetResources", "GetResources", "GetResources", "/clusters/b"];
    assert_eq!(again, settled, "only one that is not settled is described again");
    assert_eq!(rig.metrics.calls()[&("DescribeCluster", "OK".to_owned())], 3);
}

#[tokio::test]
async fn an_empty_or_denied_tagging_api_is_not_believed() {
    for denied in [false, true] {
        let rig = Rig::new().await;
        if denied {
            rig.tagging_fails(400, "AccessDeniedException").await;
        } else {
            rig.tagged(&[&[]]).await;
        }
        rig.names(&[&["a", "other"], &["b"]]).await;
        rig.cluster("a", json!({})).await;
        rig.cluster("b", json!({})).await;
        rig.cluster("other", json!({"tags": {"Service": "else"}})).await;
        let answer = rig.list(&[]).await;
        assert_eq!((answer.state, names(&answer)), (AnswerState::Complete, vec!["a", "b"]), "{}", answer.message);
        let before = rig.asked().await.len();
        rig.list(&["a", "b", "other"]).await;
        assert_eq!(rig.asked().await.split_off(before), ["/clusters", "/clusters"], "descriptions are kept");
    }
}

#[tokio::test]
async fn what_is_missing_is_asked_for_by_name_before_it_counts_as_gone() {
    let rig = Rig::new().await;
    rig.tagged(&[&["a"]]).await;
    rig.cluster("a", json!({})).await;
    rig.cluster("behind", json!({})).await;
    rig.cluster("untagged", json!({"tags": {}})).await;
    rig.describe_fails("gone", 404, "ResourceNotFoundException").await;
    let answer = rig.list(&["a", "behind", "untagged", "gone"]).await;
    assert_eq!((answer.state, names(&answer)), (AnswerState::Complete, vec!["a", "behind"]), "{}", answer.message);
    rig.describe_fails("hidden", 403, "AccessDeniedException").await;
    let answer = rig.list(&["a", "hidden"]).await;
    assert_eq!((answer.state, names(&answer)), (AnswerState::Partial, vec!["a"]));
    assert!(answer.message.contains("confirm that cluster hidden is gone"), "{}", answer.message);
    assert!(answer.message.contains("Allow eks:DescribeCluster"), "{}", answer.message);
    let before = rig.asked().await.len();
    let query =
        ClusterQuery { known: vec![arn("a").replace("123456789012", "999999999999")], ..ClusterQuery::default() };
    let query = ClusterQuery {
        region: Some("eu-west-1".to_owned()),
        match_tags: [("Service".to_owned(), "demo".to_owned())].into(),
        ..query
    };
    assert_eq!(rig.inventory.list(&query, TIMEOUT).await.state, AnswerState::Complete);
    assert_eq!(
        rig.asked().await.split_off(before),
        ["GetResources"],
        "another account's clusters are not asked for here"
    );
}

#[tokio::test]
async fn a_cluster_that_the_tagging_api_still_names_may_be_gone() {
    let rig = Rig::new().await;
    rig.tagged(&[&["gone"]]).await;
    rig.describe_fails("gone", 404, "ResourceNotFoundException").await;
    let answer = rig.list(&["gone"]).await;
    assert_eq!((answer.state, names(&answer)), (AnswerState::Complete, Vec::<&str>::new()));
}

#[tokio::test]
async fn trouble_is_told_for_what_it_is() {
    let rig = Rig::new().await;
    rig.tagging_fails(400, "ThrottlingException").await;
    let answer = rig.list(&[]).await;
    assert_eq!(answer.state, AnswerState::Throttled, "{}", answer.message);
    assert_eq!(rig.asked().await.len(), 1, "nothing else is asked of an AWS that asks to slow down");

    let rig = Rig::new().await;
    rig.tagging_fails(400, "AccessDeniedException").await;
    let denied = ResponseTemplate::new(403).set_body_json(json!({"message": "no"}));
    let denied = denied.insert_header("x-amzn-errortype", "AccessDeniedException");
    Mock::given(method("GET")).respond_with(denied).mount(&rig.server).await;
    let answer = rig.list(&["a"]).await;
    assert_eq!(answer.state, AnswerState::Denied);
    assert!(answer.message.contains("Allow tag:GetResources") && answer.message.contains("Allow eks:ListClusters"));

    let rig = Rig::new().await;
    rig.tagged(&[&["a", "b"]]).await;
    rig.cluster("a", json!({})).await;
    rig.describe_fails("b", 429, "ThrottlingException").await;
    let answer = rig.list(&[]).await;
    assert_eq!((answer.state, names(&answer)), (AnswerState::Throttled, vec!["a"]));

    let rig = Rig::new().await;
    rig.tagged(&[&["a"]]).await;
    rig.describe_fails("a", 500, "ServerException").await;
    assert_eq!(rig.list(&[]).await.state, AnswerState::Partial);
}
