//! `tandem/deployments/{app name}/{deploy_id}`: what was asked, what each node has to do, and how far it is.
//!
//! The record is the journal that the nodes share: a step is marked `running` here before it acts.

mod debts;
mod decline;
mod progress;
mod stake;
mod step;
mod waits;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use progress::{Illegal, Mark, Status, StepRecord};
pub use step::Step;

use super::{AppRecord, DeployId, NodeName, Placement, Request, Role};

/// The version of the record's shape; a reader refuses a newer one.
pub const FORMAT: u32 = 1;

/// One deployment, from its acceptance to its outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// [`FORMAT`].
    pub format: u32,
    /// The Consul event's id.
    pub id: DeployId,
    /// What was asked.
    pub request: Request,
    /// Higher than that of every earlier deployment of the app.
    pub epoch: u64,
    /// When it was accepted, RFC 3339 in UTC.
    pub accepted_at: String,
    /// The node that wrote it down.
    pub accepted_by: NodeName,
    /// Where it stands.
    pub state: State,
    /// Whether the KV entry of the app has flipped to this deployment: from then on it only goes forward.
    #[serde(default)]
    pub committed: bool,
    /// Why it was refused or undone; the first failure, in one line.
    #[serde(default)]
    pub reason: Option<String>,
    /// How the pair was chosen, when the request left it open.
    #[serde(default)]
    pub choice: Option<String>,
    /// The app's KV entry when the deployment began: where the old roles come from.
    #[serde(default)]
    pub former: Option<AppRecord>,
    /// Of a migration, the KV entry of the app that the volumes come from.
    #[serde(default)]
    pub source: Option<AppRecord>,
    /// The pair to be; none for a destroy.
    #[serde(default)]
    pub placement: Option<Placement>,
    /// What the commit writes; filled in by the step that checks the new version.
    #[serde(default)]
    pub prepared: Option<AppRecord>,
    /// Old and new role of each node that has a part.
    #[serde(default)]
    pub transitions: BTreeMap<NodeName, Transition>,
    /// The plan with its progress, ordered by stage.
    #[serde(default)]
    pub steps: Vec<StepRecord>,
    /// What went wrong without changing the outcome.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// When the outcome was reached.
    #[serde(default)]
    pub finished_at: Option<String>,
}

/// Old and new role of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// The role before.
    pub from: Role,
    /// The role after.
    pub to: Role,
}

/// Where a deployment stands; the last five are outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Another deployment of the app runs; this one is next.
    Waiting,
    /// Steps are being carried out.
    Running,
    /// A step failed before the commit: what was done is being undone.
    Undoing,
    /// The new version serves, or the app is destroyed.
    Completed,
    /// It failed before anything but a checkout was touched.
    Refused,
    /// It failed and was undone: what was there before is there again.
    Undone,
    /// It failed and so did its undoing: an operator has to look.
    Stuck,
    /// A newer event for the app took its place while it waited.
    Superseded,
}

impl State {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        !matches!(self, State::Waiting | State::Running | State::Undoing)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::Waiting => "waiting",
            State::Running => "running",
            State::Undoing => "undoing",
            State::Completed => "completed",
            State::Refused => "refused",
            State::Undone => "undone",
            State::Stuck => "stuck",
            State::Superseded => "superseded",
        })
    }
}

/// What a node has to do next for a deployment; see [`Deployment::next`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Carry out the step with this index.
    Run(usize),
    /// Undo the step with this index.
    Undo(usize),
    /// Other nodes are at work.
    Wait,
    /// Every step has ended: the holder of the lease writes this outcome.
    Finish(State),
    /// The outcome is written.
    Over,
}

impl Deployment {
    /// What `node` has to do now. Pure: the same record gives every node the same view of the protocol.
    pub fn next(&self, node: &NodeName) -> Next {
        match self.state {
            State::Running => self.next_forward(node),
            State::Undoing => self.next_backward(node),
            State::Waiting => Next::Wait,
            State::Completed
            | State::Refused
            | State::Undone
            | State::Stuck
            | State::Superseded => Next::Over,
        }
    }

    fn next_forward(&self, node: &NodeName) -> Next {
        let Some(stage) = self.current_stage() else {
            return Next::Finish(State::Completed);
        };
        let mine = self
            .steps
            .iter()
            .position(|step| step.stage == stage && step.node == *node && step.status.is_open());
        mine.map_or(Next::Wait, Next::Run)
    }

    fn next_backward(&self, node: &NodeName) -> Next {
        let Some(stage) =
            self.steps.iter().filter(|s| s.status.is_to_undo()).map(|s| s.stage).max()
        else {
            return Next::Finish(self.outcome_of_undoing());
        };
        let mine = self.steps.iter().rposition(|step| {
            step.stage == stage && step.node == *node && step.status.is_to_undo()
        });
        mine.map_or(Next::Wait, Next::Undo)
    }

    /// The lowest stage with a step that has not ended.
    pub fn current_stage(&self) -> Option<u16> {
        self.steps.iter().filter(|step| step.status.is_open()).map(|step| step.stage).min()
    }

    fn outcome_of_undoing(&self) -> State {
        if self.steps.iter().any(|step| step.status == Status::Stuck) {
            return State::Stuck;
        }
        let touched = self.steps.iter().any(|s| s.started_at.is_some() && !s.step.is_harmless());
        if touched { State::Undone } else { State::Refused }
    }

    /// Marks a step, checking that the mark is legal, and follows up: a failure before the commit turns the
    /// deployment around; one after it is a warning. `at` is the time, RFC 3339.
    pub fn mark(&mut self, index: usize, mark: Mark, at: &str) -> Result<(), Illegal> {
        let committed = self.committed;
        let Some(step) = self.steps.get_mut(index) else {
            return Err(Illegal::NoSuchStep(index));
        };
        step.mark(&mark, at)?;
        let label = format!("{} on {}", step.step, step.node);
        let compared = step.step == Step::Compare;
        match mark {
            Mark::Failed(why) if committed => self.warnings.push(format!("{label}: {why}")),
            Mark::Failed(why) => {
                self.state = State::Undoing;
                self.reason.get_or_insert(format!("{label}: {why}"));
            }
            Mark::Stuck(why) => self.warnings.push(format!("undoing {label}: {why}")),
            Mark::Owed(why) => self.warnings.push(format!("{label} is left to it: {why}")),
            Mark::Done(output) if compared && output.is_empty() => self.spare_the_hand_off(at)?,
            Mark::Running | Mark::Done(_) | Mark::Undoing | Mark::Undone | Mark::Skipped => {}
        }
        Ok(())
    }

    /// Leaves to a node whatever it still has to undo. An undo needs what the steps before it left behind (the one of
    /// *up* the checkout), so whoever leaves one leaves all.
    pub fn leave_undoing(&mut self, node: &NodeName, why: &str, at: &str) -> Result<(), Illegal> {
        for index in 0..self.steps.len() {
            if self.steps[index].node == *node && self.steps[index].status.is_to_undo() {
                self.mark(index, Mark::Owed(why.to_owned()), at)?;
            }
        }
        Ok(())
    }

    /// What runs is what would run: the app is neither stopped nor put under maintenance.
    fn spare_the_hand_off(&mut self, at: &str) -> Result<(), Illegal> {
        self.steps
            .iter_mut()
            .filter(|record| record.step.is_spared_by_comparison())
            .try_for_each(|record| record.mark(&Mark::Skipped, at))
    }
}

#[cfg(test)]
mod tests;
