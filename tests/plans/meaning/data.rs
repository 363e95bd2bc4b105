//! The way of the data: snapshots, copies, volumes.

use tandem::model::NodeName;
use tandem::model::deployment::{Step, StepRecord};

use super::{Act, FOUND};
use crate::world::{Data, Snapshot, Taken, Wrong, need};

impl Act<'_> {
    pub(super) fn snapshot(&mut self, taken: Taken) -> Result<(), Wrong> {
        let id = self.deployment.id.clone();
        let node = self.node();
        let whole = taken == Taken::Ahead || node.running.is_none();
        need(whole, || "the last snapshot of an app that runs".to_owned())?;
        let data = node.volume.ok_or("no volume to take a snapshot of")?;
        node.snapshots.insert((id, taken), Snapshot { data, verified: true });
        Ok(())
    }

    pub(super) fn send(&mut self, taken: Taken, to: &NodeName) -> Result<(), Wrong> {
        let key = (self.deployment.id.clone(), taken);
        let sent = *self.node().snapshots.get(&key).ok_or("nothing to send")?;
        self.world.node(to).snapshots.insert(key, Snapshot { verified: false, ..sent });
        Ok(())
    }

    pub(super) fn verify(&mut self, taken: Taken) -> Result<(), Wrong> {
        let key = (self.deployment.id.clone(), taken);
        self.node().snapshots.get_mut(&key).ok_or("nothing arrived")?.verified = true;
        Ok(())
    }

    pub(super) fn restore(&mut self) -> Result<(), Wrong> {
        let copy = self.last().filter(|copy| copy.verified).ok_or("nothing verified to restore")?;
        let before = self.node().volume.replace(copy.data);
        need(before.is_none(), || format!("{before:?} was there already"))
    }

    pub(super) fn snapshot_source(&mut self) -> Result<(), Wrong> {
        need(self.has_done(&Step::Match), || "nothing is known to fit".to_owned())
    }

    pub(super) fn copy(&mut self, to: &NodeName) -> Result<(), Wrong> {
        need(self.has_done(&Step::SnapshotSource), || "nothing to send".to_owned())?;
        let (rows, root) = (self.world.rows, self.deployment.epoch);
        let data = Data { rows, touched: 0, root };
        let key = (self.deployment.id.clone(), Taken::Source);
        self.world.node(to).snapshots.insert(key, Snapshot { data, verified: false });
        Ok(())
    }

    pub(super) fn replace(&mut self) -> Result<(), Wrong> {
        need(self.last().is_some(), || "nothing would remember the data".to_owned())?;
        let copy = self.snapshot_of(Taken::Source).filter(|copy| copy.verified);
        let rows = self.world.rows;
        let data = copy.ok_or("nothing verified to put in its place")?.data;
        self.node().volume = Some(Data { rows, ..data });
        Ok(())
    }

    pub(super) fn drop_copies(&mut self) {
        let key = (self.deployment.id.clone(), Taken::Source);
        self.node().snapshots.remove(&key);
    }

    pub(super) fn remove(&mut self) -> Result<(), Wrong> {
        let copy = self.last();
        let node = self.node();
        let is_safe = node.volume == copy.map(|copy| copy.data);
        need(is_safe, || format!("{:?} would go, the snapshot is {copy:?}", node.volume))?;
        (node.running, node.volume, node.image) = (None, None, None);
        Ok(())
    }

    pub(super) fn leave(&mut self) -> Result<(), Wrong> {
        let key = (self.deployment.id.clone(), Taken::Last);
        let master = &self.deployment.placement.as_ref().ok_or("no pair")?.master;
        let there = self.world.node(master).snapshots.get(&key).copied();
        let here = self.last();
        need(here.is_some() && here == there, || format!("{here:?} here, {there:?} on {master}"))?;
        self.remove()
    }

    /// Only what the new version may have written is taken back.
    pub(super) fn put_back(&mut self) {
        let name = self.name();
        let writers = [Step::Replace, Step::PostMigrate, Step::Update, Step::Up];
        let writes = |step: &&StepRecord| step.node == *name && writers.contains(&step.step);
        let written =
            self.deployment.steps.iter().filter(writes).any(|step| step.started_at.is_some());
        if let Some(copy) = self.last().filter(|_| written) {
            self.node().volume = Some(copy.data);
        }
    }

    pub(super) fn remove_new_volume(&mut self) -> Result<(), Wrong> {
        if self.migrates() {
            return Ok(());
        }
        let name = self.name();
        let is_check = |step: &&StepRecord| step.step == Step::Check && step.node == *name;
        let check =
            self.deployment.steps.iter().find(is_check).ok_or("nothing was checked here")?;
        if !check.output.contains_key(FOUND) {
            self.node().volume = None;
        }
        Ok(())
    }

    /// The last snapshot of this deployment that this node has.
    pub(super) fn last(&mut self) -> Option<Snapshot> {
        self.snapshot_of(Taken::Last)
    }

    pub(super) fn snapshot_of(&mut self, taken: Taken) -> Option<Snapshot> {
        let key = (self.deployment.id.clone(), taken);
        self.node().snapshots.get(&key).copied()
    }
}
