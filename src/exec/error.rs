//! Why a deployment can't go on here, and why a step failed.

use std::error::Error;
use std::time::Duration;

use crate::consul::ConsulError;
use crate::model::deployment::Illegal;
use crate::records::{Contended, ReadError, RecordError};

use super::journal::JournalError;

/// The work on a deployment has to stop on this node, or be tried again later.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// Consul does not answer or refuses.
    #[error("Consul")]
    Consul(#[from] ConsulError),
    /// The node's own memory.
    #[error("the node's journal")]
    Journal(#[from] JournalError),
    /// What is in KV is no record, or one of a newer build.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A record that is gone.
    #[error("{0} is gone")]
    Gone(String),
    /// Too many others wrote the same key at the same time.
    #[error(transparent)]
    Contended(#[from] Contended),
    /// A change that the protocol does not allow.
    #[error("the record does not allow it")]
    Illegal(#[from] Illegal),
}

impl From<ReadError> for ExecError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Consul(error) => Self::Consul(error),
            ReadError::Record(error) => Self::Record(error),
        }
    }
}

/// Why a step failed: one line for the record, with its causes.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A seam failed.
    #[error("{0}")]
    Failed(String),
    /// What was found breaks a rule; the message says which and where.
    #[error("{}", .0.join("; "))]
    Refused(Vec<String>),
    /// It took too long.
    #[error("took longer than {}", seconds(.0))]
    TimedOut(Duration),
    /// The lease or the record changed underneath.
    #[error("{0}")]
    Lost(String),
    /// Consul did not answer: the same may succeed once it has a leader again.
    #[error("{0}")]
    Away(String),
}

fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs_f32())
}

impl StepError {
    /// A failure with its causes in one line.
    pub(super) fn from_error(error: &(dyn Error + 'static)) -> Self {
        let text = crate::error::chain(error);
        let mut cause = Some(error);
        while let Some(error) = cause {
            if error.downcast_ref::<ConsulError>().is_some_and(ConsulError::is_transient) {
                return Self::Away(text);
            }
            cause = error.source();
        }
        Self::Failed(text)
    }
}
