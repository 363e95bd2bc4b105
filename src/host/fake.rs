//! What the fakes share: one machine in memory, failures to come, and a log of the calls.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use crate::clock::testing::Ahead;

use super::compose::FakeCompose;
use super::docker::{Container, FakeContainers, VolumeUser};
use super::repository::FakeRepositories;
use super::resources::FakeResources;
use super::volume::{FakeSnapshot, FakeVolumes, Schedule, SnapshotName, Verified};

/// Errors that the next calls of an operation are to return.
#[derive(Debug)]
pub struct Failures<E>(Mutex<BTreeMap<String, VecDeque<E>>>);

impl<E> Default for Failures<E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<E> Failures<E> {
    /// Makes the next call of `operation` (a method's name) fail; several queue up.
    pub fn push(&self, operation: &str, error: E) {
        lock(&self.0).entry(operation.to_owned()).or_default().push_back(error);
    }

    pub(super) fn take(&self, operation: &str) -> Result<(), E> {
        match lock(&self.0).get_mut(operation).and_then(VecDeque::pop_front) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// The state of a machine that exists in memory only.
#[derive(Debug, Default, Clone)]
pub struct MachineState {
    /// Every call of a fake, in order: `up appmaster12345`.
    pub calls: Vec<String>,
    /// Containers by project.
    pub containers: BTreeMap<String, Vec<Container>>,
    /// Volumes that compose made, by project.
    pub project_volumes: BTreeMap<String, BTreeSet<String>>,
    /// Volumes with their content (any text: a restored one has that of its snapshot).
    pub volumes: BTreeMap<String, String>,
    /// Snapshots with their content.
    pub snapshots: BTreeMap<SnapshotName, FakeSnapshot>,
    /// What the file system is to say of snapshots, where that is not what their names and contents tell.
    pub facts: BTreeMap<SnapshotName, Verified>,
    /// What the file system is to say of volumes; nothing otherwise but that they are there.
    pub volume_facts: BTreeMap<String, Verified>,
    /// The snapshot that each volume was restored from.
    pub restored: BTreeMap<String, SnapshotName>,
    /// Volumes that the list leaves out, as buttervolume does when it can't ask about them.
    pub unlisted: BTreeSet<String>,
    /// The subvolumes inside volumes.
    pub nested: BTreeMap<String, Vec<String>>,
    /// Containers of no service that run and mount a volume, by its name.
    pub strangers: BTreeMap<String, Vec<VolumeUser>>,
    /// Snapshots that are kept from purges.
    pub kept: BTreeSet<SnapshotName>,
    /// When each transfer that arrives now began.
    pub receptions: Vec<DateTime<Utc>>,
    /// The volumes of which a snapshot is being sent, by somebody else.
    pub sending: BTreeSet<String>,
    /// Snapshots that were sent, as (host, snapshot).
    pub sent: Vec<(String, SnapshotName)>,
    /// The scheduler's table.
    pub schedules: Vec<Schedule>,
    /// Image references, each with its tag, and the image each stands for: see [`full_reference`].
    pub images: BTreeMap<String, String>,
    /// Its clock.
    pub clock: Ahead,
    /// Networks that Docker does not know; it knows all others.
    pub missing_networks: BTreeSet<String>,
    /// Where images want volumes.
    pub image_volumes: BTreeMap<String, Vec<String>>,
    /// Counts what needs to be distinct: snapshots, containers.
    pub counter: u64,
}

/// An image's reference as Docker keeps it: `latest` is the tag where none is given.
pub fn full_reference(image: &str) -> String {
    match image.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => image.to_owned(),
        Some(_) | None => format!("{image}:latest"),
    }
}

/// A machine that exists in memory only; the fakes of one [`super::Host`] share it.
#[derive(Debug, Default, Clone)]
pub struct FakeMachine(Arc<Mutex<MachineState>>);

impl FakeMachine {
    /// The state, to look at or to change. Not to be held across an await.
    pub fn state(&self) -> MutexGuard<'_, MachineState> {
        lock(&self.0)
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    pub(super) fn note(&self, call: String) {
        self.state().calls.push(call);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The fakes behind a [`super::Host::fake`].
#[derive(Clone)]
pub struct FakeHost {
    /// The machine that they share.
    pub machine: FakeMachine,
    /// Repositories, empty at first.
    pub repositories: Arc<FakeRepositories>,
    /// Compose.
    pub compose: Arc<FakeCompose>,
    /// Docker.
    pub containers: Arc<FakeContainers>,
    /// buttervolume.
    pub volumes: Arc<FakeVolumes>,
    /// Disk and memory.
    pub resources: Arc<FakeResources>,
}

impl Default for FakeHost {
    fn default() -> Self {
        let machine = FakeMachine::default();
        Self {
            repositories: Arc::new(FakeRepositories::new(machine.clone())),
            compose: Arc::new(FakeCompose::new(machine.clone())),
            containers: Arc::new(FakeContainers::new(machine.clone())),
            volumes: Arc::new(FakeVolumes::new(machine.clone())),
            resources: Arc::default(),
            machine,
        }
    }
}

#[cfg(test)]
mod tests;
