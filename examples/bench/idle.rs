//! What an agent with nothing to do costs: memory, processor time, requests to Consul.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::say;
use crate::support::{Lab, NODES};

/// The clock ticks of /proc/PID/stat, on every Linux.
const TICKS: f64 = 100.0;
/// Consul's metrics come in intervals of this length.
const INTERVAL: Duration = Duration::from_secs(10);
/// Consul counts a request when it ends, and a blocking query of the agent waits for 60 s and up to a sixteenth more:
/// after this long, what ends was begun by an agent that had been idle.
const QUIET: Duration = Duration::from_secs(75);
/// Requests of this program, not of the agent.
const OURS: &str = "consul.http.GET.v1.agent.metrics";

/// The agents of all nodes, with some apps deployed.
#[derive(Debug, Serialize)]
pub(crate) struct Idle {
    pub(crate) with: String,
    pub(crate) nodes: Vec<IdleNode>,
}

/// One agent.
#[derive(Debug, Serialize)]
pub(crate) struct IdleNode {
    pub(crate) node: &'static str,
    /// MB.
    pub(crate) rss: f64,
    /// MB.
    pub(crate) pss: f64,
    /// Percent of one core, by utime and stime: they count in steps of 10 ms.
    pub(crate) cpu: f64,
    /// The same by the scheduler's clock, in nanoseconds, of the threads that live.
    pub(crate) cpu_by_scheduler: f64,
    /// Seconds that it has used since it started: not zero, if this measures anything.
    pub(crate) cpu_since_start: f64,
    /// Percent of one core, of the commands that it ran.
    pub(crate) cpu_of_children: f64,
    /// Requests to the node's Consul that ended, in a second, whoever sent them: no one but the agent is known to.
    pub(crate) requests: f64,
    /// The same by endpoint.
    pub(crate) endpoints: BTreeMap<String, f64>,
}

/// Watches all agents at once.
pub(crate) fn watch(lab: &Lab, with: &str, time: Duration) -> Idle {
    say(&format!("idle agents with {with}: {} s", time.as_secs()));
    std::thread::sleep(QUIET);
    let before = NODES.map(|node| Sample::of(lab, node));
    let mut metrics = NODES.map(|_| Metrics::default());
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::sleep(INTERVAL.min(end.saturating_duration_since(Instant::now())));
        for (node, metrics) in NODES.iter().zip(&mut metrics) {
            metrics.read(lab, node);
        }
    }
    let nodes = NODES.into_iter().zip(before).zip(metrics).map(|((node, before), metrics)| {
        let after = Sample::of(lab, node);
        assert_eq!(before.pid, after.pid, "the agent of {node} was started anew");
        let passed = (after.at - before.at).as_secs_f64();
        let endpoints = metrics.by_second();
        IdleNode {
            node,
            rss: after.rss,
            pss: after.pss,
            cpu: 100.0 * (after.own - before.own) / passed,
            cpu_by_scheduler: 100.0 * (after.scheduled - before.scheduled) / passed,
            cpu_since_start: after.own,
            cpu_of_children: 100.0 * (after.children - before.children) / passed,
            requests: endpoints.values().sum(),
            endpoints,
        }
    });
    Idle { with: with.to_owned(), nodes: nodes.collect() }
}

/// An agent's process at one time.
struct Sample {
    at: Instant,
    pid: String,
    rss: f64,
    pss: f64,
    own: f64,
    scheduled: f64,
    children: f64,
}

impl Sample {
    fn of(lab: &Lab, node: &str) -> Self {
        let script = "read -r pid _ </run/lab/agent.pid; cd /proc/$pid; \
             cat stat smaps_rollup task/*/schedstat";
        let said = lab.node(node, &["bash", "-c", script]);
        let at = Instant::now();
        let (stat, memory) = said.split_once('\n').unwrap();
        let (pid, rest) = (stat.split(' ').next().unwrap(), stat.rsplit_once(") ").unwrap().1);
        let field = |n: usize| rest.split(' ').nth(n).unwrap().parse::<f64>().unwrap() / TICKS;
        let megabytes = |key: &str| {
            let line = memory.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0 / 1e6
        };
        let scheduled =
            memory.lines().filter_map(|line| line.split(' ').next()?.parse::<f64>().ok());
        // After pid and name: 11 utime, 12 stime, 13 cutime, 14 cstime.
        Self {
            at,
            pid: pid.to_owned(),
            rss: megabytes("Rss:"),
            pss: megabytes("Pss:"),
            own: field(11) + field(12),
            scheduled: scheduled.sum::<f64>() / 1e9,
            children: field(13) + field(14),
        }
    }
}

/// Requests by endpoint, in each interval that Consul completed.
#[derive(Default)]
struct Metrics {
    intervals: BTreeSet<String>,
    counts: BTreeMap<String, f64>,
}

impl Metrics {
    fn read(&mut self, lab: &Lab, node: &str) {
        let url = "http://127.0.0.1:8500/v1/agent/metrics";
        let metrics: Value = serde_json::from_str(&lab.node(node, &["curl", "-fsS", url])).unwrap();
        if !self.intervals.insert(metrics["Timestamp"].as_str().unwrap().to_owned()) {
            return;
        }
        for sample in metrics["Samples"].as_array().into_iter().flatten() {
            let name = sample["Name"].as_str().unwrap_or_default();
            if let Some(endpoint) = name.strip_prefix("consul.http.").filter(|_| name != OURS) {
                let count = sample["Count"].as_f64().unwrap_or_default();
                *self.counts.entry(endpoint.to_owned()).or_default() += count;
            }
        }
    }

    fn by_second(self) -> BTreeMap<String, f64> {
        let intervals = u32::try_from(self.intervals.len().max(1)).unwrap();
        let seconds = (INTERVAL * intervals).as_secs_f64();
        self.counts.into_iter().map(|(endpoint, count)| (endpoint, count / seconds)).collect()
    }
}
