//! A cluster in memory, for tests: the semantics of Consul 1.8 without a clock and without chance.
//!
//! Not modelled: lock-delays, TTLs that run out by themselves (see [`MemoryConsul::expire_session`]), stale reads.

mod seams;
mod state;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::ConsulError;
use crate::model::placement::NodeName;
use state::{Link, State};

/// A client of one cluster in memory; clones and [`MemoryConsul::client`] share the cluster.
///
/// The handle of [`MemoryConsul::new`] belongs to no node: it is never cut off, its sessions are those of no node, and
/// it is for a test to look at the cluster and change it.
#[derive(Clone)]
pub struct MemoryConsul {
    cluster: Arc<Cluster>,
    node: Option<NodeName>,
}

struct Cluster {
    state: Mutex<State>,
    changed: Notify,
}

impl Default for MemoryConsul {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryConsul {
    /// An empty cluster without nodes.
    pub fn new() -> Self {
        Self {
            cluster: Arc::new(Cluster {
                state: Mutex::new(State::default()),
                changed: Notify::new(),
            }),
            node: None,
        }
    }

    /// The client of one node. A new node becomes an alive member with the address 10.77.0.N, N counting from 1.
    pub fn client(&self, node: &NodeName) -> Self {
        self.change(|state| state.join(node));
        Self { cluster: self.cluster.clone(), node: Some(node.clone()) }
    }

    /// Cuts a node off, or mends it: its calls fail with [`ConsulError::Unreachable`], those that wait too, and events
    /// fired meanwhile never reach it. The others still see it as alive: see [`MemoryConsul::set_alive`].
    pub fn set_reachable(&self, node: &NodeName, reachable: bool) {
        let link = if reachable { Link::Up } else { Link::Down };
        self.change(|state| state.set_link(node, link));
    }

    /// Lets `calls` more calls of a node succeed, then cuts it off.
    pub fn fail_after(&self, node: &NodeName, calls: u32) {
        self.change(|state| state.set_link(node, Link::UpFor(calls)));
    }

    /// Carries out a node's next transaction, but answers it with [`ConsulError::Timeout`]; later ones are as usual.
    pub fn lose_next_answer(&self, node: &NodeName) {
        self.change(|state| state.set_link(node, Link::LosesAnswer));
    }

    /// What the gossip says of a node. A dead node's sessions end at once, as they do by `serfHealth`.
    pub fn set_alive(&self, node: &NodeName, alive: bool) {
        self.change(|state| state.set_alive(node, alive));
    }

    /// Ends a session as its TTL would; the keys that it holds are deleted.
    pub fn expire_session(&self, id: &str) {
        self.change(|state| state.end_session(id));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.cluster.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the cluster and, if that did change something, wakes whoever waits.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        let changed = state.takes_change();
        drop(state);
        if changed {
            self.cluster.changed.notify_waiters();
        }
        result
    }

    /// One call of this client: refused while its node is cut off.
    fn call<T>(
        &self,
        name: &str,
        body: impl FnOnce(&mut State) -> Result<T, ConsulError>,
    ) -> Result<T, ConsulError> {
        self.change(|state| {
            state.admit(self.node.as_ref(), name)?;
            body(state)
        })
    }

    /// A blocking call: the answer is given when the index isn't `after`, or in the end.
    async fn blocking<T>(
        &self,
        name: &str,
        after: Option<u64>,
        wait: Duration,
        index: impl Fn(&State) -> u64 + Send,
        answer: impl Fn(&State) -> T + Send,
    ) -> Result<T, ConsulError> {
        let deadline = Instant::now() + wait;
        self.call(name, |_| Ok(()))?;
        let mut over = after.is_none();
        loop {
            let changed = self.cluster.changed.notified();
            {
                let state = self.lock();
                state.check_link(self.node.as_ref(), name)?;
                if over || Some(index(&state)) != after {
                    return Ok(answer(&state));
                }
            }
            over = tokio::time::timeout_at(deadline, changed).await.is_err();
        }
    }
}
