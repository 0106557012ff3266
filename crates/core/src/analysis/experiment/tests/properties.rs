//! What holds for every experiment.

use okra_api::RunPhase;
use proptest::prelude::*;
use serde_json::json;

use super::world::World;

#[derive(Clone, Debug)]
enum Happening {
    Step,
    Pods,
    LosePod,
    Time(i64),
    Run(usize, u8),
    Terminate,
    /// What is in memory is lost, what is written is read again.
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => Just(Happening::Step),
        3 => Just(Happening::Pods),
        1 => Just(Happening::LosePod),
        2 => (1..40_i64).prop_map(Happening::Time),
        3 => (0..2_usize, 0..5_u8).prop_map(|(run, phase)| Happening::Run(run, phase)),
        1 => Just(Happening::Terminate),
        2 => Just(Happening::Restart),
    ]
}

fn happen(world: &mut World, happening: &Happening) {
    match happening {
        Happening::Step => drop(world.step()),
        Happening::Pods => world.pods_follow(),
        Happening::LosePod => {
            for set in world.sets.values_mut().take(1) {
                set.available = (set.available - 1).max(0);
            }
        }
        Happening::Time(seconds) => world.later(*seconds),
        Happening::Run(index, phase) => {
            let phases =
                [RunPhase::Running, RunPhase::Successful, RunPhase::Failed, RunPhase::Error, RunPhase::Inconclusive];
            let run = world.runs.values_mut().nth(*index);
            if let Some(run) = run.filter(|run| !run.phase.is_some_and(RunPhase::is_completed)) {
                run.phase = Some(phases[usize::from(*phase)]);
            }
        }
        Happening::Terminate => world.spec.terminate = true,
        Happening::Restart => {
            let written = serde_json::to_string(&world.status).unwrap();
            world.status = serde_json::from_str(&written).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_experiment_rests_ends_once_and_takes_its_pods_away(
        happenings in prop::collection::vec(happening(), 1..30),
        required in any::<bool>(),
        duration in any::<bool>(),
    ) {
        let mut world = World::new(json!({
            "duration": if duration { "30s" } else { "" }, "progressDeadlineSeconds": 60,
            "analyses": [
                {"name": "x", "templateName": "t", "requiredForCompletion": required}, {"name": "y", "templateName": "t"},
            ],
        }));
        world.is_quick = false;
        let mut ended = None;
        for happening in &happenings {
            happen(&mut world, happening);
            // The same look twice is the same plan.
            prop_assert_eq!(world.look(), world.look());
            let phase = world.phase().filter(|phase| phase.is_completed());
            prop_assert!(ended.is_none() || ended == phase, "it ended {ended:?} and is {phase:?}");
            ended = phase;
        }
        world.spec.terminate = true;
        for _ in 0..10 {
            world.pods_follow();
            for run in world.runs.values_mut().filter(|run| run.spec.terminate) {
                run.phase = run.phase.filter(|phase| phase.is_completed()).or(Some(RunPhase::Successful));
            }
            if let Some(wake) = world.settle() {
                prop_assert!(wake > world.now);
                world.now = wake;
            }
        }
        prop_assert!(world.phase().is_some_and(RunPhase::is_completed));
        prop_assert!(world.wanted().iter().all(|wanted| *wanted == 0), "{:?}", world.wanted());
        prop_assert!(world.runs.values().all(|run| run.spec.terminate || run.phase.is_some_and(RunPhase::is_completed)));
    }
}
