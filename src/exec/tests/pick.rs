//! Pairs that events leave open: the facts that they are picked from, and the choice written down.

use std::collections::BTreeMap;

use super::apps::{deploy, id, node};
use super::lab::{Lab, Node};
use crate::consul::kv::Kv;
use crate::consul::txn::{Txn, TxnOp};
use crate::exec::{Acceptance, accept, gather};
use crate::model::deployment::{Deployment, State};
use crate::model::{Amount, AppId, Branch, NodeName, Placement, Repo, Request, Wanted, keys};
use crate::records::{NodeInfo, Room};

const HALF: Amount = Amount { free: 1 << 39, total: 1 << 40 };

impl Node {
    /// Says how much room the node has, as its agent does.
    async fn tell(&self, disk: Amount, at: chrono::DateTime<chrono::Utc>) {
        let room = Room {
            epoch: 1,
            at: at.to_rfc3339(),
            disk,
            memory: HALF,
            listening: Default::default(),
        };
        let info = NodeInfo {
            version: "1".to_owned(),
            address: self.context().address.clone(),
            since: String::new(),
            failing: None,
            problems: Vec::new(),
            room: Some(room),
            machine: None,
            strays: Default::default(),
        };
        let (key, session) = (keys::node(&self.name), self.session());
        let lock = TxnOp::Lock { key, value: serde_json::to_vec(&info).unwrap(), session };
        let told = self.kv.transact(vec![lock]).await.unwrap();
        assert!(matches!(told, Txn::Committed(_)), "{told:?}");
    }
}

/// Three nodes with the same room.
async fn equal() -> Lab {
    let lab = Lab::new().await;
    for node in &lab.nodes {
        node.tell(HALF, chrono::Utc::now()).await;
    }
    lab
}

fn app(number: u32) -> AppId {
    AppId {
        repo: Repo::parse(&format!("https://git.example/app{number}")).unwrap(),
        branch: Branch::parse("main").unwrap(),
    }
}

fn open(app: AppId) -> Request {
    Request::Deploy {
        app,
        master: None,
        replica: Wanted::Unsaid,
        update: false,
        from_replica: false,
    }
}

/// Takes in the nth event, about an app of its own that leaves the pair open, and reads the record.
async fn picked(lab: &Lab, number: u32) -> Deployment {
    accept(&lab.node(1).context(), &id(number), &open(app(number))).await.unwrap();
    let key = keys::deployment(&app(number).name(), &id(number));
    serde_json::from_str(&lab.value(&key).await.unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn events_that_come_together_are_spread_before_any_of_them_is_committed() {
    let lab = equal().await;
    let mut masters: BTreeMap<NodeName, usize> = BTreeMap::new();
    for number in 1..=30 {
        let record = picked(&lab, number).await;
        assert_eq!(record.state, State::Running, "{record:?}");
        *masters.entry(record.placement.unwrap().master).or_default() += 1;
    }
    assert_eq!(masters, [1, 2, 3].map(|number| (node(number), 10)).into());
}

#[tokio::test(start_paused = true)]
async fn the_choice_of_the_first_is_everyones() {
    let lab = equal().await;
    let request = open(super::apps::app());
    let (first, second) = (lab.node(1).context(), lab.node(2).context());
    assert_eq!(
        accept(&first, &id(1), &request).await.unwrap(),
        Acceptance::Accepted(State::Running)
    );
    let record = lab.record(&id(1)).await;
    let pair = Placement { master: node(1), replica: Some(node(2)) };
    assert_eq!(record.placement, Some(pair.clone()));
    assert!(record.choice.unwrap().starts_with("master node1 (most room: disk 512 GiB (50 %), "));
    // What is true a moment later changes nothing.
    lab.node(1).tell(Amount { free: 0, ..HALF }, chrono::Utc::now()).await;
    assert_eq!(accept(&second, &id(1), &request).await.unwrap(), Acceptance::Known);
    assert_eq!(lab.work(&id(1)).await, State::Completed);
    assert_eq!(lab.entry().await.unwrap().placement(), pair);
    lab.assert_idle("picked").await;
}

#[tokio::test(start_paused = true)]
async fn nodes_that_drain_are_full_or_silent_are_passed_over() {
    let lab = equal().await;
    let op = TxnOp::Set { key: keys::draining(&node(1)), value: b"new\ndisk".to_vec() };
    lab.consul.transact(vec![op]).await.unwrap();
    let record = picked(&lab, 1).await;
    assert_eq!(record.placement, Some(Placement { master: node(2), replica: Some(node(3)) }));
    assert!(record.choice.unwrap().ends_with("; passed over: node1 is draining (new disk)"));
    lab.node(3).end_session();
    let record = picked(&lab, 2).await;
    assert_eq!(record.placement, Some(Placement { master: node(2), replica: None }));
    let old = chrono::Utc::now() - chrono::TimeDelta::hours(1);
    lab.node(2).tell(HALF, old).await;
    let record = picked(&lab, 3).await;
    assert_eq!(record.state, State::Refused);
    let reason = record.reason.unwrap();
    assert!(
        reason.contains(
            "node1 is draining (new disk), node2 has not said for 60 min how much room it has, \
             node3 has no agent that runs"
        ),
        "{reason}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_named_node_that_drains_is_a_warning_of_the_record() {
    let lab = equal().await;
    let op = TxnOp::Set { key: keys::draining(&node(1)), value: Vec::new() };
    lab.consul.transact(vec![op]).await.unwrap();
    assert_eq!(lab.run(&id(1), &deploy(Some(2))).await, State::Completed);
    let warnings = lab.record(&id(1)).await.warnings;
    assert_eq!(warnings, ["node1 is draining, and is named all the same"]);
}

#[tokio::test(start_paused = true)]
async fn masters_are_counted_without_the_app_that_is_planned() {
    let lab = equal().await;
    assert_eq!(lab.run(&id(1), &deploy(Some(2))).await, State::Completed);
    let context = lab.node(3).context();
    let masters = async |request| gather(&context, &request).await.unwrap().nodes[&node(1)].masters;
    assert_eq!(masters(deploy(None)).await, 0);
    assert_eq!(masters(Request::Destroy { app: app(9) }).await, 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_event_again_swaps_the_pair_and_takes_the_data_along() {
    let lab = equal().await;
    let request = open(super::apps::app());
    assert_eq!(lab.run(&id(1), &request).await, State::Completed);
    let volume = lab.app.project().volume("data");
    lab.node(1).fakes.machine.state().volumes.insert(volume, "written".to_owned());
    assert_eq!(
        lab.run(&id(2), &request).await,
        State::Completed,
        "{:#?}",
        lab.record(&id(2)).await
    );
    let swapped = Placement { master: node(2), replica: Some(node(1)) };
    assert_eq!(lab.entry().await.unwrap().placement(), swapped);
    let data = lab.node(2).volume(&lab, "data").unwrap_or_default();
    assert!(data.starts_with("written"), "{data}");
    let choice = lab.record(&id(2)).await.choice.unwrap();
    assert_eq!(choice, "master node2 (was the slave), slave node1 (was the master)");
    lab.assert_idle("swapped").await;
}
