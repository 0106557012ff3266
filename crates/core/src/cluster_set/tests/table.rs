use okra_api::{
    cluster_set::AnswerState,
    condition::{self, DISCOVERED, READY},
    names::{CLUSTER_SET_LABEL, CLUSTER_SET_UID_LABEL},
};
use pretty_assertions::assert_eq;

use super::*;

fn foreign(name: &str, server: &str, labels: Value) -> Arc<Secret> {
    let mut all = json!({"argocd.argoproj.io/secret-type": "cluster"});
    all.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
    let secret = json!({
        "metadata": {"name": name, "namespace": "default", "labels": all, "resourceVersion": "7", "uid": name},
        "data": {"server": k8s_openapi::ByteString(server.as_bytes().to_vec()), "shard": "MQ=="},
    });
    Arc::new(serde_json::from_value(secret).unwrap())
}

fn config(secret: &Secret) -> Value {
    serde_json::from_str(&data_text(secret, "config")).unwrap()
}

#[test]
fn the_secret_is_that_of_the_first_readme() {
    let mut world = World::new(&set(json!({})));
    let plan = world.step(&complete(vec![eks("cdk1")]), at(0));
    assert_eq!(plan.wake_at, at(30));
    let secret = world.secret("cdk1");
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    assert_eq!(
        json!(secret.metadata.labels),
        json!({
            "argocd.argoproj.io/secret-type": "cluster", "service": "demo",
            CLUSTER_SET_LABEL: "cell1", CLUSTER_SET_UID_LABEL: "u1",
        })
    );
    assert_eq!(data_text(secret, "name"), "cdk1");
    assert_eq!(data_text(secret, "server"), "https://CDK1.yl4.ap-northeast-1.eks.amazonaws.com");
    assert_eq!(
        config(secret),
        json!({"awsAuthConfig": {"clusterName": "cdk1"}, "tlsClientConfig": {"caData": "Q0E=", "insecure": false}})
    );
    assert_eq!(secret.metadata.owner_references, None);
    assert!(condition::is_true(&plan.status.conditions, READY), "{}", plan.status.message);
    let again = world.step(&complete(vec![eks("cdk1")]), at(30));
    assert_eq!((again.actions, again.status), (Vec::new(), plan.status), "nothing is new, nothing is written");
}

#[test]
fn placeholders_are_filled_in_and_what_is_missing_is_named() {
    let template = json!({
        "metadata": {
            "name": "eks-{{.awseks.cluster.name}}",
            "labels": {"v": "{{ .awseks.cluster.version }}", "team": "{{.awseks.cluster.tags.team/name}}"},
            "annotations": {"at": "{{.cluster.region}}:{{.cluster.arn}}"},
        },
        "project": "{{.awseks.cluster.tags.Service}}",
        "namespaces": ["a", "b"],
        "roleARN": "arn:aws:iam::123456789012:role/deploy",
    });
    let mut world = World::new(&set(json!({"template": template})));
    let mut named = eks("b");
    named.tags.insert("team/name".to_owned(), "red".to_owned());
    let plan = world.step(&complete(vec![eks("a"), named.clone()]), at(0));
    let secret = world.secret("eks-b");
    let labels = secret.metadata.labels.as_ref().unwrap();
    assert_eq!((&*labels["v"], &*labels["team"]), ("1.33", "red"));
    assert_eq!(secret.metadata.annotations.as_ref().unwrap()["at"], format!("ap-northeast-1:{}", named.id));
    assert_eq!(data_text(secret, "project"), "demo");
    assert_eq!(
        (data_text(secret, "namespaces"), data_text(secret, "clusterResources")),
        ("a,b".into(), "false".into())
    );
    assert_eq!(config(secret)["awsAuthConfig"]["roleARN"], "arn:aws:iam::123456789012:role/deploy");
    assert_eq!(world.names(), ["eks-b"]);
    let refused = &plan.status.refused[0];
    assert_eq!((&*refused.name, refused.message.contains("no tag team/name")), ("a", true), "{}", refused.message);
    // A label that the template no longer has goes; what others wrote stays.
    let mut touched = world.secret("eks-b").clone();
    touched.metadata.labels.as_mut().unwrap().insert("by-hand".to_owned(), "yes".to_owned());
    world.secrets = vec![Arc::new(touched)];
    world.set = validate(&set(json!({}))).unwrap();
    world.step(&complete(vec![named]), at(30));
    let labels = world.secret("eks-b").metadata.labels.as_ref().unwrap();
    assert!(labels.contains_key("by-hand") && !labels.contains_key("team") && labels.contains_key("service"));
}

