//! What holds for every run. `PROPTEST_CASES` looks deeper.

use std::collections::BTreeMap;

use okra_api::{RunPhase, analysis::AnalysisRunStatus};
use okra_expr::Value;
use proptest::prelude::*;
use serde_json::json;

use super::rig::{Rig, at, metric, run_of};
use crate::analysis::{Outcome, Plan, Take, Taken};

/// What a provider answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Good,
    Bad,
    Middling,
    NotANumber,
    EmptyList,
    Nil,
    NoText,
    Refused,
    Timeout,
}

impl Answer {
    fn outcome(self) -> Outcome {
        match self {
            Self::Good => Outcome::value(0.1, "0.1"),
            Self::Middling => Outcome::value(0.6, "0.6"),
            Self::Bad => Outcome::value(0.99, "0.99"),
            Self::NotANumber => Outcome::value(f64::NAN, "NaN"),
            Self::EmptyList => Outcome::value(Vec::<f64>::new(), "[]"),
            Self::Nil => Outcome::value(Value::Nil, "null"),
            Self::NoText => Outcome::value("", ""),
            Self::Refused => Outcome::error("connection refused"),
            Self::Timeout => Outcome::error("no answer within 10s"),
        }
    }

    /// Whether somebody measured something.
    fn is_value(self) -> bool {
        matches!(self, Self::Good | Self::Middling | Self::Bad)
    }

    /// Whether there was nothing that a condition could judge.
    fn is_nothing(self) -> bool {
        !self.is_value() && self != Self::NotANumber
    }
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        6 => Just(Answer::Good),
        2 => Just(Answer::Bad),
        2 => Just(Answer::Middling),
        1 => Just(Answer::NotANumber),
        1 => Just(Answer::EmptyList),
        1 => Just(Answer::Nil),
        1 => Just(Answer::NoText),
        2 => Just(Answer::Refused),
        1 => Just(Answer::Timeout),
    ]
}

/// A metric and the series of its answers.
#[derive(Clone, Debug)]
struct Series {
    fields: serde_json::Value,
    dry: bool,
    answers: Vec<Answer>,
}

const CONDITIONS: [(&str, &str); 5] =
    [("", ""), ("result < 0.5", ""), ("", "result > 0.9"), ("result < 0.5", "result > 0.9"), ("true", "")];

fn series() -> impl Strategy<Value = Series> {
    let limits = (-1..3_i32, 0..2_i32, 0..4_i32, 0..3_i32);
    let times = (0..5_i32, any::<bool>(), 0..6_u8);
    let answers = prop::collection::vec(answer(), 1..7);
    (limits, times, 0..CONDITIONS.len(), 0..5_u8, answers).prop_map(|(limits, times, conditions, dry, answers)| {
        let (success, failure) = CONDITIONS[conditions];
        let mut fields = json!({
            "failureLimit": limits.0, "inconclusiveLimit": limits.1, "consecutiveErrorLimit": limits.2,
            "consecutiveSuccessLimit": limits.3, "count": times.0, "successCondition": success, "failureCondition": failure,
        });
        if times.1 || times.0 > 1 {
            fields["interval"] = json!("10s");
        }
        if times.2 == 0 {
            fields["initialDelay"] = json!("15s");
        }
        // Valid ones are more interesting.
        let [failures, inconclusive, successes, count] = [limits.0, limits.1, limits.3, times.0];
        if failures == -1 && successes == 0 {
            fields["failureLimit"] = json!(0);
        }
        if count > 0 && (count < failures.max(0) + successes || count < inconclusive) {
            fields["count"] = json!(4);
            fields["interval"] = json!("10s");
        }
        Series { fields, dry: dry == 0, answers }
    })
}

fn rig_of(all: &[Series]) -> Rig {
    let metrics = all.iter().enumerate().map(|(index, series)| {
        let mut fields = series.fields.clone();
        fields["name"] = json!(format!("m{index}"));
        metric(fields)
    });
    let mut spec = run_of(metrics.collect());
    let dry = all.iter().enumerate().filter(|(_, series)| series.dry);
    spec.dry_run =
        dry.map(|(index, _)| serde_json::from_value(json!({"metricName": format!("^m{index}$")})).unwrap()).collect();
    Rig::new(spec)
}

