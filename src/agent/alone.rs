//! One agent per node and name: a lock on the data directory, and a look at who goes by the node's name already.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use tokio::time::Instant;
use tracing::{info, warn};

use super::AgentError;
use crate::consul::kv::Kv;
use crate::error::chain;
use crate::model::{NodeName, keys};
use crate::records::{NodeInfo, RecordError, decode};

/// The file that an agent holds a lock on for as long as it lives.
const LOCK: &str = "agent.lock";
const RETRY: Duration = Duration::from_secs(1);
/// A session that is not renewed is gone after twice its TTL.
const TTLS: u32 = 2;
const MARGIN: Duration = Duration::from_secs(5);

/// Takes the lock of a data directory: the file, to be held for life. None where a lock can't be had at all; that is told.
///
/// # Errors
/// [`AgentError::Second`], if another agent works with that directory.
pub fn lock(data_dir: &Path) -> Result<Option<Flock<File>>, AgentError> {
    let path = data_dir.join(LOCK);
    let to_write =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    // A lock needs no more than a file that can be read: on a disk that became read-only there is one.
    let unguarded = |error: &dyn std::fmt::Display| {
        warn!(path = %path.display(), %error, "nothing keeps a second agent from this directory");
    };
    let file = match to_write.or_else(|_| File::open(&path)) {
        Ok(file) => file,
        Err(error) => {
            unguarded(&error);
            return Ok(None);
        }
    };
    let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => file,
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            return Err(AgentError::Second { path, pid: pid.trim().to_owned() });
        }
        Err((_, error)) => {
            unguarded(&error);
            return Ok(None);
        }
    };
    // Told to whoever comes second; without it, the lock is the same.
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = noted {
        warn!(path = %path.display(), %error, "the agent's pid could not be noted");
    }
    Ok(Some(file))
}

