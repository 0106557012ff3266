use pretty_assertions::assert_eq;

use super::*;

#[test]
fn the_first_readme_is_done_and_then_at_rest() {
    let mut world = World::new(&set(json!({})));
    let clusters = [answered("cdk1", vec![web1("web1")])];
    assert_eq!(world.step(&clusters), 1);
    let group = world.group("default-web1");
    assert_eq!(group.spec.arn, arn("web1"));
    assert_eq!(
        json!(group.metadata.labels),
        json!({
            "role": "web", "service": "demo", "okra.mumo.co/version": "1.0.0",
            "okra.mumo.co/target-group-binding-cluster": "cdk1",
            "okra.mumo.co/target-group-binding-namespace": "default",
            "okra.mumo.co/target-group-binding-name": "web1",
            "okra.mumo.co/target-group-set": "cell1", "okra.mumo.co/target-group-set-uid": "u1",
        })
    );
    assert_eq!(group.metadata.owner_references, None, "traffic outlives the set");
    assert_eq!(world.step(&clusters), 0);
    assert_eq!((world.status.target_groups, world.status.clusters), (1, 1));
    assert_eq!(world.status.message, "1 target group of 1 cluster");
}

#[test]
fn the_same_binding_in_two_clusters_is_two_target_groups_and_each_keeps_its_name() {
    let mut world = World::new(&set(json!({})));
    world.step(&[answered("cdk2", vec![web1("web2")])]);
    assert_eq!(world.names(), ["default-web1"]);
    let both = [answered("cdk1", vec![web1("web1")]), answered("cdk2", vec![web1("web2")])];
    assert_eq!(world.step(&both), 1);
    assert_eq!(world.names(), ["default-web1", "default-web1-cdk1"]);
    assert_eq!(world.group("default-web1").spec.arn, arn("web2"), "what was there is not replaced");
    assert_eq!(world.step(&both), 0);
    world.step(&[answered("cdk1", vec![web1("web1")]), answered("cdk2", vec![])]);
    assert_eq!(world.names(), ["default-web1-cdk1"]);
}

#[test]
fn only_the_very_cluster_s_answer_that_a_binding_is_gone_removes_anything() {
    let mut world = World::new(&set(json!({})));
    world.step(&[answered("a", vec![web1("a")]), answered("b", vec![web1("b")])]);
    assert_eq!(world.names(), ["default-web1", "default-web1-b"]);
    let mut check = |clusters: &[ObservedCluster], said: &str| {
        assert_eq!(world.step(clusters), 0, "{said}");
        assert!(world.status.message.contains(said), "{}", world.status.message);
    };
    check(&[answered("a", vec![web1("a")]), silent("b")], "it does not answer");
    check(&[silent("a"), silent("b")], "2 clusters are not known");
    check(&[answered("a", vec![web1("a")])], "nobody said that the cluster is");
    let unselected = binding("web1", json!({"role": "api"}), json!({"targetGroupARN": arn("b")}));
    check(&[answered("a", vec![web1("a")]), answered("b", vec![unselected])], "is not selected any more");
    world.known.insert(cluster_arn("b"));
    assert_eq!(world.step(&[answered("a", vec![web1("a")])]), 0);
    assert_eq!(world.status.kept[0].message, "its cluster is not selected any more");
    // A ClusterSet that says so counts only while no Secret of the cluster is there.
    world.gone.insert(cluster_arn("b"));
    assert_eq!(world.step(&[answered("a", vec![web1("a")])]), 0);
    world.known.clear();
    assert_eq!(world.step(&[answered("a", vec![web1("a")])]), 1);
    assert_eq!(world.names(), ["default-web1"]);
}

#[test]
fn a_binding_that_is_being_deleted_is_gone() {
    let mut world = World::new(&set(json!({})));
    world.step(&[answered("a", vec![web1("a")])]);
    let mut leaving = (*web1("a")).clone();
    leaving.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    assert_eq!(world.step(&[answered("a", vec![Arc::new(leaving.clone())])]), 1);
    assert_eq!(world.names(), [""; 0]);
    assert_eq!(world.step(&[answered("a", vec![Arc::new(leaving)])]), 0, "and is not registered again");
}

