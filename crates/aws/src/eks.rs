//! Which EKS clusters there are.

mod describe;
mod memory;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_eks::config::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_resourcegroupstagging::types::TagFilter;
use futures::{StreamExt as _, stream};
use okra_api::cluster_set::AnswerState;
use okra_provider::{
    ClusterInventory, InventoryAnswer, RouterErrorKind,
    cluster::{ClusterQuery, FoundCluster},
};
use tokio::sync::Mutex;

use self::{
    describe::{account, found_cluster, is_of_region, name_of, selects},
    memory::{Memory, Place},
};
use crate::{
    answer_limit::AnswerLimit,
    client::{assume, load},
    error::Failure,
    metrics::AwsMetrics,
};

/// Pages of one listing; more mean that paging does not end. 100 clusters on each: far over the quota of a region.
const MAX_PAGES: usize = 50;
/// Clusters that are described at once.
const AT_ONCE: usize = 8;
/// AWS's code for a cluster that is not there.
const NOT_FOUND: &str = "ResourceNotFoundException";

/// Settings of an [`EksInventory`].
#[derive(Clone, Debug, Default)]
pub struct EksInventoryConfig {
    /// Where AWS is; `None`: AWS itself, or what `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_EKS` and
    /// `AWS_ENDPOINT_URL_RESOURCE_GROUPS_TAGGING_API` say.
    pub endpoint_url: Option<String>,
    /// Where calls are counted.
    pub metrics: Arc<AwsMetrics>,
}

/// EKS clusters by tags.
///
/// One GetResources of the tagging API names those that match; each is described once, and again when its tags change
/// or after five minutes. When the tagging API may not be asked or names none, ListClusters and DescribeCluster are
/// asked instead, and it is tried again ten minutes later. These calls have rates of their own: they take nothing of
/// the budget that load balancers have.
#[derive(Debug)]
pub struct EksInventory {
    config: EksInventoryConfig,
    credentials: Option<SharedCredentialsProvider>,
    clients: Mutex<BTreeMap<Identity, Arc<Clients>>>,
    memory: Memory,
}

/// Region (`None`: the process's own) and role.
type Identity = (Option<String>, Option<String>);

#[derive(Debug)]
struct Clients {
    region: String,
    role: Option<String>,
    place: Place,
    eks: aws_sdk_eks::Client,
    tagging: aws_sdk_resourcegroupstagging::Client,
}

/// One look.
struct Look<'a> {
    inventory: &'a EksInventory,
    clients: Arc<Clients>,
    query: &'a ClusterQuery,
    timeout: Duration,
}

/// Which clusters a listing named: ARN or, where only that is known, name; with the tags that it told of.
type Listed = Vec<(String, Option<BTreeMap<String, String>>)>;

impl EksInventory {
    /// With credentials of the SDK's standard chain. Calls nothing yet.
    pub fn new(config: EksInventoryConfig) -> Self {
        Self { config, credentials: None, clients: Mutex::default(), memory: Memory::default() }
    }

    /// With these credentials instead of the standard chain's; a role is assumed with them.
    pub fn with_credentials(config: EksInventoryConfig, credentials: SharedCredentialsProvider) -> Self {
        Self { credentials: Some(credentials), ..Self::new(config) }
    }

