//! `tandem/replicas/{app}/{node}`, `tandem/stalled/{app}/{node}`, `tandem/lines/{app}`: what slaves have, what masters could
//! not send, and which volumes and snapshots are the apps' own.

use super::Record;
use crate::model::{AppName, NodeName, keys};
use crate::replication::{Lines, ReplicaState, Stalled};

impl Record for ReplicaState {
    const PREFIX: &'static str = keys::REPLICAS;
    type Name = (AppName, NodeName);
}

impl Record for Stalled {
    const PREFIX: &'static str = keys::STALLED;
    type Name = (AppName, NodeName);
}

impl Record for Lines {
    const PREFIX: &'static str = keys::LINES;
    type Name = AppName;
}
