//! The router type `Local`: a [`TrafficRouter`] whose listeners are balancers in this process.
//!
//! Each listen address is one balancer with one rule, its default rule. The ids of target groups are their URLs
//! (`http://host:port`), each a group of one target. A restart of the process begins with no listeners: the route
//! controller finds none and creates them again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use okra_core::route::{Capabilities, Change, Conditions, GroupHealth, Intent, Observed, ObservedRule, Place, Sticky};
use okra_provider::{CallContext, RouterError, RouterErrorKind, TrafficRouter, router::local_capabilities};
use tokio::sync::Mutex;

use crate::balancer::{Balancer, Options};
use crate::stats::{self, Stats};
use crate::table::{
    Action, DEFAULT_PRIORITY, Group, HealthCheck, HealthSource, RoutingTable, Rule, Target, WeightedGroup,
};

/// How the listeners of a [`LocalRouter`] behave.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// Of every balancer.
    pub balancer: Options,
    /// Of every target group; the path is the target group's own where it has one.
    pub health: HealthCheck,
    /// How long requests and upgraded connections may take to finish after their route is removed.
    pub drain: Duration,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { balancer: Options::default(), health: HealthCheck::default(), drain: Duration::from_secs(30) }
    }
}

/// Balancers in this process, one for each listen address.
#[derive(Debug, Default)]
pub struct LocalRouter {
    options: LocalOptions,
    routes: Mutex<BTreeMap<SocketAddr, LocalRoute>>,
}

#[derive(Debug)]
struct LocalRoute {
    owner: String,
    installation: String,
    balancer: Balancer,
}

impl LocalRouter {
    /// A router without any listener yet.
    pub fn new(options: LocalOptions) -> Self {
        Self { options, routes: Mutex::default() }
    }

    /// Where the route that asked for this address really listens: with port 0 it is a free port.
    pub async fn local_addr(&self, listen: SocketAddr) -> Option<SocketAddr> {
        Some(self.routes.lock().await.get(&listen)?.balancer.local_addr())
    }

    /// What went through each listener, by the address that it listens on.
    pub async fn stats(&self) -> BTreeMap<SocketAddr, Stats> {
        let routes = self.routes.lock().await;
        routes.values().map(|route| (route.balancer.local_addr(), route.balancer.stats())).collect()
    }

    /// The metrics of all listeners as text for Prometheus (format 0.0.4).
    pub async fn render_prometheus(&self) -> String {
        let samples: Vec<_> = self.routes.lock().await.values().map(|route| route.balancer.sample()).collect();
        stats::render(&samples)
    }

    /// Removes every listener, after draining all of them side by side for up to the drain time of the options.
    pub async fn shutdown(&self) {
        let routes = std::mem::take(&mut *self.routes.lock().await);
        futures::future::join_all(routes.values().map(|route| route.balancer.shutdown(self.options.drain))).await;
    }

    async fn carry_out(&self, intent: &Intent, change: &Change, call: &CallContext) -> Result<(), RouterError> {
        let listen = listen_of(intent)?;
        let mut routes = self.routes.lock().await;
        match change {
            Change::Create { weights, stickiness } => {
                if let Some(taken) = routes.get(&listen) {
                    return Err(refused("ListenInUse", format!("{listen} is in use by the route of {}", taken.owner)));
                }
                let table = self.table(intent, weights, stickiness.unwrap_or_default(), None)?;
                table.validate().map_err(bad_table)?;
                call.leadership.permits(call.timeout)?;
                let balancer = self.start(listen, table).await?;
                let (owner, installation) = (intent.owner.clone(), intent.installation.clone());
                routes.insert(listen, LocalRoute { owner, installation, balancer });
                // The spec may name another address than before: an owner has one listener.
                let left: Vec<_> = routes
                    .iter()
                    .filter(|(address, route)| **address != listen && route.is_of(intent))
                    .map(|(address, _)| *address)
                    .collect();
                for address in left {
                    self.retire(routes.remove(&address)).await;
                }
            }
            Change::Modify { rule, weights, conditions, stickiness } => {
                if conditions.as_ref().is_some_and(|conditions| *conditions != Conditions::default()) {
                    return Err(refused("NoConditions", "a local listener has no conditions"));
                }
                let route = routes.get(&listen).filter(|_| *rule == rule_id(listen)).ok_or_else(|| gone(rule))?;
                let (old_weights, old_stickiness) = read(&route.balancer.table());
                let table = self.table(
                    intent,
                    weights.as_ref().unwrap_or(&old_weights),
                    stickiness.unwrap_or(old_stickiness),
                    Some(&route.balancer.table()),
                )?;
                call.leadership.permits(call.timeout)?;
                route.balancer.apply(table).map_err(bad_table)?;
            }
            Change::Move { .. } => return Err(refused("NoPriorities", "a local listener has no priorities")),
            Change::Adopt { rule } => {
                let route = routes.get_mut(&listen).filter(|_| *rule == rule_id(listen)).ok_or_else(|| gone(rule))?;
                call.leadership.permits(call.timeout)?;
                (route.owner, route.installation) = (intent.owner.clone(), intent.installation.clone());
            }
            Change::Remove { rule } => {
                if *rule != rule_id(listen) || !routes.contains_key(&listen) {
                    return Err(gone(rule));
                }
                call.leadership.permits(call.timeout)?;
                self.retire(routes.remove(&listen)).await;
            }
        }
        Ok(())
    }

