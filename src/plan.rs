//! What to do, as a pure function of a request and a snapshot of facts. Nothing here has an effect.

mod deploy;
mod destroy;
mod facts;
mod migrate;
mod pick;
mod transition;

use std::collections::BTreeMap;

pub use facts::{Facts, NodeFacts, RoomFacts};
pub use pick::{Choice, Unfit};

use crate::model::deployment::{StepRecord, Transition};
use crate::model::{
    AppId, AppName, AppRecord, DeployId, NodeName, Placement, ProjectName, Repo, Request,
};

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
    /// The entry is that of a repository elsewhere with the same path.
    #[error(
        "{name} is the app of {theirs} already, and {asked} would take its place and its data: apps are told apart by the path of the repository's URL, not by its host. If it is the same repository, set \"repo_url\" in app/{name} to its new URL; else give one of the two another path"
    )]
    AnotherRepository {
        /// The app.
        name: AppName,
        /// The repository that it comes from.
        theirs: String,
        /// The one that the event names.
        asked: Repo,
    },
    /// Two apps would be one compose project.
    #[error(
        "the compose project {project} is {by}'s already: names of projects keep nothing but a-z and 0-9, and what {by} has would be taken for this app's. Rename the branch (or the repository)"
    )]
    ProjectTaken {
        /// The project.
        project: ProjectName,
        /// The app that has it.
        by: AppName,
    },
    /// Nothing to migrate from.
    #[error("there is no app {0} to migrate from: it has no entry in KV")]
    NoSuchSource(AppName),
}

/// Plans a request. Total and deterministic: the same request and facts give the same plan on every node.
pub fn plan(id: &DeployId, request: &Request, facts: &Facts) -> Result<Plan, Refusal> {
    if let Some(problem) = &facts.unreadable {
        return Err(Refusal::Unreadable(problem.clone()));
    }
    same_repository(request.app(), facts.app.as_ref())?;
    let plan = match request {
        Request::Deploy { master, replica, update, from_replica, .. } => {
            if facts.app.is_none() {
                own_project(request.app(), facts, |_| true)?;
            }
            let (placement, choice) = pick::pick(master.as_ref(), replica, facts)?;
            let plan = match from_replica {
                true => deploy::from_replica(id, placement, *update, facts)?,
                false => deploy::plan(id, placement, *update, facts)?,
            };
            Plan { choice, ..plan }
        }
        Request::Destroy { .. } => destroy::plan(facts)?,
        Request::Migrate { app: source, update, .. } => {
            same_repository(source, facts.source.as_ref())?;
            migrate::plan(source, *update, facts)?
        }
    };
    // Of two that are in KV since before they were told apart, each goes on where the other one is not.
    let meets = |pair: &Placement| pair.nodes().any(|node| plan.transitions.contains_key(node));
    own_project(request.app(), facts, meets)?;
    Ok(plan)
}

/// An app's entry is not another repository's; a URL that can't be read is nobody's.
fn same_repository(app: &AppId, entry: Option<&AppRecord>) -> Result<(), Refusal> {
    let Some(theirs) = entry.map(|entry| &entry.repo_url) else { return Ok(()) };
    match Repo::parse(theirs) {
        Ok(repo) if !repo.is_same_as(&app.repo) => Err(Refusal::AnotherRepository {
            name: app.name(),
            theirs: theirs.clone(),
            asked: app.repo.clone(),
        }),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A project is one app's: another one that serves elsewhere is let be, one whose place is not known yet never.
fn own_project(
    app: &AppId,
    facts: &Facts,
    meets: impl Fn(&Placement) -> bool,
) -> Result<(), Refusal> {
    let meets = |pair: &Option<Placement>| pair.as_ref().is_none_or(&meets);
    match facts.rivals.iter().find(|(_, pair)| meets(pair)) {
        Some((by, _)) => {
            Err(Refusal::ProjectTaken { project: app.name().project(), by: by.clone() })
        }
        None => Ok(()),
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
