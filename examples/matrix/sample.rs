//! The fixed part that `make test` runs: each fault at least once, and each of the twelve cases.

use crate::list::Run;

const SAMPLE: [&str; 27] = [
    "new/master/agent-killed/up@node1",
    "new/slave/git-cut/before",
    "new/bystander/agent-killed/await-healthy@node1",
    "swap/master-slave/agent-killed/send@node1",
    "swap/master-slave/send-cut/send@node1",
    "swap/slave-master/pull-fails/before",
    "swap/slave-master/sshd-gone/send@node1",
    "swap/slave-master/restore-fails/before",
    "swap/slave-master/receive-killed/seed@node1",
    "swap/slave-master/agent-away/restore@node2",
    "swap/slave-master/power-off/await-healthy@node2",
    "swap/slave-master/destroy/snapshot@node1",
    "swap/slave-master/migrate/build@node2",
    "swap/bystander/agent-killed/await-healthy@node2",
    "again/master/update-fails/before",
    "again/master/never-healthy/before",
    "again/master/agent-killed/stop@node1",
    "again/master/leader-killed/commit@node1",
    "again/slave/agent-killed/schedule@node2",
    "again/bystander/agent-killed/await-healthy@node1",
    "third/master-nothing/partition/stop@node1",
    "third/master-nothing/docker-killed/leave@node1",
    "third/slave-nothing/agent-killed/unschedule@node2",
    "third/nothing-master/build-fails/before",
    "third/nothing-master/up-fails/before",
    "third/nothing-master/disk-full/send@node1",
    "third/nothing-master/two-events/await-healthy@node3",
];

/// The runs of the sample.
pub(crate) fn of(all: Vec<Run>) -> Vec<Run> {
    let names: Vec<_> = all.iter().map(ToString::to_string).collect();
    let missing: Vec<_> =
        SAMPLE.iter().filter(|run| !names.contains(&(**run).to_owned())).collect();
    assert!(missing.is_empty(), "the sample names runs that are not in the list: {missing:?}");
    all.into_iter().filter(|run| SAMPLE.contains(&run.to_string().as_str())).collect()
}
