//! The router against a strict AWS: what it sends must be what AWS takes, and what it reads what AWS tells.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, AuthenticateOidcActionConfig, ForwardActionConfig, PathPatternConditionConfig,
    RuleCondition, TargetGroupStickinessConfig, TargetGroupTuple,
};
use okra_aws::{AlbRouter, AlbRouterConfig, RateLimits};
use okra_core::route::{Adopt, Change, Conditions, Intent, Lane, Observed, ObservedRule, Place, Sticky};
use okra_provider::{CallContext, Leadership, NotLeader, RouterErrorKind, TrafficRouter};
use okra_testkit::front::{AwsWorld, Front, Health};
use pretty_assertions::assert_eq;

const WITHIN: Duration = Duration::from_secs(30);

struct Always;

impl Leadership for Always {
    fn permits(&self, _: Duration) -> Result<(), NotLeader> {
        Ok(())
    }
}

struct Rig {
    front: Front,
    world: AwsWorld,
    router: AlbRouter,
    blue: String,
    green: String,
}

impl Rig {
    async fn start() -> Self {
        let front = Front::shared().await.unwrap();
        let world = AwsWorld::new(&front).await.unwrap();
        let target = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let blue = world.target_group("blue", &[target(7001), target(7002)]).await.unwrap();
        let green = world.target_group("green", &[target(7003)]).await.unwrap();
        let router = Self::router(&front);
        Self { front, world, router, blue, green }
    }

    /// A router that remembers nothing.
    fn router(front: &Front) -> AlbRouter {
        let config = AlbRouterConfig {
            endpoint_url: Some(front.endpoint()),
            rate_limits: RateLimits::Off,
            ..AlbRouterConfig::default()
        };
        let credentials = Credentials::new("okra", "not-a-secret", None, None, "test");
        AlbRouter::with_credentials(config, SharedCredentialsProvider::new(credentials))
    }

    fn intent(&self) -> Intent {
        let headers = BTreeMap::from([("x-team".to_owned(), vec!["web".to_owned()])]);
        let conditions = Conditions {
            hosts: vec!["web.example.com".to_owned()],
            path_patterns: vec!["/api/*".to_owned()],
            query_strings: vec![("color".to_owned(), "red".to_owned())],
            headers,
            ..Conditions::default()
        };
        Intent {
            owner: "shop/web".to_owned(),
            installation: "inst-1".to_owned(),
            place: Place::Alb {
                listener_arn: self.world.listener.clone(),
                role_arn: None,
                priority: 10,
                conditions: conditions.canonical(),
            },
            groups: Vec::new(),
            stickiness: None,
            known_rule: None,
            adopt: Adopt::No,
        }
    }

    fn weights(&self, blue: i32, green: i32) -> BTreeMap<String, i32> {
        BTreeMap::from([(self.blue.clone(), blue), (self.green.clone(), green)])
    }

    async fn observe(&self, intent: &Intent) -> Observed {
        self.router.observe(intent, &call(Lane::Verify)).await.unwrap()
    }

    async fn ours(&self, intent: &Intent) -> ObservedRule {
        self.observe(intent).await.ours.unwrap()
    }

    async fn apply(&self, intent: &Intent, change: Change) {
        self.router.apply(intent, &change, &call(Lane::Promote)).await.unwrap();
    }
}

fn call(lane: Lane) -> CallContext {
    CallContext { lane, timeout: WITHIN, leadership: Arc::new(Always) }
}

fn modify(rule: &str, weights: Option<BTreeMap<String, i32>>, stickiness: Option<Sticky>) -> Change {
    Change::Modify { rule: rule.to_owned(), weights, conditions: None, stickiness }
}

#[tokio::test]
async fn a_rule_lives_from_its_creation_to_its_removal() {
    let rig = Rig::start().await;
    let mut intent = rig.intent();
    assert_eq!(rig.observe(&intent).await, Observed::default());

    rig.apply(&intent, Change::Create { weights: rig.weights(100, 0), stickiness: None }).await;
    let rule = rig.ours(&intent).await;
    assert_eq!((rule.priority, &rule.conditions), (10, &intent.place.conditions()));
    assert_eq!((rule.weights, rule.stickiness), (rig.weights(100, 0), Sticky::default()));
    assert_eq!((rule.cell_tag.as_deref(), rule.owner_tag.as_deref()), (Some("shop/web"), Some("inst-1")));
    intent.known_rule = Some(rule.id.clone());

    let sticky = Sticky { enabled: true, seconds: 120 };
    rig.apply(&intent, modify(&rule.id, Some(rig.weights(80, 20)), Some(sticky))).await;
    rig.apply(&intent, modify(&rule.id, Some(rig.weights(50, 50)), None)).await;
    let seen = rig.ours(&intent).await;
    assert_eq!((seen.weights, seen.stickiness), (rig.weights(50, 50), sticky));

    if let Place::Alb { priority, conditions, .. } = &mut intent.place {
        *priority = 20;
        "/v2/*".clone_into(&mut conditions.path_patterns[0]);
    }
    rig.apply(&intent, Change::Move { rule: rule.id.clone() }).await;
    let conditions = Some(intent.place.conditions());
    rig.apply(&intent, Change::Modify { rule: rule.id.clone(), weights: None, conditions, stickiness: None }).await;
    let seen = rig.ours(&intent).await;
    assert_eq!((seen.priority, seen.conditions), (20, intent.place.conditions()));
    assert_eq!((seen.weights, seen.stickiness), (rig.weights(50, 50), sticky));

    rig.apply(&intent, Change::Remove { rule: rule.id.clone() }).await;
    assert_eq!(rig.observe(&intent).await, Observed::default());
    rig.apply(&intent, Change::Remove { rule: rule.id }).await;
}

