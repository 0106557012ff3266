//! Programs that a test starts, and that never outlive it.
//!
//! Each runs under a small shell that holds a pipe from the test. When the test drops the [`Process`], or dies in any
//! way (a panic, `kill -9`), the pipe closes and the shell kills the program. A pipe is used because the kernel's own
//! "die with my parent" flag needs `unsafe` code and exists on Linux only.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::time::Instant;

/// How often a condition on a process is looked at again.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// How much of the end of a log file an error repeats, in bytes.
const TAIL_BYTES: u64 = 4096;

const SUPERVISOR: &str = include_str!("supervise.sh");

/// What to start.
#[derive(Clone, Debug)]
pub struct Spec {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    env_remove: Vec<OsString>,
    dir: Option<PathBuf>,
    log: PathBuf,
    remove_after_death: Option<PathBuf>,
}

impl Spec {
    /// A program called `name` in messages, whose standard output and error are appended to the file `log`.
    pub fn new(name: &str, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            env_remove: Vec::new(),
            dir: None,
            log: log.into(),
            remove_after_death: None,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable; the others are inherited.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Takes an inherited environment variable away.
    #[must_use]
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.env_remove.push(key.as_ref().to_owned());
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Removes this folder when the test process dies without dropping the [`Process`], as happens to everything
    /// that lives in a `static`.
    #[must_use]
    pub fn remove_after_death(mut self, folder: impl Into<PathBuf>) -> Self {
        self.remove_after_death = Some(folder.into());
        self
    }

    /// Starts the program. Errors when the shell cannot be started; a program that is missing or cannot be executed
    /// shows as an exit with code 126 or 127.
    pub fn start(&self) -> Result<Process> {
        // Here, so that it can be read at once and a folder that is missing has a clear error.
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        log.with_context(|| format!("failed to open {}, the log of {}", self.log.display(), self.name))?;
        let clean = self.remove_after_death.as_deref().map_or(OsStr::new(""), Path::as_os_str);
        let mut command = Command::new("sh");
        command.arg("-c").arg(SUPERVISOR).arg("okra-supervise").arg(&self.log).arg(clean);
        command.arg(&self.program).args(&self.args);
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        for key in &self.env_remove {
            command.env_remove(key);
        }
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        // A group of its own: Ctrl-C in the terminal reaches the test, and the pipe tells the program.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut supervisor = command.spawn().with_context(|| format!("failed to start {}", self.name))?;
        let mut line = String::new();
        if let Some(stdout) = supervisor.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .with_context(|| format!("failed to read the process id of {}", self.name))?;
        }
        let mut process = Process { name: self.name.clone(), log: self.log.clone(), supervisor, pid: 0, code: None };
        process.pid = line.trim().parse().with_context(|| {
            format!(
                "failed to start {}: the supervising shell said {:?} instead of a process id",
                self.name,
                line.trim()
            )
        })?;
        Ok(process)
    }
}

/// A program that is killed when this is dropped, and when the test process dies.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    supervisor: Child,
    pid: u32,
    code: Option<i32>,
}

impl Process {
    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The program's process id (not the supervising shell's).
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file that holds the program's output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The exit code if the program has ended: its own, or 128 + N when signal N ended it.
    pub fn exit_code(&mut self) -> Option<i32> {
        if self.code.is_none()
            && let Ok(Some(status)) = self.supervisor.try_wait()
        {
            self.code = Some(status.code().unwrap_or(-1));
        }
        self.code
    }

    /// Whether the program has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.exit_code().is_none()
    }

    /// Waits until the program has ended and gives its exit code (see [`Process::exit_code`]). Errors with the tail
    /// of the log when it is still running after `timeout`.
    pub async fn wait(&mut self, timeout: Duration) -> Result<i32> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(code) = self.exit_code() {
                return Ok(code);
            }
            if Instant::now() >= deadline {
                bail!("{} is still running after {timeout:?}; end of its log:\n{}", self.name, self.log_tail());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends a signal by its name without `SIG`: `TERM`, `INT`, `HUP`, `STOP`, `CONT`, `USR1`, `KILL`. It is
    /// delivered a moment later. Errors when the program has ended.
    pub fn signal(&mut self, name: &str) -> Result<()> {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
            bail!("failed to signal {}: {name:?} is no name of a signal", self.name);
        }
        if let Some(code) = self.exit_code() {
            bail!("failed to signal {}: it has ended with code {code}", self.name);
        }
        let Some(stdin) = self.supervisor.stdin.as_mut() else {
            bail!("failed to signal {}: its pipe is closed", self.name);
        };
        writeln!(stdin, "{name}").with_context(|| format!("failed to signal {}", self.name))
    }

    /// Kills the program (signal 9) and waits until it is gone.
    pub fn kill(&mut self) {
        if self.is_running() {
            // The error means that the program ended in this moment, which is what is wanted.
            let _ended = self.signal("KILL");
            // `wait` closes the pipe first, and a closed pipe means that this test is dead.
            let _open_until_gone = self.supervisor.stdin.take();
            if let Ok(status) = self.supervisor.wait() {
                self.code = Some(status.code().unwrap_or(-1));
            }
        }
    }

    /// The end of the log, for messages.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A first build of kube-apiserver takes four minutes on two idle cores.
const TOOL_TIMEOUT: Duration = Duration::from_mins(30);

/// The path that a script of `testing/tools` prints. It gets what it names when that is not there yet; `make setup`
/// does so ahead of the tests.
pub(crate) async fn tool(script: &str, args: &[&str]) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing/tools").join(script);
    let mut command = tokio::process::Command::new("bash");
    command.arg(&path).args(args).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    let output = tokio::time::timeout(TOOL_TIMEOUT, command.output())
        .await
        .with_context(|| format!("failed to get {args:?} ready: {script} was not done after {TOOL_TIMEOUT:?}"))?
        .with_context(|| format!("failed to run {}", path.display()))?;
    ensure!(output.status.success(), "{script} {args:?} ended with {}; its messages are above", output.status);
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// The last 4 KiB of a file, or why it cannot be read.
pub(crate) fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("({} cannot be read: {error})", path.display()))
}

/// Ends the test that asked for something the rig cannot give.
#[track_caller]
pub(crate) fn must<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        #[expect(clippy::panic, reason = "the rig is used by tests only, and has told why by the error")]
        Err(error) => panic!("{error:#}"),
    }
}
