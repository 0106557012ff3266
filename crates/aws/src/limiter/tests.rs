//! The limiter: who goes when (tables and a simulated wave), and the waiting itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use pretty_assertions::assert_eq;

use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn queue(admission: &mut Admission, lane: Lane, kind: CallKind, tickets: std::ops::Range<u64>) {
    tickets.for_each(|ticket| admission.join(lane, kind, ticket));
}

#[test]
fn a_full_bucket_lets_in_what_the_reserve_leaves() {
    for (lane, kind, expected) in [
        (Lane::Rollback, CallKind::Mutate, 20),
        (Lane::Verify, CallKind::Mutate, 4),
        (Lane::Promote, CallKind::Mutate, 4),
        (Lane::Rollback, CallKind::Describe, 40),
        (Lane::Drift, CallKind::Describe, 12),
        (Lane::Discovery, CallKind::Describe, 12),
    ] {
        let mut admission = Admission::new(Limits::AWS);
        queue(&mut admission, lane, kind, 0..100);
        assert_eq!(admission.admit(Duration::ZERO), (0..expected).collect::<Vec<_>>(), "{lane:?} {kind:?}");
        assert_eq!(admission.admit(Duration::ZERO), Vec::<u64>::new());
    }
}

#[test]
fn lanes_go_in_order_and_within_a_lane_changes_first_then_who_came_first() {
    let mut admission = Admission::new(Limits::AWS);
    admission.join(Lane::Discovery, CallKind::Describe, 1);
    admission.join(Lane::Drift, CallKind::Describe, 2);
    admission.join(Lane::Promote, CallKind::Describe, 3);
    admission.join(Lane::Promote, CallKind::Mutate, 4);
    admission.join(Lane::Promote, CallKind::Mutate, 5);
    admission.join(Lane::Verify, CallKind::Describe, 6);
    admission.join(Lane::Rollback, CallKind::Mutate, 7);
    assert_eq!(admission.admit(Duration::ZERO), [7, 6, 4, 5, 3, 2, 1]);
    assert!(admission.is_idle());
    assert_eq!(admission.next_at(Duration::ZERO), None);
}

#[test]
fn a_change_that_waits_for_its_bucket_does_not_hold_up_reads() {
    let mut admission = Admission::new(Limits::AWS);
    queue(&mut admission, Lane::Promote, CallKind::Mutate, 0..10);
    queue(&mut admission, Lane::Drift, CallKind::Describe, 10..12);
    assert_eq!(admission.admit(Duration::ZERO), [0, 1, 2, 3, 10, 11]);
}

#[test]
fn the_next_admission_is_foretold_to_the_nanosecond() {
    let mut admission = Admission::new(Limits::AWS);
    queue(&mut admission, Lane::Promote, CallKind::Mutate, 0..6);
    assert_eq!(admission.admit(Duration::ZERO).len(), 4);
    let next = admission.next_at(Duration::ZERO).unwrap();
    assert_eq!(next, Duration::from_nanos(333_333_334));
    assert_eq!(admission.admit(next.checked_sub(Duration::from_nanos(1)).unwrap()), Vec::<u64>::new());
    assert_eq!(admission.admit(next), [4]);
}

#[test]
fn readings_do_not_run_far_ahead_of_the_changes_of_their_lane() {
    let mut admission = Admission::new(Limits::AWS);
    queue(&mut admission, Lane::Promote, CallKind::Mutate, 0..20);
    queue(&mut admission, Lane::Promote, CallKind::Describe, 100..101);
    queue(&mut admission, Lane::Verify, CallKind::Describe, 200..201);
    assert_eq!(admission.admit(Duration::ZERO), [200, 0, 1, 2, 3], "16 changes wait");
    let mut now = Duration::ZERO;
    for ticket in 4..8 {
        now = admission.next_at(now).unwrap();
        assert_eq!(admission.admit(now), [ticket], "a reading that waits is no reason to look sooner");
    }
    now = admission.next_at(now).unwrap();
    assert_eq!(admission.admit(now), [8, 100], "11 changes wait");

    let mut admission = Admission::new(Limits::AWS);
    queue(&mut admission, Lane::Rollback, CallKind::Mutate, 0..40);
    queue(&mut admission, Lane::Rollback, CallKind::Describe, 100..101);
    assert!(admission.admit(Duration::ZERO).contains(&100), "a way back reads ahead");
}

