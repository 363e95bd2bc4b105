//! [`Volumes`] of a machine in memory.

use async_trait::async_trait;

use super::name::{check_host, check_volume};
use super::{Action, Schedule, SnapshotName, Verified, VolumeError, Volumes};
use crate::host::fake::{Failures, FakeMachine};

/// Keeps volumes and snapshots as texts: a snapshot has the text that its volume had.
#[derive(Default)]
pub struct FakeVolumes {
    machine: FakeMachine,
    /// Failures to come, by method.
    pub failures: Failures<VolumeError>,
}

impl FakeVolumes {
    /// buttervolume on a machine.
    pub fn new(machine: FakeMachine) -> Self {
        Self { machine, failures: Failures::default() }
    }

    /// Makes the next call of a method fail.
    pub fn fail_next(&self, operation: &str, error: VolumeError) {
        self.failures.push(operation, error);
    }

    /// Puts a snapshot there as if another node had sent it whole.
    pub fn receive(&self, snapshot: &SnapshotName, content: &str) {
        let mut state = self.machine.state();
        state.snapshots.insert(snapshot.clone(), content.to_owned());
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
        state.counter += 1;
        let name = format!("{volume}@2025-01-01T00:00:00.{:06}", state.counter);
        let name = SnapshotName::parse(&name)?;
        state.snapshots.insert(name.clone(), content);
        Ok(name)
    }
}

fn refused(operation: &'static str, subject: &str, why: &str) -> VolumeError {
    VolumeError::Refused { operation, subject: subject.to_owned(), why: why.to_owned() }
}

#[async_trait]
impl Volumes for FakeVolumes {
    async fn list(&self) -> Result<Vec<String>, VolumeError> {
        self.failures.take("list")?;
        Ok(self.machine.state().volumes.keys().cloned().collect())
    }

    async fn snapshots(&self, volume: &str) -> Result<Vec<SnapshotName>, VolumeError> {
        self.failures.take("snapshots")?;
        let state = self.machine.state();
        let own = state.snapshots.keys().filter(|s| s.volume() == volume);
        Ok(own.cloned().collect())
    }

    async fn snapshot(&self, volume: &str) -> Result<SnapshotName, VolumeError> {
        check_volume(volume)?;
        self.begin("snapshot", volume)?;
        self.take_snapshot(volume)
    }

    async fn send(&self, snapshot: &SnapshotName, host: &str) -> Result<(), VolumeError> {
        check_host(host)?;
        self.machine.note(format!("send {snapshot} {host}"));
        self.failures.take("send")?;
        let mark = SnapshotName::parse(&format!("{snapshot}@{host}"))?;
        let mut state = self.machine.state();
        if state.snapshots.contains_key(&mark) {
            return Ok(());
        }
        let Some(content) = state.snapshots.get(snapshot).cloned() else {
            return Err(refused("send", snapshot.as_str(), "No such snapshot"));
        };
        let former =
            |s: &SnapshotName| s.volume() == snapshot.volume() && s.sent_to() == Some(host);
        state.snapshots.retain(|s, _| !former(s));
        state.snapshots.insert(mark, content);
        state.sent.push((host.to_owned(), snapshot.clone()));
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
        let content = self.machine.state().snapshots.get(snapshot).cloned();
        let Some(content) = content else {
            return Err(refused("restore", snapshot.as_str(), "No such snapshot"));
        };
        let there = self.machine.state().volumes.contains_key(target);
        let backup = if there { Some(self.take_snapshot(target)?) } else { None };
        let mut state = self.machine.state();
        state.volumes.insert(target.to_owned(), content);
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
        let id = format!("uuid-{snapshot}");
        let there = state.snapshots.contains_key(snapshot);
        Ok(there.then(|| Verified {
            read_only: true,
            uuid: Some(id.clone()),
            parent_uuid: None,
            received_uuid: Some(id),
        }))
    }
}
