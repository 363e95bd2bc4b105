//! [`Volumes`] by buttervolume's API on its socket.

mod answer;
mod client;
mod disk;
mod stall;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::sync::Mutex;

use self::disk::{blocking, on_disk, subvolumes};
use super::name::{check_host, check_volume};
use super::receptions::{receptions, sends};
use super::sent::{Sent, Way, send_from};
use super::shelf::Shelf;
use super::{Action, Schedule, SnapshotName, Verified, VolumeError, Volumes, btrfs, late};

/// Where buttervolume is, and how long it may take.
#[derive(Debug, Clone)]
pub struct ButtervolumeSettings {
    /// Its socket.
    pub socket: PathBuf,
    /// The directory of the volumes, as this process sees it.
    pub volumes: PathBuf,
    /// The directory of the snapshots, as this process sees it.
    pub snapshots: PathBuf,
    /// The deadline of everything but sending.
    pub deadline: Duration,
    /// The deadline of sending one snapshot whose progress can't be seen.
    pub send_deadline: Duration,
    /// How long sending may get nowhere, where its progress can be seen.
    pub stall: Duration,
    /// Where the kernel tells of processes.
    pub proc: PathBuf,
    /// How long to wait for a socket that is not there (buttervolume is being restarted).
    pub absence: Duration,
}

impl Default for ButtervolumeSettings {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/docker/plugins/btrfs.sock"),
            volumes: PathBuf::from("/var/lib/buttervolume/volumes"),
            snapshots: PathBuf::from("/var/lib/buttervolume/snapshots"),
            deadline: Duration::from_secs(120),
            send_deadline: Duration::from_secs(12 * 3600),
            stall: Duration::from_secs(300),
            proc: PathBuf::from("/proc"),
            absence: Duration::from_secs(10),
        }
    }
}

/// The buttervolume of this node.
#[derive(Debug, Clone)]
pub struct Buttervolume {
    settings: ButtervolumeSettings,
    shelf: Shelf,
    /// buttervolume reads its table and writes it anew, without a lock: of two calls at once one is forgotten, or finds
    /// the table empty and leaves nothing of it but its own line.
    table: Arc<Mutex<()>>,
}

impl Buttervolume {
    /// A client; it connects for each call anew.
    pub fn new(settings: ButtervolumeSettings) -> Self {
        let shelf = Shelf::new(settings.snapshots.clone());
        Self { settings, shelf, table: Arc::default() }
    }
}

#[async_trait]
impl Volumes for Buttervolume {
    async fn list(&self) -> Result<Vec<String>, VolumeError> {
        let call = self.post("list", "volumes", "/VolumeDriver.List", json!({}));
        let mut names = self.call(call).await?.names("Volumes")?;
        // buttervolume leaves out every volume that it could not ask the file system about.
        let dir = self.settings.volumes.clone();
        names.extend(blocking(move || subvolumes(&dir)).await.map_err(VolumeError::Volumes)?);
        names.sort();
        names.dedup();
        Ok(names)
    }

