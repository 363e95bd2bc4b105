//! [`Volumes`] of a machine in memory; machines that share a [`Wire`] can send to each other.

mod wire;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use super::name::{check_host, check_volume};
use super::sent::{Sent, send_from};
use super::{Action, Schedule, SnapshotName, Verified, VolumeError, Volumes};
use crate::clock::testing;
use crate::host::fake::{Failures, FakeMachine, lock};
use wire::ToHost;

pub use wire::Wire;

/// A snapshot on a machine in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeSnapshot {
    /// What the volume held.
    pub content: String,
    /// The id that it was taken with: the same on every machine that has it.
    pub origin: String,
    /// Whether it came from another machine.
    pub received: bool,
    /// Whether only a part of it arrived.
    pub torn: bool,
    /// When it was taken or arrived, by the clock of the machine; none where no test set the time.
    pub created_at: Option<DateTime<Utc>>,
}

impl FakeSnapshot {
    fn uuid(&self) -> Option<String> {
        Some(match self.received {
            true => format!("copy-of-{}", self.origin),
            false => self.origin.clone(),
        })
    }
}

/// The names of snapshots begin at 2025-01-01.
const NAMED_FROM: Duration = Duration::from_secs(1_735_689_600);

/// Keeps volumes and snapshots as texts: a snapshot has the text that its volume had.
#[derive(Default)]
pub struct FakeVolumes {
    machine: FakeMachine,
    wire: Mutex<Arc<Wire>>,
    /// Failures to come, by method. `send torn` breaks a send off half-way, `send hangs` has it never return.
    pub failures: Failures<VolumeError>,
}

impl FakeVolumes {
    /// buttervolume on a machine.
    pub fn new(machine: FakeMachine) -> Self {
        Self { machine, ..Self::default() }
    }

    /// Connects the machine, under an address of its own.
    pub fn connect(&self, wire: &Arc<Wire>, address: &str) {
        lock(&wire.machines).insert(address.to_owned(), self.machine.clone());
        *lock(&self.wire) = wire.clone();
    }

    /// Makes the next call of a method fail.
    pub fn fail_next(&self, operation: &str, error: VolumeError) {
        self.failures.push(operation, error);
    }

    /// Puts a snapshot there as if another node had sent it whole.
    pub fn receive(&self, snapshot: &SnapshotName, content: &str) {
        let arrived = FakeSnapshot {
            content: content.to_owned(),
            origin: format!("uuid-{snapshot}"),
            received: true,
            torn: false,
            created_at: self.shown(),
        };
        self.machine.state().snapshots.insert(snapshot.clone(), arrived);
    }

    fn shown(&self) -> Option<DateTime<Utc>> {
        testing::shown(&self.machine.state().clock)
    }

    fn begin(&self, operation: &str, subject: &str) -> Result<(), VolumeError> {
        self.machine.note(format!("{operation} {subject}"));
        self.failures.take(operation)
    }

    fn take_snapshot(&self, volume: &str) -> Result<SnapshotName, VolumeError> {
        let mut state = self.machine.state();
        let Some(content) = state.volumes.get(volume).cloned() else {
            return Err(refused("snapshot", volume, "No such volume"));
        };
        let tick = lock(&self.wire).clock.fetch_add(1, Ordering::Relaxed) + 1;
        // The name is distinct, whatever the clock says.
        let day = DateTime::UNIX_EPOCH + NAMED_FROM;
        let at = day + TimeDelta::seconds(state.clock.load(Ordering::Relaxed));
        let at = at.format("%Y-%m-%dT%H:%M:%S");
        let name = SnapshotName::parse(&format!("{volume}@{at}.{tick:06}"))?;
        let origin = format!("uuid-{name}");
        let created_at = testing::shown(&state.clock);
        let taken = FakeSnapshot { content, origin, received: false, torn: false, created_at };
        state.snapshots.insert(name.clone(), taken);
        Ok(name)
    }

    /// The marks that a host has snapshots of a volume, oldest first.
    fn marks(&self, volume: &str, host: &str) -> Vec<SnapshotName> {
        let state = self.machine.state();
        let marks = state.snapshots.keys().filter(|s| s.sent_to() == Some(host));
        marks.filter(|mark| mark.volume() == volume).cloned().collect()
    }
}

