//! What a master's schedule should have sent and did not: buttervolume tells nobody that a replication failed.

use chrono::{DateTime, Utc};

use super::copies::{Held, Survey};
use crate::host::volume::SnapshotName;

/// The newest snapshot that this node has taken of a volume, if the other end, at `host`, has neither it nor a newer one
/// by the marks. It may be on its way.
///
/// What was taken before `since`, or before what arrived here last, is of an earlier time as the master.
pub fn unsent<'a>(survey: &'a Survey, host: &str, since: DateTime<Utc>) -> Option<&'a Held> {
    let copy = survey.newest_copy().and_then(|copy| copy.facts.held_since());
    let is_own = |held: &&Held| held.facts.read_only && held.facts.received_uuid.is_none();
    let taken = |held: &Held| held.facts.created_at;
    let own = survey.held.iter().filter(is_own);
    let newest = own.max_by_key(|held| (taken(held), &held.name))?;
    let marks = || survey.marks.iter().filter(|mark| mark.sent_to() == Some(host));
    let sent = marks().filter_map(|mark| taken(survey.marked(mark)?)).max();
    let before = [Some(since), copy, sent].into_iter().flatten().max();
    let is_newer = taken(newest) > before;
    let is_sent = marks().map(SnapshotName::unmarked).any(|name| name == newest.name);
    (is_newer && !is_sent).then_some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::volume::Verified;

    const HOST: &str = "10.0.0.2";

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_750_000_000 + minute * 60, 0).unwrap()
    }

    fn name(minute: i64) -> SnapshotName {
        SnapshotName::parse(&format!("v@2025-01-01T00:{minute:02}:00.000000")).unwrap()
    }

    /// A snapshot of that minute, taken here or received then.
    fn held(minute: i64, received: bool) -> Held {
        let facts = Verified {
            read_only: true,
            uuid: Some(format!("u{minute}")),
            received_uuid: received.then(|| format!("o{minute}")),
            created_at: Some(at(minute)),
            received_at: received.then(|| at(minute)),
            ..Verified::default()
        };
        Held { name: name(minute), facts }
    }

    fn mark(minute: i64, host: &str) -> SnapshotName {
        SnapshotName::parse(&format!("{}@{host}", name(minute))).unwrap()
    }

    fn found(held: Vec<Held>, marks: Vec<SnapshotName>, since: i64) -> Option<SnapshotName> {
        unsent(&Survey { held, marks }, HOST, at(since)).map(|held| held.name.clone())
    }

    #[test]
    fn what_the_other_end_has_not_got_by_the_marks_is_unsent() {
        let two = || vec![held(10, false), held(20, false)];
        assert_eq!(found(two(), vec![mark(10, HOST)], 0), Some(name(20)));
        assert_eq!(found(two(), vec![mark(20, "10.0.0.9")], 0), Some(name(20)));
        assert_eq!(found(two(), vec![mark(20, HOST)], 0), None);
        assert_eq!(found(two(), Vec::new(), 0), Some(name(20)));
        assert_eq!(found(Vec::new(), Vec::new(), 0), None);
    }

    #[test]
    fn what_is_older_than_the_deployment_or_than_what_came_here_is_not() {
        assert_eq!(found(vec![held(10, false)], Vec::new(), 15), None);
        // The master was the slave until now: what it took as a master before is not to be sent any more.
        let back = || vec![held(10, false), held(20, true)];
        assert_eq!(found(back(), Vec::new(), 0), None);
        assert_eq!(found(back(), vec![mark(20, HOST)], 0), None);
        // A common snapshot from there, marked, and the first of the new schedule.
        let mut scheduled = back();
        scheduled.push(held(21, false));
        assert_eq!(found(scheduled, vec![mark(20, HOST)], 0), Some(name(21)));
        let torn = Held {
            facts: Verified { read_only: false, ..held(30, false).facts },
            ..held(30, false)
        };
        assert_eq!(found(vec![torn], Vec::new(), 0), None);
    }
}
