//! The fixed part that `make test` runs: each fault once, spread over the cases.

use crate::list::Run;

const SAMPLE: &[&str] = &[
    "new/master/agent-killed/build@node1",
    "new/slave/git-cut/before",
    "again/master/agent-killed/stop@node1",
    "again/master/never-healthy/before",
    "again/master/update-fails/before",
];

/// The runs of the sample.
pub(crate) fn of(all: Vec<Run>) -> Vec<Run> {
    let chosen: Vec<_> =
        all.into_iter().filter(|run| SAMPLE.contains(&run.to_string().as_str())).collect();
    assert_eq!(chosen.len(), SAMPLE.len(), "the sample names runs that are not in the list");
    chosen
}
