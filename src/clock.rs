//! The time of day, for records and entries.
//!
//! Waits and deadlines go by [`tokio::time`]; by this one, only how old it is what a node has said of itself.

use chrono::{DateTime, Utc};

/// The time of day.
pub fn now() -> DateTime<Utc> {
    #[cfg(any(test, feature = "testing"))]
    if let Some(told) = testing::now() {
        return told;
    }
    Utc::now()
}

/// A time of day that a test sets, per thread.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    use std::cell::Cell;

    use chrono::{DateTime, Utc};
    use tokio::time::Instant;

    thread_local! {
        static START: Cell<Option<(Instant, DateTime<Utc>)>> = const { Cell::new(None) };
    }

    /// From now on it is `at` on this thread, and tokio's clock, which may be paused, tells how time passes.
    pub fn start(at: DateTime<Utc>) {
        START.set(Some((Instant::now(), at)));
    }

    pub(super) fn now() -> Option<DateTime<Utc>> {
        let (since, at) = START.get()?;
        Some(at + since.elapsed())
    }
}
