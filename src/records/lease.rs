//! `tandem/leases/{app}`: who answers for a deployment. Held by a session, gone with it.

use serde::{Deserialize, Serialize};

use super::Record;
use crate::model::{AppName, DeployId, NodeName, keys};

/// Who holds a lease, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInfo {
    /// The node whose agent holds it.
    pub node: NodeName,
    /// The deployment that it counts for.
    pub deployment: DeployId,
}

impl Record for LeaseInfo {
    const PREFIX: &'static str = keys::LEASES;
    type Name = AppName;
}
