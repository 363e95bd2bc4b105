//! `tandem/replicas/{app}/{node}`, `tandem/stalled/{app}/{node}`, `tandem/lines/{app}`: what slaves have, what masters could
//! not send, and which volumes and snapshots are the apps' own.

use super::Record;
use crate::model::{AppName, NodeName, keys};
use crate::replication::{Lines, ReplicaState, Stalled};

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

impl Record for Lines {
    const PREFIX: &'static str = keys::LINES;
    type Name = AppName;

    fn name(rest: &str) -> Option<AppName> {
        AppName::parse(rest).ok()
    }
}

/// An app's name may hold a slash, a node's can't.
fn app_and_node(rest: &str) -> Option<(AppName, NodeName)> {
    let (app, node) = rest.rsplit_once('/')?;
    Some((AppName::parse(app).ok()?, NodeName::parse(node).ok()?))
}
