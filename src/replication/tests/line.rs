use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::{Held, Line, Lines, OtherEnd, ReplicaState, Strange, Survey, worth_keeping};
use super::{at, received, survey, taken};
use crate::host::volume::{SnapshotName, Verified};
use crate::model::Role;

fn volume(uuid: &str, parent: Option<&str>) -> Verified {
    Verified {
        uuid: Some(uuid.to_owned()),
        parent_uuid: parent.map(str::to_owned),
        ..Verified::default()
    }
}

/// A snapshot that this node took of a volume.
fn taken_of(text: &str, minutes: i64, volume: &str) -> Held {
    let mut held = taken(text, minutes);
    held.facts.parent_uuid = Some(volume.to_owned());
    held
}

#[test]
fn the_first_volume_is_the_apps_own_and_its_snapshots_are_vouched_for() {
    let own = survey(&[taken_of("v@2025-01-01", 1, "V")], &[]);
    let line = Line::default();
    assert!(line.is_unsure(&own));
    let line = line.next(&own, Some(&volume("V", None)), at(2));
    assert_eq!(line.made, ["V"]);
    assert_eq!(
        (line.vouched.clone(), line.strange.clone()),
        (vec!["own-v@2025-01-01".into()], None)
    );
    assert!(!line.is_unsure(&own), "its snapshots tell");
    assert_eq!(line.next(&own, None, at(3)), line);
}

#[test]
fn a_volume_that_was_made_anew_is_strange_until_an_operator_says_otherwise() {
    let mut held = vec![taken_of("v@2025-01-01", 1, "V")];
    let line = Line::default().next(&survey(&held, &[]), Some(&volume("V", None)), at(2));
    held.push(taken_of("v@2025-01-02", 3, "W"));
    let now = survey(&held, &[]);
    assert!(line.is_unsure(&now));
    let strange = line.next(&now, Some(&volume("W", None)), at(4));
    assert_eq!(strange.strange, Some(Strange { uuid: "W".to_owned(), since: at(4) }));
    assert_eq!(strange.vouched, ["own-v@2025-01-01"]);
    assert_eq!(strange.next(&now, Some(&volume("W", None)), at(9)), strange);
    assert_eq!(strange.newest_own(&now, None), Some(&held[0]));
    // The operator deletes what is known.
    let accepted = Line::default().next(&now, Some(&volume("W", None)), at(10));
    assert_eq!((accepted.strange, accepted.vouched), (None, vec!["own-v@2025-01-02".to_owned()]));
}

#[test]
fn what_is_made_of_a_snapshot_goes_on_with_the_line() {
    let line = Line { made: vec!["V".to_owned()], ..Line::default() };
    // A new master: all that it has arrived, and its volume was made of the newest copy.
    let copies = survey(&[received("v@2025-01-01", 1), received("v@2025-01-02", 2)], &[]);
    assert!(line.is_unsure(&copies));
    let next = line.next(&copies, Some(&volume("W", Some("own-v@2025-01-02"))), at(3));
    assert_eq!(next.made, ["V", "W"]);
    assert_eq!((next.vouched, next.strange), (vec!["origin-v@2025-01-02".to_owned()], None));
    // A deployment noted what it made, whatever it was made of.
    let mut noted = line.clone();
    noted.note("X");
    assert!(noted.is_own(&volume("X", Some("gone")), &survey(&[], &[])));
    assert!(!noted.is_own(&volume("Y", Some("gone")), &survey(&[], &[])));
    assert!(noted.is_own(&Verified::default(), &survey(&[], &[])), "nothing is known of it");
}

#[test]
fn ids_of_long_ago_are_forgotten_and_the_present_one_is_not() {
    let mut line = Line::default();
    for number in 0..100 {
        line.note(&format!("V{number}"));
        line.note("V0");
    }
    assert!(line.made.len() <= 32 && line.made.contains(&"V0".to_owned()), "{line:?}");
}