#[test]
fn the_version_comes_from_the_first_that_says_one() {
    let spec = json!({"targetGroupARN": arn("x")});
    let tagged = TaggedGroup { arn: arn("x"), role_arn: None };
    let mut versioned = secret("a", json!({"okra.mumo.co/version": "3.0.0"}));
    versioned.metadata.annotations.as_mut().unwrap().insert(VERSION_LABEL.to_owned(), "4.0.0".to_owned());
    let mut bare = secret("a", json!({}));
    bare.metadata.annotations = versioned.metadata.annotations.clone();
    let labelled = binding("web1", json!({"okra.mumo.co/version": "1.0.0"}), spec.clone());
    let plain = binding("web1", json!({}), spec);
    let tag = Some(Ok(Some("2.0.0".to_owned())));
    let cases = [
        (&versioned, labelled, tag.clone(), Some("1.0.0")),
        (&versioned, plain.clone(), tag, Some("2.0.0")),
        (&versioned, plain.clone(), Some(Ok(None)), Some("3.0.0")),
        (&bare, plain.clone(), Some(Ok(None)), Some("4.0.0")),
        (&secret("a", json!({})), plain.clone(), Some(Ok(None)), None),
    ];
    for (secret, binding, tag, expected) in cases {
        let mut world = World::new(&set(json!({})));
        let cluster = ObservedCluster::new(secret, ClusterAnswer::Bindings(vec![binding]));
        world.facts.versions.extend(tag.map(|tag| (tagged.clone(), tag)));
        world.step(&[cluster]);
        assert_eq!(world.label("default-web1", VERSION_LABEL), expected);
    }
    // What is not known is no reason to take another version.
    let mut world = World::new(&set(json!({})));
    let cluster = [ObservedCluster::new(&versioned, ClusterAnswer::Bindings(vec![plain]))];
    assert_eq!(unversioned(&world.set, &cluster, &world.facts), BTreeSet::from([tagged.clone()]));
    world.facts.versions.insert(tagged, Err("may not read tags".to_owned()));
    assert_eq!(world.step(&cluster), 0);
    assert_eq!(world.status.refused[0].message, "may not read tags");
}

#[test]
fn a_name_is_asked_for_in_the_region_of_its_cluster() {
    let mut world = World::new(&set(json!({})));
    let named = binding("web1", json!({"okra.mumo.co/version": "1"}), json!({"targetGroupName": "web"}));
    let clusters = [answered("a", vec![named])];
    let group = NamedGroup { region: Some("ap-northeast-1".to_owned()), role_arn: None, name: "web".to_owned() };
    assert_eq!(unnamed(&world.set, &clusters), BTreeSet::from([group.clone()]));
    for (answer, said) in [(Err("denied".to_owned()), "denied"), (Ok(None), "there is no target group web")] {
        world.facts.arns.insert(group.clone(), answer);
        assert_eq!(world.step(&clusters), 0);
        assert_eq!(world.status.refused[0].message, said);
    }
    world.facts.arns.insert(group.clone(), Ok(Some(arn("web"))));
    world.step(&clusters);
    assert_eq!(world.group("default-web1").spec.arn, arn("web"));
    // While AWS does not answer, what is registered stays as it is.
    world.facts.arns.insert(group, Err("throttled".to_owned()));
    assert_eq!(world.step(&clusters), 0);
    assert_eq!((world.names(), world.status.target_groups), (vec!["default-web1".to_owned()], 1));
}

#[test]
fn labels_that_somebody_acts_on_are_not_copied() {
    let mut world = World::new(&set(json!({"template": {"metadata": {
        "labels": {"of": "{{.cluster.name}}", "role": "{{.binding.labels.role}}-x"},
        "annotations": {"from": "{{.binding.namespace}}/{{.binding.name}} {{.cluster.labels.service}}"},
    }}})));
    let labels = json!({
        "app.kubernetes.io/instance": "shop", "app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/name": "web",
        "argocd.argoproj.io/instance": "shop", "helm.toolkit.fluxcd.io/name": "shop", "helm.sh/chart": "web-1",
        "elbv2.k8s.aws/x": "y", "okra.mumo.co/cluster-set": "z", "example.com/team": "a", "tier": "front",
        "okra.mumo.co/version": "1.0.0",
    });
    let mut cluster = secret("a", json!({"env": "prod", "tier": "back", "argocd.argoproj.io/kubernetes-version": "1"}));
    cluster.metadata.name = Some("a".to_owned());
    let bindings = vec![binding("web1", labels, json!({"arn": arn("x")}))];
    world.step(&[ObservedCluster::new(&cluster, ClusterAnswer::Bindings(bindings))]);
    let group = world.group("default-web1");
    let labels = group.metadata.labels.clone().unwrap();
    let copied: Vec<&str> = labels.keys().filter(|key| !key.contains("target-group")).map(String::as_str).collect();
    let expected =
        ["app.kubernetes.io/name", "env", "example.com/team", "of", "okra.mumo.co/version", "role", "service", "tier"];
    assert_eq!(copied, expected);
    assert_eq!((&*labels["tier"], &*labels["role"], &*labels["of"]), ("front", "web-x", "a"));
    assert_eq!(group.metadata.annotations.as_ref().unwrap()["from"], "default/web1 demo");
}