fn refused(operation: &'static str, subject: &str, why: &str) -> VolumeError {
    VolumeError::Refused { operation, subject: subject.to_owned(), why: why.to_owned() }
}

#[async_trait]
impl Volumes for FakeVolumes {
    async fn list(&self) -> Result<Vec<String>, VolumeError> {
        self.failures.take("list")?;
        let state = self.machine.state();
        let listed = state.volumes.keys().filter(|name| !state.unlisted.contains(*name));
        Ok(listed.cloned().collect())
    }

    async fn find(&self, volume: &str) -> Result<Option<Verified>, VolumeError> {
        self.failures.take("find")?;
        let state = self.machine.state();
        if !state.volumes.contains_key(volume) {
            return Ok(None);
        }
        if let Some(facts) = state.volume_facts.get(volume) {
            return Ok(Some(facts.clone()));
        }
        let from = state.restored.get(volume).and_then(|from| state.snapshots.get(from));
        let unchanged = from.filter(|from| Some(&from.content) == state.volumes.get(volume));
        Ok(Some(unchanged.map_or_else(Verified::default, |from| Verified {
            parent_uuid: from.uuid(),
            generation: Some(1),
            created_generation: Some(1),
            ..Verified::default()
        })))
    }

    async fn nested(&self, volume: &str) -> Result<Vec<String>, VolumeError> {
        self.failures.take("nested")?;
        let state = self.machine.state();
        Ok(state.nested.get(volume).cloned().unwrap_or_default())
    }

    async fn create(&self, volume: &str) -> Result<(), VolumeError> {
        check_volume(volume)?;
        self.begin("create", volume)?;
        self.machine.state().volumes.entry(volume.to_owned()).or_default();
        Ok(())
    }

    async fn fill(&self, volume: &str, directory: &Path) -> Result<(), VolumeError> {
        self.begin("fill", volume)?;
        let content = format!("files of {}", directory.display());
        self.machine.state().volumes.insert(volume.to_owned(), content);
        Ok(())
    }

    async fn size(&self, volume: &str) -> Result<u64, VolumeError> {
        self.failures.take("size")?;
        let state = self.machine.state();
        Ok(state.volumes.get(volume).map_or(0, |content| content.len() as u64))
    }

    async fn snapshots(&self, volume: &str) -> Result<Vec<SnapshotName>, VolumeError> {
        self.failures.take("snapshots")?;
        let state = self.machine.state();
        let own = state.snapshots.keys().filter(|s| s.volume() == volume);
        Ok(own.cloned().collect())
    }

    async fn snapshotted(&self) -> Result<BTreeSet<String>, VolumeError> {
        let state = self.machine.state();
        Ok(state.snapshots.keys().map(|snapshot| snapshot.volume().to_owned()).collect())
    }

    async fn snapshot(&self, volume: &str) -> Result<SnapshotName, VolumeError> {
        check_volume(volume)?;
        self.begin("snapshot", volume)?;
        self.take_snapshot(volume)
    }

    async fn send(&self, snapshot: &SnapshotName, host: &str) -> Result<Sent, VolumeError> {
        check_host(host)?;
        if self.failures.take("send hangs").is_err() {
            std::future::pending::<()>().await;
        }
        let marks = self.marks(snapshot.volume(), host);
        if marks.iter().any(|mark| mark.is_mark_of(snapshot)) {
            self.machine.note(format!("send {snapshot} {host}"));
            self.failures.take("send")?;
            return Ok(Sent::default());
        }
        send_from(&ToHost { seam: self, snapshot, host }, marks).await
    }

    async fn mark(&self, snapshot: &SnapshotName, host: &str) -> Result<(), VolumeError> {
        check_host(host)?;
        self.machine.note(format!("mark {snapshot} {host}"));
        self.failures.take("mark")?;
        let mark = SnapshotName::parse(&format!("{snapshot}@{host}"))?;
        let mut state = self.machine.state();
        if let Some(found) = state.snapshots.get(snapshot).cloned() {
            state.snapshots.insert(mark, found);
        }
        Ok(())
    }

