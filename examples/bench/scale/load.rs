//! Requests while a hundred changes are made: 50 a second on connections of their own, 1,600 a second on kept ones, for an
//! app that none of the changes is about. They go through a node that is not its master: two HAProxies and a Caddy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::apps::App;
use super::watch::write;
use crate::support::http::Load as Kept;
use crate::support::{Lab, NODES, get};

const CHANGES: usize = 100;
/// Between two changes.
const CHANGE_PACE: Duration = Duration::from_millis(500);
/// Between two new connections.
const NEW_PACE: Duration = Duration::from_millis(20);
/// Kept connections, and the requests a second of each.
const KEPT: (u32, u32) = (32, 50);

/// What came of the requests.
#[derive(Debug, Serialize)]
pub(crate) struct Load {
    pub(crate) changes: usize,
    pub(crate) seconds: f64,
    pub(crate) new_sent: usize,
    pub(crate) new_failed: usize,
    pub(crate) kept_good: usize,
    pub(crate) kept_failed: usize,
    pub(crate) faults: BTreeMap<String, usize>,
}

pub(crate) fn measure(lab: &Lab, apps: &mut [App]) -> Load {
    let (served, others) = apps.split_first_mut().unwrap();
    let through = NODES.into_iter().find(|node| *node != served.master).unwrap_or(NODES[0]);
    let (ip, host) = (lab.ip(through), served.host());
    let kept: Vec<Kept> = (0..KEPT.0).map(|_| Kept::start(&ip, &host, "/", KEPT.1)).collect();
    let new = New::start(&ip, &host);
    let began = Instant::now();
    for number in 0..CHANGES {
        change(lab, number, others);
        let due = CHANGE_PACE * u32::try_from(number + 1).unwrap();
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
    let seconds = began.elapsed().as_secs_f64();
    let (new_sent, new_faults) = new.end();
    let (mut kept_good, mut kept_faults) = (0, Vec::new());
    for client in kept {
        let (good, faults) = client.end();
        kept_good += good;
        kept_faults.extend(faults.into_iter().map(|fault| without_time(&fault).to_owned()));
    }
    let mut faults = BTreeMap::new();
    for fault in new_faults.iter().chain(&kept_faults) {
        *faults.entry(fault.clone()).or_default() += 1;
    }
    let (new_failed, kept_failed) = (new_faults.len(), kept_faults.len());
    Load { changes: CHANGES, seconds, new_sent, new_failed, kept_good, kept_failed, faults }
}

/// Two flips, then an app that comes, then the same one goes.
fn change(lab: &Lab, number: usize, apps: &mut [App]) {
    let extra = App::new(950_000 + number / 4, NODES[number / 4 % NODES.len()]);
    match number % 4 {
        2 => write(lab, &extra.key(), Some(&extra.record(lab).to_string())),
        3 => write(lab, &extra.key(), None),
        _ => {
            let at = number % apps.len();
            let app = &mut apps[at];
            app.swap();
            write(lab, &app.key(), Some(&app.record(lab).to_string()))
        }
    };
}

/// A fault of a kept connection without the time in front of it.
fn without_time(fault: &str) -> &str {
    fault.split_once(": ").map_or(fault, |(_, what)| what)
}

/// Requests on connections of their own, each on a thread: one that hangs delays no other.
struct New {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<usize>,
    faults: mpsc::Receiver<String>,
}

impl New {
    fn start(ip: &str, host: &str) -> Self {
        let (stop, (send, faults)) = (Arc::new(AtomicBool::new(false)), mpsc::channel());
        let (ip, host, flag) = (ip.to_owned(), host.to_owned(), stop.clone());
        let worker = std::thread::spawn(move || {
            let (mut sent, mut due) = (0, Instant::now());
            while !flag.load(Ordering::Relaxed) {
                let (ip, host, send) = (ip.clone(), host.clone(), send.clone());
                std::thread::spawn(move || match get(&ip, &host, "/") {
                    Ok(reply) if reply.status == 200 => Ok(()),
                    Ok(reply) => send.send(format!("status {}", reply.status)),
                    Err(why) => send.send(why),
                });
                sent += 1;
                due += NEW_PACE;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            sent
        });
        Self { stop, worker, faults }
    }

    /// How many were sent, and what went wrong.
    fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.worker.join().unwrap();
        (sent, self.faults.iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_fault_counts_as_one() {
        assert_eq!(without_time("1.5s: status 502"), "status 502");
        assert_eq!(without_time("1.5s: read: reset"), "read: reset");
        assert_eq!(without_time("alone"), "alone");
    }
}
