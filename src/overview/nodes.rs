//! The members of the cluster.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::Problem;
use crate::model::{AppName, AppRecord, NodeName};
use crate::plan::NodeFacts;
use crate::records::{Debt, NodeInfo, Owed, Stored};
use crate::replication::AHEAD;

/// A member.
#[derive(Debug, Clone)]
pub struct Node {
    /// What a planner knows of it: address, life, room, whether it drains; with the reason why nothing is picked to go
    /// there.
    pub facts: NodeFacts,
    /// What its agent says: what runs there, what fails. None: there is none, or it can't be read.
    pub agent: Option<NodeInfo>,
    /// The apps whose master it is.
    pub masters: Vec<AppName>,
    /// The apps whose slave it is.
    pub slaves: Vec<AppName>,
    /// What it still has to do for deployments that went on without it.
    pub debts: Vec<Debt>,
}

/// Puts together what is known of each.
pub(super) fn all(
    facts: BTreeMap<NodeName, NodeFacts>,
    mut agents: BTreeMap<NodeName, NodeInfo>,
    apps: &BTreeMap<AppName, AppRecord>,
    owed: &[Stored<Owed>],
) -> BTreeMap<NodeName, Node> {
    let node = |(name, facts): (NodeName, NodeFacts)| {
        let of = |is_its: &dyn Fn(&AppRecord) -> bool| -> Vec<AppName> {
            apps.iter().filter(|(_, record)| is_its(record)).map(|(app, _)| app.clone()).collect()
        };
        let debts = owed.iter().map(|note| &note.name).filter(|debt| debt.node == name);
        let node = Node {
            facts,
            agent: agents.remove(&name),
            masters: of(&|record| record.master == name),
            slaves: of(&|record| record.slave.as_ref() == Some(&name)),
            debts: debts.cloned().collect(),
        };
        (name, node)
    };
    facts.into_iter().map(node).collect()
}

/// What is wrong with a node, by its agent's word.
pub(super) fn problems(node: &NodeName, info: &NodeInfo, now: DateTime<Utc>) -> Vec<Problem> {
    let failing = info.failing.iter().cloned();
    let failing = failing.map(|failing| Problem::Proxies { node: node.clone(), failing });
    let told = info.problems.iter().cloned();
    let told = told.map(|line| Problem::Told { node: node.clone(), line });
    skew(node, info, now).into_iter().chain(failing).chain(told).collect()
}

/// That a node's clock is ahead of this machine's: how old its copies are, and when its steps ended, can't be told then.
/// Of one that is behind, what it says is only old.
fn skew(node: &NodeName, info: &NodeInfo, now: DateTime<Utc>) -> Option<Problem> {
    let at = DateTime::parse_from_rfc3339(&info.room.as_ref()?.at).ok()?.to_utc();
    let ahead = at - now;
    (ahead > AHEAD).then(|| Problem::Clock { node: node.clone(), ahead })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::model::Amount;
    use crate::records::Room;

    #[test]
    fn a_clock_that_is_ahead_is_named_and_one_that_differs_a_little_is_not() {
        let now: DateTime<Utc> = "2025-06-01T10:00:00Z".parse().unwrap();
        let node = NodeName::parse("node2").unwrap();
        let said = |ahead: TimeDelta| {
            let half = Amount { free: 1, total: 2 };
            let at = (now + ahead).to_rfc3339();
            let room =
                Room { epoch: 1, at, disk: half, memory: half, listening: Default::default() };
            let info = NodeInfo { room: Some(room), ..NodeInfo::default() };
            skew(&node, &info, now).map(|problem| problem.to_string())
        };
        for fine in [TimeDelta::hours(-3), TimeDelta::zero(), TimeDelta::minutes(5)] {
            assert_eq!(said(fine), None, "{fine}");
        }
        let text = said(TimeDelta::hours(3)).unwrap();
        assert!(text.starts_with("node2: its clock is 3 h 0 min ahead"), "{text}");
        assert!(skew(&node, &NodeInfo::default(), now).is_none());
    }
}
