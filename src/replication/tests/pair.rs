//! A master and a slave, buttervolume's sends and purges between them, and outages of any length.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{Held, OtherEnd, Survey, worth_keeping};
use super::at;
use super::purge::purged;
use crate::host::volume::{SnapshotName, Verified};
use crate::model::Role;

const SLAVE: &str = "10.0.0.2";
const MASTER: &str = "10.0.0.1";

/// The snapshots of one node by the names that they have on the disk.
#[derive(Debug, Default)]
struct End(BTreeMap<String, Verified>);

impl End {
    fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        for (file, facts) in &self.0 {
            let name = SnapshotName::parse(file).unwrap();
            match name.sent_to() {
                Some(_) => survey.marks.push(name),
                None => survey.held.push(Held { name, facts: facts.clone() }),
            }
        }
        survey
    }

    /// What an agent does at each look.
    fn look(&mut self, role: Role, other: &str) {
        let kept = worth_keeping(role, &OtherEnd::At(other.to_owned()), &self.survey(), None);
        let renamed = std::mem::take(&mut self.0).into_iter().map(|(file, facts)| {
            let name = SnapshotName::parse(&file).unwrap();
            let file =
                if kept.contains(&name.unmarked()) { on_disk(&name) } else { name.to_string() };
            (file, facts)
        });
        self.0 = renamed.collect();
    }

    fn purge(&mut self, pattern: &[i64], minute: i64) {
        let files: Vec<_> = self.0.keys().cloned().collect();
        for file in purged(&files, pattern, at(minute)) {
            self.0.remove(&file);
        }
    }
}

fn on_disk(name: &SnapshotName) -> String {
    let host = name.sent_to().map(|host| format!("@{host}")).unwrap_or_default();
    format!("{}-kept{host}", name.unmarked())
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Good,
    /// It arrived, and the master never heard of it.
    Unheard,
    Torn,
}

#[derive(Debug, Default)]
struct Pair {
    master: End,
    slave: End,
    minute: i64,
    /// The newest data that the slave has had whole.
    best: Option<String>,
}

impl Pair {
    /// What buttervolume does for `replicate:SLAVE`; whether the slave could take it.
    fn replicate(&mut self, outcome: Outcome) -> bool {
        self.minute += 1;
        let minute = self.minute;
        let file = format!("v@{}", at(minute).format("%Y-%m-%dT%H:%M:%S%.6f"));
        let taken = Verified {
            read_only: true,
            uuid: Some(format!("m{minute}")),
            created_at: Some(at(minute)),
            ..Verified::default()
        };
        self.master.0.insert(file.clone(), taken.clone());
        let marks: Vec<_> =
            self.master.0.keys().filter(|file| file.ends_with(SLAVE)).cloned().collect();
        let parent = match marks.last().map(|mark| mark.trim_end_matches(&format!("@{SLAVE}"))) {
            None => None,
            Some(parent) => {
                let Some(sent) = self.master.0.get(parent) else { return false };
                let there = self.slave.0.values().find(|facts| facts.received_uuid == sent.uuid);
                let Some(there) = there else { return false };
                there.uuid.clone()
            }
        };
        let torn = matches!(outcome, Outcome::Torn);
        let arrived = Verified {
            read_only: !torn,
            uuid: Some(format!("s{minute}")),
            parent_uuid: parent,
            received_uuid: if torn { None } else { taken.uuid.clone() },
            created_at: Some(at(minute)),
            ..Verified::default()
        };
        if !torn {
            self.best.clone_from(&arrived.received_uuid);
        }
        self.slave.0.insert(file.clone(), arrived);
        if matches!(outcome, Outcome::Good) {
            self.master.0.insert(format!("{file}@{SLAVE}"), taken);
            for mark in marks {
                self.master.0.remove(&mark);
            }
        }
        true
    }

    fn look(&mut self) {
        self.master.look(Role::Master, SLAVE);
        self.slave.look(Role::Replica, MASTER);
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![4 => Just(Outcome::Good), 2 => Just(Outcome::Unheard), 1 => Just(Outcome::Torn)]
}

/// Purges at either end, each after so many minutes, by patterns of any kind.
fn outage() -> impl Strategy<Value = Vec<(bool, i64, Vec<i64>)>> {
    let pattern = proptest::collection::vec(prop_oneof![2..10_i64, 60..600_000_i64], 2..6);
    proptest::collection::vec((any::<bool>(), 0..1_000_000_i64, pattern), 0..6)
}

proptest! {
    /// While the ends don't reach each other nobody looks either: agents may be dead. What was seen before is enough.
    #[test]
    fn no_purge_in_an_outage_costs_the_common_snapshot_or_the_newest_copy(
        story in proptest::collection::vec((outcome(), outage()), 1..12)
    ) {
        let mut pair = Pair::default();
        for (outcome, outage) in story {
            prop_assert!(pair.replicate(outcome), "replication is stuck: {pair:?}");
            pair.look();
            for (at_master, minutes, pattern) in outage {
                pair.minute += minutes;
                let end = if at_master { &mut pair.master } else { &mut pair.slave };
                end.purge(&pattern, pair.minute);
            }
            let best = pair.best.clone();
            let there = pair.slave.0.values().any(|facts| facts.received_uuid == best);
            prop_assert!(best.is_none() || there, "the newest copy is gone: {pair:?}");
        }
    }
}

#[test]
fn without_the_looks_an_outage_stops_replication_for_good() {
    let mut pair = Pair::default();
    assert!(pair.replicate(Outcome::Good) && pair.replicate(Outcome::Good));
    pair.minute += 100;
    pair.slave.purge(&[60, 90], pair.minute);
    assert!(!pair.replicate(Outcome::Good) && !pair.replicate(Outcome::Good));
}
