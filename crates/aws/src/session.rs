//! One call of the port about one intent: which client, which limiter, and the reads.

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use aws_sdk_elasticloadbalancingv2::{
    Client, config,
    types::{Rule, TagDescription, TargetHealthDescription, TargetHealthReasonEnum, TargetHealthStateEnum},
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures::{FutureExt as _, future::BoxFuture};
use okra_api::names::{CELL_TAG, OWNER_TAG};
use okra_core::route::{GroupHealth, Intent, Lane, Observed, ObservedRule, Place};
use okra_provider::{CallContext, NotLeader, RouterError, RouterErrorKind};
use tokio::time::Instant;

use crate::{
    actions,
    arn::{ListenerArn, short},
    client::timeouts,
    conditions,
    error::{Failure, Occasion},
    limiter::{CallKind, Limiter, Permit},
    memory::Tags,
    operation::Operation,
    router::AlbRouter,
    together::{AT_ONCE as TAGS_AT_ONCE, Queue, Together, Told},
};

/// How often a call that waits for the rate limit asks whether it may still go out.
const ASK_WHILE_WAITING: Duration = Duration::from_millis(200);
/// How long a call waits for the rate limit before it gives up.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How long a reading waits that comes before a change: in a crowd of Cells its turn comes with that of the change, and
/// three of them change in a second. It has not been made, so it does not grow old; when the change is not wanted any
/// more, it ends.
const LONGEST_TURN: Duration = Duration::from_mins(10);
/// Rules on a page of DescribeRules; the API's most.
const PAGE_SIZE: i32 = 400;
/// Pages of one listener. Quotas allow a fraction of these rules: more means that paging does not end.
const MAX_PAGES: usize = 25;
/// Tags are looked at again when drift is, but not each time: then a listener at rest costs one call.
const TAGS_AGE: Duration = Duration::from_hours(1);

/// One call of the port.
pub(crate) struct Session<'a> {
    pub router: &'a AlbRouter,
    pub intent: &'a Intent,
    pub call: &'a CallContext,
    pub listener: ListenerArn,
    pub priority: i32,
    pub role: Option<&'a str>,
    pub client: Client,
    limiter: Arc<Limiter>,
    begun: Instant,
    changes: bool,
}

impl<'a> Session<'a> {
    /// Finds what is needed for calls about an intent's listener.
    pub async fn begin(router: &'a AlbRouter, intent: &'a Intent, call: &'a CallContext) -> Result<Self, RouterError> {
        let Place::Alb { listener_arn, role_arn, priority, .. } = &intent.place else {
            return Err(RouterError::new(
                RouterErrorKind::Refused,
                "UnsupportedPlace",
                "failed to reach the route: only a listener of an Application Load Balancer is in AWS",
            ));
        };
        let listener = ListenerArn::parse(listener_arn)?;
        let role = role_arn.as_deref().filter(|role| !role.is_empty());
        let client = router.clients.get(&listener.region, role).await;
        let limiter = router.limiters.of(&listener.account, &listener.region);
        let begun = Instant::now();
        Ok(Self { router, intent, call, listener, priority: *priority, role, client, limiter, begun, changes: false })
    }

    /// The same for a change.
    pub fn for_change(self) -> Self {
        Self { changes: true, ..self }
    }

    /// The rule of the intent and what stands at its place, in as few calls as that takes.
    pub async fn observe(&self) -> Result<Observed, RouterError> {
        if let Some(known) = self.known_rule()
            && let Some(rule) = self.read_rule(known).await?
            && priority(&rule) == self.priority
            && unless_gone(self.is_ours(known, Duration::MAX).await)?
        {
            return Ok(Observed { ours: Some(observed(&rule, Tags::wanted(self.intent))), in_the_way: None });
        }
        let rules = self.list_rules().await?;
        self.sort_out(&rules).await
    }

