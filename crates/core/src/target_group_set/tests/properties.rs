use proptest::prelude::*;

use super::*;

/// What a cluster may do in one step.
#[derive(Clone, Debug)]
enum Said {
    /// It has these of three bindings, each to the target group of this number.
    Has([Option<u8>; 3]),
    Silent,
    NoSecret,
}

fn said() -> impl Strategy<Value = Said> {
    let one = || proptest::option::of(0..4_u8);
    prop_oneof![
        6 => (one(), one(), one()).prop_map(|(a, b, c)| Said::Has([a, b, c])),
        2 => Just(Said::Silent),
        1 => Just(Said::NoSecret),
    ]
}

fn observed(index: usize, said: &Said) -> Option<ObservedCluster> {
    let name = format!("c{index}");
    match said {
        Said::NoSecret => None,
        Said::Silent => Some(silent(&name)),
        Said::Has(bindings) => {
            let bindings = bindings.iter().enumerate().filter_map(|(number, group)| {
                let spec = json!({"targetGroupARN": arn(&format!("{name}-{}", (*group)?))});
                Some(binding(&format!("b{number}"), json!({"okra.mumo.co/version": "1"}), spec))
            });
            Some(answered(&name, bindings.collect()))
        }
    }
}

proptest! {
    /// Whatever clusters say, in whatever order: a group is removed only right after its own cluster said that the
    /// binding is gone; names never change; and saying the same twice writes nothing.
    #[test]
    fn nothing_is_lost(steps in proptest::collection::vec((said(), said()), 1..12)) {
        let mut world = World::new(&set(json!({})));
        for (first, second) in &steps {
            let clusters: Vec<ObservedCluster> =
                [first, second].into_iter().enumerate().filter_map(|(index, said)| observed(index, said)).collect();
            let before = world.groups.clone();
            world.step(&clusters);
            for group in &before {
                let name = group.metadata.name.clone().unwrap();
                let annotations = group.metadata.annotations.clone().unwrap();
                let (id, of) = (&annotations["okra.mumo.co/cluster-id"], &annotations["okra.mumo.co/target-group-binding"]);
                let answer = clusters.iter().find(|cluster| cluster.id == *id).map(|cluster| &cluster.answer);
                let is_gone = matches!(
                    answer,
                    Some(ClusterAnswer::Bindings(bindings))
                        if !bindings.iter().any(|one| format!("default/{}", one.metadata.name.as_deref().unwrap()) == *of)
                );
                let is_there = world.names().contains(&name);
                prop_assert_eq!(is_there, !is_gone, "{} of {}", name, id);
                if is_there {
                    prop_assert_eq!(&world.group(&name).metadata.annotations.as_ref().unwrap()["okra.mumo.co/cluster-id"], id);
                }
            }
            prop_assert_eq!(world.step(&clusters), 0, "at rest");
        }
    }
}
