//! Events, as each node hears of them: late, in another order, or never.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tandem::consul::event::UserEvent;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What was fired.
#[derive(Default)]
pub(crate) struct Gossip {
    fired: Mutex<Vec<Fired>>,
    changed: Notify,
    /// So many of the first events are written down nowhere any more.
    forgotten: AtomicUsize,
    /// Nodes that were set up anew: what Consul lists before they hear of anything is history to them.
    anew: Mutex<BTreeSet<usize>>,
}

#[derive(Clone)]
struct Fired {
    event: UserEvent,
    /// When each node hears of it, if it does.
    heard: Vec<Option<Instant>>,
}

impl Gossip {
    /// Fires an event and returns it; each node hears of it after its delay.
    pub(crate) fn fire(&self, name: &str, payload: &str, delays: &[Option<Duration>]) -> UserEvent {
        let mut fired = self.fired.lock().unwrap();
        let number = fired.len() as u64 + 1;
        let event = UserEvent {
            id: format!("e7e00000-0000-4000-8000-{number:012x}"),
            name: name.to_owned(),
            payload: payload.as_bytes().to_vec(),
            ltime: number,
        };
        let now = Instant::now();
        let heard = delays.iter().map(|delay| delay.map(|delay| now + delay)).collect();
        fired.push(Fired { event: event.clone(), heard });
        drop(fired);
        self.wake();
        event
    }

    /// What a node missed while it was away may reach it now.
    pub(crate) fn catch_up(&self, node: usize, reaches: impl Fn() -> bool) {
        for fired in self.fired.lock().unwrap().iter_mut() {
            if fired.heard[node].is_none() && reaches() {
                fired.heard[node] = Some(Instant::now());
            }
        }
        self.wake();
    }

    /// Whoever waits looks anew.
    pub(crate) fn wake(&self) {
        self.changed.notify_waiters();
    }

    /// Whether a node is still to hear of something.
    pub(crate) fn is_pending(&self) -> bool {
        let now = Instant::now();
        let fired = self.fired.lock().unwrap();
        fired.iter().any(|fired| fired.heard.iter().flatten().any(|at| *at > now))
    }

    /// All keys are gone: nobody can know of what was fired up to now.
    pub(crate) fn forget(&self) {
        self.forgotten.store(self.fired.lock().unwrap().len(), Ordering::Relaxed);
    }

    /// A node is set up anew.
    pub(crate) fn begin_anew(&self, node: usize) {
        self.anew.lock().unwrap().insert(node);
    }

    /// The events that have to be on record.
    pub(crate) fn to_be_known(&self) -> Vec<UserEvent> {
        let (fired, anew) = (self.fired.lock().unwrap(), self.anew.lock().unwrap());
        let since = fired.iter().skip(self.forgotten.load(Ordering::Relaxed));
        let is_heard = |fired: &&Fired| {
            let nodes = fired.heard.iter().enumerate().filter(|(_, at)| at.is_some());
            nodes.map(|(node, _)| node).any(|node| !anew.contains(&node))
        };
        since.filter(is_heard).map(|fired| fired.event.clone()).collect()
    }

    pub(crate) fn all(&self) -> Vec<UserEvent> {
        self.fired.lock().unwrap().iter().map(|fired| fired.event.clone()).collect()
    }

    /// What a node has heard of, in the order in which it did, with an index to wait from.
    fn heard(&self, node: usize) -> (u64, Vec<UserEvent>, Option<Instant>) {
        let now = Instant::now();
        let fired = self.fired.lock().unwrap();
        let mut heard: Vec<_> = fired.iter().filter_map(|f| Some((f.heard[node]?, f))).collect();
        heard.sort_by_key(|(at, fired)| (*at, fired.event.ltime));
        let next = heard.iter().map(|(at, _)| *at).find(|at| *at > now);
        heard.retain(|(at, _)| *at <= now);
        let mut hasher = DefaultHasher::new();
        heard.iter().for_each(|(_, fired)| fired.event.ltime.hash(&mut hasher));
        let events = heard.into_iter().map(|(_, fired)| fired.event.clone()).collect();
        (hasher.finish().max(1), events, next)
    }

    /// Waits for the list of a node to be another one than `after`; in the end, or when woken, it may be the same.
    pub(crate) async fn watch(
        &self,
        node: usize,
        after: Option<u64>,
        deadline: Instant,
    ) -> (u64, Vec<UserEvent>) {
        let changed = self.changed.notified();
        let (index, events, next) = self.heard(node);
        if after != Some(index) {
            return (index, events);
        }
        let until = next.map_or(deadline, |next| next.min(deadline));
        tokio::select! {
            biased;
            () = changed => {}
            () = tokio::time::sleep_until(until) => {}
        }
        let (index, events, _) = self.heard(node);
        (index, events)
    }
}
