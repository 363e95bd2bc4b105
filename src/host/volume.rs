//! BTRFS volumes, their snapshots and the scheduler that copies them: buttervolume's duties.

mod action;
mod btrfs;
mod buttervolume;
pub(in crate::host) mod compare;
mod late;
mod name;
mod progress;
mod receptions;
mod sent;
mod shelf;

#[cfg(any(test, feature = "testing"))]
mod fake;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::command::CommandError;
use super::unix_http::UnixHttpError;

pub use action::{Action, Schedule};
pub use btrfs::{FillError, Verified};
pub use buttervolume::{Buttervolume, ButtervolumeSettings};
#[cfg(any(test, feature = "testing"))]
pub use fake::{FakeSnapshot, FakeVolumes, Wire};
pub use late::LateError;
pub use name::SnapshotName;
pub use sent::{RefusedBase, Sent};

/// The BTRFS volumes of this node.
#[async_trait]
pub trait Volumes: Send + Sync {
    /// The names of all volumes, sorted.
    async fn list(&self) -> Result<Vec<String>, VolumeError>;

    /// What the file system says of that very volume; `None` only if there is nothing of that name. A volume that can't be
    /// asked about is an error, never an absent one.
    async fn find(&self, volume: &str) -> Result<Option<Verified>, VolumeError>;

    /// The subvolumes inside a volume, by their paths in it. Snapshots don't hold what they hold.
    async fn nested(&self, volume: &str) -> Result<Vec<String>, VolumeError>;

    /// Makes an empty volume; one of that name that is there already is left as it is.
    async fn create(&self, volume: &str) -> Result<(), VolumeError>;

    /// Puts a copy of everything below `directory` into a volume, and compares the two.
    async fn fill(&self, volume: &str, directory: &Path) -> Result<(), VolumeError>;

    /// How many bytes the files of a volume take.
    async fn size(&self, volume: &str) -> Result<u64, VolumeError>;

    /// The snapshots of a volume, oldest first. Among them are the marks of what was sent where
    /// ([`SnapshotName::sent_to`]). Not every one is complete: see [`Volumes::facts`].
    async fn snapshots(&self, volume: &str) -> Result<Vec<SnapshotName>, VolumeError>;

    /// The volumes that have snapshots here, torn copies and marks among them, whether the volumes exist or not.
    async fn snapshotted(&self) -> Result<BTreeSet<String>, VolumeError>;

    /// Takes a snapshot, and makes sure that it is there and read-only.
    async fn snapshot(&self, volume: &str) -> Result<SnapshotName, VolumeError>;

    /// Sends a snapshot to the node with that address, as changes to the last one that is marked as being there; where
    /// those are refused, as changes to the one before, and in the end all of it.
    ///
    /// Success means that the sender's side ended well; the receiver checks its copy with [`Volumes::facts`].
    ///
    /// What is marked as sent there is not sent again, because buttervolume would remove the copy first. **Never send to
    /// this node itself**: that removes the snapshot.
    async fn send(&self, snapshot: &SnapshotName, host: &str) -> Result<Sent, VolumeError>;

    /// Marks that the node with that address has this snapshot, as a send there does: the next send counts changes from
    /// it. A send back after a move would otherwise be of everything. Idempotent.
    async fn mark(&self, snapshot: &SnapshotName, host: &str) -> Result<(), VolumeError>;

    /// Makes the volume `target` a writable copy of a snapshot. A volume of that name is snapshotted and replaced; the
    /// name of that snapshot is returned.
    async fn restore(
        &self,
        snapshot: &SnapshotName,
        target: &str,
    ) -> Result<Option<SnapshotName>, VolumeError>;

    /// Removes a volume; one that is gone already is fine. Running containers don't keep it: take them down before.
    async fn remove_volume(&self, volume: &str) -> Result<(), VolumeError>;

    /// Removes a snapshot; one that is gone already is fine.
    async fn remove_snapshot(&self, snapshot: &SnapshotName) -> Result<(), VolumeError>;

    /// The scheduler's table.
    async fn schedules(&self) -> Result<Vec<Schedule>, VolumeError>;

    /// Puts an action on the schedule, every so many minutes, in place of the same action at another interval.
    async fn schedule(
        &self,
        volume: &str,
        action: &Action,
        minutes: u32,
    ) -> Result<(), VolumeError>;

    /// Takes an action off the schedule; one that is not there is fine.
    async fn unschedule(&self, volume: &str, action: &Action) -> Result<(), VolumeError>;

    /// What the file system says about a snapshot; `None` if there is none of that name.
    async fn facts(&self, snapshot: &SnapshotName) -> Result<Option<Verified>, VolumeError>;

    /// What a volume holds else than this snapshot of it: the first that is found, for people. Where it can't be told for
    /// certain, or not in some minutes, it is an error.
    async fn change_since(
        &self,
        volume: &str,
        snapshot: &SnapshotName,
    ) -> Result<Option<String>, VolumeError>;

