//! What went wrong, in words for a person, and as an exit code for a script.

use std::{fmt, process::ExitCode};

use okra_api::RunPhase;
use okra_provider::BackendError;

/// How a command ended. The numbers are public interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// It did what was asked.
    Ok = 0,
    /// It failed, or the condition that was asked for does not hold.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// A fault of this program.
    Internal = 3,
    /// The verdict of an analysis is Inconclusive.
    Inconclusive = 4,
    /// The verdict of an analysis is Error: it could not be measured.
    Unmeasured = 5,
    /// A person ended it: 128 and the number of SIGINT, as shells have it.
    Interrupted = 130,
}

impl ExitStatus {
    /// What tells the verdict of an analysis. One without an end counts as failed.
    pub fn of_verdict(phase: RunPhase) -> Self {
        match phase {
            RunPhase::Successful => Self::Ok,
            RunPhase::Inconclusive => Self::Inconclusive,
            RunPhase::Error => Self::Unmeasured,
            RunPhase::Failed | RunPhase::Pending | RunPhase::Running => Self::Failed,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// Whose fault a failure is; it decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The world's: something is missing, refused or out of reach.
    Failed,
    /// The caller's.
    Usage,
    /// This program's.
    Internal,
}

/// A failure, told as "what, why, what to do".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// Whose fault it is.
    pub kind: ErrorKind,
    /// What failed: "failed to read Cell shop/web".
    pub what: String,
    /// Why; empty when `what` says it all.
    pub why: String,
    /// What to do about it; empty when there is nothing to say.
    pub hint: String,
}

impl CommandError {
    /// Something is missing, refused or out of reach.
    pub fn failed(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { kind: ErrorKind::Failed, what: what.into(), why: why.to_string(), hint: String::new() }
    }

    /// The command line makes no sense.
    pub fn usage(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { kind: ErrorKind::Usage, ..Self::failed(what, why) }
    }

    /// A fault of this program.
    pub fn internal(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { kind: ErrorKind::Internal, ..Self::failed(what, why) }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// A failed call of the store.
    pub fn store(what: impl Into<String>, error: &BackendError) -> Self {
        let hint = match error {
            BackendError::NotFound { .. } => "list what is there with `get cells -A`; choose a namespace with -n",
            BackendError::Conflict { .. } => "look at it again and repeat the command",
            BackendError::Denied { .. } => "ask for the permission, or choose another user with --context",
            BackendError::Throttled { .. } | BackendError::Unreachable(_) => {
                "check the store with `get cells`; choose another with --store, --kubeconfig or --context"
            }
            BackendError::AlreadyExists { .. }
            | BackendError::Invalid { .. }
            | BackendError::Absent(_)
            | BackendError::Unsupported(_) => "",
        };
        Self::failed(what, error).hint(hint)
    }

    /// The exit code that tells it.
    pub fn status(&self) -> ExitStatus {
        match self.kind {
            ErrorKind::Failed => ExitStatus::Failed,
            ErrorKind::Usage => ExitStatus::Usage,
            ErrorKind::Internal => ExitStatus::Internal,
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.why.is_empty() {
            write!(f, ": {}", self.why)?;
        }
        if !self.hint.is_empty() {
            write!(f, "\n  {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for CommandError {}

#[cfg(test)]
mod tests {
    use okra_provider::Key;

    use super::*;

    #[test]
    fn an_error_says_what_why_and_what_to_do() {
        let missing = BackendError::NotFound { kind: "Cell".to_owned(), key: Key::new("shop", "web") };
        let error = CommandError::store("failed to read Cell shop/web", &missing);
        assert_eq!(
            error.to_string(),
            "failed to read Cell shop/web: Cell shop/web does not exist\n  \
             list what is there with `get cells -A`; choose a namespace with -n"
        );
        assert_eq!(error.status(), ExitStatus::Failed);
        assert_eq!(CommandError::usage("a", "").to_string(), "a");
        assert_eq!(CommandError::usage("a", "b").status() as u8, 2);
        assert_eq!(CommandError::internal("a", "b").status() as u8, 3);
    }

    #[test]
    fn only_a_successful_verdict_is_0() {
        use RunPhase::{Error, Failed, Inconclusive, Pending, Running, Successful};
        let code = |phase| ExitStatus::of_verdict(phase) as u8;
        assert_eq!([Successful, Failed, Inconclusive, Error].map(code), [0, 1, 4, 5]);
        assert_eq!([Pending, Running].map(code), [1, 1]);
    }
}
