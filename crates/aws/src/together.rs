//! Questions about rules and listeners that wait for the rate limit at the same time, asked in one call.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
};

use okra_core::route::Lane;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::error::Failure;

/// Rules in one call: the most that DescribeTags takes. For DescribeRules the API names no limit.
pub(crate) const AT_ONCE: usize = 20;

/// Those who can be asked for in one call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Queue {
    pub account: String,
    pub region: String,
    pub role: Option<String>,
    pub lane: Lane,
    /// The listener, when a call is about a single one.
    pub listener: Option<String>,
}

/// What became of a question that went with another's call.
#[derive(Debug)]
pub(crate) enum Told<T> {
    /// The answer; `None`: there is no such thing.
    Answer(Option<T>),
    /// The call failed in a way that says nothing about what was asked for.
    Failed(Failure),
    /// The call failed, and one of the others may be why.
    AskAlone,
}

#[derive(Debug)]
struct Asked<T> {
    id: u64,
    arn: String,
    answer: oneshot::Sender<Told<T>>,
}

/// Questions that wait. Nobody's question waits longer for being among others: each waits for a call of its own, and
/// whoever may call first asks for those behind it, too. So an answer is never older than the question.
#[derive(Debug)]
pub(crate) struct Together<T> {
    waiting: Mutex<BTreeMap<Queue, VecDeque<Asked<T>>>>,
    next_id: AtomicU64,
}

impl<T> Default for Together<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), next_id: AtomicU64::default() }
    }
}

impl<T: Clone> Together<T> {
    /// Puts a question among those that wait. Dropping it takes it back.
    pub fn ask(&self, queue: Queue, arn: &str) -> Question<'_, T> {
        let (sender, answer) = oneshot::channel();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let asked = Asked { id, arn: arn.to_owned(), answer: sender };
        self.waiting.lock().entry(queue.clone()).or_default().push_back(asked);
        Question { together: self, queue, id, answer }
    }
}

/// A question that waits, or that went with another's call.
#[derive(Debug)]
pub(crate) struct Question<'a, T> {
    together: &'a Together<T>,
    queue: Queue,
    id: u64,
    /// What the call that it went with was told; an error when whoever made that call gave up.
    pub answer: oneshot::Receiver<Told<T>>,
}

impl<T> Question<'_, T> {
    /// The questions for one call: this one and the oldest of the others, or all of them when all ask the same. `None`:
    /// it went with another's call.
    pub fn take(&self) -> Option<Batch<T>> {
        let mut waiting = self.together.waiting.lock();
        let queue = waiting.get_mut(&self.queue)?;
        let own = queue.iter().position(|asked| asked.id == self.id)?;
        let mut batch: Vec<Asked<T>> = queue.remove(own).into_iter().collect();
        let others = if self.queue.listener.is_some() { queue.len() } else { queue.len().min(AT_ONCE - 1) };
        batch.extend(queue.drain(..others));
        if queue.is_empty() {
            waiting.remove(&self.queue);
        }
        Some(Batch { asked: batch })
    }
}

impl<T> Drop for Question<'_, T> {
    fn drop(&mut self) {
        let mut waiting = self.together.waiting.lock();
        if let Some(queue) = waiting.get_mut(&self.queue) {
            queue.retain(|asked| asked.id != self.id);
            if queue.is_empty() {
                waiting.remove(&self.queue);
            }
        }
    }
}

/// The questions of one call, the caller's own first.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    asked: Vec<Asked<T>>,
}

impl<T: Clone> Batch<T> {
    /// What is asked for.
    pub fn arns(&self) -> Vec<String> {
        self.asked.iter().map(|asked| asked.arn.clone()).collect()
    }

    /// Passes the outcome of the call on to everybody, and gives the caller's own part of it.
    pub fn tell(self, outcome: Result<&BTreeMap<String, T>, &Failure>) -> Told<T> {
        let shared = self.asked.len() > 1;
        let told = |arn: &String| match outcome {
            Ok(found) => Told::Answer(found.get(arn).cloned()),
            Err(failure) if !shared || failure.concerns_all() => Told::Failed(failure.clone()),
            Err(_) => Told::AskAlone,
        };
        let mut asked = self.asked.into_iter();
        let own = asked.next().map_or(Told::AskAlone, |own| told(&own.arn));
        for other in asked {
            // Whoever went away does not want to know.
            _ = other.answer.send(told(&other.arn));
        }
        own
    }
}

