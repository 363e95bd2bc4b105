//! How long `hello` is away while another version takes its place, beside the floor.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::deployment::{deploy, destroy, fire};
use crate::floor;
use crate::probe::{HOST, PACE, PAGE, Probe, longest_gap, seconds};
use crate::say;
use crate::stats::Summary;
use crate::steps::{self, Part, Stages, Times};
use crate::support::{Lab, Load, Repo};

/// The third node: neither master nor slave.
const THROUGH: &str = "node3";

/// A redeployment's downtime.
#[derive(Debug, Serialize)]
pub(crate) struct Redeploy {
    /// Seconds: the longest time between two successes.
    pub(crate) gap: Summary,
    /// Requests on new connections during one redeployment.
    pub(crate) sent: Summary,
    /// Those of them that did not get the page.
    pub(crate) failed: Summary,
    /// All failures of all runs, by what was wrong.
    pub(crate) faults: BTreeMap<String, usize>,
    /// The same with 50 requests a second on a kept connection.
    pub(crate) kept_good: Summary,
    pub(crate) kept_failed: Summary,
    pub(crate) kept_faults: BTreeMap<String, usize>,
    /// Seconds from the old container's last answer to the new one's first.
    pub(crate) floor: Summary,
    pub(crate) ratio: f64,
    /// Without the settle time.
    pub(crate) ratio_without_settle: f64,
    pub(crate) parts: Vec<Part>,
    pub(crate) unchanged: Unchanged,
}

/// The same version deployed again.
#[derive(Debug, Serialize)]
pub(crate) struct Unchanged {
    /// Seconds: the longest time between two successes.
    pub(crate) gap: Summary,
    /// Seconds from the event to the outcome.
    pub(crate) whole: Summary,
    pub(crate) sent: Summary,
    pub(crate) failed: Summary,
    pub(crate) faults: BTreeMap<String, usize>,
}

/// One run of it.
struct Again {
    gap: f64,
    whole: f64,
    sent: usize,
    faults: Vec<String>,
}

/// One run.
struct Run {
    gap: f64,
    sent: usize,
    faults: Vec<String>,
    kept_good: usize,
    kept_faults: Vec<String>,
    times: Times,
    floor: f64,
}

pub(crate) fn measure(lab: &Lab, runs: u32, settle: f64) -> Redeploy {
    let olds = Repo::publish(lab, "hello", "bench-floor-v1");
    let news = Repo::publish(lab, "hello-v2", "bench-floor-v2");
    say("redeploy: warming both ways up");
    let repo = Repo::publish(lab, "hello", "bench-redeploy");
    deploy(lab, &repo, "node1", "node2");
    run(lab, &repo, 0, &olds, &news);
    let unchanged = measure_unchanged(lab, &repo, runs);
    let runs: Vec<Run> = (1..=runs)
        .map(|n| {
            say(&format!("redeploy: run {n} of {runs}"));
            run(lab, &repo, n, &olds, &news)
        })
        .collect();
    destroy(lab, &repo);
    let of = |value: fn(&Run) -> f64| Summary::of(runs.iter().map(value));
    let (gap, floor) = (of(|run| run.gap), of(|run| run.floor));
    let times: Vec<Times> = runs.iter().map(|run| run.times.clone()).collect();
    Redeploy {
        gap,
        floor,
        sent: of(|run| count(run.sent)),
        failed: of(|run| count(run.faults.len())),
        kept_good: of(|run| count(run.kept_good)),
        kept_failed: of(|run| count(run.kept_faults.len())),
        faults: tally(runs.iter().flat_map(|run| &run.faults)),
        kept_faults: tally(runs.iter().flat_map(|run| &run.kept_faults)),
        ratio: gap.median / floor.median,
        ratio_without_settle: (gap.median - settle) / floor.median,
        parts: steps::summarize(&times),
        unchanged,
    }
}

fn measure_unchanged(lab: &Lab, repo: &Repo, runs: u32) -> Unchanged {
    let runs: Vec<Again> = (1..=runs)
        .map(|n| {
            say(&format!("redeploy without a change: run {n} of {runs}"));
            again(lab, repo)
        })
        .collect();
    let of = |value: fn(&Again) -> f64| Summary::of(runs.iter().map(value));
    Unchanged {
        gap: of(|run| run.gap),
        whole: of(|run| run.whole),
        sent: of(|run| count(run.sent)),
        failed: of(|run| count(run.faults.len())),
        faults: tally(runs.iter().flat_map(|run| &run.faults)),
    }
}

/// Deploys what runs already, under requests.
fn again(lab: &Lab, repo: &Repo) -> Again {
    let mut probe = Probe::start(lab, THROUGH, PACE);
    probe.await_success();
    let fired = fire(lab, "deploy", repo, &repo.deploy("node1", Some("node2")));
    let record = fired.completed(lab);
    probe.await_success();
    let (sent, answers) = probe.end();
    Again {
        gap: longest_gap(&answers),
        whole: seconds(fired.at, steps::finished(&record)),
        sent,
        faults: answers.iter().filter_map(|answer| answer.fault()).collect(),
    }
}

/// Puts the other version in place, under requests.
fn run(lab: &Lab, repo: &Repo, n: u32, old: &Repo, new: &Repo) -> Run {
    let (fixture, version) =
        if n.is_multiple_of(2) { ("hello-v2", "hello v2") } else { ("hello", "hello v1") };
    Repo::publish(lab, fixture, &repo.name);
    let mut probe = Probe::start(lab, THROUGH, PACE);
    let kept = Load::start(&lab.ip(THROUGH), HOST, PAGE, 50);
    let fired = fire(lab, "deploy", repo, &repo.deploy("node1", Some("node2")));
    probe.await_version(version);
    let record = fired.completed(lab);
    let (sent, answers) = probe.end();
    let (kept_good, kept_faults) = kept.end();
    let stages = Stages::of(&record);
    Run {
        gap: longest_gap(&answers),
        sent,
        faults: answers.iter().filter_map(|answer| answer.fault()).collect(),
        kept_good,
        kept_faults: kept_faults.iter().map(|fault| without_time(fault)).collect(),
        times: stages.between(stages.position("begin maintenance"), "register"),
        floor: floor::replace(lab, old, new)["total"],
    }
}

/// A failure of [`Load`] is "time: what".
fn without_time(fault: &str) -> String {
    fault.split_once(": ").map_or(fault, |(_, what)| what).to_owned()
}

pub(crate) fn tally<'a>(faults: impl Iterator<Item = &'a String>) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    faults.for_each(|fault| *tally.entry(fault.clone()).or_default() += 1);
    tally
}

pub(crate) fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap())
}
