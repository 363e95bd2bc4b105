//! What a node has of a volume.

use crate::host::volume::{SnapshotName, Verified};

/// A snapshot on this node, and what the file system says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub name: SnapshotName,
    /// Its facts.
    pub facts: Verified,
}

/// The snapshots of one volume on this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// The snapshots proper, in any order; torn ones are among them.
    pub held: Vec<Held>,
    /// The marks of what was sent where.
    pub marks: Vec<SnapshotName>,
}

impl Survey {
    /// The whole copy that arrived last, as the file system counts. A name says nothing: its time is that of another node's
    /// clock and zone, and what carries it may be torn; and this node's clock may have been wrong.
    pub fn newest_copy(&self) -> Option<&Held> {
        let whole = self.held.iter().filter(|held| held.facts.is_whole_copy());
        whole.max_by_key(|held| (held.facts.order(), &held.name))
    }

    /// What the transfer of a copy began from: the changes that it brought were counted from there.
    pub fn basis_of(&self, copy: &Held) -> Option<&Held> {
        let parent = copy.facts.parent_uuid.as_ref()?;
        self.held
            .iter()
            .find(|held| held.facts.read_only && held.facts.uuid.as_ref() == Some(parent))
    }

    /// What transfers left that broke off, or are still under way.
    pub fn torn(&self) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(|held| held.facts.is_torn())
    }

    /// The snapshot that a mark names, if it is here.
    pub fn marked(&self, mark: &SnapshotName) -> Option<&Held> {
        let name = mark.unmarked();
        self.held.iter().find(|held| held.name == name)
    }
}
