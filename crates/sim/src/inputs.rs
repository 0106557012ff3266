//! What people, clouds and faults do, carried out.

use std::collections::BTreeMap;

use okra_api::{
    AWSTargetGroup, Cell, Request, Verb, VersionBlocklist,
    names::{DRAIN_ANNOTATION, REQUEST_ANNOTATION, VERSION_LABEL},
};
use okra_core::route::GroupHealth;
use okra_judge::record::{Asked, Event, GroupHealth as Health};
use okra_provider::{Deletion, Key, Kind, WatchEvent, object};
use serde_json::{Value, json};

use crate::{
    api_server::{ApiAnswer, ApiCall, Changed},
    driver::{Driver, Todo},
    process::kinds,
    story::{Group, Story, What, cell_name},
};

/// Registered targets of every group.
const TARGETS: u32 = 3;

fn key(name: &str) -> Key {
    Key::new("default", name)
}

impl Driver {
    /// Carries out what is due.
    pub fn happen(&mut self, now: u64) {
        while let Some(place) = first_due(&self.agenda, now) {
            let (_, todo) = self.agenda.remove(place);
            match todo {
                Todo::Happen(what) => {
                    self.trace.line(now, format_args!("{what:?}"));
                    self.do_it(what, now);
                }
                Todo::Send(cell, request) => self.send(cell, &request, now),
                Todo::BeginRun(name, experiment, cell) => self.begin_run(&name, experiment, cell, now),
                Todo::EndRun(name, experiment, cell) => self.end_run(&name, experiment, cell, now),
                Todo::LagOver => self.world.with(|state| state.lb.lag = 0),
            }
        }
    }

    /// Makes the Cells of a story.
    pub fn set_up(&mut self, story: &Story) {
        let kind = Kind::of::<Cell>();
        for cell in &story.cells {
            let object = json!({
                "apiVersion": kind.api_version(), "kind": kind.kind,
                "metadata": {"namespace": "default", "name": cell.name}, "spec": cell.spec,
            });
            _ = self.write(&kind, ApiCall::Create(object), 0);
        }
    }

    /// A write of somebody else's, which never fails for want of a connection.
    pub fn write(&mut self, kind: &Kind, call: ApiCall, now: u64) -> ApiAnswer {
        let time = self.world.time();
        let answer = self.world.with(|state| state.api.execute(kind, &call, time));
        let end = answer.as_ref().err().map(|error| format!(": {error}")).unwrap_or_default();
        self.trace.line(now, format_args!("somebody: {kind}: {}{end}", call.words()));
        answer
    }

    fn do_it(&mut self, what: What, now: u64) {
        match what {
            What::Add(group) => self.add_group(&group, now),
            What::Remove(group) => {
                let call = ApiCall::Delete(key(&group.name()), Deletion::default());
                _ = self.write(&Kind::of::<AWSTargetGroup>(), call, now);
            }
            What::Select(group, selected) => {
                let role = if selected { cell_name(group.cell) } else { "none" };
                self.patch_group(&group, json!({"labels": {"role": role}}), now);
            }
            What::Spoil(group, spoiled) => {
                let version = if spoiled { "latest".to_owned() } else { version(group.version) };
                self.patch_group(&group, json!({"labels": {VERSION_LABEL: version}}), now);
            }
            What::Drain(group, drained) => {
                let value = if drained { json!("true") } else { Value::Null };
                self.patch_group(&group, json!({"annotations": {DRAIN_ANNOTATION: value}}), now);
            }
            What::Health(group, healthy) => {
                let known = self.world.with(|state| state.lb.healths().get(&group.arn()).is_some_and(|own| !own.gone));
                if known {
                    self.set_health(&group.arn(), GroupHealth { healthy, total: TARGETS, gone: false }, now);
                }
            }
            What::Gone(group) => {
                // AWS deletes no target group that an action names.
                let is_named = |state: &mut crate::world::State| {
                    state.lb.rules().iter().any(|held| held.rule.weights.contains_key(&group.arn()))
                };
                if self.world.with(is_named) {
                    return;
                }
                self.set_health(&group.arn(), GroupHealth { healthy: 0, total: 0, gone: true }, now);
            }
            What::Ask { cell, verb, args, sight } => self.ask(cell, verb, &args, sight, now),
            What::Edit { cell, patch } => {
                if patch.get("suspend").is_some() {
                    // Suspended, a Cell keeps what the rule holds, whoever set it, and goes on from there.
                    self.asked.insert(cell, now);
                }
                let call = ApiCall::MergePatch(key(cell_name(cell)), json!({"spec": patch}));
                _ = self.write(&Kind::of::<Cell>(), call, now);
            }
            What::Block { cell, version } => self.block(cell, version, now),
            What::Verdict { cell, phase } => self.engine.verdict(cell, phase),
            What::Foreign { cell, weight } => self.foreign(cell, weight, now),
            What::Delete { cell } => {
                let call = ApiCall::Delete(key(cell_name(cell)), Deletion::default());
                _ = self.write(&Kind::of::<Cell>(), call, now);
            }
            fault => self.go_wrong(fault, now),
        }
    }

