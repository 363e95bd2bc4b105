//! Requests from outside the cluster, with the time of each answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::support::{Lab, PATIENCE, get};

/// The time between two requests, where the moment of the first success is asked for.
pub(crate) const PACE: Duration = Duration::from_millis(10);
/// The same where it is asked how clients fare: 50 a second.
pub(crate) const CLIENTS: Duration = Duration::from_millis(20);
/// The host of the fixture `hello`.
pub(crate) const HOST: &str = "hello.test";
/// A page of it that names its version.
pub(crate) const PAGE: &str = "/version.txt";

/// An answer, or why there was none.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) at: SystemTime,
    /// Seconds from the connection's first packet to the answer's last.
    pub(crate) took: f64,
    pub(crate) result: Result<(u16, String), String>,
}

impl Answer {
    fn now(ip: &str) -> Self {
        let began = Instant::now();
        let result = get(ip, HOST, PAGE).map(|reply| (reply.status, reply.body.trim().to_owned()));
        Self { at: SystemTime::now(), took: began.elapsed().as_secs_f64(), result }
    }

    pub(crate) fn is_success(&self) -> bool {
        matches!(self.result, Ok((200, _)))
    }

    /// Whether it is this version's page.
    pub(crate) fn is_version(&self, version: &str) -> bool {
        matches!(&self.result, Ok((200, body)) if body == version)
    }

    /// What went wrong, in a word or two; the same for the same fault.
    pub(crate) fn fault(&self) -> Option<String> {
        match &self.result {
            Ok((200, _)) => None,
            Ok((status, _)) => Some(status.to_string()),
            Err(why) => Some(why.clone()),
        }
    }
}

/// New connections at a steady pace, each request on a thread of its own: one that hangs delays no other.
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    answers: mpsc::Receiver<Answer>,
    worker: JoinHandle<usize>,
    seen: Vec<Answer>,
}

impl Probe {
    pub(crate) fn start(lab: &Lab, node: &str, pace: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ip, flag, (answers, received)) = (lab.ip(node), stop.clone(), mpsc::channel());
        let worker = std::thread::spawn(move || send(&ip, pace, &flag, &answers));
        Self { stop, answers: received, worker, seen: Vec::new() }
    }

    /// Waits until this version answers.
    pub(crate) fn await_version(&mut self, version: &str) {
        self.await_answer(version, |answer| answer.is_version(version));
    }

    /// Waits until a request succeeds from now on.
    pub(crate) fn await_success(&mut self) {
        let now = SystemTime::now();
        self.await_answer("a page", |answer| answer.is_success() && answer.at > now);
    }

    fn await_answer(&mut self, what: &str, wanted: impl Fn(&Answer) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = self.answers.recv_timeout(left);
            let answer = answer.unwrap_or_else(|_| panic!("{what} did not come in time"));
            let found = wanted(&answer);
            self.seen.push(answer);
            if found {
                return;
            }
        }
    }

    /// How many requests were sent, and their answers in the order in which they came.
    pub(crate) fn end(mut self) -> (usize, Vec<Answer>) {
        self.stop.store(true, Ordering::Relaxed);
        self.seen.extend(self.answers.iter());
        self.seen.sort_by_key(|answer| answer.at);
        (self.worker.join().unwrap(), self.seen)
    }
}

fn send(ip: &str, pace: Duration, stop: &AtomicBool, answers: &mpsc::Sender<Answer>) -> usize {
    let (mut sent, mut due) = (0, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let (ip, answers) = (ip.to_owned(), answers.clone());
        std::thread::spawn(move || answers.send(Answer::now(&ip)));
        sent += 1;
        due += pace;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    sent
}

/// The longest time between two successes, in seconds.
pub(crate) fn longest_gap(answers: &[Answer]) -> f64 {
    let times: Vec<_> = answers.iter().filter(|a| a.is_success()).map(|a| a.at).collect();
    times.windows(2).map(|pair| seconds(pair[0], pair[1])).fold(0.0, f64::max)
}

/// From one time to a later one; negative if it is earlier.
pub(crate) fn seconds(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from).map_or_else(|e| -e.duration().as_secs_f64(), |d| d.as_secs_f64())
}