/// What tells this machine from others: the id that systemd gave it, if there is one.
pub(super) fn machine() -> Option<String> {
    let id = std::fs::read_to_string("/etc/machine-id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Whether that is another machine's word. An agent that says nothing of itself may be a former one of this node.
pub(super) fn is_of_another(info: &NodeInfo, address: &str, machine: Option<&str>) -> bool {
    let differs =
        |theirs: &str, ours: &str| !theirs.is_empty() && !ours.is_empty() && theirs != ours;
    let machines = info.machine.as_deref().zip(machine);
    differs(&info.address, address) || machines.is_some_and(|(theirs, ours)| theirs != ours)
}

/// What can't be read may be another machine's word: its session tells whether it is there.
fn untold(error: &RecordError) -> NodeInfo {
    NodeInfo { address: chain(error), since: "then".to_owned(), ..NodeInfo::default() }
}

/// Waits until nobody else goes by the node's name, if Consul tells: what a former agent of this very machine left under
/// another address is gone when its session has run out.
///
/// # Errors
/// [`AgentError::NameTaken`], if another machine's agent keeps the name.
pub async fn await_name(
    kv: &dyn Kv,
    me: &NodeName,
    address: &str,
    ttl: Duration,
) -> Result<(), AgentError> {
    let machine = machine();
    let mut seen_since = None;
    loop {
        let holder = match kv.get(&keys::node(me)).await {
            Ok(entry) => entry
                .filter(|entry| entry.session.is_some())
                .map(|entry| decode::<NodeInfo>(&entry).unwrap_or_else(|error| untold(&error))),
            Err(error) => {
                // The proxies and what was never committed can't wait for Consul. A name that is held is not taken later
                // either.
                warn!(error = %chain(&error), "Consul does not tell who goes by this node's name; going on");
                return Ok(());
            }
        };
        let other = holder.filter(|info| is_of_another(info, address, machine.as_deref()));
        let Some(other) = other else { return Ok(()) };
        let since = *seen_since.get_or_insert_with(|| {
            info!(node = %me, address = other.address, "another machine has this node's name; waiting whether it is gone");
            Instant::now()
        });
        if since.elapsed() >= ttl * TTLS + MARGIN {
            let (node, address) = (me.clone(), other.address);
            return Err(AgentError::NameTaken { node, address, since: other.since });
        }
        tokio::time::sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consul::memory::MemoryConsul;
    use crate::consul::session::Sessions;
    use crate::consul::txn::TxnOp;

    const TTL: Duration = Duration::from_secs(15);

    fn info(address: &str, machine: Option<&str>) -> NodeInfo {
        NodeInfo {
            address: address.to_owned(),
            machine: machine.map(str::to_owned),
            ..NodeInfo::default()
        }
    }

    #[test]
    fn a_second_agent_is_told_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        let Err(AgentError::Second { pid, .. }) = lock(dir.path()) else { panic!("two agents") };
        assert_eq!(pid, std::process::id().to_string());
        drop(first);
        assert!(lock(dir.path()).unwrap().is_some());
    }

    #[test]
    fn machines_are_told_apart_by_address_or_id() {
        let other = |a: &str, m| is_of_another(&info(a, m), "10.0.0.1", Some("m1"));
        assert!(!other("10.0.0.1", Some("m1")) && !other("10.0.0.1", None) && !other("", None));
        assert!(other("10.0.0.2", Some("m1")) && other("10.0.0.1", Some("m2")));
    }

    async fn held_by(address: &str) -> (MemoryConsul, String) {
        let me = NodeName::parse("node1").unwrap();
        let client = MemoryConsul::new().client(&me);
        let session = client.create("agent", TTL, Duration::ZERO).await.unwrap();
        let value = serde_json::to_vec(&info(address, None)).unwrap();
        let lock = TxnOp::Lock { key: keys::node(&me), value, session: session.clone() };
        client.transact(vec![lock]).await.unwrap();
        (client, session)
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_another_machine_keeps_is_refused() {
        let me = NodeName::parse("node1").unwrap();
        let (consul, session) = held_by("10.0.0.2").await;
        let renews = async {
            loop {
                consul.renew(&session).await.unwrap();
                tokio::time::sleep(TTL / 3).await;
            }
        };
        let taken = tokio::select! {
            taken = await_name(&consul, &me, "10.0.0.1", TTL) => taken,
            () = renews => Ok(()),
        };
        let Err(AgentError::NameTaken { address, .. }) = taken else { panic!("{taken:?}") };
        assert_eq!(address, "10.0.0.2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_whose_key_can_not_be_read_is_free_when_its_session_ends() {
        let me = NodeName::parse("node1").unwrap();
        let (consul, session) = held_by("10.0.0.1").await;
        let newer = br#"{"format":2,"all":"new"}"#.to_vec();
        let set = TxnOp::Set { key: keys::node(&me), value: newer };
        consul.transact(vec![set]).await.unwrap();
        let started = Instant::now();
        let ends = async {
            tokio::time::sleep(TTL).await;
            consul.expire_session(&session);
        };
        let (free, ()) = tokio::join!(await_name(&consul, &me, "10.0.0.1", TTL), ends);
        free.unwrap();
        assert!(started.elapsed() >= TTL);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_starts_without_consul() {
        let me = NodeName::parse("node1").unwrap();
        let consul = MemoryConsul::new();
        let client = consul.client(&me);
        consul.set_reachable(&me, false);
        await_name(&client, &me, "10.0.0.1", TTL).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_former_agent_of_the_same_machine_is_replaced_and_one_that_is_gone_waited_for() {
        let me = NodeName::parse("node1").unwrap();
        let (consul, _) = held_by("10.0.0.1").await;
        await_name(&consul, &me, "10.0.0.1", TTL).await.unwrap();
        let (consul, session) = held_by("10.0.0.2").await;
        let ends = async {
            tokio::time::sleep(TTL).await;
            consul.expire_session(&session);
        };
        let (free, ()) = tokio::join!(await_name(&consul, &me, "10.0.0.1", TTL), ends);
        free.unwrap();
    }
}
