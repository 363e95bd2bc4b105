//! The read-only facts that the planner works from.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::model::{Amount, AppName, AppRecord, NodeName, Placement};

/// What is known when a request is planned.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The members of the cluster.
    pub nodes: BTreeMap<NodeName, NodeFacts>,
    /// The app's KV entry; none: nobody has the app.
    #[serde(default)]
    pub app: Option<AppRecord>,
    /// The KV entry of the app that a migration takes its volumes from.
    #[serde(default)]
    pub source: Option<AppRecord>,
    /// The nodes whose agents have told of verified copies of all the app's volumes.
    #[serde(default)]
    pub copies: BTreeSet<NodeName>,
    /// Other apps whose compose project has the same name, each with its pair if it serves.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rivals: BTreeMap<AppName, Option<Placement>>,
    /// Why the app's KV entry can't be read, if there is one that can't.
    #[serde(default)]
    pub unreadable: Option<String>,
}

/// What is known of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Its address in Consul's catalog.
    pub address: String,
    /// Whether Consul finds it alive.
    pub alive: bool,
    /// Whether its agent runs.
    pub agent: bool,
    /// The operator's reason, perhaps empty, why nothing is to be picked to go there; none: it is not draining.
    #[serde(default)]
    pub draining: Option<String>,
    /// Of how many other apps it is the master, or is becoming it.
    #[serde(default)]
    pub masters: u32,
    /// The room that it has; none: its agent can't tell.
    #[serde(default)]
    pub room: Option<RoomFacts>,
}

/// The room that a node has, as its agent told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomFacts {
    /// The file system of the BTRFS volumes.
    pub disk: Amount,
    /// Memory that can be had without swapping.
    pub memory: Amount,
    /// Seconds since it was told.
    #[serde(default)]
    pub age: u64,
}

impl Facts {
    /// Refuses a node that is unknown or dead. One whose agent is away for a moment is waited for instead: its first
    /// step has a deadline.
    pub(super) fn require(&self, name: &NodeName) -> Result<(), Refusal> {
        match self.nodes.get(name) {
            None => {
                let known: Vec<_> = self.nodes.keys().map(NodeName::as_str).collect();
                Err(Refusal::NoSuchNode { name: name.clone(), known: known.join(", ") })
            }
            Some(node) if !node.alive => Err(Refusal::NodeAway(name.clone())),
            Some(_) => Ok(()),
        }
    }
}
