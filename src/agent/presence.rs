//! `tandem/nodes/{name}`: tells the others that this node's agent runs. Held by the session, gone with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, warn};

use super::alone;
use super::measure::measure;
use crate::clock;
use crate::consul::kv::Kv;
use crate::consul::txn::{Txn, TxnOp};
use crate::error::chain;
use crate::exec::{Context, Findings, ProxyReport};
use crate::model::{NodeName, keys};
use crate::records::{NodeInfo, ReadError, Room, encode, read};

/// How often the key is looked after when nothing happens: somebody may have deleted it by hand.
const REFRESH: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(1);
/// How many problems are told, and how much of each: at most some 200 KB.
const PROBLEMS: usize = 100;
const PROBLEM: usize = 500;

/// Publishes this node: at once with a new session, and when its problems or its room change. Ends if another machine has
/// its name; tells `named` when Consul has said that it is this one's.
pub(super) async fn publish(
    ctx: Arc<Context>,
    proxies: watch::Receiver<ProxyReport>,
    own: watch::Receiver<Findings>,
    named: watch::Sender<bool>,
) {
    let (measured, room) = watch::channel(None);
    let resources = ctx.host.resources.clone();
    tokio::select! {
        biased;
        () = measure(resources.as_ref(), measured) => {}
        () = tell(&ctx, proxies, own, room, named) => {}
    }
}