#[cfg(test)]
mod tests {
    use okra_provider::RouterErrorKind;
    use pretty_assertions::assert_eq;

    use super::*;

    fn queue(lane: Lane) -> Queue {
        Queue { account: "1".to_owned(), region: "eu-west-1".to_owned(), role: None, lane, listener: None }
    }

    fn failure(kind: RouterErrorKind) -> Failure {
        Failure { kind, code: "Code".to_owned(), detail: String::new(), credentials: false }
    }

    #[test]
    fn whoever_goes_first_asks_for_the_oldest_of_the_others_of_its_lane() {
        let together = Together::<u8>::default();
        let ask = |lane, number: usize| together.ask(queue(lane), &format!("rule-{number}"));
        let promoted: Vec<_> = (0..25).map(|number| ask(Lane::Promote, number)).collect();
        let back = ask(Lane::Rollback, 99);
        let batch = promoted[22].take().unwrap();
        let expected: Vec<String> = [22].into_iter().chain(0..19).map(|number| format!("rule-{number}")).collect();
        assert_eq!(batch.arns(), expected);
        assert!(promoted[0].take().is_none(), "it went with that call");
        assert_eq!(back.take().unwrap().arns(), ["rule-99"]);
        drop(promoted);
        assert!(together.waiting.lock().is_empty());
    }

    #[test]
    fn all_who_ask_for_the_same_listener_go_together() {
        let together = Together::<u8>::default();
        let queue = Queue { listener: Some("listener".to_owned()), ..queue(Lane::Promote) };
        let asked: Vec<_> = (0..50).map(|_| together.ask(queue.clone(), "listener")).collect();
        assert_eq!(asked[7].take().unwrap().arns().len(), 50);
    }

    #[test]
    fn a_question_that_is_dropped_is_not_asked() {
        let together = Together::<u8>::default();
        let first = together.ask(queue(Lane::Verify), "first");
        drop(together.ask(queue(Lane::Verify), "dropped"));
        assert_eq!(first.take().unwrap().arns(), ["first"]);
    }

    #[test]
    fn everybody_is_told_the_own_part() {
        let together = Together::<u8>::default();
        let mut asked: Vec<_> = ["a", "b", "c"].map(|rule| together.ask(queue(Lane::Verify), rule)).into();
        let found = BTreeMap::from([("a".to_owned(), 1), ("c".to_owned(), 3)]);
        let own = asked[0].take().unwrap().tell(Ok(&found));
        assert!(matches!(own, Told::Answer(Some(1))));
        assert!(matches!(asked[1].answer.try_recv(), Ok(Told::Answer(None))));
        assert!(matches!(asked[2].answer.try_recv(), Ok(Told::Answer(Some(3)))));
    }

    #[test]
    fn a_failure_is_shared_unless_one_of_several_may_be_why() {
        for (kind, rules, shared) in [
            (RouterErrorKind::Throttled, 2, true),
            (RouterErrorKind::Unreachable, 2, true),
            (RouterErrorKind::RuleNotFound, 2, false),
            (RouterErrorKind::Denied, 2, false),
            (RouterErrorKind::RuleNotFound, 1, true),
        ] {
            let together = Together::<u8>::default();
            let mut asked: Vec<_> = (0..rules).map(|_| together.ask(queue(Lane::Verify), "rule")).collect();
            let own = asked[0].take().unwrap().tell(Err(&failure(kind)));
            assert_eq!(matches!(own, Told::Failed(_)), shared, "{kind:?}");
            if rules == 2 {
                assert_eq!(matches!(asked[1].answer.try_recv(), Ok(Told::Failed(_))), shared, "{kind:?}");
            }
        }
    }

    #[test]
    fn those_who_went_with_a_call_that_was_given_up_hear_of_it() {
        let together = Together::<u8>::default();
        let first = together.ask(queue(Lane::Verify), "first");
        let mut second = together.ask(queue(Lane::Verify), "second");
        drop(first.take());
        assert!(second.take().is_none());
        assert!(matches!(second.answer.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    }
}
