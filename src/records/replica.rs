//! `tandem/replicas/{app}/{node}` and `tandem/stalled/{app}/{node}`: what slaves have, and what masters could not send.

use super::Record;
use crate::model::{AppName, NodeName, keys};
use crate::replication::{ReplicaState, Stalled};

impl Record for ReplicaState {
    const PREFIX: &'static str = keys::REPLICAS;
    type Name = (AppName, NodeName);

    fn name(rest: &str) -> Option<(AppName, NodeName)> {
        app_and_node(rest)
    }
}

impl Record for Stalled {
    const PREFIX: &'static str = keys::STALLED;
    type Name = (AppName, NodeName);

    fn name(rest: &str) -> Option<(AppName, NodeName)> {
        app_and_node(rest)
    }
}

/// An app's name may hold a slash, a node's can't.
fn app_and_node(rest: &str) -> Option<(AppName, NodeName)> {
    let (app, node) = rest.rsplit_once('/')?;
    Some((AppName::parse(app).ok()?, NodeName::parse(node).ok()?))
}