#[test]
fn who_leaves_is_not_let_in_and_what_was_not_used_is_given_back() {
    let mut admission = Admission::new(Limits::AWS);
    queue(&mut admission, Lane::Rollback, CallKind::Mutate, 0..22);
    assert_eq!(admission.admit(Duration::ZERO).len(), 20);
    assert!(admission.leave(20));
    assert!(!admission.leave(20));
    assert!(!admission.leave(0));
    admission.refund(CallKind::Mutate, Duration::ZERO);
    assert_eq!(admission.admit(Duration::ZERO), [21]);
}

#[test]
fn throttling_empties_the_bucket_for_a_pause_that_grows_until_an_answer() {
    let mut admission = Admission::new(Limits::AWS);
    let mut now = Duration::ZERO;
    for (round, pause) in [500, 1000, 2000, 4000, 8000, 8000].into_iter().enumerate() {
        admission.throttled(CallKind::Mutate, now);
        // A second refusal of the same burst does not count again.
        admission.throttled(CallKind::Mutate, now + ms(10));
        admission.join(Lane::Rollback, CallKind::Mutate, round as u64);
        let next = admission.next_at(now + ms(10)).unwrap();
        assert_eq!(next, now + ms(pause), "round {round}");
        assert_eq!(admission.admit(now + ms(pause - 1)), Vec::<u64>::new());
        now = next;
        assert_eq!(admission.admit(now), [round as u64]);
        // The answer to a call from before the pause says nothing about now.
        admission.answered(CallKind::Mutate, now.checked_sub(ms(pause)).unwrap());
    }
    admission.answered(CallKind::Mutate, now);
    admission.throttled(CallKind::Mutate, now);
    admission.join(Lane::Rollback, CallKind::Mutate, 100);
    assert_eq!(admission.next_at(now), Some(now + ms(500)));
}

#[test]
fn throttled_changes_do_not_hold_up_reads() {
    let mut admission = Admission::new(Limits::AWS);
    admission.throttled(CallKind::Mutate, Duration::ZERO);
    admission.join(Lane::Rollback, CallKind::Mutate, 1);
    admission.join(Lane::Rollback, CallKind::Describe, 2);
    assert_eq!(admission.admit(ms(10)), [2]);
}

/// AWS's side: the calls it saw, and a plain model of its buckets, written apart from ours.
struct AwsModel {
    mutate: BTreeMap<Duration, u32>,
    all: BTreeMap<Duration, u32>,
}

impl AwsModel {
    /// Whether calls, in order of time, ever exceed a bucket of `capacity` filling at `rate` a second. Checked in
    /// nanotokens.
    fn exceeds(calls: &BTreeMap<Duration, u32>, capacity: u128, rate: u128) -> Option<Duration> {
        let full = capacity * 1_000_000_000;
        let (mut level, mut last) = (full, Duration::ZERO);
        for (at, count) in calls {
            level = (level + at.saturating_sub(last).as_nanos() * rate).min(full);
            last = *at;
            let taken = u128::from(*count) * 1_000_000_000;
            if taken > level {
                return Some(*at);
            }
            level -= taken;
        }
        None
    }
}

/// What a simulated Cell waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Read,
    Write,
    Verify,
}

/// Cells that each read, write and verify, answers after 50 ms; `rollbacks` more come at `rollbacks_at`.
struct Wave {
    admission: Admission,
    stages: BTreeMap<u64, (Lane, Stage)>,
    answers: BTreeSet<(Duration, u64)>,
    aws: AwsModel,
    writes: BTreeMap<u64, Duration>,
}

