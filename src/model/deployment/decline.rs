//! A node that says why it can't take part. Pure.

use super::{Deployment, Illegal, Mark, State, Status};
use crate::model::NodeName;

impl Deployment {
    /// Whether [`Deployment::decline`] would change anything.
    pub fn has_to_decline(&self, node: &NodeName, is_stale: bool) -> bool {
        let mut own = self.steps.iter().filter(|step| step.node == *node);
        let is_running = self.state == State::Running;
        own.any(|step| {
            is_running && step.status.is_open() || is_stale && self.is_left_undone(step.status)
        })
    }

    fn is_left_undone(&self, status: Status) -> bool {
        self.state == State::Undoing && status.is_to_undo()
    }

    /// Before the commit, `node`'s open step fails, which turns the deployment around; after it, the node owes them. A step
    /// that never began leaves nothing to undo.
    ///
    /// `is_stale`: the node has seen a later deployment of the app, so that it can't undo either: what it had begun is an
    /// operator's business.
    pub fn decline(
        &mut self,
        node: &NodeName,
        why: &str,
        is_stale: bool,
        at: &str,
    ) -> Result<(), Illegal> {
        for index in self.open_steps(node) {
            match self.committed {
                true => self.mark(index, Mark::Owed(why.to_owned()), at)?,
                false if self.state == State::Running => self.fail_open(index, why, at)?,
                // Nothing of a pending step needs to be undone.
                false => {}
            }
        }
        if !is_stale {
            return Ok(());
        }
        for index in 0..self.steps.len() {
            let step = &self.steps[index];
            if step.node == *node && self.is_left_undone(step.status) {
                self.mark(index, Mark::Stuck(why.to_owned()), at)?;
            }
        }
        Ok(())
    }

    /// Fails an open step. One that never began leaves nothing to undo, and nobody to wait for a second time.
    pub fn fail_open(&mut self, index: usize, why: &str, at: &str) -> Result<(), Illegal> {
        let begun = self.steps.get(index).is_some_and(|step| step.started_at.is_some());
        self.mark(index, Mark::Failed(why.to_owned()), at)?;
        if !begun {
            self.mark(index, Mark::Undoing, at)?;
            self.mark(index, Mark::Undone, at)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::moved;
    use super::*;
    use crate::model::deployment::Next;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    #[test]
    fn a_node_that_began_nothing_ends_the_deployment_without_a_trace() {
        let mut record = moved();
        let me = node("node2");
        assert!(record.has_to_decline(&me, false));
        record.decline(&me, "no room", false, "t").unwrap();
        assert!(record.reason.as_deref().unwrap().ends_with("no room"), "{:?}", record.reason);
        assert_eq!(record.next(&me), Next::Finish(State::Refused));
    }

    #[test]
    fn a_node_that_has_seen_later_ones_leaves_what_it_had_begun_to_an_operator() {
        let mut record = moved();
        let me = node("node2");
        let first = record.unannounced(&me).unwrap();
        record.mark(first, Mark::Running, "t").unwrap();
        record.decline(&me, "older", true, "t").unwrap();
        assert!(!record.has_to_decline(&me, true));
        assert_eq!(record.next(&me), Next::Finish(State::Stuck));
    }

    #[test]
    fn behind_the_commit_it_owes() {
        let mut record = moved();
        record.committed = true;
        record.decline(&node("node2"), "no room", false, "t").unwrap();
        assert_eq!(record.state, State::Running);
        assert!(record.open_steps(&node("node2")).is_empty());
    }
}