/// The answer to a question: the same whenever it is asked.
fn answer_to(all: &[Series], take: &Take) -> Answer {
    let index: usize = take.name[1..].parse().unwrap();
    let answers = &all[index].answers;
    let number = usize::try_from(take.number).unwrap();
    answers.get(number).or(answers.last()).copied().unwrap()
}

/// A plan made again from its own status is the same plan, and tells nothing.
fn assert_rests(rig: &mut Rig, plan: &Plan) {
    if plan.hold_results || rig.status.is_none() {
        return;
    }
    let told = rig.events.len();
    let again = rig.look();
    assert_eq!(again.status, plan.status);
    assert_eq!(again.take, plan.take);
    assert_eq!(again.wake_at, plan.wake_at);
    assert_eq!((again.events.len(), rig.events.len()), (0, told));
}

/// Every measurement that is written down for an answer that is no value has not passed.
fn assert_no_false_pass(rig: &Rig, given: &[(String, Answer)]) {
    for (name, answer) in given {
        let result = rig.result(name);
        let Some(last) = result.measurements.last() else { continue };
        assert!(answer.is_value() || last.phase != RunPhase::Successful, "{answer:?} passed: {last:?}");
        assert!(!answer.is_nothing() || last.phase == RunPhase::Error, "{answer:?} is no error: {last:?}");
    }
}

/// So many looks are enough to come to the horizon.
const LOOKS: usize = 400;
/// Some runs have no end; nobody looks at them after this many seconds.
const HORIZON: i64 = 60;
/// Enough for four measurements of each series.
const SHORT_HORIZON: i64 = 32;

/// The time of the next look, if it is before the horizon.
fn next_look(plan: &Plan, horizon: i64) -> Option<jiff::Timestamp> {
    plan.wake_at.filter(|wake_at| *wake_at <= at(horizon))
}

/// Drives a run with whole passes and looks at each; returns its status.
fn drive(all: &[Series], horizon: i64, mut each: impl FnMut(&mut Rig, &Plan)) -> AnalysisRunStatus {
    let mut rig = rig_of(all);
    let mut plan = rig.look();
    for _ in 0..LOOKS {
        each(&mut rig, &plan);
        if plan.take.is_empty() {
            let Some(wake_at) = next_look(&plan, horizon) else { break };
            assert!(wake_at > rig.now);
            rig.now = wake_at;
            plan = rig.look();
            continue;
        }
        let given: Vec<(String, Answer)> =
            plan.take.iter().map(|take| (take.name.clone(), answer_to(all, take))).collect();
        let results = rig.measured(&plan, |take| answer_to(all, take).outcome());
        plan = rig.look_with(&results, &[]);
        assert_no_false_pass(&rig, &given);
    }
    rig.status()
}

/// Runs of eight series in each of the four tests that look at passes: more than 100,000 series in all.
const RUNS: u32 = 3_200;

fn config(runs: u32) -> ProptestConfig {
    let mut config = ProptestConfig::default();
    config.cases = config.cases.max(runs);
    config.failure_persistence = None;
    config
}

fn many_series() -> impl Strategy<Value = Vec<Series>> {
    prop::collection::vec(series(), 8)
}

/// S15 over one quarter of the series; four tests run side by side.
fn no_answer_without_a_value_passes(all: &[Series]) {
    let status = drive(all, SHORT_HORIZON, |_, _| {});
    for (index, series) in all.iter().enumerate() {
        let name = format!("m{index}");
        let Some(result) = status.metric_results.iter().find(|result| result.name == name) else { continue };
        let taken = usize::try_from(result.count + result.error).unwrap();
        let given = (0..taken).map(|number| series.answers.get(number).or(series.answers.last()).copied().unwrap());
        let (mut values, mut nothing) = (0, 0);
        for answer in given {
            values += i32::from(answer.is_value());
            nothing += i32::from(answer.is_nothing());
        }
        assert!(result.successful <= values, "{series:?} {result:?}");
        assert!(result.error >= nothing, "{series:?} {result:?}");
        assert_eq!(result.count, result.successful + result.failed + result.inconclusive);
    }
}

