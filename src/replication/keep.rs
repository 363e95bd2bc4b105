//! What no purge may remove: the newest snapshot that both ends of a pair have.
//!
//! buttervolume counts the changes that it sends from the snapshot that the newest mark names. If either end has lost
//! that one, no replication succeeds any more: it tries the same again where it means to send everything. And the copy on
//! the slave is the newest data that there is if the master is lost.
//!
//! On the master that snapshot is the one with the mark. On the slave it is the newest whole copy or, if the master never
//! heard that this one arrived, the one that its changes were counted from.
//!
//! A copy may be of something else than the app's volume ([`line`](super::line)): until it is known not to be, the newest
//! one of which that is known stays, too.

use std::collections::BTreeSet;

use super::copies::{Held, Survey};
use crate::host::volume::SnapshotName;
use crate::model::Role;

/// The node that a volume is replicated to or from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtherEnd {
    /// There is none.
    None,
    /// Its address, as marks name it.
    At(String),
    /// It can't be told now: every mark may be one of it.
    Unknown,
}

impl OtherEnd {
    fn is_marked_by(&self, mark: &SnapshotName) -> bool {
        match self {
            Self::None => false,
            Self::At(address) => mark.sent_to() == Some(address),
            Self::Unknown => true,
        }
    }
}

/// The snapshots of a volume to keep from purges on a node with this role. `own`: the newest one that is known to be the
/// app's, where what is newer may be something else's.
pub fn worth_keeping(
    role: Role,
    other: &OtherEnd,
    survey: &Survey,
    own: Option<&Held>,
) -> BTreeSet<SnapshotName> {
    let newest = survey.newest_copy();
    let sent = survey.marks.iter().filter(|mark| other.is_marked_by(mark));
    let sent = sent.filter_map(|mark| survey.marked(mark));
    let kept: Vec<_> = match (role, other) {
        (Role::Bystander, _) | (_, OtherEnd::None) => Vec::new(),
        // A master that has sent nothing yet was the slave before: what it received is what both have.
        (Role::Master, _) => {
            let sent: Vec<_> = sent.collect();
            if sent.is_empty() { newest.into_iter().collect() } else { sent }
        }
        // A slave that has received nothing since was the master before: what it sent last is what both have.
        (Role::Replica, _) => {
            let since = newest.map(|copy| copy.facts.order());
            let basis = newest.and_then(|copy| survey.basis_of(copy));
            let sent = sent.filter(|held| since.is_none_or(|since| held.facts.order() > since));
            sent.chain(newest).chain(basis).collect()
        }
    };
    let own = own.filter(|_| role != Role::Bystander);
    kept.into_iter().chain(own).map(|held| held.name.clone()).collect()
}