    /// Keeps a snapshot and the marks of it from purges, whoever starts one, until [`Volumes::release`]. Everything else
    /// knows them by the same names and can be done with them. Idempotent.
    ///
    /// Does nothing while another call uses one of the volume's snapshots: see [`Volumes::kept`], and ask again.
    async fn keep(&self, snapshot: &SnapshotName) -> Result<(), VolumeError>;

    /// Leaves a snapshot to purges again. Otherwise as [`Volumes::keep`].
    async fn release(&self, snapshot: &SnapshotName) -> Result<(), VolumeError>;

    /// The snapshots of all volumes that are kept from purges, without their marks.
    async fn kept(&self) -> Result<BTreeSet<SnapshotName>, VolumeError>;

    /// When each transfer that this node receives now began. Which snapshot it brings can't be told.
    async fn receptions(&self) -> Result<Vec<DateTime<Utc>>, VolumeError>;

    /// Whether a snapshot of the volume is on its way from here, whoever sends it.
    async fn is_sending(&self, volume: &str) -> Result<bool, VolumeError>;
}

/// Why something could not be done with a volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// A name that could be misread by buttervolume, which passes names to a shell.
    #[error("{what} {name:?} is not a plain name")]
    Name {
        /// volume, snapshot, host or action.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// buttervolume can't be reached or broke off.
    #[error("buttervolume gave no answer to {operation}")]
    Unreachable {
        /// What was asked for.
        operation: &'static str,
        /// The cause.
        source: UnixHttpError,
    },
    /// buttervolume said no.
    #[error("buttervolume could not {operation} {subject}: {why}")]
    Refused {
        /// What was asked for.
        operation: &'static str,
        /// The volume or snapshot.
        subject: String,
        /// Its reason.
        why: String,
    },
    /// Someone paused the scheduler of this node, which hides its table.
    #[error("buttervolume's scheduler is paused on this node (buttervolume schedule resume)")]
    SchedulerPaused,
    /// buttervolume's answer makes no sense.
    #[error("buttervolume's answer to {operation} is not understood: {said}")]
    Answer {
        /// What was asked for.
        operation: &'static str,
        /// The beginning of the answer.
        said: String,
    },
    /// A snapshot was made, but is not what it should be.
    #[error("the snapshot {snapshot} is not to be trusted: {why}")]
    Unverified {
        /// The snapshot.
        snapshot: SnapshotName,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A mark could not be made.
    #[error("cannot mark that {host} has the snapshot {snapshot}")]
    Mark {
        /// The snapshot.
        snapshot: SnapshotName,
        /// The node that has it.
        host: String,
        /// The cause.
        source: CommandError,
    },
    /// The file system could not be asked.
    #[error("cannot inspect the snapshot {snapshot}")]
    Inspect {
        /// The snapshot.
        snapshot: SnapshotName,
        /// The cause.
        source: CommandError,
    },
    /// The file system could not be asked about a volume.
    #[error("cannot inspect the volume {volume}")]
    InspectVolume {
        /// The volume.
        volume: String,
        /// The cause.
        source: CommandError,
    },
    /// The directory of the volumes could not be read.
    #[error("cannot look at the volumes")]
    Volumes(#[source] std::io::Error),
    /// Files could not be copied into a volume, or the copy differs.
    #[error("cannot fill the volume {volume}")]
    Fill {
        /// The volume.
        volume: String,
        /// The cause.
        source: FillError,
    },
    /// A volume could not be compared with a snapshot of it.
    #[error("whether the volume {volume} was written to can't be told")]
    Late {
        /// The volume.
        volume: String,
        /// The cause.
        source: LateError,
    },
    /// A volume's size could not be told.
    #[error("cannot measure the volume {volume}")]
    Measure {
        /// The volume.
        volume: String,
        /// The cause.
        source: CommandError,
    },
    /// The directory of the snapshots could not be read or changed.
    #[error("cannot {operation} snapshots")]
    Shelf {
        /// What was to be done.
        operation: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// The processes of this node could not be looked through.
    #[error("cannot tell what is being sent or received")]
    Processes(#[source] std::io::Error),
    /// A transfer that gets nowhere: its processes are there and do nothing.
    #[error(
        "sending {snapshot} has got nowhere for {after:?}: the connection or the receiver hangs"
    )]
    Stalled {
        /// The snapshot.
        snapshot: String,
        /// For how long.
        after: Duration,
    },
    /// The work was not done in time, whatever became of it.
    #[error("buttervolume did not {operation} {subject} within {after:?}")]
    TimedOut {
        /// What was asked for.
        operation: &'static str,
        /// The volume or snapshot.
        subject: String,
        /// The deadline.
        after: Duration,
    },
}
