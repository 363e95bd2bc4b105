//! A fault on a node: made ready before the event, struck at its moment, mended when it is due.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use crate::consul::Consul;
use crate::fault::{Fault, Mending};
use crate::process;
use crate::support::{Lab, NODES};

/// Stands before the real btrfs in a node; what it does is in the flag file.
const WRAPPER: &str = "/usr/local/sbin/btrfs";
const FLAG: &str = "/run/lab/btrfs-fault";
const FILLER: &str = "/var/lib/buttervolume/filler";

/// An event to fire as the fault.
pub(crate) struct Second {
    pub(crate) name: &'static str,
    pub(crate) payload: String,
}

/// A fault and how far it is.
pub(crate) struct Strike<'a> {
    lab: &'a Lab,
    consul: &'a Consul<'a>,
    fault: Fault,
    node: &'static str,
    blow: Blow,
    struck: Option<Instant>,
    mended: bool,
    /// The id of the event that was the fault.
    pub(crate) second: Option<String>,
}

/// What a strike does, with everything looked up before.
enum Blow {
    Nothing,
    Kill(i32),
    /// The Consul servers; the leader's is killed.
    KillLeader(BTreeMap<&'static str, i32>),
    KillSshd(i32),
    Unplug(String),
    Wrap,
    Fill,
    CutGit,
    Fire(Second),
}

impl<'a> Strike<'a> {
    /// Looks up and installs what the strike needs.
    pub(crate) fn prepare(
        lab: &'a Lab,
        consul: &'a Consul<'a>,
        fault: Fault,
        node: &'static str,
        second: Option<Second>,
    ) -> Self {
        let blow = match fault {
            Fault::GitCut => Blow::CutGit,
            Fault::PullFails
            | Fault::BuildFails
            | Fault::UpFails
            | Fault::NeverHealthy
            | Fault::UpdateFails => Blow::Nothing,
            Fault::DiskFull => Blow::Fill,
            Fault::SendCut | Fault::ReceiveKilled | Fault::RestoreFails => {
                std::os::unix::fs::symlink("/opt/lab/btrfs", process::path(lab, node, WRAPPER))
                    .unwrap_or_else(|error| panic!("{WRAPPER} on {node}: {error}"));
                Blow::Wrap
            }
            Fault::SshdGone => Blow::KillSshd(process::part(lab, node, "sshd")),
            Fault::AgentKilled | Fault::AgentAway | Fault::UndoAgentKilled => {
                Blow::Kill(process::part(lab, node, "agent"))
            }
            Fault::DockerKilled => Blow::Kill(process::part(lab, node, "docker")),
            Fault::PowerOff | Fault::UndoPowerOff => Blow::Kill(process::init(lab, node)),
            Fault::LeaderKilled => Blow::KillLeader(
                NODES.map(|node| (node, process::part(lab, node, "consul"))).into(),
            ),
            Fault::Partition => Blow::Unplug(process::cable(lab, node)),
            Fault::TwoEvents | Fault::Destroy | Fault::Migrate => {
                second.map_or(Blow::Nothing, Blow::Fire)
            }
        };
        Self { lab, consul, fault, node, blow, struck: None, mended: false, second: None }
    }

    pub(crate) fn is_struck(&self) -> bool {
        self.struck.is_some()
    }

    pub(crate) fn strike(&mut self) {
        match &self.blow {
            Blow::Nothing => {}
            Blow::Kill(pid) => process::kill_now(*pid),
            Blow::KillLeader(servers) => {
                let leader = self.consul.leader().expect("Consul has a leader");
                process::kill_now(servers[leader]);
                self.node = leader;
            }
            Blow::KillSshd(pid) => {
                process::kill_now(*pid);
                self.lab.try_node(self.node, &["pkill", "-9", "sshd"]);
            }
            Blow::Unplug(cable) => set_link(cable, "down"),
            Blow::Wrap => {
                std::fs::write(process::path(self.lab, self.node, FLAG), self.fault.name())
                    .unwrap();
            }
            Blow::Fill => self.fill(),
            Blow::CutGit => drop(self.lab.run(&["cut-git", self.node])),
            Blow::Fire(event) => {
                self.second = Some(self.consul.fire(event.name, &event.payload));
            }
        }
        self.struck = Some(Instant::now());
        self.mended = self.fault.mending() == Mending::None;
    }

