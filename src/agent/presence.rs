//! `tandem/nodes/{name}`: tells the others that this node's agent runs. Held by the session, gone with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use super::measure::measure;
use crate::clock;
use crate::consul::kv::Kv;
use crate::consul::txn::{Txn, TxnOp};
use crate::error::chain;
use crate::exec::{Context, NodeInfo, Room};
use crate::model::{NodeName, keys};

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
            Some(id) => put(ctx.cluster.kv.as_ref(), &ctx.me, &info, id).await,
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

async fn put(kv: &dyn Kv, me: &NodeName, info: &NodeInfo, session: String) -> bool {
    let key = keys::node(me);
    let value = serde_json::to_vec(info).unwrap_or_default();
    let lock = TxnOp::Lock { key: key.clone(), value, session };
    let taken = match kv.transact(vec![lock.clone()]).await {
        // A former session of this node holds it: this agent is the node's only one. In one transaction, so that the
        // node is never without its key meanwhile.
        Ok(Txn::Refused(_)) => kv.transact(vec![TxnOp::Delete { key }, lock]).await,
        taken => taken,
    };
    match taken {
        Ok(Txn::Committed(_)) => true,
        Ok(Txn::Refused(why)) => {
            warn!(why = why.join("; "), "this node can't be published");
            false
        }
        Err(error) => {
            warn!(error = %chain(&error), "this node can't be published");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consul::memory::MemoryConsul;
    use crate::consul::session::Sessions;

    /// After an outage of Consul the agent has a new session while the former one still holds the key.
    #[tokio::test]
    async fn a_new_session_takes_the_key_over_without_a_gap() {
        let me = NodeName::parse("node1").unwrap();
        let client = MemoryConsul::new().client(&me);
        let info = NodeInfo {
            version: "1".into(),
            address: "10.77.0.1".into(),
            since: "2026-01-01T00:00:00Z".into(),
            problems: Vec::new(),
            room: None,
        };
        let ttl = Duration::from_secs(10);
        let former = client.create("former", ttl, Duration::ZERO).await.unwrap();
        let new = client.create("new", ttl, Duration::ZERO).await.unwrap();
        assert!(put(&client, &me, &info, former).await);
        let before = client.get(&keys::node(&me)).await.unwrap().unwrap();
        assert!(put(&client, &me, &info, new.clone()).await);
        let entry = client.get(&keys::node(&me)).await.unwrap().unwrap();
        assert_eq!(entry.session, Some(new));
        // One write: nobody can have seen the key gone.
        assert_eq!(entry.modify_index, before.modify_index + 1);
    }
}