#[test]
fn a_label_that_would_be_illegal_refuses_the_cluster() {
    let template = json!({"metadata": {"labels": {"arn": "{{.cluster.arn}}"}}});
    let mut world = World::new(&set(json!({"template": template})));
    let plan = world.step(&complete(vec![eks("a")]), at(0));
    assert_eq!(plan.actions, []);
    assert!(plan.status.refused[0].message.contains("no value of a label"));
}

#[test]
fn a_cluster_that_is_being_made_is_told_and_not_written() {
    let mut world = World::new(&set(json!({})));
    let creating = FoundCluster { state: ClusterState::NotReady("CREATING".to_owned()), ..eks("a") };
    let plan = world.step(&complete(vec![creating.clone()]), at(0));
    assert_eq!(plan.actions, []);
    assert_eq!(plan.status.waiting[0].message, "CREATING");
    assert!(!condition::is_true(&plan.status.conditions, READY));
    world.step(&complete(vec![eks("a")]), at(30));
    assert_eq!(world.names(), ["a"]);
    let deleting = FoundCluster { state: ClusterState::NotReady("DELETING".to_owned()), ..creating };
    world.step(&complete(vec![deleting]), at(90_000));
    assert_eq!(world.names(), ["a"], "one that is on its way out is still there");
}

#[test]
fn endpoint_and_certificates_are_followed() {
    let mut world = World::new(&set(json!({})));
    world.step(&complete(vec![eks("a")]), at(0));
    let moved = FoundCluster {
        state: ClusterState::Ready { server: "https://new".to_owned(), ca_data: Some("TkVX".to_owned()) },
        ..eks("a")
    };
    let plan = world.step(&complete(vec![moved]), at(30));
    assert!(matches!(&plan.actions[..], [Action::Update { adopts: false, .. }]));
    let secret = world.secret("a");
    assert_eq!(data_text(secret, "server"), "https://new");
    assert_eq!(config(secret)["tlsClientConfig"]["caData"], "TkVX");
}

#[test]
fn only_complete_answers_for_long_enough_remove_a_secret() {
    let mut world = World::new(&set(json!({"pruneAfter": "5m"})));
    world.step(&complete(vec![eks("a"), eks("b")]), at(0));
    for state in [AnswerState::Partial, AnswerState::Denied, AnswerState::Throttled, AnswerState::Unreachable] {
        let plan = world.step(&[Answer::incomplete("awseks", state, "no")], at(100_000));
        assert_eq!(plan.actions, [], "{state:?}");
        assert_eq!(plan.status.missing, [], "{state:?}");
        assert!(!condition::is_true(&plan.status.conditions, DISCOVERED));
        assert!(plan.status.message.contains("nothing is removed"), "{}", plan.status.message);
    }
    assert_eq!(world.step(&[], at(100_000)).actions, [], "no answer at all");
    let began = world.step(&complete(vec![eks("b")]), at(200_000));
    assert_eq!((began.actions.len(), began.status.missing.len()), (0, 1));
    let waits = world.step(&complete(vec![eks("b")]), at(200_299));
    assert_eq!((waits.actions.len(), waits.wake_at), (0, at(200_300)));
    let silent = world.step(&[Answer::incomplete("awseks", AnswerState::Throttled, "slow")], at(200_301));
    assert_eq!(silent.actions, []);
    let plan = world.step(&complete(vec![eks("b")]), at(200_302));
    assert!(matches!(&plan.actions[..], [Action::Delete { .. }]));
    assert_eq!(world.names(), ["b"]);
    world.step(&complete(vec![]), at(300_000));
    world.step(&complete(vec![eks("b")]), at(300_299));
    assert_eq!(world.status.missing, [], "it is back");
}

