//! Names and tags of target groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures::{StreamExt as _, stream};
use okra_api::names::VERSION_LABEL;
use okra_core::route::Lane;
use okra_provider::{
    RouterErrorKind,
    target_group::{Answers, NamedGroup, TaggedGroup, TargetGroupInventory},
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    arn::{group_place, short},
    client::timeouts,
    error::{Failure, Occasion},
    operation::Operation,
    router::AlbRouter,
};

/// How long an answer counts: tags are changed by hand, and a target group can be made anew under its name.
const FRESH: Duration = Duration::from_mins(5);
/// How long a failure counts: every change of a binding is a reason to ask, and must not be one for a storm.
const FAILED: Duration = Duration::from_secs(20);
/// Target groups of one DescribeTags; the API's most.
const TAGS_AT_ONCE: usize = 20;
/// Calls at once. The rate limit is what bounds them; this bounds what waits for it.
const CALLS_AT_ONCE: usize = 8;
/// How long a call waits for the rate limit: everything else goes first.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// What was answered, and when.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    arns: Mutex<BTreeMap<NamedGroup, Told>>,
    versions: Mutex<BTreeMap<TaggedGroup, Told>>,
}

type Told = (Instant, Result<Option<String>, String>);

/// Splits into what is known and what has to be asked; forgets what is too old.
fn known<T: Ord + Clone>(memory: &Mutex<BTreeMap<T, Told>>, wanted: &BTreeSet<T>) -> (Answers<T>, Vec<T>) {
    let mut memory = memory.lock();
    memory.retain(|_, (at, told)| at.elapsed() < if told.is_ok() { FRESH } else { FAILED });
    let known: Answers<T> = wanted.iter().filter_map(|one| Some((one.clone(), memory.get(one)?.1.clone()))).collect();
    let unknown = wanted.iter().filter(|one| !known.contains_key(one)).cloned().collect();
    (known, unknown)
}

fn keep<T: Ord + Clone>(memory: &Mutex<BTreeMap<T, Told>>, answers: &Answers<T>) {
    let now = Instant::now();
    memory.lock().extend(answers.iter().map(|(one, told)| (one.clone(), (now, told.clone()))));
}

#[async_trait]
impl TargetGroupInventory for AlbRouter {
    async fn arns(&self, groups: &BTreeSet<NamedGroup>, timeout: Duration) -> Answers<NamedGroup> {
        let memory = &self.target_groups.arns;
        let (mut answers, unknown) = known(memory, groups);
        let asked =
            stream::iter(unknown).map(|group| async move { (group.clone(), self.arn_of(&group, timeout).await) });
        let told: Answers<NamedGroup> = asked.buffered(CALLS_AT_ONCE).collect().await;
        keep(memory, &told);
        answers.extend(told);
        answers
    }

    async fn versions(&self, groups: &BTreeSet<TaggedGroup>, timeout: Duration) -> Answers<TaggedGroup> {
        let memory = &self.target_groups.versions;
        let (mut answers, unknown) = known(memory, groups);
        let mut by_place = BTreeMap::<_, Vec<TaggedGroup>>::new();
        for group in unknown {
            if let Some(place) = group_place(&group.arn) {
                by_place.entry((place, group.role_arn.clone())).or_default().push(group);
            } else {
                let why = format!("{} is no ARN of a target group", group.arn);
                answers.insert(group, Err(why));
            }
        }
        let batches = by_place
            .into_values()
            .flat_map(|groups| groups.chunks(TAGS_AT_ONCE).map(<[TaggedGroup]>::to_vec).collect::<Vec<_>>());
        let asked = stream::iter(batches.collect::<Vec<_>>()).map(|batch| self.versions_of(batch, timeout));
        let told: Vec<Answers<TaggedGroup>> = asked.buffered(CALLS_AT_ONCE).collect().await;
        for told in told {
            keep(memory, &told);
            answers.extend(told);
        }
        answers
    }
}