impl Wave {
    fn run(cells: u64, rollbacks: u64, rollbacks_at: Duration, rollbacks_read: bool) -> Self {
        let mut wave = Self {
            admission: Admission::new(Limits::AWS),
            stages: BTreeMap::new(),
            answers: BTreeSet::new(),
            aws: AwsModel { mutate: BTreeMap::new(), all: BTreeMap::new() },
            writes: BTreeMap::new(),
        };
        (0..cells).for_each(|cell| wave.enter(cell, Lane::Promote, Stage::Read));
        let (mut now, mut injected) = (Duration::ZERO, false);
        loop {
            if !injected && now >= rollbacks_at {
                injected = true;
                let first = if rollbacks_read { Stage::Read } else { Stage::Write };
                (cells..cells + rollbacks).for_each(|cell| wave.enter(cell, Lane::Rollback, first));
            }
            wave.step(now);
            let next = [
                wave.admission.next_at(now),
                wave.answers.first().map(|(at, _)| *at),
                (!injected).then_some(rollbacks_at),
            ];
            match next.into_iter().flatten().min() {
                Some(at) => now = at,
                None => return wave,
            }
        }
    }

    fn enter(&mut self, cell: u64, lane: Lane, stage: Stage) {
        let kind = if stage == Stage::Write { CallKind::Mutate } else { CallKind::Describe };
        let lane = if stage == Stage::Verify { Lane::Verify } else { lane };
        self.stages.insert(cell, (lane, stage));
        self.admission.join(lane, kind, cell);
    }

    fn step(&mut self, now: Duration) {
        while self.answers.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, cell)) = self.answers.pop_first()
        {
            match self.stages[&cell] {
                (lane, Stage::Read) => self.enter(cell, lane, Stage::Write),
                (lane, Stage::Write) => self.enter(cell, lane, Stage::Verify),
                (_, Stage::Verify) => {}
            }
        }
        for cell in self.admission.admit(now) {
            *self.aws.all.entry(now).or_default() += 1;
            if self.stages[&cell].1 == Stage::Write {
                *self.aws.mutate.entry(now).or_default() += 1;
                self.writes.insert(cell, now);
            }
            self.answers.insert((now + ms(50), cell));
        }
    }
}

/// Of 300 Cells, three each.
const CHANGES: u64 = 900;

#[test]
fn a_wave_of_300_cells_uses_the_write_budget_and_20_rollbacks_are_not_held_up() {
    for (at, reads) in [(0, false), (1_000, false), (30_000, false), (30_123, true), (90_000, true)] {
        let wave = Wave::run(CHANGES, 20, ms(at), reads);
        assert_eq!(wave.writes.len(), 920, "at {at} ms");
        assert_eq!(AwsModel::exceeds(&wave.aws.mutate, 20, 3), None, "at {at} ms");
        assert_eq!(AwsModel::exceeds(&wave.aws.all, 40, 10), None, "at {at} ms");

        let last_rollback = wave.writes.range(CHANGES..).map(|(_, at)| *at).max().unwrap();
        let took = last_rollback.checked_sub(ms(at)).unwrap();
        assert!(took <= ms(2_000), "the last of 20 rollbacks at {at} ms wrote after {took:?}");

        let last = wave.writes.values().max().unwrap();
        let budget = 20.0 + 3.0 * last.as_secs_f64();
        let used = 920.0 / budget;
        assert!(used >= 0.95, "{used:.3} of the write budget was used in {last:?}");
    }
}

