//! `tandem/apps/{app}`: which deployment of an app runs, and which one waits.

use serde::{Deserialize, Serialize};

use super::Record;
use crate::model::{AppName, DeployId, keys};

/// An app's place in the order of things.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// The highest epoch given out.
    pub epoch: u64,
    /// The deployment that runs.
    pub running: Option<DeployId>,
    /// The newest one that waits for it.
    pub waiting: Option<DeployId>,
    /// The last requests that were written down, the newest last.
    #[serde(default)]
    pub recent: Vec<DeployId>,
    /// The app is gone, and so are its records.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tidied: bool,
}

impl Record for Queue {
    const PREFIX: &'static str = keys::QUEUES;
    type Name = AppName;
}
