//! Watches from outside whether the app's database runs on two nodes at the same time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::process::pids;
use crate::support::Lab;

const PACE: Duration = Duration::from_millis(500);

/// A thread that looks until it is told to end.
pub(crate) struct Overlap {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<Vec<String>>,
}

impl Overlap {
    /// Watches the app of that compose project.
    pub(crate) fn start(lab: &Lab, project: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, groups) = (stop.clone(), format!("/tandem-lab.{}.", lab.name));
        let volume = format!("/{project}_database ");
        Self { stop, worker: std::thread::spawn(move || look(&groups, &volume, &flag)) }
    }

    /// The times at which it ran on more than one node.
    pub(crate) fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.join().unwrap()
    }
}

fn look(groups: &str, volume: &str, stop: &AtomicBool) -> Vec<String> {
    let started = Instant::now();
    let mut story = Vec::new();
    let mut twice: Option<(Duration, BTreeSet<String>)> = None;
    loop {
        let (at, nodes) = (started.elapsed(), masters(groups, volume));
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

/// The nodes on which the app's database runs: by its volume, and by the cgroup that it is in.
fn masters(prefix: &str, volume: &str) -> BTreeSet<String> {
    let read = |pid: i32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    pids()
        .filter_map(|pid| {
            let command = read(pid, "cmdline")?;
            let is_server = command.contains("bin/postgres\0-D\0");
            if !is_server || !read(pid, "mountinfo")?.contains(volume) {
                return None;
            }
            let groups = read(pid, "cgroup")?;
            let (_, rest) = groups.split_once(prefix)?;
            Some(rest.split('/').next()?.trim().to_owned())
        })
        .collect()
}
