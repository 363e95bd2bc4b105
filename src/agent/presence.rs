//! `tandem/nodes/{name}`: tells the others that this node's agent runs. Held by the session, gone with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use super::measure::measure;
use crate::clock;
use crate::consul::txn::{Txn, TxnOp};
use crate::error::chain;
use crate::exec::{Context, NodeInfo, Room};
use crate::model::keys;

/// How often the key is looked after when nothing happens: somebody may have deleted it by hand.
const REFRESH: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(1);

/// Publishes this node for ever: at once with a new session, and when its problems or its room change.
pub(super) async fn publish(ctx: Arc<Context>, problems: watch::Receiver<Vec<String>>) {
    let (measured, room) = watch::channel(None);
    let resources = ctx.host.resources.clone();
    tokio::join!(measure(resources.as_ref(), measured), tell(&ctx, problems, room));
}

async fn tell(
    ctx: &Context,
    mut problems: watch::Receiver<Vec<String>>,
    mut room: watch::Receiver<Option<Room>>,
) {
    let since = clock::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let mut session = ctx.session.clone();
    loop {
        let id = session.borrow_and_update().clone();
        let info = NodeInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: ctx.address.clone(),
            since: since.clone(),
            problems: problems.borrow_and_update().clone(),
            room: room.borrow_and_update().clone(),
        };
        let published = match id {
            Some(id) => put(ctx, &info, id).await,
            // The session's return wakes this.
            None => true,
        };
        let wait = if published { REFRESH } else { RETRY };
        tokio::select! {
            biased;
            _ = session.changed() => {}
            _ = problems.changed() => {}
            _ = room.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn put(ctx: &Context, info: &NodeInfo, session: String) -> bool {
    let key = keys::node(&ctx.me);
    let value = serde_json::to_vec(info).unwrap_or_default();
    let lock = TxnOp::Lock { key: key.clone(), value, session };
    match ctx.cluster.kv.transact(vec![lock]).await {
        Ok(Txn::Committed(_)) => true,
        Ok(Txn::Refused(_)) => {
            // A former session of this node holds it: this agent is the node's only one.
            let _ = ctx.cluster.kv.transact(vec![TxnOp::Delete { key }]).await;
            false
        }
        Err(error) => {
            warn!(error = %chain(&error), "this node can't be published");
            false
        }
    }
}
