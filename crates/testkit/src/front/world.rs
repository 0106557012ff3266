//! What a test needs before okra can start: a network, a load balancer, a listener, target groups.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::config::retry::RetryConfig;
use aws_sdk_elasticloadbalancingv2::config::timeout::TimeoutConfig;
use aws_sdk_elasticloadbalancingv2::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, Certificate, FixedResponseActionConfig, ProtocolEnum, Tag, TargetDescription,
    TargetTypeEnum,
};

use super::node::Node;
use super::{Front, REGION};

/// The caller in the record of what builds a world; with an account appended, in that one.
pub(crate) const CALLER: &str = "world";

pub(crate) fn client(endpoint: &str, caller: &str) -> Client {
    client_of(endpoint, REGION, Credentials::new(caller, "not-a-secret", None, None, "testkit"))
}

pub(crate) fn client_of(endpoint: &str, region: &str, credentials: Credentials) -> Client {
    let timeouts = TimeoutConfig::builder().operation_timeout(Duration::from_secs(30)).build();
    let config = aws_sdk_elasticloadbalancingv2::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new(region.to_owned()))
        .credentials_provider(credentials)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .build();
    Client::from_conf(config)
}

/// A load balancer with a listener whose default rule answers 404, made through the front with the SDK.
pub struct AwsWorld {
    /// A client with the caller `world`.
    pub client: Client,
    /// The load balancer's ARN.
    pub load_balancer: String,
    /// The ARN of its HTTP listener on port 80.
    pub listener: String,
    vpc: String,
    subnets: Vec<String>,
}

impl AwsWorld {
    /// Builds load balancer `okra` with a listener, in the account of callers without one of their own.
    pub async fn new(front: &Front) -> anyhow::Result<Self> {
        Self::by(front, CALLER).await
    }

    /// The same in another account.
    pub async fn in_account(front: &Front, account: &str) -> anyhow::Result<Self> {
        let caller = format!("{CALLER}-{account}");
        front.set_account(&caller, account);
        Self::by(front, &caller).await
    }

    async fn by(front: &Front, caller: &str) -> anyhow::Result<Self> {
        let (vpc, subnets) = network(front, caller).await?;
        let client = front.client(caller);
        let mut world = Self { client, load_balancer: String::new(), listener: String::new(), vpc, subnets };
        world.load_balancer = world.load_balancer("okra").await?;
        world.listener = world.listener(&world.load_balancer, 80).await?;
        Ok(world)
    }

    /// Creates one more load balancer; its ARN.
    pub async fn load_balancer(&self, name: &str) -> anyhow::Result<String> {
        let created = self
            .client
            .create_load_balancer()
            .name(name)
            .set_subnets(Some(self.subnets.clone()))
            .send()
            .await
            .with_context(|| format!("failed to create load balancer {name}"))?;
        let arn = created.load_balancers().first().and_then(|lb| lb.load_balancer_arn());
        Ok(arn.context("the load balancer has no ARN")?.to_owned())
    }

    /// Creates an HTTP listener whose default rule answers 404; its ARN.
    pub async fn listener(&self, load_balancer: &str, port: i32) -> anyhow::Result<String> {
        self.make_listener(load_balancer, port, ProtocolEnum::Http, &[]).await
    }

    /// The same with tags, by which faults can find the calls about it; its ARN.
    pub async fn tagged_listener(
        &self,
        load_balancer: &str,
        port: i32,
        tags: &[(&str, &str)],
    ) -> anyhow::Result<String> {
        self.make_listener(load_balancer, port, ProtocolEnum::Http, tags).await
    }

    /// Creates an HTTPS listener, which authentication actions need; its ARN.
    pub async fn https_listener(&self, load_balancer: &str, port: i32) -> anyhow::Result<String> {
        self.make_listener(load_balancer, port, ProtocolEnum::Https, &[]).await
    }

    async fn make_listener(
        &self,
        load_balancer: &str,
        port: i32,
        protocol: ProtocolEnum,
        tags: &[(&str, &str)],
    ) -> anyhow::Result<String> {
        let certificate = "arn:aws:acm:us-east-1:123456789012:certificate/00000000-0000-0000-0000-000000000000";
        let certificate = Certificate::builder().certificate_arn(certificate).build();
        let not_found = FixedResponseActionConfig::builder().status_code("404").build();
        let default = Action::builder().r#type(ActionTypeEnum::FixedResponse).fixed_response_config(not_found).build();
        let created = self
            .client
            .create_listener()
            .load_balancer_arn(load_balancer)
            .set_certificates((protocol == ProtocolEnum::Https).then(|| vec![certificate]))
            .protocol(protocol)
            .port(port)
            .default_actions(default)
            .set_tags(to_tags(tags))
            .send()
            .await
            .context("failed to create listener")?;
        let arn = created.listeners().first().and_then(|listener| listener.listener_arn());
        Ok(arn.context("the listener has no ARN")?.to_owned())
    }

