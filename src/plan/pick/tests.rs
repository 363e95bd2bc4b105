use std::collections::BTreeMap;

use proptest::option;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::*;
use crate::model::{Amount, AppRecord};
use crate::plan::{NodeFacts, RoomFacts};

const GIB: u64 = 1 << 30;

fn name(number: usize) -> NodeName {
    NodeName::parse(&format!("node{number}")).unwrap()
}

/// A node that takes apps.
fn good() -> NodeFacts {
    let half = Amount { free: 50 * GIB, total: 100 * GIB };
    let room = Some(RoomFacts { disk: half, memory: half, age: 0 });
    NodeFacts { alive: true, agent: true, room, ..NodeFacts::default() }
}

fn record(master: usize, slave: Option<usize>) -> AppRecord {
    serde_json::from_value(serde_json::json!({
        "repo_url": "git://h/app", "branch": "main", "deploy_id": "former",
        "master": name(master), "slave": slave.map(name),
    }))
    .unwrap()
}

fn facts(nodes: impl IntoIterator<Item = NodeFacts>, app: Option<AppRecord>) -> Facts {
    let nodes = nodes.into_iter().enumerate().map(|(index, node)| (name(index + 1), node));
    Facts { nodes: nodes.collect(), app, ..Facts::default() }
}

fn picked(master: Option<usize>, replica: &Wanted, facts: &Facts) -> Result<Placement, Refusal> {
    pick(master.map(name).as_ref(), replica, facts).map(|(pair, _)| pair)
}

fn pair(master: usize, replica: Option<usize>) -> Placement {
    Placement { master: name(master), replica: replica.map(name) }
}

/// What the documentation promises, told apart from how it is found.
fn takes_apps(node: &NodeFacts) -> bool {
    node.alive
        && node.agent
        && node.draining.is_none()
        && node.room.is_some_and(|room| {
            let left = |amount: Amount| amount.free >= amount.total / 10;
            room.age <= 15 * 60 && left(room.disk) && left(room.memory)
        })
}

fn node() -> impl Strategy<Value = NodeFacts> {
    let amount = || (0..=100_u64).prop_map(|free| Amount { free: free * GIB, total: 100 * GIB });
    let age = prop_oneof![9 => 0..=900_u64, 1 => 901..5000_u64];
    let room = (amount(), amount(), age);
    let room = room.prop_map(|(disk, memory, age)| RoomFacts { disk, memory, age });
    let mostly = || prop::bool::weighted(0.9);
    (mostly(), mostly(), mostly(), 0..5_u32, option::weighted(0.95, room)).prop_map(
        |(alive, agent, stays, masters, room)| {
            let draining = (!stays).then(String::new);
            NodeFacts { address: String::new(), alive, agent, draining, masters, room }
        },
    )
}

/// A cluster of up to five nodes, and an app that perhaps has a pair; one of the pair may have left the cluster.
fn cluster() -> impl Strategy<Value = Facts> {
    let pair = option::of((1..=6_usize, option::of(1..=6_usize)));
    (prop::collection::vec(node(), 1..=5), pair).prop_map(|(nodes, pair)| {
        let app =
            pair.map(|(master, slave)| record(master, slave.filter(|slave| *slave != master)));
        facts(nodes, app)
    })
}

fn wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![
        3 => Just(Wanted::Unsaid),
        1 => Just(Wanted::Nobody),
        1 => (1..=6_usize).prop_map(|number| Wanted::Node(name(number))),
    ]
}

fn request() -> impl Strategy<Value = (Option<NodeName>, Wanted)> {
    let request = (option::weighted(0.3, (1..=6_usize).prop_map(name)), wanted());
    // The decoder refuses an event that names a node twice.
    request
        .prop_filter("twice", |(master, slave)| master.is_none() || master.as_ref() != slave.node())
}