    /// The same, from a reading of the listener that others share.
    pub async fn observe_shared(&self) -> Result<Observed, RouterError> {
        let rules = self.shared_rules().await?;
        self.sort_out(&rules).await
    }

    /// All rules of the listener but the default one.
    pub async fn observe_listener(&self) -> Result<Vec<ObservedRule>, RouterError> {
        let rules = self.shared_rules().await?;
        let tags = self.tags(&rules, TAGS_AGE).await?;
        let tags_of = |rule: &Rule| tags.get(arn(rule)).cloned().unwrap_or_default();
        Ok(rules.iter().map(|rule| observed(rule, tags_of(rule))).collect())
    }

    /// Health of a target group.
    pub async fn health(&self, group: &str) -> Result<GroupHealth, RouterError> {
        let request = self.client.describe_target_health().target_group_arn(group);
        let request = request.customize().config_override(self.timeouts());
        let subject = short(group).replacen("targetgroup/", "target group ", 1);
        match self.send(Operation::DescribeTargetHealth, &subject, request.send()).await {
            Ok(answer) => Ok(count(answer.target_health_descriptions())),
            Err(error) if error.kind == RouterErrorKind::GroupNotFound => {
                Ok(GroupHealth { gone: true, ..GroupHealth::default() })
            }
            Err(error) => Err(error),
        }
    }

    /// Reads one rule; `None` when it is gone.
    pub async fn read_rule(&self, rule: &str) -> Result<Option<Rule>, RouterError> {
        let operation = Operation::DescribeRules;
        let call = |permit, rules: Vec<String>| {
            let request = self.client.describe_rules().set_rule_arns(Some(rules));
            let request = request.customize().config_override(self.timeouts());
            async move {
                let answer = self.sent(permit, operation, request.send()).await?;
                let found = answer.rules.unwrap_or_default().into_iter();
                Ok(found.map(|rule| (arn(&rule).to_owned(), rule)).collect())
            }
            .boxed()
        };
        let found = match self.ask(operation, (&self.router.rules_asked, self.queue(operation)), rule, call).await {
            Err(error) if error.kind == RouterErrorKind::RuleNotFound => None,
            answer => answer?,
        };
        match &found {
            Some(found) => self.router.memory.keep_rule(found),
            None => self.router.memory.forget(rule),
        }
        Ok(found)
    }

