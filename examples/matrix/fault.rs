//! The faults, and how long each lasts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    GitCut,
    PullFails,
    BuildFails,
    DiskFull,
    SendCut,
    ReceiveKilled,
    SshdGone,
    RestoreFails,
    UpFails,
    NeverHealthy,
    UpdateFails,
    AgentKilled,
    AgentAway,
    LeaderKilled,
    DockerKilled,
    Partition,
    PowerOff,
    UndoAgentKilled,
    UndoPowerOff,
    TwoEvents,
    Destroy,
    Migrate,
}

/// When the fault is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mending {
    /// There is nothing to mend.
    None,
    /// So long after the strike.
    After(Duration),
    /// When the node's entry in KV is gone, and its leases with it.
    SessionGone,
    /// When the deployment has its outcome.
    Outcome,
}

/// What an app's version may have of its own; the rest of it is sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Sound,
    PullFails,
    BuildFails,
    UpFails,
    NeverHealthy,
    UpdateFails,
}

impl Fault {
    pub(crate) const ALL: [Fault; 22] = [
        Fault::GitCut,
        Fault::PullFails,
        Fault::BuildFails,
        Fault::DiskFull,
        Fault::SendCut,
        Fault::ReceiveKilled,
        Fault::SshdGone,
        Fault::RestoreFails,
        Fault::UpFails,
        Fault::NeverHealthy,
        Fault::UpdateFails,
        Fault::AgentKilled,
        Fault::AgentAway,
        Fault::LeaderKilled,
        Fault::DockerKilled,
        Fault::Partition,
        Fault::PowerOff,
        Fault::UndoAgentKilled,
        Fault::UndoPowerOff,
        Fault::TwoEvents,
        Fault::Destroy,
        Fault::Migrate,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::GitCut => "git-cut",
            Fault::PullFails => "pull-fails",
            Fault::BuildFails => "build-fails",
            Fault::DiskFull => "disk-full",
            Fault::SendCut => "send-cut",
            Fault::ReceiveKilled => "receive-killed",
            Fault::SshdGone => "sshd-gone",
            Fault::RestoreFails => "restore-fails",
            Fault::UpFails => "up-fails",
            Fault::NeverHealthy => "never-healthy",
            Fault::UpdateFails => "update-fails",
            Fault::AgentKilled => "agent-killed",
            Fault::AgentAway => "agent-away",
            Fault::LeaderKilled => "leader-killed",
            Fault::DockerKilled => "docker-killed",
            Fault::Partition => "partition",
            Fault::PowerOff => "power-off",
            Fault::UndoAgentKilled => "undo-agent-killed",
            Fault::UndoPowerOff => "undo-power-off",
            Fault::TwoEvents => "two-events",
            Fault::Destroy => "destroy",
            Fault::Migrate => "migrate",
        }
    }

    /// For the table's legend.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Fault::GitCut => "the node can't reach the repository, from before the event on",
            Fault::PullFails => "the new version names an image that does not exist",
            Fault::BuildFails => "a `RUN` of the new version fails",
            Fault::DiskFull => "the receiver's BTRFS volume is full",
            Fault::SendCut => "each `btrfs send` ends after 8 KiB",
            Fault::ReceiveKilled => "the first `btrfs receive` is killed -9 after 8 KiB",
            Fault::SshdGone => "the receiver's sshd is stopped",
            Fault::RestoreFails => "no volume can be made from a snapshot on the new master",
            Fault::UpFails => "a container of the new version can't be started",
            Fault::NeverHealthy => "a health check of the new version never passes",
            Fault::UpdateFails => "`update.sh` exits 1",
            Fault::AgentKilled => "the node's agent is killed -9 and started after 1 s",
            Fault::AgentAway => {
                "the node's agent is killed -9 and started when its session and leases have expired"
            }
            Fault::LeaderKilled => "Consul's leader is killed -9 and started after 5 s",
            Fault::DockerKilled => "the node's dockerd is killed -9 and started after 5 s",
            Fault::Partition => "the node is cut from the network for 60 s",
            Fault::PowerOff => "the node has no power for 40 s",
            Fault::UndoAgentKilled => {
                "never-healthy, and agent-killed while the node undoes the step"
            }
            Fault::UndoPowerOff => "never-healthy, and power-off while the node undoes the step",
            Fault::TwoEvents => "a second `deploy` of the app, to node2/node3",
            Fault::Destroy => "a `destroy` of the app",
            Fault::Migrate => "a `migrate` from the app to another one",
        }
    }

    pub(crate) fn mending(self) -> Mending {
        match self {
            Fault::PullFails
            | Fault::BuildFails
            | Fault::UpFails
            | Fault::NeverHealthy
            | Fault::UpdateFails
            | Fault::TwoEvents
            | Fault::Destroy
            | Fault::Migrate => Mending::None,
            Fault::GitCut
            | Fault::DiskFull
            | Fault::SendCut
            | Fault::ReceiveKilled
            | Fault::SshdGone
            | Fault::RestoreFails => Mending::Outcome,
            Fault::AgentKilled | Fault::UndoAgentKilled => Mending::After(Duration::from_secs(1)),
            Fault::AgentAway => Mending::SessionGone,
            Fault::LeaderKilled | Fault::DockerKilled => Mending::After(Duration::from_secs(5)),
            Fault::Partition => Mending::After(Duration::from_secs(60)),
            Fault::PowerOff | Fault::UndoPowerOff => Mending::After(Duration::from_secs(40)),
        }
    }

    /// The version that the event brings.
    pub(crate) fn version(self) -> Version {
        match self {
            Fault::PullFails => Version::PullFails,
            Fault::BuildFails => Version::BuildFails,
            Fault::UpFails => Version::UpFails,
            Fault::NeverHealthy | Fault::UndoAgentKilled | Fault::UndoPowerOff => {
                Version::NeverHealthy
            }
            Fault::UpdateFails => Version::UpdateFails,
            Fault::GitCut
            | Fault::DiskFull
            | Fault::SendCut
            | Fault::ReceiveKilled
            | Fault::SshdGone
            | Fault::RestoreFails
            | Fault::AgentKilled
            | Fault::AgentAway
            | Fault::LeaderKilled
            | Fault::DockerKilled
            | Fault::Partition
            | Fault::PowerOff
            | Fault::TwoEvents
            | Fault::Destroy
            | Fault::Migrate => Version::Sound,
        }
    }
}