#[test]
fn a_wave_without_rollbacks_is_as_fast_as_aws_allows() {
    let wave = Wave::run(300, 0, Duration::ZERO, false);
    let last = *wave.writes.values().max().unwrap();
    // (300 - 4) / 3, the reserve of 16 left in the bucket, and one second for the reads before.
    assert!(last <= ms(98_667 + 1_000), "{last:?}");
    let order: Vec<u64> = wave.writes.keys().copied().collect();
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 300);
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_go_in_order_of_their_lanes() {
    let limiter = Limiter::new(RateLimits::Aws);
    for _ in 0..20 {
        limiter.acquire(Lane::Rollback, CallKind::Mutate, ms(1)).await.unwrap();
    }
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for lane in [Lane::Promote, Lane::Verify, Lane::Rollback] {
        let (limiter, order) = (limiter.clone(), order.clone());
        tasks.push(tokio::spawn(async move {
            let permit = limiter.acquire(lane, CallKind::Mutate, ms(60_000)).await.unwrap();
            order.lock().push(lane);
            permit.at
        }));
        tokio::task::yield_now().await;
    }
    let mut admitted = Vec::new();
    for task in tasks {
        admitted.push(task.await.unwrap());
    }
    assert_eq!(*order.lock(), [Lane::Rollback, Lane::Verify, Lane::Promote]);
    // The rollback takes the first token, the others wait until the reserve is filled again.
    assert!(admitted[2] < ms(400), "{admitted:?}");
    assert!(admitted[1] >= ms(5_000), "{admitted:?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_has_an_end_and_gives_up_the_place() {
    let limiter = Limiter::with_limits(Limits { mutate: Budget { capacity: 20, per_second: 0 }, ..Limits::AWS });
    for _ in 0..4 {
        limiter.acquire(Lane::Promote, CallKind::Mutate, ms(1)).await.unwrap();
    }
    let begun = Instant::now();
    let error = limiter.acquire(Lane::Promote, CallKind::Mutate, Duration::from_mins(1)).await.unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 60);
    assert_eq!(error.to_string(), "waited for the rate limit for 60s");
    assert!(limiter.state.as_ref().unwrap().lock().admission.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_costs_no_token() {
    let limiter = Limiter::new(RateLimits::Aws);
    for _ in 0..20 {
        limiter.acquire(Lane::Rollback, CallKind::Mutate, ms(1)).await.unwrap();
    }
    // Dropped while it waits, and dropped when it was let in but had not yet heard of it.
    for sleep_first in [ms(10), ms(400)] {
        let waiting = tokio::spawn({
            let limiter = limiter.clone();
            async move {
                let acquired = limiter.acquire(Lane::Rollback, CallKind::Mutate, ms(60_000));
                let mut acquired = std::pin::pin!(acquired);
                // Polled once, then left alone: it queues and never hears the answer.
                assert!(futures::poll!(acquired.as_mut()).is_pending());
                tokio::time::sleep(sleep_first).await;
            }
        });
        waiting.await.unwrap();
        assert!(limiter.state.as_ref().unwrap().lock().waiting.is_empty());
    }
    // 410 ms have passed: one token is there, and it was not lost.
    let begun = Instant::now();
    limiter.acquire(Lane::Rollback, CallKind::Mutate, ms(60_000)).await.unwrap();
    assert!(begun.elapsed() < ms(5), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refund_lets_the_next_one_in() {
    let limiter = Limiter::with_limits(Limits { mutate: Budget { capacity: 17, per_second: 0 }, ..Limits::AWS });
    let permit = limiter.acquire(Lane::Promote, CallKind::Mutate, ms(1)).await.unwrap();
    let waiting = tokio::spawn({
        let limiter = limiter.clone();
        async move { limiter.acquire(Lane::Promote, CallKind::Mutate, ms(1_000)).await }
    });
    tokio::task::yield_now().await;
    limiter.refund(permit);
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn without_limits_nobody_waits() {
    let limiter = Limiter::new(RateLimits::Off);
    for _ in 0..1_000 {
        let permit = limiter.acquire(Lane::Discovery, CallKind::Mutate, Duration::ZERO).await.unwrap();
        limiter.throttled(permit);
    }
    assert_eq!(limiter.now(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn each_account_and_region_has_one_limiter() {
    let limiters = Limiters::new(RateLimits::Aws);
    let first = limiters.of("1", "eu-west-1");
    assert!(Arc::ptr_eq(&first, &limiters.of("1", "eu-west-1")));
    assert!(!Arc::ptr_eq(&first, &limiters.of("2", "eu-west-1")));
    assert!(!Arc::ptr_eq(&first, &limiters.of("1", "us-east-1")));
}