#[test]
fn of_a_volume_that_was_made_anew_the_newest_copy_of_what_it_was_is_published() {
    let held = [received("v@2025-01-01", 1), received("v@2025-01-02", 2)];
    let now = survey(&held, &[]);
    let volumes = [("v".to_owned(), Some(&now))].into();
    let line = Line { vouched: vec!["origin-v@2025-01-01".to_owned()], ..Line::default() };
    let lines = Lines::from([("v".to_owned(), line.clone())]);
    let state = ReplicaState::new(at(0)).next(&volumes, &lines, 60, at(3));
    assert_eq!(
        state.volumes["v"].as_ref().unwrap().snapshot,
        "v@2025-01-02",
        "it may be all right"
    );
    assert_eq!(state.own["v"], "origin-v@2025-01-01");
    // The master no longer knows that snapshot: what was known is remembered.
    let strange = Some(Strange { uuid: "W".to_owned(), since: at(3) });
    let lines = Lines::from([("v".to_owned(), Line { strange, ..Line::default() })]);
    let state = state.next(&volumes, &lines, 60, at(4));
    let copy = state.volumes["v"].as_ref().unwrap();
    assert_eq!((copy.snapshot.as_str(), copy.taken_at), ("v@2025-01-01", at(1)));
    assert_eq!(copy.bases.len(), 2, "what the master sends counts from the newest all the same");
}

/// A node with a volume or copies of it.
#[derive(Debug, Clone, Default)]
struct Node {
    held: Vec<Held>,
    marks: BTreeSet<String>,
    kept: BTreeSet<SnapshotName>,
    said: Option<ReplicaState>,
}

impl Node {
    fn survey(&self) -> Survey {
        let marks = self.marks.iter().map(|mark| SnapshotName::parse(mark).unwrap());
        Survey { held: self.held.clone(), marks: marks.collect() }
    }

    /// The harshest purge that there is.
    fn purge(&mut self) {
        let kept = &self.kept;
        self.held.retain(|held| kept.contains(&held.name));
        let names: BTreeSet<String> = self.held.iter().map(|held| held.name.to_string()).collect();
        self.marks.retain(|mark| {
            names.contains(mark.split('@').take(2).collect::<Vec<_>>().join("@").as_str())
        });
    }
}

/// Two nodes and an app's volume on one of them, whose content is `real` as long as nobody makes it anew.
#[derive(Debug, Clone)]
struct World {
    nodes: [Node; 2],
    master: usize,
    volume: Verified,
    real: bool,
    line: Line,
    clock: i64,
    /// By the ids of snapshots, whether they hold what the app wrote, and when they were taken.
    truth: std::collections::BTreeMap<String, (bool, i64)>,
    /// When the newest true copy was taken that slave and master have looked at since.
    safe: Option<i64>,
}

impl World {
    fn new() -> Self {
        Self {
            nodes: Default::default(),
            master: 0,
            volume: volume("volume-0", None),
            real: true,
            line: Line::default(),
            clock: 0,
            truth: Default::default(),
            safe: None,
        }
    }

    fn address(node: usize) -> String {
        format!("10.0.0.{}", node + 1)
    }

    /// Takes a snapshot and sends it, as changes to whatever was sent last.
    fn replicate(&mut self) -> Held {
        self.clock += 1;
        let (clock, slave) = (self.clock, 1 - self.master);
        let time = at(clock).format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
        let mut held = taken(&format!("v@{time}"), clock);
        held.facts.created_generation = u64::try_from(clock).ok();
        held.facts.uuid = Some(format!("taken-{clock}"));
        held.facts.parent_uuid = self.volume.uuid.clone();
        self.truth.insert(format!("taken-{clock}"), (self.real, clock));
        let mut copy = held.clone();
        copy.facts.uuid = Some(format!("copy-{clock}"));
        copy.facts.received_uuid = held.facts.uuid.clone();
        let last =
            self.nodes[slave].survey().newest_copy().and_then(|copy| copy.facts.uuid.clone());
        copy.facts.parent_uuid = last;
        self.nodes[slave].held.push(copy.clone());
        let mark = format!("{}@{}", held.name, Self::address(slave));
        self.nodes[self.master].marks = [mark].into();
        self.nodes[self.master].held.push(held);
        copy
    }

    fn look_at_master(&mut self) {
        let survey = self.nodes[self.master].survey();
        let asked = self.line.is_unsure(&survey).then_some(&self.volume);
        self.line = self.line.next(&survey, asked, at(self.clock));
        let own = self.line.strange.as_ref().and_then(|_| self.line.newest_own(&survey, None));
        let other = OtherEnd::At(Self::address(1 - self.master));
        self.nodes[self.master].kept = worth_keeping(Role::Master, &other, &survey, own);
    }

