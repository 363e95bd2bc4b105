//! Which runs there are: each case, each fault that can touch it, each step at which it makes a difference.
//!
//! The steps are the planner's own, so the list follows the protocol. What is taken as one:
//!
//! - at another node's step a node only waits, and waits alike within a phase: it is struck there once a phase;
//! - a node that is gone for long makes the same difference at each step that leaves the app alone: of those it is
//!   struck at the first and the last one;
//! - Docker's death at steps that don't use Docker is that at any of them;
//! - a node without a part waits all the time;
//! - whichever node leads Consul: the case of the new master stands for all.

use std::fmt;

use serde_json::{Value, json};
use tandem::event::{Decoded, decode};
use tandem::model::DeployId;
use tandem::model::deployment::{Step, StepRecord};
use tandem::plan::{Facts, plan};

use crate::app::Which;
use crate::case::{Case, Kind, Pair};
use crate::fault::Fault;
use crate::support::NODES;

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) node: String,
    pub(crate) step: String,
}

/// What the list asks about a step.
struct Candidate<'a> {
    planned: &'a Planned,
    /// The step's node is the one to strike.
    own: bool,
    /// The first or the last one that leaves the app alone, or one that does not.
    distinct: bool,
}

/// When the fault strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before the event is fired.
    Before,
    /// When this step is marked as running.
    Step(Planned),
    /// When this step is marked as being undone.
    Undo(Planned),
}

/// A case, a fault and its moment.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) which: Which,
    pub(crate) case: Case,
    pub(crate) fault: Fault,
    pub(crate) moment: Moment,
    /// The moment's place in the plan, for the table.
    pub(crate) place: usize,
}

impl Run {
    /// Whether the event asks for `update.sh`.
    pub(crate) fn updates(&self) -> bool {
        self.case.kind.updates() || self.fault == Fault::UpdateFails
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.step.replace(' ', "-"), self.node)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moment::Before => f.write_str("before"),
            Moment::Step(planned) => write!(f, "{planned}"),
            Moment::Undo(planned) => write!(f, "undo-{planned}"),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let app = self.which.prefix();
        write!(f, "{app}{}/{}/{}", self.case.name(), self.fault.name(), self.moment)
    }
}

/// Steps of others at which a node that waits is struck: one of each phase.
const WAITING: [&str; 4] = ["build", "send", "await healthy", "commit"];
/// The same for a node without a part.
const WITHOUT_PART: [&str; 1] = ["await healthy"];
/// Steps that use Docker.
const DOCKER: [&str; 10] = [
    "check",
    "pull",
    "build",
    "compare",
    "stop",
    "restore",
    "up",
    "await healthy",
    "leave",
    "keep images",
];
/// Steps whose undo does something.
const UNDONE: [&str; 8] =
    ["checkout", "keep images", "build", "begin maintenance", "stop", "snapshot", "restore", "up"];
/// Steps at which a second event comes.
const SECOND_EVENT: [&str; 6] =
    ["checkout", "build", "snapshot", "await healthy", "commit", "register"];
/// Steps at which the way from the old to the new master is struck.
const TRANSFER: [&str; 2] = ["seed", "send"];

/// Every run, case by case.
pub(crate) fn all() -> Vec<Run> {
    Case::all().flat_map(|case| of_case(case, &steps(case.kind))).collect()
}

fn of_case(case: Case, steps: &[StepRecord]) -> Vec<Run> {
    let which = Which::Guestbook;
    let run = |fault, moment, place| Run { which, case, fault, moment, place };
    let harmless: Vec<_> = (0..steps.len())
        .filter(|place| {
            steps[*place].step.is_harmless() && steps[*place].node.as_str() == case.node
        })
        .collect();
    let mut runs = Vec::new();
    for fault in Fault::ALL {
        if is_struck_before(fault, case) {
            runs.push(run(fault, Moment::Before, 0));
        }
        for (place, step) in steps.iter().enumerate() {
            let planned = Planned { node: step.node.to_string(), step: name(&step.step) };
            let own = planned.node == case.node;
            let edge = [harmless.first(), harmless.last()].contains(&Some(&place));
            let distinct = edge || !step.step.is_harmless();
            if is_struck_at(fault, case, &Candidate { planned: &planned, own, distinct }) {
                let place = place + 1;
                let undoing = matches!(fault, Fault::UndoAgentKilled | Fault::UndoPowerOff);
                runs.push(match undoing {
                    // Undoing comes after all that, in reverse.
                    true => run(fault, Moment::Undo(planned), 2 * steps.len() - place),
                    false => run(fault, Moment::Step(planned), place),
                });
            }
        }
    }
    runs
}

