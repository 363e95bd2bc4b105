//! What the outermost layer makes of an error: its text with causes, a hint and an exit code.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

/// What kind of failure a command ended with; each has an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The deployment was refused, undone or is stuck: 1.
    Failed,
    /// Wrong arguments or settings: 2 (as clap's own).
    Usage,
    /// Consul, Docker or a node does not answer: 3.
    Unavailable,
    /// What was asked for does not exist: 4.
    NotFound,
}

/// An error as a command reports it.
#[derive(Debug)]
pub struct CommandFailure {
    /// Decides the exit code.
    pub kind: ErrorKind,
    /// What went wrong, causes included.
    pub text: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

impl CommandFailure {
    /// A failure told in plain words.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), hint: None }
    }

    /// A failure with the text of an error and of its causes.
    pub fn from_error(kind: ErrorKind, error: &dyn Error) -> Self {
        Self::new(kind, chain(error))
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// 1 failed, 2 usage, 3 unavailable, 4 not found.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            ErrorKind::Failed => 1,
            ErrorKind::Usage => 2,
            ErrorKind::Unavailable => 3,
            ErrorKind::NotFound => 4,
        })
    }
}

/// An error and its causes in one line: `what: why: why`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
