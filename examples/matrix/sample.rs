//! The fixed part that `make test` runs. A run belongs here for what no other one and no lab test shows, or because it
//! found something once; what it adds stands beside it.

use crate::app::Which;
use crate::list::Run;

/// A run, and what it adds.
const SAMPLE: [(&str, &str); 29] = [
    (
        "new/master/agent-killed/up@node1",
        "a first version goes on from containers that are half up",
    ),
    ("swap/master-slave/agent-killed/send@node1", "a send begins anew when its sender is back"),
    (
        "swap/master-slave/send-cut/send@node1",
        "a torn copy is never a copy: undone, the app where it was",
    ),
    ("swap/master-slave/power-off/checkout@node1", "found: half a clone stayed after a power cut"),
    ("swap/slave-master/sshd-gone/send@node1", "a receiver that can't be reached, after the stop"),
    (
        "swap/slave-master/restore-fails/before",
        "the new master can't make volumes of what it received",
    ),
    (
        "swap/slave-master/receive-killed/seed@node1",
        "the seed fails while the app serves: the send makes up for it",
    ),
    (
        "swap/slave-master/agent-away/restore@node2",
        "leases expire in the new master's step, which is then done twice",
    ),
    (
        "swap/slave-master/power-off/await-healthy@node2",
        "found: the app ran twice when the undone side came back",
    ),
    (
        "swap/slave-master/partition/commit@node2",
        "found: the app ran twice when only the new master was cut off",
    ),
    ("swap/slave-master/destroy/snapshot@node1", "a destroy waits for the move before it"),
    ("swap/slave-master/migrate/build@node2", "a migrate waits for the move of its source"),
    (
        "swap/bystander/agent-killed/await-healthy@node2",
        "a node without a part starts anew and routes to the new master",
    ),
    (
        "again/master/update-fails/before",
        "update.sh says no: the former version and the data of before",
    ),
    ("again/master/never-healthy/before", "rows that a version took that was undone"),
    ("again/master/agent-killed/stop@node1", "killed while the app stops"),
    ("again/master/leader-killed/commit@node1", "the transaction that commits meets an election"),
    ("again/slave/agent-killed/schedule@node2", "a slave's own step is repeated"),
    (
        "third/master-nothing/partition/stop@node1",
        "the old master is cut off with the app stopped or not",
    ),
    (
        "third/master-nothing/power-off/deregister@node1",
        "found: a torn copy stayed, after the commit",
    ),
    (
        "third/master-nothing/docker-killed/leave@node1",
        "what the former master leaves needs a Docker that died",
    ),
    ("third/slave-nothing/agent-killed/unschedule@node2", "a former slave's step is repeated"),
    (
        "third/nothing-master/up-fails/before",
        "containers that can't start on a node that knew nothing of the app",
    ),
    (
        "third/nothing-master/disk-full/send@node1",
        "no room in the middle of a send, found at the send",
    ),
    ("third/nothing-master/two-events/await-healthy@node3", "a move waits for the move that runs"),
    (
        "branch:new/master/agent-killed/up@node1",
        "a branch with capitals and a slash, whose name is that of files, checkouts, services",
    ),
    (
        "branch:swap/slave-master/power-off/await-healthy@node2",
        "the same name stands by on the slave, moves, is undone, moves",
    ),
    (
        "blog:swap/master-slave/send-cut/send@node1",
        "files that clone: the way back after a move that was undone",
    ),
    (
        "blog:swap/slave-master/receive-killed/seed@node1",
        "a seed that dies and one that is refused, on a database that preallocates",
    ),
];

/// The runs of the sample, those of the guestbook first: the others leave their app where it is.
pub(crate) fn of(all: &[Run]) -> Vec<Run> {
    let named = |name: &str| {
        let which = Which::ALL.into_iter().rev().find(|which| name.starts_with(which.prefix()))?;
        let of_guestbook = name.strip_prefix(which.prefix())?;
        let run = all.iter().find(|run| run.to_string() == of_guestbook)?;
        Some(Run { which, ..run.clone() })
    };
    let found = SAMPLE.iter().map(|(name, _)| {
        named(name)
            .unwrap_or_else(|| panic!("the sample names a run that is not in the list: {name}"))
    });
    found.collect()
}

/// What a run adds to the sample, if it belongs to it.
pub(crate) fn adds(run: &str) -> Option<&'static str> {
    SAMPLE.iter().find(|(name, _)| *name == run).map(|(_, what)| *what)
}
