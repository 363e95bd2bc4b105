//! The nodes' processes as this machine sees them, so that a strike is one system call.

use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::Lab;

fn state(lab: &Lab) -> PathBuf {
    PathBuf::from("/var/lib/tandem-lab").join(&lab.name)
}

/// The first process of a node, whose death is a power cut.
pub(crate) fn init(lab: &Lab, node: &str) -> i32 {
    let path = state(lab).join("run").join(format!("{node}.pid"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.split(' ').next().unwrap().parse().unwrap()
}

/// A path in a node, as this machine reaches it.
pub(crate) fn path(lab: &Lab, node: &str, inside: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{inside}", init(lab, node)))
}

/// The lab's network interface of a node.
pub(crate) fn cable(lab: &Lab, node: &str) -> String {
    let number = std::fs::read_to_string(state(lab).join("subnet")).unwrap();
    format!("tlab{}n{}", number.trim(), node.trim_start_matches("node"))
}

/// A part of a node (agent, consul, docker).
pub(crate) fn part(lab: &Lab, node: &str, part: &str) -> i32 {
    let text = std::fs::read_to_string(path(lab, node, &format!("/run/lab/{part}.pid")));
    let text = text.unwrap_or_else(|e| panic!("{part} of {node} does not run: {e}"));
    let inside: i32 = text.split(' ').next().unwrap().parse().unwrap();
    outside(lab, node, inside)
        .unwrap_or_else(|| panic!("{part} of {node}, its pid {inside}, is gone"))
}

/// The pid here of a process that has another one in its node.
fn outside(lab: &Lab, node: &str, inside: i32) -> Option<i32> {
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let home = namespace(init(lab, node))?;
    pids().find(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let known = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let innermost = known.and_then(|pids| pids.split_whitespace().last()?.parse().ok());
        innermost == Some(inside) && namespace(*pid).as_ref() == Some(&home)
    })
}

pub(crate) fn pids() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// kill -9; one that is gone already is fine.
pub(crate) fn kill_now(pid: i32) {
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}
