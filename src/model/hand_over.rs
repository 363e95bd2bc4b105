//! The value of a `maintenance/` key that a deployment set; an operator's holds anything else.

use serde::{Deserialize, Serialize};

/// A deployment is between two versions of an app, or between two of its nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// The deployment.
    pub deploy_id: String,
}

impl HandOver {
    /// Whether a key's value is one.
    pub fn is(value: &[u8]) -> bool {
        serde_json::from_slice::<Self>(value).is_ok()
    }
}

/// The value of a `tandem/routing/` key: a deployment has flipped an app's entry, and waits until every node's proxies
/// serve it so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    /// The deployment.
    pub deploy_id: String,
    /// It has removed the entry.
    pub is_gone: bool,
}