    async fn restore(
        &self,
        snapshot: &SnapshotName,
        target: &str,
    ) -> Result<Option<SnapshotName>, VolumeError> {
        check_volume(target)?;
        self.machine.note(format!("restore {snapshot} {target}"));
        self.failures.take("restore")?;
        let found = self.machine.state().snapshots.get(snapshot).cloned();
        let Some(found) = found else {
            return Err(refused("restore", snapshot.as_str(), "No such snapshot"));
        };
        let there = self.machine.state().volumes.contains_key(target);
        let backup = if there { Some(self.take_snapshot(target)?) } else { None };
        let mut state = self.machine.state();
        state.volumes.insert(target.to_owned(), found.content);
        state.restored.insert(target.to_owned(), snapshot.clone());
        Ok(backup)
    }

    async fn remove_volume(&self, volume: &str) -> Result<(), VolumeError> {
        check_volume(volume)?;
        self.begin("remove_volume", volume)?;
        let mut state = self.machine.state();
        state.volumes.remove(volume);
        for own in state.project_volumes.values_mut() {
            own.remove(volume);
        }
        Ok(())
    }

    async fn remove_snapshot(&self, snapshot: &SnapshotName) -> Result<(), VolumeError> {
        self.begin("remove_snapshot", snapshot.as_str())?;
        self.machine.state().snapshots.remove(snapshot);
        Ok(())
    }

    async fn schedules(&self) -> Result<Vec<Schedule>, VolumeError> {
        self.failures.take("schedules")?;
        Ok(self.machine.state().schedules.clone())
    }

    async fn schedule(
        &self,
        volume: &str,
        action: &Action,
        minutes: u32,
    ) -> Result<(), VolumeError> {
        check_volume(volume)?;
        self.machine.note(format!("schedule {volume} {action} {minutes}"));
        self.failures.take("schedule")?;
        let mut state = self.machine.state();
        state.schedules.retain(|s| s.volume != volume || s.action != *action);
        state.schedules.push(Schedule {
            volume: volume.to_owned(),
            action: action.clone(),
            minutes,
            active: true,
        });
        Ok(())
    }

    async fn unschedule(&self, volume: &str, action: &Action) -> Result<(), VolumeError> {
        check_volume(volume)?;
        self.machine.note(format!("unschedule {volume} {action}"));
        self.failures.take("unschedule")?;
        let mut state = self.machine.state();
        state.schedules.retain(|s| s.volume != volume || s.action != *action);
        Ok(())
    }

    async fn facts(&self, snapshot: &SnapshotName) -> Result<Option<Verified>, VolumeError> {
        self.failures.take("facts")?;
        let state = self.machine.state();
        if let Some(facts) = state.facts.get(snapshot) {
            return Ok(Some(facts.clone()));
        }
        let found = state.snapshots.get(snapshot).cloned();
        Ok(found.map(|found| Verified {
            read_only: !found.torn,
            uuid: found.uuid(),
            parent_uuid: None,
            received_uuid: (found.received && !found.torn).then_some(found.origin),
            created_at: found.created_at,
            ..Verified::default()
        }))
    }

    async fn change_since(
        &self,
        volume: &str,
        snapshot: &SnapshotName,
    ) -> Result<Option<String>, VolumeError> {
        self.failures.take("change_since")?;
        let state = self.machine.state();
        let held = state.snapshots.get(snapshot).map(|snapshot| &snapshot.content);
        Ok((state.volumes.get(volume) != held).then(|| "its content differs".to_owned()))
    }

    async fn keep(&self, snapshot: &SnapshotName) -> Result<(), VolumeError> {
        self.machine.state().kept.insert(snapshot.unmarked());
        Ok(())
    }

    async fn release(&self, snapshot: &SnapshotName) -> Result<(), VolumeError> {
        self.machine.state().kept.remove(&snapshot.unmarked());
        Ok(())
    }

    async fn kept(&self) -> Result<BTreeSet<SnapshotName>, VolumeError> {
        Ok(self.machine.state().kept.clone())
    }

    async fn receptions(&self) -> Result<Vec<DateTime<Utc>>, VolumeError> {
        Ok(self.machine.state().receptions.clone())
    }

    async fn is_sending(&self, volume: &str) -> Result<bool, VolumeError> {
        Ok(self.machine.state().sending.contains(volume))
    }
}
