use super::super::{Lines, ReplicaState, Survey, dead_marks, unheld_marks};
use super::{at, name, received, survey, taken};

const HOST: &str = "10.0.0.2";

/// A slave whose newest copy of `v` is what `survey` says, looked at when everything in it is old.
fn slave(survey: &Survey) -> ReplicaState {
    let volumes = [("v".to_owned(), Some(survey))].into();
    ReplicaState::new(at(0)).next(&volumes, &Lines::new(), 60, at(1000))
}

#[test]
fn a_mark_without_its_snapshot_is_dead() {
    let survey = survey(&[taken("v@2025-01-02", 2)], &["v@2025-01-01@h1", "v@2025-01-02@h2"]);
    assert_eq!(dead_marks(&survey), [name("v@2025-01-01@h1")]);
}

#[test]
fn a_mark_that_a_late_slave_knows_nothing_of_is_unheld() {
    let mut own = taken("v@2025-01-02", 2);
    own.facts.uuid = Some("origin-v@2025-01-02".to_owned());
    let here = survey(&[own], &["v@2025-01-02@10.0.0.2", "v@2025-01-02@10.0.0.3"]);
    let unheld = |slave: &ReplicaState, settled| unheld_marks(slave, "v", HOST, &here, at(settled));

    let empty = slave(&survey(&[], &[]));
    assert!(empty.late.contains("v"));
    assert_eq!(unheld(&empty, 3), [name("v@2025-01-02@10.0.0.2")]);
    assert!(unheld(&empty, 2).is_empty(), "it may have arrived after the slave's last word");

    let has_it = slave(&survey(&[received("v@2025-01-02", 2)], &[]));
    assert!(has_it.late.contains("v") && unheld(&has_it, 3).is_empty());

    let mut newest = received("v@2025-01-03", 3);
    newest.facts.parent_uuid = Some("own-v@2025-01-02".to_owned());
    let has_it_as_basis = slave(&survey(&[received("v@2025-01-02", 2), newest], &[]));
    assert!(unheld(&has_it_as_basis, 3).is_empty());

    let mut in_time = empty;
    in_time.late.clear();
    assert!(unheld(&in_time, 3).is_empty(), "nothing is wrong yet");
}
