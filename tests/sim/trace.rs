//! What happened, in order: kept for nobody until somebody asks for it.

use std::sync::Mutex;

use tokio::time::Instant;

/// What becomes of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sink {
    /// Nobody wants them: they are not even made.
    None,
    /// They are printed as they come.
    Print,
    /// They are kept, to be compared.
    Keep,
}

/// What the ids of all events begin with.
const IDS: &str = "e7e00000-0000-4000-8000-00000000";

/// The story of one run.
pub(crate) struct Trace {
    sink: Sink,
    begun: Instant,
    kept: Mutex<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(sink: Sink) -> Self {
        Self { sink, begun: Instant::now(), kept: Mutex::default() }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.sink != Sink::None
    }

    /// One line about `who`.
    pub(crate) fn line(&self, who: &str, what: impl FnOnce() -> String) {
        if !self.is_on() {
            return;
        }
        let what = what().replace(IDS, "#");
        let line = format!("{:>9.3} {who:<6} {what}", self.begun.elapsed().as_secs_f64());
        match self.sink {
            Sink::Print => println!("{line}"),
            Sink::Keep => self.kept.lock().unwrap().push(line),
            Sink::None => {}
        }
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.kept.lock().unwrap())
    }
}
