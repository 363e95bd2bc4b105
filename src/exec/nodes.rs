//! What Consul knows of the nodes: who is there, what their agents say, which drain, who has how many apps.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::intake::NodeInfo;
use super::queue::Queue;
use crate::clock;
use crate::consul::ConsulError;
use crate::consul::catalog::Catalog;
use crate::consul::kv::Kv;
use crate::model::deployment::Deployment;
use crate::model::{Amount, AppName, NodeName, Port, keys};
use crate::plan::{NodeFacts, RoomFacts};

/// How much of an operator's reason is shown.
const REASON: usize = 80;

/// The room that a node has, as its agent publishes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Counts what this agent has published of it.
    pub epoch: u64,
    /// When it was measured, RFC 3339 in UTC.
    pub at: String,
    /// The file system of the BTRFS volumes.
    pub disk: Amount,
    /// Memory that can be had without swapping.
    pub memory: Amount,
    /// The ports of TCP that something on it listens at.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub listening: BTreeSet<Port>,
}

impl Room {
    /// As a planner sees it at `now`; none if it can't be told how old it is. A clock that is ahead makes it no younger
    /// than new.
    fn facts(&self, now: DateTime<Utc>) -> Option<RoomFacts> {
        let at = DateTime::parse_from_rfc3339(&self.at).ok()?;
        let age = u64::try_from((now - at.to_utc()).num_seconds()).unwrap_or(0);
        Some(RoomFacts { disk: self.disk, memory: self.memory, age })
    }
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
    let agents = values(kv, keys::NODES).await?;
    let draining = values(kv, keys::DRAINING).await?;
    let masters = masters(kv, except).await?;
    let now = clock::now();
    let members = catalog.members().await?.into_iter().map(|member| {
        let name = member.name.as_str();
        let info = agents.get(name).map(|value| serde_json::from_slice::<NodeInfo>(value).ok());
        let facts = NodeFacts {
            address: member.address,
            alive: member.alive,
            agent: info.is_some(),
            draining: draining.get(name).map(|value| reason(value)),
            masters: masters.get(&member.name).copied().unwrap_or(0),
            room: info.flatten().and_then(|info| info.room?.facts(now)),
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
    /// The part of an app's entry that counts.
    #[derive(Deserialize)]
    struct Entry {
        master: NodeName,
    }
    let entries = values(kv, keys::APPS).await?.into_iter();
    let mut of: BTreeMap<String, NodeName> = entries
        .filter_map(|(app, value)| {
            Some((app, serde_json::from_slice::<Entry>(&value).ok()?.master))
        })
        .collect();
    for (app, value) in values(kv, keys::QUEUES).await? {
        if let Some(master) = master_to_be(kv, &app, &value).await? {
            of.insert(app, master);
        }
    }
    if let Some(app) = except {
        of.remove(app.as_str());
    }
    let mut counts = BTreeMap::new();
    for master in of.into_values() {
        *counts.entry(master).or_insert(0) += 1;
    }
    Ok(counts)
}

async fn master_to_be(
    kv: &dyn Kv,
    app: &str,
    queue: &[u8],
) -> Result<Option<NodeName>, ConsulError> {
    let running = serde_json::from_slice::<Queue>(queue).ok().and_then(|queue| queue.running);
    let (Ok(app), Some(id)) = (AppName::parse(app), running) else {
        return Ok(None);
    };
    let entry = kv.get(&keys::deployment(&app, &id)).await?;
    let record = entry.and_then(|entry| serde_json::from_slice::<Deployment>(&entry.value).ok());
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