#[test]
fn who_is_found_gone_is_kept_in_mind_until_it_is_back() {
    let removed = |world: &World| -> Vec<String> {
        let removed = world.status.removed.iter();
        removed.map(|removed| removed.id.rsplit('/').next().unwrap_or_default().to_owned()).collect()
    };
    let mut world = World::new(&set(json!({"pruneAfter": "60s"})));
    world.step(&complete(vec![eks("a"), eks("b")]), at(0));
    world.step(&complete(vec![eks("b")]), at(30));
    assert_eq!(removed(&world), [""; 0], "not while its Secret is there");
    let before = (world.status.clone(), world.secrets.clone());
    world.step(&complete(vec![eks("b")]), at(90));
    assert_eq!((world.names(), removed(&world)), (vec!["b".to_owned()], vec!["a".to_owned()]));
    world.step(&complete(vec![eks("b")]), at(120));
    assert_eq!(removed(&world), ["a"]);
    // A crash between the removal and the status: that it was missing is enough.
    let after = (std::mem::replace(&mut world.status, before.0), world.secrets.clone());
    world.step(&complete(vec![eks("b")]), at(121));
    assert_eq!(removed(&world), ["a"]);
    // An incomplete answer says nothing of who went.
    world.status = ClusterSetStatus { removed: Vec::new(), ..world.status.clone() };
    world.status.missing =
        vec![okra_api::cluster_set::MissingCluster { secret: "a".into(), id: eks("a").id, since: at(0) }];
    world.step(&[Answer::incomplete("awseks", AnswerState::Partial, "no")], at(122));
    assert_eq!(removed(&world), [""; 0]);
    (world.status, world.secrets) = after;
    world.step(&complete(vec![eks("a"), eks("b")]), at(150));
    assert_eq!(removed(&world), [""; 0], "it is back");
    // A Secret that a person removes is made again, and nobody is said to be gone.
    world.secrets.clear();
    world.step(&complete(vec![eks("a"), eks("b")]), at(160));
    assert_eq!((world.names().len(), removed(&world).len()), (2, 0));
}

#[test]
fn one_incomplete_generator_keeps_everything() {
    let two = json!([
        {"awseks": {"selector": {"matchTags": {"Service": "demo"}}, "region": "us-east-1"}},
        {"awseks": {"selector": {"matchTags": {"Service": "demo"}}, "region": "eu-west-1"}},
    ]);
    let mut world = World::new(&set(json!({"generators": two, "pruneAfter": "0s"})));
    let both = [Answer::complete("one", vec![eks("a")]), Answer::complete("two", vec![eks("b"), eks("a")])];
    world.step(&both, at(0));
    assert_eq!(world.names(), ["a", "b"], "a cluster that two generators find counts once");
    let half = [Answer::complete("one", vec![]), Answer::incomplete("two", AnswerState::Denied, "no")];
    assert_eq!(world.step(&half, at(9_000)).actions, []);
    assert_eq!(world.step(&half[..1], at(9_000)).actions, [], "the second did not answer");
    let none = [Answer::complete("one", vec![]), Answer::complete("two", vec![])];
    assert_eq!(world.step(&none, at(9_000)).actions.len(), 2);
}

#[test]
fn the_secret_of_somebody_else_is_left_alone_unless_told() {
    let server = "https://cdk1.yl4.ap-northeast-1.eks.amazonaws.com:443/";
    let theirs = foreign("by-hand", server, json!({}));
    let mut world = World::new(&set(json!({})));
    world.secrets = vec![theirs.clone()];
    let plan = world.step(&complete(vec![eks("cdk1")]), at(0));
    assert_eq!(plan.actions, []);
    assert!(plan.status.refused[0].message.contains("spec.adopt"), "{:?}", plan.status.refused);
    world.step(&complete(vec![]), at(90_000));
    world.step(&complete(vec![]), at(190_000));
    assert_eq!(world.secrets, [theirs], "nothing that others made is ever removed");
    world.set = validate(&set(json!({"adopt": true}))).unwrap();
    let plan = world.step(&complete(vec![eks("cdk1")]), at(200_000));
    assert!(matches!(&plan.actions[..], [Action::Update { adopts: true, .. }]));
    assert_eq!(world.names(), ["by-hand"]);
    assert_eq!(data_text(world.secret("by-hand"), "shard"), "1", "what Argo CD keeps in it stays");
}

