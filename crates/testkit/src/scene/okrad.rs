//! okrad as a process of a scene; one, or two that contend for the lease.

use std::{collections::BTreeMap, path::PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use okra_judge::record::{Entry, Event};

use super::{Scene, WITHIN, verdict::WRITES};
use crate::process::{Process, Spec, tail};

const FIRST: &str = "okrad";

/// The Lease that okrads contend for.
const LEASE: &str = "okra";

/// Ways that an okrad takes to the others, where they are not the straight ones.
#[derive(Clone, Debug, Default)]
pub struct Detour {
    /// The kubeconfig that it is given in place of its user's.
    pub kubeconfig: Option<PathBuf>,
    /// The URL of the AWS API.
    pub aws: Option<String>,
}

/// The okrads of a scene.
#[derive(Default)]
pub(super) struct Okrads {
    running: BTreeMap<String, Process>,
    detours: BTreeMap<String, Detour>,
    starts: u32,
}

impl Scene {
    /// Starts okrad.
    pub fn start_okrad(&mut self) {
        self.start_okrad_as(FIRST);
    }

    /// Starts an okrad that calls the API server as this user, and goes by that name in the Lease.
    pub fn start_okrad_as(&mut self, user: &str) {
        assert!(!self.okrads.running.contains_key(user), "{user} runs already");
        self.okrads.starts += 1;
        let mut spec = Spec::new(user, &self.program, self.log_of(self.okrads.starts))
            .args(["--namespace", &self.namespace, "--health-addr", "127.0.0.1:0", "--metrics-addr", "127.0.0.1:0"])
            .args(["--installation-id", &self.namespace, "--lease-duration", self.lease, "--aws-settle", self.settle])
            .args(["--drift-interval", self.drift_interval, "--log-format", "text"])
            .args(["--aws-rate-limits", self.rate_limits])
            .args(&self.more_args)
            .arg("--record")
            .arg(self.decisions_of(user))
            .env("POD_NAMESPACE", &self.namespace)
            .env("POD_NAME", user)
            .env("RUST_BACKTRACE", "1");
        for namespace in &self.also {
            spec = spec.args(["--namespace", namespace]);
        }
        for (key, value) in self.front.env(&self.caller(user)) {
            spec = spec.env(key, value);
        }
        let Detour { kubeconfig, aws } = self.okrads.detours.get(user).cloned().unwrap_or_default();
        spec = spec.arg("--kubeconfig").arg(kubeconfig.unwrap_or_else(|| self.server.kubeconfig(user)));
        if let Some(aws) = aws {
            spec = spec.env("AWS_ENDPOINT_URL", aws);
        }
        self.front.note(format!("{user} is started"));
        self.okrads.running.insert(user.to_owned(), spec.start().expect("okrad starts"));
    }

    /// Lets this user's okrads go by a detour from their next start on.
    pub fn detour_okrad_as(&mut self, user: &str, detour: Detour) {
        self.okrads.detours.insert(user.to_owned(), detour);
    }

    /// Who this user's okrad is at the front. The first has the bare name of the scene.
    pub fn caller(&self, user: &str) -> String {
        if user == FIRST { self.namespace.clone() } else { format!("{}.{user}", self.namespace) }
    }

    /// Whether a caller at the front is one of this scene's okrads.
    pub(super) fn is_okrad(&self, caller: &str) -> bool {
        caller.strip_prefix(&self.namespace).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// Where this user's okrads record their decisions.
    pub(super) fn decisions_of(&self, user: &str) -> PathBuf {
        self.dir.path().join(format!("{user}.decisions"))
    }

    /// The logs of every okrad that was started.
    pub(super) fn logs(&self) -> Vec<PathBuf> {
        (1..=self.okrads.starts).map(|start| self.log_of(start)).collect()
    }

    /// Whether this user's okrads reach the API server by way of something that may lose answers.
    pub(super) fn may_lose_answers(&self, user: &str) -> bool {
        self.okrads.detours.get(user).is_some_and(|detour| detour.kubeconfig.is_some())
    }

    fn log_of(&self, start: u32) -> PathBuf {
        self.dir.path().join(format!("okrad-{start}.log"))
    }

    fn okrad(&mut self, user: &str) -> &mut Process {
        self.okrads.running.get_mut(user).expect("okrad runs")
    }

    /// The process of the first okrad, for its log and what it costs.
    pub fn okrad_process(&self) -> &Process {
        self.okrads.running.get(FIRST).expect("okrad runs")
    }

    /// Ends okrad at once, as a crash does.
    pub fn kill_okrad(&mut self) {
        self.kill_okrad_as(FIRST);
    }

    /// Ends this user's okrad at once.
    pub fn kill_okrad_as(&mut self, user: &str) {
        let mut okrad = self.okrads.running.remove(user).expect("okrad runs");
        self.front.note(format!("{user} is killed"));
        okrad.kill();
    }

    /// Asks okrad to stop and waits for it; its exit code.
    pub async fn stop_okrad(&mut self) -> i32 {
        self.stop_okrad_as(FIRST).await
    }

    /// Asks this user's okrad to stop and waits for it; its exit code.
    pub async fn stop_okrad_as(&mut self, user: &str) -> i32 {
        self.signal_okrad_as(user, "TERM");
        self.okrad_ended_as(user).await
    }

    /// Sends a signal (`TERM`, `STOP`, `CONT`) to this user's okrad. It is delivered a moment later.
    pub fn signal_okrad_as(&mut self, user: &str, signal: &str) {
        self.front.note(format!("{user} gets {signal}"));
        self.okrad(user).signal(signal).expect("okrad can be signalled");
    }

    /// Waits until this user's okrad has ended; its exit code.
    pub async fn okrad_ended_as(&mut self, user: &str) -> i32 {
        let mut okrad = self.okrads.running.remove(user).expect("okrad runs");
        let code = okrad.wait(WITHIN).await.expect("okrad ends");
        self.front.note(format!("{user} ended with {code}"));
        code
    }

    /// Starts every okrad again that has ended by itself, as a kubelet does; their users.
    pub fn revive_okrads(&mut self) -> Vec<String> {
        let running = &mut self.okrads.running;
        let ended: Vec<(String, i32)> =
            running.iter_mut().filter_map(|(user, okrad)| Some((user.clone(), okrad.exit_code()?))).collect();
        for (user, code) in &ended {
            self.okrads.running.remove(user);
            self.front.note(format!("{user} ended with {code}"));
            self.start_okrad_as(user);
        }
        ended.into_iter().map(|(user, _)| user).collect()
    }

    /// Waits until this user's okrad has logged these words.
    pub async fn until_logged(&self, user: &str, words: &str) {
        let log = self.okrads.running.get(user).expect("okrad runs").log().to_owned();
        let waiting = async {
            while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains(words)) {
                tokio::time::sleep(super::wait::LOOK_AGAIN).await;
            }
        };
        let waited = tokio::time::timeout(WITHIN, waiting).await;
        assert!(waited.is_ok(), "{user} does not say {words:?}:\n{}", tail(&log));
    }

    /// Waits until this user's okrad has the lease.
    pub async fn until_leads(&self, user: &str) {
        let start = format!("{user}_");
        let holds = |lease: &Lease| {
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
            holder.is_some_and(|holder| holder.starts_with(&start))
        };
        self.until_object::<Lease>(LEASE, &format!("{user} leads"), holds).await;
    }

    /// When this user's okrads renewed, took or gave up the lease so far, by the API server's audit log.
    pub fn lease_writes(&self, user: &str) -> Vec<Timestamp> {
        let own = self
            .server
            .audit_of(std::slice::from_ref(&self.namespace))
            .into_iter()
            .filter(|event| event.user == user && event.namespace == self.namespace && event.resource == "leases");
        own.filter(|event| event.verb != "get" && event.code < 300).map(|event| event.answered_at).collect()
    }

    /// What this user's okrads asked of the front, refused or not.
    pub fn calls_as(&self, user: &str) -> Vec<Entry> {
        let caller = self.caller(user);
        let own = |entry: &Entry| matches!(&entry.event, Event::Call(call) if call.caller == caller);
        self.front.record().entries.into_iter().filter(own).collect()
    }

    /// Those of [`Scene::calls_as`] that change a load balancer.
    pub fn writes_as(&self, user: &str) -> Vec<Entry> {
        let writes = |entry: &Entry| match &entry.event {
            Event::Call(call) => WRITES.contains(&call.operation.as_str()),
            _ => false,
        };
        self.calls_as(user).into_iter().filter(writes).collect()
    }

    /// When the record noted this for the last time.
    pub fn noted(&self, words: &str) -> Timestamp {
        let record = self.front.record();
        let noted =
            record.entries.iter().rev().find(|entry| matches!(&entry.event, Event::Note { text } if text == words));
        noted.unwrap_or_else(|| panic!("{words:?} is not noted:\n{}", self.told(60))).at
    }

    /// Panics when an okrad that was not stopped has ended by itself.
    pub fn assert_okrad_runs(&mut self) {
        let ended: Vec<String> = self
            .okrads
            .running
            .iter_mut()
            .filter_map(|(user, okrad)| Some((user, okrad.exit_code()?)))
            .map(|(user, code)| format!("{user} ended with {code}"))
            .collect();
        assert!(ended.is_empty(), "{}\n{}", ended.join(", "), self.log());
    }

    /// The end of the logs of every okrad that runs, or of the last one that ran.
    pub fn log(&self) -> String {
        if self.okrads.running.is_empty() && self.okrads.starts > 0 {
            return tail(&self.log_of(self.okrads.starts));
        }
        self.okrads.running.values().map(Process::log_tail).collect::<Vec<_>>().join("\n")
    }
}
