//! What Consul knows of the nodes: who is there, what their agents say, which drain, who has how many apps.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::clock;
use crate::consul::ConsulError;
use crate::consul::catalog::Catalog;
use crate::consul::kv::Kv;
use crate::model::deployment::Deployment;
use crate::model::{AppName, AppRecord, NodeName, keys};
use crate::plan::{NodeFacts, RoomFacts};
use crate::records::{self, NodeInfo, Queue, Room, decode, name_of};

/// How much of an operator's reason is shown.
const REASON: usize = 80;

/// The room as a planner sees it at `now`; none if it can't be told how old it is. A clock that is ahead makes it no
/// younger than new.
fn facts_of(room: &Room, now: DateTime<Utc>) -> Option<RoomFacts> {
    let at = DateTime::parse_from_rfc3339(&room.at).ok()?;
    let age = u64::try_from((now - at.to_utc()).num_seconds()).unwrap_or(0);
    Some(RoomFacts { disk: room.disk, memory: room.memory, age })
}

/// The facts about every member. `except`: the app that is planned, which counts for no node.
///
/// # Errors
/// Any of [`ConsulError`]; what can't be read of a key is a fact that is missing.
pub async fn node_facts(
    kv: &dyn Kv,
    catalog: &dyn Catalog,
    except: Option<&AppName>,
) -> Result<BTreeMap<NodeName, NodeFacts>, ConsulError> {
    let agents = kv.list(keys::NODES).await?.entries;
    // One that can't be read is an agent of which nothing is known.
    let agents: BTreeMap<NodeName, Option<NodeInfo>> = agents
        .iter()
        .filter_map(|entry| Some((name_of::<NodeInfo>(&entry.key)?, decode(entry).ok())))
        .collect();
    let draining = values(kv, keys::DRAINING).await?;
    let masters = masters(kv, except).await?;
    let now = clock::now();
    let members = catalog.members().await?.into_iter().map(|member| {
        let name = member.name.as_str();
        let info = agents.get(&member.name).map(Option::as_ref);
        let facts = NodeFacts {
            address: member.address,
            alive: member.alive,
            agent: info.is_some(),
            draining: draining.get(name).map(|value| reason(value)),
            masters: masters.get(&member.name).copied().unwrap_or(0),
            room: info.flatten().and_then(|info| facts_of(info.room.as_ref()?, now)),
        };
        (member.name, facts)
    });
    Ok(members.collect())
}

/// An operator's text, fit for a line.
fn reason(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let plain = text.trim().chars().take(REASON).map(|c| if c.is_control() { ' ' } else { c });
    plain.collect()
}

/// How many apps have each node as their master. A deployment that runs counts for the master to be: its entry follows
/// later, and events that come together are not all to go to the same node.
async fn masters(
    kv: &dyn Kv,
    except: Option<&AppName>,
) -> Result<BTreeMap<NodeName, u32>, ConsulError> {
    let entries = records::list::<AppRecord>(kv).await?.found.into_iter();
    let mut of: BTreeMap<AppName, NodeName> =
        entries.map(|entry| (entry.name, entry.value.master)).collect();
    for queue in records::list::<Queue>(kv).await?.found {
        if let Some(master) = master_to_be(kv, &queue.name, queue.value).await? {
            of.insert(queue.name, master);
        }
    }
    if let Some(app) = except {
        of.remove(app);
    }
    let mut counts = BTreeMap::new();
    for master in of.into_values() {
        *counts.entry(master).or_insert(0) += 1;
    }
    Ok(counts)
}

async fn master_to_be(
    kv: &dyn Kv,
    app: &AppName,
    queue: Queue,
) -> Result<Option<NodeName>, ConsulError> {
    let Some(id) = queue.running else { return Ok(None) };
    let entry = kv.get(&keys::deployment(app, &id)).await?;
    let record = entry.and_then(|entry| decode::<Deployment>(&entry).ok());
    let open = record.filter(|record| !record.state.is_final());
    Ok(open.and_then(|record| record.placement).map(|placement| placement.master))
}

/// The values below a prefix, by the rest of their keys.
async fn values(kv: &dyn Kv, prefix: &str) -> Result<BTreeMap<String, Vec<u8>>, ConsulError> {
    let entries = kv.list(prefix).await?.entries.into_iter();
    let named =
        entries.filter_map(|entry| Some((entry.key.strip_prefix(prefix)?.to_owned(), entry.value)));
    Ok(named.collect())
}