#[test]
fn of_two_sets_that_overlap_the_first_keeps_the_cluster() {
    let mut first = World::new(&set(json!({})));
    first.step(&complete(vec![eks("a")]), at(0));
    let mut other = set(json!({"adopt": true}));
    other.metadata.name = Some("cell2".to_owned());
    other.metadata.uid = Some("u2".to_owned());
    let mut second = World::new(&other);
    second.secrets = first.secrets.clone();
    second.sets.insert("cell1".to_owned());
    let plan = second.step(&complete(vec![eks("a")]), at(1));
    assert_eq!(plan.actions, []);
    assert!(plan.status.refused[0].message.contains("ClusterSet cell1 keeps Secret a"));
    second.sets.remove("cell1");
    let plan = second.step(&complete(vec![eks("a")]), at(2));
    assert!(matches!(&plan.actions[..], [Action::Update { adopts: true, .. }]), "the first is gone");
}

#[test]
fn a_set_that_was_made_anew_takes_its_secrets_back_and_removes_none_of_before() {
    let mut world = World::new(&set(json!({"pruneAfter": "0s"})));
    world.step(&complete(vec![eks("a"), eks("b")]), at(0));
    let mut anew = set(json!({"pruneAfter": "0s"}));
    anew.metadata.uid = Some("u9".to_owned());
    world.set = validate(&anew).unwrap();
    world.step(&complete(vec![eks("a")]), at(60));
    assert_eq!(world.names(), ["a", "b"]);
    assert_eq!(world.secret("a").metadata.labels.as_ref().unwrap()[CLUSTER_SET_UID_LABEL], "u9");
    assert_eq!(world.secret("b").metadata.labels.as_ref().unwrap()[CLUSTER_SET_UID_LABEL], "u1");
}

#[test]
fn names_that_clash_get_a_part_of_their_own_and_keep_it() {
    let mut world = World::new(&set(json!({})));
    let mut twin = eks("a");
    twin.id = twin.id.replace("ap-northeast-1", "us-east-1");
    twin.state = ClusterState::Ready { server: "https://twin".to_owned(), ca_data: None };
    world.step(&complete(vec![twin.clone(), eks("a")]), at(0));
    let names = world.names();
    assert_eq!((names.len(), &*names[0]), (2, "a"));
    assert!(names[1].starts_with("a-"));
    assert_eq!(world.step(&complete(vec![eks("a"), twin]), at(30)).actions, []);
    let odd = FoundCluster { name: "My_Cluster".to_owned(), ..eks("c") };
    world.step(&complete(vec![odd]), at(60));
    assert!(world.names().contains(&"my-cluster".to_owned()));
}

#[test]
fn the_argo_cd_of_eks_gets_arns() {
    let template = json!({"project": "default", "serverForm": "ARN"});
    let mut world = World::new(&set(json!({"template": template})));
    world.step(&complete(vec![eks("a")]), at(0));
    let secret = world.secret("a");
    assert_eq!(data_text(secret, "server"), eks("a").id);
    assert_eq!(data_text(secret, "config"), "");
    assert_eq!(data_text(secret, "project"), "default");
}

#[test]
fn secrets_go_with_the_set_only_when_it_says_so() {
    let mut world = World::new(&set(json!({"deletionPolicy": "Delete"})));
    world.step(&complete(vec![eks("a")]), at(0));
    let owners = world.secret("a").metadata.owner_references.clone().unwrap();
    assert_eq!((owners.len(), &*owners[0].kind, &*owners[0].uid), (1, "ClusterSet", "u1"));
    world.set = validate(&set(json!({}))).unwrap();
    world.step(&complete(vec![eks("a")]), at(1));
    assert_eq!(world.secret("a").metadata.owner_references, None);
}

