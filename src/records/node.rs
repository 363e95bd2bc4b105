//! `tandem/nodes/{node}`: what an agent says of its node.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Record;
use crate::model::{Amount, AppName, NodeName, Port, keys};

/// What an agent publishes about its node, held by its session: gone when the agent is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// The agent's version.
    pub version: String,
    /// The node's address.
    pub address: String,
    /// Since when the agent runs, RFC 3339.
    pub since: String,
    /// What this node's proxies left out, one line each.
    #[serde(default)]
    pub problems: Vec<String>,
    /// That its proxies do not have what they should have; none: they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failing>,
    /// The room that the node has; none: it can't be measured.
    #[serde(default)]
    pub room: Option<Room>,
    /// What tells the machine from others, if it has such an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The apps that run on it though another node is their master, and their containers there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub strays: BTreeMap<AppName, String>,
}

/// Something that a node tries again and again in vain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// Since when, RFC 3339.
    pub since: String,
    /// Why.
    pub why: String,
}

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

impl Record for NodeInfo {
    const PREFIX: &'static str = keys::NODES;
    type Name = NodeName;
}
