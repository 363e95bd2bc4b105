//! The labs that `fixtures/with-lab` started, shared out among the tests: one has a lab for itself, others wait.

use std::io::Write;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::time::Instant;

/// The names of the labs that are free; `LAB_NAMES` has all of them.
static FREE: LazyLock<Mutex<Vec<String>>> = LazyLock::new(|| {
    let names = std::env::var("LAB_NAMES").or_else(|_| std::env::var("LAB"));
    let names = names.unwrap_or_else(|_| "tandem".to_owned());
    Mutex::new(names.split_whitespace().map(str::to_owned).collect())
});
static CAME_BACK: Condvar = Condvar::new();

/// A lab that nobody else has, until it is dropped.
pub(super) struct Lease {
    pub(super) lab: String,
    since: Instant,
}

/// The next lab that is free.
pub(super) fn lease() -> Lease {
    let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut free =
        CAME_BACK.wait_while(free, |free| free.is_empty()).unwrap_or_else(PoisonError::into_inner);
    let lab = free.pop().expect("one is free");
    Lease { lab, since: Instant::now() }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.note();
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.lab.clone());
        CAME_BACK.notify_one();
    }
}

impl Lease {
    /// How long the test had it, as a line of the file `LAB_TIMES`. The harness names its threads by their tests.
    fn note(&self) {
        let Ok(file) = std::env::var("LAB_TIMES") else { return };
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("?");
        let line = format!("{:.1} {test} {}\n", self.since.elapsed().as_secs_f64(), self.lab);
        let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}