proptest! {
    #[test]
    fn what_is_picked_takes_apps_and_what_is_named_is_obeyed(facts in cluster(), (master, replica) in request()) {
        let takes = |name: &NodeName| facts.nodes.get(name).is_some_and(takes_apps);
        let others = |taken: Option<&NodeName>| facts.nodes.keys().any(|name| takes(name) && Some(name) != taken);
        match pick(master.as_ref(), &replica, &facts) {
            Err(refusal) => {
                prop_assert!(master.is_none() && !others(replica.node()), "{refusal}");
                for name in facts.nodes.keys() {
                    prop_assert!(refusal.to_string().contains(name.as_str()), "{refusal}");
                }
            }
            Ok((pair, choice)) => {
                prop_assert_ne!(Some(&pair.master), pair.replica.as_ref());
                prop_assert!(Some(&pair.master) == master.as_ref() || master.is_none() && takes(&pair.master));
                match &replica {
                    Wanted::Node(name) => prop_assert_eq!(pair.replica.as_ref(), Some(name)),
                    Wanted::Nobody => prop_assert_eq!(pair.replica.as_ref(), None),
                    Wanted::Unsaid => {
                        let had = facts.app.as_ref().is_some_and(|app| app.slave.is_some());
                        let wants = master.is_none() || had;
                        prop_assert_eq!(pair.replica.is_some(), wants && others(Some(&pair.master)));
                        prop_assert!(pair.replica.as_ref().is_none_or(takes));
                        prop_assert!(!had || pair.replica.is_some() || choice.warnings.iter().any(|w| w.contains("lost its slave: node")));
                    }
                }
                let open = master.is_none() || replica == Wanted::Unsaid;
                prop_assert_eq!(choice.reason.is_some(), open);
                for name in pair.nodes().filter(|_| open) {
                    prop_assert!(choice.reason.as_ref().is_some_and(|reason| reason.contains(name.as_str())));
                }
            }
        }
    }

    #[test]
    fn who_has_the_data_is_preferred(facts in cluster()) {
        let Some(app) = &facts.app else { return Ok(()) };
        let takes = |name: &NodeName| facts.nodes.get(name).is_some_and(takes_apps);
        let (old, none) = (app.placement(), Wanted::Nobody);
        let master_only = pick(None, &none, &facts).ok().map(|(pair, _)| pair.master);
        if takes(&old.master) {
            prop_assert_eq!(master_only, Some(old.master.clone()));
        } else if let Some(slave) = old.replica.as_ref().filter(|slave| takes(slave)) {
            prop_assert_eq!(master_only.as_ref(), Some(slave));
        }
        let open = pick(None, &Wanted::Unsaid, &facts).ok().map(|(pair, _)| pair);
        if let Some(slave) = old.replica.as_ref().filter(|slave| takes(slave)) {
            prop_assert_eq!(open.as_ref().map(|pair| &pair.master), Some(slave));
            if takes(&old.master) {
                let swapped = Placement { master: slave.clone(), replica: Some(old.master.clone()) };
                prop_assert_eq!(open, Some(swapped));
            }
            let (same, _) = pick(Some(&old.master), &Wanted::Unsaid, &facts).unwrap();
            prop_assert_eq!(same, old);
        } else if takes(&old.master) {
            prop_assert_eq!(open.map(|pair| pair.master), Some(old.master));
        }
    }

    /// Less of anything is never taken before more of everything.
    #[test]
    fn a_new_app_goes_where_no_other_node_has_more_room(nodes in prop::collection::vec(node(), 1..=6)) {
        let facts = facts(nodes, None);
        let Ok(pair) = picked(None, &Wanted::Unsaid, &facts) else { return Ok(()) };
        let mut ranks: Vec<&NodeName> = pair.nodes().collect();
        ranks.extend(facts.nodes.keys().filter(|name| !pair.nodes().any(|node| node == *name)));
        for (rank, taken) in ranks.iter().enumerate().take(pair.nodes().count()) {
            let taken = &facts.nodes[*taken];
            for other in ranks.iter().skip(rank).map(|name| &facts.nodes[*name]).filter(|node| takes_apps(node)) {
                let (here, there) = (taken.room.unwrap(), other.room.unwrap());
                let more = there.disk.free > here.disk.free && there.memory.free > here.memory.free;
                prop_assert!(!(more && other.masters <= taken.masters), "{taken:?} before {other:?}");
            }
        }
    }

    #[test]
    fn nodes_that_take_no_apps_and_the_order_of_things_make_no_difference(
        facts in cluster(),
        (master, replica) in request(),
        keys in Just((1..=5_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let before = pick(master.as_ref(), &replica, &facts).ok();
        let order = keys.iter().map(|number| name(*number));
        let shuffled = order.filter_map(|name| Some((name.clone(), facts.nodes.get(&name)?.clone())));
        let shuffled = Facts { nodes: shuffled.collect(), ..facts.clone() };
        prop_assert_eq!(&pick(master.as_ref(), &replica, &shuffled).ok(), &before);
        let useful = |name: &NodeName, node: &NodeFacts| takes_apps(node) || master.as_ref() == Some(name) || replica.node() == Some(name);
        let nodes = facts.nodes.iter().filter(|(name, node)| useful(name, node));
        let nodes: BTreeMap<_, _> = nodes.map(|(name, node)| (name.clone(), node.clone())).collect();
        let fewer = pick(master.as_ref(), &replica, &Facts { nodes, ..facts.clone() }).ok();
        prop_assert_eq!(fewer.map(|(pair, _)| pair), before.map(|(pair, _)| pair));
    }

    #[test]
    fn apps_spread_over_equal_nodes(nodes in 1..=7_usize, apps in 0..=60_usize) {
        let mut cluster = facts(vec![good(); nodes], None);
        for _ in 0..apps {
            let pair = picked(None, &Wanted::Unsaid, &cluster).unwrap();
            prop_assert_eq!(pair.replica.is_some(), nodes > 1);
            cluster.nodes.get_mut(&pair.master).unwrap().masters += 1;
        }
        let masters: Vec<usize> = cluster.nodes.values().map(|node| node.masters as usize).collect();
        prop_assert_eq!(masters.iter().sum::<usize>(), apps);
        prop_assert!(masters.iter().all(|masters| (apps / nodes..=apps.div_ceil(nodes)).contains(masters)), "{masters:?}");
    }

    /// Apps come and are deployed again, nodes drain, fill up and die.
    #[test]
    fn through_any_history_apps_are_only_put_where_they_can_be(
        events in prop::collection::vec((0..4_usize, request()), 1..40),
        changes in prop::collection::vec((1..=4_usize, node()), 40),
        restful in subsequence((0..40_usize).collect::<Vec<_>>(), 30),
    ) {
        let mut nodes: Vec<NodeFacts> = vec![good(); 4];
        let mut apps: BTreeMap<usize, Placement> = BTreeMap::new();
        for (turn, (app, (master, replica))) in events.into_iter().enumerate() {
            let (changed, state) = &changes[turn];
            if !restful.contains(&turn) {
                nodes[changed - 1] = state.clone();
            }
            let others = |node: &NodeName| apps.iter().filter(|(other, pair)| **other != app && pair.master == *node).count();
            let mut facts = facts(nodes.clone(), None);
            for (name, node) in &mut facts.nodes {
                node.masters = u32::try_from(others(name)).unwrap();
            }
            facts.app = apps.get(&app).map(|pair| {
                let value = serde_json::json!({"repo_url": "git://h/app", "branch": "main", "deploy_id": "x", "master": pair.master, "slave": pair.replica});
                serde_json::from_value(value).unwrap()
            });
            let Ok((pair, _)) = pick(master.as_ref(), &replica, &facts) else { continue };
            let named = |name: &NodeName| master.as_ref() == Some(name) || replica.node() == Some(name);
            for name in pair.nodes() {
                prop_assert!(named(name) || takes_apps(&facts.nodes[name]), "{name}");
            }
            prop_assert_ne!(Some(&pair.master), pair.replica.as_ref());
            apps.insert(app, pair);
        }
    }
}

#[test]
fn thirty_apps_on_three_equal_nodes_are_ten_each_as_masters_and_as_slaves() {
    let mut cluster = facts(vec![good(); 3], None);
    let mut slaves = BTreeMap::new();
    for _ in 0..30 {
        let pair = picked(None, &Wanted::Unsaid, &cluster).unwrap();
        cluster.nodes.get_mut(&pair.master).unwrap().masters += 1;
        *slaves.entry(pair.replica.unwrap()).or_insert(0) += 1;
    }
    assert!(cluster.nodes.values().all(|node| node.masters == 10), "{:?}", cluster.nodes);
    assert_eq!(slaves, [1, 2, 3].map(|number| (name(number), 10)).into());
}

#[test]
fn a_node_twice_as_large_gets_more_and_not_all() {
    let mut cluster = facts(vec![good(); 2], None);
    let large = cluster.nodes.get_mut(&name(1)).unwrap();
    large.room = large.room.map(|room| RoomFacts {
        disk: Amount { free: 100 * GIB, total: 200 * GIB },
        memory: Amount { free: 100 * GIB, total: 200 * GIB },
        ..room
    });
    for _ in 0..30 {
        let pair = picked(None, &Wanted::Nobody, &cluster).unwrap();
        cluster.nodes.get_mut(&pair.master).unwrap().masters += 1;
    }
    let masters: Vec<u32> = cluster.nodes.values().map(|node| node.masters).collect();
    assert_eq!(masters, [24, 6]);
}

/// The table in [`pick`]'s documentation, on four nodes of which the first two are the pair.
#[test]
fn the_table_holds() {
    let node = |number| Wanted::Node(name(number));
    let (open, none) = (&Wanted::Unsaid, &Wanted::Nobody);
    let with = |app| facts(vec![good(); 4], app);
    let (paired, alone, new) =
        (with(Some(record(1, Some(2)))), with(Some(record(2, None))), with(None));
    for (master, replica, facts, expected) in [
        (None, open, &paired, pair(2, Some(1))),
        (None, open, &alone, pair(2, Some(1))),
        (None, open, &new, pair(1, Some(2))),
        (None, none, &paired, pair(1, None)),
        (None, none, &alone, pair(2, None)),
        (None, none, &new, pair(1, None)),
        (None, &node(3), &paired, pair(1, Some(3))),
        (None, &node(1), &paired, pair(2, Some(1))),
        (None, &node(3), &alone, pair(2, Some(3))),
        (None, &node(2), &alone, pair(1, Some(2))),
        (None, &node(1), &new, pair(2, Some(1))),
        (Some(1), open, &paired, pair(1, Some(2))),
        (Some(2), open, &paired, pair(2, Some(1))),
        (Some(3), open, &paired, pair(3, Some(2))),
        (Some(2), open, &alone, pair(2, None)),
        (Some(3), open, &alone, pair(3, None)),
        (Some(3), open, &new, pair(3, None)),
        (Some(3), none, &paired, pair(3, None)),
        (Some(3), &node(4), &paired, pair(3, Some(4))),
    ] {
        assert_eq!(picked(master, replica, facts).unwrap(), expected, "{master:?} {replica:?}");
    }
}

#[test]
fn who_is_unfit_is_replaced() {
    let unfit = |unfit: &[usize], app| {
        let mut facts = facts(vec![good(); 4], Some(app));
        for number in unfit {
            facts.nodes.get_mut(&name(*number)).unwrap().draining = Some(String::new());
        }
        facts
    };
    let open = &Wanted::Unsaid;
    for (gone, master, expected) in [
        (vec![1], None, pair(2, Some(3))),
        (vec![2], None, pair(1, Some(3))),
        (vec![1, 2], None, pair(3, Some(4))),
        (vec![1, 3, 4], None, pair(2, None)),
        (vec![2], Some(1), pair(1, Some(3))),
        (vec![2], Some(3), pair(3, Some(1))),
        (vec![2, 3, 4], Some(1), pair(1, None)),
    ] {
        let facts = unfit(&gone, record(1, Some(2)));
        assert_eq!(picked(master, open, &facts).unwrap(), expected, "{gone:?} {master:?}");
    }
    let alone = unfit(&[1], record(1, None));
    assert_eq!(picked(None, open, &alone).unwrap(), pair(2, Some(3)));
}

#[test]
fn each_reason_is_told() {
    let room = good().room.unwrap();
    let with = |room| NodeFacts { room: Some(room), ..good() };
    let little = Amount { free: GIB, total: 11 * GIB };
    let nodes = [
        NodeFacts { alive: false, ..good() },
        NodeFacts { agent: false, ..good() },
        NodeFacts { draining: Some("new disk".to_owned()), ..good() },
        NodeFacts { room: None, ..good() },
        with(RoomFacts { age: 1200, ..room }),
        with(RoomFacts { disk: little, ..room }),
        with(RoomFacts { memory: little, ..room }),
        good(),
    ];
    let refusal = picked(None, &Wanted::Node(name(8)), &facts(nodes, None)).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "no node can be picked as the master: node8 is to be the slave, node1 is not alive, node2 has no agent that \
         runs, node3 is draining (new disk), node4 does not say how much room it has (its agent's log says why), node5 \
         has not said for 20 min how much room it has, node6 is too full: 1 GiB (9 %) of its disk free, node7 has too \
         little memory: 1 GiB (9 %) free; one that is named is taken all the same"
    );
}

#[test]
fn a_named_node_that_drains_or_is_full_is_obeyed_with_a_warning() {
    let mut facts = facts(vec![good(); 2], None);
    facts.nodes.get_mut(&name(1)).unwrap().draining = Some(String::new());
    let (pair, choice) = pick(Some(&name(1)), &Wanted::Node(name(2)), &facts).unwrap();
    assert_eq!(pair, super::tests::pair(1, Some(2)));
    assert_eq!(choice.reason, None);
    assert_eq!(choice.warnings, ["node1 is draining, and is named all the same"]);
}

#[test]
fn a_choice_says_why() {
    let (_, choice) = pick(None, &Wanted::Unsaid, &facts(vec![good(); 2], None)).unwrap();
    assert_eq!(
        choice.reason.unwrap(),
        "master node1 (most room: disk 50 GiB (50 %), memory 50 GiB (50 %), master of 0), slave node2 (most room of the \
         others: disk 50 GiB (50 %), memory 50 GiB (50 %), master of 0)"
    );
    let mut swapped = facts(vec![good(); 3], Some(record(1, Some(2))));
    swapped.nodes.get_mut(&name(3)).unwrap().agent = false;
    let (_, choice) = pick(None, &Wanted::Unsaid, &swapped).unwrap();
    assert_eq!(
        choice.reason.unwrap(),
        "master node2 (was the slave), slave node1 (was the master)"
    );
    swapped.nodes.get_mut(&name(2)).unwrap().draining = Some(String::new());
    let (_, choice) = pick(None, &Wanted::Unsaid, &swapped).unwrap();
    assert_eq!(
        choice.reason.unwrap(),
        "master node1 (stays), no slave (no other node can be it); passed over: node2 is draining, node3 has no agent \
         that runs"
    );
    let (_, choice) = pick(Some(&name(1)), &Wanted::Unsaid, &facts([good()], None)).unwrap();
    assert_eq!(
        choice.reason.unwrap(),
        "master node1 (named), no slave (none is named and the app has none)"
    );
    let (_, choice) =
        pick(None, &Wanted::Unsaid, &facts([good()], Some(record(1, Some(2))))).unwrap();
    assert_eq!(
        choice.reason.unwrap(),
        "master node1 (stays), no slave (no other node can be it); passed over: node2 has left the cluster"
    );
    assert_eq!(choice.warnings, ["the app has lost its slave: node2 has left the cluster"]);
}
