//! okrad as a process of a scene; one, or two that contend for the lease.

use super::{Scene, WITHIN};
use crate::process::{Process, Spec, tail};

const FIRST: &str = "okrad";

impl Scene {
    /// Starts okrad.
    pub fn start_okrad(&mut self) {
        self.start_okrad_as(FIRST);
    }

    /// Starts an okrad that calls the API server as this user, and goes by that name in the Lease.
    pub fn start_okrad_as(&mut self, user: &str) {
        assert!(!self.okrads.contains_key(user), "{user} runs already");
        self.starts += 1;
        let mut spec = Spec::new(user, &self.program, self.log_of(self.starts))
            .args(["--namespace", &self.namespace, "--health-addr", "127.0.0.1:0", "--metrics-addr", "127.0.0.1:0"])
            .args(["--installation-id", &self.namespace, "--lease-duration", self.lease, "--aws-settle", "500ms"])
            .args(["--drift-interval", "2s", "--log-format", "text"])
            .arg("--kubeconfig")
            .arg(self.server.kubeconfig(user))
            .env("POD_NAMESPACE", &self.namespace)
            .env("POD_NAME", user)
            .env("RUST_BACKTRACE", "1");
        for namespace in &self.also {
            spec = spec.args(["--namespace", namespace]);
        }
        for (key, value) in self.front.env(&self.namespace) {
            spec = spec.env(key, value);
        }
        self.okrads.insert(user.to_owned(), spec.start().expect("okrad starts"));
    }

    fn log_of(&self, start: u32) -> std::path::PathBuf {
        self.dir.path().join(format!("okrad-{start}.log"))
    }

    /// Ends okrad at once, as a crash does.
    pub fn kill_okrad(&mut self) {
        self.kill_okrad_as(FIRST);
    }

    /// Ends this user's okrad at once.
    pub fn kill_okrad_as(&mut self, user: &str) {
        let mut okrad = self.okrads.remove(user).expect("okrad runs");
        self.front.note(format!("{user} is killed"));
        okrad.kill();
    }

    /// Asks okrad to stop and waits for it; its exit code.
    pub async fn stop_okrad(&mut self) -> i32 {
        let mut okrad = self.okrads.remove(FIRST).expect("okrad runs");
        okrad.signal("TERM").expect("okrad can be signalled");
        okrad.wait(WITHIN).await.expect("okrad stops")
    }

    /// Panics when an okrad that was not stopped has ended by itself.
    pub fn assert_okrad_runs(&mut self) {
        let ended: Vec<String> = self
            .okrads
            .iter_mut()
            .filter_map(|(user, okrad)| Some((user, okrad.exit_code()?)))
            .map(|(user, code)| format!("{user} ended with {code}"))
            .collect();
        assert!(ended.is_empty(), "{}\n{}", ended.join(", "), self.log());
    }

    /// The end of the logs of every okrad that runs, or of the last one that ran.
    pub fn log(&self) -> String {
        if self.okrads.is_empty() && self.starts > 0 {
            return tail(&self.log_of(self.starts));
        }
        self.okrads.values().map(Process::log_tail).collect::<Vec<_>>().join("\n")
    }
}
