//! Follows a prefix in a task of its own: whoever looks at the result may look away at any time without ending a
//! blocking query, which Consul would keep until its wait is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use crate::consul::kv::{Entry, Kv};
use crate::consul::watcher::{Followed, Watcher};
use crate::error::chain;

const WAIT: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(1);

/// The newest entries below a prefix, or what is made of them; none until Consul has answered once.
pub(super) type Entries<T = Entry> = watch::Receiver<Option<Followed<T>>>;

/// Starts to follow a prefix; ends when the receiver is dropped.
pub(super) fn follow(kv: Arc<dyn Kv>, prefix: impl Into<String>) -> Entries {
    follow_reading(kv, prefix, |entry| entry)
}

/// As [`follow`], for what `read` makes of each entry, once for each change of it.
pub(super) fn follow_reading<T: Send + Sync + 'static>(
    kv: Arc<dyn Kv>,
    prefix: impl Into<String>,
    read: fn(Entry) -> T,
) -> Entries<T> {
    let prefix = prefix.into();
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let mut watcher = Watcher::reading(kv, prefix.as_str(), WAIT, read);
        while !sender.is_closed() {
            let next = tokio::select! {
                biased;
                next = watcher.next() => next,
                () = sender.closed() => return,
            };
            match next {
                Ok(Some(entries)) => {
                    sender.send_replace(Some(entries));
                }
                Ok(None) => {}
                Err(error) => {
                    warn!(prefix, error = %chain(&error), "Consul does not answer; what is known stays in use");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    });
    receiver
}
