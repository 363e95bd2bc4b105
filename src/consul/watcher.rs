//! Following a prefix: the rules of Consul's indexes in one place.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ConsulError;
use super::kv::{Entry, Kv, Seen};

/// The shortest time between two reads, so that a storm of writes is read in batches.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
/// And so much more for each entry: Consul answers with all of them, to every node.
const INTERVAL_BY_ENTRY: Duration = Duration::from_micros(20);

/// What is made of the entries below a prefix, in the order of their keys; those that did not change are shared with the
/// lists before.
pub type Followed<T> = Arc<[Arc<T>]>;

/// Follows the entries below a prefix, for a loop to call [`Watcher::next`]. Each entry is read once, until its modify
/// index is another one; what is kept of it is what `read` made of it.
pub struct Watcher<T = Entry> {
    kv: Arc<dyn Kv>,
    prefix: String,
    wait: Duration,
    read: fn(Entry) -> T,
    after: Option<u64>,
    last: Option<Vec<Known<T>>>,
    not_before: Option<Instant>,
}

/// An entry that was read.
struct Known<T> {
    key: Box<str>,
    modify_index: u64,
    value: Arc<T>,
}

impl<T> Clone for Known<T> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), modify_index: self.modify_index, value: self.value.clone() }
    }
}

impl Watcher {
    /// Follows `prefix`; each call of [`Watcher::next`] waits at most about `wait` for a change.
    pub fn new(kv: Arc<dyn Kv>, prefix: impl Into<String>, wait: Duration) -> Self {
        Self::reading(kv, prefix, wait, |entry| entry)
    }
}

impl<T: Send + Sync> Watcher<T> {
    /// As [`Watcher::new`], for what is made of each entry.
    pub fn reading(
        kv: Arc<dyn Kv>,
        prefix: impl Into<String>,
        wait: Duration,
        read: fn(Entry) -> T,
    ) -> Self {
        Self { kv, prefix: prefix.into(), wait, read, after: None, last: None, not_before: None }
    }

    /// The entries as they are now, at once on the first call and later when they have changed; None if they didn't
    /// within the wait. Changes in quick succession are seen as one. Dropping the future loses no change.
    ///
    /// # Errors
    /// As [`Kv::watch`]. The next call goes on where this one failed; how long to pause before it is the caller's
    /// decision, though never less than 50 ms and what the number of entries adds.
    pub async fn next(&mut self) -> Result<Option<Followed<T>>, ConsulError> {
        if let Some(instant) = self.not_before {
            tokio::time::sleep_until(instant).await;
        }
        self.not_before = Some(Instant::now() + MIN_INTERVAL);
        let mut changes = {
            let last = self.last.as_deref().unwrap_or_default();
            let known = |key: &str, index| find(last, key, index);
            self.kv.watch_changes(&self.prefix, self.after, self.wait, &known).await?
        };
        if self.after.is_some_and(|after| changes.index < after) {
            // A restored snapshot or a reaped tombstone: what was waited for may never come, and an index may come
            // again with another value.
            (self.after, self.last) = (None, None);
            changes =
                self.kv.watch_changes(&self.prefix, None, self.wait, &|_: &str, _| None).await?;
        }
        // Consul asks for 0 never to be used as an index to wait from.
        self.after = Some(changes.index).filter(|index| *index > 0);
        let count = u32::try_from(changes.entries.len()).unwrap_or(u32::MAX);
        let result = self.take(changes.entries);
        let interval = MIN_INTERVAL + INTERVAL_BY_ENTRY.saturating_mul(count);
        self.not_before = Some(Instant::now() + interval);
        Ok(result)
    }

    fn take(&mut self, entries: Vec<Seen>) -> Option<Followed<T>> {
        let last = self.last.take();
        let known = last.as_deref().unwrap_or_default();
        let is_same = last.is_some()
            && entries.len() == known.len()
            && entries.iter().enumerate().all(|(at, seen)| *seen == Seen::Known(at));
        if is_same {
            self.last = last;
            return None;
        }
        let read = self.read;
        let now: Vec<Known<T>> = entries
            .into_iter()
            .filter_map(|seen| match seen {
                Seen::Known(place) => known.get(place).cloned(),
                Seen::New(entry) => Some(Known {
                    key: entry.key.as_str().into(),
                    modify_index: entry.modify_index,
                    value: Arc::new(read(entry)),
                }),
            })
            .collect();
        let followed = now.iter().map(|known| known.value.clone()).collect();
        self.last = Some(now);
        Some(followed)
    }
}

/// Where an entry stands in a list that is in the order of the keys.
fn find<T>(known: &[Known<T>], key: &str, modify_index: u64) -> Option<usize> {
    let place = known.binary_search_by(|known| known.key.as_ref().cmp(key)).ok()?;
    (known[place].modify_index == modify_index).then_some(place)
}

#[cfg(test)]
mod tests;
