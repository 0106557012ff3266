//! safety.md S13, whatever the answers are and in whatever order they come.

use std::collections::BTreeMap;

use okra_api::cluster_set::AnswerState;
use proptest::prelude::*;

use super::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const PRUNE: i64 = 300;

#[derive(Clone, Debug)]
struct Look {
    state: AnswerState,
    found: [bool; 4],
    ready: bool,
    later: i64,
    status_lost: bool,
}

fn look() -> impl Strategy<Value = Look> {
    let state = prop_oneof![
        4 => Just(AnswerState::Complete),
        1 => Just(AnswerState::Partial),
        1 => Just(AnswerState::Denied),
        1 => Just(AnswerState::Throttled),
        1 => Just(AnswerState::Unreachable),
    ];
    (state, any::<[bool; 4]>(), any::<bool>(), 0..400_i64, prop::bool::weighted(0.05))
        .prop_map(|(state, found, ready, later, status_lost)| Look { state, found, ready, later, status_lost })
}

proptest! {
    #[test]
    fn nothing_is_removed_but_what_is_ours_and_was_completely_gone_for_long_enough(
        looks in prop::collection::vec(look(), 1..40)
    ) {
        let mut world = World::new(&set(json!({"pruneAfter": "5m"})));
        let theirs: Arc<Secret> = Arc::new(serde_json::from_value(json!({
            "metadata": {"name": "theirs", "labels": {"argocd.argoproj.io/secret-type": "cluster"}},
        })).unwrap());
        world.secrets.push(theirs.clone());
        // By cluster, when the first complete answer without it came, since it was last there.
        let mut gone: BTreeMap<&str, i64> = BTreeMap::new();
        let mut now = 0;
        for look in looks {
            now += look.later;
            if look.status_lost {
                world.status = ClusterSetStatus::default();
            }
            let there: Vec<&str> = NAMES.iter().zip(look.found).filter_map(|(name, is)| is.then_some(*name)).collect();
            for name in NAMES {
                if there.contains(&name) {
                    gone.remove(name);
                } else if look.state == AnswerState::Complete {
                    gone.entry(name).or_insert(now);
                }
            }
            let clusters = there.iter().map(|name| FoundCluster {
                state: if look.ready { eks(name).state } else { ClusterState::NotReady("UPDATING".to_owned()) },
                ..eks(name)
            });
            let answer = Answer { state: look.state, ..Answer::complete("awseks", clusters.collect()) };
            let plan = world.step(std::slice::from_ref(&answer), at(now));
            for action in &plan.actions {
                let Action::Delete { secret } = action else { continue };
                let name = secret.metadata.name.clone().unwrap();
                prop_assert_eq!(look.state, AnswerState::Complete);
                let since = gone.get(&*name).copied();
                prop_assert!(since.is_some_and(|since| now - since >= PRUNE), "{} of {:?} at {}", name, since, now);
            }
            prop_assert!(world.secrets.contains(&theirs));
            if look.ready {
                for name in there {
                    prop_assert!(world.names().contains(&name.to_owned()));
                }
            }
            let again = world.plan(&[answer], at(now));
            prop_assert_eq!(again.actions.len(), 0, "a second look at the same has nothing to do");
            prop_assert_eq!(again.status, plan.status);
        }
    }
}