async fn tell(
    ctx: &Context,
    mut proxies: watch::Receiver<ProxyReport>,
    mut own: watch::Receiver<Findings>,
    mut room: watch::Receiver<Option<Room>>,
    named: watch::Sender<bool>,
) {
    let since = clock::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let machine = alone::machine();
    let mut session = ctx.session.clone();
    loop {
        let id = session.borrow_and_update().clone();
        let report = proxies.borrow_and_update().clone();
        let Findings { mut problems, strays } = own.borrow_and_update().clone();
        problems.extend(report.problems);
        let info = NodeInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: ctx.address.clone(),
            since: since.clone(),
            problems: capped(&problems),
            failing: report.failing,
            room: room.borrow_and_update().clone(),
            machine: machine.clone(),
            strays,
        };
        let published = match id {
            Some(id) => Some(put(ctx.cluster.kv.as_ref(), &ctx.me, &info, id).await),
            None => None,
        };
        let wait = match published {
            // The session's return wakes this.
            None => REFRESH,
            Some(Put::Done) => {
                named.send_if_modified(|named| !std::mem::replace(named, true));
                REFRESH
            }
            // Nobody else has the name.
            Some(Put::Refused) => {
                named.send_if_modified(|named| !std::mem::replace(named, true));
                RETRY
            }
            Some(Put::Failed) => RETRY,
            Some(Put::Taken(address)) => {
                error!(address, "another machine goes by this node's name");
                return;
            }
        };
        tokio::select! {
            biased;
            _ = session.changed() => {}
            _ = own.changed() => {}
            _ = proxies.changed() => {}
            _ = room.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// So many problems as fit into a key together with the rest: Consul takes no larger value, and a node that can't be
/// published counts as one without an agent.
fn capped(problems: &[String]) -> Vec<String> {
    let cut = |problem: &String| match problem.char_indices().nth(PROBLEM) {
        Some((end, _)) => format!("{}…", &problem[..end]),
        None => problem.clone(),
    };
    let mut told: Vec<String> = problems.iter().take(PROBLEMS).map(cut).collect();
    if problems.len() > PROBLEMS {
        told.push(format!("and {} more: see the agent's log", problems.len() - PROBLEMS));
    }
    told
}

/// What became of a try to publish the node.
#[derive(Debug, PartialEq, Eq)]
enum Put {
    Done,
    /// Consul can't be asked, or what it says can't be read.
    Failed,
    /// It does not take it.
    Refused,
    /// The machine with that address goes by the node's name.
    Taken(String),
}

async fn put(kv: &dyn Kv, me: &NodeName, info: &NodeInfo, session: String) -> Put {
    let key = keys::node(me);
    let value = encode(info);
    let lock = TxnOp::Lock { key: key.clone(), value, session };
    let taken = match kv.transact(vec![lock.clone()]).await {
        Ok(Txn::Refused(_)) => {
            match other_machine(kv, me, info).await {
                Ok(Some(address)) => return Put::Taken(address),
                Ok(None) => {}
                Err(error) => {
                    let error = chain(&error);
                    warn!(
                        error,
                        "who goes by this node's name can't be told; waiting until its session ends"
                    );
                    return Put::Failed;
                }
            }
            // A former session of this node holds it: this agent is the node's only one. In one transaction, so that the
            // node is never without its key meanwhile.
            kv.transact(vec![TxnOp::Delete { key }, lock]).await
        }
        taken => taken,
    };
    match taken {
        Ok(Txn::Committed(_)) => Put::Done,
        Ok(Txn::Refused(why)) => {
            warn!(why = why.join("; "), "this node can't be published");
            Put::Refused
        }
        Err(error) => {
            warn!(error = %chain(&error), "this node can't be published");
            Put::Failed
        }
    }
}

/// The address of another machine whose live agent holds the node's key.
async fn other_machine(
    kv: &dyn Kv,
    me: &NodeName,
    info: &NodeInfo,
) -> Result<Option<String>, ReadError> {
    let Some(found) = read::<NodeInfo>(kv, &keys::node(me)).await? else { return Ok(None) };
    let found = found.value;
    let is_other = alone::is_of_another(&found, &info.address, info.machine.as_deref());
    Ok(is_other.then_some(found.address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consul::memory::MemoryConsul;
    use crate::consul::session::Sessions;

    #[test]
    fn thousands_of_problems_fit_into_a_key() {
        let many: Vec<String> = (0..5000).map(|n| format!("app{n}: {}", "é".repeat(600))).collect();
        let told = capped(&many);
        assert_eq!(told.len(), PROBLEMS + 1);
        assert_eq!(told.last().unwrap(), "and 4900 more: see the agent's log");
        assert!(serde_json::to_vec(&told).unwrap().len() < 256 * 1024);
        assert_eq!(capped(&["one".to_owned()]), ["one"]);
    }

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
            failing: None,
            room: None,
            machine: None,
            strays: Default::default(),
        };
        let ttl = Duration::from_secs(10);
        let former = client.create("former", ttl, Duration::ZERO).await.unwrap();
        let new = client.create("new", ttl, Duration::ZERO).await.unwrap();
        assert_eq!(put(&client, &me, &info, former).await, Put::Done);
        let before = client.get(&keys::node(&me)).await.unwrap().unwrap();
        assert_eq!(put(&client, &me, &info, new.clone()).await, Put::Done);
        let entry = client.get(&keys::node(&me)).await.unwrap().unwrap();
        assert_eq!(entry.session, Some(new));
        // One write: nobody can have seen the key gone.
        assert_eq!(entry.modify_index, before.modify_index + 1);
        let other = NodeInfo { address: "10.77.0.2".into(), ..info };
        let third = client.create("other", ttl, Duration::ZERO).await.unwrap();
        let taken = put(&client, &me, &other, third).await;
        assert_eq!(taken, Put::Taken("10.77.0.1".into()), "another machine steals nothing");
    }

    /// Its agent may be a newer one on another machine.
    #[tokio::test]
    async fn a_key_that_can_not_be_read_is_not_taken_from_the_session_that_holds_it() {
        let me = NodeName::parse("node1").unwrap();
        let client = MemoryConsul::new().client(&me);
        let ttl = Duration::from_secs(10);
        let other = client.create("other", ttl, Duration::ZERO).await.unwrap();
        let own = client.create("own", ttl, Duration::ZERO).await.unwrap();
        let (key, value) = (keys::node(&me), br#"{"format":2,"all":"new"}"#.to_vec());
        let lock = TxnOp::Lock { key, value: value.clone(), session: other.clone() };
        client.transact(vec![lock]).await.unwrap();
        let info = NodeInfo { address: "10.77.0.1".into(), ..NodeInfo::default() };
        assert_eq!(put(&client, &me, &info, own.clone()).await, Put::Failed);
        assert_eq!(client.get(&keys::node(&me)).await.unwrap().unwrap().value, value);
        client.expire_session(&other);
        assert_eq!(put(&client, &me, &info, own).await, Put::Done);
    }
}