    async fn find(&self, volume: &str) -> Result<Option<Verified>, VolumeError> {
        check_volume(volume)?;
        let path = self.settings.volumes.join(volume);
        match tokio::fs::symlink_metadata(&path).await {
            // The directory of the volumes itself has to be there: a disk that is not mounted is no empty one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let dir = tokio::fs::metadata(&self.settings.volumes).await;
                return dir.map(|_| None).map_err(VolumeError::Volumes);
            }
            Err(error) => return Err(VolumeError::Volumes(error)),
            Ok(_) => {}
        }
        let shown = btrfs::show(&path).await.map_err(|source| {
            let volume = volume.to_owned();
            VolumeError::InspectVolume { volume, source }
        })?;
        Ok(Some(shown))
    }

    async fn nested(&self, volume: &str) -> Result<Vec<String>, VolumeError> {
        check_volume(volume)?;
        let path = self.settings.volumes.join(volume);
        btrfs::nested(&path).await.map_err(|source| {
            let volume = volume.to_owned();
            VolumeError::InspectVolume { volume, source }
        })
    }

    async fn create(&self, volume: &str) -> Result<(), VolumeError> {
        check_volume(volume)?;
        let body = json!({"Name": volume});
        let call = self.post("create", volume, "/VolumeDriver.Create", body);
        self.call(call).await.map(drop)
    }

    async fn fill(&self, volume: &str, directory: &Path) -> Result<(), VolumeError> {
        check_volume(volume)?;
        let path = self.settings.volumes.join(volume);
        btrfs::fill(&path, directory).await.map_err(|source| {
            let volume = volume.to_owned();
            VolumeError::Fill { volume, source }
        })
    }

    async fn size(&self, volume: &str) -> Result<u64, VolumeError> {
        check_volume(volume)?;
        let path = self.settings.volumes.join(volume);
        btrfs::size(&path).await.map_err(|source| {
            let volume = volume.to_owned();
            VolumeError::Measure { volume, source }
        })
    }

    async fn snapshots(&self, volume: &str) -> Result<Vec<SnapshotName>, VolumeError> {
        check_volume(volume)?;
        let path = format!("/VolumeDriver.Snapshot.List/{volume}");
        let call = self.get("list the snapshots of", volume, path);
        let names = self.call(call).await?.names("Snapshots")?;
        // Whatever else lies in that directory is no snapshot of ours.
        let parsed = names.iter().filter_map(|name| SnapshotName::parse(name).ok());
        let mut own: Vec<_> = parsed.filter(|name| name.volume() == volume).collect();
        own.sort();
        own.dedup();
        Ok(own)
    }

    async fn snapshotted(&self) -> Result<BTreeSet<String>, VolumeError> {
        let shelf = self.shelf.clone();
        on_disk("list the snapshots of all volumes", move || shelf.volumes()).await
    }

    async fn snapshot(&self, volume: &str) -> Result<SnapshotName, VolumeError> {
        check_volume(volume)?;
        let body = json!({"Name": volume});
        let call = self.post("snapshot", volume, "/VolumeDriver.Snapshot", body);
        let answer = self.call(call).await?;
        let snapshot = SnapshotName::parse(&answer.text("Snapshot")?)?;
        let why = match self.facts(&snapshot).await? {
            Some(facts) if facts.read_only => return Ok(snapshot),
            Some(_) => "it is writable",
            None => "it is not there",
        };
        Err(VolumeError::Unverified { snapshot, why })
    }

    async fn send(&self, snapshot: &SnapshotName, host: &str) -> Result<Sent, VolumeError> {
        check_host(host)?;
        let hold = self.shelf.hold(snapshot.volume());
        let mut marks = self.snapshots(snapshot.volume()).await?;
        marks.retain(|name| name.sent_to() == Some(host));
        if marks.iter().any(|mark| mark.is_mark_of(snapshot)) {
            return Ok(Sent::default());
        }
        send_from(&ToHost { seam: self, file: hold.file(snapshot), host }, marks).await
    }

    async fn mark(&self, snapshot: &SnapshotName, host: &str) -> Result<(), VolumeError> {
        check_host(host)?;
        let hold = self.shelf.hold(snapshot.volume());
        let marks = self.snapshots(snapshot.volume()).await?;
        let is_it =
            |name: &&SnapshotName| name.sent_to() == Some(host) && name.is_mark_of(snapshot);
        if marks.iter().any(|name| is_it(&name)) {
            return Ok(());
        }
        let made = btrfs::snapshot(&hold.path(snapshot), &hold.path_of_mark(snapshot, host)).await;
        made.map_err(|source| {
            let (snapshot, host) = (snapshot.clone(), host.to_owned());
            VolumeError::Mark { snapshot, host, source }
        })
    }

    async fn restore(
        &self,
        snapshot: &SnapshotName,
        target: &str,
    ) -> Result<Option<SnapshotName>, VolumeError> {
        check_volume(target)?;
        let hold = self.shelf.hold(snapshot.volume());
        let body = json!({"Name": hold.file(snapshot), "Target": target});
        let call = self.post("restore", snapshot.as_str(), "/VolumeDriver.Snapshot.Restore", body);
        let answer = self.call(call).await?;
        match answer.optional_text("VolumeBackup") {
            Some(name) => SnapshotName::parse(&name).map(Some),
            None => Ok(None),
        }
    }

    async fn remove_volume(&self, volume: &str) -> Result<(), VolumeError> {
        check_volume(volume)?;
        let body = json!({"Name": volume});
        let call = self.post("remove", volume, "/VolumeDriver.Remove", body);
        match self.call(call).await {
            Ok(_) => Ok(()),
            // It says "no such volume" whatever went wrong.
            Err(error @ VolumeError::Refused { .. }) => {
                if self.list().await?.iter().any(|name| name == volume) {
                    Err(error)
                } else {
                    Ok(())
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn remove_snapshot(&self, snapshot: &SnapshotName) -> Result<(), VolumeError> {
        let hold = self.shelf.hold(snapshot.volume());
        let body = json!({"Name": hold.file(snapshot)});
        let path = "/VolumeDriver.Snapshot.Remove";
        let call = self.post("remove", snapshot.as_str(), path, body);
        match self.call(call).await {
            Err(VolumeError::Refused { why, .. }) if why == "No such snapshot" => Ok(()),
            other => other.map(drop),
        }
    }

    async fn schedules(&self) -> Result<Vec<Schedule>, VolumeError> {
        let path = "/VolumeDriver.Schedule.List".to_owned();
        let call = self.get("list", "schedules", path);
        let _turn = self.table.lock().await;
        self.call(call).await?.schedules()
    }

    async fn schedule(
        &self,
        volume: &str,
        action: &Action,
        minutes: u32,
    ) -> Result<(), VolumeError> {
        // 0 would take it off the schedule.
        self.set_timer("schedule", volume, action, minutes.max(1).to_string()).await
    }

    async fn unschedule(&self, volume: &str, action: &Action) -> Result<(), VolumeError> {
        self.set_timer("unschedule", volume, action, "0".to_owned()).await
    }

    async fn facts(&self, snapshot: &SnapshotName) -> Result<Option<Verified>, VolumeError> {
        let hold = self.shelf.hold(snapshot.volume());
        let path = hold.path(snapshot);
        if !tokio::fs::try_exists(&path).await.unwrap_or(true) {
            return Ok(None);
        }
        match btrfs::show(&path).await {
            Ok(facts) => Ok(Some(facts)),
            Err(source) => Err(VolumeError::Inspect { snapshot: snapshot.clone(), source }),
        }
    }

    async fn change_since(
        &self,
        volume: &str,
        snapshot: &SnapshotName,
    ) -> Result<Option<String>, VolumeError> {
        check_volume(volume)?;
        let hold = self.shelf.hold(snapshot.volume());
        let path = self.settings.volumes.join(volume);
        late::change(&path, &hold.path(snapshot)).await.map_err(|source| {
            let volume = volume.to_owned();
            VolumeError::Late { volume, source }
        })
    }

    async fn keep(&self, snapshot: &SnapshotName) -> Result<(), VolumeError> {
        let (shelf, snapshot) = (self.shelf.clone(), snapshot.clone());
        on_disk("keep", move || shelf.set_kept(&snapshot, true)).await
    }

    async fn release(&self, snapshot: &SnapshotName) -> Result<(), VolumeError> {
        let (shelf, snapshot) = (self.shelf.clone(), snapshot.clone());
        on_disk("release", move || shelf.set_kept(&snapshot, false)).await
    }

    async fn kept(&self) -> Result<BTreeSet<SnapshotName>, VolumeError> {
        let shelf = self.shelf.clone();
        on_disk("list the kept", move || shelf.kept()).await
    }

    async fn receptions(&self) -> Result<Vec<DateTime<Utc>>, VolumeError> {
        let found = blocking(|| receptions(Path::new("/proc"))).await;
        found.map_err(VolumeError::Processes)
    }

    async fn is_sending(&self, volume: &str) -> Result<bool, VolumeError> {
        let volume = volume.to_owned();
        let found = blocking(move || sends(Path::new("/proc"), &volume)).await;
        found.map_err(VolumeError::Processes)
    }
}

impl Buttervolume {
    /// Sends the snapshot that has this name on the disk.
    async fn send_once(&self, file: &str, host: &str) -> Result<(), VolumeError> {
        let body = json!({"Name": file, "Host": host});
        let mut call = self.post("send", file, "/VolumeDriver.Snapshot.Send", body);
        call.deadline = self.settings.send_deadline;
        // What is given up here goes on in buttervolume: it ends in a copy that nobody has been told of, or in none.
        tokio::select! {
            answer = self.call(call) => answer.map(drop),
            () = stall::of_send(&self.settings.proc, file, self.settings.stall) => {
                Err(VolumeError::Stalled { snapshot: file.to_owned(), after: self.settings.stall })
            }
        }
    }

    async fn set_timer(
        &self,
        operation: &'static str,
        volume: &str,
        action: &Action,
        timer: String,
    ) -> Result<(), VolumeError> {
        check_volume(volume)?;
        let name = action.to_string();
        // What is on the schedule already can come off it, however it is written.
        if timer != "0" && !action.is_plain() {
            return Err(VolumeError::Name { what: "action", name });
        }
        let body = json!({"Name": volume, "Action": name, "Timer": timer});
        let call = self.post(operation, volume, "/VolumeDriver.Schedule", body);
        let _turn = self.table.lock().await;
        self.call(call).await.map(drop)
    }
}

/// The snapshot that has this name on the disk, on its way to a host. buttervolume counts changes from what the newest
/// mark names, and where it means to send everything it runs the same command again: marks decide.
struct ToHost<'a> {
    seam: &'a Buttervolume,
    file: String,
    host: &'a str,
}

#[async_trait]
impl Way for ToHost<'_> {
    async fn send(&self) -> Result<(), VolumeError> {
        self.seam.send_once(&self.file, self.host).await
    }

    async fn unmark(&self, mark: &SnapshotName) -> Result<(), VolumeError> {
        self.seam.remove_snapshot(mark).await
    }

    async fn mark_again(&self, base: &SnapshotName) -> Result<(), VolumeError> {
        self.seam.mark(base, self.host).await
    }
}

#[cfg(test)]
mod tests;