    /// The clients of a region and a role; `None` when no region is configured.
    async fn clients(&self, region: Option<&str>, role: Option<&str>) -> Option<Arc<Clients>> {
        let identity = (region.map(str::to_owned), role.map(str::to_owned));
        let mut known = self.clients.lock().await;
        if let Some(clients) = known.get(&identity) {
            return Some(clients.clone());
        }
        let config = load(region, self.config.endpoint_url.as_deref(), self.credentials.as_ref()).await;
        let region = config.region()?.to_string();
        let mut eks = aws_sdk_eks::config::Builder::from(&config).interceptor(AnswerLimit);
        let mut tagging = aws_sdk_resourcegroupstagging::config::Builder::from(&config).interceptor(AnswerLimit);
        if let Some(role) = role {
            let credentials = SharedCredentialsProvider::new(assume(role, &config).await);
            eks = eks.credentials_provider(credentials.clone());
            tagging = tagging.credentials_provider(credentials);
        }
        let clients = Arc::new(Clients {
            place: (region.clone(), role.map(str::to_owned)),
            region,
            role: role.map(str::to_owned),
            eks: aws_sdk_eks::Client::from_conf(eks.retry_config(RetryConfig::disabled()).build()),
            tagging: aws_sdk_resourcegroupstagging::Client::from_conf(
                tagging.retry_config(RetryConfig::disabled()).build(),
            ),
        });
        known.insert(identity, clients.clone());
        Some(clients)
    }
}

#[async_trait]
impl ClusterInventory for EksInventory {
    async fn list(&self, query: &ClusterQuery, timeout: Duration) -> InventoryAnswer {
        let role = query.role_arn.as_deref().filter(|role| !role.is_empty());
        let Some(clients) = self.clients(query.region.as_deref(), role).await else {
            let why = "no region: set region of the generator, or AWS_REGION of this process";
            return InventoryAnswer::incomplete("awseks", AnswerState::Denied, why);
        };
        Look { inventory: self, clients, query, timeout }.answer().await
    }

    async fn describe(
        &self,
        name: &str,
        region: Option<&str>,
        role_arn: Option<&str>,
        timeout: Duration,
    ) -> Result<FoundCluster, String> {
        let clients = self.clients(region, role_arn).await.ok_or("no region: give one, or set AWS_REGION")?;
        let query = ClusterQuery::default();
        let look = Look { inventory: self, clients, query: &query, timeout };
        match look.describe_now(name).await {
            Ok(Some(cluster)) => Ok(cluster),
            Ok(None) => Err(format!("there is no cluster {name} in region {}", look.clients.region)),
            Err(failure) => Err(look.words("eks:DescribeCluster", &format!("describe cluster {name}"), &failure)),
        }
    }
}

