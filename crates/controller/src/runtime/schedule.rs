//! What is due when. Pure: time is a [`Duration`] since an origin of the caller's choice and comes in as an
//! argument, so that every rule here is shown by a table.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use okra_provider::{Disposition, Entropy};

/// A failed key runs no sooner than this after its failure, whatever wakes it: a reconcile that writes and then
/// fails is woken by its own write, and must not spin.
const RETRY_FLOOR: Duration = Duration::from_millis(100);
/// The longest wait after a failure that a person can mend without touching the object.
const RETRY_CAP: Duration = Duration::from_secs(30);
/// First wait after a transient failure.
const TRANSIENT_BASE: Duration = Duration::from_secs(1);
/// First wait after the other side asked to slow down.
const THROTTLED_BASE: Duration = Duration::from_secs(5);
/// Wait after a failure of our own making: it comes back as it is, so there is no hurry.
const BUG_WAIT: Duration = Duration::from_mins(1);
/// Soonest second look that a reconcile can ask for: one that names a time in the past must not spin.
const LOOK_FLOOR: Duration = Duration::from_millis(10);

/// How a run of a key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It did what was to do; look again after this time, `None`: when something changes.
    Success {
        /// From the end of the run.
        look_again_in: Option<Duration>,
    },
    /// It could not.
    Failed(Disposition),
}

#[derive(Clone, Copy, Debug)]
enum State {
    Waiting {
        due: Duration,
    },
    /// `again`: woken while it ran, due then.
    Running {
        again: Option<Duration>,
    },
    /// Neither due nor running; kept for its count of failures until the schedule hears of a success.
    Idle,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: State,
    failures: u32,
    not_before: Duration,
    urgent: bool,
}

/// So many urgent keys may run although there is no room for others.
const ROOM_FOR_URGENT: usize = 128;

/// Which key runs when: never one key twice at once, never more than `concurrency` keys, the longest due first; urgent
/// ones before all others, and in a room of their own when there is no other.
#[derive(Debug)]
pub struct Schedule<K> {
    entries: BTreeMap<K, Entry>,
    due: BTreeSet<(Duration, K)>,
    urgent: BTreeSet<(Duration, K)>,
    running: usize,
    concurrency: usize,
}

impl<K: Ord + Clone> Schedule<K> {
    /// An empty schedule that lets up to `concurrency` keys run at once (at least 1).
    pub fn new(concurrency: usize) -> Self {
        let concurrency = concurrency.max(1);
        Self { entries: BTreeMap::new(), due: BTreeSet::new(), urgent: BTreeSet::new(), running: 0, concurrency }
    }

    /// Makes a key due at `at`, or sooner when it is due sooner already. A key that runs is due again after its run.
    pub fn wake(&mut self, key: K, at: Duration) {
        let fresh = Entry { state: State::Idle, failures: 0, not_before: Duration::ZERO, urgent: false };
        let entry = self.entries.entry(key.clone()).or_insert(fresh);
        let at = at.max(entry.not_before);
        match &mut entry.state {
            State::Running { again } => *again = Some(again.map_or(at, |earlier| earlier.min(at))),
            State::Waiting { due } if *due <= at => {}
            State::Waiting { .. } | State::Idle => self.set_due(key, at),
        }
    }

