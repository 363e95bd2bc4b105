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

/// A time of day that a test sets, per thread; the machines of a simulated cluster may differ in it.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    use std::cell::{Cell, RefCell};
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use chrono::{DateTime, TimeDelta, Utc};
    use tokio::task;
    use tokio::time::Instant;

    /// By how many seconds a machine's clock is ahead.
    pub type Ahead = Arc<AtomicI64>;

    thread_local! {
        static START: Cell<Option<(Instant, DateTime<Utc>)>> = const { Cell::new(None) };
        static MACHINES: RefCell<HashMap<task::Id, Ahead>> = RefCell::default();
    }

    /// From now on it is `at` on this thread, and tokio's clock, which may be paused, tells how time passes.
    pub fn start(at: DateTime<Utc>) {
        MACHINES.with_borrow_mut(HashMap::clear);
        START.set(Some((Instant::now(), at)));
    }

    /// The task that calls this runs on a machine with that clock.
    pub fn on_machine(ahead: &Ahead) {
        if let Some(task) = task::try_id() {
            MACHINES.with_borrow_mut(|machines| {
                machines.entry(task).or_insert_with(|| ahead.clone());
            });
        }
    }

    /// What a machine's clock shows; none on a thread whose time was not set.
    pub fn shown(ahead: &Ahead) -> Option<DateTime<Utc>> {
        let (since, at) = START.get()?;
        Some(at + since.elapsed() + TimeDelta::seconds(ahead.load(Ordering::Relaxed)))
    }

    pub(super) fn now() -> Option<DateTime<Utc>> {
        let known = |task| MACHINES.with_borrow(|machines| machines.get(&task).cloned());
        shown(&task::try_id().and_then(known).unwrap_or_default())
    }
}
