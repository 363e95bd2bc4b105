//! What the new versions of running deployments ask for: `tandem/claims/{app}`.
//!
//! An app's entry says what it has, but it is written at the commit, and two apps may be on their way at the same time.
//! Each notes what it asks for first, and looks at the others' notes then: of two, one sees the other's, and the one that
//! was noted first has what both want.

use super::context::Context;
use super::error::ExecError;
use crate::consul::txn::{Txn, TxnOp};
use crate::model::{AppName, AppRecord, keys};
use crate::records::{self, Asked, Queue, encode};

/// Notes what a new version asks for, and tells what those ask for that were noted before.
pub(super) async fn announce(
    ctx: &Context,
    app: &AppName,
    entry: &AppRecord,
) -> Result<Vec<(AppName, AppRecord)>, ExecError> {
    let kv = ctx.cluster.kv.as_ref();
    // What nobody else may have is small; texts and pages are not.
    let mut asked = entry.clone();
    (asked.caddyfile, asked.maintenance_page) = (String::new(), None);
    asked.other = serde_json::Map::new();
    let key = keys::claims(app);
    let written =
        kv.transact(vec![TxnOp::Set { key: key.clone(), value: encode(&Asked(asked)) }]).await?;
    let index = match written {
        Txn::Committed(entries) => entries.first().map(|entry| entry.modify_index),
        Txn::Refused(_) => None,
    };
    let index = index.ok_or_else(|| ExecError::Gone(key.clone()))?;
    let mut before = Vec::new();
    for noted in records::list::<Asked>(kv).await?.found {
        let (name, Asked(record)) = (noted.name, noted.value);
        if name != *app && noted.index < index && runs(ctx, &name, &record).await? {
            before.push((name, record));
        }
    }
    Ok(before)
}

/// Whether the deployment that noted it is still on its way.
async fn runs(ctx: &Context, app: &AppName, asked: &AppRecord) -> Result<bool, ExecError> {
    let queue = records::read::<Queue>(ctx.cluster.kv.as_ref(), &keys::queue(app)).await?;
    let running = queue.and_then(|queue| queue.value.running);
    Ok(running.is_some_and(|running| running.as_str() == asked.deploy_id))
}

/// What takes the note away when the deployment is over.
pub(super) fn withdraw(app: &AppName) -> TxnOp {
    TxnOp::Delete { key: keys::claims(app) }
}
