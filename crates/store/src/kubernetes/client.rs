//! A client that leaves repeating to its caller.

use std::{path::PathBuf, time::Duration};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// Which API server, and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// The kubeconfig file; unset: `KUBECONFIG`, `~/.kube/config`, or the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; unset: the current one.
    pub context: Option<String>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig cannot be used.
    #[error("failed to load {what}: {source}")]
    Kubeconfig {
        /// Which one.
        what: String,
        /// Why.
        source: Box<kube::config::KubeconfigError>,
    },
    /// Neither a kubeconfig nor a service account was found.
    #[error("failed to find an API server: {0}; give --kubeconfig, set KUBECONFIG, or run in a cluster")]
    Inferred(#[from] Box<kube::config::InferConfigError>),
    /// The configuration makes no client. The words of credential plugins are kept back.
    #[error("failed to make a client of the API server: {0}")]
    Client(String),
}

/// A client without retries (the callers repeat themselves, once they have looked again) and with timeouts on
/// everything: none is set by default. Its default namespace is that of the context.
pub async fn client(options: &ClientOptions) -> Result<Client, ClientError> {
    Ok(client_and_host(options).await?.0)
}

/// The same, with the host of the API server.
pub async fn client_and_host(options: &ClientOptions) -> Result<(Client, Option<String>), ClientError> {
    let mut config = config(options).await?;
    let host = config.cluster_url.host().map(|host| host.trim_matches(['[', ']']).to_owned());
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.write_timeout = Some(Duration::from_secs(10));
    // Longer than the silence that a watch bears; the last resort should somebody forget a deadline.
    config.read_timeout = Some(Duration::from_mins(4));
    config.reset_reader_on_write = true;
    let client = Client::try_from(config).map_err(|error| {
        let words = match error {
            kube::Error::Auth(_) => "the user of the context cannot be used".to_owned(),
            other => other.to_string(),
        };
        ClientError::Client(words)
    })?;
    Ok((client, host))
}

async fn config(options: &ClientOptions) -> Result<Config, ClientError> {
    let failed = |what: String| move |source| ClientError::Kubeconfig { what, source: Box::new(source) };
    let what = match (&options.kubeconfig, &options.context) {
        (None, None) => return Config::infer().await.map_err(|error| ClientError::Inferred(Box::new(error))),
        (Some(path), _) => format!("kubeconfig {}", path.display()),
        (None, Some(context)) => format!("context {context} of the kubeconfig"),
    };
    let kubeconfig = match &options.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let chosen = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    let kubeconfig = kubeconfig.map_err(failed(what.clone()))?;
    Config::from_custom_kubeconfig(kubeconfig, &chosen).await.map_err(failed(what))
}
