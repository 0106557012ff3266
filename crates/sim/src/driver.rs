//! The loop of a run: what can happen next is known, the seed decides what does.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use okra_core::route::Change;
use okra_judge::record::{Event, LifeChange, Quiet};
use okra_provider::{BackendError, RouterError, RouterErrorKind, WatchEvent};

use crate::{
    api_server::Changed,
    engine::Engine,
    process::{CALL_TIMEOUT, Ill, Living},
    rng::Rng,
    run::Breach,
    story::{Failing, HORIZON, Story, What},
    trace::Trace,
    watch::Watch,
    world::{Call, LbAnswer, LbCall, Life, Pending, Watcher, World, timestamp},
};

/// How long the lease holds.
const LEASE: u64 = 15_000;
/// After so long without an answer a call of the API server has failed.
const API_TIMEOUT: u64 = 10_000;
/// Nothing was written for so long: longer than every interval at which something looks again.
const QUIET: u64 = 12 * 60_000;
/// So long after the last fault something may still happen.
const PATIENCE: u64 = 90 * 60_000;

/// So many steps no story takes that comes to rest.
const SPIN: u64 = 60_000;

/// A process, alive or not.
#[derive(Default)]
pub struct Slot {
    pub living: Option<Living>,
    pub lives: u32,
    pub restart_at: Option<u64>,
    pub frozen: u64,
    pub cut_off: u64,
    pub crash: Option<(u32, bool)>,
    pub stopping: bool,
    next_renewal: u64,
}

/// Something that is to happen at a time.
#[derive(Clone, Debug)]
pub enum Todo {
    /// Of the story.
    Happen(What),
    /// A person has thought about what they saw, and asks.
    Send(usize, okra_api::Request),
    /// A run of an analysis begins.
    BeginRun(String, bool, usize),
    /// A run of an analysis ends.
    EndRun(String, bool, usize),
    /// Reads are up to date again.
    LagOver,
}

/// A run under way.
pub struct Driver {
    pub world: Arc<World>,
    pub rng: Rng,
    pub slots: Vec<Slot>,
    pub agenda: Vec<(u64, Todo)>,
    pub api_faults: Vec<(u32, Failing)>,
    pub lb_faults: Vec<(u32, bool, Failing)>,
    pub slow_until: u64,
    pub calm: bool,
    pub trace: Trace,
    pub breaches: Vec<Breach>,
    pub engine: Engine,
    pub elected: bool,
    pub pending: Vec<Pending>,
    pub watchers: Vec<Watcher>,
    pub requests: u32,
    pub steps: u64,
    /// When a person last asked something of each Cell, since somebody else changed its rule.
    pub asked: BTreeMap<usize, u64>,
    /// What is checked beside the judge.
    pub watch: Watch,
    holder: Option<Life>,
    renewed: u64,
    last_write: u64,
    gone: Vec<Changed>,
}

enum Next {
    Call(usize),
    Watch(usize),
    Start(usize, usize),
}

impl Driver {
    pub fn new(story: &Story, keep: bool) -> Self {
        let agenda = story.happenings.iter().map(|happening| (happening.at, Todo::Happen(happening.what.clone())));
        let mut slots: Vec<Slot> = Vec::new();
        for process in 0..story.processes {
            slots.push(Slot { restart_at: Some(process as u64 * 500), ..Slot::default() });
        }
        Self {
            world: World::new(),
            rng: Rng::new(story.seed, 2),
            slots,
            agenda: agenda.collect(),
            api_faults: Vec::new(),
            lb_faults: Vec::new(),
            slow_until: 0,
            calm: false,
            trace: Trace::new(keep),
            breaches: Vec::new(),
            engine: Engine::new(story),
            elected: story.elected,
            pending: Vec::new(),
            watchers: Vec::new(),
            requests: 0,
            steps: 0,
            asked: BTreeMap::new(),
            watch: Watch::new(story),
            holder: None,
            renewed: 0,
            last_write: 0,
            gone: Vec::new(),
        }
    }

