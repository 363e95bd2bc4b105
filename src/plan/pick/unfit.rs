//! Which nodes take apps, and how much room they have for one more.

use crate::model::Amount;
use crate::plan::NodeFacts;

/// Percent of the disk and of the memory that a node has to have left.
const LEAST: u64 = 10;
/// Seconds after which what an agent said of its room no longer counts; it says it anew far more often.
const STALE: u64 = 900;

/// Why nothing is picked to go to a node; the text goes on from the node's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Consul does not reach it.
    #[error("is not alive")]
    Dead,
    /// Nobody would do the work.
    #[error("has no agent that runs")]
    NoAgent,
    /// An operator said so, perhaps why.
    #[error("is draining{}", if .0.is_empty() { String::new() } else { format!(" ({})", .0) })]
    Draining(String),
    /// Its agent can't tell.
    #[error("does not say how much room it has (its agent's log says why)")]
    Unknown,
    /// Its agent has not told for so many seconds.
    #[error("has not said for {} min how much room it has", .0 / 60)]
    Stale(u64),
    /// The disk has too little left.
    #[error("is too full: {0} of its disk free")]
    Full(Amount),
    /// The memory has too little left.
    #[error("has too little memory: {0} free")]
    Memory(Amount),
}

impl NodeFacts {
    /// Why nothing is to be picked to go there, if there is a reason.
    pub fn unfit(&self) -> Option<Unfit> {
        if !self.alive {
            return Some(Unfit::Dead);
        }
        if !self.agent {
            return Some(Unfit::NoAgent);
        }
        if let Some(reason) = &self.draining {
            return Some(Unfit::Draining(reason.clone()));
        }
        let Some(room) = self.room else {
            return Some(Unfit::Unknown);
        };
        if room.age > STALE {
            return Some(Unfit::Stale(room.age));
        }
        if room.disk.is_below(LEAST) {
            return Some(Unfit::Full(room.disk));
        }
        room.memory.is_below(LEAST).then_some(Unfit::Memory(room.memory))
    }

    /// The room that one more app would have, to compare: the free disk, shared with the apps that have their master
    /// there, because what they keep grows; times the free memory, of which they have taken theirs.
    pub(super) fn room_for_one_more(&self) -> u128 {
        let Some(room) = self.room else { return 0 };
        let mib = |amount: Amount| u128::from(amount.free >> 20);
        // 88 bits at most, and 32 more for what the division would lose.
        ((mib(room.disk) * mib(room.memory)) << 32) / (u128::from(self.masters) + 1)
    }
}