    /// Asks about a rule or a listener, in one call with the questions that wait for the rate limit behind this one.
    /// `None`: the answer does not speak of it.
    async fn ask<'s, T: Clone + Send>(
        &'s self,
        operation: Operation,
        (waiting, queue): (&Together<T>, Queue),
        arn: &str,
        call: impl Fn(Permit, Vec<String>) -> BoxFuture<'s, Result<BTreeMap<String, T>, Failure>> + Send,
    ) -> Result<Option<T>, RouterError> {
        let subject = self.subject();
        loop {
            let mut question = waiting.ask(queue.clone(), arn);
            let told = tokio::select! {
                biased;
                told = &mut question.answer => told.ok(),
                permit = self.permit(operation, &subject) => match (permit?, question.take()) {
                    (permit, Some(batch)) => {
                        let outcome = call(permit, batch.arns()).await;
                        Some(batch.tell(outcome.as_ref()))
                    }
                    (permit, None) => {
                        self.limiter.refund(permit);
                        (&mut question.answer).await.ok()
                    }
                },
            };
            match told {
                Some(Told::Answer(answer)) => return Ok(answer),
                Some(Told::Failed(failure)) => return Err(self.explain(failure, operation, &subject)),
                Some(Told::AskAlone) => {
                    let permit = self.permit(operation, &subject).await?;
                    let outcome = call(permit, vec![arn.to_owned()]).await;
                    let outcome = outcome.map_err(|failure| self.explain(failure, operation, &subject));
                    return outcome.map(|mut found| found.remove(arn));
                }
                // Whoever called gave up.
                None => {}
            }
        }
    }

    fn queue(&self, operation: Operation) -> Queue {
        Queue {
            account: self.listener.account.clone(),
            region: self.listener.region.clone(),
            role: self.role.map(str::to_owned),
            lane: self.lane(operation),
            listener: None,
        }
    }

    /// Whether the tags of a rule say that it is ours, read at most `age` ago. That it is not is believed only when
    /// just read.
    pub async fn is_ours(&self, rule: &str, age: Duration) -> Result<bool, RouterError> {
        let wanted = Tags::wanted(self.intent);
        match self.router.memory.tags(rule, Duration::MAX) {
            Some(tags) if tags != wanted => {}
            Some(_) if self.router.memory.tags(rule, age).is_some() => return Ok(true),
            Some(_) => self.refresh_tags(rule, age).await?,
            None => {}
        }
        Ok(self.fresh_tags(rule).await? == wanted)
    }

    /// Reads the tags of a rule again, and in the same call those of other rules of the listener that are as old: in a
    /// wave of many Cells each needs them.
    async fn refresh_tags(&self, rule: &str, age: Duration) -> Result<(), RouterError> {
        let lock = self.router.memory.tags_lock(&self.listener.arn, self.lane(Operation::DescribeTags));
        let _the_only_one = lock.lock().await;
        if self.router.memory.tags(rule, age).is_some() {
            return Ok(());
        }
        let old = self.router.memory.old_tags(age).into_iter();
        let others = old.filter(|other| other != rule && self.listener.holds(other)).take(TAGS_AT_ONCE - 1);
        let batch: Vec<String> = std::iter::once(rule.to_owned()).chain(others).collect();
        match self.read_tags(&batch).await {
            // One of the others is gone: the rule itself is read alone.
            Err(error) if error.code == "RuleNotFound" && batch.len() > 1 => Ok(()),
            result => result.map(drop),
        }
    }

    /// The tags of a rule as they are now: read since this call of the port began.
    pub async fn fresh_tags(&self, rule: &str) -> Result<Tags, RouterError> {
        if let Some(tags) = self.router.memory.tags(rule, self.begun.elapsed()) {
            return Ok(tags);
        }
        let operation = Operation::DescribeTags;
        let call = |permit, rules: Vec<String>| {
            let request = self.client.describe_tags().set_resource_arns(Some(rules));
            let request = request.customize().config_override(self.timeouts());
            async move {
                let answer = self.sent(permit, operation, request.send()).await?;
                let arn = |told: &TagDescription| told.resource_arn().unwrap_or_default().to_owned();
                Ok(answer.tag_descriptions().iter().map(|told| (arn(told), read_tags(told))).collect())
            }
            .boxed()
        };
        let tags = self.ask(operation, (&self.router.tags_asked, self.queue(operation)), rule, call).await?;
        if let Some(tags) = &tags {
            self.router.memory.keep_tags(rule, tags.clone());
        }
        Ok(tags.unwrap_or_default())
    }

    async fn sort_out(&self, rules: &[Rule]) -> Result<Observed, RouterError> {
        let ours = self.find_ours(rules).await?;
        let own = ours.as_ref().map(|(rule, _)| arn(rule));
        let in_the_way = rules.iter().find(|rule| priority(rule) == self.priority && Some(arn(rule)) != own);
        let in_the_way = match in_the_way {
            // Whether it may be taken over is decided by its tags: they have to be true now.
            Some(rule) => Some(self.keep(rule, unless_gone(self.fresh_tags(arn(rule)).await)?)),
            None => None,
        };
        Ok(Observed { ours: ours.map(|(rule, tags)| self.keep(rule, tags)), in_the_way })
    }

    /// The rule with our tags; else the known one, whatever its tags: that it lost them must be seen.
    async fn find_ours<'r>(&self, rules: &'r [Rule]) -> Result<Option<(&'r Rule, Tags)>, RouterError> {
        let wanted = Tags::wanted(self.intent);
        let known = self.known_rule().and_then(|known| rules.iter().find(|rule| arn(rule) == known));
        if let Some(rule) = known
            && unless_gone(self.is_ours(arn(rule), Duration::MAX).await)?
        {
            return Ok(Some((rule, wanted)));
        }
        let tags = self.tags(rules, Duration::MAX).await?;
        let tagged = rules.iter().filter(|rule| tags.get(arn(rule)) == Some(&wanted));
        // Two of them can only come from a person's hand; the same one is chosen each time.
        let ours = tagged.min_by_key(|rule| (priority(rule) != self.priority, priority(rule)));
        let found = ours.or(known.filter(|rule| tags.contains_key(arn(rule))));
        Ok(found.map(|rule| (rule, tags.get(arn(rule)).cloned().unwrap_or_default())))
    }

    fn keep(&self, rule: &Rule, tags: Tags) -> ObservedRule {
        self.router.memory.keep_rule(rule);
        observed(rule, tags)
    }

    async fn shared_rules(&self) -> Result<Arc<Vec<Rule>>, RouterError> {
        let key = (self.listener.arn.clone(), self.role.map(str::to_owned));
        let read = async {
            let rules = self.list_rules().await?;
            self.tags(&rules, TAGS_AGE).await?;
            Ok(rules)
        };
        self.router.readings.get(key, self.intent, &self.router.memory, read).await
    }

    /// All rules of the listener but the default one, in one reading for all who wait for it.
    async fn list_rules(&self) -> Result<Arc<Vec<Rule>>, RouterError> {
        let (operation, listener) = (Operation::DescribeRules, &self.listener.arn);
        let queue = Queue { listener: Some(listener.clone()), ..self.queue(operation) };
        let call = |permit, _| {
            async move { Ok(BTreeMap::from([(listener.clone(), Arc::new(self.read_pages(permit).await?))])) }.boxed()
        };
        let rules = self.ask(operation, (&self.router.listings_asked, queue), listener, call).await?;
        let rules = rules.unwrap_or_default();
        let there = |arn_of: &str| rules.iter().any(|rule| arn(rule) == arn_of);
        self.router.memory.retain(|rule| self.listener.holds(rule), there);
        Ok(rules)
    }

    async fn read_pages(&self, first: Permit) -> Result<Vec<Rule>, Failure> {
        let operation = Operation::DescribeRules;
        let (mut rules, mut marker, mut permit) = (Vec::<Rule>::new(), None::<String>, Some(first));
        for _ in 0..MAX_PAGES {
            let permit = match permit.take() {
                Some(permit) => permit,
                None => self.permit(operation, &self.subject()).await.map_err(Failure::from)?,
            };
            let request = self.client.describe_rules().listener_arn(&self.listener.arn).page_size(PAGE_SIZE);
            let request = request.set_marker(marker.take()).customize().config_override(self.timeouts());
            let answer = self.sent(permit, operation, request.send()).await?;
            let page = answer.rules.unwrap_or_default();
            rules.extend(page.into_iter().filter(|rule| rule.is_default() != Some(true) && priority(rule) > 0));
            marker = answer.next_marker.filter(|marker| !marker.is_empty());
            if marker.is_none() {
                return Ok(rules);
            }
        }
        Err(Failure {
            kind: RouterErrorKind::Unreachable,
            code: "TooManyPages".to_owned(),
            detail: format!("the listing did not end after {MAX_PAGES} pages"),
            credentials: false,
        })
    }

    /// The tags of rules, read where they are not known or were read longer ago than `age`.
    async fn tags(&self, rules: &[Rule], age: Duration) -> Result<BTreeMap<String, Tags>, RouterError> {
        let (mut tags, mut unknown) = self.known_tags(rules, age);
        if unknown.is_empty() {
            return Ok(tags);
        }
        let lock = self.router.memory.tags_lock(&self.listener.arn, self.lane(Operation::DescribeTags));
        let _the_only_one = lock.lock().await;
        (tags, unknown) = self.known_tags(rules, age);
        for batch in unknown.chunks(TAGS_AT_ONCE) {
            tags.append(&mut self.read_tags(batch).await?);
        }
        Ok(tags)
    }

    /// What is known of the tags of rules, and the rules of which it is not.
    fn known_tags(&self, rules: &[Rule], age: Duration) -> (BTreeMap<String, Tags>, Vec<String>) {
        let (mut tags, mut unknown) = (BTreeMap::new(), Vec::new());
        for rule in rules {
            match self.router.memory.tags(arn(rule), age) {
                Some(known) => _ = tags.insert(arn(rule).to_owned(), known),
                None => unknown.push(arn(rule).to_owned()),
            }
        }
        (tags, unknown)
    }

    /// Reads tags of at most 20 rules. [`RouterErrorKind::RuleNotFound`] only when a single one was asked for.
    async fn read_tags(&self, rules: &[String]) -> Result<BTreeMap<String, Tags>, RouterError> {
        let request = self.client.describe_tags().set_resource_arns(Some(rules.to_vec()));
        let request = request.customize().config_override(self.timeouts());
        let answer = self.send(Operation::DescribeTags, &self.subject(), request.send()).await;
        let answer = answer.map_err(|error| match (error.kind, rules) {
            // One of several vanished between two calls: it need not be ours, and the next look tells.
            (RouterErrorKind::RuleNotFound, [_, _, ..]) => RouterError { kind: RouterErrorKind::Unreachable, ..error },
            _ => error,
        })?;
        let mut tags = BTreeMap::new();
        for description in answer.tag_descriptions() {
            if let Some(rule) = description.resource_arn() {
                let read = read_tags(description);
                self.router.memory.keep_tags(rule, read.clone());
                tags.insert(rule.to_owned(), read);
            }
        }
        Ok(tags)
    }

    /// Sends one call: waits for the rate limit, asks for leave to write, counts, and explains a failure.
    pub async fn send<T, E>(
        &self,
        operation: Operation,
        subject: &str,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, RouterError>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let permit = self.permit(operation, subject).await?;
        if operation.kind() == CallKind::Mutate
            && let Err(refused) = self.call.leadership.permits(self.call.timeout)
        {
            self.limiter.refund(permit);
            return Err(refused.into());
        }
        let answer = self.sent(permit, operation, request).await;
        answer.map_err(|failure| self.explain(failure, operation, subject))
    }

    /// Sends a call that has leave to go out, and learns from its answer.
    async fn sent<T, E>(
        &self,
        permit: Permit,
        operation: Operation,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let result = request.await;
        let metrics = &self.router.metrics;
        let error = match result {
            Ok(answer) => {
                self.limiter.answered(permit);
                metrics.count_call(operation.name(), "OK");
                return Ok(answer);
            }
            Err(error) => error,
        };
        let failure = Failure::of(&error, self.call.timeout);
        metrics.count_call(operation.name(), &failure.code);
        self.router.learn(&self.limiter, permit, &failure);
        Err(failure)
    }

    fn explain(&self, failure: Failure, operation: Operation, subject: &str) -> RouterError {
        let region = &self.listener.region;
        failure.explain(Occasion { operation, subject, region, role: self.role, priority: self.priority })
    }

    /// The lane of a call. What is read for a change that is under way goes before the readings of those whose turn
    /// has not come.
    fn lane(&self, operation: Operation) -> Lane {
        match operation.kind() {
            CallKind::Describe if self.changes => self.call.lane.min(Lane::Verify),
            _ => self.call.lane,
        }
    }

    async fn permit(&self, operation: Operation, subject: &str) -> Result<Permit, RouterError> {
        let (lane, metrics) = (self.lane(operation), &self.router.metrics);
        let begun = Instant::now();
        let has_turn = lane != Lane::Promote || operation.kind() == CallKind::Mutate;
        let longest = if has_turn { LONGEST_WAIT } else { LONGEST_TURN };
        let waited = tokio::select! {
            biased;
            waited = self.limiter.acquire(lane, operation.kind(), longest) => waited,
            refused = self.forbidden() => return Err(refused.into()),
            () = self.router.gives_up() => {
                let message = format!("failed to {}: okra stops", operation.doing(subject));
                return Err(RouterError::new(RouterErrorKind::Throttled, "Stops", message));
            }
        };
        match waited {
            Ok(permit) => {
                metrics.count_wait(lane, begun.elapsed());
                Ok(permit)
            }
            Err(waited) => {
                metrics.count_gave_up();
                let message = format!("failed to {}: {waited}", operation.doing(subject));
                Err(RouterError::new(RouterErrorKind::Throttled, "RateLimitWait", message))
            }
        }
    }

    /// Ends when the call may not go out any more, whatever the rate limit says. Asked of memory only.
    async fn forbidden(&self) -> NotLeader {
        loop {
            tokio::time::sleep(ASK_WHILE_WAITING).await;
            if let Err(refused) = self.call.leadership.permits(self.call.timeout) {
                return refused;
            }
        }
    }

    /// The call's own deadline in place of the client's.
    pub fn timeouts(&self) -> config::Builder {
        timeouts(self.call.timeout)
    }

    /// What messages call the place of the rule.
    pub fn subject(&self) -> String {
        format!("listener {}", self.listener.path)
    }

    fn known_rule(&self) -> Option<&'a str> {
        self.intent.known_rule.as_deref().filter(|rule| self.listener.holds(rule))
    }
}

