//! What a seed lets go wrong, and how often.

use std::time::Duration;

use crate::rng::Rng;

/// The faults of a run. Each run has some kinds of them only: what one fault hides, another run shows.
#[derive(Debug, Clone)]
pub(crate) struct Chances {
    /// An agent dies around a transaction, in so many of 10,000.
    pub(crate) kv_kill: u64,
    /// A transaction's answer is lost.
    pub(crate) kv_lost: u64,
    /// An agent dies around a call of the host.
    pub(crate) host_kill: u64,
    /// A call of the host fails.
    pub(crate) host_fail: u64,
    /// Of the calls that an agent dies in, so many of 100 go on without it.
    pub(crate) lingering: u64,
    /// How many faults of each of these kinds there are at most.
    pub(crate) most: u32,
    /// Things that befall a node: so many per event.
    pub(crate) node_off: u64,
    pub(crate) node_cut: u64,
    pub(crate) session_lost: u64,
    pub(crate) docker_down: u64,
    pub(crate) killed: u64,
    /// An event is delivered late, or not to all nodes.
    pub(crate) gossip_bad: u64,
    /// A pushed version is a bad one.
    pub(crate) flawed: u64,
    /// A send breaks off half-way.
    pub(crate) torn: u64,
    /// Whether receivers refuse changes to what they took themselves: files that clone, and an old btrfs.
    pub(crate) clones: u64,
    /// buttervolume's scheduler has a turn.
    pub(crate) scheduler: u64,
    /// The receiver of a send loses its power or its cable: in so many of 100.
    pub(crate) partner_dies: u64,
    /// The wall clock of a machine jumps.
    pub(crate) clock_jumps: u64,
    /// Somebody changes an app's entry by hand.
    pub(crate) entry_edited: u64,
    /// Keys are deleted by the folder.
    pub(crate) kv_emptied: u64,
    /// A volume vanishes from a machine.
    pub(crate) volume_lost: u64,
    /// A machine comes back under its name with empty disks.
    pub(crate) reinstalled: u64,
    /// A container that is not the app's writes to one of its volumes.
    pub(crate) foreign_writer: u64,
    /// A second agent goes by a node's name.
    pub(crate) second_agent: u64,
    /// The longest that a call usually takes.
    pub(crate) slowest: Duration,
}

impl Chances {
    /// Draws them; of the faults of disks, clocks, hands and connections, only those named in `often`, if any.
    pub(crate) fn draw(rng: &Rng, often: &[String]) -> Self {
        let some = |share: u64, from: &[u64]| if rng.percent(share) { *rng.pick(from) } else { 0 };
        let more = |name: &str, share: u64, from: &[u64]| {
            let drawn = some(share, from);
            match often {
                [] => drawn,
                often if often.iter().any(|other| other == name) => from[from.len() - 1],
                _ => 0,
            }
        };
        Self {
            kv_kill: some(40, &[30, 100, 300]),
            kv_lost: some(25, &[30, 100, 300]),
            host_kill: some(40, &[60, 200, 600]),
            host_fail: some(40, &[60, 200, 600]),
            lingering: some(30, &[30, 100]),
            most: 1 + rng.below(6) as u32,
            node_off: some(25, &[25, 60]),
            node_cut: some(25, &[25, 60]),
            session_lost: some(20, &[25, 60]),
            docker_down: some(15, &[25, 60]),
            killed: some(20, &[25, 60]),
            gossip_bad: some(25, &[20, 60]),
            flawed: some(35, &[20, 50]),
            torn: some(25, &[10, 40]),
            scheduler: some(40, &[50, 100]),
            partner_dies: more("partner-dies", 10, &[10, 30]),
            clock_jumps: more("clock-jumps", 15, &[25, 60]),
            entry_edited: more("entry-edited", 8, &[25, 60]),
            kv_emptied: more("kv-emptied", 5, &[25, 60]),
            volume_lost: more("volume-lost", 10, &[25, 60]),
            reinstalled: more("reinstalled", 8, &[25, 60]),
            foreign_writer: more("foreign-writer", 10, &[25, 60]),
            second_agent: more("second-agent", 10, &[25, 60]),
            slowest: Duration::from_millis(*rng.pick(&[2, 20, 20, 200])),
            clones: some(30, &[100]),
        }
    }
}