#[test]
fn what_others_write_stays_and_what_is_not_wanted_any_more_goes() {
    let mut world = World::new(&set(json!({})));
    let version = json!({"okra.mumo.co/version": "1.0.0", "tier": "front"});
    world.step(&[answered("a", vec![binding("web1", version, json!({"targetGroupARN": arn("x")}))])]);
    let mut group = world.group("default-web1").clone();
    group.metadata.labels.as_mut().unwrap().insert("mine".to_owned(), "1".to_owned());
    group.metadata.annotations.as_mut().unwrap().insert("okra.mumo.co/drain".to_owned(), "true".to_owned());
    world.groups = vec![Arc::new(group)];
    assert_eq!(world.step(&[answered("a", vec![web1("y")])]), 1);
    let group = world.group("default-web1");
    assert_eq!(group.spec.arn, arn("y"));
    let (labels, annotations) = (group.metadata.labels.as_ref().unwrap(), group.metadata.annotations.as_ref().unwrap());
    assert_eq!((labels.get("mine").is_some(), labels.get("tier")), (true, None));
    assert_eq!(annotations["okra.mumo.co/drain"], "true");
}

#[test]
fn a_target_group_is_registered_once() {
    let mut world = World::new(&set(json!({})));
    world.sets.insert("other".to_owned());
    let clusters = [answered("a", vec![web1("x")])];
    let cases = [
        (json!({"role": "web"}), "which this set did not make"),
        (json!({"okra.mumo.co/target-group-set": "other"}), "AWSTargetGroupSet other has registered"),
    ];
    for (labels, said) in cases {
        world.groups.clear();
        world.theirs("by-hand", "x", labels);
        assert_eq!(world.step(&clusters), 0);
        assert!(world.status.refused[0].message.contains(said), "{:?}", world.status.refused);
    }
    // What the first okra made of this binding is taken over, and so is what a set left that is gone.
    let made = json!({
        "okra.mumo.co/target-group-binding-cluster": "", "okra.mumo.co/target-group-binding-namespace": "default",
        "okra.mumo.co/target-group-binding-name": "web1", "okra.mumo.co/target-group-set": "long-gone",
    });
    world.groups.clear();
    world.theirs("default-web1", "x", made);
    assert_eq!(world.step(&clusters), 1);
    assert_eq!(world.names(), ["default-web1"]);
    assert_eq!(world.label("default-web1", "okra.mumo.co/target-group-set"), Some("cell1"));
    // A name that somebody has is not taken.
    world.groups.clear();
    world.theirs("default-web1", "another", json!({}));
    assert_eq!(world.step(&clusters), 1);
    assert_eq!(world.names(), ["default-web1", "default-web1-a"]);
}

#[test]
fn what_an_earlier_set_of_the_name_made_is_taken_over_and_never_removed_unseen() {
    let mut world = World::new(&set(json!({})));
    world.step(&[answered("a", vec![web1("a")]), answered("b", vec![web1("b")])]);
    world.set.uid = "u2".to_owned();
    assert_eq!(world.step(&[answered("a", vec![web1("a")]), answered("b", vec![])]), 1);
    assert_eq!(world.label("default-web1", TARGET_GROUP_SET_UID), Some("u2"));
    assert_eq!(world.status.kept[0].name, "default-web1-b");
}

const TARGET_GROUP_SET_UID: &str = okra_api::names::TARGET_GROUP_SET_UID_LABEL;