proptest! {
    #![proptest_config(config(RUNS))]

    #[test]
    fn s15_only_values_pass_1(all in many_series()) {
        no_answer_without_a_value_passes(&all);
    }

    #[test]
    fn s15_only_values_pass_2(all in many_series()) {
        no_answer_without_a_value_passes(&all);
    }

    #[test]
    fn s15_only_values_pass_3(all in many_series()) {
        no_answer_without_a_value_passes(&all);
    }

    #[test]
    fn s15_only_values_pass_4(all in many_series()) {
        no_answer_without_a_value_passes(&all);
    }
}

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn s15_a_run_that_measures_nothing_does_not_pass(
        all in prop::collection::vec(series(), 1..4),
        fault in prop_oneof![
            Just(Answer::EmptyList), Just(Answer::Nil), Just(Answer::NoText), Just(Answer::Refused), Just(Answer::Timeout)
        ],
    ) {
        let mut all = all;
        for series in &mut all {
            series.answers = vec![fault];
            series.dry = false;
        }
        let status = drive(&all, HORIZON, |_, _| {});
        prop_assert_eq!(status.phase, Some(RunPhase::Error));
    }

    #[test]
    fn a_plan_made_again_is_the_same(all in prop::collection::vec(series(), 1..5)) {
        drive(&all, HORIZON, assert_rests);
    }

    #[test]
    fn a_run_that_is_restarted_anywhere_is_the_same_run(
        all in prop::collection::vec(series(), 1..5),
        restarts in prop::collection::vec(any::<bool>(), 60),
    ) {
        let straight = drive(&all, HORIZON, |_, _| {});
        let mut rig = rig_of(&all);
        let mut plan = rig.look();
        let mut restarts = restarts.into_iter().chain(std::iter::repeat(false));
        for _ in 0..LOOKS {
            if restarts.next().unwrap() {
                // What is in memory is lost, what is written is read again.
                let written = serde_json::to_string(&rig.status()).unwrap();
                rig.status = rig.status.is_some().then(|| serde_json::from_str(&written).unwrap());
                plan = rig.look();
                continue;
            }
            if plan.take.is_empty() {
                let Some(wake_at) = next_look(&plan, HORIZON) else { break };
                rig.now = wake_at;
                plan = rig.look();
                continue;
            }
            let results = rig.measured(&plan, |take| answer_to(&all, take).outcome());
            plan = rig.look_with(&results, &[]);
        }
        prop_assert_eq!(rig.status(), straight);
    }

    #[test]
    fn the_order_of_the_answers_does_not_change_the_verdict(
        all in prop::collection::vec(series(), 1..5),
        order in prop::collection::vec(0..8_usize, 60),
    ) {
        let together = drive(&all, HORIZON, |_, _| {});
        let mut rig = rig_of(&all);
        let mut order = order.into_iter().cycle();
        // Asked, not answered; answered, not taken in.
        let (mut asked, mut held): (BTreeMap<String, Take>, Vec<Taken>) = (BTreeMap::new(), Vec::new());
        let mut plan = rig.look();
        for _ in 0..LOOKS {
            asked.extend(plan.take.iter().map(|take| (take.name.clone(), take.clone())));
            asked.retain(|name, _| !plan.abandon.contains(name));
            if !plan.hold_results {
                held.clear();
            }
            if rig.phase().is_some_and(RunPhase::is_completed) {
                break;
            }
            if asked.is_empty() {
                let Some(wake_at) = next_look(&plan, HORIZON) else { break };
                rig.now = wake_at;
            } else {
                let index = order.next().unwrap() % asked.len();
                let name = asked.keys().nth(index).unwrap().clone();
                let take = asked.remove(&name).unwrap();
                let outcome = answer_to(&all, &take).outcome();
                held.push(rig.taken(&take, outcome));
            }
            let outstanding: Vec<&str> = asked.keys().map(String::as_str).collect();
            plan = rig.look_with(&held, &outstanding);
        }
        prop_assert_eq!(rig.phase(), together.phase);
    }
}
