//! Requests as they are written and answered.

use super::*;
use crate::render::fixtures;

#[test]
fn a_request_names_the_rollout_and_the_step_that_were_seen() {
    let (cell, _) = fixtures::waiting_for_pause();
    let request = Ask::new(Verb::Promote).with("full", "true").of(&cell, "id", "alice").unwrap();
    assert_eq!(
        serde_json::to_value(&request).unwrap(),
        json!({"id": "id", "verb": "promote", "rolloutID": "1.1.0-4", "step": 1, "user": "alice", "args": {"full": "true"}})
    );
}

#[test]
fn unblock_is_for_no_rollout() {
    for cell in [fixtures::waiting_for_pause().0, fixtures::cell()] {
        let request = Ask::new(Verb::Unblock).with("version", "1.1.0").of(&cell, "id", "").unwrap();
        assert_eq!((request.rollout_id, request.step), (None, None));
    }
}

#[test]
fn another_step_than_the_wanted_one_is_refused() {
    let (cell, _) = fixtures::waiting_for_pause();
    assert!(Ask::new(Verb::Promote).at_step(Some(1)).of(&cell, "id", "").is_ok());
    let error = Ask::new(Verb::Promote).at_step(Some(2)).of(&cell, "id", "").unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to promote Cell shop/web at step 3: its rollout is at step 2\n  look at it again with `get cell`"
    );
    let error = Ask::new(Verb::Promote).at_step(Some(0)).of(&fixtures::cell(), "id", "").unwrap_err();
    assert!(error.to_string().contains("there is no rollout"), "{error}");
}

fn waiting(verb: Verb) -> Cell {
    let (mut cell, _) = fixtures::paused_by_person();
    let request = Request {
        id: "new".to_owned(),
        verb,
        rollout_id: None,
        step: None,
        user: "bob".to_owned(),
        args: BTreeMap::new(),
    };
    let text = serde_json::to_string(&request).unwrap();
    cell.metadata.annotations = Some(BTreeMap::from([(REQUEST_ANNOTATION.to_owned(), text)]));
    cell
}

#[test]
fn a_waiting_request_towards_safety_is_not_replaced() {
    let refused = unanswered(&waiting(Verb::Abort), Verb::Promote).unwrap_err();
    assert!(refused.contains("abort by bob, which okrad has not acted on yet"), "{refused}");
    let note = unanswered(&waiting(Verb::Promote), Verb::Abort).unwrap().unwrap();
    assert_eq!(note, "replaces the request promote by bob, which okrad has not acted on yet");
    let mut answered = waiting(Verb::Abort);
    answered.status.as_mut().unwrap().last_request.as_mut().unwrap().id = "new".to_owned();
    assert_eq!(unanswered(&answered, Verb::Promote), Ok(None));
    assert_eq!(unanswered(&fixtures::healthy().0, Verb::Undo), Ok(None));
}

#[test]
fn a_rollout_that_moved_on_is_not_acted_on() {
    let (seen, _) = fixtures::waiting_for_pause();
    let mut now = seen.clone();
    assert_eq!(same_sight(&seen, &now), Ok(()));
    now.status.as_mut().unwrap().message = "another message".to_owned();
    assert_eq!(same_sight(&seen, &now), Ok(()));
    now.status.as_mut().unwrap().rollout.as_mut().unwrap().current_step_index = 2;
    assert!(same_sight(&seen, &now).is_err());
    assert!(same_sight(&seen, &fixtures::cell()).is_err());
}

#[test]
fn an_answer_reads_well() {
    let (cell, _) = fixtures::paused_by_person();
    let mut record = cell.status.unwrap().last_request.unwrap();
    let key = Key::new("shop", "web");
    assert_eq!(sentence(&key, &record), "shop/web: pause accepted: the weights are held");
    (record.accepted, record.message) = (false, "refused: the rollout is held already".to_owned());
    assert_eq!(sentence(&key, &record), "shop/web: pause refused: the rollout is held already");
}
