//! The apps in whose pair this node is.

use crate::consul::kv::Entry;
use crate::model::{AppName, AppRecord, NodeName, Placement, Role, keys};

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
    /// Apps whose entry can't be read: nobody knows whose they are, and nothing of theirs is given up.
    pub(super) unreadable: Vec<AppName>,
}

impl Duties {
    pub(super) fn read(me: &NodeName, entries: &[Entry]) -> Self {
        let mut duties = Self::default();
        for entry in entries {
            let Some(app) = entry.key.strip_prefix(keys::APPS) else { continue };
            let Ok(app) = AppName::parse(app) else { continue };
            let Ok(record) = serde_json::from_slice::<AppRecord>(&entry.value) else {
                duties.unreadable.push(app);
                continue;
            };
            let role = Placement::role_of(Some(&record.placement()), me);
            if role != Role::Bystander && !record.volumes.is_empty() {
                duties.own.push(Duty { app, record, role });
            }
        }
        duties
    }
}
