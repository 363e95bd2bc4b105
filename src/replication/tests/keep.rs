use super::super::{OtherEnd, worth_keeping};
use super::{name, received, survey, taken, torn};
use crate::host::volume::SnapshotName;
use crate::model::Role;

fn at(address: &str) -> OtherEnd {
    OtherEnd::At(address.to_owned())
}

fn names(texts: &[&str]) -> std::collections::BTreeSet<SnapshotName> {
    texts.iter().map(|text| name(text)).collect()
}

#[test]
fn a_master_keeps_what_its_slave_has_last() {
    let held = [taken("v@2025-01-01", 1), taken("v@2025-01-02", 2), taken("v@2025-01-03", 3)];
    let survey = survey(&held, &["v@2025-01-02@10.0.0.2", "v@2025-01-01@10.0.0.3"]);
    assert_eq!(
        worth_keeping(Role::Master, &at("10.0.0.2"), &survey, None),
        names(&["v@2025-01-02"])
    );
    let both = names(&["v@2025-01-01", "v@2025-01-02"]);
    assert_eq!(worth_keeping(Role::Master, &OtherEnd::Unknown, &survey, None), both);
    assert!(worth_keeping(Role::Master, &OtherEnd::None, &survey, None).is_empty());
    assert!(worth_keeping(Role::Bystander, &OtherEnd::Unknown, &survey, None).is_empty());
}

#[test]
fn a_master_that_was_the_slave_keeps_what_it_received_last() {
    let held = [received("v@2025-01-01", 1), received("v@2025-01-02", 2), taken("v@2025-01-03", 3)];
    let before = survey(&held, &["v@2025-01-01@10.0.0.9"]);
    assert_eq!(
        worth_keeping(Role::Master, &at("10.0.0.2"), &before, None),
        names(&["v@2025-01-02"])
    );
    let after = survey(&held, &["v@2025-01-03@10.0.0.2"]);
    assert_eq!(
        worth_keeping(Role::Master, &at("10.0.0.2"), &after, None),
        names(&["v@2025-01-03"])
    );
}

#[test]
fn a_slave_keeps_its_newest_copy_and_what_that_one_came_from() {
    let mut newest = received("v@2025-01-03", 3);
    newest.facts.parent_uuid = Some("own-v@2025-01-01".to_owned());
    let held =
        [received("v@2025-01-01", 1), received("v@2025-01-02", 2), newest, torn("v@2025-01-04", 4)];
    let both = names(&["v@2025-01-01", "v@2025-01-03"]);
    assert_eq!(worth_keeping(Role::Replica, &at("10.0.0.1"), &survey(&held, &[]), None), both);
}

#[test]
fn the_newest_is_what_arrived_last_whatever_its_name_says() {
    let held = [received("v@2025-10-26T02:50:00.0", 1), received("v@2025-10-26T02:10:00.0", 2)];
    assert_eq!(survey(&held, &[]).newest_copy(), Some(&held[1]));

    let mut snapshot_of_the_first = received("v@2025-12-31", 3);
    snapshot_of_the_first.facts.received_at = held[0].facts.created_at;
    let held = [held, [snapshot_of_the_first.clone(), snapshot_of_the_first]].concat();
    assert_eq!(survey(&held, &[]).newest_copy(), Some(&held[1]));
}

#[test]
fn a_slave_that_was_the_master_keeps_what_it_sent_last_until_a_copy_arrives() {
    let mut held = vec![received("v@2025-01-01", 1), taken("v@2025-01-02", 2)];
    let marks = ["v@2025-01-02@10.0.0.1"];
    let both = names(&["v@2025-01-01", "v@2025-01-02"]);
    assert_eq!(worth_keeping(Role::Replica, &at("10.0.0.1"), &survey(&held, &marks), None), both);
    held.push(received("v@2025-01-03", 3));
    let last = names(&["v@2025-01-03"]);
    assert_eq!(worth_keeping(Role::Replica, &at("10.0.0.1"), &survey(&held, &marks), None), last);
}
