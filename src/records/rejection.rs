//! `tandem/rejected/{event}`: why an event came to nothing.

use serde::{Deserialize, Serialize};

use super::Record;
use crate::model::{DeployId, NodeName, keys};

/// An event that could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The event's name.
    pub event: String,
    /// What is wrong with it.
    pub reason: String,
    /// The beginning of its payload, control characters escaped.
    pub payload: String,
    /// The node that wrote this down.
    pub node: NodeName,
    /// When, RFC 3339.
    pub at: String,
}

impl Record for Rejection {
    const PREFIX: &'static str = keys::REJECTED;
    type Name = DeployId;
}
