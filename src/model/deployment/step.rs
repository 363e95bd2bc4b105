//! Steps: the smallest effects with a name.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{DeployId, NodeName};

/// The smallest effect with a name. Each is idempotent: carried out twice, it leaves what once leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Clones the repository into this deployment's checkout. Undo: removes the checkout.
    Checkout,
    /// Parses the compose file, checks URLs, ports and the proxies' configurations, and prepares the app's
    /// KV entry. Undo: nothing.
    Check,
    /// Sends an empty volume to the node that will hold the copies: proves btrfs, ssh and keys in that direction. Undo: nothing.
    Probe {
        /// The node that has to be able to receive.
        to: NodeName,
    },
    /// Verifies that what [`Step::Probe`] sent has arrived whole. Undo: nothing.
    ReceiveProbe,
    /// Makes sure that the master has lost volumes of the app, and that nothing of it runs there. Undo: nothing.
    ConfirmLoss,
    /// Verifies the copies that this node holds of the app's volumes: the app is to begin from them. Undo: nothing.
    Recall,
    /// Measures the volumes of the running version. Undo: nothing.
    Measure,
    /// Makes sure that the volumes to come have room here. Undo: nothing.
    Room,
    /// Notes the images that the running version uses under names of their own. Undo: gives them their tags back and
    /// drops those names.
    KeepImages,
    /// Pulls the images. Undo: nothing.
    Pull,
    /// Builds the images. Undo: an app that is new leaves none; a former version has its kept ones.
    Build,
    /// Sends snapshots of the volumes that are in use, until what is left to send is small. Undo: nothing.
    Seed {
        /// The new master.
        to: NodeName,
    },
    /// Verifies that what [`Step::Seed`] announced has arrived whole. Undo: nothing.
    ReceiveSeed,
    /// Compares what runs with what would run; where nothing differs, the steps of the hand-off are skipped. Undo:
    /// nothing.
    Compare,
    /// Notes which volumes of the app that is migrated from may leave it. Undo: nothing.
    Offer,
    /// Notes which of them the target has too, and that there is room. Undo: removes what came of them.
    Match,
    /// Takes snapshots of those volumes, while no deployment has the source in its hands. Undo: removes the marks of them.
    SnapshotSource,
    /// Sends those snapshots to the target's master. Undo: nothing.
    Copy {
        /// The target's master.
        to: NodeName,
    },
    /// Verifies that what [`Step::Copy`] announced has arrived whole. Undo: nothing.
    ReceiveCopy,
    /// Shows the maintenance page instead of the app. Undo: takes it away.
    BeginMaintenance,
    /// Stops the app's containers and keeps them from starting by themselves. Undo: starts the former version.
    Stop,
    /// Takes a snapshot of every volume. Undo: restores them, if the new version may have written.
    Snapshot,
    /// Sends the last snapshots to the new master. Undo: nothing.
    Send {
        /// The new master.
        to: NodeName,
    },
    /// Verifies that what [`Step::Send`] announced has arrived whole. Undo: nothing.
    Receive,
    /// Makes volumes of the snapshots that [`Step::Receive`] or [`Step::Recall`] verified. Undo: removes those volumes.
    Restore,
    /// Puts copies of the source's volumes in place of the target's. Undo: the snapshots' undo restores those.
    Replace,
    /// Runs `post_migrate.sh`. Undo: removes what it started; the volumes are restored with their snapshots.
    PostMigrate,
    /// Removes the copies that a migration needed.
    DropCopies,
    /// Runs `update.sh`. Undo: removes what it started; the volumes are restored with their snapshots.
    Update,
    /// Creates and starts the containers. Where the former version may have to run again on another node, Docker does not
    /// start them by itself yet. Undo: removes them, and the volumes of an app that is new.
    Up,
    /// Waits until the containers run and their health checks pass. Undo: nothing.
    AwaitHealthy,
    /// Writes the app's KV entry: every node's proxies follow. The point of no return.
    Commit,
    /// Removes the app's KV entry: the point of no return of a destroy.
    Forget,
    /// From here on Docker starts the containers of an app that moved as its compose file says.
    KeepRunning,
    /// Ends the maintenance that [`Step::BeginMaintenance`] began.
    EndMaintenance,
    /// Registers the service and its checks with the local Consul agent.
    Register,
    /// Removes the service from the local Consul agent.
    Deregister,
    /// Sets the volumes' schedules for the node's new role, removing the old ones.
    Schedule,
    /// Removes every schedule of the app's volumes.
    Unschedule,
    /// Removes containers, networks and volumes; every BTRFS volume has a snapshot by then.
    Remove,
    /// Removes containers, networks and the BTRFS volumes whose last snapshot the new master verified. Volumes of other
    /// drivers have no copy, and stay.
    Leave,
    /// Removes the app's checkouts but the one of this deployment; of every deployment if `keep` is none.
    RemoveCheckouts {
        /// The deployment whose checkout stays.
        keep: Option<DeployId>,
    },
    /// Drops the names that [`Step::KeepImages`] gave.
    ReleaseImages,
}

