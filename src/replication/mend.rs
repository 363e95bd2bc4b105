//! Marks that stop replication: they name a snapshot that one end no longer has, and buttervolume counts changes from it
//! for ever. Without its marks it sends everything.

use chrono::{DateTime, Utc};

use super::copies::Survey;
use super::state::ReplicaState;
use crate::host::volume::SnapshotName;

/// The marks of a volume whose snapshot is not on this node, wherever it was sent.
pub fn dead_marks(survey: &Survey) -> Vec<SnapshotName> {
    survey.marks.iter().filter(|mark| survey.marked(mark).is_none()).cloned().collect()
}

/// The marks of a late volume that name a snapshot which the slave, at `host`, does not have by its own word.
///
/// What was taken after `settled` may have arrived after the slave's last word.
pub fn unheld_marks(
    slave: &ReplicaState,
    volume: &str,
    host: &str,
    survey: &Survey,
    settled: DateTime<Utc>,
) -> Vec<SnapshotName> {
    if !slave.late.contains(volume) {
        return Vec::new();
    }
    let copy = slave.volumes.get(volume).and_then(Option::as_ref);
    let is_unheld = |mark: &&SnapshotName| {
        let Some(held) = survey.marked(mark) else { return false };
        let there = copy.is_some_and(|copy| {
            held.facts.origin().is_some_and(|id| copy.bases.iter().any(|base| base == id))
        });
        let settled = held.facts.created_at.is_some_and(|taken| taken < settled);
        mark.sent_to() == Some(host) && settled && !there
    };
    survey.marks.iter().filter(is_unheld).cloned().collect()
}
