//! From the event to the first page of `hello` through every node, beside the floor.

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use serde::Serialize;
use serde_json::Value;

use crate::deployment::{destroy, fire};
use crate::floor::{self, Floor};
use crate::probe::{HOST, PACE, PAGE, seconds};
use crate::say;
use crate::stats::Summary;
use crate::steps::{self, Part, Stages, Times};
use crate::support::{Lab, NODES, PATIENCE, Repo, get, until};

/// Event → serving.
#[derive(Debug, Serialize)]
pub(crate) struct Serving {
    /// Seconds until the first page through each node.
    pub(crate) by_node: BTreeMap<String, Summary>,
    /// Seconds until the last of the nodes serves.
    pub(crate) everywhere: Summary,
    /// Seconds of the bare parts, and `total`.
    pub(crate) floor: BTreeMap<String, Summary>,
    pub(crate) ratio: f64,
    /// Without the settle time.
    pub(crate) ratio_without_settle: f64,
    pub(crate) parts: Vec<Part>,
    /// What was answered before the first page, and is neither "unknown" nor the page.
    pub(crate) faults_before: BTreeMap<String, usize>,
}

/// One run.
struct Run {
    by_node: Vec<(&'static str, f64)>,
    times: Times,
    faults: Vec<String>,
    floor: Floor,
}

pub(crate) fn measure(lab: &Lab, runs: u32, settle: f64) -> Serving {
    let repo = Repo::publish(lab, "hello", "bench-hello");
    say("event → serving: warming both ways up");
    run(lab, &repo);
    let runs: Vec<Run> = (1..=runs)
        .map(|n| {
            say(&format!("event → serving: run {n} of {runs}"));
            run(lab, &repo)
        })
        .collect();
    let everywhere = Summary::of(runs.iter().map(Run::everywhere));
    let floor: BTreeMap<String, Summary> = runs[0]
        .floor
        .keys()
        .map(|part| (part.clone(), Summary::of(runs.iter().map(|run| run.floor[part]))))
        .collect();
    let bare = floor["total"].median;
    let node = |index: usize| Summary::of(runs.iter().map(|run| run.by_node[index].1));
    let times: Vec<Times> = runs.iter().map(|run| run.times.clone()).collect();
    let mut faults_before = BTreeMap::new();
    for fault in runs.iter().flat_map(|run| &run.faults) {
        *faults_before.entry(fault.clone()).or_default() += 1;
    }
    Serving {
        by_node: NODES.iter().enumerate().map(|(i, name)| ((*name).to_owned(), node(i))).collect(),
        everywhere,
        ratio: everywhere.median / bare,
        ratio_without_settle: (everywhere.median - settle) / bare,
        floor,
        parts: steps::summarize(&times),
        faults_before,
    }
}

impl Run {
    fn everywhere(&self) -> f64 {
        self.by_node.iter().map(|node| node.1).fold(0.0, f64::max)
    }
}

fn run(lab: &Lab, repo: &Repo) -> Run {
    NODES.iter().for_each(|node| {
        until("the app to be unknown", || {
            get(&lab.ip(node), HOST, PAGE).ok().filter(|reply| reply.status == 404)
        });
    });
    let watchers = NODES.map(|node| watch(lab.ip(node)));
    let fired = fire(lab, "deploy", repo, &repo.deploy("node1", Some("node2")));
    let seen = watchers.map(|watcher| watcher.join().unwrap());
    if seen.iter().any(|node| node.0.is_none()) {
        panic!("hello is not served everywhere: {:#}", fired.record(lab).unwrap_or_default());
    }
    let record = fired.completed(lab);
    let first = |node: &(Option<SystemTime>, Vec<String>)| seconds(fired.at, node.0.unwrap());
    let by_node = NODES.into_iter().zip(seen.iter().map(first)).collect();
    let last = seen.iter().filter_map(|node| node.0).max().unwrap();
    destroy(lab, repo);
    Run {
        by_node,
        times: times(&record, fired.at, last),
        faults: seen.into_iter().flat_map(|node| node.1).collect(),
        floor: floor::deploy(lab, repo),
    }
}

/// The parts of the time from the event to the last node's first page.
fn times(record: &Value, fired: SystemTime, served: SystemTime) -> Times {
    let (stages, accepted) = (Stages::of(record), steps::accepted(record));
    let mut times = vec![
        ("event → accepted".to_owned(), seconds(fired, accepted)),
        ("accepted → first step".to_owned(), seconds(accepted, stages.began("checkout"))),
    ];
    times.extend(stages.between(0, "commit"));
    times.push(("commit → served everywhere".to_owned(), seconds(stages.began("commit"), served)));
    times
}

/// Asks until the page is there: when that was, and which answers before were faults.
fn watch(ip: String) -> JoinHandle<(Option<SystemTime>, Vec<String>)> {
    std::thread::spawn(move || {
        let (deadline, mut faults) = (Instant::now() + PATIENCE, Vec::new());
        while Instant::now() < deadline {
            let began = Instant::now();
            match get(&ip, HOST, PAGE) {
                Ok(reply) if reply.status == 200 => return (Some(SystemTime::now()), faults),
                Ok(reply) if reply.status == 404 => {}
                Ok(reply) => faults.push(reply.status.to_string()),
                Err(why) => faults.push(why),
            }
            std::thread::sleep(PACE.saturating_sub(began.elapsed()));
        }
        (None, faults)
    })
}
