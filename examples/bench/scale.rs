//! Thousands of apps in KV: how long a change takes to be live on all nodes, and what the node pays. The apps are records
//! alone, written to the real Consul; each node's Caddy answers for those whose master it is, without containers.

mod apps;
mod changes;
mod floor;
mod load;
mod process;
mod start;
mod watch;

use serde::Serialize;

use crate::say;
use crate::stats::Summary;
use crate::support::{Lab, NODES};
use apps::{App, import};
use changes::Seconds;
use floor::Floor;
use load::Load;
use process::Node;
use start::Start;

/// Apps written at once: what is adapted for the first time takes a tenth of a second for each.
const BATCH: usize = 250;

/// All that was measured with so many apps.
#[derive(Debug, Serialize)]
pub(crate) struct Scale {
    pub(crate) apps: usize,
    /// Seconds from the first write of a batch until all of it is live, summed.
    pub(crate) seeding: f64,
    /// Seconds from the write until every node's HAProxy leads there.
    pub(crate) flip: Summary,
    /// The same until every node answers with the app's page.
    pub(crate) add: Summary,
    /// The same until every node answers that it knows no such host.
    pub(crate) remove: Summary,
    /// Seconds until the master names what is wrong with an app, whose neighbours are still served.
    pub(crate) bad: Summary,
    pub(crate) floor: Floor,
    pub(crate) start: Start,
    pub(crate) nodes: Vec<Node>,
    pub(crate) flips: Flips,
    pub(crate) load: Load,
}

/// A thousand flips in a minute.
#[derive(Debug, Serialize)]
pub(crate) struct Flips {
    pub(crate) written: usize,
    /// From the first write to the last.
    pub(crate) seconds: f64,
    /// From the last write until every node leads every app where it belongs.
    pub(crate) settled: f64,
    /// By node.
    pub(crate) haproxy_reloads: Vec<u64>,
    /// Loads of Caddy, by node.
    pub(crate) caddy_loads: Vec<u64>,
}

pub(crate) fn measure(lab: &Lab, sizes: &[usize], runs: u32) -> Vec<Scale> {
    let mut all: Vec<App> = Vec::new();
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    assert!(sizes.iter().all(|size| *size >= NODES.len()), "fewer apps than nodes");
    let found = sizes.iter().map(|size| one(lab, *size, runs, &mut all)).collect();
    apps::clear(lab, &all);
    found
}

fn one(lab: &Lab, size: usize, runs: u32, all: &mut Vec<App>) -> Scale {
    let seeding = seed(lab, size, all);
    let node = NODES[2];
    say(&format!("{size} apps: changes"));
    let flip = Summary::of(times(runs, |run| changes::flip(lab, &mut all[run % size])));
    let mut new = App::new(size, NODES[0]);
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    for run in 0..runs {
        new = App { revision: run, ..new };
        add.push(changes::add(lab, &new));
        remove.push(changes::remove(lab, &new));
    }
    let bad = Summary::of(times(runs, |run| changes::bad(lab, run, &all[0])));
    say(&format!("{size} apps: floors"));
    let floor = floor::measure(lab, node, &all[0]);
    say(&format!("{size} apps: agents that start"));
    let start = start::measure(lab, NODES[1], size);
    let before = process::caddy_loads_and_reloads(lab);
    say(&format!("{size} apps: 1,000 flips in a minute"));
    let (written, seconds, settled) = changes::many_flips(lab, all);
    let after = process::caddy_loads_and_reloads(lab);
    let count = |pick: fn(&(u64, u64)) -> u64| {
        let pairs = after.iter().zip(&before);
        pairs.map(|(after, before)| pick(after).saturating_sub(pick(before))).collect()
    };
    let flips = Flips {
        written,
        seconds,
        settled,
        haproxy_reloads: count(|counts| counts.0),
        caddy_loads: count(|counts| counts.1),
    };
    say(&format!("{size} apps: 100 changes under load"));
    let load = load::measure(lab, all);
    Scale {
        apps: size,
        seeding,
        flip,
        add: Summary::of(add),
        remove: Summary::of(remove),
        bad,
        floor,
        start,
        nodes: NODES.iter().map(|node| Node::of(lab, node)).collect(),
        flips,
        load,
    }
}

fn times(runs: u32, mut once: impl FnMut(usize) -> Seconds) -> Vec<Seconds> {
    (0..runs as usize).map(&mut once).collect()
}

/// Writes what is missing of `size` apps, in batches; the last of each has to be served by every node.
fn seed(lab: &Lab, size: usize, all: &mut Vec<App>) -> f64 {
    let mut seconds = 0.0;
    while all.len() < size {
        let count = BATCH.min(size - all.len());
        let batch: Vec<App> =
            (all.len()..all.len() + count).map(|n| App::new(n, NODES[n % NODES.len()])).collect();
        let began = std::time::Instant::now();
        import(lab, &batch);
        let last = &batch[batch.len().saturating_sub(NODES.len())..];
        last.iter().for_each(|app| changes::await_served(lab, app));
        seconds += began.elapsed().as_secs_f64();
        all.extend(batch);
        say(&format!("{} of {size} apps are served, after {seconds:.0} s", all.len()));
    }
    changes::await_standby(lab, all);
    seconds
}
