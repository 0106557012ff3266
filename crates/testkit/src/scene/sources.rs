//! What else than the front tells of a scene: the API server's audit log, okrad's decisions and logs, its life.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use okra_judge::{
    Limits,
    record::{Decision, Event, Life, LifeChange, Place, Quiet, Record, Said},
};
use serde_json::Value;

use super::Scene;

/// How long a scene rests: several looks at the rule, and longer than [`limits`] by what the judge grants any clock.
const RESTS: Duration = Duration::from_secs(8);

/// What is judged of a scene that has rested. It had come to its end before, so that nothing may take time any more.
pub(super) fn limits() -> Limits {
    let converged = SignedDuration::from_secs(5);
    Limits { weights: converged, rollout: converged, rest: converged, ..Limits::default() }
}

/// The note with which a scene says that inputs and faults have stopped.
const QUIET: &str = "inputs and faults have stopped";

impl Scene {
    /// Says that from here on nobody changes anything and no fault is made, and lets that be so for a while. Called when
    /// the scene has come to its end: from then on it must stay as it is, which the judge looks at.
    pub async fn rest(&mut self) {
        self.front.note(QUIET);
        self.rested = true;
        tokio::time::sleep(RESTS).await;
    }

    /// Everything that is known of this scene.
    pub fn record(&self) -> Record {
        let record = self.front.record();
        let users = users(&record);
        let noted = record.entries.iter().filter_map(|entry| match &entry.event {
            Event::Note { text } => Some((entry.at, told_by_note(text)?)),
            _ => None,
        });
        let mut events: Vec<(Timestamp, Event)> = noted.collect();
        events.extend(self.audited(&users));
        for user in &users {
            events.extend(self.decisions(user));
        }
        let now = Timestamp::now();
        events.extend(self.said().into_iter().map(|said| (now, Event::Said(said))));
        events.push((now, Event::End));
        record.merged(events)
    }

    /// okrads' names at the front to their names at the API server.
    pub(super) fn callers(&self, users: &BTreeSet<String>) -> BTreeMap<String, String> {
        users.iter().map(|user| (self.caller(user), user.clone())).collect()
    }

    fn audited(&self, users: &BTreeSet<String>) -> Vec<(Timestamp, Event)> {
        let lossy: BTreeSet<&String> = users.iter().filter(|user| self.may_lose_answers(user)).collect();
        // Scenes share a server and its users: what is of no namespace may be any okrad's, and else is another scene's.
        let own: Vec<String> = self.also.iter().chain([&self.namespace]).cloned().collect();
        let events = self.server.audit_of(&own).into_iter();
        let events = events.filter(|event| !event.namespace.is_empty() || users.contains(&event.user));
        let calls = events.filter_map(|event| event.api_call());
        calls
            .map(|(at, mut call)| {
                call.lost = lossy.contains(&call.process);
                (at, Event::Api(call))
            })
            .collect()
    }

    fn decisions(&self, user: &str) -> Vec<(Timestamp, Event)> {
        let text = std::fs::read_to_string(self.decisions_of(user)).unwrap_or_default();
        // The last line may be cut short: okrad may have been killed while it wrote.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let decisions = lines.filter_map(|line| Decision::parse(user, &line));
        decisions.map(|(at, decision)| (at, Event::Decision(decision))).collect()
    }

    fn said(&self) -> Vec<Said> {
        let texts = self.logs().into_iter().filter_map(|log| std::fs::read_to_string(log).ok());
        texts.map(|text| Said { process: "okrad".to_owned(), place: Place::Log, text }).collect()
    }

    /// The credentials that okrads were given: none may stand in any text.
    pub(super) fn planted(&self, users: &BTreeSet<String>) -> BTreeSet<String> {
        let kubeconfigs = users.iter().filter_map(|user| std::fs::read_to_string(self.server.kubeconfig(user)).ok());
        let configs = kubeconfigs.filter_map(|text| serde_json::from_str::<Value>(&text).ok());
        let tokens = configs.filter_map(|config| Some(config.pointer("/users/0/user/token")?.as_str()?.to_owned()));
        let secrets =
            users.iter().filter_map(|user| self.front.env(&self.caller(user)).remove("AWS_SECRET_ACCESS_KEY"));
        tokens.chain(secrets).collect()
    }
}

/// What a note of the scene means to the judge.
fn told_by_note(text: &str) -> Option<Event> {
    if text == QUIET {
        return Some(Event::Quiet(Quiet::default()));
    }
    let changes = [
        (" is started", LifeChange::Started),
        (" is killed", LifeChange::Killed),
        (" gets STOP", LifeChange::Frozen),
        (" gets CONT", LifeChange::Thawed),
        (" ended with 0", LifeChange::Stopped),
    ];
    let change = changes.into_iter().find_map(|(words, change)| Some((text.strip_suffix(words)?, change)));
    let (process, change) = change.or_else(|| Some((text.split_once(" ended with ")?.0, LifeChange::Killed)))?;
    Some(Event::Life(Life { process: process.to_owned(), change }))
}

/// The users whose okrads were started.
pub(super) fn users(record: &Record) -> BTreeSet<String> {
    let notes = record.entries.iter().filter_map(|entry| match &entry.event {
        Event::Note { text } => text.strip_suffix(" is started").map(str::to_owned),
        _ => None,
    });
    notes.collect()
}
