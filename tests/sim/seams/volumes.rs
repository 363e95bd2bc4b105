//! buttervolume of a machine.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tandem::host::volume::{
    Action, FakeVolumes, Schedule, Sent, SnapshotName, Verified, VolumeError, Volumes,
};

use crate::checks;
use crate::gate::{Gate, Pace};
use crate::network;

pub(crate) struct SimVolumes {
    pub(crate) gate: Arc<Gate>,
    pub(crate) inner: Arc<FakeVolumes>,
}

impl SimVolumes {
    async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        subject: String,
        pace: Pace,
        effect: impl Future<Output = Result<T, VolumeError>> + Send + 'static,
    ) -> Result<T, VolumeError> {
        let what = || format!("{operation} {subject}");
        let failure = || VolumeError::Refused {
            operation,
            subject: subject.clone(),
            why: "it is made to fail".to_owned(),
        };
        self.gate.call(what, pace, failure, effect).await
    }
}

#[async_trait]
impl Volumes for SimVolumes {
    async fn list(&self) -> Result<Vec<String>, VolumeError> {
        let inner = self.inner.clone();
        self.call("list volumes", String::new(), Pace::Short, async move { inner.list().await })
            .await
    }

    async fn find(&self, volume: &str) -> Result<Option<Verified>, VolumeError> {
        let (inner, name) = (self.inner.clone(), volume.to_owned());
        let effect = async move { inner.find(&name).await };
        self.call("find", volume.to_owned(), Pace::Short, effect).await
    }

    async fn nested(&self, volume: &str) -> Result<Vec<String>, VolumeError> {
        let (inner, name) = (self.inner.clone(), volume.to_owned());
        let effect = async move { inner.nested(&name).await };
        self.call("nested", volume.to_owned(), Pace::Short, effect).await
    }

    async fn create(&self, volume: &str) -> Result<(), VolumeError> {
        let (inner, name) = (self.inner.clone(), volume.to_owned());
        let effect = async move { inner.create(&name).await };
        self.call("create", volume.to_owned(), Pace::Short, effect).await
    }

    async fn fill(&self, volume: &str, directory: &Path) -> Result<(), VolumeError> {
        let (inner, name) = (self.inner.clone(), volume.to_owned());
        let directory = directory.to_owned();
        let effect = async move { inner.fill(&name, &directory).await };
        self.call("fill", volume.to_owned(), Pace::Long, effect).await
    }

    async fn size(&self, volume: &str) -> Result<u64, VolumeError> {
        let (inner, name) = (self.inner.clone(), volume.to_owned());
        let effect = async move { inner.size(&name).await };
        self.call("size", volume.to_owned(), Pace::Short, effect).await
    }

    async fn snapshots(&self, volume: &str) -> Result<Vec<SnapshotName>, VolumeError> {
        let (inner, name) = (self.inner.clone(), volume.to_owned());
        let effect = async move { inner.snapshots(&name).await };
        self.call("list snapshots", volume.to_owned(), Pace::Short, effect).await
    }

    async fn snapshotted(&self) -> Result<BTreeSet<String>, VolumeError> {
        let inner = self.inner.clone();
        let effect = async move { inner.snapshotted().await };
        self.call("list all snapshots", String::new(), Pace::Short, effect).await
    }

    async fn snapshot(&self, volume: &str) -> Result<SnapshotName, VolumeError> {
        let (inner, name) = (self.inner.clone(), volume.to_owned());
        let effect = async move { inner.snapshot(&name).await };
        self.call("snapshot", volume.to_owned(), Pace::Long, effect).await
    }

    async fn send(&self, snapshot: &SnapshotName, host: &str) -> Result<Sent, VolumeError> {
        let (world, node) = (self.gate.world.clone(), self.gate.node);
        let effect = network::send(world, node, snapshot.clone(), host.to_owned());
        self.call("send", format!("{snapshot} {host}"), Pace::Long, effect).await
    }

    async fn restore(
        &self,
        snapshot: &SnapshotName,
        target: &str,
    ) -> Result<Option<SnapshotName>, VolumeError> {
        let (inner, name, volume) = (self.inner.clone(), snapshot.clone(), target.to_owned());
        let effect = async move { inner.restore(&name, &volume).await };
        self.call("restore", format!("{snapshot} {target}"), Pace::Long, effect).await
    }

