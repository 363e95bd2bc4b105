//! What nodes owe of a deployment that did not wait for them. Pure.

use std::collections::BTreeSet;

use super::{Deployment, Next, Status};
use crate::model::NodeName;

impl Deployment {
    /// The steps that are owed, by index.
    pub fn debts(&self) -> BTreeSet<usize> {
        let owed = self.steps.iter().enumerate().filter(|(_, step)| step.status == Status::Owed);
        owed.map(|(index, _)| index).collect()
    }

    /// The nodes that owe something which was not owed `before`.
    pub fn new_debtors(&self, before: &BTreeSet<usize>) -> BTreeSet<&NodeName> {
        let now = self.debts();
        now.difference(before).filter_map(|index| Some(&self.steps.get(*index)?.node)).collect()
    }

    /// What a node owes first: after the commit in the steps' own order, before it in the order of an undo.
    pub fn next_debt(&self, node: &NodeName) -> Option<usize> {
        let is_its = |index: &usize| self.steps.get(*index).is_some_and(|step| step.node == *node);
        let mut its = self.debts().into_iter().filter(is_its);
        if self.committed { its.next() } else { its.next_back() }
    }

    /// Whether what a node owes is the undo of something that would be taken for the app's data.
    pub fn leaves_traces_on(&self, node: &NodeName) -> bool {
        let owed = self.debts().into_iter().filter_map(|index| self.steps.get(index));
        !self.committed
            && owed.into_iter().any(|step| step.node == *node && !step.step.is_harmless())
    }

    /// Whether a node has a part in a deployment that is not over. The one that accepted it has one too: it answers for the
    /// deployment if the nodes of the pair are away.
    pub fn concerns(&self, node: &NodeName) -> bool {
        let is_over = self.state.is_final();
        !is_over && (self.transitions.contains_key(node) || self.accepted_by == *node)
    }

    /// The step that a node can begin at once, without waiting for other deployments' steps.
    pub fn goes_on_with(&self, node: &NodeName) -> Option<usize> {
        match self.next(node) {
            Next::Run(next) => (!self.steps.get(next)?.step.is_heavy()).then_some(next),
            Next::Undo(_) | Next::Finish(_) | Next::Wait | Next::Over => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::moved;
    use super::*;
    use crate::model::deployment::{Mark, State};

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    fn owing(committed: bool) -> (Deployment, Vec<usize>) {
        let mut record = moved();
        record.committed = committed;
        let own: Vec<_> = record.open_steps(&node("node1"));
        for index in &own {
            record.steps[*index].status = Status::Owed;
        }
        (record, own)
    }

    #[test]
    fn steps_are_owed_forwards_and_undos_backwards() {
        let (record, own) = owing(true);
        assert!(own.len() > 1);
        assert_eq!(record.next_debt(&node("node1")), own.first().copied());
        assert_eq!(record.next_debt(&node("node2")), None);
        assert!(!record.leaves_traces_on(&node("node1")), "behind the commit nothing is undone");
        let (record, own) = owing(false);
        assert_eq!(record.next_debt(&node("node1")), own.last().copied());
        assert!(record.leaves_traces_on(&node("node1")));
        assert!(!record.leaves_traces_on(&node("node2")));
    }

    #[test]
    fn a_debt_is_new_once() {
        let (mut record, _) = owing(true);
        assert_eq!(record.new_debtors(&BTreeSet::new()), [&node("node1")].into());
        let before = record.debts();
        assert!(record.new_debtors(&before).is_empty());
        let other = record.open_steps(&node("node2"))[0];
        record.mark(other, Mark::Owed("away".to_owned()), "t").unwrap();
        assert_eq!(record.new_debtors(&before), [&node("node2")].into());
    }

    #[test]
    fn a_deployment_concerns_its_nodes_until_its_outcome() {
        let mut record = moved();
        assert!(record.concerns(&node("node1")) && record.concerns(&node("node2")));
        record.accepted_by = node("node3");
        assert!(record.concerns(&node("node3")) && !record.concerns(&node("node4")));
        record.state = State::Completed;
        assert!(!record.concerns(&node("node1")));
    }
}
