//! What an agent that was killed had started goes on without it: an `up` would start what its successor has undone.

use std::fs;
use std::process;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tracing::warn;

/// Each child carries the id of the process that it works for in this variable, and so do its own children.
pub(super) const WORKS_FOR: &str = "WORKS_FOR_TANDEM";

/// Kills every process on this node that works for an agent which is gone. To be called before anything is begun.
pub fn end_orphans() {
    let Ok(entries) = fs::read_dir("/proc") else { return };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids.filter(|pid| is_orphan(*pid)) {
        warn!(pid, "left behind by an agent that was killed: ended");
        // An error says that it has ended meanwhile.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Whether a process works for one that is gone. What can't be told, or belongs to somebody else, does not.
fn is_orphan(pid: i32) -> bool {
    // In another namespace of processes the id means another process: of a container, or of a node that shares the machine.
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    if namespace(&pid.to_string()) != namespace("self") {
        return false;
    }
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    let prefix = format!("{WORKS_FOR}=");
    let employer = variables.find_map(|text| text.strip_prefix(prefix.as_bytes()));
    let employer = employer.and_then(|id| std::str::from_utf8(id).ok()?.parse::<u32>().ok());
    employer.is_some_and(|id| id != process::id() && !is_like_this(id))
}

/// Whether a process runs the program that this one runs.
fn is_like_this(id: u32) -> bool {
    let name = |id: u32| fs::read(format!("/proc/{id}/comm")).ok();
    name(id).is_some_and(|other| Some(other) == name(process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "children of an agent that is gone, and of this one"
    )]
    fn only_the_children_of_one_that_is_gone_are_ended() {
        let sleeper = |employer: u32| {
            let mut command = process::Command::new("sleep");
            command.arg("60").env(WORKS_FOR, employer.to_string()).spawn().unwrap()
        };
        let mut gone = process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let (mut orphan, mut own) = (sleeper(gone.id()), sleeper(process::id()));
        end_orphans();
        assert!(!orphan.wait().unwrap().success());
        assert!(own.try_wait().unwrap().is_none(), "it works for somebody who lives");
        own.kill().unwrap();
        own.wait().unwrap();
    }
}
