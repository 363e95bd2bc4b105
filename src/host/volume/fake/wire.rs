//! What one machine in memory sends to another.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;

use super::{FakeSnapshot, FakeVolumes, refused};
use crate::clock::testing;
use crate::host::fake::{FakeMachine, lock};
use crate::host::volume::sent::Way;
use crate::host::volume::{SnapshotName, VolumeError, Volumes as _};

/// What connects machines in memory: those that can be sent to, by address, and the clock that they share. What is sent
/// to another address arrives nowhere.
#[derive(Debug, Default)]
pub struct Wire {
    pub(super) machines: Mutex<BTreeMap<String, FakeMachine>>,
    pub(super) clock: AtomicU64,
    clones: AtomicBool,
}

impl Wire {
    /// From now on changes say which parts to take over from their base, as those of preallocated files do, and every
    /// receiver is a btrfs that does not find a base which it took itself.
    pub fn send_clones(&self) {
        self.clones.store(true, Ordering::Relaxed);
    }
}

impl FakeVolumes {
    /// Sends as buttervolume's scheduler does: from the newest mark, or else not at all.
    ///
    /// # Errors
    /// As [`Volumes::send`].
    pub fn send_once(&self, snapshot: &SnapshotName, host: &str) -> Result<(), VolumeError> {
        self.machine.note(format!("send {snapshot} {host}"));
        self.failures.take("send")?;
        let former = self.marks(snapshot.volume(), host);
        let sent = self.machine.state().snapshots.get(snapshot).cloned();
        let sent = sent.ok_or_else(|| refused("send", snapshot.as_str(), "No such snapshot"))?;
        let half = || {
            let content = sent.content.chars().take(sent.content.len() / 2).collect();
            FakeSnapshot { content, torn: true, ..sent.clone() }
        };
        if let Err(error) = self.failures.take("send torn") {
            self.deliver(snapshot, half(), host);
            return Err(error);
        }
        if former.last().is_some_and(|mark| self.is_lost_on_receivers(mark)) {
            self.deliver(snapshot, half(), host);
            let why = "ERROR: clone: did not find source subvol";
            return Err(refused("send", snapshot.as_str(), why));
        }
        self.deliver(snapshot, sent.clone(), host);
        let mark = SnapshotName::parse(&format!("{snapshot}@{host}"))?;
        let mut state = self.machine.state();
        state.snapshots.retain(|name, _| !former.contains(name));
        state.snapshots.insert(mark, sent);
        state.sent.push((host.to_owned(), snapshot.clone()));
        Ok(())
    }

    /// Whether a receiver that clones from what this marks would not find it.
    fn is_lost_on_receivers(&self, mark: &SnapshotName) -> bool {
        let clones = lock(&self.wire).clones.load(Ordering::Relaxed);
        let state = self.machine.state();
        clones && state.snapshots.get(mark).is_some_and(|base| base.received)
    }

    /// What the other end has after a send.
    fn deliver(&self, snapshot: &SnapshotName, sent: FakeSnapshot, host: &str) {
        let wire = lock(&self.wire).clone();
        let target = lock(&wire.machines).get(host).cloned();
        if let Some(machine) = target {
            let mut state = machine.state();
            let created_at = testing::shown(&state.clock);
            let arrived = FakeSnapshot { received: true, created_at, ..sent };
            state.snapshots.insert(snapshot.clone(), arrived);
        }
    }
}

pub(super) struct ToHost<'a> {
    pub(super) seam: &'a FakeVolumes,
    pub(super) snapshot: &'a SnapshotName,
    pub(super) host: &'a str,
}

#[async_trait]
impl Way for ToHost<'_> {
    async fn send(&self) -> Result<(), VolumeError> {
        self.seam.send_once(self.snapshot, self.host)
    }

    async fn unmark(&self, mark: &SnapshotName) -> Result<(), VolumeError> {
        self.seam.machine.state().snapshots.remove(mark);
        Ok(())
    }

    async fn mark_again(&self, base: &SnapshotName) -> Result<(), VolumeError> {
        self.seam.mark(base, self.host).await
    }
}
