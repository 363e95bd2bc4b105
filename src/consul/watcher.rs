//! Following a prefix: the rules of Consul's indexes in one place.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ConsulError;
use super::kv::{Entry, Kv};

/// The shortest time between two reads, so that a storm of writes is read in batches.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// Follows the entries below a prefix, for a loop to call [`Watcher::next`].
pub struct Watcher {
    kv: Arc<dyn Kv>,
    prefix: String,
    wait: Duration,
    after: Option<u64>,
    last: Option<Vec<Entry>>,
    not_before: Option<Instant>,
}

impl Watcher {
    /// Follows `prefix`; each call of [`Watcher::next`] waits at most about `wait` for a change.
    pub fn new(kv: Arc<dyn Kv>, prefix: impl Into<String>, wait: Duration) -> Self {
        Self { kv, prefix: prefix.into(), wait, after: None, last: None, not_before: None }
    }

    /// The entries as they are now, at once on the first call and later when they have changed; None if they didn't
    /// within the wait. Changes in quick succession are seen as one. Dropping the future loses no change.
    ///
    /// # Errors
    /// As [`Kv::watch`]. The next call goes on where this one failed; how long to pause before it is the caller's
    /// decision, though never less than 50 ms.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, ConsulError> {
        if let Some(instant) = self.not_before {
            tokio::time::sleep_until(instant).await;
        }
        self.not_before = Some(Instant::now() + MIN_INTERVAL);
        let mut listing = self.kv.watch(&self.prefix, self.after, self.wait).await?;
        if self.after.is_some_and(|after| listing.index < after) {
            // A restored snapshot or a reaped tombstone: what was waited for may never come.
            self.after = None;
            listing = self.kv.watch(&self.prefix, None, self.wait).await?;
        }
        self.not_before = Some(Instant::now() + MIN_INTERVAL);
        // Consul asks for 0 never to be used as an index to wait from.
        self.after = Some(listing.index).filter(|index| *index > 0);
        if self.last.as_ref() == Some(&listing.entries) {
            return Ok(None);
        }
        self.last = Some(listing.entries.clone());
        Ok(Some(listing.entries))
    }
}

#[cfg(test)]
mod tests;
