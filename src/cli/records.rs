//! What the commands read from Consul.

use std::collections::BTreeMap;

use crate::consul::kv::{Entry, Kv};
use crate::consul::{Client, ConsulError};
use crate::error::chain;
use crate::model::deployment::Deployment;
use crate::model::keys::{DEPLOYMENTS, REJECTED};
use crate::records::{NodeInfo, Record, Rejection, decode};

/// A prefix's values by the rest of their keys; what can't be read is listed apart.
pub(super) struct Values<T> {
    pub(super) values: BTreeMap<String, T>,
    /// When each was written last, as Consul counts.
    pub(super) written: BTreeMap<String, u64>,
    pub(super) unreadable: Vec<String>,
}

/// Reads every record of a type.
pub(super) async fn values<T: Record>(client: &Client) -> Result<Values<T>, ConsulError> {
    let mut found =
        Values { values: BTreeMap::new(), written: BTreeMap::new(), unreadable: Vec::new() };
    for entry in client.list(T::PREFIX).await?.entries {
        let Some(name) = entry.key.strip_prefix(T::PREFIX).filter(|name| !name.is_empty()) else {
            continue;
        };
        match decode(&entry) {
            Ok(value) => {
                found.written.insert(name.to_owned(), entry.modify_index);
                found.values.insert(name.to_owned(), value);
            }
            Err(error) => found.unreadable.push(chain(&error)),
        }
    }
    Ok(found)
}

/// What was written last comes first, by when Consul took it: the nodes' clocks may differ.
pub(super) fn newest_first<T>(items: &mut [(String, T)], written: &BTreeMap<String, u64>) {
    items.sort_by_key(|(key, _)| std::cmp::Reverse(written.get(key).copied()));
}

/// The agents that run, by node.
pub(super) async fn agents(client: &Client) -> Result<BTreeMap<String, NodeInfo>, ConsulError> {
    Ok(values(client).await?.values)
}

/// A deployment or a rejected event.
pub(super) enum Found {
    Deployment(String, Box<Deployment>),
    Rejection(Rejection),
    /// A record that can't be read, and why.
    Unreadable(String),
}

/// What to say of a record that can't be read: why, and the way on.
pub(super) fn unreadable(problem: &str) -> String {
    let Some((key, _)) = problem.split_once(" can't be read") else { return problem.to_owned() };
    format!(
        "{problem}; an agent that worked on the deployment puts it back within seconds. If it stays so, nobody goes on with \
         that deployment: give it up (consul kv delete {key}) and deploy again"
    )
}

/// Finds what became of an event by its id, or a part of it from the beginning; without one, the newest deployment.
pub(super) async fn find(client: &Client, id: Option<&str>) -> Result<Option<Found>, ConsulError> {
    let mut entries = client.list(DEPLOYMENTS).await?.entries;
    entries.sort_by_key(|entry| entry.create_index);
    let matches = |entry: &&Entry| {
        let name = entry.key.rsplit('/').next().unwrap_or_default();
        id.is_none_or(|id| name.starts_with(id))
    };
    if let Some(entry) = entries.iter().rev().find(matches) {
        return Ok(Some(match decode(entry) {
            Ok(deployment) => Found::Deployment(entry.key.clone(), Box::new(deployment)),
            Err(error) => Found::Unreadable(unreadable(&chain(&error))),
        }));
    }
    let Some(id) = id else { return Ok(None) };
    let rejected = client.list(&format!("{}{id}", REJECTED)).await?.entries;
    Ok(rejected.first().map(|entry| match decode(entry) {
        Ok(rejection) => Found::Rejection(rejection),
        Err(error) => Found::Unreadable(chain(&error)),
    }))
}