    fn go_wrong(&mut self, fault: What, now: u64) {
        match fault {
            What::Crash { process, nth: 0, .. } => self.crash(process, now),
            What::Crash { process, nth, effect } => {
                if let Some(slot) = self.slots.get_mut(process) {
                    slot.crash = Some((nth, effect));
                }
            }
            What::Restart(process) => {
                if let Some(slot) = self.slots.get_mut(process).filter(|slot| slot.living.is_some()) {
                    slot.stopping = true;
                }
            }
            What::ApiFault { nth, failing } => self.api_faults.push((nth, failing)),
            What::LbFault { nth, writes, failing } => self.lb_faults.push((nth, writes, failing)),
            What::Deaf { process, kind, length } => {
                let kind = kinds().into_iter().nth(kind);
                for watcher in self.watchers.iter_mut().filter(|own| own.life.process == process) {
                    if Some(&watcher.kind) == kind.as_ref() {
                        watcher.held = now + length;
                    }
                }
            }
            What::Gap { process, kind } => self.gap(process, kind),
            What::Lag { lag, length } => {
                self.world.with(|state| state.lb.lag = lag);
                self.agenda.push((now + length, Todo::LagOver));
            }
            What::Jump { process, millis } => {
                self.world.with(|state| *state.offsets.entry(process).or_default() += millis);
            }
            What::Freeze { process, length } => {
                if let Some(slot) = self.slots.get_mut(process) {
                    slot.frozen = now + length;
                }
            }
            What::CutOff { process, length } => {
                if let Some(slot) = self.slots.get_mut(process) {
                    slot.cut_off = now + length;
                }
            }
            What::Slow { length } => self.slow_until = now + length,
            _ => {}
        }
    }

    fn gap(&mut self, process: usize, kind: usize) {
        let Some(kind) = kinds().into_iter().nth(kind) else { return };
        let (changes, all) = self.world.with(|state| {
            let place = state.api.place(&kind);
            let changes = state.api.changes(place);
            (changes, state.api.list_at(&kind, changes))
        });
        for watcher in self.watchers.iter_mut().filter(|own| own.life.process == process && own.kind == kind) {
            if watcher.told.is_some() {
                _ = watcher.events.send(WatchEvent::Interrupted("the connection was lost".to_owned()));
                _ = watcher.events.send(WatchEvent::Restarted(all.clone()));
                watcher.told = Some(changes);
            }
        }
    }

    fn add_group(&mut self, group: &Group, now: u64) {
        let kind = Kind::of::<AWSTargetGroup>();
        let object = json!({
            "apiVersion": kind.api_version(), "kind": kind.kind,
            "metadata": {
                "namespace": "default", "name": group.name(),
                "labels": {"role": cell_name(group.cell), VERSION_LABEL: version(group.version)},
            },
            "spec": {"arn": group.arn()},
        });
        if self.world.with(|state| !state.lb.healths().contains_key(&group.arn())) {
            self.set_health(&group.arn(), GroupHealth { healthy: TARGETS, total: TARGETS, gone: false }, now);
        }
        _ = self.write(&kind, ApiCall::Create(object), now);
    }

    fn patch_group(&mut self, group: &Group, metadata: Value, now: u64) {
        let call = ApiCall::MergePatch(key(&group.name()), json!({"metadata": metadata}));
        _ = self.write(&Kind::of::<AWSTargetGroup>(), call, now);
    }

    fn set_health(&mut self, group: &str, health: GroupHealth, now: u64) {
        self.world.with(|state| {
            state.lb.set_health(group, health);
            let (healthy, total) = (health.healthy, health.total);
            state.note(now, Event::Health(Health { target_group: group.to_owned(), healthy, total }));
        });
    }

    fn present(&self, kind: &Kind, name: &str) -> Option<Value> {
        self.world.with(|state| state.api.present(kind, &key(name)).ok().map(|object| object.as_ref().clone()))
    }

