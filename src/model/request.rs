//! What an operator asks for, and what is kept of it in the record. Pure.

mod wanted;

use serde::{Deserialize, Serialize};

use super::{AppId, NodeName};

pub use wanted::Wanted;

/// What an operator asked for; every field is valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Request {
    /// Bring an app to a placement.
    Deploy {
        /// The app.
        app: AppId,
        /// The node that is to run it; none: to be picked.
        master: Option<NodeName>,
        /// The node that is to hold copies.
        #[serde(rename = "slave", default, skip_serializing_if = "Wanted::is_unsaid")]
        replica: Wanted,
        /// Whether `update.sh` runs before the app starts.
        update: bool,
        /// Whether the app begins from the copies that the new master holds: its master has lost its volumes.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        from_replica: bool,
    },
    /// Remove an app, keeping its volume snapshots.
    Destroy {
        /// The app.
        app: AppId,
    },
    /// Copy the volumes of one app into another.
    Migrate {
        /// Where the volumes come from.
        app: AppId,
        /// The app that receives them.
        target: AppId,
        /// Whether the target's `update.sh` runs before it starts.
        update: bool,
    },
}

impl Request {
    /// The app that the request is about; of a migration, the app that changes.
    pub fn app(&self) -> &AppId {
        match self {
            Request::Deploy { app, .. } | Request::Destroy { app } => app,
            Request::Migrate { target, .. } => target,
        }
    }

    /// Of a migration, the app that the volumes come from.
    pub fn source(&self) -> Option<&AppId> {
        match self {
            Request::Migrate { app, .. } => Some(app),
            Request::Deploy { .. } | Request::Destroy { .. } => None,
        }
    }

    /// The master that it names.
    pub fn master(&self) -> Option<&NodeName> {
        match self {
            Request::Deploy { master, .. } => master.as_ref(),
            Request::Destroy { .. } | Request::Migrate { .. } => None,
        }
    }

    /// Whether the app is to begin from copies, because its master has lost its volumes.
    pub fn is_from_replica(&self) -> bool {
        matches!(self, Request::Deploy { from_replica: true, .. })
    }

    /// `deploy`, `destroy` or `migrate`.
    pub fn verb(&self) -> &'static str {
        match self {
            Request::Deploy { .. } => "deploy",
            Request::Destroy { .. } => "destroy",
            Request::Migrate { .. } => "migrate",
        }
    }
}
