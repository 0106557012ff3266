//! The command lines of etcd, kube-apiserver and kube-controller-manager.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::{ApiServer, must_be_stopped, users};
use crate::process::{Spec, tool};

/// The path of a program that `testing/tools/build.sh` knows (`etcd`, `kube-apiserver`, `kubectl`,
/// `kube-controller-manager`). It is built when it is not there yet; `make tools` does that ahead of the tests.
pub async fn program(name: &str) -> Result<PathBuf> {
    Ok(tool("build.sh", &[name]).await?.join(name))
}

/// Whether the person who runs the tests wants to look at the folders afterwards.
pub(super) fn keep() -> bool {
    std::env::var_os("OKRA_TESTKIT_KEEP").is_some_and(|value| !value.is_empty())
}

/// Writes the audit policy; in JSON, which is YAML too.
pub(super) fn write_policy(dir: &Path, bodies: bool) -> Result<()> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            // What the server asks itself is most of the log and says nothing about what is tested.
            {"level": "None", "users": ["system:apiserver"]},
            {"level": "None", "nonResourceURLs": ["/readyz*", "/livez*", "/healthz*"]},
            // What is judged: who wrote which version of what from which.
            {
                "level": "RequestResponse",
                "verbs": ["create", "update", "patch", "delete"],
                "omitManagedFields": true,
                "resources": [
                    {"group": "okra.mumo.co"},
                    {"group": "argoproj.io"},
                    {"group": "coordination.k8s.io", "resources": ["leases"]},
                    {"group": "events.k8s.io"},
                ],
            },
            {"level": if bodies { "RequestResponse" } else { "Metadata" }},
        ],
    });
    std::fs::write(dir.join("audit-policy.yaml"), policy.to_string()).context("failed to write the audit policy")
}

impl ApiServer {
    /// A program of this server: logs in its folder, which goes with the last of them when the test process dies.
    fn spec(&self, name: &str, program: &Path) -> Spec {
        let spec = Spec::new(name, program, self.dir().join(format!("{name}.log"))).dir(self.dir());
        if keep() { spec } else { spec.remove_after_death(self.dir()) }
    }

    pub(super) fn launch_etcd(&self) -> Result<()> {
        let client = format!("http://127.0.0.1:{}", self.ports.etcd);
        let peer = format!("http://127.0.0.1:{}", self.ports.peer);
        let spec = self
            .spec("etcd", &self.programs.etcd)
            .args(["--data-dir", "etcd", "--unsafe-no-fsync", "--log-level", "warn"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")]);
        let mut processes = self.processes.lock();
        must_be_stopped(&mut processes.etcd)?;
        processes.etcd = Some(spec.start()?);
        Ok(())
    }

    pub(super) fn launch_api(&self) -> Result<()> {
        let dir = self.dir();
        let spec = self
            .spec("kube-apiserver", &self.programs.api)
            .args(["--etcd-servers", &format!("http://127.0.0.1:{}", self.ports.etcd)])
            .args(["--bind-address", "127.0.0.1", "--secure-port", &self.ports.api.to_string()])
            // Else the server looks for a default route, which a machine without a network does not have.
            .args(["--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none"])
            .arg("--cert-dir")
            .arg(dir.join("certs"))
            // It makes its serving key before it reads these, so that key serves for service accounts too.
            .arg("--service-account-key-file")
            .arg(service_account_key(dir))
            .arg("--service-account-signing-key-file")
            .arg(service_account_key(dir))
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .args(["--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.0.0.0/24"])
            .args(["--disable-admission-plugins", "ServiceAccount", "--allow-privileged"])
            .arg("--token-auth-file")
            .arg(users::token_path(dir))
            .arg("--audit-policy-file")
            .arg(dir.join("audit-policy.yaml"))
            .arg("--audit-log-path")
            .arg(dir.join("audit.log"))
            // In megabytes; the default begins a new file at 100, and `audit` reads one file.
            .args(["--audit-log-maxsize", "4096"])
            .args(&self.options.args);
        let mut processes = self.processes.lock();
        must_be_stopped(&mut processes.api)?;
        processes.api = Some(spec.start()?);
        Ok(())
    }

    pub(super) async fn launch_controller_manager(&self, controllers: &[&str]) -> Result<()> {
        let path = program("kube-controller-manager").await?;
        let spec = self
            .spec("kube-controller-manager", &path)
            .arg("--kubeconfig")
            .arg(self.kubeconfig("admin"))
            .args(["--leader-elect=false", "--bind-address", "127.0.0.1", "--secure-port", "0"])
            .arg("--service-account-private-key-file")
            .arg(service_account_key(self.dir()))
            .arg(format!("--controllers={}", controllers.join(",")));
        let mut processes = self.processes.lock();
        must_be_stopped(&mut processes.controller_manager)?;
        processes.controller_manager = Some(spec.start()?);
        Ok(())
    }
}

fn service_account_key(dir: &Path) -> PathBuf {
    dir.join("certs/apiserver.key")
}
