//! How far a planned step is, and which changes of that are legal.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Step;
use crate::model::NodeName;

/// A planned step and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Steps of one stage run side by side on different nodes; a stage waits for the one before it.
    pub stage: u16,
    /// The node that carries it out.
    pub node: NodeName,
    /// What it does.
    pub step: Step,
    /// How far it is.
    #[serde(default)]
    pub status: Status,
    /// When it began, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// Since when its node waits for other deployments' steps before it begins, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<String>,
    /// When it last changed after that, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How often it was tried in vain since it is owed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    /// What it noted for later steps or its undo (volume → snapshot, image → id).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub output: BTreeMap<String, String>,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not begun.
    #[default]
    Pending,
    /// Announced, and perhaps carried out.
    Running,
    /// Carried out, its result checked.
    Done,
    /// Tried and failed; it may have done a part.
    Failed,
    /// Being undone.
    Undoing,
    /// Undone.
    Undone,
    /// Could not be undone.
    Stuck,
    /// Not needed: the comparison found nothing to change.
    Skipped,
    /// Left to a node that is away; it does so when it is back.
    Owed,
}

impl Status {
    /// Whether going forward still has to deal with it.
    pub fn is_open(self) -> bool {
        matches!(self, Status::Pending | Status::Running)
    }

    /// Whether it ended, one way or another.
    pub fn is_over(self) -> bool {
        !matches!(self, Status::Pending | Status::Running | Status::Undoing)
    }

    /// Whether going backward still has to deal with it.
    pub fn is_to_undo(self) -> bool {
        matches!(self, Status::Running | Status::Done | Status::Failed | Status::Undoing)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Pending => "pending",
            Status::Running => "running",
            Status::Done => "done",
            Status::Failed => "failed",
            Status::Undoing => "undoing",
            Status::Undone => "undone",
            Status::Stuck => "stuck",
            Status::Skipped => "skipped",
            Status::Owed => "owed",
        })
    }
}

/// What happened to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// It is about to act.
    Running,
    /// It acted, with these notes.
    Done(BTreeMap<String, String>),
    /// It failed, for this reason.
    Failed(String),
    /// Its undo is about to act.
    Undoing,
    /// Its undo acted.
    Undone,
    /// Its undo failed for good, for this reason.
    Stuck(String),
    /// It is not needed.
    Skipped,
    /// Its node is away, for this reason: it, or its undo, is left to that node.
    Owed(String),
}

/// A mark that a step's status does not allow: a bug or a record edited by hand.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Illegal {
    /// The record has no such step.
    #[error("the deployment has no step {0}")]
    NoSuchStep(usize),
    /// The status does not lead there.
    #[error("a step that is {from} can't become {to}")]
    Transition {
        /// What it is.
        from: Status,
        /// What it was to become.
        to: Status,
    },
}

impl StepRecord {
    /// A step that has not begun.
    pub fn new(stage: u16, node: NodeName, step: Step) -> Self {
        Self {
            stage,
            node,
            step,
            status: Status::Pending,
            started_at: None,
            queued_at: None,
            ended_at: None,
            error: None,
            tries: None,
            output: BTreeMap::new(),
        }
    }

    /// Applies a mark if the status allows it. Announcing twice is legal: that is a restarted agent's resume.
    pub fn mark(&mut self, mark: &Mark, at: &str) -> Result<(), Illegal> {
        let to = match mark {
            Mark::Running => Status::Running,
            Mark::Done(_) => Status::Done,
            Mark::Failed(_) => Status::Failed,
            Mark::Undoing => Status::Undoing,
            Mark::Undone => Status::Undone,
            Mark::Stuck(_) => Status::Stuck,
            Mark::Skipped => Status::Skipped,
            Mark::Owed(_) => Status::Owed,
        };
        if !self.status.leads_to(to) {
            return Err(Illegal::Transition { from: self.status, to });
        }
        self.status = to;
        match mark {
            Mark::Running => {
                self.started_at = Some(self.started_at.take().unwrap_or_else(|| at.to_owned()))
            }
            Mark::Done(output) => self.output.clone_from(output),
            Mark::Failed(why) | Mark::Stuck(why) => self.error = Some(why.clone()),
            Mark::Owed(why) => {
                self.error.get_or_insert_with(|| why.clone());
            }
            Mark::Undoing | Mark::Undone | Mark::Skipped => {}
        }
        if to != Status::Running {
            self.ended_at = Some(at.to_owned());
        }
        Ok(())
    }
}

impl Status {
    fn leads_to(self, to: Status) -> bool {
        use Status::{Done, Failed, Owed, Pending, Running, Skipped, Stuck, Undoing, Undone};
        match self {
            Pending => matches!(to, Running | Failed | Skipped | Owed),
            Running => matches!(to, Running | Done | Failed | Undoing | Stuck | Owed),
            Done | Failed => matches!(to, Undoing | Stuck | Owed),
            Undoing => matches!(to, Undoing | Undone | Stuck | Owed),
            // A debt is paid by doing or by undoing.
            Owed => matches!(to, Done | Undone),
            Undone | Stuck | Skipped => false,
        }
    }
}