impl Look<'_> {
    async fn answer(&self) -> InventoryAnswer {
        let name = match &self.clients.role {
            Some(role) => format!("awseks {} as {role}", self.clients.region),
            None => format!("awseks {}", self.clients.region),
        };
        let listed = match self.listed().await {
            Ok(listed) => listed,
            Err((state, why)) => return InventoryAnswer::incomplete(name, state, why),
        };
        let mut answer = InventoryAnswer::complete(name, Vec::new());
        let described = self.describe_each(&listed).await;
        for (cluster, trouble) in described {
            answer.clusters.extend(cluster.filter(|cluster| selects(self.query, cluster)));
            note(&mut answer, trouble);
        }
        self.confirm_the_missing(&mut answer).await;
        answer.clusters.sort_by(|a, b| a.id.cmp(&b.id));
        answer
    }

    /// What AWS lists. The tagging API is asked first, since it knows the tags.
    async fn listed(&self) -> Result<Listed, (AnswerState, String)> {
        let (memory, place) = (&self.inventory.memory, &self.clients.place);
        let mut why_not = String::new();
        if memory.may_ask_tagging(place) {
            match self.tagged().await {
                Ok(listed) if !listed.is_empty() => return Ok(listed),
                Ok(_) => {}
                Err(failure) if failure.kind == RouterErrorKind::Throttled => {
                    return Err((
                        AnswerState::Throttled,
                        self.words("tag:GetResources", "list tagged clusters", &failure),
                    ));
                }
                Err(failure) => why_not = self.words("tag:GetResources", "list tagged clusters", &failure),
            }
            memory.leave_tagging(place);
        }
        match self.names().await {
            Ok(names) => Ok(names.into_iter().map(|name| (name, None)).collect()),
            Err(failure) => {
                let words = self.words("eks:ListClusters", "list clusters", &failure);
                let words = if why_not.is_empty() { words } else { format!("{why_not}; {words}") };
                Err((state_of(&failure), words))
            }
        }
    }

    async fn tagged(&self) -> Result<Listed, Failure> {
        let filters =
            self.query.match_tags.iter().map(|(key, value)| TagFilter::builder().key(key).values(value).build());
        let filters: Vec<TagFilter> = filters.collect();
        let (mut listed, mut token) = (Listed::new(), None::<String>);
        for _ in 0..MAX_PAGES {
            let request = self.clients.tagging.get_resources().resource_type_filters("eks:cluster");
            let request = request.set_tag_filters(Some(filters.clone())).resources_per_page(100);
            let timeouts = aws_sdk_resourcegroupstagging::config::Config::builder().timeout_config(self.timeouts());
            let request = request.set_pagination_token(token.take()).customize().config_override(timeouts);
            let answer = request.send().await;
            let answer = self.counted("GetResources", answer.map_err(|error| Failure::of(&error, self.timeout)))?;
            for resource in answer.resource_tag_mapping_list() {
                let tags = resource.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned()));
                listed.extend(resource.resource_arn().map(|arn| (arn.to_owned(), Some(tags.collect()))));
            }
            token = answer.pagination_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(listed);
            }
        }
        Err(endless())
    }

    async fn names(&self) -> Result<Vec<String>, Failure> {
        let (mut names, mut token) = (Vec::new(), None::<String>);
        for _ in 0..MAX_PAGES {
            let timeouts = aws_sdk_eks::config::Config::builder().timeout_config(self.timeouts());
            let request = self.clients.eks.list_clusters().max_results(100).set_next_token(token.take());
            let answer = request.customize().config_override(timeouts).send().await;
            let answer = self.counted("ListClusters", answer.map_err(|error| Failure::of(&error, self.timeout)))?;
            names.extend(answer.clusters.unwrap_or_default());
            token = answer.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(names);
            }
        }
        Err(endless())
    }

    /// Each of them as it is described, and what went wrong.
    async fn describe_each(&self, listed: &Listed) -> Vec<(Option<FoundCluster>, Option<(AnswerState, String)>)> {
        let describe = |(cluster, tags): (String, Option<BTreeMap<String, String>>)| async move {
            let name = name_of(&cluster);
            let known = self.inventory.memory.known(&self.clients.place, &name);
            if let Some(known) = known.as_ref().filter(|known| known.is_fresh(tags.as_ref())) {
                return (Some(known.cluster.clone()), None);
            }
            match self.describe_now(&name).await {
                // The tagging API names clusters for a while after they are gone.
                Ok(cluster) => (cluster, None),
                Err(failure) => {
                    let words = self.words("eks:DescribeCluster", &format!("describe cluster {name}"), &failure);
                    (known.map(|known| known.cluster), Some((partly(&failure), words)))
                }
            }
        };
        stream::iter(listed.clone()).map(describe).buffered(AT_ONCE).collect().await
    }

    /// Asks for each cluster that was found before and that the listing lacks: it may be gone, or have lost its tags,
    /// or the listing may be behind.
    async fn confirm_the_missing(&self, answer: &mut InventoryAnswer) {
        let (region, place) = (&self.clients.region, &self.clients.place);
        let there: BTreeSet<&str> = answer.clusters.iter().map(|cluster| cluster.id.as_str()).collect();
        let own = self.inventory.memory.account(place);
        let missing = self.query.known.iter().filter(|arn| {
            let elsewhere = own.as_deref().is_some_and(|own| account(arn) != own);
            is_of_region(arn, region) && !there.contains(arn.as_str()) && !elsewhere
        });
        let ask = |arn: String| async move {
            let name = name_of(&arn);
            let known = self.inventory.memory.known(place, &name);
            // One that another generator selects is in its place, as far as was told in the last minutes.
            if known.is_some_and(|known| known.is_fresh(None) && !selects(self.query, &known.cluster)) {
                return (None, None);
            }
            match self.describe_now(&name).await {
                Ok(cluster) => (cluster.filter(|cluster| cluster.id == arn && selects(self.query, cluster)), None),
                Err(failure) => {
                    let words =
                        self.words("eks:DescribeCluster", &format!("confirm that cluster {name} is gone"), &failure);
                    (None, Some((partly(&failure), words)))
                }
            }
        };
        let asked: Vec<_> =
            stream::iter(missing.cloned().collect::<Vec<_>>()).map(ask).buffered(AT_ONCE).collect().await;
        for (cluster, trouble) in asked {
            answer.clusters.extend(cluster);
            note(answer, trouble);
        }
    }

    /// One cluster as it is now; `None` when there is none of that name.
    async fn describe_now(&self, name: &str) -> Result<Option<FoundCluster>, Failure> {
        let timeouts = aws_sdk_eks::config::Config::builder().timeout_config(self.timeouts());
        let request = self.clients.eks.describe_cluster().name(name).customize().config_override(timeouts);
        let answer = request.send().await.map_err(|error| Failure::of(&error, self.timeout));
        let (region, place) = (&self.clients.region, &self.clients.place);
        match self.counted("DescribeCluster", answer) {
            Ok(answer) => {
                let cluster = answer.cluster.map(|cluster| found_cluster(&cluster, name, region));
                let cluster = cluster.ok_or_else(|| Failure {
                    kind: RouterErrorKind::Unreachable,
                    code: "InvalidAnswer".to_owned(),
                    detail: "the answer holds no cluster".to_owned(),
                    credentials: false,
                })?;
                self.inventory.memory.keep(place, name, cluster.clone());
                Ok(Some(cluster))
            }
            Err(failure) if failure.code == NOT_FOUND => {
                self.inventory.memory.forget(place, name);
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    fn counted<T>(&self, operation: &'static str, answer: Result<T, Failure>) -> Result<T, Failure> {
        let code = answer.as_ref().err().map_or("OK", |failure| failure.code.as_str());
        self.inventory.config.metrics.count_call(operation, code);
        answer
    }

    fn timeouts(&self) -> TimeoutConfig {
        TimeoutConfig::builder().operation_timeout(self.timeout).operation_attempt_timeout(self.timeout).build()
    }

    /// What failed, why, and what to do.
    fn words(&self, action: &str, doing: &str, failure: &Failure) -> String {
        let Failure { kind, code, detail, .. } = failure;
        let (region, who) =
            (&self.clients.region, self.clients.role.as_deref().unwrap_or("the identity of this process"));
        let remedy = match kind {
            RouterErrorKind::Denied if !failure.credentials => format!(". Allow {action} to {who}"),
            RouterErrorKind::Denied => format!(". Check the credentials of {who}"),
            _ => String::new(),
        };
        format!("failed to {doing} in region {region}: {code}: {}{remedy}", detail.trim_end_matches('.'))
    }
}

fn note(answer: &mut InventoryAnswer, trouble: Option<(AnswerState, String)>) {
    let Some((state, why)) = trouble else { return };
    // The first is told, but for being asked to slow down, which says what to do about all of them.
    if answer.state == AnswerState::Complete || state == AnswerState::Throttled {
        (answer.state, answer.message) = (state, why);
    }
}

fn state_of(failure: &Failure) -> AnswerState {
    match failure.kind {
        RouterErrorKind::Throttled => AnswerState::Throttled,
        RouterErrorKind::Denied => AnswerState::Denied,
        RouterErrorKind::Unreachable => AnswerState::Unreachable,
        _ => AnswerState::Partial,
    }
}

/// The state of an answer of which one cluster is missing.
fn partly(failure: &Failure) -> AnswerState {
    match failure.kind {
        RouterErrorKind::Throttled => AnswerState::Throttled,
        _ => AnswerState::Partial,
    }
}

fn endless() -> Failure {
    Failure {
        kind: RouterErrorKind::Unreachable,
        code: "TooManyPages".to_owned(),
        detail: format!("the listing did not end after {MAX_PAGES} pages"),
        credentials: false,
    }
}