impl Step {
    /// Whether the step leaves the app, its volumes and the proxies alone.
    pub fn is_harmless(&self) -> bool {
        match self {
            Step::Checkout
            | Step::Check
            | Step::Probe { .. }
            | Step::ReceiveProbe
            | Step::ConfirmLoss
            | Step::Recall
            | Step::Measure
            | Step::Room
            | Step::KeepImages
            | Step::Pull
            | Step::Build
            | Step::Seed { .. }
            | Step::ReceiveSeed
            | Step::Compare
            | Step::Offer
            | Step::Match
            | Step::SnapshotSource
            | Step::Copy { .. }
            | Step::ReceiveCopy => true,
            Step::BeginMaintenance
            | Step::Stop
            | Step::Snapshot
            | Step::Send { .. }
            | Step::Receive
            | Step::Restore
            | Step::Replace
            | Step::PostMigrate
            | Step::DropCopies
            | Step::Update
            | Step::Up
            | Step::AwaitHealthy
            | Step::Commit
            | Step::Forget
            | Step::KeepRunning
            | Step::EndMaintenance
            | Step::Register
            | Step::Deregister
            | Step::Schedule
            | Step::Unschedule
            | Step::Remove
            | Step::Leave
            | Step::RemoveCheckouts { .. }
            | Step::ReleaseImages => false,
        }
    }

    /// The node at the other end of a transfer: the step can't end well without it.
    pub fn partner(&self) -> Option<&NodeName> {
        if let Step::Probe { to } | Step::Seed { to } | Step::Copy { to } | Step::Send { to } = self
        {
            return Some(to);
        }
        None
    }

    /// Whether an attempt may be dropped while it works: what it started ends with it, or does no harm when it ends
    /// later. A transfer goes on in buttervolume's process; what arrives late is a snapshot that nobody names.
    pub fn may_be_dropped(&self) -> bool {
        self.partner().is_some()
            || matches!(
                self,
                Step::Pull | Step::Build | Step::Update | Step::PostMigrate | Step::AwaitHealthy
            )
    }

    /// Whether a node should carry out only a few of its kind at once.
    pub fn is_heavy(&self) -> bool {
        matches!(
            self,
            Step::Checkout
                | Step::Check
                | Step::Pull
                | Step::Build
                | Step::Seed { .. }
                | Step::Copy { .. }
        )
    }

    /// Whether the step has nothing to do where the new version is what runs already.
    pub(super) fn is_spared_by_comparison(&self) -> bool {
        matches!(
            self,
            Step::BeginMaintenance | Step::Stop | Step::Snapshot | Step::Up | Step::EndMaintenance
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Checkout => "checkout",
            Step::Check => "check",
            Step::Probe { to } => return write!(f, "probe {to}"),
            Step::ReceiveProbe => "receive probe",
            Step::ConfirmLoss => "confirm loss",
            Step::Recall => "recall copies",
            Step::Measure => "measure",
            Step::Room => "room",
            Step::Seed { to } => return write!(f, "seed {to}"),
            Step::ReceiveSeed => "receive seed",
            Step::Compare => "compare",
            Step::Send { to } => return write!(f, "send {to}"),
            Step::Offer => "offer",
            Step::Match => "match",
            Step::SnapshotSource => "snapshot source",
            Step::Copy { to } => return write!(f, "copy to {to}"),
            Step::ReceiveCopy => "receive copy",
            Step::Replace => "replace",
            Step::PostMigrate => "post_migrate.sh",
            Step::DropCopies => "drop copies",
            Step::Receive => "receive",
            Step::Restore => "restore",
            Step::Leave => "leave",
            Step::KeepImages => "keep images",
            Step::Pull => "pull",
            Step::Build => "build",
            Step::BeginMaintenance => "begin maintenance",
            Step::Stop => "stop",
            Step::Snapshot => "snapshot",
            Step::Update => "update.sh",
            Step::Up => "up",
            Step::AwaitHealthy => "await healthy",
            Step::Commit => "commit",
            Step::Forget => "forget",
            Step::KeepRunning => "keep running",
            Step::EndMaintenance => "end maintenance",
            Step::Register => "register",
            Step::Deregister => "deregister",
            Step::Schedule => "schedule",
            Step::Unschedule => "unschedule",
            Step::Remove => "remove",
            Step::RemoveCheckouts { .. } => "remove checkouts",
            Step::ReleaseImages => "release images",
        })
    }
}