    async fn start(&self, listen: SocketAddr, table: RoutingTable) -> Result<Balancer, RouterError> {
        let balancer = Balancer::start(listen, self.options.balancer.clone()).await.map_err(|error| {
            let reason = std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
            refused("ListenFailed", format!("{error}{reason}"))
        })?;
        balancer.apply(table).map_err(bad_table)?;
        Ok(balancer)
    }

    /// Frees the port before it returns; what is under way finishes by itself.
    async fn retire(&self, route: Option<LocalRoute>) {
        let Some(LocalRoute { balancer, .. }) = route else { return };
        balancer.stop_accepting().await;
        let drain = self.options.drain;
        tokio::spawn(async move { balancer.shutdown(drain).await });
    }

    /// Groups that the intent does not name (they may be on their way out) keep what the old table says.
    fn table(
        &self,
        intent: &Intent,
        weights: &BTreeMap<String, i32>,
        stickiness: Sticky,
        old: Option<&RoutingTable>,
    ) -> Result<RoutingTable, RouterError> {
        let mut table = RoutingTable::default();
        let mut shares = Vec::new();
        for (id, weight) in weights {
            let weight =
                u32::try_from(*weight).map_err(|_| refused("BadWeight", format!("weight {weight} of {id}")))?;
            shares.push(WeightedGroup { group: id.clone(), weight });
            let named = intent.groups.iter().find(|group| group.id == *id);
            let kept = old.and_then(|old| old.groups.get(id)).filter(|_| named.is_none());
            let group = match kept {
                Some(group) => group.clone(),
                None => self.group(id, named.and_then(|group| group.health_path.as_deref()))?,
            };
            table.groups.insert(id.clone(), group);
        }
        let seconds = u64::try_from(stickiness.seconds).unwrap_or(0);
        table.rules.push(Rule {
            name: "default".to_owned(),
            priority: DEFAULT_PRIORITY,
            conditions: crate::Conditions::default(),
            action: Action::Forward {
                groups: shares,
                stickiness: stickiness.enabled.then(|| Duration::from_secs(seconds)),
            },
        });
        Ok(table)
    }

    fn group(&self, id: &str, health_path: Option<&str>) -> Result<Group, RouterError> {
        let mut check = self.options.health.clone();
        if let Some(path) = health_path {
            path.clone_into(&mut check.path);
        }
        Ok(Group { targets: vec![target_of(id)?], health: HealthSource::Active(check) })
    }
}

impl LocalRoute {
    fn is_of(&self, intent: &Intent) -> bool {
        self.owner == intent.owner && self.installation == intent.installation
    }
}

#[async_trait]
impl TrafficRouter for LocalRouter {
    fn capabilities(&self) -> Capabilities {
        local_capabilities()
    }

