//! `tandem/deployments/{app}/{deployment}`; copies of it are what nodes owe.

use serde::{Deserialize, Serialize};

use super::{Named, Record};
use crate::model::deployment::{Deployment, FORMAT};
use crate::model::{AppName, DeployId, NodeName, keys};

impl Record for Deployment {
    const PREFIX: &'static str = keys::DEPLOYMENTS;
    const FORMAT: Option<u32> = Some(FORMAT);
    type Name = (AppName, DeployId);
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
}

impl Named for Debt {
    fn parse(rest: &str) -> Option<Self> {
        let (node, rest) = rest.split_once('/')?;
        let (app, deployment) = Named::parse(rest)?;
        Some(Self { node: NodeName::parse(node).ok()?, app, deployment })
    }
}
