//! How long an app with 100 MB under writes is away while it moves, what clients of a third node see, and the floor.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::deployment::{deploy, destroy, fire};
use crate::floor::{self, Floor};
use crate::probe::{CLIENTS, Probe, longest_gap};
use crate::redeploy::{count, tally};
use crate::say;
use crate::stats::Summary;
use crate::steps::{self, Part, Stages, Times};
use crate::support::{Lab, Repo};

/// The app: a page on a volume of 100 MB, of which it overwrites 1 MB a second.
const FIXTURE: &str = "hello-writes";
/// A success that took longer was delayed: seconds.
pub(crate) const DELAYED: f64 = 0.1;

/// Moves of one kind.
#[derive(Debug, Serialize)]
pub(crate) struct Moves {
    pub(crate) what: &'static str,
    /// Seconds: the longest time between two successes.
    pub(crate) gap: Summary,
    /// Seconds from the event to the outcome.
    pub(crate) whole: Summary,
    /// Requests on new connections during one move, 50 a second.
    pub(crate) sent: Summary,
    /// Those of them that did not get the page.
    pub(crate) failed: Summary,
    /// All failures of all runs, by what was wrong.
    pub(crate) faults: BTreeMap<String, usize>,
    /// Those that got the page, but not at once.
    pub(crate) delayed: Summary,
    /// Seconds that the slowest took to get the page.
    pub(crate) longest: Summary,
    pub(crate) parts: Vec<Part>,
    /// Seconds of the bare parts, and `total`.
    pub(crate) floor: BTreeMap<String, Summary>,
    pub(crate) ratio: f64,
}

/// One move.
struct Run {
    gap: f64,
    whole: f64,
    sent: usize,
    faults: Vec<String>,
    delayed: usize,
    longest: f64,
    times: Times,
    floor: Floor,
}

/// From where to where, and the node without a master whose HAProxy is asked.
struct Way {
    pair: (&'static str, Option<&'static str>),
    through: &'static str,
}

/// To the slave and back, and to a third node.
pub(crate) fn measure(lab: &Lab, runs: u32) -> Vec<Moves> {
    vec![to_the_slave(lab, runs), to_a_third(lab, runs)]
}

/// The pair swaps again and again: each has the other's copies.
fn to_the_slave(lab: &Lab, runs: u32) -> Moves {
    let repo = Repo::publish(lab, FIXTURE, "bench-moves");
    let forth = Way { pair: ("node2", Some("node1")), through: "node3" };
    let back = Way { pair: ("node1", Some("node2")), through: "node3" };
    say("move to the slave: warming up");
    deploy(lab, &repo, "node1", "node2");
    run(lab, &repo, &forth);
    let runs = (1..=runs).map(|n| {
        say(&format!("move to the slave: run {n} of {runs}"));
        run(lab, &repo, if n.is_multiple_of(2) { &forth } else { &back })
    });
    let runs: Vec<Run> = runs.collect();
    destroy(lab, &repo);
    summary("to the slave", &runs)
}

/// Each time another app, which the third node has never seen; it ends without a slave.
fn to_a_third(lab: &Lab, runs: u32) -> Moves {
    let way = Way { pair: ("node3", None), through: "node2" };
    let runs = (1..=runs).map(|n| {
        say(&format!("move to a third node: run {n} of {runs}"));
        let repo = Repo::publish(lab, FIXTURE, &format!("bench-moves-{n}"));
        deploy(lab, &repo, "node1", "node2");
        let run = run(lab, &repo, &way);
        destroy(lab, &repo);
        run
    });
    let runs: Vec<Run> = runs.collect();
    summary("to a third node", &runs)
}

/// One move under requests, and its floor.
fn run(lab: &Lab, repo: &Repo, way: &Way) -> Run {
    let mut probe = Probe::start(lab, way.through, CLIENTS);
    probe.await_success();
    let fired = fire(lab, "deploy", repo, &repo.deploy(way.pair.0, way.pair.1));
    let record = fired.completed(lab);
    probe.await_success();
    let (sent, answers) = probe.end();
    let stages = Stages::of(&record);
    let times = stages.between(stages.position("begin maintenance"), "register");
    let good = || answers.iter().filter(|answer| answer.is_success()).map(|answer| answer.took);
    Run {
        gap: longest_gap(&answers),
        whole: crate::probe::seconds(fired.at, steps::finished(&record)),
        sent,
        faults: answers.iter().filter_map(|answer| answer.fault()).collect(),
        delayed: good().filter(|took| *took > DELAYED).count(),
        longest: good().fold(0.0, f64::max),
        times: times.into_iter().map(|(what, time)| (without_node(&what), time)).collect(),
        floor: floor::hand_over(lab, repo),
    }
}

/// "send node2" on the way forth is "send node1" on the way back.
fn without_node(step: &str) -> String {
    step.split(" node").next().unwrap_or(step).to_owned()
}

fn summary(what: &'static str, runs: &[Run]) -> Moves {
    let of = |value: fn(&Run) -> f64| Summary::of(runs.iter().map(value));
    let part = |part: &String| Summary::of(runs.iter().map(|run| run.floor[part]));
    let floor: BTreeMap<_, _> =
        runs[0].floor.keys().map(|name| (name.clone(), part(name))).collect();
    let gap = of(|run| run.gap);
    let times: Vec<Times> = runs.iter().map(|run| run.times.clone()).collect();
    Moves {
        what,
        gap,
        whole: of(|run| run.whole),
        sent: of(|run| count(run.sent)),
        failed: of(|run| count(run.faults.len())),
        faults: tally(runs.iter().flat_map(|run| &run.faults)),
        delayed: of(|run| count(run.delayed)),
        longest: of(|run| run.longest),
        parts: steps::summarize(&times),
        ratio: gap.median / floor["total"].median,
        floor,
    }
}