impl AlbRouter {
    async fn arn_of(&self, group: &NamedGroup, timeout: Duration) -> Result<Option<String>, String> {
        let Some(region) = group.region.as_deref() else {
            return Err("the region of its cluster is not known: write targetGroupARN in the binding".to_owned());
        };
        let role = group.role_arn.as_deref();
        let account = role.and_then(|role| role.split(':').nth(4)).unwrap_or_default();
        let client = self.clients.get(region, role).await;
        let request = client.describe_target_groups().names(&group.name).customize().config_override(timeouts(timeout));
        let place = Place { region, account, role, timeout };
        let subject = format!("target group {}", group.name);
        let answer = self.look_up(&place, Operation::DescribeTargetGroups, &subject, request.send()).await;
        match answer {
            Ok(answer) => {
                let found = answer.target_groups().iter().find(|found| found.target_group_name() == Some(&group.name));
                Ok(found.and_then(|found| found.target_group_arn()).map(str::to_owned))
            }
            Err((RouterErrorKind::GroupNotFound, _)) => Ok(None),
            Err((_, why)) => Err(why),
        }
    }

    /// Versions of target groups of one account, region and role.
    async fn versions_of(&self, batch: Vec<TaggedGroup>, timeout: Duration) -> Answers<TaggedGroup> {
        match self.tags_of(&batch, timeout).await {
            // One of them is gone, and AWS answers for none.
            Err((RouterErrorKind::GroupNotFound, _)) if batch.len() > 1 => {
                let mut answers = Answers::new();
                for one in batch {
                    let told = self.tags_of(std::slice::from_ref(&one), timeout).await;
                    answers.extend(told.unwrap_or_else(|(_, why)| [(one, Err(why))].into()));
                }
                answers
            }
            Err((_, why)) => batch.into_iter().map(|group| (group, Err(why.clone()))).collect(),
            Ok(answers) => answers,
        }
    }

    async fn tags_of(
        &self,
        batch: &[TaggedGroup],
        timeout: Duration,
    ) -> Result<Answers<TaggedGroup>, (RouterErrorKind, String)> {
        let Some((first, (region, account))) = batch.first().and_then(|first| Some((first, group_place(&first.arn)?)))
        else {
            return Ok(Answers::new());
        };
        let role = first.role_arn.as_deref();
        let client = self.clients.get(&region, role).await;
        let arns = batch.iter().map(|group| group.arn.clone()).collect();
        let request = client.describe_tags().set_resource_arns(Some(arns));
        let request = request.customize().config_override(timeouts(timeout));
        let place = Place { region: &region, account: &account, role, timeout };
        let subject = match batch {
            [one] => short(&one.arn).to_owned(),
            more => format!("{} target groups", more.len()),
        };
        let answer = self.look_up(&place, Operation::DescribeTags, &subject, request.send()).await?;
        let mut tags = BTreeMap::new();
        for told in answer.tag_descriptions() {
            let version = told.tags().iter().find(|tag| tag.key() == Some(VERSION_LABEL)).and_then(|tag| tag.value());
            tags.extend(told.resource_arn().map(|arn| (arn, version.map(str::to_owned))));
        }
        let told = |group: &TaggedGroup| match tags.get(group.arn.as_str()) {
            Some(version) => Ok(version.clone()),
            None => Err(format!("AWS's answer does not speak of {}", short(&group.arn))),
        };
        Ok(batch.iter().map(|group| (group.clone(), told(group))).collect())
    }

    /// One call of the lowest lane: waits for the rate limit, counts, and explains a failure.
    async fn look_up<T, E>(
        &self,
        place: &Place<'_>,
        operation: Operation,
        subject: &str,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, (RouterErrorKind, String)>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let limiter = self.limiters.of(place.account, place.region);
        let begun = Instant::now();
        let waited = tokio::select! {
            biased;
            waited = limiter.acquire(Lane::Discovery, operation.kind(), LONGEST_WAIT) => waited.map_err(|error| error.to_string()),
            () = self.gives_up() => Err("okra stops".to_owned()),
        };
        let permit = waited
            .map_err(|why| (RouterErrorKind::Throttled, format!("failed to {}: {why}", operation.doing(subject))))?;
        self.metrics.count_wait(Lane::Discovery, begun.elapsed());
        let failure = match request.await {
            Ok(answer) => {
                limiter.answered(permit);
                self.metrics.count_call(operation.name(), "OK");
                return Ok(answer);
            }
            Err(error) => Failure::of(&error, place.timeout),
        };
        self.metrics.count_call(operation.name(), &failure.code);
        self.learn(&limiter, permit, &failure);
        let kind = failure.kind;
        let occasion = Occasion { operation, subject, region: place.region, role: place.role, priority: 0 };
        Err((kind, failure.explain(occasion).message))
    }
}

/// Where a call goes.
struct Place<'a> {
    region: &'a str,
    account: &'a str,
    role: Option<&'a str>,
    timeout: Duration,
}
