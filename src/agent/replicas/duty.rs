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

/// Reads the duties of a node from the entries of all apps; what can't be read is nobody's.
pub(super) fn duties(me: &NodeName, entries: &[Entry]) -> Vec<Duty> {
    let duty = |entry: &Entry| {
        let app = AppName::parse(entry.key.strip_prefix(keys::APPS)?).ok()?;
        let record: AppRecord = serde_json::from_slice(&entry.value).ok()?;
        let role = Placement::role_of(Some(&record.placement()), me);
        let concerned = role != Role::Bystander && !record.volumes.is_empty();
        concerned.then_some(Duty { app, record, role })
    };
    entries.iter().filter_map(duty).collect()
}