    /// Says whether a key that waits or runs is urgent, from now until there is nothing to do for it.
    pub fn set_urgent(&mut self, key: &K, urgent: bool) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.urgent != urgent) else { return };
        entry.urgent = urgent;
        if let State::Waiting { due } = entry.state {
            let place = (due, key.clone());
            let (from, to) = if urgent { (&mut self.due, &mut self.urgent) } else { (&mut self.urgent, &mut self.due) };
            from.remove(&place);
            to.insert(place);
        }
    }

    /// Takes the key that is due longest, if one is due and there is room; it counts as running until
    /// [`Schedule::finish`].
    pub fn take(&mut self, now: Duration) -> Option<K> {
        let is_due = |waiting: &BTreeSet<(Duration, K)>| waiting.first().is_some_and(|(due, _)| *due <= now);
        let (_, key) = if self.has_room_for_urgent() && is_due(&self.urgent) {
            self.urgent.pop_first()?
        } else if self.has_room() && is_due(&self.due) {
            self.due.pop_first()?
        } else {
            return None;
        };
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.state = State::Running { again: None };
        }
        self.running += 1;
        Some(key)
    }

    /// Ends a run. What does not run is left as it is.
    pub fn finish(&mut self, key: &K, ended: Ended, now: Duration, entropy: &dyn Entropy) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let State::Running { again } = entry.state else { return };
        self.running = self.running.saturating_sub(1);
        entry.state = State::Idle;
        let next = match ended {
            Ended::Success { look_again_in } => {
                entry.failures = 0;
                entry.not_before = Duration::ZERO;
                look_again_in.map(|delay| now + delay.max(LOOK_FLOOR))
            }
            Ended::Failed(disposition) => {
                entry.failures = entry.failures.saturating_add(1);
                entry.not_before = now + RETRY_FLOOR;
                Some(now + retry_delay(disposition, entry.failures, entropy))
            }
        };
        let not_before = entry.not_before;
        let again = again.map(|at| at.max(now).max(not_before));
        match next.into_iter().chain(again).min() {
            Some(at) => self.set_due(key.clone(), at),
            // Nothing to remember: the map holds only what waits, runs or fails.
            None => drop(self.entries.remove(key)),
        }
    }

    /// When the next key is due; `None` when none waits, or when there is no room for one.
    pub fn next_due(&self) -> Option<Duration> {
        let due = self.due.first().filter(|_| self.has_room());
        let urgent = self.urgent.first().filter(|_| self.has_room_for_urgent());
        due.into_iter().chain(urgent).map(|(due, _)| *due).min()
    }

    /// How many keys are due and do not run yet.
    pub fn depth(&self, now: Duration) -> usize {
        let count = |waiting: &BTreeSet<(Duration, K)>| waiting.iter().take_while(|(due, _)| *due <= now).count();
        count(&self.due) + count(&self.urgent)
    }

    /// How many keys run.
    pub fn running(&self) -> usize {
        self.running
    }

    /// How often a key failed in a row.
    pub fn failures(&self, key: &K) -> u32 {
        self.entries.get(key).map_or(0, |entry| entry.failures)
    }

    fn has_room(&self) -> bool {
        self.running < self.concurrency
    }

    fn has_room_for_urgent(&self) -> bool {
        self.running < self.concurrency.saturating_add(ROOM_FOR_URGENT)
    }

    fn set_due(&mut self, key: K, at: Duration) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let waiting = if entry.urgent { &mut self.urgent } else { &mut self.due };
        if let State::Waiting { due } = entry.state {
            waiting.remove(&(due, key.clone()));
        }
        entry.state = State::Waiting { due: at };
        waiting.insert((at, key));
    }
}

/// How long to wait after the `failures`-th failure in a row.
///
/// Full jitter (a draw between nothing and the exponential bound) takes a crowd that failed together apart at once.
/// The constant waits draw from their upper half only: there is no exponent that would slow down a low draw.
fn retry_delay(disposition: Disposition, failures: u32, entropy: &dyn Entropy) -> Duration {
    let exponential = |base: Duration| {
        let doublings = failures.saturating_sub(1).min(10);
        full_jitter((base * 2_u32.pow(doublings)).min(RETRY_CAP), entropy).max(RETRY_FLOOR)
    };
    match disposition {
        Disposition::Transient => exponential(TRANSIENT_BASE),
        Disposition::Throttled => exponential(THROTTLED_BASE),
        Disposition::Terminal => upper_half(RETRY_CAP, entropy),
        Disposition::Bug => upper_half(BUG_WAIT, entropy),
    }
}

/// A draw from nothing to `bound`, to the millisecond.
pub(crate) fn full_jitter(bound: Duration, entropy: &dyn Entropy) -> Duration {
    let millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX - 1);
    Duration::from_millis(entropy.below(millis + 1))
}