#[test]
fn what_cannot_be_acted_on_is_named_by_field() {
    let template = |label: &str| json!({"template": {"metadata": {"labels": {"a": label}}}});
    for (more, field) in [
        (json!({"generators": []}), "spec.generators"),
        (json!({"generators": [{}]}), "spec.generators[0]"),
        (json!({"generators": [{"awseks": {"selector": {"matchTags": {}}}}]}), "matchTags"),
        (json!({"generators": [{"kubeconfigSecret": {"selector": {}}}]}), "kubeconfigSecret.selector"),
        (json!({"interval": "1s"}), "spec.interval"),
        (json!({"interval": "often"}), "spec.interval"),
        (json!({"pruneAfter": "-1s"}), "spec.pruneAfter"),
        (template("{{.awseks.cluster.nam}}"), "spec.template.metadata.labels[a]"),
        (template("{{.values.x}}"), "spec.template.metadata.labels[a]"),
        (template("{{.awseks.cluster.name"), "spec.template.metadata.labels[a]"),
        (json!({"template": {"metadata": {"labels": {CLUSTER_SET_LABEL: "x"}}}}), CLUSTER_SET_LABEL),
    ] {
        let errors = validate(&set(more.clone())).unwrap_err();
        assert!(errors.iter().any(|error| error.field.contains(field)), "{more}: {errors:?}");
    }
}

