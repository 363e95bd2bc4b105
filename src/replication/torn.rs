//! Which torn copies nobody will complete.
//!
//! A copy that is being received looks as a torn one does: writable, without an origin. The file system moves its
//! generation only when it commits (every 30 s), and not while the sender pauses. So a torn copy is left alone as long as
//! it changes, and as long as any process receives that was there before it: `btrfs receive` makes the subvolume after it
//! has started. What such a process belongs to can't be told; one that started later is not its.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::copies::Held;
use crate::host::volume::SnapshotName;

/// Times of creation are whole seconds, and processes' starts are counted from the start of the machine, whose second is
/// rounded too.
const ROUNDING: TimeDelta = TimeDelta::seconds(2);

/// When each torn copy was seen first as it is now.
#[derive(Debug, Default)]
pub struct Sightings(BTreeMap<SnapshotName, Sighting>);

#[derive(Debug, PartialEq, Eq)]
struct Sighting {
    uuid: Option<String>,
    generation: Option<u64>,
    since: Instant,
}

impl Sightings {
    /// Takes note of all torn copies that there are and returns those that are abandoned: the same for at least
    /// `patience`, and older than every reception that is under way.
    pub fn abandoned(
        &mut self,
        torn: &[&Held],
        receptions: &[DateTime<Utc>],
        patience: Duration,
        now: Instant,
    ) -> Vec<SnapshotName> {
        let mut before = std::mem::take(&mut self.0);
        let mut abandoned = Vec::new();
        for held in torn {
            let (uuid, generation) = (held.facts.uuid.clone(), held.facts.generation);
            let known = before.remove(&held.name);
            let same = known.filter(|seen| seen.uuid == uuid && seen.generation == generation);
            let since = same.map_or(now, |seen| seen.since);
            if now.duration_since(since) >= patience && !may_be_arriving(held, receptions) {
                abandoned.push(held.name.clone());
            }
            self.0.insert(held.name.clone(), Sighting { uuid, generation, since });
        }
        abandoned
    }
}

fn may_be_arriving(held: &Held, receptions: &[DateTime<Utc>]) -> bool {
    let Some(created) = held.facts.created_at else { return !receptions.is_empty() };
    receptions.iter().any(|began| *began <= created + ROUNDING)
}
