//! Many apps deployed at once, beside one after the other.

use serde::Serialize;
use serde_json::Value;

use crate::deployment::{Fired, fire, fire_all};
use crate::probe::seconds;
use crate::say;
use crate::steps;
use crate::support::{Lab, NODES, Repo};

/// Wall times of the same deployments.
#[derive(Debug, Serialize)]
pub(crate) struct Many {
    pub(crate) apps: usize,
    /// Seconds from the first event to the last outcome, all events fired at once.
    pub(crate) at_once: f64,
    /// Seconds from event to outcome, summed over deployments of which each had the cluster to itself.
    pub(crate) one_by_one: f64,
    pub(crate) ratio: f64,
}

pub(crate) fn measure(lab: &Lab, apps: usize) -> Many {
    say(&format!("{apps} apps: publishing them"));
    let repos: Vec<Repo> = (0..apps).map(|n| publish(lab, n)).collect();
    say("many apps: warming up");
    at_once(lab, &repos[..apps.min(NODES.len())]);
    say("many apps: at once");
    let at_once = at_once(lab, &repos);
    say("many apps: one after the other");
    let one_by_one = one_by_one(lab, &repos);
    Many { apps, at_once, one_by_one, ratio: at_once / one_by_one }
}

/// `hello` under domains of its own.
fn publish(lab: &Lab, n: usize) -> Repo {
    let domain = format!("many{n}.test");
    Repo::publish_edited(lab, "hello", &format!("bench-many-{n}"), &[("hello.test", &domain)])
}

/// The nodes take turns as master and slave.
fn payload(n: usize, repo: &Repo) -> String {
    let node = |n: usize| NODES[n % NODES.len()];
    repo.deploy(node(n), Some(node(n + 1)))
}

fn at_once(lab: &Lab, repos: &[Repo]) -> f64 {
    let events: Vec<_> =
        repos.iter().enumerate().map(|(n, repo)| (repo, payload(n, repo))).collect();
    let fired = fire_all(lab, "deploy", &events);
    let records: Vec<Value> = fired.iter().map(|one| one.completed_among_many(lab)).collect();
    clear(lab, repos);
    let last = records.iter().map(steps::finished).max().unwrap();
    seconds(fired[0].at, last)
}

fn one_by_one(lab: &Lab, repos: &[Repo]) -> f64 {
    let times = repos.iter().enumerate().map(|(n, repo)| {
        let fired = fire(lab, "deploy", repo, &payload(n, repo));
        seconds(fired.at, steps::finished(&fired.completed(lab)))
    });
    let sum = times.sum();
    clear(lab, repos);
    sum
}

fn clear(lab: &Lab, repos: &[Repo]) {
    let events: Vec<_> = repos.iter().map(|repo| (repo, repo.destroy())).collect();
    let fired: Vec<Fired> = fire_all(lab, "destroy", &events);
    fired.iter().for_each(|one| drop(one.completed_among_many(lab)));
}
