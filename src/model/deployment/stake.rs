//! What may be given up by the others while its node is cut off, and what brings the former version back. Pure.

use super::{Deployment, Step, StepRecord};
use crate::model::NodeName;

impl Step {
    /// Whether it may start containers of the new version.
    pub fn may_start_version(&self) -> bool {
        matches!(self, Step::PostMigrate | Step::Update | Step::Up)
    }
}

impl Deployment {
    /// Whether a version runs on a node, or may soon, that others may give up.
    pub fn is_at_stake(&self, node: &NodeName) -> bool {
        self.uncommitted_start(node).is_some()
    }

    /// The step that started a version on a node which may yet be given up: what was there before runs elsewhere.
    ///
    /// A commit that has begun and whose end is not known does not make it one that stays: where it has not happened, the
    /// others bring the former version back. Where it has, *keep running* starts it again as soon as Consul can be reached.
    pub fn uncommitted_start(&self, node: &NodeName) -> Option<usize> {
        let former = self.former.as_ref().is_some_and(|former| former.master != *node);
        if self.committed || self.state.is_final() || !former {
            return None;
        }
        let starts = |record: &StepRecord| {
            record.node == *node
                && record.started_at.is_some()
                && record.step.may_start_version()
                && record.status.is_to_undo()
        };
        self.steps.iter().position(starts)
    }

    /// Whether the former version serves again only when this step has been undone: it runs on that node.
    pub fn brings_back(&self, index: usize) -> bool {
        let former = self.former.as_ref().map(|former| &former.master);
        self.steps.get(index).is_some_and(|step| Some(&step.node) == former)
    }

    /// The node that takes the deployment's lease first: the master to be, or the one that was.
    pub fn preferred(&self) -> Option<&NodeName> {
        let former = self.former.as_ref().map(|former| &former.master);
        self.placement.as_ref().map(|pair| &pair.master).or(former)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::moved;
    use super::*;
    use crate::model::deployment::Mark;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    /// A move of node1's app to node2, carried on until a step is announced.
    fn announced(last: &Step) -> Deployment {
        let mut record = moved();
        let end = record.steps.iter().position(|s| s.step == *last).unwrap();
        for index in 0..end {
            record.mark(index, Mark::Running, "t").unwrap();
            record.mark(index, Mark::Done([("a".into(), "b".into())].into()), "t").unwrap();
        }
        record.mark(end, Mark::Running, "t").unwrap();
        record
    }

    #[test]
    fn a_version_is_at_stake_from_its_start_to_the_commit() {
        let (old, new) = (node("node1"), node("node2"));
        assert!(!announced(&Step::Restore).is_at_stake(&new));
        for step in [Step::Up, Step::AwaitHealthy, Step::Commit] {
            let record = announced(&step);
            assert!(record.is_at_stake(&new), "{step}");
            assert!(!record.is_at_stake(&old), "{step}: what ran there before is what comes back");
        }
        let mut committed = announced(&Step::Commit);
        committed.committed = true;
        assert!(!committed.is_at_stake(&new));
    }

    #[test]
    fn the_former_master_brings_back_and_the_new_one_leads() {
        let record = announced(&Step::Up);
        assert_eq!(record.preferred(), Some(&node("node2")));
        for (index, step) in record.steps.iter().enumerate() {
            assert_eq!(record.brings_back(index), step.node == node("node1"), "{}", step.step);
        }
    }
}
