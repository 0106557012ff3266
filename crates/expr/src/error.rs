//! What goes wrong, in the words of expr-lang.

/// The expression is not right, whatever the result will be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CompileError {
    message: String,
    at: usize,
}

impl CompileError {
    pub(crate) fn new(message: impl Into<String>, at: usize) -> Self {
        Self { message: message.into(), at }
    }

    /// The message alone, which is what Argo Rollouts shows.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Characters of the source before the place that the error is about.
    pub fn position(&self) -> usize {
        self.at
    }
}

/// The evaluation of a right expression failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// What Go would have said.
    #[error("{0}")]
    Failed(String),
    /// The expression did more work than its [`crate::Budget`] allows.
    #[error("step budget exceeded")]
    Steps,
    /// The expression used more memory than its [`crate::Budget`] allows. The words are expr-lang's.
    #[error("memory budget exceeded")]
    Memory,
    /// A value nests lists and maps deeper than [`crate::MAX_DEPTH`]. The words are expr-lang's.
    #[error("recursion depth exceeded")]
    Depth,
}

impl From<String> for EvalError {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}