    async fn remove_volume(&self, volume: &str) -> Result<(), VolumeError> {
        let (inner, name, gate) = (self.inner.clone(), volume.to_owned(), self.gate.clone());
        let effect = async move {
            let removed = inner.remove_volume(&name).await;
            checks::removed(&gate.world, gate.node, &name);
            removed
        };
        self.call("remove_volume", volume.to_owned(), Pace::Long, effect).await
    }

    async fn remove_snapshot(&self, snapshot: &SnapshotName) -> Result<(), VolumeError> {
        let (inner, name) = (self.inner.clone(), snapshot.clone());
        let effect = async move { inner.remove_snapshot(&name).await };
        self.call("remove_snapshot", snapshot.to_string(), Pace::Long, effect).await
    }

    async fn schedules(&self) -> Result<Vec<Schedule>, VolumeError> {
        let inner = self.inner.clone();
        let effect = async move { inner.schedules().await };
        self.call("list schedules", String::new(), Pace::Short, effect).await
    }

    async fn schedule(
        &self,
        volume: &str,
        action: &Action,
        minutes: u32,
    ) -> Result<(), VolumeError> {
        let (inner, name, act) = (self.inner.clone(), volume.to_owned(), action.clone());
        let effect = async move { inner.schedule(&name, &act, minutes).await };
        self.call("schedule", format!("{volume} {action}"), Pace::Short, effect).await
    }

    async fn unschedule(&self, volume: &str, action: &Action) -> Result<(), VolumeError> {
        let (inner, name, act) = (self.inner.clone(), volume.to_owned(), action.clone());
        let effect = async move { inner.unschedule(&name, &act).await };
        self.call("unschedule", format!("{volume} {action}"), Pace::Short, effect).await
    }

    async fn facts(&self, snapshot: &SnapshotName) -> Result<Option<Verified>, VolumeError> {
        let (inner, name) = (self.inner.clone(), snapshot.clone());
        let effect = async move { inner.facts(&name).await };
        self.call("facts", snapshot.to_string(), Pace::Short, effect).await
    }

    async fn change_since(
        &self,
        volume: &str,
        snapshot: &SnapshotName,
    ) -> Result<Option<String>, VolumeError> {
        let (inner, name, from) = (self.inner.clone(), volume.to_owned(), snapshot.clone());
        let effect = async move { inner.change_since(&name, &from).await };
        self.call("look for changes", volume.to_owned(), Pace::Short, effect).await
    }

    async fn mark(&self, snapshot: &SnapshotName, host: &str) -> Result<(), VolumeError> {
        let (inner, name, to) = (self.inner.clone(), snapshot.clone(), host.to_owned());
        let effect = async move { inner.mark(&name, &to).await };
        self.call("mark", snapshot.to_string(), Pace::Short, effect).await
    }

    async fn keep(&self, snapshot: &SnapshotName) -> Result<(), VolumeError> {
        let (inner, name) = (self.inner.clone(), snapshot.clone());
        let effect = async move { inner.keep(&name).await };
        self.call("keep", snapshot.to_string(), Pace::Short, effect).await
    }

    async fn release(&self, snapshot: &SnapshotName) -> Result<(), VolumeError> {
        let (inner, name) = (self.inner.clone(), snapshot.clone());
        let effect = async move { inner.release(&name).await };
        self.call("release", snapshot.to_string(), Pace::Short, effect).await
    }

    async fn kept(&self) -> Result<BTreeSet<SnapshotName>, VolumeError> {
        let inner = self.inner.clone();
        let effect = async move { inner.kept().await };
        self.call("list what is kept", String::new(), Pace::Short, effect).await
    }

    async fn receptions(&self) -> Result<Vec<DateTime<Utc>>, VolumeError> {
        let inner = self.inner.clone();
        let effect = async move { inner.receptions().await };
        self.call("list receptions", String::new(), Pace::Short, effect).await
    }

    async fn is_sending(&self, volume: &str) -> Result<bool, VolumeError> {
        let (inner, name) = (self.inner.clone(), volume.to_owned());
        let effect = async move { inner.is_sending(&name).await };
        self.call("look for sends", volume.to_owned(), Pace::Short, effect).await
    }
}
