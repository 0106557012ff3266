//! What a command works with: its printer, and the store once it needs one.

use std::sync::Arc;

use jiff::Timestamp;
use okra_api::{AWSApplicationLoadBalancerConfig, Cell, Route, cell::IngressType, route::RouteStatus};
use okra_provider::{BackendError, Key, RemoteClusters, Store, Stored};

use crate::{
    args::{CELL_KINDS, Cells, Global, bare_name},
    error::CommandError,
    printer::Printer,
    selector::Selector,
    session::{self, Session},
};

/// What a command works with.
pub struct Context {
    /// Where results and notes go.
    pub printer: Printer,
    /// The whole command line, for completion scripts.
    pub command: fn() -> clap::Command,
    global: Global,
    session: Option<Session>,
    clusters: Option<ToClusters>,
}

/// Gives the way to the clusters of cluster Secrets.
pub type ToClusters = fn() -> Arc<dyn RemoteClusters>;

impl Context {
    /// A context that connects to the store when a command asks for it.
    pub fn new(global: Global, printer: Printer, command: fn() -> clap::Command) -> Self {
        Self { printer, command, global, session: None, clusters: None }
    }

    /// A context on a store that is there already.
    pub fn with_session(global: Global, printer: Printer, command: fn() -> clap::Command, session: Session) -> Self {
        Self { printer, command, global, session: Some(session), clusters: None }
    }

    /// Lets commands speak to clusters: okra can make tokens for EKS, okractl holds no cloud SDK.
    pub fn speak_to_clusters(&mut self, way: ToClusters) {
        self.clusters = Some(way);
    }

    /// Who speaks to clusters.
    pub fn clusters(&self) -> Result<Arc<dyn RemoteClusters>, CommandError> {
        let way = self.clusters.ok_or_else(|| {
            CommandError::failed("failed to speak to the cluster", "this program makes no tokens for EKS")
                .hint("okra has the same command and does")
        })?;
        Ok(way())
    }

    /// The store, namespace and user; connects the first time.
    pub async fn session(&mut self) -> Result<Session, CommandError> {
        if let Some(session) = &self.session {
            return Ok(session.clone());
        }
        let session = session::connect(&self.global).await?;
        self.session = Some(session.clone());
        Ok(session)
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// The Cells that are meant. Errors when there is none.
    pub async fn cells(&mut self, cells: &Cells) -> Result<Vec<Cell>, CommandError> {
        let session = self.session().await?;
        if let Some(name) = &cells.name {
            let key = Key::new(&session.namespace, bare_name(name, &CELL_KINDS)?);
            return Ok(vec![get(&session.store, &key).await?]);
        }
        let namespace = (!cells.all_namespaces).then_some(session.namespace.as_str());
        let found: Vec<Cell> = list(&session.store, namespace, cells.selector.as_ref()).await?;
        if found.is_empty() {
            let place = namespace.map_or("any namespace".to_owned(), |name| format!("namespace {name}"));
            return Err(CommandError::failed("no Cell is selected", format!("none in {place} has these labels"))
                .hint("list them with `get cells -A -l SELECTOR`"));
        }
        Ok(found)
    }

    /// The one Cell of this name.
    pub async fn cell(&mut self, name: &str) -> Result<Cell, CommandError> {
        let session = self.session().await?;
        get(&session.store, &Key::new(&session.namespace, bare_name(name, &CELL_KINDS)?)).await
    }
}

/// Reads one object.
pub async fn get<K: Stored>(store: &Store, key: &Key) -> Result<K, CommandError> {
    let what = || format!("failed to read {} {key}", K::kind(&()));
    store.get_live(key).await.map_err(|error| CommandError::store(what(), &error))
}

/// Reads objects, sorted by namespace and name.
pub async fn list<K: Stored>(
    store: &Store,
    namespace: Option<&str>,
    selector: Option<&Selector>,
) -> Result<Vec<K>, CommandError> {
    let what = || format!("failed to list {}", K::plural(&()));
    let mut found: Vec<K> = store.list_live(namespace).await.map_err(|error| CommandError::store(what(), &error))?;
    found.retain(|object| selector.is_none_or(|selector| selector.matches(object.meta().labels.as_ref())));
    Ok(found)
}

/// The status of a Cell's route object; none when there is no such object yet.
pub async fn route_status(store: &Store, cell: &Cell) -> Result<Option<RouteStatus>, CommandError> {
    let key = Key::of_typed(cell);
    let found = match cell.spec.ingress.type_ {
        IngressType::AWSApplicationLoadBalancer => {
            store.get_live::<AWSApplicationLoadBalancerConfig>(&key).await.map(|config| config.status)
        }
        IngressType::AWSNetworkLoadBalancer | IngressType::Local => {
            store.get_live::<Route>(&key).await.map(|route| route.status)
        }
    };
    match found {
        Ok(status) => Ok(status),
        Err(BackendError::NotFound { .. } | BackendError::Absent(_)) => Ok(None),
        Err(error) => Err(CommandError::store(format!("failed to read the route of Cell {key}"), &error)),
    }
}
