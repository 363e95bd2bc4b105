//! `tandem/deployments/{app}/{deployment}`; copies of it are what nodes owe.

use serde::{Deserialize, Serialize};

use super::Record;
use crate::model::deployment::{Deployment, FORMAT};
use crate::model::{AppName, DeployId, NodeName, keys};

impl Record for Deployment {
    const PREFIX: &'static str = keys::DEPLOYMENTS;
    const FORMAT: Option<u32> = Some(FORMAT);
    type Name = (AppName, DeployId);

    fn name(rest: &str) -> Option<(AppName, DeployId)> {
        // An app's name may hold a slash.
        let (app, id) = rest.rsplit_once('/')?;
        Some((AppName::parse(app).ok()?, DeployId::parse(id).ok()?))
    }
}

/// `tandem/owed/{node}/{app}/{deployment}`: a copy of the record, for a node that was away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Owed(pub Deployment);

/// What the key of a debt names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debt {
    /// Who owes it.
    pub node: NodeName,
    /// The app that it is owed to.
    pub app: AppName,
    /// The deployment that went on without the node.
    pub deployment: DeployId,
}

impl Record for Owed {
    const PREFIX: &'static str = keys::OWED;
    const FORMAT: Option<u32> = Some(FORMAT);
    type Name = Debt;

    fn name(rest: &str) -> Option<Debt> {
        let (node, rest) = rest.split_once('/')?;
        let (app, deployment) = Deployment::name(rest)?;
        Some(Debt { node: NodeName::parse(node).ok()?, app, deployment })
    }
}
