//! Watches from outside whether the app's processes run on two nodes at the same time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::process::{lab_name, pids};

const PACE: Duration = Duration::from_millis(200);
/// The database: what must never run twice on data that is to be one.
const DATABASE: &str = "/srv/database/15";

/// A thread that looks until it is told to end.
pub(crate) struct Overlap {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<Vec<String>>,
}

impl Overlap {
    pub(crate) fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        Self { stop, worker: std::thread::spawn(move || look(&flag)) }
    }

    /// The times at which it ran on more than one node.
    pub(crate) fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.join().unwrap()
    }
}

fn look(stop: &AtomicBool) -> Vec<String> {
    let started = Instant::now();
    let mut story = Vec::new();
    let mut twice: Option<(Duration, BTreeSet<String>)> = None;
    loop {
        let (at, nodes) = (started.elapsed(), masters());
        let ended = stop.load(Ordering::Relaxed);
        if nodes.len() < 2 || ended {
            if let Some((since, nodes)) = twice.take() {
                let nodes: Vec<_> = nodes.into_iter().collect();
                let (from, to) = (since.as_secs_f64(), at.as_secs_f64());
                story.push(format!("on {} from {from:.1} to {to:.1} s", nodes.join(" and ")));
            }
        } else {
            twice.get_or_insert((at, nodes));
        }
        if ended {
            return story;
        }
        std::thread::sleep(PACE);
    }
}

/// The nodes on which the database runs, by the cgroups of its processes.
fn masters() -> BTreeSet<String> {
    let prefix = format!("/tandem-lab.{}.", lab_name());
    pids()
        .filter_map(|pid| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).into_owned();
            let is_server = command.contains("bin/postgres\0-D\0") && command.contains(DATABASE);
            let groups = is_server.then(|| std::fs::read_to_string(format!("/proc/{pid}/cgroup")));
            let groups = groups?.ok()?;
            let (_, rest) = groups.split_once(&prefix)?;
            Some(rest.split('/').next()?.trim().to_owned())
        })
        .collect()
}
