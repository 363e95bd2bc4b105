use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;

use super::super::Sightings;
use super::{at, name, torn};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_torn_copy_is_abandoned_when_it_has_not_changed_for_long() {
    let (mut seen, start) = (Sightings::default(), Instant::now());
    let mut copy = torn("v@2025-01-01", 0);
    assert!(seen.abandoned(&[&copy], &[], PATIENCE, start).is_empty(), "seen for the first time");
    copy.facts.generation = Some(2);
    let later = start + PATIENCE;
    assert!(seen.abandoned(&[&copy], &[], PATIENCE, later).is_empty(), "it grew");
    copy.facts.uuid = Some("another".to_owned());
    let later = later + PATIENCE;
    assert!(seen.abandoned(&[&copy], &[], PATIENCE, later).is_empty(), "it was sent again");
    let later = later + PATIENCE - Duration::from_secs(1);
    assert!(seen.abandoned(&[&copy], &[], PATIENCE, later).is_empty(), "too early");
    let later = later + Duration::from_secs(1);
    assert_eq!(seen.abandoned(&[&copy], &[], PATIENCE, later), [name("v@2025-01-01")]);
    assert!(seen.abandoned(&[], &[], PATIENCE, later).is_empty());
    assert!(seen.abandoned(&[&copy], &[], PATIENCE, later).is_empty(), "it was gone in between");
}

#[test]
fn a_reception_that_was_there_before_it_may_be_its() {
    let (mut seen, start) = (Sightings::default(), Instant::now());
    let copy = torn("v@2025-01-01", 10);
    seen.abandoned(&[&copy], &[], PATIENCE, start);
    let later = start + PATIENCE * 1000;
    let mut given_up = |began| !seen.abandoned(&[&copy], &[began], PATIENCE, later).is_empty();
    assert!(!given_up(at(0)), "however long it pauses");
    assert!(!given_up(at(10)));
    assert!(!given_up(at(10) + TimeDelta::seconds(1)), "within what is rounded");
    assert!(given_up(at(11)), "one that began later belongs to another copy");

    let mut unknown = torn("v@2025-01-01", 10);
    unknown.facts.created_at = None;
    assert!(seen.abandoned(&[&unknown], &[at(11)], PATIENCE, later).is_empty());
}