    /// What fits is taken at once, the rest of it, and the space for small files, by writing.
    fn fill(&self) {
        let script = format!(
            "mkdir -p {FILLER}; for size in 4G 1G 256M 64M 16M 4M 1M; do i=0; \
             while fallocate -l $size {FILLER}/$size.$i; do i=$((i + 1)); done; done; \
             dd if=/dev/zero of={FILLER}/rest bs=4k; sync -f {FILLER}; true"
        );
        self.lab.node(self.node, &["bash", "-c", &script]);
    }

    /// btrfs gives room back some time after the files are gone.
    fn empty(&self) {
        let script = format!(
            "rm -rf {FILLER}; for _ in $(seq 60); do sync -f /var/lib/buttervolume; \
             free=$(df --output=avail -B1M /var/lib/buttervolume | tail -n 1); \
             [ \"$free\" -gt 512 ] && exit 0; sleep 0.5; done; \
             echo 'the room does not come back' >&2; exit 1"
        );
        self.lab.node(self.node, &["bash", "-c", &script]);
    }

    /// Whether nothing is left to mend.
    pub(crate) fn is_over(&self) -> bool {
        self.struck.is_none() || self.mended
    }

    /// Mends the fault if that is due; `ended`: the deployment has its outcome.
    pub(crate) fn tend(&mut self, ended: bool) {
        let Some(struck) = self.struck.filter(|_| !self.mended) else {
            return;
        };
        let due = match self.fault.mending() {
            Mending::None => true,
            Mending::After(time) => struck.elapsed() >= time,
            Mending::SessionGone => {
                let key = format!("tandem/nodes/{}", self.node);
                self.consul.known_keys("tandem/nodes/").is_some_and(|keys| !keys.contains(&key))
            }
            Mending::Outcome => ended,
        };
        if due {
            self.mend();
        }
    }

    fn mend(&mut self) {
        let node = self.node;
        match &self.blow {
            Blow::Nothing | Blow::Fire(_) => {}
            Blow::Kill(_) => match self.fault {
                Fault::PowerOff | Fault::UndoPowerOff => {
                    self.lab.run(&["power-on", node]);
                    self.consul.open();
                }
                Fault::DockerKilled => drop(self.lab.run(&["start", node, "docker"])),
                _ => drop(self.lab.run(&["start", node, "agent"])),
            },
            Blow::KillLeader(_) => drop(self.lab.run(&["start", node, "consul"])),
            Blow::KillSshd(_) => drop(self.lab.run(&["start", node, "sshd"])),
            Blow::Unplug(cable) => set_link(cable, "up"),
            Blow::Wrap => {
                for file in [WRAPPER, FLAG] {
                    // The flag may have been used up.
                    let _ = std::fs::remove_file(process::path(self.lab, node, file));
                }
            }
            Blow::Fill => self.empty(),
            Blow::CutGit => drop(self.lab.run(&["restore-git", node])),
        }
        self.mended = true;
    }
}

impl Drop for Strike<'_> {
    /// A wrapper that was never needed is no part of the next run.
    fn drop(&mut self) {
        if matches!(self.blow, Blow::Wrap) && !self.mended {
            let _ = std::fs::remove_file(process::path(self.lab, self.node, WRAPPER));
        }
    }
}

fn set_link(cable: &str, state: &str) {
    let status = Command::new("ip").args(["link", "set", cable, state]).status().unwrap();
    assert!(status.success(), "{cable} can't be set {state}");
}
