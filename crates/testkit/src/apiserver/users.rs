//! The users of a server: a token file for it, a kubeconfig for each of them.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

const MASTERS: &[&str] = &["system:masters"];

/// A user known by a token.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) groups: Vec<String>,
    token: Token,
}

/// A secret that debug output does not show.
#[derive(Clone)]
struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl User {
    pub(super) fn new(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Self { name: name.to_owned(), groups, token: Token::random() }
    }
}

impl Token {
    /// The server lives for minutes on 127.0.0.1; still, another user of the machine must not be able to guess it.
    fn random() -> Self {
        let mut bytes = [0_u8; 16];
        let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
        crate::process::must(read.context("failed to read random bytes for a token"));
        Self(format!("{:032x}", u128::from_ne_bytes(bytes)))
    }
}

/// The users of every server; each process under test has its own, so that the audit log tells them apart.
pub(super) fn fixed() -> Vec<User> {
    let masters = ["admin", "test", "okrad", "okrad-2", "okrad-3", "okra", "okractl"];
    let limited = ["limited-1", "limited-2", "limited-3"];
    let masters = masters.into_iter().map(|name| User::new(name, MASTERS));
    masters.chain(limited.into_iter().map(|name| User::new(name, &[]))).collect()
}

pub(super) fn token_path(dir: &Path) -> PathBuf {
    dir.join("tokens.csv")
}

pub(super) fn kubeconfig_path(dir: &Path, user: &str) -> PathBuf {
    dir.join(format!("{user}.kubeconfig"))
}

/// Writes the CSV file of `--token-auth-file`: token, user, uid, "group,group".
pub(super) fn write_tokens(dir: &Path, users: &[User]) -> Result<()> {
    let lines = users.iter().map(|user| {
        let User { name, groups, token } = user;
        format!("{},{name},{name},\"{}\"\n", token.0, groups.join(","))
    });
    write_private(&token_path(dir), &lines.collect::<String>())
}

/// Writes a kubeconfig for each user; in JSON, which is YAML too.
pub(super) fn write_kubeconfigs(dir: &Path, url: &str, users: &[User]) -> Result<()> {
    for user in users {
        let name = &user.name;
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": dir.join("certs/apiserver.crt")}}],
            "users": [{"name": name, "user": {"token": user.token.0}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name, "namespace": "default"}}],
            "current-context": "test",
        });
        write_private(&kubeconfig_path(dir, name), &serde_json::to_string_pretty(&kubeconfig)?)?;
    }
    Ok(())
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let write = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes());
    write().with_context(|| format!("failed to write {}", path.display()))
}
