//! Which store, which namespace, and as whom.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use kube::config::Kubeconfig;
use okra_provider::{Backend, Namespaces, Store};
use okra_store::{
    DirectoryBackend, DirectoryOptions, KubernetesBackend,
    kubernetes::{ClientOptions, client},
};

use crate::{args::Global, error::CommandError};

/// What `managedFields` call the writer.
const FIELD_MANAGER: &str = "okractl";

/// The longest name of a user that a request can hold.
const LONGEST_USER: usize = 256;

/// Where the objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreChoice {
    /// The Kubernetes API.
    Kubernetes,
    /// A directory of manifests.
    Directory(PathBuf),
}

impl FromStr for StoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("dir:") {
            Some(path) if !path.is_empty() => Ok(Self::Directory(path.into())),
            None if text == "kubernetes" => Ok(Self::Kubernetes),
            _ => Err(format!("\"{text}\" is no store: write kubernetes or dir:PATH")),
        }
    }
}

impl fmt::Display for StoreChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kubernetes => f.write_str("kubernetes"),
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
        }
    }
}

/// A store, and whose view of it.
#[derive(Clone)]
pub struct Session {
    /// The store.
    pub store: Store,
    /// The namespace that is meant where none is named.
    pub namespace: String,
    /// Who asks.
    pub user: String,
    /// Whether it is a directory, where the embedded balancer is.
    pub is_directory: bool,
}

impl Session {
    /// A session on a backend.
    pub fn new(backend: Arc<dyn Backend>, namespace: &str, user: &str) -> Self {
        let user = user.chars().take(LONGEST_USER).collect();
        Self { store: Store::new(backend, Namespaces::All), namespace: namespace.to_owned(), user, is_directory: false }
    }

    /// Where was looked, in words.
    pub fn place(&self, everywhere: bool) -> String {
        if everywhere { "any namespace".to_owned() } else { format!("namespace {}", self.namespace) }
    }
}

/// Connects to the store that was chosen.
pub async fn connect(global: &Global) -> Result<Session, CommandError> {
    match &global.store {
        StoreChoice::Kubernetes => kubernetes(global).await,
        StoreChoice::Directory(path) => directory(global, path).await,
    }
}

async fn kubernetes(global: &Global) -> Result<Session, CommandError> {
    let options = ClientOptions { kubeconfig: global.kubeconfig.clone(), context: global.context.clone() };
    let connected = client(&options).await;
    let client = connected.map_err(|error| {
        CommandError::failed("failed to reach the Kubernetes store", error)
            .hint("give --kubeconfig and --context, or choose a directory with --store dir:PATH")
    })?;
    let namespace = global.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let user = kubeconfig_user(global).unwrap_or_else(local_user);
    Ok(Session::new(Arc::new(KubernetesBackend::new(client, FIELD_MANAGER)), &namespace, &user))
}

async fn directory(global: &Global, path: &Path) -> Result<Session, CommandError> {
    let opened = DirectoryBackend::open(path, DirectoryOptions::default()).await;
    let backend = opened.map_err(|error| {
        CommandError::failed(format!("failed to open the directory store {}", path.display()), error)
            .hint("give the folder that okrad uses: --store dir:PATH")
    })?;
    let namespace = global.namespace.as_deref().unwrap_or("default");
    Ok(Session { is_directory: true, ..Session::new(Arc::new(backend), namespace, &local_user()) })
}

/// The user of the context, as the kubeconfig names it.
fn kubeconfig_user(global: &Global) -> Option<String> {
    let kubeconfig = match &global.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let kubeconfig = kubeconfig.ok()?;
    let wanted = global.context.clone().or(kubeconfig.current_context)?;
    let context = kubeconfig.contexts.into_iter().find(|context| context.name == wanted)?;
    context.context?.user.filter(|user| !user.is_empty())
}

fn local_user() -> String {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    set("USER").or_else(|| set("LOGNAME")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_reads_back_as_it_is_written() {
        for text in ["kubernetes", "dir:/srv/okra", "dir:."] {
            assert_eq!(text.parse::<StoreChoice>().unwrap().to_string(), text);
        }
        for text in ["", "dir:", "dir", "Kubernetes", "nfs:/x"] {
            assert!(text.parse::<StoreChoice>().unwrap_err().contains("dir:PATH"), "{text}");
        }
    }
}