    fn ask(&mut self, cell: usize, verb: Verb, args: &[(&'static str, String)], sight: Option<u64>, now: u64) {
        let Some(object) = self.present(&Kind::of::<Cell>(), cell_name(cell)) else { return };
        self.requests += 1;
        let rollout = object.pointer("/status/rollout").filter(|_| sight.is_some());
        let request = Request {
            id: format!("request-{}", self.requests),
            verb,
            rollout_id: rollout.and_then(|own| own.get("id")?.as_str().map(str::to_owned)),
            step: rollout.and_then(|own| own.get("currentStepIndex")?.as_i64()).map(|step| step as i32),
            user: "ann".to_owned(),
            args: args.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        };
        self.agenda.push((now + sight.unwrap_or(0), Todo::Send(cell, request)));
    }

    fn send(&mut self, cell: usize, request: &Request, now: u64) {
        let Ok(text) = serde_json::to_string(request) else { return };
        let asked = Asked {
            cell: format!("default/{}", cell_name(cell)),
            id: request.id.clone(),
            verb: request.verb.as_str().to_owned(),
            user: request.user.clone(),
            rollout_id: request.rollout_id.clone(),
            step: request.step.map(i64::from),
            args: request.args.clone(),
        };
        self.world.with(|state| state.note(now, Event::Asked(asked)));
        self.asked.insert(cell, now);
        let patch = json!({"metadata": {"annotations": {REQUEST_ANNOTATION: text}}});
        _ = self.write(&Kind::of::<Cell>(), ApiCall::MergePatch(key(cell_name(cell)), patch), now);
    }

    fn block(&mut self, cell: usize, blocked: u8, now: u64) {
        let kind = Kind::of::<VersionBlocklist>();
        let item = json!({"version": version(blocked), "cause": "ann does not like it"});
        let call = match self.present(&kind, cell_name(cell)) {
            Some(mut list) => {
                let items = list.pointer_mut("/spec/items").and_then(Value::as_array_mut);
                if let Some(items) = items
                    && items.iter().all(|own| own.get("version") != item.get("version"))
                {
                    items.push(item);
                }
                ApiCall::Update(list)
            }
            None => ApiCall::Create(json!({
                "apiVersion": kind.api_version(), "kind": kind.kind,
                "metadata": {"namespace": "default", "name": cell_name(cell)}, "spec": {"items": [item]},
            })),
        };
        _ = self.write(&kind, call, now);
    }

    fn foreign(&mut self, cell: usize, weight: Option<i32>, now: u64) {
        let owner = format!("default/{}", cell_name(cell));
        self.asked.remove(&cell);
        self.world.with(|state| {
            let Some(held) = state.lb.rule_of(&owner) else { return };
            let id = held.rule.id;
            let call = match weight {
                None => state.lb.foreign(&id, None, now),
                Some(weight) => {
                    let edit = move |rule: &mut okra_core::route::ObservedRule| {
                        if let Some(first) = rule.weights.values_mut().next() {
                            *first = weight;
                        }
                        if rule.weights.values().all(|weight| *weight == 0)
                            && let Some(first) = rule.weights.values_mut().next()
                        {
                            *first = 1;
                        }
                    };
                    state.lb.foreign(&id, Some(&edit), now)
                }
            };
            state.note(now, Event::Call(call));
        });
    }

    /// Everything that faults broke is well again.
    pub fn heal(&mut self, now: u64) {
        let healths: BTreeMap<String, GroupHealth> = self.world.with(|state| {
            state.lb.lag = 0;
            state.offsets.clear();
            state.lb.healths().clone()
        });
        for (group, health) in healths {
            if !health.gone && health.healthy < TARGETS {
                self.set_health(&group, GroupHealth { healthy: TARGETS, total: TARGETS, gone: false }, now);
            }
        }
    }

    /// What the owner's end takes along, as the garbage collector does.
    pub fn collect_children(&mut self, gone: &Changed) {
        let uid = object::uid(&gone.object).to_owned();
        let children: Vec<(String, Key)> = self.world.with(|state| {
            let owned = |object: &Value| {
                let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
                owners.into_iter().flatten().any(|owner| owner.get("uid").and_then(Value::as_str) == Some(&uid))
            };
            let all = state.api.everything().filter(|(_, _, object)| owned(object));
            all.map(|(kind, key, _)| (kind.clone(), key.clone())).collect()
        });
        let now = self.world.now();
        for (name, key) in children {
            if let Some(kind) = kinds().into_iter().find(|kind| kind.kind == name) {
                _ = self.write(&kind, ApiCall::Delete(key, Deletion::default()), now);
            }
        }
    }
}

/// The version as a label says it.
pub fn version(version: u8) -> String {
    format!("{version}.0.0")
}

fn first_due(agenda: &[(u64, Todo)], now: u64) -> Option<usize> {
    let due = agenda.iter().enumerate().filter(|(_, (at, _))| *at <= now);
    due.min_by_key(|(place, (at, _))| (*at, *place)).map(|(place, _)| place)
}
