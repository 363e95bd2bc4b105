//! What this node goes by of `app/`: the entries that Consul shows, and those that it ceased to show without anybody
//! having said that the apps are gone.
//!
//! Consul answers alike for keys that are not there and for keys that the token may not read; a lost disk of its servers,
//! a policy that was edited, or one `kv delete -recurse` look like a cluster without apps. Proxies that followed would
//! take every app off, and the replicas' keeper would release every snapshot. So what is missing is believed for a single
//! app, and for many only where their records say that they were destroyed, or an operator says so (`tandem forget`).

mod guard;
mod store;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use super::follow::{Entries, follow_reading};
use crate::consul::kv::Kv;
use crate::consul::txn::{Txn, TxnOp};
use crate::consul::{ConsulError, watcher::Followed};
use crate::error::chain;
use crate::model::deployment::Deployment;
use crate::model::{AppName, keys};
use crate::proxy::Problem;
use crate::proxy::view::Item;
use crate::records;
use guard::{Guard, Why};
use store::Store;

/// How often the records and the operator are asked about apps that are missing.
const AGAIN: Duration = Duration::from_secs(3);

/// The entries below `app/` that count, and what is wrong with what Consul shows.
pub(super) struct Apps {
    pub(super) entries: Entries<Item>,
    pub(super) problems: watch::Receiver<Vec<Problem>>,
}

/// Follows `app/`. In `folder` the entries outlast this process.
pub(super) fn follow(kv: Arc<dyn Kv>, folder: PathBuf) -> Apps {
    let (entries, seen) = watch::channel(None);
    let (problems, told) = watch::channel(Vec::new());
    let shown = follow_reading(kv.clone(), keys::APPS, Item::read);
    let follower = Follower { kv, shown, entries, problems };
    tokio::spawn(follower.run(folder));
    Apps { entries: seen, problems: told }
}

struct Follower {
    kv: Arc<dyn Kv>,
    shown: Entries<Item>,
    entries: watch::Sender<Option<Followed<Item>>>,
    problems: watch::Sender<Vec<Problem>>,
}

impl Follower {
    async fn run(mut self, folder: PathBuf) {
        let store = Store::new(folder);
        let mut guard = Guard::knowing(store.load().await);
        tokio::spawn(store.follow(self.entries.subscribe()));
        while !self.entries.is_closed() {
            tokio::select! {
                biased;
                () = self.entries.closed() => return,
                changed = self.shown.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(AGAIN), if guard.doubts() => {}
            }
            let shown = self.shown.borrow_and_update().clone();
            if let Some(shown) = shown {
                self.take(&mut guard, &shown).await;
            }
        }
    }

    async fn take(&self, guard: &mut Guard, shown: &Followed<Item>) {
        let doubted = guard.doubt(shown);
        let (mut gone, mut why) = (BTreeSet::new(), Why::default());
        if !doubted.is_empty() {
            match gone_of(self.kv.as_ref(), &doubted).await {
                Ok(known) => gone = known,
                Err(error) => warn!(error = %chain(&error), "what became of apps can't be read"),
            }
        }
        if let Some(one) = doubted.difference(&gone).next() {
            why = why_missing(self.kv.as_ref(), one).await;
        }
        let (entries, problems) = guard.take(shown, &gone, why);
        self.entries.send_if_modified(|known| {
            let is_new = known.as_ref().is_none_or(|known| !is_same(known, &entries));
            *known = Some(entries);
            is_new
        });
        self.problems.send_if_modified(|known| {
            let is_new = *known != problems;
            *known = problems;
            is_new
        });
    }
}

fn is_same(one: &[Arc<Item>], other: &[Arc<Item>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}

/// Of the apps those that were destroyed, as their newest record says, or that an operator has given up.
async fn gone_of(kv: &dyn Kv, apps: &BTreeSet<AppName>) -> Result<BTreeSet<AppName>, ConsulError> {
    let given_up = kv.list(keys::GONE).await?.entries;
    let mut gone: BTreeSet<AppName> = given_up
        .iter()
        .filter_map(|entry| AppName::parse(entry.key.strip_prefix(keys::GONE)?).ok())
        .filter(|app| apps.contains(app))
        .collect();
    for app in apps {
        if !gone.contains(app) && is_destroyed(kv, app).await? {
            gone.insert(app.clone());
        }
    }
    Ok(gone)
}

async fn is_destroyed(kv: &dyn Kv, app: &AppName) -> Result<bool, ConsulError> {
    let records = records::list_below::<Deployment>(kv, &keys::deployments(app)).await?;
    // One of them may be the newest, and no destroy.
    if !records.unreadable.is_empty() {
        return Ok(false);
    }
    let records = records.found.into_iter().map(|record| record.value);
    let records = records.filter(|record| record.committed && record.request.app().name() == *app);
    let last = records.max_by_key(|record| record.epoch);
    Ok(last.is_some_and(|record| record.placement.is_none()))
}

/// Consul tells a key that may not be read from one that is not there when it is asked to compare it.
async fn why_missing(kv: &dyn Kv, app: &AppName) -> Why {
    let check = TxnOp::CheckIndex { key: keys::app(app), index: u64::MAX };
    match kv.transact(vec![check]).await {
        Ok(Txn::Refused(why)) if !why.iter().any(|why| is_denial(why)) => Why::NotThere,
        Ok(Txn::Refused(_)) => Why::MayNotSee,
        Err(ConsulError::Api { code: 403, .. }) => Why::MayNotSee,
        Ok(Txn::Committed(_)) | Err(_) => Why::Unknown,
    }
}

fn is_denial(why: &str) -> bool {
    why.to_lowercase().contains("permission denied")
}

#[cfg(test)]
mod tests;
