//! The bare parts by hand on a node: fixtures/bench-floor.

use std::collections::BTreeMap;

use crate::support::{Lab, Repo};

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

fn run(lab: &Lab, args: &[&str]) -> Floor {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/bench-floor");
    let said = lab.node("node1", &[&[script], args].concat());
    let floor: Floor = said.lines().filter_map(part).collect();
    assert!(floor.contains_key("total"), "{script} {args:?} said: {said}");
    floor
}

fn part(line: &str) -> Option<(String, f64)> {
    let (what, microseconds) = line.split_once(' ')?;
    Some((what.to_owned(), microseconds.parse::<f64>().ok()? / 1e6))
}
