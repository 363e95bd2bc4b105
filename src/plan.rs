//! What to do, as a pure function of a request and a snapshot of facts. Nothing here has an effect.

pub mod candidate;
pub mod check;
mod deploy;
mod destroy;
mod facts;
mod migrate;
mod pick;
mod transition;

use std::collections::BTreeMap;

pub use facts::{Facts, NodeFacts, RoomFacts};
pub use pick::{Choice, Unfit};

use crate::event::Request;
use crate::model::deployment::{StepRecord, Transition};
use crate::model::{AppName, DeployId, NodeName, Placement};

/// The planner's answer: who changes from what to what, and the steps in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The pair to be; none for a destroy.
    pub placement: Option<Placement>,
    /// Old and new role of each node with a part.
    pub transitions: BTreeMap<NodeName, Transition>,
    /// The steps, ordered by stage.
    pub steps: Vec<StepRecord>,
    /// How the pair came about.
    pub choice: Choice,
}

/// The planner's reasoned "no": nothing was touched.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// The request names a node that the cluster does not have.
    #[error("there is no node named {name} (there are {known})")]
    NoSuchNode {
        /// The name asked for.
        name: NodeName,
        /// The names there are.
        known: String,
    },
    /// The node is a member, but does not answer.
    #[error("{0} is not alive: Consul does not reach it")]
    NodeAway(NodeName),
    /// The event leaves the master open, and each node has a reason against it.
    #[error("no node can be picked as the master: {0}; one that is named is taken all the same")]
    NoMaster(String),
    /// The app would have to leave a master that is away, and with it the newest data.
    #[error(
        "the app's newest data is on its master {0}, which Consul does not reach: bring {0} back first"
    )]
    MasterAway(NodeName),
    /// The app is to begin from copies where there are none.
    #[error(
        "from_replica begins on a node with verified copies of all the app's volumes, and {master} has not told of any (who has: {known})"
    )]
    NoCopies {
        /// The master to be.
        master: NodeName,
        /// Who has some.
        known: String,
    },
    /// The app is to begin from copies on the node that has lost the volumes.
    #[error(
        "{0} is the app's master: from_replica begins on another node, from the copies there (who has: {1}); move it back afterwards"
    )]
    CopiesElsewhere(NodeName, String),
    /// Nothing to destroy.
    #[error("there is no such app: it has no entry in KV")]
    NoSuchApp,
    /// The app's KV entry can't be read.
    #[error("the app's KV entry can't be read: {0}; repair it first")]
    Unreadable(String),
    /// Nothing to migrate from.
    #[error("there is no app {0} to migrate from: it has no entry in KV")]
    NoSuchSource(AppName),
}

/// Plans a request. Total and deterministic: the same request and facts give the same plan on every node.
pub fn plan(id: &DeployId, request: &Request, facts: &Facts) -> Result<Plan, Refusal> {
    if let Some(problem) = &facts.unreadable {
        return Err(Refusal::Unreadable(problem.clone()));
    }
    match request {
        Request::Deploy { master, replica, update, from_replica, .. } => {
            let (placement, choice) = pick::pick(master.as_ref(), replica, facts)?;
            let plan = match from_replica {
                true => deploy::from_replica(id, placement, *update, facts)?,
                false => deploy::plan(id, placement, *update, facts)?,
            };
            Ok(Plan { choice, ..plan })
        }
        Request::Destroy { .. } => destroy::plan(facts),
        Request::Migrate { app: source, update, .. } => migrate::plan(source, *update, facts),
    }
}

/// Collects steps; each call of [`Steps::stage`] begins a stage.
#[derive(Default)]
struct Steps {
    stage: u16,
    steps: Vec<StepRecord>,
}

impl Steps {
    /// A stage of one step.
    fn one(&mut self, node: &NodeName, step: crate::model::deployment::Step) {
        self.stage([(node.clone(), step)]);
    }

    fn stage(
        &mut self,
        steps: impl IntoIterator<Item = (NodeName, crate::model::deployment::Step)>,
    ) {
        let before = self.steps.len();
        let stage = self.stage;
        self.steps.extend(steps.into_iter().map(|(node, step)| StepRecord::new(stage, node, step)));
        if self.steps.len() > before {
            self.stage += 1;
        }
    }
}