fn upper_half(bound: Duration, entropy: &dyn Entropy) -> Duration {
    bound / 2 + full_jitter(bound / 2, entropy)
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    /// Draws the share of the bound that it holds, in percent.
    struct Draw(u64);

    impl Entropy for Draw {
        fn below(&self, bound: u64) -> u64 {
            bound.saturating_sub(1) * self.0 / 100
        }
    }

    const HIGHEST: Draw = Draw(100);
    const LOWEST: Draw = Draw(0);
    const DONE: Ended = Ended::Success { look_again_in: None };

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Lets a key fail `times` times, each time when it is due; the waits in between.
    fn waits(disposition: Disposition, times: usize, draw: &Draw) -> Vec<Duration> {
        let mut schedule = Schedule::new(1);
        schedule.wake("a", secs(0));
        (0..times)
            .map(|_| {
                let now = schedule.next_due().unwrap();
                assert_eq!(schedule.take(now), Some("a"));
                schedule.finish(&"a", Ended::Failed(disposition), now, draw);
                schedule.next_due().unwrap().checked_sub(now).unwrap()
            })
            .collect()
    }

    #[test]
    fn the_wait_grows_with_each_failure_up_to_its_cap() {
        let table = [
            (Disposition::Transient, [1, 2, 4, 8, 16, 30, 30]),
            (Disposition::Throttled, [5, 10, 20, 30, 30, 30, 30]),
            (Disposition::Terminal, [30; 7]),
            (Disposition::Bug, [60; 7]),
        ];
        for (disposition, expected) in table {
            assert_eq!(waits(disposition, 7, &HIGHEST), expected.map(secs).to_vec(), "{disposition:?}");
        }
    }

    #[test]
    fn the_lowest_draw_still_waits() {
        let table = [
            (Disposition::Transient, ms(100)),
            (Disposition::Throttled, ms(100)),
            (Disposition::Terminal, secs(15)),
            (Disposition::Bug, secs(30)),
        ];
        for (disposition, expected) in table {
            assert_eq!(waits(disposition, 3, &LOWEST), vec![expected; 3], "{disposition:?}");
        }
        assert_eq!(waits(Disposition::Transient, 3, &Draw(50)), [ms(500), secs(1), secs(2)]);
    }

    #[test]
    fn the_wait_never_overflows() {
        assert_eq!(waits(Disposition::Transient, 200, &HIGHEST).last(), Some(&secs(30)));
    }

    #[test]
    fn a_success_resets_the_wait() {
        let mut schedule = Schedule::new(1);
        schedule.wake("a", secs(0));
        for _ in 0..4 {
            let now = schedule.next_due().unwrap();
            schedule.take(now).unwrap();
            schedule.finish(&"a", Ended::Failed(Disposition::Transient), now, &HIGHEST);
        }
        assert_eq!(schedule.failures(&"a"), 4);
        let now = schedule.next_due().unwrap();
        schedule.take(now).unwrap();
        schedule.finish(&"a", Ended::Success { look_again_in: Some(secs(7)) }, now, &HIGHEST);
        assert_eq!((schedule.failures(&"a"), schedule.next_due()), (0, Some(now + secs(7))));

        let now = now + secs(7);
        schedule.take(now).unwrap();
        schedule.finish(&"a", Ended::Failed(Disposition::Transient), now, &HIGHEST);
        assert_eq!(schedule.next_due(), Some(now + secs(1)));
    }

    #[test]
    fn a_change_retries_a_failed_key_at_once_but_never_spins() {
        let mut schedule = Schedule::new(1);
        schedule.wake("a", secs(0));
        schedule.take(secs(0)).unwrap();
        schedule.finish(&"a", Ended::Failed(Disposition::Terminal), secs(1), &HIGHEST);
        schedule.wake("a", secs(1));
        assert_eq!(schedule.next_due(), Some(secs(1) + ms(100)), "its own write");
        schedule.take(secs(2)).unwrap();
        schedule.finish(&"a", Ended::Failed(Disposition::Terminal), secs(2), &HIGHEST);
        schedule.wake("a", secs(3));
        assert_eq!(schedule.next_due(), Some(secs(3)), "a change by somebody else");
        assert_eq!(schedule.failures(&"a"), 2, "only a success forgets the failures");
    }

    #[test]
    fn a_key_never_runs_twice_at_once_and_a_wake_during_its_run_runs_it_again() {
        let mut schedule = Schedule::new(9);
        schedule.wake("a", secs(0));
        schedule.wake("a", secs(0));
        assert_eq!(schedule.take(secs(0)), Some("a"));
        assert_eq!(schedule.take(secs(0)), None);
        schedule.wake("a", secs(1));
        schedule.wake("a", secs(2));
        assert_eq!(schedule.take(secs(2)), None, "it runs");
        schedule.finish(&"a", DONE, secs(3), &HIGHEST);
        assert_eq!(schedule.take(secs(3)), Some("a"));
        schedule.finish(&"a", DONE, secs(4), &HIGHEST);
        assert_eq!(schedule.take(secs(999)), None, "both wakes are served by one run");
    }

    #[test]
    fn the_sooner_of_two_times_counts() {
        let table: [(&str, Vec<u64>, u64); 3] =
            [("later one is dropped", vec![5, 9], 5), ("sooner one wins", vec![9, 5], 5), ("once", vec![7], 7)];
        for (name, wakes, expected) in table {
            let mut schedule = Schedule::new(1);
            for at in wakes {
                schedule.wake("a", secs(at));
            }
            assert_eq!(schedule.next_due(), Some(secs(expected)), "{name}");
            assert_eq!(schedule.take(secs(expected)), Some("a"), "{name}");
            schedule.finish(&"a", DONE, secs(expected), &HIGHEST);
            assert_eq!(schedule.next_due(), None, "{name}");
        }
    }

    #[test]
    fn a_wake_later_than_the_look_that_a_run_asks_for_waits_for_neither() {
        let mut schedule = Schedule::new(1);
        schedule.wake("a", secs(0));
        schedule.take(secs(0)).unwrap();
        schedule.wake("a", secs(50));
        schedule.finish(&"a", Ended::Success { look_again_in: Some(secs(5)) }, secs(1), &HIGHEST);
        assert_eq!(schedule.next_due(), Some(secs(6)));
    }

    #[test]
    fn a_time_in_the_past_does_not_spin() {
        let mut schedule = Schedule::new(1);
        schedule.wake("a", secs(1));
        schedule.take(secs(1)).unwrap();
        schedule.finish(&"a", Ended::Success { look_again_in: Some(Duration::ZERO) }, secs(1), &HIGHEST);
        assert_eq!(schedule.next_due(), Some(secs(1) + ms(10)));
    }

    #[test]
    fn no_more_keys_run_than_allowed_and_the_longest_due_goes_first() {
        let mut schedule = Schedule::new(2);
        for (key, at) in [("c", 1), ("a", 3), ("b", 2)] {
            schedule.wake(key, secs(at));
        }
        assert_eq!(schedule.depth(secs(2)), 2);
        assert_eq!((schedule.take(secs(3)), schedule.take(secs(3))), (Some("c"), Some("b")));
        assert_eq!((schedule.take(secs(3)), schedule.next_due()), (None, None), "no room, so nothing to wait for");
        assert_eq!((schedule.running(), schedule.depth(secs(3))), (2, 1));
        schedule.finish(&"c", DONE, secs(4), &HIGHEST);
        assert_eq!(schedule.take(secs(4)), Some("a"));
    }

    #[test]
    fn an_urgent_key_goes_first_and_needs_no_room_of_others() {
        let mut schedule = Schedule::new(1);
        for key in ["first", "second", "urgent"] {
            schedule.wake(key, secs(1));
            schedule.set_urgent(&key, key == "urgent");
        }
        assert_eq!(schedule.take(secs(0)), None, "nothing is due");
        assert_eq!((schedule.take(secs(1)), schedule.take(secs(1))), (Some("urgent"), None));
        schedule.finish(&"urgent", Ended::Success { look_again_in: Some(secs(1)) }, secs(1), &HIGHEST);
        assert_eq!(schedule.take(secs(1)), Some("first"));
        assert_eq!(
            (schedule.next_due(), schedule.depth(secs(2))),
            (Some(secs(2)), 2),
            "no room but for the urgent one"
        );
        assert_eq!((schedule.take(secs(2)), schedule.take(secs(2))), (Some("urgent"), None), "it still is");
        schedule.finish(&"urgent", Ended::Success { look_again_in: Some(secs(1)) }, secs(2), &HIGHEST);
        schedule.set_urgent(&"urgent", false);
        assert_eq!((schedule.take(secs(3)), schedule.next_due()), (None, None));
    }

    #[test]
    fn the_room_for_urgent_keys_has_an_end() {
        let mut schedule = Schedule::new(1);
        for key in 0..200 {
            schedule.wake(key, secs(0));
            schedule.set_urgent(&key, true);
        }
        assert_eq!(std::iter::from_fn(|| schedule.take(secs(0))).count(), 1 + ROOM_FOR_URGENT);
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn one_that_always_fails_delays_no_other() {
        let mut schedule = Schedule::new(1);
        schedule.wake("bad", secs(0));
        schedule.take(secs(0)).unwrap();
        schedule.finish(&"bad", Ended::Failed(Disposition::Bug), secs(0), &LOWEST);
        schedule.wake("good", secs(0));
        assert_eq!(schedule.take(secs(0)), Some("good"));
    }

    #[test]
    fn what_is_done_is_forgotten() {
        let mut schedule = Schedule::new(1);
        for key in 0..1000 {
            schedule.wake(key, secs(0));
            schedule.take(secs(0)).unwrap();
            schedule.finish(&key, DONE, secs(0), &HIGHEST);
        }
        assert_eq!((schedule.entries.len(), schedule.due.len(), schedule.running()), (0, 0, 0));
        schedule.finish(&7, DONE, secs(0), &HIGHEST);
        assert_eq!(schedule.running(), 0, "what does not run cannot end");
    }
}
