//! Who is waited for, and who can't be replaced. Pure.

use super::{Deployment, State, Status, Step, StepRecord};
use crate::model::NodeName;

impl Deployment {
    /// The nodes that everyone waits for: those with a step in the current stage which has not ended and, going forward,
    /// the one at the other end of such a step.
    pub fn awaited(&self) -> Vec<&NodeName> {
        let (stage, wanted): (Option<u16>, fn(Status) -> bool) = match self.state {
            State::Running => (self.current_stage(), Status::is_open),
            State::Undoing => (
                self.steps.iter().filter(|s| s.status.is_to_undo()).map(|s| s.stage).max(),
                Status::is_to_undo,
            ),
            State::Waiting
            | State::Completed
            | State::Refused
            | State::Undone
            | State::Stuck
            | State::Superseded => (None, Status::is_open),
        };
        let steps = self.steps.iter().filter(|s| Some(s.stage) == stage && wanted(s.status));
        let forward = self.state == State::Running && !self.committed;
        let mut nodes: Vec<_> = steps
            .flat_map(|s| [Some(&s.node), s.step.partner().filter(|_| forward)])
            .flatten()
            .collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// Whether only this node can bring the app to a good end: the former version was stopped there, and has to run again
    /// there. However long such a node stays away, it goes on when it is back.
    pub fn is_waited_for(&self, node: &NodeName) -> bool {
        let is_stop = |record: &&StepRecord| record.step == Step::Stop && record.node == *node;
        let stop = self.steps.iter().find(is_stop);
        self.state == State::Undoing && stop.is_some_and(|stop| stop.status.is_to_undo())
    }

    /// The step that a node could begin now and has not announced, nor said that it waits for other deployments' steps.
    pub fn unannounced(&self, node: &NodeName) -> Option<usize> {
        let stage = self.current_stage().filter(|_| self.state == State::Running)?;
        let first = self
            .steps
            .iter()
            .position(|s| s.stage == stage && s.node == *node && s.status.is_open())?;
        let record = &self.steps[first];
        (record.status == Status::Pending && record.queued_at.is_none()).then_some(first)
    }

    /// The steps of a node that going forward still has to deal with.
    pub fn open_steps(&self, node: &NodeName) -> Vec<usize> {
        let own = self.steps.iter().enumerate().filter(|(_, step)| step.node == *node);
        own.filter(|(_, step)| step.status.is_open()).map(|(index, _)| index).collect()
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

    /// Carries a move of node1's app to node2 on until a step of that kind is current.
    fn up_to(kind: impl Fn(&Step) -> bool) -> Deployment {
        let mut record = moved();
        let end = record.steps.iter().position(|s| kind(&s.step)).unwrap();
        for index in 0..end {
            record.mark(index, Mark::Running, "t").unwrap();
            record.mark(index, Mark::Done([("a".into(), "b".into())].into()), "t").unwrap();
        }
        record
    }

    #[test]
    fn the_node_at_the_other_end_of_a_transfer_is_awaited_too() {
        for kind in [
            |s: &Step| matches!(s, Step::Probe { .. }),
            |s: &Step| matches!(s, Step::Seed { .. }),
            |s: &Step| matches!(s, Step::Send { .. }),
        ] {
            let record = up_to(kind);
            let awaited = record.awaited();
            assert_eq!(awaited, [&node("node1"), &node("node2")], "{:?}", record.current_stage());
        }
        assert_eq!(up_to(|s| *s == Step::Stop).awaited(), [&node("node1")]);
    }

    #[test]
    fn a_step_is_missed_until_it_is_announced_or_queued() {
        let mut record = moved();
        let master = node("node2");
        let first = record.unannounced(&master).unwrap();
        record.steps[first].queued_at = Some("t".to_owned());
        assert_eq!(record.unannounced(&master), None, "it waits for a slot");
        record.steps[first].queued_at = None;
        record.mark(first, Mark::Running, "t").unwrap();
        assert_eq!(record.unannounced(&master), None);
        assert_eq!(record.unannounced(&node("node3")), None, "it has no part");
    }
}
