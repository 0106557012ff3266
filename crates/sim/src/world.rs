//! What processes share: the API server, the load balancer, the calls under way, the clocks, the record.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use okra_core::route::{Change, GroupHealth, Intent, Observed};
use okra_judge::record::{Entry, Event, Leadership, LifeChange, ObjectSeen, Record};
use okra_provider::{Kind, NotLeader, RouterError, WatchEvent};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use crate::{
    api_server::{ApiAnswer, ApiCall, ApiServer},
    balancer::LoadBalancer,
};

/// A process in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// Which process.
    pub process: usize,
    /// Counted from 1.
    pub number: u32,
}

impl Life {
    /// Its name in the record.
    pub fn name(self) -> String {
        name_of(self.process, self.number)
    }
}

/// The name of a life in the record.
pub fn name_of(process: usize, number: u32) -> String {
    format!("okrad-{process}.{number}")
}

/// A call of the load balancer.
#[derive(Clone, Debug)]
pub enum LbCall {
    /// `observe`
    Observe,
    /// `apply`
    Apply(Box<Change>),
    /// `health`
    Health(String),
}

/// What the load balancer answered.
#[derive(Clone, Debug)]
pub enum LbAnswer {
    /// Of `observe`.
    Observed(Box<Observed>),
    /// Of `apply`.
    Applied,
    /// Of `health`.
    Health(GroupHealth),
}

/// A call under way.
#[derive(Debug)]
pub enum Call {
    /// Of the API server.
    Api {
        /// The kind.
        kind: Kind,
        /// The call.
        call: ApiCall,
        /// Who waits.
        answer: oneshot::Sender<ApiAnswer>,
        /// The answer on its way back.
        done: Option<ApiAnswer>,
    },
    /// Of the load balancer.
    Lb {
        /// What it is about.
        intent: Box<Intent>,
        /// The call.
        call: LbCall,
        /// The time after which the caller has given up.
        deadline: u64,
        /// Who waits.
        answer: oneshot::Sender<Result<LbAnswer, RouterError>>,
        /// The answer on its way back.
        done: Option<Result<LbAnswer, RouterError>>,
    },
}

/// A call under way, of one process.
#[derive(Debug)]
pub struct Pending {
    /// Who calls.
    pub life: Life,
    /// When it goes on: reaches the server, or the caller.
    pub ready: u64,
    /// Since when it is under way.
    pub since: u64,
    /// The call.
    pub call: Call,
}

/// A watch of one process.
#[derive(Debug)]
pub struct Watcher {
    /// Whose.
    pub life: Life,
    /// Of which kind.
    pub kind: Kind,
    /// Where the API server keeps the changes of the kind.
    pub place: usize,
    /// How many changes it has told; `None`: not even the first list.
    pub told: Option<usize>,
    /// When it tells next.
    pub ready: u64,
    /// Until when it is held back.
    pub held: u64,
    /// The other end.
    pub events: mpsc::UnboundedSender<WatchEvent>,
}

/// What is shared, behind one lock.
#[derive(Debug)]
pub struct State {
    /// The API server.
    pub api: ApiServer,
    /// The load balancer.
    pub lb: LoadBalancer,
    /// Calls that were made and not sorted in yet.
    pub calls: Vec<Pending>,
    /// Watches that were begun and not sorted in yet.
    pub watches: Vec<Watcher>,
    /// How far each process's wall clock is off, in milliseconds.
    pub offsets: BTreeMap<usize, i64>,
    /// Until when each life holds the lease, as it believes.
    pub leases: BTreeMap<Life, u64>,
    /// What happened.
    pub record: Record,
}

/// What is shared.
#[derive(Debug)]
pub struct World {
    begun: Instant,
    state: Mutex<State>,
    /// A call or a watch was begun.
    pub called: Notify,
}

/// Where virtual time begins: 2026-01-01T00:00:00Z.
const EPOCH: i64 = 1_767_225_600_000;

impl World {
    /// An empty one; within the runtime whose time it keeps.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            state: Mutex::new(State {
                api: ApiServer::default(),
                lb: LoadBalancer::default(),
                calls: Vec::new(),
                watches: Vec::new(),
                offsets: BTreeMap::new(),
                leases: BTreeMap::new(),
                record: Record::default(),
            }),
            called: Notify::new(),
        })
    }

    /// Milliseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// The moment of a time.
    pub fn instant(&self, at: u64) -> Instant {
        self.begun + Duration::from_millis(at)
    }

    /// The true wall clock.
    pub fn time(&self) -> Timestamp {
        timestamp(self.now() as i64)
    }

    /// The wall clock of a process.
    pub fn time_of(&self, process: usize) -> Timestamp {
        let offset = self.state.lock().offsets.get(&process).copied().unwrap_or(0);
        timestamp(self.now() as i64 + offset)
    }

    /// Works on what is shared.
    pub fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock())
    }

    /// Whether a life holds the lease long enough.
    pub fn permits(&self, life: Life, timeout: Duration) -> Result<(), NotLeader> {
        let end = self.now() + timeout.as_millis() as u64;
        let until = self.state.lock().leases.get(&life).copied();
        if until.is_some_and(|until| end < until) { Ok(()) } else { Err(NotLeader) }
    }
}

/// A time in milliseconds since the beginning as a wall clock shows it.
pub fn timestamp(millis: i64) -> Timestamp {
    let epoch = Timestamp::from_millisecond(EPOCH).unwrap_or(Timestamp::UNIX_EPOCH);
    epoch.saturating_add(SignedDuration::from_millis(millis)).unwrap_or(epoch)
}

/// A time of the record in milliseconds since the beginning.
pub fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond() - EPOCH).unwrap_or(0)
}

impl State {
    /// Adds to the record.
    pub fn note(&mut self, now: u64, event: Event) {
        let seq = self.record.entries.len() as u64;
        self.record.entries.push(Entry { seq, at: timestamp(now as i64), event });
    }

    /// A life holds the lease until a time, by its own clock.
    pub fn hold_lease(&mut self, now: u64, life: Life, until: u64) {
        self.leases.insert(life, until);
        let till = timestamp(until.min(now + 86_400_000) as i64);
        self.note(now, Event::Leadership(Leadership { process: life.name(), from: timestamp(now as i64), till }));
    }

    /// A life begins or ends.
    pub fn note_life(&mut self, now: u64, life: Life, change: LifeChange) {
        self.note(now, Event::Life(okra_judge::record::Life { process: life.name(), change }));
    }

    /// Adds an object to the record.
    pub fn note_object(&mut self, now: u64, kind: &Kind, namespace: &str, name: &str, object: Value) {
        let seen =
            ObjectSeen { kind: kind.kind.to_string(), namespace: namespace.to_owned(), name: name.to_owned(), object };
        self.note(now, Event::Object(seen));
    }
}
