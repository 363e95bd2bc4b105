//! What a move sends beside what has changed, by counters on every node's network.

use serde::Serialize;

use crate::deployment::deploy;
use crate::say;
use crate::support::{Lab, NODES, Repo};

/// Nodes send volumes by ssh to this port.
const PORT: &str = "1122";
/// A file in the volume, which nobody writes to but this program: bytes.
const FILLER: u64 = 100_000_000;
/// How much of it is overwritten before a move: bytes.
const PIECE: u64 = 10_000_000;

/// One move.
#[derive(Debug, Serialize)]
pub(crate) struct Traffic {
    pub(crate) what: &'static str,
    /// Bytes that were written to the volume since the new master had a copy.
    pub(crate) changed: u64,
    /// Bytes in packets to and from that port, on all nodes: with headers, ssh's own, and the probe of a new pair.
    pub(crate) sent: u64,
}

/// The first move sends all, the later ones what has changed.
pub(crate) fn measure(lab: &Lab) -> Vec<Traffic> {
    let repo = Repo::publish(lab, "hello", "bench-traffic");
    deploy(lab, &repo, "node1", "node2");
    NODES.iter().for_each(|node| count_packets(lab, node, "-A"));
    write(lab, &repo, "node1", FILLER);
    let moves = vec![
        moved(lab, &repo, "to a slave without a copy", ("node2", "node1"), FILLER),
        {
            write(lab, &repo, "node2", PIECE);
            moved(lab, &repo, "back, a tenth overwritten", ("node1", "node2"), PIECE)
        },
        moved(lab, &repo, "and again, nothing written", ("node2", "node1"), 0),
    ];
    NODES.iter().for_each(|node| count_packets(lab, node, "-D"));
    crate::deployment::destroy(lab, &repo);
    moves
}

fn moved(
    lab: &Lab,
    repo: &Repo,
    what: &'static str,
    (master, slave): (&str, &str),
    changed: u64,
) -> Traffic {
    say(&format!("traffic of a move {what}"));
    let before = packets(lab);
    deploy(lab, repo, master, slave);
    Traffic { what, changed, sent: packets(lab) - before }
}

/// Overwrites the file's beginning by what can't be compressed.
fn write(lab: &Lab, repo: &Repo, node: &str, bytes: u64) {
    let script = format!(
        "head -c {bytes} /dev/urandom | dd of=/srv/pages/filler conv=notrunc status=none && sync"
    );
    let container = format!("{}_web_1", repo.project());
    lab.node(node, &["docker", "exec", &container, "sh", "-c", &script]);
}

/// Rules without a target only count. Each packet is sent by one node.
fn count_packets(lab: &Lab, node: &str, what: &str) {
    for side in ["--dport", "--sport"] {
        lab.node(node, &["iptables", "-w", what, "OUTPUT", "-p", "tcp", side, PORT]);
    }
}

/// Bytes that were counted so far, on all nodes.
fn packets(lab: &Lab) -> u64 {
    let of = |node: &&str| -> u64 {
        let said = lab.node(node, &["iptables", "-w", "-nvxL", "OUTPUT"]);
        let ours = said.lines().filter(|line| line.contains(&format!("pt:{PORT}")));
        ours.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
    };
    NODES.iter().map(of).sum()
}