#[test]
fn two_secrets_of_one_server_are_one_cluster() {
    let mut world = World::new(&set(json!({})));
    let mut twin = answered("a", vec![web1("a")]);
    twin.secret = "b".to_owned();
    world.step(&[answered("a", vec![web1("a")]), twin]);
    assert_eq!(world.names(), ["default-web1"]);
    assert!(world.status.unreachable[0].message.contains("the same server as Secret a"));
    // One that cannot be used stands in the way of none that can, whatever their order.
    let mut world = World::new(&set(json!({})));
    let mut unusable = silent("a");
    unusable.secret = "0".to_owned();
    world.step(&[unusable, answered("a", vec![web1("a")])]);
    assert_eq!(world.names(), ["default-web1"]);
    assert_eq!(world.status.unreachable[0].message, "it does not answer");
}

#[test]
fn hostile_bindings_are_refused_one_by_one() {
    let mut world = World::new(&set(json!({})));
    let nothing = binding("nothing", json!({"okra.mumo.co/version": "1"}), json!({}));
    let bad_label = binding("bad", json!({"x": "not a label!"}), json!({"targetGroupARN": arn("x")}));
    world.facts.versions.insert(TaggedGroup { arn: arn("x"), role_arn: None }, Ok(Some("1".to_owned())));
    let long = "n".repeat(250);
    let long = binding(&long, json!({"okra.mumo.co/version": "1"}), json!({"targetGroupARN": arn("long")}));
    assert_eq!(world.step(&[answered("a", vec![nothing, bad_label, long, web1("w")])]), 2);
    let refused: Vec<&str> = world.status.refused.iter().map(|note| note.name.as_str()).collect();
    assert_eq!(refused, ["a default/bad", "a default/nothing"]);
    assert!(world.names().iter().all(|name| name.len() <= 253));
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_field() {
    let faults =
        |more: Value| validate(&set(more)).map(|_| ()).map_err(|errors| crate::field::FieldError::join(&errors));
    let empty = json!([{"awseks": {"clusterSelector": {}, "bindingSelector": {"matchLabels": {"role": "web"}}}}]);
    let error = faults(json!({"generators": empty})).unwrap_err();
    assert!(error.contains("spec.generators[0].awseks.clusterSelector: is empty"), "{error}");
    assert!(faults(json!({"generators": []})).unwrap_err().contains("spec.generators"));
    for (labels, said) in [
        (json!({"a": "{{.cluster.nme}}"}), "is not a placeholder"),
        (json!({"a": "{{.cluster.labels.}}"}), "is not a placeholder"),
        (json!({"a": "{{.cluster.name"}), "does not end"),
        (json!({"okra.mumo.co/target-group-set": "x"}), "is written by okra itself"),
    ] {
        let error = faults(json!({"template": {"metadata": {"labels": labels}}})).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    let fine = json!({"template": {"metadata": {"labels": {"a": "{{.cluster.labels.x}}-{{ .binding.name }}"}}}});
    assert_eq!(faults(fine), Ok(()));
}

#[test]
fn a_plan_that_would_do_harm_is_found() {
    let mut world = World::new(&set(json!({})));
    world.step(&[answered("a", vec![web1("a")])]);
    let clusters = [answered("a", vec![web1("a")])];
    let known = BTreeSet::from([cluster_arn("a")]);
    let gone = known.clone();
    let observed = Observed {
        set: &world.set,
        status: &world.status,
        clusters: &clusters,
        known: &known,
        gone: &gone,
        groups: &world.groups,
        sets: &world.sets,
        facts: &world.facts,
    };
    let group = world.groups[0].clone();
    let harm = |evidence: Evidence| {
        let actions = vec![Action::Delete { group: group.clone(), evidence }];
        check(&observed, &Plan { actions, status: AWSTargetGroupSetStatus::default() })
    };
    assert!(harm(Evidence::ClusterGone).unwrap_err().contains("without evidence"));
    let there = Evidence::BindingGone { secret: "a".into(), namespace: "default".into(), name: "web1".into() };
    assert!(harm(there).unwrap_err().contains("without evidence"));
    let mut foreign = (*group).clone();
    foreign.metadata.namespace = Some("other".to_owned());
    let actions = vec![Action::Create { subject: String::new(), group: Box::new(foreign) }];
    let plan = Plan { actions, status: AWSTargetGroupSetStatus::default() };
    assert!(check(&observed, &plan).unwrap_err().contains("another namespace"));
}