fn is_struck_before(fault: Fault, case: Case) -> bool {
    match fault {
        Fault::GitCut => true,
        Fault::PullFails | Fault::BuildFails => case.is_new_master(),
        Fault::UpFails | Fault::NeverHealthy | Fault::UpdateFails => case.is_new_master(),
        Fault::DiskFull | Fault::SshdGone | Fault::RestoreFails => {
            case.kind.moves() && case.is_new_master()
        }
        Fault::SendCut
        | Fault::ReceiveKilled
        | Fault::AgentKilled
        | Fault::AgentAway
        | Fault::LeaderKilled
        | Fault::DockerKilled
        | Fault::Partition
        | Fault::PowerOff
        | Fault::UndoAgentKilled
        | Fault::UndoPowerOff
        | Fault::TwoEvents
        | Fault::Destroy
        | Fault::Migrate => false,
    }
}

fn is_struck_at(fault: Fault, case: Case, step: &Candidate<'_>) -> bool {
    let is_in = |names: &[&str]| names.contains(&step.planned.step.as_str());
    let waiting = if case.is_bystander() { is_in(&WITHOUT_PART) } else { is_in(&WAITING) };
    let transfer = case.kind.moves() && is_in(&TRANSFER);
    match fault {
        Fault::AgentKilled => step.own || waiting,
        Fault::AgentAway | Fault::Partition | Fault::PowerOff => {
            if step.own {
                step.distinct
            } else {
                waiting
            }
        }
        Fault::DockerKilled => {
            let used = if step.own { is_in(&DOCKER) } else { waiting };
            used && (case.is_old_master() || case.is_new_master())
        }
        Fault::UndoAgentKilled | Fault::UndoPowerOff => step.own && is_in(&UNDONE),
        Fault::LeaderKilled => case.is_new_master(),
        Fault::SendCut => transfer && case.is_old_master(),
        Fault::DiskFull | Fault::ReceiveKilled | Fault::SshdGone => {
            transfer && case.is_new_master()
        }
        Fault::TwoEvents | Fault::Destroy | Fault::Migrate => {
            let first = step.planned.step != "checkout" || step.own;
            case.is_new_master() && first && is_in(&SECOND_EVENT)
        }
        Fault::GitCut
        | Fault::PullFails
        | Fault::BuildFails
        | Fault::RestoreFails
        | Fault::UpFails
        | Fault::NeverHealthy
        | Fault::UpdateFails => false,
    }
}

/// The plan of a kind of deployment.
fn steps(kind: Kind) -> Vec<StepRecord> {
    let event = json!({
        "repo": "git://git.example.com/guestbook", "branch": "master", "update": kind.updates(),
        "master": kind.to().master, "slave": kind.to().slave,
    });
    let request = match decode("deploy", event.to_string().as_bytes()) {
        Ok(Decoded::Request(request)) => request,
        other => panic!("not a request: {other:?}"),
    };
    let facts: Facts = serde_json::from_value(facts(kind.from())).unwrap();
    let plan = plan(&DeployId::parse("new").unwrap(), &request, &facts);
    plan.unwrap_or_else(|refusal| panic!("{}: {refusal}", kind.words())).steps
}

/// A step's name without the node that it goes to.
pub(crate) fn name(step: &Step) -> String {
    let text = step.to_string();
    let cut = NODES.iter().find_map(|node| text.strip_suffix(node)?.strip_suffix(' '));
    cut.map(str::to_owned).unwrap_or(text)
}

fn facts(from: Option<Pair>) -> Value {
    let nodes: serde_json::Map<_, _> = NODES
        .into_iter()
        .map(|node| (node.to_owned(), json!({"address": "10.0.0.1", "alive": true, "agent": true})))
        .collect();
    let app = from.map(|pair| {
        json!({
            "repo_url": "git://git.example.com/guestbook", "branch": "master",
            "deploy_id": "former", "master": pair.master, "slave": pair.slave,
            "volumes": ["guestbookmaster_database", "guestbookmaster_attachments"],
        })
    });
    json!({"nodes": nodes, "app": app})
}