    /// Creates a target group with these targets; its ARN.
    pub async fn target_group(&self, name: &str, targets: &[SocketAddr]) -> anyhow::Result<String> {
        self.tagged_target_group(name, targets, &[]).await
    }

    /// Creates a target group with these targets and tags; its ARN.
    pub async fn tagged_target_group(
        &self,
        name: &str,
        targets: &[SocketAddr],
        tags: &[(&str, &str)],
    ) -> anyhow::Result<String> {
        let created = self
            .client
            .create_target_group()
            .name(name)
            .protocol(ProtocolEnum::Http)
            .port(80)
            .vpc_id(&self.vpc)
            .target_type(TargetTypeEnum::Ip)
            .set_tags(to_tags(tags))
            .send()
            .await
            .with_context(|| format!("failed to create target group {name}"))?;
        let arn = created.target_groups().first().and_then(|group| group.target_group_arn());
        let arn = arn.context("the target group has no ARN")?.to_owned();
        self.register(&arn, targets).await?;
        Ok(arn)
    }

    /// Registers targets with a group.
    pub async fn register(&self, group: &str, targets: &[SocketAddr]) -> anyhow::Result<()> {
        if targets.is_empty() {
            return Ok(());
        }
        let described = Some(targets.iter().map(describe).collect());
        let call = self.client.register_targets().target_group_arn(group).set_targets(described);
        call.send().await.with_context(|| format!("failed to register targets with {group}"))?;
        Ok(())
    }

    /// Deregisters targets from a group.
    pub async fn deregister(&self, group: &str, targets: &[SocketAddr]) -> anyhow::Result<()> {
        let described = Some(targets.iter().map(describe).collect());
        let call = self.client.deregister_targets().target_group_arn(group).set_targets(described);
        call.send().await.with_context(|| format!("failed to deregister targets from {group}"))?;
        Ok(())
    }

    /// Deletes a target group; refused while a rule uses it.
    pub async fn delete_target_group(&self, group: &str) -> anyhow::Result<()> {
        let call = self.client.delete_target_group().target_group_arn(group);
        call.send().await.with_context(|| format!("failed to delete target group {group}"))?;
        Ok(())
    }
}

fn to_tags(tags: &[(&str, &str)]) -> Option<Vec<Tag>> {
    let tag = |(key, value): &(&str, &str)| Tag::builder().key(*key).value(*value).build();
    (!tags.is_empty()).then(|| tags.iter().map(tag).collect())
}

fn describe(target: &SocketAddr) -> TargetDescription {
    TargetDescription::builder().id(target.ip().to_string()).port(i32::from(target.port())).build()
}

/// moto's default network: its id and two subnets in two zones. No EC2 client is worth its build for one call.
async fn network(front: &Front, caller: &str) -> anyhow::Result<(String, Vec<String>)> {
    let scope = format!("Credential={caller}/20260101/{REGION}/ec2/aws4_request, SignedHeaders=host, Signature=0");
    let answer = front
        .shared
        .http
        .post(front.endpoint())
        .header("authorization", format!("AWS4-HMAC-SHA256 {scope}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("Action=DescribeSubnets&Version=2016-11-15")
        .send()
        .await
        .context("failed to list subnets")?
        .text()
        .await
        .context("failed to read the list of subnets")?;
    let (_, node) = Node::from_xml(&answer).map_err(|error| anyhow::anyhow!("failed to parse subnets: {error}"))?;
    let subnets = node.list("subnetSet");
    let vpc = subnets.first().and_then(|subnet| subnet.str("vpcId")).context("moto has no default network")?;
    let of_vpc = subnets.iter().filter(|subnet| subnet.str("vpcId") == Some(vpc));
    let ids: Vec<String> = of_vpc.filter_map(|subnet| subnet.str("subnetId")).take(2).map(str::to_owned).collect();
    anyhow::ensure!(ids.len() == 2, "moto's default network has fewer than two subnets");
    Ok((vpc.to_owned(), ids))
}
