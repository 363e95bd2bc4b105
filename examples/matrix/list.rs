//! Which runs there are: each case, each fault that can touch it, each step at which it makes a difference.
//!
//! The steps are the planner's own, so the list follows the protocol. A node that carries a step out is struck at each
//! of its steps; at another node's step it only waits, and waits alike within a phase: there it is struck once a phase.

use std::fmt;

use serde_json::{Value, json};
use tandem::event::{Decoded, decode};
use tandem::model::DeployId;
use tandem::plan::{Facts, plan};

use crate::case::{Case, Kind, Pair};
use crate::fault::Fault;
use crate::support::NODES;

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) node: String,
    pub(crate) step: String,
}

/// When the fault strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before the event is fired.
    Before,
    /// When this step is marked as running.
    Step(Planned),
}

/// A case, a fault and its moment.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) case: Case,
    pub(crate) fault: Fault,
    pub(crate) moment: Moment,
    /// The moment's place in the plan, for the table.
    pub(crate) place: usize,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moment::Before => f.write_str("before"),
            Moment::Step(planned) => {
                write!(f, "{}@{}", planned.step.replace(' ', "-"), planned.node)
            }
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.case.name(), self.fault.name(), self.moment)
    }
}

/// Steps at which a node that only waits is struck: one or two of each phase.
const WAITING: [&str; 5] = ["build", "send", "await healthy", "commit", "register"];
/// Steps at which a second event comes.
const SECOND_EVENT: [&str; 7] =
    ["checkout", "build", "snapshot", "send", "await healthy", "commit", "register"];
/// Steps at which the way from the old to the new master is struck.
const TRANSFER: [&str; 2] = ["seed", "send"];

/// Every run, case by case.
pub(crate) fn all() -> Vec<Run> {
    Case::all().flat_map(|case| of_case(case, &steps(case.kind))).collect()
}

fn of_case(case: Case, steps: &[Planned]) -> Vec<Run> {
    let run = |fault, moment, place| Run { case, fault, moment, place };
    let mut runs = Vec::new();
    for fault in Fault::ALL {
        if is_struck_before(fault, case) {
            runs.push(run(fault, Moment::Before, 0));
        }
        let struck = steps.iter().enumerate().filter(|(_, step)| is_struck_at(fault, case, step));
        runs.extend(struck.map(|(place, step)| run(fault, Moment::Step(step.clone()), place + 1)));
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
        | Fault::TwoEvents
        | Fault::Destroy
        | Fault::Migrate => false,
    }
}

fn is_struck_at(fault: Fault, case: Case, step: &Planned) -> bool {
    let own = step.node == case.node;
    let waiting = WAITING.contains(&step.step.as_str());
    let transfer = case.kind.moves() && TRANSFER.contains(&step.step.as_str());
    match fault {
        Fault::AgentKilled | Fault::AgentAway | Fault::Partition | Fault::PowerOff => {
            own || waiting
        }
        Fault::DockerKilled => (case.is_old_master() || case.is_new_master()) && (own || waiting),
        // Whichever node leads: the case of the new master stands for all.
        Fault::LeaderKilled => case.is_new_master(),
        Fault::SendCut => transfer && case.is_old_master(),
        Fault::DiskFull | Fault::ReceiveKilled | Fault::SshdGone => {
            transfer && case.is_new_master()
        }
        Fault::TwoEvents | Fault::Destroy | Fault::Migrate => {
            let first = step.step != "checkout" || own;
            case.is_new_master() && first && SECOND_EVENT.contains(&step.step.as_str())
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
pub(crate) fn steps(kind: Kind) -> Vec<Planned> {
    let event = json!({
        "repo": "git://git.example.com/guestbook", "branch": "master", "update": true,
        "master": kind.to().master, "slave": kind.to().slave,
    });
    let request = match decode("deploy", event.to_string().as_bytes()) {
        Ok(Decoded::Request(request)) => request,
        other => panic!("not a request: {other:?}"),
    };
    let facts: Facts = serde_json::from_value(facts(kind.from())).unwrap();
    let Ok(plan) = plan(&DeployId::parse("new").unwrap(), &request, &facts) else {
        return Vec::new();
    };
    let planned = |step: &tandem::model::deployment::StepRecord| Planned {
        node: step.node.to_string(),
        step: step.step.to_string(),
    };
    plan.steps.iter().map(planned).collect()
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