    /// Runs to the end.
    pub async fn run(&mut self) {
        loop {
            // Time moves on only when no task can: all that follows from the last choice has happened now.
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.steps += 1;
            let now = self.world.now();
            if self.upkeep(now) {
                return;
            }
            if self.steps > SPIN {
                return self.breach("L4", format!("{SPIN} steps and no end: something spins"));
            }
            let ready = self.ready(now);
            if let Some(next) = self.rng.pick(&ready) {
                self.go_on(next, now);
                self.observe_changes(now);
                continue;
            }
            let wake = self.world.instant(self.next_time(now));
            tokio::select! {
                biased;
                () = self.world.called.notified() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// A delay of a call or an event.
    pub fn latency(&self, now: u64) -> u64 {
        if self.calm {
            return self.rng.between(1, 4);
        }
        if now < self.slow_until {
            return self.rng.between(100, 3_000);
        }
        match self.rng.below(100) {
            0..=82 => self.rng.between(1, 20),
            83..=96 => self.rng.between(20, 300),
            _ => self.rng.between(300, 3_000),
        }
    }

    /// Everything that is due by time alone; whether the run is over.
    fn upkeep(&mut self, now: u64) -> bool {
        self.sort_in(now);
        self.reap(now);
        self.happen(now);
        self.observe_changes(now);
        if !self.calm && now >= HORIZON {
            self.calm_down(now);
        }
        for process in 0..self.slots.len() {
            self.live(process, now);
        }
        if !self.calm {
            return false;
        }
        let begun = self.last_write.max(HORIZON);
        if now > HORIZON + PATIENCE {
            self.breach("L4", format!("something was still written {} min after the last fault", PATIENCE / 60_000));
            return true;
        }
        now > begun + QUIET && self.agenda.is_empty()
    }

    /// Takes in the calls and watches that were begun.
    fn sort_in(&mut self, now: u64) {
        let (calls, watches) =
            self.world.with(|state| (std::mem::take(&mut state.calls), std::mem::take(&mut state.watches)));
        for mut call in calls {
            call.ready = now + self.latency(now);
            self.pending.push(call);
        }
        for mut watch in watches {
            watch.ready = now + self.latency(now);
            self.watchers.push(watch);
        }
    }

    fn reap(&mut self, now: u64) {
        let mut ills = Vec::new();
        for slot in &mut self.slots {
            if let Some(living) = &mut slot.living {
                ills.extend(living.reap(now));
                living.hear(now);
            }
        }
        for ill in ills {
            match ill {
                Ill::Panic(text) => self.breach("panic", text),
                Ill::Bug(text) => self.breach("bug", text),
            }
        }
    }

    pub fn breach(&mut self, invariant: &'static str, text: String) {
        let seq = self.world.with(|state| state.record.entries.len() as u64);
        let now = self.world.now();
        self.trace.line(now, format_args!("BREACH {invariant}: {text}"));
        self.breaches.push(Breach { invariant, seq, text });
    }

    /// What can happen now.
    fn ready(&self, now: u64) -> Vec<Next> {
        let mut ready = Vec::new();
        for (place, pending) in self.pending.iter().enumerate() {
            let answered = match &pending.call {
                Call::Api { done, .. } => done.is_some(),
                Call::Lb { done, .. } => done.is_some(),
            };
            if pending.ready <= now && !(answered && self.is_frozen(pending.life.process, now)) {
                ready.push(Next::Call(place));
            }
        }
        for (place, at) in self.tellings() {
            let process = self.watchers.get(place).map_or(0, |watcher| watcher.life.process);
            if at <= now && !self.is_frozen(process, now) && !self.is_cut_off(process, now) {
                ready.push(Next::Watch(place));
            }
        }
        for (process, slot) in self.slots.iter().enumerate() {
            if slot.stopping || self.is_frozen(process, now) {
                continue;
            }
            let due = slot.living.iter().flat_map(|living| living.due(now));
            ready.extend(due.map(|controller| Next::Start(process, controller)));
        }
        ready
    }

    pub fn is_frozen(&self, process: usize, now: u64) -> bool {
        self.slots.get(process).is_some_and(|slot| slot.frozen > now)
    }

    pub fn is_cut_off(&self, process: usize, now: u64) -> bool {
        self.slots.get(process).is_some_and(|slot| slot.cut_off > now)
    }

    /// Which watches have something to tell, and when.
    fn tellings(&self) -> Vec<(usize, u64)> {
        self.world.with(|state| {
            let tells = |watcher: &Watcher| watcher.told.is_none_or(|told| told < state.api.changes(watcher.place));
            let all = self.watchers.iter().enumerate().filter(|(_, watcher)| tells(watcher));
            all.map(|(place, watcher)| (place, watcher.ready.max(watcher.held))).collect()
        })
    }

    /// When something happens next, if nothing can now.
    fn next_time(&self, now: u64) -> u64 {
        let thaw = |process: usize, at: u64| {
            let slot = self.slots.get(process);
            at.max(slot.map_or(0, |slot| slot.frozen))
        };
        let calls = self.pending.iter().map(|pending| {
            if pending.ready <= now { thaw(pending.life.process, pending.ready) } else { pending.ready }
        });
        let watches = self.tellings().into_iter().map(|(place, at)| {
            let process = self.watchers.get(place).map_or(0, |watcher| watcher.life.process);
            let cut_off = self.slots.get(process).map_or(0, |slot| slot.cut_off);
            thaw(process, at).max(cut_off)
        });
        let agenda = self.agenda.iter().map(|(at, _)| *at);
        let slots = self.slots.iter().enumerate().flat_map(|(process, slot)| {
            let due = slot.living.as_ref().filter(|_| !slot.stopping).and_then(Living::next_due);
            let elected = slot.living.as_ref().filter(|_| self.elected);
            // Without an answer to its renewals a process still knows when its lease is over.
            let over = elected.and_then(|living| self.world.with(|state| state.leases.get(&living.life).copied()));
            [
                due.map(|at| thaw(process, at)),
                elected.map(|_| thaw(process, slot.next_renewal.max(slot.cut_off))),
                over.filter(|at| *at > now).map(|at| thaw(process, at)),
                slot.restart_at,
            ]
        });
        let end = if self.calm { self.last_write.max(HORIZON) + QUIET + 1 } else { HORIZON };
        let next = calls.chain(watches).chain(agenda).chain(slots.flatten()).chain([end]).min().unwrap_or(end);
        next.max(now + 1)
    }

    fn go_on(&mut self, next: &Next, now: u64) {
        match *next {
            Next::Call(place) => self.pass(place, now),
            Next::Watch(place) => self.tell(place, now),
            Next::Start(process, controller) => {
                let words = self.slots.get_mut(process).and_then(|slot| slot.living.as_mut()?.start(controller, now));
                if let Some(words) = words {
                    self.trace.line(now, format_args!("process {process} reconciles {words}"));
                }
            }
        }
    }

    /// A call goes on: it reaches the server, or its answer the caller.
    fn pass(&mut self, place: usize, now: u64) {
        let mut pending = self.pending.swap_remove(place);
        let process = pending.life.process;
        match &mut pending.call {
            Call::Api { done: done @ Some(_), .. } => {
                let answer = done.take();
                if let (Call::Api { answer: to, .. }, Some(answer)) = (pending.call, answer) {
                    // A caller that was cut off does not listen any more.
                    _ = to.send(answer);
                }
            }
            Call::Lb { done: done @ Some(_), .. } => {
                let answer = done.take();
                if let (Call::Lb { answer: to, .. }, Some(answer)) = (pending.call, answer) {
                    _ = to.send(answer);
                }
            }
            Call::Api { call, .. } => {
                let writes = call.writes();
                match self.strikes_down(process, writes) {
                    None => {
                        self.reach_api(&mut pending, now, false);
                        self.pending.push(pending);
                    }
                    Some(effect) => {
                        if effect {
                            self.reach_api(&mut pending, now, true);
                        }
                        self.crash(process, now);
                    }
                }
            }
            Call::Lb { call, .. } => {
                let writes = matches!(call, LbCall::Apply(_));
                match self.strikes_down(process, writes) {
                    None => {
                        self.reach_lb(&mut pending, now);
                        self.pending.push(pending);
                    }
                    Some(effect) => {
                        if effect {
                            self.reach_lb(&mut pending, now);
                        }
                        self.crash(process, now);
                    }
                }
            }
        }
    }

    /// Whether a crash is planned for this write, and whether the write takes effect before it.
    fn strikes_down(&mut self, process: usize, writes: bool) -> Option<bool> {
        let slot = self.slots.get_mut(process).filter(|_| writes)?;
        let (left, effect) = slot.crash.as_mut()?;
        *left = left.saturating_sub(1);
        if *left > 0 {
            return None;
        }
        let effect = *effect;
        slot.crash = None;
        Some(effect)
    }

    /// A call reaches the API server.
    fn reach_api(&mut self, pending: &mut Pending, now: u64, silent: bool) {
        let process = pending.life.process;
        let cut_off = self.is_cut_off(process, now) && !silent;
        let late = self.latency(now);
        let Call::Api { kind, call, done, .. } = &mut pending.call else { return };
        if cut_off {
            *done = Some(Err(BackendError::Unreachable("no answer in time".to_owned())));
            pending.ready = now.max(pending.since + API_TIMEOUT);
            return;
        }
        let fault = if call.writes() { strike(&mut self.api_faults, |fault| &mut fault.0) } else { None };
        let failing = fault.map(|(_, failing)| failing);
        let lost = || BackendError::Unreachable("the connection was lost".to_owned());
        let refusal = match failing {
            Some(Failing::Busy) => Some(BackendError::Unreachable("the server is busy".to_owned())),
            Some(Failing::Throttled) => Some(BackendError::Throttled { retry_after: None }),
            Some(Failing::Lost) => Some(lost()),
            Some(Failing::Denied) => {
                Some(BackendError::Conflict { kind: kind.to_string(), key: okra_provider::Key::default() })
            }
            Some(Failing::LostAnswer) | None => None,
        };
        let time = self.world.time();
        let answer = match refusal {
            Some(error) => Err(error),
            None => self.world.with(|state| state.api.execute(kind, call, time)),
        };
        let words = match (&answer, failing) {
            (Err(error), _) => format!(": {error}"),
            (Ok(_), Some(_)) => ", and the answer is lost".to_owned(),
            (Ok(_), None) => String::new(),
        };
        self.trace.line(now, format_args!("process {process}: {kind}: {}{words}", call.words()));
        let lost_answer = failing == Some(Failing::LostAnswer) || silent;
        let mut recorded = call.recorded(kind, &answer);
        if failing == Some(Failing::Lost) {
            recorded.code = 0;
        }
        recorded.process = pending.life.name();
        recorded.begun = Some(timestamp(pending.since as i64));
        recorded.lost = lost_answer || failing == Some(Failing::Lost);
        self.world.with(|state| state.note(now, Event::Api(recorded)));
        *done = Some(if failing == Some(Failing::LostAnswer) { Err(lost()) } else { answer });
        pending.ready = now + late;
    }

    /// A call reaches the load balancer.
    fn reach_lb(&mut self, pending: &mut Pending, now: u64) {
        let late = self.latency(now);
        let Call::Lb { intent, call, deadline, done, .. } = &mut pending.call else { return };
        if now >= *deadline {
            // The caller has given up, and a call has no effect after its deadline.
            *done = Some(Err(RouterError::new(RouterErrorKind::Unreachable, "Timeout", "no answer in time")));
            return;
        }
        let writes = matches!(call, LbCall::Apply(_));
        let at = self.lb_faults.iter().position(|(_, only_writes, _)| writes || !only_writes);
        let fault = at.and_then(|at| {
            let fault = self.lb_faults.get_mut(at)?;
            fault.0 = fault.0.saturating_sub(1);
            (fault.0 == 0).then(|| self.lb_faults.remove(at).2)
        });
        let refusal = match fault {
            Some(Failing::Busy) => Some((RouterErrorKind::Unreachable, "ServiceUnavailable")),
            Some(Failing::Throttled) => Some((RouterErrorKind::Throttled, "Throttling")),
            Some(Failing::Lost) => Some((RouterErrorKind::Unreachable, "ConnectionReset")),
            Some(Failing::Denied) => Some((RouterErrorKind::Denied, "AccessDenied")),
            Some(Failing::LostAnswer) | None => None,
        };
        let words = lb_words(call);
        let (since, until, process) = (pending.since, *deadline, pending.life.name());
        let timed = |recorded: okra_judge::record::LbCall| okra_judge::record::LbCall {
            process,
            begun: Some(timestamp(since as i64)),
            deadline: Some(timestamp(until as i64)),
            ..recorded
        };
        let answer = self.world.with(|state| {
            let (answer, recorded) = if let Some((kind, code)) = refusal {
                let recorded = state.lb.refused(intent, call, code);
                (Err(RouterError::new(kind, code, format!("{} failed: {code}", recorded.operation))), recorded)
            } else {
                state.lb.execute(intent, call, now)
            };
            state.note(now, Event::Call(timed(recorded)));
            answer
        });
        if let Ok(LbAnswer::Observed(observed)) = &answer
            && let Some(rule) = &observed.ours
        {
            self.watch.read_rule(&intent.owner, &pending.life.name(), &rule.weights);
        }
        if writes {
            self.last_write = now;
            self.watch_write();
        }
        let end = match (&answer, fault) {
            (Err(error), _) => format!(": {}", error.code),
            (Ok(_), Some(_)) => ", and the answer is lost".to_owned(),
            (Ok(_), None) => String::new(),
        };
        let process = pending.life.process;
        self.trace.line(now, format_args!("process {process}: {}: {words}{end}", intent.owner));
        let lost = || RouterError::new(RouterErrorKind::Unreachable, "ConnectionReset", "the answer was lost");
        *done = Some(if fault == Some(Failing::LostAnswer) { Err(lost()) } else { answer });
        pending.ready = now + late;
    }

    /// A watch tells one thing.
    fn tell(&mut self, place: usize, now: u64) {
        let late = self.latency(now);
        let stale = self.rng.below(5) as usize;
        let again = !self.calm && self.rng.chance(3);
        let calm = self.calm;
        let Some(watcher) = self.watchers.get_mut(place) else { return };
        watcher.ready = now + late;
        let world = self.world.clone();
        world.with(|state| match watcher.told {
            None => {
                // Another API server may answer with what was true a moment ago.
                let changes = state.api.changes(watcher.place);
                let told = if calm { changes } else { changes.saturating_sub(stale) };
                _ = watcher.events.send(WatchEvent::Restarted(state.api.list_at(&watcher.kind, told)));
                watcher.told = Some(told);
            }
            Some(told) => {
                let last = if calm { state.api.changes(watcher.place) } else { told + 1 };
                for index in told..last {
                    if let Some(event) = state.api.event(&watcher.kind, index) {
                        _ = watcher.events.send(event);
                    }
                }
                watcher.told = Some(if again { told } else { last });
            }
        });
        let (process, told) = (watcher.life.process, watcher.told.unwrap_or(0));
        self.trace.line(now, format_args!("process {process} hears of {} {told}", watcher.kind));
    }

    /// Takes in what changed: for the record, for the analysis engine, for the children of what is gone.
    pub fn observe_changes(&mut self, now: u64) {
        loop {
            let fresh = self.world.with(|state| std::mem::take(&mut state.api.fresh));
            if fresh.is_empty() {
                return;
            }
            for changed in fresh {
                self.last_write = now;
                let words = format_args!("{} {}", changed.kind, changed.key);
                self.trace.change(now, changed.before.as_deref(), &changed.object, words);
                let object = if changed.gone { serde_json::Value::Null } else { changed.object.as_ref().clone() };
                self.world.with(|state| {
                    let key = &changed.key;
                    state.note_object(now, &changed.kind, &key.namespace, &key.name, object);
                });
                self.watch_over(&changed);
                self.follow(&changed, now);
                if changed.gone {
                    self.gone.push(changed);
                }
            }
            for changed in std::mem::take(&mut self.gone) {
                self.collect_children(&changed);
            }
        }
    }

    /// What a process does by itself: begins, renews its lease, leads, stops.
    fn live(&mut self, process: usize, now: u64) {
        let world = self.world.clone();
        let elected = self.elected;
        let seed = self.rng.below(u64::MAX);
        let jitter = self.rng.below(500);
        let Some(slot) = self.slots.get_mut(process) else { return };
        if slot.restart_at.is_some_and(|at| at <= now) {
            slot.restart_at = None;
            slot.lives += 1;
            slot.next_renewal = now;
            let life = Life { process, number: slot.lives };
            slot.living = Some(Living::begin(&world, life, seed));
            world.with(|state| state.note_life(now, life, LifeChange::Started));
            if !elected {
                world.with(|state| state.hold_lease(now, life, u64::MAX));
            }
            self.trace.line(now, format_args!("process {process} begins"));
            return;
        }
        let Some(living) = &mut slot.living else { return };
        if slot.frozen > now {
            return;
        }
        if slot.stopping && !living.is_busy() {
            let life = living.life;
            if self.holder == Some(life) {
                self.holder = None;
            }
            self.trace.line(now, format_args!("process {process} stopped"));
            return self.end_life(process, now + 1_000, LifeChange::Stopped);
        }
        living.resync(now);
        let life = living.life;
        let held_until = world.with(|state| state.leases.get(&life).copied());
        // One that led does not take the lease again once it ran out: it ends.
        let ran_out = living.leads && held_until.is_none_or(|until| until <= now);
        if elected && now >= slot.next_renewal && slot.cut_off <= now && !ran_out {
            let free = self.holder.is_none() || now >= self.renewed + LEASE;
            if self.holder == Some(life) && now < self.renewed + LEASE || free {
                self.holder = Some(life);
                self.renewed = now;
                world.with(|state| state.hold_lease(now, life, now + LEASE));
                slot.next_renewal = now + LEASE / 3;
            } else {
                slot.next_renewal = now + 1_500 + jitter;
            }
        }
        let until = world.with(|state| state.leases.get(&life).copied());
        // One that was frozen goes on for a moment before it looks at its lease.
        let looks = slot.frozen + if slot.frozen > 0 { 20 + jitter } else { 0 };
        if until.is_some_and(|until| until > now) || (living.leads && now < looks) {
            if !living.leads && living.is_synced() {
                living.lead(now);
                self.trace.line(now, format_args!("process {process} leads"));
            }
        } else if living.leads {
            self.trace.line(now, format_args!("process {process} lost the lease"));
            self.end_life(process, now + 1_000 + jitter, LifeChange::Killed);
        }
    }

    /// A process ends at once.
    pub fn crash(&mut self, process: usize, now: u64) {
        let late = self.rng.between(200, 4_000);
        self.trace.line(now, format_args!("process {process} crashes"));
        self.end_life(process, now + late, LifeChange::Killed);
    }

    fn end_life(&mut self, process: usize, again: u64, how: LifeChange) {
        let now = self.world.now();
        let Some(slot) = self.slots.get_mut(process) else { return };
        let Some(living) = slot.living.take() else { return };
        let life = living.life;
        slot.restart_at = Some(again);
        slot.stopping = false;
        living.end();
        self.watchers.retain(|watcher| watcher.life != life);
        self.world.with(|state| {
            state.leases.remove(&life);
            state.note_life(now, life, how);
        });
        let (own, others): (Vec<Pending>, Vec<Pending>) =
            std::mem::take(&mut self.pending).into_iter().partition(|pending| pending.life == life);
        self.pending = others;
        // What is on its way may still arrive.
        for mut pending in own {
            let arrives = self.rng.chance(50);
            match &pending.call {
                Call::Api { done: None, .. } if arrives => self.reach_api(&mut pending, now, true),
                Call::Lb { done: None, .. } if arrives => self.reach_lb(&mut pending, now),
                _ => {}
            }
        }
    }

    /// Faults and inputs stop.
    fn calm_down(&mut self, now: u64) {
        self.calm = true;
        self.api_faults.clear();
        self.lb_faults.clear();
        self.slow_until = 0;
        for slot in &mut self.slots {
            (slot.frozen, slot.cut_off, slot.crash) = (0, 0, None);
        }
        for watcher in &mut self.watchers {
            watcher.held = 0;
        }
        self.heal(now);
        self.world.with(|state| state.note(now, Event::Quiet(Quiet::default())));
        self.trace.line(now, format_args!("faults and inputs stop"));
    }
}

/// Counts a call; the fault that strikes it.
fn strike<T>(faults: &mut Vec<T>, count: impl Fn(&mut T) -> &mut u32) -> Option<T> {
    let first = faults.first_mut()?;
    let left = count(first);
    *left = left.saturating_sub(1);
    if *left == 0 { Some(faults.remove(0)) } else { None }
}

fn lb_words(call: &LbCall) -> String {
    match call {
        LbCall::Observe => "reads the rule".to_owned(),
        LbCall::Health(group) => format!("reads the health of {}", group.rsplit('/').nth(1).unwrap_or(group)),
        LbCall::Apply(change) => {
            let weights: Vec<String> = change
                .weights()
                .into_iter()
                .flatten()
                .map(|(id, weight)| format!("{}:{weight}", id.rsplit('/').nth(1).unwrap_or(id)))
                .collect();
            let conditions = matches!(**change, Change::Modify { conditions: Some(_), .. });
            format!("{} [{}]{}", change.action(), weights.join(" "), if conditions { " and conditions" } else { "" })
        }
    }
}

/// A call has no effect after its deadline, and the lease outlasts it.
const _: () = assert!(CALL_TIMEOUT.as_millis() * 3 <= LEASE as u128);
