//! A scripted AWS, and the intents and calls that tests put to it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use okra_core::route::{Adopt, Conditions, Intent, Lane, Place};
use okra_provider::{CallContext, Leadership, NotLeader};
use wiremock::{Match, Mock, MockServer, Request, ResponseTemplate};

use crate::{AlbRouter, AlbRouterConfig, RateLimits};

pub(super) const LISTENER: &str = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/web/1111/2222";
pub(super) const SECRET: &str = "not-a-real-secret-access-key-0000000000";
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn rule_arn(id: usize) -> String {
    format!("arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener-rule/app/web/1111/2222/{id:04}")
}

pub(super) fn group_arn(name: &str) -> String {
    format!("arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/{name}/3333")
}

pub(super) fn weights(pairs: &[(&str, i32)]) -> BTreeMap<String, i32> {
    pairs.iter().map(|(name, weight)| (group_arn(name), *weight)).collect()
}

/// A call as its form says it, `Version` left out.
pub(super) type Form = BTreeMap<String, String>;

pub(super) fn form(pairs: &[(&str, &str)]) -> Form {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read_form(request: &Request) -> Form {
    let mut url = request.url.clone();
    url.set_query(std::str::from_utf8(&request.body).ok());
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

struct Action(&'static str, Vec<(String, String)>);

impl Match for Action {
    fn matches(&self, request: &Request) -> bool {
        let form = read_form(request);
        let has = |name: &str, value: &str| form.get(name).is_some_and(|found| found == value);
        has("Action", self.0) && self.1.iter().all(|(name, value)| has(name, value))
    }
}

/// A scripted AWS. What is scripted first is answered first.
pub(super) struct Aws {
    pub server: MockServer,
}

impl Aws {
    pub async fn start() -> Self {
        Self { server: MockServer::start().await }
    }

    pub async fn answer(&self, action: &'static str, body: impl Into<String>) {
        self.answer_with(action, &[], ResponseTemplate::new(200).set_body_string(body.into())).await;
    }

    /// Answers calls of an action whose form holds `with`.
    pub async fn answer_with(&self, action: &'static str, with: &[(&str, &str)], answer: ResponseTemplate) {
        let with = with.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Mock::given(Action(action, with)).respond_with(answer).mount(&self.server).await;
    }

    /// Answers the next call of an action; later ones get what is scripted after it.
    pub async fn answer_once(&self, action: &'static str, answer: ResponseTemplate) {
        Mock::given(Action(action, Vec::new())).respond_with(answer).up_to_n_times(1).mount(&self.server).await;
    }

    /// What was asked so far.
    pub async fn calls(&self) -> Vec<Form> {
        let requests = self.server.received_requests().await.unwrap();
        requests
            .iter()
            .map(|request| {
                let mut form = read_form(request);
                form.remove("Version");
                form
            })
            .collect()
    }

    /// The actions asked for so far.
    pub async fn actions(&self) -> Vec<String> {
        self.calls().await.iter().map(|call| call.get("Action").cloned().unwrap_or_default()).collect()
    }

    pub fn config(&self) -> AlbRouterConfig {
        AlbRouterConfig {
            endpoint_url: Some(self.server.uri()),
            rate_limits: RateLimits::Off,
            ..AlbRouterConfig::default()
        }
    }

    pub fn router(&self) -> AlbRouter {
        Self::router_with(self.config())
    }

    pub fn router_with(config: AlbRouterConfig) -> AlbRouter {
        let credentials = Credentials::new("AKIDBASE", SECRET, None, None, "test");
        AlbRouter::with_credentials(config, SharedCredentialsProvider::new(credentials))
    }
}

pub(super) fn answer(action: &str, result: &str) -> String {
    format!(
        "<{action}Response xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\"><{action}Result>\
         {result}</{action}Result><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>"
    )
}

pub(super) fn ok(action: &str, result: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_string(answer(action, result))
}

pub(super) fn error(status: u16, code: &str, message: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_string(format!(
        "<ErrorResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    ))
}

/// A rule as AWS tells it.
#[derive(Clone)]
pub(super) struct Rule {
    pub arn: String,
    pub priority: String,
    pub auth: &'static str,
    pub weights: BTreeMap<String, i32>,
    pub sticky: &'static str,
}

impl Rule {
    pub fn new(id: usize, priority: i32) -> Self {
        Self {
            arn: rule_arn(id),
            priority: priority.to_string(),
            auth: "",
            weights: weights(&[("blue", 100), ("green", 0)]),
            sticky: "<Enabled>false</Enabled>",
        }
    }

    pub fn xml(&self) -> String {
        let mut tuples = String::new();
        for (arn, weight) in &self.weights {
            write!(tuples, "<member><TargetGroupArn>{arn}</TargetGroupArn><Weight>{weight}</Weight></member>").unwrap();
        }
        let order = if self.auth.is_empty() { 1 } else { 2 };
        format!(
            "<member><RuleArn>{}</RuleArn><Priority>{}</Priority><IsDefault>{}</IsDefault><Conditions><member>\
             <Field>host-header</Field><Values><member>Web.example.com</member></Values><HostHeaderConfig><Values>\
             <member>Web.example.com</member></Values></HostHeaderConfig></member></Conditions><Actions>{}<member>\
             <Type>forward</Type><Order>{order}</Order><ForwardConfig><TargetGroups>{tuples}</TargetGroups>\
             <TargetGroupStickinessConfig>{}</TargetGroupStickinessConfig></ForwardConfig></member></Actions></member>",
            self.arn,
            self.priority,
            self.priority == "default",
            self.auth,
            self.sticky,
        )
    }
}

pub(super) fn rules(rules: &[Rule], next_marker: Option<&str>) -> String {
    let members: String = rules.iter().map(Rule::xml).collect();
    let marker = next_marker.map(|marker| format!("<NextMarker>{marker}</NextMarker>")).unwrap_or_default();
    answer("DescribeRules", &format!("<Rules>{members}</Rules>{marker}"))
}

/// An answer to DescribeTags: rule, Cell and installation; an empty Cell is a rule without our tags.
pub(super) fn tags(of: &[(String, &str, &str)]) -> String {
    let mut members = String::new();
    for (arn, cell, owner) in of {
        let ours = format!(
            "<member><Key>okra.mumo.co/cell</Key><Value>{cell}</Value></member>\
             <member><Key>okra.mumo.co/owner</Key><Value>{owner}</Value></member>"
        );
        let ours = if cell.is_empty() { String::new() } else { ours };
        write!(
            members,
            "<member><ResourceArn>{arn}</ResourceArn><Tags><member><Key>team</Key><Value>web</Value></member>{ours}\
             </Tags></member>"
        )
        .unwrap();
    }
    answer("DescribeTags", &format!("<TagDescriptions>{members}</TagDescriptions>"))
}

pub(super) fn intent() -> Intent {
    Intent {
        owner: "shop/web".to_owned(),
        installation: "inst-1".to_owned(),
        place: Place::Alb {
            listener_arn: LISTENER.to_owned(),
            role_arn: None,
            priority: 10,
            conditions: Conditions { hosts: vec!["web.example.com".to_owned()], ..Conditions::default() },
        },
        groups: Vec::new(),
        stickiness: None,
        known_rule: None,
        adopt: Adopt::No,
    }
}

pub(super) fn known(id: usize) -> Intent {
    Intent { known_rule: Some(rule_arn(id)), ..intent() }
}

pub(super) fn with_role(role: &str, intent: Intent) -> Intent {
    let mut intent = intent;
    if let Place::Alb { role_arn, .. } = &mut intent.place {
        *role_arn = Some(role.to_owned());
    }
    intent
}

/// A leader, or none, that counts how often it was asked.
#[derive(Default)]
pub(super) struct Leader {
    pub asked: AtomicU64,
    pub deposed: bool,
}

impl Leadership for Leader {
    fn permits(&self, timeout: Duration) -> Result<(), NotLeader> {
        assert!(timeout <= TIMEOUT);
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.deposed { Err(NotLeader) } else { Ok(()) }
    }
}

pub(super) fn call(lane: Lane) -> CallContext {
    CallContext { lane, timeout: TIMEOUT, leadership: Arc::new(Leader::default()) }
}
