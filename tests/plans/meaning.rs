//! What each step and its undo do to the world: src/exec/apply.rs and src/exec/undo.rs in a few words.

mod data;
mod version;

use std::collections::{BTreeMap, BTreeSet};

use tandem::model::deployment::{Deployment, Status, Step};
use tandem::model::{NodeName, Placement, Role};

use crate::world::{Node, Schedule, Taken, World, Wrong, need};

/// The note of a check that found a volume.
const FOUND: &str = "volume";

/// What a step leaves in the record.
type Notes = BTreeMap<String, String>;

/// A step of a deployment, on its node.
pub(crate) struct Act<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) deployment: &'a Deployment,
    pub(crate) index: usize,
}

impl<'a> Act<'a> {
    /// Carries the step out, or says what speaks against it.
    pub(crate) fn apply(&mut self) -> Result<Notes, Wrong> {
        let (deployment, name) = (self.deployment, self.name());
        match self.step() {
            Step::Check => return self.check(),
            Step::Compare => return self.compare(),
            Step::Checkout => self.check_out(),
            Step::Probe { to } => self.world.node(to).probe = true,
            Step::ReceiveProbe => self.prove()?,
            Step::ConfirmLoss => need(self.node().volume.is_none(), || "it is there".to_owned())?,
            Step::Recall => self.recall()?,
            Step::Measure => need(self.node().volume.is_some(), || "no volume".to_owned())?,
            Step::Room => need(self.has_done(&Step::Measure), || "not measured".to_owned())?,
            Step::KeepImages => self.node().kept = self.node().image,
            Step::Pull => self.pull()?,
            Step::Build => self.node().image = Some(self.code()?),
            Step::Seed { to } => {
                self.snapshot(Taken::Ahead)?;
                self.send(Taken::Ahead, to)?;
            }
            Step::ReceiveSeed => self.verify(Taken::Ahead)?,
            Step::Offer => {
                let here = self.world.source.as_ref() == Some(name);
                need(here, || "the source is somewhere else".to_owned())?;
            }
            Step::Match => need(self.has_done(&Step::Offer), || "nothing is offered".to_owned())?,
            Step::SnapshotSource => self.snapshot_source()?,
            Step::Copy { to } => self.copy(to)?,
            Step::ReceiveCopy => self.verify(Taken::Source)?,
            Step::BeginMaintenance => self.world.maintenance = true,
            Step::Stop => self.stop()?,
            Step::Snapshot => self.snapshot(Taken::Last)?,
            Step::Send { to } => self.send(Taken::Last, to)?,
            Step::Receive => self.verify(Taken::Last)?,
            Step::Restore => self.restore()?,
            Step::Replace => self.replace()?,
            // A script may start containers, too.
            Step::PostMigrate | Step::Update => self.start()?,
            Step::Up => {
                self.has_updated()?;
                self.start()?;
            }
            Step::AwaitHealthy => self.runs()?,
            Step::Commit => self.commit()?,
            Step::DropCopies => self.drop_copies(),
            Step::Forget => self.forget()?,
            Step::EndMaintenance => self.world.maintenance = false,
            Step::KeepRunning => self.runs()?,
            Step::Register => self.node().registered = true,
            Step::Deregister => self.node().registered = false,
            Step::Schedule => self.node().schedules = schedules(deployment, name),
            Step::Unschedule => self.node().schedules.clear(),
            Step::Remove => self.remove()?,
            Step::Leave => self.leave()?,
            Step::RemoveCheckouts { keep } => {
                self.node().checkouts.retain(|id, _| Some(id) == keep.as_ref());
                self.node().probe = false;
            }
            Step::ReleaseImages => self.node().kept = None,
        }
        Ok(Notes::new())
    }

    fn recall(&mut self) -> Result<(), Wrong> {
        let any = self.node().snapshots.values().any(|copy| copy.verified);
        need(any, || "no copy to begin from".to_owned())
    }

    /// Undoes the step, whether it did all, some or nothing of it.
    pub(crate) fn undo(&mut self) -> Result<(), Wrong> {
        match self.step() {
            Step::Checkout => self.discard(),
            Step::KeepImages => {
                let node = self.node();
                node.image = node.kept.take().or(node.image);
            }
            Step::Build => self.discard_image(),
            Step::BeginMaintenance => self.world.maintenance = false,
            Step::Stop => self.start_former()?,
            Step::Snapshot => self.put_back(),
            Step::PostMigrate | Step::Update | Step::Up => {
                self.node().running = None;
                self.remove_new_volume()?;
            }
            Step::Restore => self.remove_new_volume()?,
            Step::Match => self.drop_copies(),
            Step::Check
            | Step::Probe { .. }
            | Step::ReceiveProbe
            | Step::ConfirmLoss
            | Step::Recall
            | Step::Measure
            | Step::Room
            | Step::Pull
            | Step::Seed { .. }
            | Step::ReceiveSeed
            | Step::Compare
            | Step::Offer
            | Step::SnapshotSource
            | Step::Copy { .. }
            | Step::ReceiveCopy
            | Step::Replace
            | Step::Send { .. }
            | Step::Receive
            | Step::AwaitHealthy
            | Step::Commit
            | Step::Forget => {}
            after @ (Step::EndMaintenance
            | Step::KeepRunning
            | Step::Register
            | Step::Deregister
            | Step::Schedule
            | Step::Unschedule
            | Step::DropCopies
            | Step::Remove
            | Step::Leave
            | Step::RemoveCheckouts { .. }
            | Step::ReleaseImages) => return Err(format!("{after} has no undo")),
        }
        Ok(())
    }

    fn prove(&mut self) -> Result<(), Wrong> {
        need(self.node().probe, || "no probe arrived".to_owned())?;
        let pair = self.deployment.placement.as_ref().ok_or("no pair")?;
        self.world.ways.insert((pair.master.clone(), self.name().clone()));
        Ok(())
    }

    fn step(&self) -> &'a Step {
        &self.deployment.steps[self.index].step
    }

    fn name(&self) -> &'a NodeName {
        &self.deployment.steps[self.index].node
    }

    fn node(&mut self) -> &mut Node {
        self.world.node(&self.deployment.steps[self.index].node)
    }

    fn migrates(&self) -> bool {
        self.deployment.request.source().is_some()
    }

    /// Whether the step was done, or was not necessary.
    fn has_done(&self, step: &Step) -> bool {
        let is_done = |status| matches!(status, Status::Done | Status::Skipped);
        self.deployment.steps.iter().any(|other| other.step == *step && is_done(other.status))
    }
}

/// The schedules of a node's new role.
pub(crate) fn schedules(deployment: &Deployment, name: &NodeName) -> BTreeSet<Schedule> {
    let pair = deployment.placement.as_ref();
    let replica = pair.and_then(|pair| pair.replica.clone());
    let copies = replica.map_or(Schedule::Snapshot, Schedule::Replicate);
    match Placement::role_of(pair, name) {
        Role::Master => [copies, Schedule::Purge].into(),
        Role::Replica => [Schedule::Purge].into(),
        Role::Bystander => BTreeSet::new(),
    }
}
