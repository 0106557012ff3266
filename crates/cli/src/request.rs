//! Asking a Cell for something: the annotation that holds the request, and waiting for the answer.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use okra_api::{Cell, Request, Verb, cell_status::RolloutStatus, names::REQUEST_ANNOTATION, request::RequestRecord};
use okra_provider::{BackendError, Key};
use serde_json::json;
use uuid::Uuid;

use crate::{
    args::{Cells, Waiting},
    context::{Context, get},
    error::{CommandError, ExitStatus},
    follow::{Seen, deadline, follow, next_until},
    printer::to_value,
    session::Session,
};

/// How often a request is written again because the Cell changed in between; okrad writes its status all the time.
const ATTEMPTS: u32 = 10;

/// What is asked, of whichever Cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    verb: Verb,
    step: Option<i32>,
    args: BTreeMap<String, String>,
}

impl Ask {
    /// A request without arguments.
    pub fn new(verb: Verb) -> Self {
        Self { verb, step: None, args: BTreeMap::new() }
    }

    /// Only while the rollout is at this step, counted from 0.
    #[must_use]
    pub fn at_step(mut self, step: Option<i32>) -> Self {
        self.step = step;
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.args.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The request for one Cell as it was seen.
    fn of(&self, cell: &Cell, id: &str, user: &str) -> Result<Request, CommandError> {
        let rollout = cell.status.as_ref().and_then(|status| status.rollout.as_ref());
        let at = rollout.map(|rollout| rollout.current_step_index);
        if let Some(wanted) = self.step.filter(|wanted| at != Some(*wanted)) {
            let name = Key::of_typed(cell);
            let now = at.map_or("there is no rollout".to_owned(), |at| format!("its rollout is at step {}", at + 1));
            let what = format!("failed to {} Cell {name} at step {}", self.verb.as_str(), wanted + 1);
            return Err(CommandError::failed(what, now).hint("look at it again with `get cell`"));
        }
        // A version is unblocked whatever rolls out meanwhile.
        let rollout = rollout.filter(|_| self.verb != Verb::Unblock);
        Ok(Request {
            id: id.to_owned(),
            verb: self.verb,
            rollout_id: rollout.map(|rollout| rollout.id.clone()),
            step: rollout.map(|rollout| rollout.current_step_index),
            user: user.to_owned(),
            args: self.args.clone(),
        })
    }
}

/// A version from the command line.
pub fn version(text: &str) -> Result<String, String> {
    okra_core::version::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Asks every Cell that is meant, waits for the answers and prints them. The exit status tells whether all accepted.
pub async fn run(
    cells: &Cells,
    waiting: Waiting,
    ask: &Ask,
    context: &mut Context,
) -> Result<ExitStatus, CommandError> {
    let cells = context.cells(cells).await?;
    let session = context.session().await?;
    let answers = join_all(cells.iter().map(|cell| one(&session, cell, ask, waiting))).await;
    let (mut records, mut status) = (Vec::new(), ExitStatus::Ok);
    let for_programs = context.printer.output().is_for_programs();
    for (cell, answer) in cells.iter().zip(answers) {
        let key = Key::of_typed(cell);
        match answer {
            Ok(Answer { replaced, record }) => {
                if let Some(replaced) = replaced {
                    context.printer.note(&format!("{key}: {replaced}"));
                }
                match record {
                    Some(record) => {
                        if !record.accepted {
                            status = ExitStatus::Failed;
                        }
                        if !for_programs {
                            context.printer.result(&sentence(&key, &record))?;
                        }
                        records.push((key, record));
                    }
                    None if !for_programs => {
                        context.printer.result(&format!("{key}: {} asked for", ask.verb.as_str()))?;
                    }
                    None => {}
                }
            }
            Err(error) => {
                status = ExitStatus::Failed;
                context.printer.error(&error);
            }
        }
    }
    if for_programs {
        let named = |(key, record): &(Key, RequestRecord)| {
            Ok(json!({"namespace": key.namespace, "name": key.name, "request": to_value(record)?}))
        };
        let values = records.iter().map(named).collect::<Result<Vec<_>, CommandError>>()?;
        let names: Vec<String> = records.iter().map(|(key, _)| format!("cell.okra.mumo.co/{}", key.name)).collect();
        context.printer.value(&json!(values), &names.join("\n"))?;
    }
    Ok(status)
}

fn sentence(key: &Key, record: &RequestRecord) -> String {
    let word = if record.accepted { "accepted" } else { "refused" };
    // The Cell's own words may begin with the verdict.
    let why = record.message.strip_prefix("refused: ").unwrap_or(&record.message);
    format!("{key}: {} {word}: {}", record.verb.as_str(), crate::style::one_line(why))
}

struct Answer {
    replaced: Option<String>,
    record: Option<RequestRecord>,
}

async fn one(session: &Session, cell: &Cell, ask: &Ask, waiting: Waiting) -> Result<Answer, CommandError> {
    let id = Uuid::new_v4().to_string();
    let replaced = send(session, cell, ask, &id).await?;
    let record = if waiting.no_wait {
        None
    } else {
        Some(answer(session, &Key::of_typed(cell), ask, &id, waiting.timeout).await?)
    };
    Ok(Answer { replaced, record })
}

/// Writes the request. Says which unanswered one it replaced.
async fn send(session: &Session, seen: &Cell, ask: &Ask, id: &str) -> Result<Option<String>, CommandError> {
    let key = Key::of_typed(seen);
    let what = || format!("failed to {} Cell {key}", ask.verb.as_str());
    let mut cell = seen.clone();
    for _ in 0..ATTEMPTS {
        let replaced = unanswered(&cell, ask.verb).map_err(|why| CommandError::failed(what(), why))?;
        let request = ask.of(&cell, id, &session.user)?;
        let text = serde_json::to_string(&request)
            .map_err(|error| CommandError::internal("failed to write the request", error))?;
        let patch = json!({"metadata": {
            "resourceVersion": cell.metadata.resource_version,
            "annotations": {REQUEST_ANNOTATION: text},
        }});
        match session.store.merge_patch::<Cell>(&key, &patch).await {
            Ok(_) => return Ok(replaced),
            Err(BackendError::Conflict { .. }) => {
                cell = get(&session.store, &key).await?;
                same_sight(seen, &cell).map_err(|why| {
                    CommandError::failed(what(), why).hint("look at it again with `get cell`, then repeat the command")
                })?;
            }
            Err(error) => return Err(CommandError::store(what(), &error)),
        }
    }
    Err(CommandError::failed(what(), "it changes all the time").hint("repeat the command"))
}

/// Refuses to act on another rollout or step than the one that was seen.
fn same_sight(seen: &Cell, now: &Cell) -> Result<(), String> {
    let rollout = |cell: &Cell| -> Option<(String, i32)> {
        let rollout: &RolloutStatus = cell.status.as_ref()?.rollout.as_ref()?;
        Some((rollout.id.clone(), rollout.current_step_index))
    };
    if seen.metadata.uid == now.metadata.uid && rollout(seen) == rollout(now) {
        return Ok(());
    }
    Err("the rollout moved on in the meantime".to_owned())
}

/// What is said about a request that okrad has not acted on yet. Errors when replacing it would undo a step towards
/// safety.
fn unanswered(cell: &Cell, verb: Verb) -> Result<Option<String>, String> {
    let annotation = cell.metadata.annotations.as_ref().and_then(|annotations| annotations.get(REQUEST_ANNOTATION));
    let Some(waiting) = annotation.and_then(|text| serde_json::from_str::<Request>(text).ok()) else { return Ok(None) };
    let last = cell.status.as_ref().and_then(|status| status.last_request.as_ref());
    if last.is_some_and(|last| last.id == waiting.id) {
        return Ok(None);
    }
    let user = if waiting.user.is_empty() { "somebody" } else { &waiting.user };
    let words = format!("{} by {user}, which okrad has not acted on yet", waiting.verb.as_str());
    let safe = |verb| matches!(verb, Verb::Abort | Verb::Undo | Verb::Pause);
    if safe(waiting.verb) && !safe(verb) {
        return Err(format!("there is a request {words}; check that okrad runs"));
    }
    Ok(Some(format!("replaces the request {words}")))
}

/// Waits until okrad has acted on the request.
async fn answer(
    session: &Session,
    key: &Key,
    ask: &Ask,
    id: &str,
    timeout: Duration,
) -> Result<RequestRecord, CommandError> {
    let what = || format!("no answer to {} of Cell {key}", ask.verb.as_str());
    let until = deadline(timeout);
    let mut changes = follow(&session.store, key);
    let mut trouble = None;
    while let Some(seen) = next_until(&mut changes, until).await {
        match seen {
            Seen::Now(cell) => {
                if let Some(record) = cell.status.and_then(|status| status.last_request).filter(|last| last.id == id) {
                    return Ok(record);
                }
                let present = cell.metadata.annotations.as_ref().and_then(|all| all.get(REQUEST_ANNOTATION));
                if !present.is_some_and(|text| text.contains(id)) {
                    return Err(CommandError::failed(what(), "another request took its place")
                        .hint("see what was asked with `get cell`"));
                }
            }
            Seen::Gone => return Err(CommandError::failed(what(), "it was deleted")),
            Seen::Trouble(why) => trouble = Some(why),
        }
    }
    let why = trouble.unwrap_or_else(|| "okrad has not acted on it".to_owned());
    let why = format!("{why} within {}", crate::render::duration(timeout.try_into().unwrap_or_default()));
    Err(CommandError::failed(what(), why).hint("check that okrad runs; the request stays and is acted on when it does"))
}

#[cfg(test)]
mod tests;