#[test]
fn kubeconfigs_are_read_and_programs_and_files_refused() {
    let text = |user: &str| {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts:\n- name: x\n  context: {{cluster: c, user: u}}\n\
             clusters:\n- name: c\n  cluster: {{server: 'https://k', certificate-authority-data: Q0E=}}\n\
             users:\n- name: u\n  user: {user}\n"
        )
    };
    let (state, auth) = read_kubeconfig(&text("{token: hunter2}")).unwrap();
    assert_eq!(state, ClusterState::Ready { server: "https://k".to_owned(), ca_data: Some("Q0E=".to_owned()) });
    let ClusterAuth::Config(members) = &auth else { panic!("{auth:?}") };
    assert_eq!(members.0["bearerToken"], "hunter2");
    assert!(!format!("{auth:?}").contains("hunter2"));
    for (user, word) in [
        ("{exec: {command: sh}}", "exec"),
        ("{tokenFile: /etc/passwd}", "tokenFile"),
        ("{client-key: /etc/key}", "client-key"),
        ("{auth-provider: {name: gcp}}", "auth-provider"),
    ] {
        let error = read_kubeconfig(&text(user)).unwrap_err();
        assert!(error.contains(word) && error.contains("refused"), "{error}");
    }
    for bad in ["", ": :", "current-context: y", &text("{}").replace("https://k", "http://k")] {
        assert!(read_kubeconfig(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_failed_write_is_told_of() {
    let mut world = World::new(&set(json!({})));
    let mut plan = world.step(&complete(vec![eks("a")]), at(0));
    let note = okra_api::cluster_set::ClusterNote { name: "a".to_owned(), message: "denied".to_owned() };
    refuse(&mut plan.status, &world.set, vec![note], 1, at(0));
    assert_eq!(plan.status.clusters, 0);
    assert!(plan.status.message.contains("a: denied") && !condition::is_true(&plan.status.conditions, READY));
}

#[test]
fn a_plan_that_breaks_an_invariant_is_seen() {
    let mut world = World::new(&set(json!({})));
    world.step(&complete(vec![eks("a")]), at(0));
    let own = world.secrets[0].clone();
    let theirs = foreign("theirs", "https://x", json!({}));
    let plan = |secret: &Arc<Secret>| Plan {
        actions: vec![Action::Delete { secret: secret.clone() }],
        ..world.plan(&complete(vec![eks("a")]), at(1))
    };
    let gone = complete(vec![]);
    assert_eq!(check(&world.observed(&gone), &plan(&own)), Ok(()));
    for (answers, secret, words) in [
        (complete(vec![eks("a")]), &own, "is there"),
        (vec![Answer::incomplete("x", AnswerState::Partial, "")], &own, "incomplete"),
        (Vec::new(), &own, "incomplete"),
        (gone, &theirs, "did not make"),
    ] {
        let breach = check(&world.observed(&answers), &plan(secret)).unwrap_err();
        assert!(breach.contains(words), "{breach}");
    }
}

fn cluster_secret(server: &str, config: &str, annotations: Value) -> Secret {
    let data = [("name", "c"), ("server", server), ("config", config)];
    let data = data.map(|(key, text)| (key.to_owned(), k8s_openapi::ByteString(text.as_bytes().to_vec())));
    let secret = json!({"metadata": {"name": "c", "annotations": annotations}});
    Secret { data: Some(data.into()), ..serde_json::from_value(secret).unwrap() }
}

#[test]
fn a_cluster_secret_tells_how_to_log_in() {
    let read =
        |config: Value| read_cluster_secret(&cluster_secret("https://x", &config.to_string(), json!({}))).unwrap();
    assert_eq!(read(json!({"bearerToken": "t"})).login, Login::Bearer("t".to_owned()));
    assert_eq!(read(json!({"username": "u", "password": "p"})).login, Login::Basic("u".to_owned(), "p".to_owned()));
    let tls = read(json!({"tlsClientConfig": {"certData": "Yw==", "keyData": "aw==", "serverName": "s"}}));
    assert_eq!((tls.client_certificate, tls.login), (Some(("Yw==".to_owned(), "aw==".to_owned())), Login::None));
    let config = json!({"awsAuthConfig": {"clusterName": "a", "roleARN": "r"}}).to_string();
    let eks_of = |secret: &Secret| match read_cluster_secret(secret).unwrap().login {
        Login::Eks { cluster_name, region, role_arn, .. } => (cluster_name, region.unwrap_or_default(), role_arn),
        _ => panic!("another login"),
    };
    let by_host = cluster_secret("https://A.yl4.eu-west-1.eks.amazonaws.com", &config, json!({}));
    assert_eq!(eks_of(&by_host), ("a".to_owned(), "eu-west-1".to_owned(), Some("r".to_owned())));
    let id = json!({"okra.mumo.co/cluster-id": eks("a").id, "okra.mumo.co/cluster-endpoint": "https://a"});
    assert_eq!(eks_of(&cluster_secret("https://x", &config, id.clone())).1, "ap-northeast-1");
    let managed = cluster_secret(&eks("a").id, "", id);
    assert_eq!(eks_of(&managed), ("a".to_owned(), "ap-northeast-1".to_owned(), None));
    assert_eq!(read_cluster_secret(&managed).unwrap().server, "https://a");
    assert!(!format!("{:?}", read(json!({"bearerToken": "hunter2"}))).contains("hunter2"));
}

#[test]
fn a_cluster_secret_that_must_not_be_used_is_refused_with_a_reason() {
    for (server, config, words) in [
        ("https://x", r#"{"execProviderConfig": {"command": "sh"}}"#, "run a program"),
        ("https://x", r#"{"bearerTokenFile": "/etc/passwd"}"#, "bearerTokenFile names a file"),
        ("https://x", r#"{"tlsClientConfig": {"keyFile": "/etc/key"}}"#, "tlsClientConfig.keyFile names a file"),
        ("https://x", r#"{"tlsClientConfig": {"insecure": true, "caData": "Q0E="}}"#, "choose one"),
        ("https://x", r#"{"tlsClientConfig": {"certData": "Q0E="}}"#, "only one of"),
        ("https://x", r#"{"proxyUrl": "http://p"}"#, "proxyUrl"),
        ("https://x", "{hunter2", "no JSON"),
        ("https://x", "[1]", "no JSON object"),
        ("http://x", "{}", "https://"),
        ("https://u:hunter2@x", "{}", "https://"),
        ("", "{}", "https://"),
        ("arn:aws:eks:eu-west-1:1:cluster/a", "{}", "cluster-endpoint"),
    ] {
        let error = read_cluster_secret(&cluster_secret(server, config, json!({}))).unwrap_err();
        assert!(error.contains(words) && !error.contains("hunter2"), "{config}: {error}");
    }
}
