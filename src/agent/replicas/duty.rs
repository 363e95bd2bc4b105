//! The apps in whose pair this node is, and those whose volumes it may have remains of.

use std::sync::Arc;

use crate::model::{AppName, AppRecord, NodeName, Placement, Role};
use crate::proxy::view::Item;

/// An app with BTRFS volumes, and what this node is for it.
#[derive(Debug)]
pub(super) struct Duty {
    pub(super) app: AppName,
    pub(super) record: AppRecord,
    pub(super) role: Role,
}

impl Duty {
    /// The node at the other end of the pair.
    pub(super) fn other(&self) -> Option<&NodeName> {
        match self.role {
            Role::Master => self.record.slave.as_ref(),
            Role::Replica => Some(&self.record.master),
            Role::Bystander => None,
        }
    }
}

/// What the entries of all apps say of a node.
#[derive(Debug, Default)]
pub(super) struct Duties {
    pub(super) own: Vec<Duty>,
    /// The apps of other pairs. Copies of their volumes may be here from when this node was in the pair, a torn one too: the
    /// sender can lose power while it sends, and the app be moved.
    pub(super) others: Vec<Duty>,
    /// Apps whose entry can't be read: nobody knows whose they are, and nothing of theirs is given up.
    pub(super) unreadable: Vec<AppName>,
}

impl Duties {
    pub(super) fn read(me: &NodeName, entries: &[Arc<Item>]) -> Self {
        let mut duties = Self::default();
        for entry in entries {
            match entry.app() {
                Some((app, Some(record))) => {
                    let role = Placement::role_of(Some(&record.placement()), me);
                    let list = match role {
                        Role::Bystander => &mut duties.others,
                        Role::Master | Role::Replica => &mut duties.own,
                    };
                    if !record.volumes.is_empty() {
                        list.push(Duty { app, record: record.clone(), role });
                    }
                }
                Some((app, None)) => duties.unreadable.push(app),
                None => {}
            }
        }
        duties
    }
}
