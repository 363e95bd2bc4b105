//! Where an app is that was handed over, once its requests are let go.
//!
//! `app/` and `maintenance/` are followed apart, and what is heard of one says nothing about the other: the key of a
//! hand-over may be seen to be gone before the entry that was committed under it. Who led the requests by the former entry
//! then sent them to a container that is stopped. So an app counts as held until its entry is here as Consul had it when
//! the key was gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::consul::kv::Kv;
use crate::consul::watcher::Followed;
use crate::error::chain;
use crate::model::{AppName, keys};
use crate::proxy::view::Item;

/// How long Consul may take to tell of the entries.
const ASK: Duration = Duration::from_secs(1);
/// How soon it is asked again. What is followed wakes the follower earlier.
const AGAIN: Duration = Duration::from_millis(200);
/// How long an app is held at most beyond its key. An entry that takes longer than a request waits is followed no more.
const LIMIT: Duration = Duration::from_secs(10);

/// The hand-overs that were there at the last look, and those that are over while the entry is not known yet.
#[derive(Debug, Default)]
pub(super) struct LetGo {
    held: BTreeMap<AppName, Arc<Item>>,
    behind: BTreeMap<AppName, Behind>,
}

#[derive(Debug)]
struct Behind {
    key: Arc<Item>,
    since: Instant,
}

impl Behind {
    /// Whatever Consul says, and also if it says nothing.
    fn is_over(&self, app: &AppName) -> bool {
        let is_over = self.since.elapsed() >= LIMIT;
        if is_over {
            warn!(%app, "its requests go by the entry that is known here: Consul's is not followed");
        }
        is_over
    }
}

impl LetGo {
    /// The keys of `maintenance/` with those that still count; and when to look again, if there are any.
    pub(super) async fn hold_back(
        &mut self,
        kv: &dyn Kv,
        apps: &[Arc<Item>],
        maintenance: Followed<Item>,
    ) -> (Followed<Item>, Option<Duration>) {
        let held = maintenance.iter().filter_map(|key| Some((key.handed_over()?, key.clone())));
        let held: BTreeMap<AppName, Arc<Item>> = held.collect();
        let former = std::mem::replace(&mut self.held, held);
        for (app, key) in former.into_iter().filter(|(app, _)| !self.held.contains_key(app)) {
            self.behind.insert(app, Behind { key, since: Instant::now() });
        }
        self.behind.retain(|app, behind| !self.held.contains_key(app) && !behind.is_over(app));
        if self.behind.is_empty() {
            return (maintenance, None);
        }
        // Those that there was no time for are asked about at the next look.
        let _ = timeout(ASK, self.catch_up(kv, apps)).await;
        if self.behind.is_empty() {
            return (maintenance, None);
        }
        let behind = self.behind.values().map(|behind| behind.key.clone());
        (maintenance.iter().cloned().chain(behind).collect(), Some(AGAIN))
    }

    async fn catch_up(&mut self, kv: &dyn Kv, apps: &[Arc<Item>]) {
        for app in self.behind.keys().cloned().collect::<Vec<_>>() {
            let key = keys::app(&app);
            let known = apps.iter().find(|item| *item.key == *key).map(|item| item.modify_index);
            let is_known = match kv.get(&key).await {
                Ok(Some(there)) => known >= Some(there.modify_index),
                Ok(None) => known.is_none(),
                Err(error) => {
                    warn!(%app, error = %chain(&error), "its entry can't be read");
                    false
                }
            };
            if is_known {
                self.behind.remove(&app);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consul::kv::Entry;
    use crate::consul::memory::MemoryConsul;
    use crate::consul::txn::TxnOp;
    use crate::model::NodeName;

    const APP: &str = "app/a_b.12345";
    const KEY: &str = "maintenance/a_b.12345";
    /// For which deployment.
    const HAND_OVER: &[u8] = br#"{"deploy_id":"1"}"#;

    struct Played {
        consul: MemoryConsul,
        let_go: LetGo,
    }

    impl Played {
        fn begin() -> Self {
            let consul = MemoryConsul::new();
            let consul = consul.client(&NodeName::parse("node1").unwrap());
            Self { consul, let_go: LetGo::default() }
        }

        async fn set(&self, key: &str, value: &[u8]) {
            let op = TxnOp::Set { key: key.into(), value: value.to_vec() };
            self.consul.transact(vec![op]).await.unwrap();
        }

        async fn delete(&self, key: &str) {
            self.consul.transact(vec![TxnOp::Delete { key: key.into() }]).await.unwrap();
        }

        async fn seen(&self, prefix: &str) -> Followed<Item> {
            let listed = self.consul.list(prefix).await.unwrap().entries;
            listed.into_iter().map(|entry: Entry| Arc::new(Item::read(entry))).collect()
        }

        /// Whether the app is held for who knows these entries and the keys of now.
        async fn is_held(&mut self, apps: &Followed<Item>) -> bool {
            let keys = self.seen("maintenance/").await;
            let (keys, again) = self.let_go.hold_back(&self.consul, apps, keys).await;
            let is_held = keys.iter().any(|key| key.handed_over().is_some());
            assert!(again.is_none() || is_held);
            is_held
        }
    }

    #[tokio::test]
    async fn requests_wait_until_the_entry_is_known_that_was_committed_while_they_did() {
        let mut played = Played::begin();
        played.set(APP, b"{}").await;
        played.set(KEY, HAND_OVER).await;
        let former = played.seen("app/").await;
        assert!(played.is_held(&former).await);
        played.set(APP, br#"{"new":1}"#).await;
        played.delete(KEY).await;
        assert!(played.is_held(&former).await, "the commit is not known here");
        assert!(played.is_held(&former).await);
        let committed = played.seen("app/").await;
        assert!(!played.is_held(&committed).await);
        assert!(!played.is_held(&former).await, "it is over");
    }

    #[tokio::test]
    async fn what_was_undone_is_let_go_at_once_and_what_was_destroyed_once_that_is_known() {
        let mut played = Played::begin();
        played.set(APP, b"{}").await;
        played.set(KEY, HAND_OVER).await;
        let entries = played.seen("app/").await;
        assert!(played.is_held(&entries).await);
        played.delete(KEY).await;
        assert!(!played.is_held(&entries).await, "undone");
        played.set(KEY, HAND_OVER).await;
        assert!(played.is_held(&entries).await);
        played.delete(APP).await;
        played.delete(KEY).await;
        assert!(played.is_held(&entries).await, "destroyed");
        let none = played.seen("app/").await;
        assert!(!played.is_held(&none).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_is_never_heard_of_holds_nothing_up_for_good() {
        let mut played = Played::begin();
        played.set(KEY, HAND_OVER).await;
        let none = played.seen("app/").await;
        assert!(played.is_held(&none).await);
        played.set(APP, b"{}").await;
        played.delete(KEY).await;
        assert!(played.is_held(&none).await);
        tokio::time::advance(LIMIT).await;
        assert!(!played.is_held(&none).await);
    }
}