#[tokio::test]
async fn a_process_that_remembers_nothing_finds_its_rule_wherever_it_stands() {
    let rig = Rig::start().await;
    let intent = rig.intent();
    rig.apply(&intent, Change::Create { weights: rig.weights(100, 0), stickiness: None }).await;
    let rule = rig.ours(&intent).await.id;
    rig.front.foreign_set_priority(&rule, 77).unwrap();
    let other = rig.front.foreign_create_rule(&rig.world.listener, 10, "/", &[(&rig.blue, 1)], &[]).unwrap();

    for (lane, known_rule) in [(Lane::Verify, None), (Lane::Verify, Some(rule.clone())), (Lane::Drift, None)] {
        let intent = Intent { known_rule, ..intent.clone() };
        let seen = Rig::router(&rig.front).observe(&intent, &call(lane)).await.unwrap();
        assert_eq!(seen.ours.map(|ours| (ours.id, ours.priority)), Some((rule.clone(), 77)));
        let in_the_way = seen.in_the_way.unwrap();
        assert_eq!((in_the_way.id, in_the_way.owner_tag), (other.clone(), None));
    }
    let moved = rig.router.apply(&intent, &Change::Move { rule }, &call(Lane::Promote)).await.unwrap_err();
    assert_eq!((moved.kind, moved.code.as_str()), (RouterErrorKind::Refused, "PriorityInUse"));
}

#[tokio::test]
async fn an_adopted_rule_keeps_its_authentication_and_stickiness() {
    let rig = Rig::start().await;
    let listener = rig.world.https_listener(&rig.world.load_balancer, 443).await.unwrap();
    let rule = rule_with_login(&rig, &listener).await;
    let mut intent = rig.intent();
    if let Place::Alb { listener_arn, .. } = &mut intent.place {
        *listener_arn = listener;
    }
    let seen = rig.observe(&intent).await;
    assert_eq!((seen.ours, seen.in_the_way.map(|other| other.id)), (None, Some(rule.clone())));
    intent.adopt = Adopt::Untagged;
    rig.apply(&intent, Change::Adopt { rule: rule.clone() }).await;
    assert_eq!(rig.ours(&intent).await.id, rule);
    rig.apply(&intent, modify(&rule, Some(rig.weights(90, 10)), None)).await;

    let answer = rig.world.client.describe_rules().rule_arns(&rule).send().await.unwrap();
    let actions = answer.rules()[0].actions();
    assert_eq!(actions.len(), 2);
    let login = actions[0].authenticate_oidc_config().unwrap();
    assert_eq!((login.issuer(), login.client_id()), (Some("https://id.example.com"), Some("web")));
    let seen = rig.ours(&intent).await;
    assert_eq!(seen.weights, rig.weights(90, 10));
    assert_eq!(seen.stickiness, Sticky { enabled: true, seconds: 60 });
}

async fn rule_with_login(rig: &Rig, listener: &str) -> String {
    let login = AuthenticateOidcActionConfig::builder()
        .issuer("https://id.example.com")
        .authorization_endpoint("https://id.example.com/auth")
        .token_endpoint("https://id.example.com/token")
        .user_info_endpoint("https://id.example.com/me")
        .client_id("web")
        .client_secret("not-a-real-client-secret")
        .build();
    let login = Action::builder().r#type(ActionTypeEnum::AuthenticateOidc).order(1).authenticate_oidc_config(login);
    let sticky = TargetGroupStickinessConfig::builder().enabled(true).duration_seconds(60).build();
    let tuple = TargetGroupTuple::builder().target_group_arn(&rig.blue).weight(1).build();
    let config = ForwardActionConfig::builder().target_groups(tuple).target_group_stickiness_config(sticky).build();
    let forward = Action::builder().r#type(ActionTypeEnum::Forward).order(2).forward_config(config);
    let path = PathPatternConditionConfig::builder().values("/").build();
    let path = RuleCondition::builder().field("path-pattern").path_pattern_config(path).build();
    let create = rig.world.client.create_rule().listener_arn(listener).priority(10).conditions(path);
    let created = create.actions(login.build()).actions(forward.build()).send().await.unwrap();
    created.rules()[0].rule_arn().unwrap().to_owned()
}

#[tokio::test]
async fn health_is_seen_once_a_group_is_attached() {
    let rig = Rig::start().await;
    let intent = rig.intent();
    let health = async |group: &str| rig.router.health(&intent, group, &call(Lane::Verify)).await.unwrap();
    let unused = health(&rig.blue).await;
    assert_eq!((unused.healthy, unused.total, unused.gone), (0, 2, false));

    rig.apply(&intent, Change::Create { weights: rig.weights(100, 0), stickiness: None }).await;
    rig.front.set_health(&rig.green, Health::Unhealthy).unwrap();
    let deadline = tokio::time::Instant::now() + WITHIN;
    let mut changed = rig.front.changed();
    while health(&rig.blue).await.healthy < 2 {
        tokio::time::timeout_at(deadline, changed.changed()).await.unwrap().unwrap();
    }
    let green = health(&rig.green).await;
    assert_eq!((green.healthy, green.total), (0, 1));
    assert!(health(&rig.green.replace("green", "violet")).await.gone);
}
