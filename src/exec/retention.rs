//! What is left in KV of apps that are gone: the records of the last of them. Review apps come and go by the hundred, and
//! Consul holds all of it in memory.

use std::collections::BTreeSet;

use super::context::Context;
use super::error::ExecError;
use crate::consul::kv::Entry;
use crate::consul::txn::{MAX_OPS, TxnOp};
use crate::model::deployment::Deployment;
use crate::model::{AppName, keys};
use crate::records::{Queue, RecordError, decode, encode, name_of};

/// Of so many apps that are gone the records stay.
pub(super) const KEPT: usize = 50;

/// An app without an entry that nothing is going on with.
struct Gone {
    app: AppName,
    queue: Queue,
    entry: Entry,
}

/// Called when a deployment of an app has ended that has no entry then. What nobody is owed anything by goes. The app's
/// queue stays: a later deployment goes on from its epoch, and an event that comes late is not taken for new.
pub(super) async fn apply(ctx: &Context) -> Result<(), ExecError> {
    let kv = ctx.cluster.kv.as_ref();
    let below = |entries: Vec<Entry>, prefix: &str| -> BTreeSet<String> {
        let names = entries.into_iter().map(|entry| entry.key);
        names.filter_map(|key| key.strip_prefix(prefix).map(str::to_owned)).collect()
    };
    let serving = below(kv.list(keys::APPS).await?.entries, keys::APPS);
    let owed = below(kv.list(keys::OWED).await?.entries, keys::OWED);
    let is_owed = |app: &AppName| owed.iter().any(|key| key.contains(&format!("/{app}/")));
    let mut gone: Vec<Gone> = kv
        .list(keys::QUEUES)
        .await?
        .entries
        .into_iter()
        .filter_map(|entry| {
            let app = name_of::<Queue>(&entry.key)?;
            let queue = decode::<Queue>(&entry).ok()?;
            Some(Gone { app, queue, entry })
        })
        .filter(|Gone { app, queue, .. }| {
            let is_idle = queue.running.is_none() && queue.waiting.is_none();
            is_idle && !queue.tidied && !serving.contains(app.as_str()) && !is_owed(app)
        })
        .collect();
    gone.sort_by_key(|gone| std::cmp::Reverse(gone.entry.modify_index));
    for gone in gone.into_iter().skip(KEPT) {
        forget(ctx, gone).await?;
    }
    Ok(())
}

/// The queue changes together with the first records that go: whoever deploys the app meanwhile wins.
async fn forget(ctx: &Context, gone: Gone) -> Result<(), ExecError> {
    let kv = ctx.cluster.kv.as_ref();
    let prefix = keys::deployments(&gone.app);
    let records = kv.list(&prefix).await?.entries;
    // Below an app's name may stand another one's that begins with it.
    let own = |key: &str| key.strip_prefix(&prefix).is_some_and(|id| !id.contains('/'));
    let records: Vec<_> = records.into_iter().filter(|record| own(&record.key)).collect();
    if records
        .iter()
        .any(|record| matches!(decode::<Deployment>(record), Err(RecordError::Newer { .. })))
    {
        return Ok(());
    }
    let is_all = records.len() < MAX_OPS;
    let after = Queue { tidied: is_all, ..gone.queue };
    let (key, index) = (gone.entry.key, gone.entry.modify_index);
    let mut ops = vec![TxnOp::Cas { key, value: encode(&after), index }];
    let rest = records.into_iter().take(MAX_OPS - 1);
    ops.extend(rest.map(|record| TxnOp::DeleteCas { key: record.key, index: record.modify_index }));
    kv.transact(ops).await?;
    Ok(())
}
