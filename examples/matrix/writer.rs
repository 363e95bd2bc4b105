//! Numbered rows, posted to the app all the time, and which of them were acknowledged when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::app::{Site, Which};
use crate::support::blog::{Blog, Kept};
use crate::support::http::{Ask, ask};

/// The time between two rows: short beside any step, and a process or two of the app's for each.
const PACE: Duration = Duration::from_millis(150);
/// How long a row is waited for.
const DEADLINE: Duration = Duration::from_secs(3);
/// Shorter times without an acknowledgement are no downtime.
const BLINK: Duration = Duration::from_millis(500);
/// Every so many rows one has an attachment.
const ATTACHED: i64 = 7;

/// What the app promised to keep.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The highest number posted.
    pub(crate) last: i64,
    /// Numbers that were answered with 2xx.
    pub(crate) acknowledged: BTreeSet<i64>,
    /// What a blog promised, whose posts the rows are.
    pub(crate) blog: Kept,
}

/// What a writer saw.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) ledger: Ledger,
    /// Without an acknowledgement, from the first to the last one; gaps below half a second are none.
    pub(crate) downtime: Duration,
    /// When and why rows were not acknowledged, changes only.
    pub(crate) story: Vec<String>,
}

/// A thread that posts until it is told to end.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<Written>,
}

impl Writer {
    /// Goes on where the ledger ends.
    pub(crate) fn start(ip: &str, site: Site, ledger: Ledger) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ip, flag) = (ip.to_owned(), stop.clone());
        let worker = std::thread::spawn(move || write(&ip, site, ledger, &flag));
        Self { stop, worker }
    }

    pub(crate) fn end(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.join().unwrap()
    }
}

fn write(ip: &str, site: Site, ledger: Ledger, stop: &AtomicBool) -> Written {
    let started = Instant::now();
    let mut written = Written { ledger, ..Written::default() };
    let mut served: Option<Instant> = None;
    let mut said = String::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = post(ip, site, &mut written.ledger);
        if answer.is_ok() {
            let now = Instant::now();
            let gap = served.replace(now).map_or(Duration::ZERO, |before| now - before);
            written.downtime += if gap < BLINK { Duration::ZERO } else { gap };
        }
        let words = answer.err().unwrap_or_else(|| "served".to_owned());
        if words != said {
            written.story.push(format!("{:8.3} {words}", started.elapsed().as_secs_f64()));
            said = words;
        }
        std::thread::sleep(PACE.saturating_sub(began.elapsed()));
    }
    written
}

/// Posts the next row.
pub(crate) fn post(ip: &str, site: Site, ledger: &mut Ledger) -> Result<(), String> {
    match site.which {
        Which::Guestbook | Which::Branch => post_row(ip, site.host, ledger),
        Which::Blog => {
            let blog = Blog { ip: ip.to_owned(), host: site.host.to_owned() };
            let written = blog.write(&mut ledger.blog);
            ledger.last = ledger.blog.last.into();
            ledger.acknowledged.extend(ledger.blog.posts.last().copied().map(i64::from));
            written
        }
    }
}

fn post_row(ip: &str, host: &str, ledger: &mut Ledger) -> Result<(), String> {
    ledger.last += 1;
    let n = ledger.last;
    let attachment = if n % ATTACHED == 0 { format!("attachment of {n}") } else { String::new() };
    let body = serde_json::json!({"n": n, "text": format!("row {n}"), "attachment": attachment});
    let body = body.to_string();
    let row = Ask { method: "POST", host, path: "/api/rows", body: &body };
    match ask(ip, 80, row, DEADLINE)? {
        reply if (200..300).contains(&reply.status) => {
            ledger.acknowledged.insert(n);
            Ok(())
        }
        reply => Err(format!("status {}", reply.status)),
    }
}
