//! The bare parts by hand on a node: fixtures/bench-floor.

use std::collections::BTreeMap;

use crate::support::{Lab, Repo};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/bench-floor");

/// The parts of a deployment by hand, in their order.
pub(crate) const PARTS: [&str; 5] = ["clone", "pull", "build", "up", "answering"];

/// Seconds by part, and `total`.
pub(crate) type Floor = BTreeMap<String, f64>;

/// Clone, pull, build and up, until the container answers.
pub(crate) fn deploy(lab: &Lab, repo: &Repo) -> Floor {
    run(lab, &["deploy", &repo.url])
}

/// `docker compose up -d` over a running version: from its last answer to the first of the new one.
pub(crate) fn replace(lab: &Lab, old: &Repo, new: &Repo) -> Floor {
    run(lab, &["replace", &old.url, &new.url])
}

/// The parts of a move by hand, in their order.
pub(crate) const MOVE: [&str; 6] = ["stop", "snapshot", "send", "restore", "up", "answering"];

/// Stop, snapshot, incremental send, restore and `up`, from node1 to node2, one after the other. What can be done before
/// has been: the clone, the images, the first sends.
pub(crate) fn hand_over(lab: &Lab, repo: &Repo) -> Floor {
    let to = lab.ip("node2");
    let on = |node: &str, args: &[&str]| lab.node(node, &[&[SCRIPT], args].concat());
    on("node1", &["serve", &repo.url]);
    on("node2", &["ready", &repo.url]);
    // The second is as short as the last one that the agent sends ahead.
    on("node1", &["ahead", &to]);
    on("node1", &["ahead", &to]);
    let left = on("node1", &["hand-over", &to]);
    let name = left.lines().find_map(|line| line.strip_prefix("name ")).unwrap();
    let taken = on("node2", &["take-over", name]);
    ["node1", "node2"].iter().for_each(|node| drop(on(node, &["clear"])));
    let mut floor: Floor = left.lines().chain(taken.lines()).filter_map(part).collect();
    let total = MOVE.iter().map(|part| floor[*part]).sum();
    floor.insert("total".to_owned(), total);
    floor
}

fn run(lab: &Lab, args: &[&str]) -> Floor {
    let said = lab.node("node1", &[&[SCRIPT], args].concat());
    let floor: Floor = said.lines().filter_map(part).collect();
    assert!(floor.contains_key("total"), "{SCRIPT} {args:?} said: {said}");
    floor
}

fn part(line: &str) -> Option<(String, f64)> {
    let (what, microseconds) = line.split_once(' ')?;
    Some((what.to_owned(), microseconds.parse::<f64>().ok()? / 1e6))
}
