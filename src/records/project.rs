//! `tandem/projects/{project}`: whose a compose project is.

use serde::{Deserialize, Serialize};

use super::Record;
use crate::model::{AppName, DeployId, keys};

/// Whose a compose project is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Whose the project is.
    pub app: AppName,
    /// The deployment that claimed it last: each leaves another value, and so another index.
    pub deploy_id: DeployId,
}

impl Record for Claim {
    const PREFIX: &'static str = keys::PROJECTS;
    /// The project; only ever looked for by its app.
    type Name = String;
}
