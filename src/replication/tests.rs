mod keep;
mod line;
mod mend;
mod pair;
mod purge;
mod state;
mod torn;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Held, Survey};
use crate::host::volume::{SnapshotName, Verified};

fn name(text: &str) -> SnapshotName {
    SnapshotName::parse(text).unwrap()
}

/// So many minutes after a fixed time.
fn at(minutes: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).unwrap() + TimeDelta::minutes(minutes)
}

/// A snapshot that this node took.
fn taken(text: &str, minutes: i64) -> Held {
    let facts = Verified {
        read_only: true,
        uuid: Some(format!("own-{text}")),
        created_at: Some(at(minutes)),
        generation: Some(1),
        ..Verified::default()
    };
    Held { name: name(text), facts }
}

/// A copy that arrived whole.
fn received(text: &str, minutes: i64) -> Held {
    let mut held = taken(text, minutes);
    held.facts.received_uuid = Some(format!("origin-{text}"));
    held
}

/// A copy that did not.
fn torn(text: &str, minutes: i64) -> Held {
    let mut held = taken(text, minutes);
    held.facts.read_only = false;
    held
}

fn survey(held: &[Held], marks: &[&str]) -> Survey {
    Survey { held: held.to_vec(), marks: marks.iter().map(|mark| name(mark)).collect() }
}
