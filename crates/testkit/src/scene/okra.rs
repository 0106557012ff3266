//! `okra` as a person runs it in a scene.

use super::{Scene, WITHIN};

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it printed.
    pub out: String,
    /// What it said besides.
    pub err: String,
}

impl Scene {
    /// Runs okra with the rights of a person on Kubernetes, and okrad's on AWS. It is built beside okrad: `cargo build
    /// -p okra`, as `make test` does.
    pub async fn okra(&self, args: &[&str]) -> Ran {
        let program = self.program.with_file_name("okra");
        let mut command = tokio::process::Command::new(&program);
        command.args(args).args(["--namespace", &self.namespace, "--kubeconfig"]).arg(self.server.kubeconfig("okra"));
        command.env_clear().envs(self.front.env(&self.namespace)).kill_on_drop(true);
        let output = tokio::time::timeout(WITHIN, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("okra {args:?} does not end\n{}", self.told(30)));
        let output =
            output.unwrap_or_else(|error| panic!("{}: {error}: build it with cargo build -p okra", program.display()));
        let text = |bytes| String::from_utf8(bytes).expect("it prints text");
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}
