//! Who goes next when calls are short: the decision alone, with time passed in.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use okra_core::route::Lane;

use super::bucket::{Bucket, Budget};

/// Which bucket pays for a call, besides the one that all calls share. Changes sort first: within a lane the
/// reads of those who have yet to begin would else hold up the writes of those who have read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// A call that changes something.
    Mutate,
    /// A call that only reads.
    Describe,
}

/// The rates of one account and region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls that change something.
    pub mutate: Budget,
    /// Calls that only read.
    pub describe: Budget,
    /// All calls together.
    pub overall: Budget,
    /// Mutating tokens that every lane but [`Lane::Rollback`] leaves in the bucket.
    pub mutate_reserve: u32,
    /// Overall tokens that every lane but [`Lane::Rollback`] leaves in the bucket. Describes need no reserve of
    /// their own: every call that takes from theirs takes from the overall one too, which is not larger.
    pub overall_reserve: u32,
}

impl Limits {
    /// ELBv2's published rates per account and region ("Elastic Load Balancing API throttling"), and a reserve with
    /// which 20 rollbacks at once have written within 2 s: the last four changes come in 1.3 s, and so do the last 13 of
    /// 41 calls (one reading of all rules, 20 of health, 20 changes); the rest is for what is done before.
    pub const AWS: Self = Self {
        mutate: Budget { capacity: 20, per_second: 3 },
        describe: Budget { capacity: 40, per_second: 10 },
        overall: Budget { capacity: 40, per_second: 10 },
        mutate_reserve: 16,
        overall_reserve: 28,
    };
}

/// While so many changes of a lane wait, its readings wait, too: a reading that waits long for its change grows old.
/// As many as AWS takes in four seconds. Rollbacks read ahead: they have a reserve to spend.
const CHANGES_AHEAD: usize = 12;

/// The first pause after AWS asked to slow down; each further time in a row doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause. A rollback waits for it as well, so it is short.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// What AWS's answers say about one kind of call.
#[derive(Clone, Copy, Debug, Default)]
struct Pause {
    until: Duration,
    in_a_row: u32,
}

/// Token buckets of one account and region and those who wait for them.
///
/// Rollbacks go first, discovery last; within a lane changes before reads; within those, who came first. A call
/// that has to wait for its own bucket lets later ones of the other kind pass: the reserves keep what it needs. Reads do
/// not run far ahead of the changes of their lane.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    mutate: Bucket,
    describe: Bucket,
    overall: Bucket,
    pauses: BTreeMap<CallKind, Pause>,
    queues: BTreeMap<(Lane, CallKind), VecDeque<u64>>,
}

impl Admission {
    /// Full buckets and nobody waiting, at time zero.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            mutate: Bucket::full(limits.mutate),
            describe: Bucket::full(limits.describe),
            overall: Bucket::full(limits.overall),
            pauses: BTreeMap::new(),
            queues: BTreeMap::new(),
        }
    }

    /// Queues a call under a ticket of the caller's choice, unique among those who wait.
    pub fn join(&mut self, lane: Lane, kind: CallKind, ticket: u64) {
        self.queues.entry((lane, kind)).or_default().push_back(ticket);
    }

    /// Takes a ticket out of its queue. False when it is not waiting (any more).
    pub fn leave(&mut self, ticket: u64) -> bool {
        let mut found = false;
        for queue in self.queues.values_mut() {
            let before = queue.len();
            queue.retain(|waiting| *waiting != ticket);
            found |= queue.len() != before;
        }
        found
    }

    /// Lets in, in order, everyone whom the buckets allow at `now`.
    pub fn admit(&mut self, now: Duration) -> Vec<u64> {
        self.refill(now);
        let mut admitted = Vec::new();
        let keys: Vec<_> = self.queues.keys().copied().collect();
        for (lane, kind) in keys {
            while self.ready(lane, kind, now)
                && let Some(ticket) = self.queues.get_mut(&(lane, kind)).and_then(VecDeque::pop_front)
            {
                self.bucket(kind).take();
                self.overall.take();
                admitted.push(ticket);
            }
        }
        admitted
    }

    /// When, at the earliest, [`Self::admit`] would let somebody in; `None` when nobody waits.
    pub fn next_at(&mut self, now: Duration) -> Option<Duration> {
        self.refill(now);
        let waiting = self.queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(key, _)| *key);
        // One that is ahead of its changes is let in with one of them, not before.
        let in_turn: Vec<_> = waiting.filter(|(lane, kind)| !self.is_ahead(*lane, *kind)).collect();
        in_turn.into_iter().map(|(lane, kind)| self.ready_at(lane, kind, now)).min()
    }

    /// Whether nobody waits.
    pub fn is_idle(&self) -> bool {
        self.queues.values().all(VecDeque::is_empty)
    }

    /// Gives back what an admitted call did not use.
    pub fn refund(&mut self, kind: CallKind, now: Duration) {
        self.refill(now);
        self.bucket(kind).give_back();
        self.overall.give_back();
    }

    /// AWS asked to slow down: the bucket of that kind is empty, whatever was thought to be in it, and nobody goes
    /// for a while, which grows as long as AWS keeps asking.
    pub fn throttled(&mut self, kind: CallKind, now: Duration) {
        self.refill(now);
        self.bucket(kind).drain();
        let pause = self.pauses.entry(kind).or_default();
        // Calls that were under way together are refused together: they count once.
        if now < pause.until {
            return;
        }
        let length = FIRST_PAUSE.saturating_mul(1_u32 << pause.in_a_row.min(16)).min(LONGEST_PAUSE);
        pause.until = now + length;
        pause.in_a_row = pause.in_a_row.saturating_add(1);
    }

    /// AWS answered a call that was let in at `admitted`. Only a call from after the last pause says that it is over.
    pub fn answered(&mut self, kind: CallKind, admitted: Duration) {
        if let Some(pause) = self.pauses.get_mut(&kind)
            && admitted >= pause.until
        {
            pause.in_a_row = 0;
        }
    }

    fn refill(&mut self, now: Duration) {
        self.mutate.refill(now);
        self.describe.refill(now);
        self.overall.refill(now);
    }

    fn bucket(&mut self, kind: CallKind) -> &mut Bucket {
        match kind {
            CallKind::Mutate => &mut self.mutate,
            CallKind::Describe => &mut self.describe,
        }
    }

    fn reserves(&self, lane: Lane, kind: CallKind) -> (u32, u32) {
        match (lane, kind) {
            (Lane::Rollback, _) => (0, 0),
            (_, CallKind::Mutate) => (self.limits.mutate_reserve, self.limits.overall_reserve),
            (_, CallKind::Describe) => (0, self.limits.overall_reserve),
        }
    }

    fn ready(&mut self, lane: Lane, kind: CallKind, now: Duration) -> bool {
        !self.is_ahead(lane, kind) && self.ready_at(lane, kind, now) <= now
    }

    /// Whether a reading would go out long before the change that it is for.
    fn is_ahead(&self, lane: Lane, kind: CallKind) -> bool {
        let changes = || self.queues.get(&(lane, CallKind::Mutate)).map_or(0, VecDeque::len);
        kind == CallKind::Describe && lane != Lane::Rollback && changes() >= CHANGES_AHEAD
    }

    fn ready_at(&mut self, lane: Lane, kind: CallKind, now: Duration) -> Duration {
        let (own, shared) = self.reserves(lane, kind);
        let wait = self.bucket(kind).offers_in(own).max(self.overall.offers_in(shared));
        let paused_until = self.pauses.get(&kind).map_or(Duration::ZERO, |pause| pause.until);
        now.saturating_add(wait).max(paused_until)
    }
}