    fn look_at_slave(&mut self) {
        let node = &mut self.nodes[1 - self.master];
        let survey = node.survey();
        let before = node.said.clone().unwrap_or_else(|| ReplicaState::new(at(0)));
        let own = before.newest_own("v", &survey, Some(&self.line));
        let other = OtherEnd::At(Self::address(self.master));
        node.kept = worth_keeping(Role::Replica, &other, &survey, own);
        let lines = Lines::from([("v".to_owned(), self.line.clone())]);
        node.said = Some(before.next(
            &[("v".to_owned(), Some(&survey))].into(),
            &lines,
            60,
            at(self.clock),
        ));
    }

    fn remake(&mut self) {
        self.clock += 1;
        self.volume = volume(&format!("volume-{}", self.clock), None);
        self.real = false;
    }

    /// What a deployment does: the last snapshot, its copy, a volume of that, and the roles change.
    fn swap(&mut self) {
        let copy = self.replicate();
        self.volume = volume(&format!("volume-{}", self.clock), copy.facts.uuid.as_deref());
        self.line.note(&format!("volume-{}", self.clock));
        self.master = 1 - self.master;
        self.nodes[self.master].said = None;
        self.nodes[self.master].marks =
            [format!("{}@{}", copy.name, Self::address(1 - self.master))].into();
    }

    /// When the newest true data was taken that a node has.
    fn best(&self, node: usize) -> Option<i64> {
        let ids = self.nodes[node].held.iter().filter_map(|held| held.facts.origin());
        ids.filter_map(|id| self.truth.get(id)).filter(|(real, _)| *real).map(|(_, at)| *at).max()
    }
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Replicate,
    LookMaster,
    LookSlave,
    Purge(usize),
    Remake,
    Swap,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => Just(Act::Replicate),
        4 => Just(Act::LookMaster),
        4 => Just(Act::LookSlave),
        3 => (0..2_usize).prop_map(Act::Purge),
        1 => Just(Act::Remake),
        1 => Just(Act::Swap),
    ]
}

proptest! {
    /// What the slave had of the app when both agents had looked is never given up for a copy of something else.
    #[test]
    fn no_copy_is_given_up_for_one_of_a_volume_that_was_made_anew(
        story in proptest::collection::vec(act(), 1..60)
    ) {
        let mut world = World::new();
        world.look_at_master();
        for act in story {
            match act {
                Act::Replicate => drop(world.replicate()),
                Act::LookMaster => world.look_at_master(),
                Act::LookSlave => world.look_at_slave(),
                Act::Purge(node) => world.nodes[node].purge(),
                Act::Remake => world.remake(),
                // A deployment refuses a volume that is not the app's own. The agents look when it has ended.
                Act::Swap if world.real => {
                    world.swap();
                    world.look_at_master();
                    world.look_at_slave();
                }
                Act::Swap => {}
            }
            let slave = 1 - world.master;
            if world.real && matches!(act, Act::LookSlave) {
                let survey = world.nodes[slave].survey();
                let own = world.line.newest_own(&survey, None);
                let own = own.and_then(|held| world.truth.get(held.facts.origin()?)).map(|(_, at)| *at);
                world.safe = world.safe.max(own);
            }
            prop_assert!(world.best(slave) >= world.safe, "{act:?}: {world:#?}");
        }
    }

    /// Nothing but the usual is kept for long where nobody makes a volume anew, however often the app moves.
    #[test]
    fn moves_keep_nothing_for_ever(
        moves in proptest::collection::vec(any::<bool>(), 1..40)
    ) {
        let mut world = World::new();
        world.look_at_master();
        for is_move in moves {
            if is_move {
                world.swap();
            } else {
                world.replicate();
            }
            world.look_at_master();
            world.look_at_slave();
            prop_assert!(world.line.strange.is_none(), "{world:#?}");
            world.replicate();
            world.look_at_master();
            world.look_at_slave();
            let kept = &world.nodes[1 - world.master].kept;
            prop_assert!(kept.len() <= 2, "{kept:?}: {world:#?}");
            world.nodes.iter_mut().for_each(Node::purge);
        }
    }
}
