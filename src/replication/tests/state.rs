use chrono::TimeDelta;
use proptest::prelude::*;

use super::super::{Lines, ReplicaState, Standing, Survey, age};
use super::{at, received, survey, taken, torn};

/// A slave since minute 0, with a period of an hour, after a look at `v`.
fn looked_at(survey: &Survey, minute: i64) -> ReplicaState {
    let volumes = [("v".to_owned(), Some(survey))].into();
    ReplicaState::new(at(0)).next(&volumes, &Lines::new(), 60, at(minute))
}

#[test]
fn the_newest_whole_copy_is_published_and_torn_or_own_ones_are_not() {
    let held = [received("v@2025-01-01", 1), torn("v@2025-01-02", 2), taken("v@2025-01-03", 3)];
    let state = looked_at(&survey(&held, &[]), 5);
    let copy = state.volumes["v"].as_ref().unwrap();
    assert_eq!(
        (copy.snapshot.as_str(), copy.origin.as_str()),
        ("v@2025-01-01", "origin-v@2025-01-01")
    );
    assert_eq!((copy.taken_at, copy.verified_at), (at(1), at(5)));
    assert_eq!(state.worst(at(5)), Standing::Fresh);

    let state = looked_at(&survey(&held[1..], &[]), 5);
    assert_eq!(state.volumes["v"], None);
    assert_eq!((state.worst(at(120)), state.worst(at(121))), (Standing::Waiting, Standing::Late));
}

#[test]
fn an_unchanged_replica_has_an_unchanged_state() {
    let survey = survey(&[received("v@2025-01-01", 1)], &[]);
    let first = looked_at(&survey, 2);
    let again = first.next(&[("v".to_owned(), Some(&survey))].into(), &Lines::new(), 60, at(90));
    assert_eq!(again, first);
    assert_eq!(first.describe(at(2)), first.describe(at(90)));
}

#[test]
fn what_can_not_be_looked_at_grows_old_all_the_same() {
    let first = looked_at(&survey(&[received("v@2025-01-01", 1)], &[]), 2);
    let unseen = [("v".to_owned(), None)].into();
    let later = first.next(&unseen, &Lines::new(), 60, at(121));
    assert_eq!((later.volumes.clone(), later.late.len()), (first.volumes.clone(), 0));
    let late = first.next(&unseen, &Lines::new(), 60, at(122));
    assert!(late.late.contains("v"));
    let text = late.describe(at(122));
    assert!(text.contains("v: the newest verified copy is 2 h 1 min old"), "{text}");
    assert!(text.contains("the period of 60 min"), "{text}");
}

#[test]
fn a_copy_from_before_the_deployment_counts_while_it_is_young_and_excuses_nothing() {
    let old = survey(&[received("v@2025-01-01", -30)], &[]);
    let state = looked_at(&old, 1);
    assert_eq!(state.worst(at(90)), Standing::Fresh);
    assert_eq!(state.worst(at(91)), Standing::Waiting);
    assert_eq!(state.worst(at(121)), Standing::Late);
}

#[test]
fn a_volume_that_the_app_lost_is_forgotten_and_the_worst_counts() {
    let survey = survey(&[received("v@2025-01-01", 1)], &[]);
    let state =
        looked_at(&survey, 1).next(&[("w".to_owned(), None)].into(), &Lines::new(), 60, at(200));
    assert_eq!(state.volumes.keys().collect::<Vec<_>>(), ["w"]);
    assert_eq!((state.worst(at(200)), state.taken_at()), (Standing::Late, None));
    let none = state.next(&[].into(), &Lines::new(), 60, at(200));
    assert_eq!((none.worst(at(200)), none.taken_at()), (Standing::Fresh, None));
}

#[test]
fn the_state_reads_back_as_written() {
    let state = looked_at(&survey(&[received("v@2025-01-01", 1)], &[]), 1);
    let text = serde_json::to_string(&state).unwrap();
    assert!(text.contains(r#""taken_at":"2025-06-15T"#), "{text}");
    assert_eq!(serde_json::from_str::<ReplicaState>(&text).unwrap(), state);
}

#[test]
fn an_age_has_two_units_at_most() {
    let text = |minutes| age(TimeDelta::minutes(minutes));
    assert_eq!([text(-5), text(0), text(59)], ["0 min", "0 min", "59 min"]);
    assert_eq!([text(60), text(125), text(1440)], ["1 h 0 min", "2 h 5 min", "1 d 0 h"]);
}

proptest! {
    /// Once late, only a new copy helps.
    #[test]
    fn time_alone_never_makes_a_replica_better(
        taken in proptest::option::of(-10_000..10_000_i64), period in 1..2000_u32,
        early in 0..10_000_i64, more in 0..10_000_i64,
    ) {
        // A time that is to come is another problem, and ends when it has come.
        let taken = taken.map(|minute: i64| minute.min(early));
        let held: Vec<_> = taken.map(|minute| received("v@2025-01-01", minute)).into_iter().collect();
        let found = survey(&held, &[]);
        let state =
            ReplicaState::new(at(0)).next(&[("v".to_owned(), Some(&found))].into(), &Lines::new(), period, at(early));
        prop_assert!(state.worst(at(early)) <= state.worst(at(early + more)));
        prop_assert_eq!(state.late.is_empty(), state.worst(at(early)) != Standing::Late);
    }
}

/// A node whose clock was a year ahead for a while has a copy of then: what arrived since is newer all the same.
#[test]
fn what_the_file_system_counts_is_the_order_whatever_the_clock_said() {
    let year = 365 * 24 * 60;
    let counted = |mut held: super::Held, generation| {
        held.facts.created_generation = Some(generation);
        held.facts.received_generation = Some(generation + 1);
        held
    };
    let (ahead, right) = (counted(received("v@1", year), 10), counted(received("v@2", 5), 20));
    let survey = survey(&[ahead.clone(), right.clone()], &[]);
    assert_eq!(survey.newest_copy(), Some(&right));
    // A snapshot of a copy is no newer than the copy, however late it was taken.
    let mut of_it = counted(received("v@3", 6), 30);
    of_it.facts.received_generation = ahead.facts.received_generation;
    let survey = super::survey(&[of_it, right.clone()], &[]);
    assert_eq!(survey.newest_copy(), Some(&right));
}

#[test]
fn a_time_to_come_is_a_problem_and_no_youth() {
    let ahead = survey(&[received("v@1", 365 * 24 * 60)], &[]);
    let volumes = [("v".to_owned(), Some(&ahead))].into();
    let state = ReplicaState::new(at(0)).next(&volumes, &Lines::new(), 60, at(10));
    assert_eq!(state.standing("v", at(10)), Standing::Late);
    assert!(state.describe_volume("v", at(10)).contains("a clock is or was wrong"));
    let little = survey(&[received("v@1", 12)], &[]);
    let volumes = [("v".to_owned(), Some(&little))].into();
    let state = ReplicaState::new(at(0)).next(&volumes, &Lines::new(), 60, at(10));
    assert_eq!(state.standing("v", at(10)), Standing::Fresh, "clocks differ a little");
}