/// A rule that vanished after it was read is like one that was not there.
fn unless_gone<T: Default>(result: Result<T, RouterError>) -> Result<T, RouterError> {
    match result {
        Err(error) if error.kind == RouterErrorKind::RuleNotFound => Ok(T::default()),
        result => result,
    }
}

fn arn(rule: &Rule) -> &str {
    rule.rule_arn().unwrap_or_default()
}

/// The priority of a rule; 0 for the default rule, whose priority is the word `default`.
fn priority(rule: &Rule) -> i32 {
    rule.priority().and_then(|priority| priority.parse().ok()).unwrap_or_default()
}

fn observed(rule: &Rule, tags: Tags) -> ObservedRule {
    let forward = actions::read(rule.actions());
    ObservedRule {
        id: arn(rule).to_owned(),
        priority: priority(rule),
        conditions: conditions::read(rule.conditions()),
        weights: forward.weights,
        stickiness: forward.stickiness,
        cell_tag: tags.cell,
        owner_tag: tags.owner,
    }
}

fn read_tags(description: &TagDescription) -> Tags {
    let value = |key: &str| {
        let tag = description.tags().iter().find(|tag| tag.key() == Some(key))?;
        Some(tag.value().unwrap_or_default().to_owned())
    };
    Tags { cell: value(CELL_TAG), owner: value(OWNER_TAG) }
}

/// Counts targets. Those that are leaving are not counted; those that no load balancer asks for their health yet
/// (`unused`, `Target.NotInUse`) are there and not healthy.
fn count(targets: &[TargetHealthDescription]) -> GroupHealth {
    let mut health = GroupHealth::default();
    for target in targets.iter().filter_map(TargetHealthDescription::target_health) {
        match (target.state(), target.reason()) {
            (Some(TargetHealthStateEnum::Draining), _)
            | (Some(TargetHealthStateEnum::Unused), Some(TargetHealthReasonEnum::NotRegistered)) => {}
            (Some(TargetHealthStateEnum::Healthy), _) => {
                health.healthy += 1;
                health.total += 1;
            }
            _ => health.total += 1,
        }
    }
    health
}