    async fn observe(&self, intent: &Intent, call: &CallContext) -> Result<Observed, RouterError> {
        let listen = listen_of(intent)?;
        let observe = async {
            let routes = self.routes.lock().await;
            let Some(route) = routes.get(&listen) else { return Observed::default() };
            let (weights, stickiness) = read(&route.balancer.table());
            let rule = ObservedRule {
                id: rule_id(listen),
                priority: intent.place.priority(),
                conditions: Conditions::default(),
                weights,
                stickiness,
                cell_tag: Some(route.owner.clone()),
                owner_tag: Some(route.installation.clone()),
            };
            if route.is_of(intent) {
                Observed { ours: Some(rule), in_the_way: None }
            } else {
                Observed { ours: None, in_the_way: Some(rule) }
            }
        };
        tokio::time::timeout(call.timeout, observe).await.map_err(|_| timed_out("observe", call))
    }

    async fn apply(&self, intent: &Intent, change: &Change, call: &CallContext) -> Result<(), RouterError> {
        let done = tokio::time::timeout(call.timeout, self.carry_out(intent, change, call)).await;
        done.map_err(|_| timed_out("change", call))?
    }

    /// A group that is not in the route's action yet is not checked: none of its targets counts as healthy.
    async fn health(&self, intent: &Intent, group: &str, call: &CallContext) -> Result<GroupHealth, RouterError> {
        let listen = listen_of(intent)?;
        target_of(group)?;
        let routes = tokio::time::timeout(call.timeout, self.routes.lock());
        let routes = routes.await.map_err(|_| timed_out("observe", call))?;
        let known = routes.get(&listen).and_then(|route| route.balancer.health(group));
        Ok(known.map_or(GroupHealth { healthy: 0, total: 1, gone: false }, |health| GroupHealth {
            healthy: health.healthy,
            total: health.total,
            gone: false,
        }))
    }
}

fn rule_id(listen: SocketAddr) -> String {
    format!("local/{listen}")
}

fn read(table: &RoutingTable) -> (BTreeMap<String, i32>, Sticky) {
    let Some(Rule { action: Action::Forward { groups, stickiness }, .. }) = table.rules.first() else {
        return (BTreeMap::new(), Sticky::default());
    };
    let weights =
        groups.iter().map(|share| (share.group.clone(), i32::try_from(share.weight).unwrap_or(i32::MAX))).collect();
    let sticky = stickiness.map_or_else(Sticky::default, |time| Sticky {
        enabled: true,
        seconds: i32::try_from(time.as_secs()).unwrap_or(i32::MAX),
    });
    (weights, sticky)
}

fn listen_of(intent: &Intent) -> Result<SocketAddr, RouterError> {
    match &intent.place {
        Place::Local { listen } => listen
            .parse()
            .map_err(|_| refused("BadListen", format!("local.listen: {listen:?} is not an IP address and port"))),
        Place::Alb { .. } => Err(refused("WrongRouter", "the route is not one of type Local")),
    }
}

/// The balancer speaks plain HTTP and forwards the path as it is, so the URL can hold neither https nor a path.
fn target_of(id: &str) -> Result<Target, RouterError> {
    let bad = |problem: &str| refused("BadTargetGroup", format!("target group {id:?}: {problem}"));
    let url: http::Uri = id.parse().map_err(|_| bad("not a URL"))?;
    if url.scheme_str() != Some("http") {
        return Err(bad("the embedded balancer reaches http:// only"));
    }
    if url.path_and_query().is_some_and(|path| path.as_str() != "/") {
        return Err(bad("the URL must end after the port"));
    }
    let host = url.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("it has no host"))?;
    Ok(format!("{host}:{}", url.port_u16().unwrap_or(80)).into())
}

fn refused(code: &str, message: impl Into<String>) -> RouterError {
    RouterError::new(RouterErrorKind::Refused, code, message)
}

fn bad_table(error: crate::TableError) -> RouterError {
    refused("BadTable", error.to_string())
}

fn gone(rule: &str) -> RouterError {
    RouterError::new(RouterErrorKind::RuleNotFound, "RuleNotFound", format!("there is no route {rule}"))
}

fn timed_out(what: &str, call: &CallContext) -> RouterError {
    let message = format!("failed to {what} local listener: no answer within {:?}", call.timeout);
    RouterError::new(RouterErrorKind::Unreachable, "Timeout", message)
}
