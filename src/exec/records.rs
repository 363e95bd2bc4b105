//! The records of the deployments that this node works on, as it saw them last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::model::DeployId;
use crate::model::deployment::Deployment;

/// Spares decoding what has not changed, and tells what was last known while Consul is away.
#[derive(Debug, Default)]
pub struct Records {
    seen: Mutex<BTreeMap<DeployId, Seen>>,
    decoded: Arc<Mutex<Decoded>>,
}

/// Then all are forgotten: more than work goes on at once.
const DECODED_KEPT: usize = 128;

/// The newest that was decoded of each record, by its index in Consul.
type Decoded = BTreeMap<DeployId, (u64, Arc<Deployment>)>;

/// A record as this node saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) record: Arc<Deployment>,
    /// Its index in Consul.
    pub(super) index: u64,
    pub(super) at: Instant,
}

impl Records {
    /// Agents in one process, over one Consul: none has to decode what another has. Each sees for itself.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { seen: Mutex::default(), decoded: self.decoded.clone() }
    }

    /// How this node saw a deployment last.
    pub(super) fn of(&self, id: &DeployId) -> Option<Seen> {
        lock(&self.seen).get(id).cloned()
    }

    /// A record of just that index, if it was decoded already.
    pub(super) fn decoded(&self, id: &DeployId, index: u64) -> Option<Arc<Deployment>> {
        lock(&self.decoded).get(id).filter(|(of, _)| *of == index).map(|(_, record)| record.clone())
    }

    /// Remembers a record. Of a deployment that is over nothing more needs to be known while Consul is away.
    pub(super) fn note(&self, record: &Arc<Deployment>, index: u64) {
        let id = &record.id;
        if record.state.is_final() {
            lock(&self.seen).remove(id);
        } else {
            let seen = Seen { record: record.clone(), index, at: Instant::now() };
            lock(&self.seen).insert(id.clone(), seen);
        }
        let mut decoded = lock(&self.decoded);
        if decoded.len() >= DECODED_KEPT {
            decoded.clear();
        }
        decoded.insert(id.clone(), (index, record.clone()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
