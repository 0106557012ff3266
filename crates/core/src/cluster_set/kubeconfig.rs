//! What a kubeconfig says of its current context, as members of Argo CD's cluster config.

use serde_json::{Map, Value, json};

use super::{ClusterAuth, ClusterState, ConfigMembers};

/// Reads a kubeconfig. Refused, since a Secret must not make this process run a program or read a file: `exec`,
/// `auth-provider`, and references to files. The words of an error hold nothing of the kubeconfig but names.
pub fn read_kubeconfig(text: &str) -> Result<(ClusterState, ClusterAuth), String> {
    let config: Value =
        serde_saphyr::from_str(text).map_err(|_| "the kubeconfig cannot be parsed: it is no YAML".to_owned())?;
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
    let current = text(&config, "current-context").filter(|name| !name.is_empty());
    let current = current.ok_or("the kubeconfig has no current-context")?;
    let context = named(&config, "contexts", "context", &current)?;
    let cluster_name = text(context, "cluster").ok_or("the kubeconfig's context names no cluster")?;
    let user_name = text(context, "user").ok_or("the kubeconfig's context names no user")?;
    let cluster = named(&config, "clusters", "cluster", &cluster_name)?;
    let user = named(&config, "users", "user", &user_name)?;
    refuse(cluster, &["certificate-authority"])?;
    refuse(user, &["exec", "auth-provider", "tokenFile", "client-certificate", "client-key"])?;
    let server = text(cluster, "server").filter(|server| server.starts_with("https://"));
    let server = server.ok_or("the kubeconfig's server must be a URL that begins with https://")?;
    let insecure = cluster.get("insecure-skip-tls-verify").and_then(Value::as_bool).unwrap_or_default();
    let mut tls = Map::from_iter([("insecure".to_owned(), json!(insecure))]);
    let mut members = Map::new();
    let copies = [
        (cluster, "tls-server-name", "serverName"),
        (user, "client-certificate-data", "certData"),
        (user, "client-key-data", "keyData"),
    ];
    for (of, from, to) in copies {
        if let Some(value) = text(of, from) {
            tls.insert(to.to_owned(), json!(value));
        }
    }
    for (from, to) in [("token", "bearerToken"), ("username", "username"), ("password", "password")] {
        if let Some(value) = text(user, from) {
            members.insert(to.to_owned(), json!(value));
        }
    }
    if let Some(proxy) = text(cluster, "proxy-url") {
        members.insert("proxyUrl".to_owned(), json!(proxy));
    }
    members.insert("tlsClientConfig".to_owned(), Value::Object(tls));
    let ca_data = text(cluster, "certificate-authority-data").filter(|_| !insecure);
    Ok((ClusterState::Ready { server, ca_data }, ClusterAuth::Config(ConfigMembers(members))))
}

fn named<'a>(config: &'a Value, list: &str, member: &str, name: &str) -> Result<&'a Value, String> {
    let entries = config.get(list).and_then(Value::as_array).into_iter().flatten();
    let mut entries = entries.filter(|entry| entry.get("name").and_then(Value::as_str) == Some(name));
    let entry = entries.next().and_then(|entry| entry.get(member));
    entry.ok_or_else(|| format!("the kubeconfig names a {member} that is not in its {list}"))
}

fn refuse(of: &Value, fields: &[&str]) -> Result<(), String> {
    match fields.iter().find(|field| of.get(**field).is_some_and(|value| !value.is_null())) {
        Some(field) => Err(format!("the kubeconfig uses {field}, which is refused: give the data itself, or a token")),
        None => Ok(()),
    }
}
