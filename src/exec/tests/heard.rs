//! Nothing is stopped before the proxies of every node lead nobody to the app any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;

use super::apps::{V2, deploy, id, node, to};
use super::lab::Lab;
use super::seams::{Fault, begins};
use crate::consul::kv::Kv;
use crate::consul::memory::MemoryConsul;
use crate::consul::txn::TxnOp;
use crate::model::deployment::{Deployment, State, Status, Step};
use crate::model::{Routing, keys};

/// The app on node1 with node2; its move to node2 is accepted.
async fn moving() -> Lab {
    let lab = Lab::new().await;
    assert_eq!(lab.run(&id(1), &deploy(Some(2))).await, State::Completed);
    lab.push("v2", V2);
    lab.accept(&id(2), &to(2, Some(1))).await;
    lab
}

/// The same with proxies that say what they have taken up.
async fn moving_and_told() -> Lab {
    let lab = moving().await;
    for node in &lab.nodes {
        node.proxies.tell.store(true, Ordering::Relaxed);
    }
    lab
}

fn status(record: &Deployment, wanted: &Step) -> Status {
    record.steps.iter().find(|step| step.step == *wanted).unwrap().status
}

#[tokio::test(start_paused = true)]
async fn what_the_app_has_been_asked_is_answered_before_it_is_stopped() {
    let lab = moving().await;
    let requests = &lab.nodes[0].proxies.requests;
    requests.store(3, Ordering::Relaxed);
    let id = id(2);
    let answers = async {
        while status(&lab.record(&id).await, &Step::Stop) != Status::Running {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(status(&lab.record(&id).await, &Step::Stop), Status::Running);
        requests.store(0, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_ne!(status(&lab.record(&id).await, &Step::Stop), Status::Running);
    };
    let (state, ()) = tokio::join!(lab.work(&id), answers);
    assert_eq!(state, State::Completed);
}

#[tokio::test(start_paused = true)]
async fn what_the_app_does_not_answer_holds_the_stop_up_for_a_second() {
    let lab = moving().await;
    let record = async || lab.record(&id(2)).await;
    lab.nodes[0].proxies.requests.store(1, Ordering::Relaxed);
    let watch = async {
        while status(&record().await, &Step::Stop) != Status::Running {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let began = tokio::time::Instant::now();
        while status(&record().await, &Step::Stop) == Status::Running {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        began.elapsed()
    };
    let id = id(2);
    let (state, took) = tokio::join!(lab.work(&id), watch);
    assert_eq!(state, State::Completed);
    assert!((Duration::from_millis(990)..Duration::from_secs(2)).contains(&took), "{took:?}");
}

/// The index of the app's maintenance key, once it is there.
async fn maintenance(lab: &Lab) -> u64 {
    loop {
        let entry = lab.consul.get(&keys::maintenance(&lab.app)).await.unwrap();
        if let Some(entry) = entry {
            return entry.modify_index;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn says(lab: &Lab, number: usize, index: u64) {
    let key = keys::heard(&lab.app, &node(number));
    let found = lab.consul.get(&key).await.unwrap().map_or(0, |entry| entry.modify_index);
    let kv: &dyn Kv = &lab.consul;
    kv.put_cas(&key, index.to_string().into_bytes(), found).await.unwrap().unwrap();
}

/// Says that a node's proxies serve what was committed.
async fn serves(lab: &Lab, number: usize) {
    let routing = async || {
        let entry = lab.consul.get(&keys::routing(&lab.app)).await.unwrap()?;
        Some(serde_json::from_slice::<Routing>(&entry.value).unwrap())
    };
    let asked = loop {
        match routing().await {
            Some(asked) => break asked,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let kv: &dyn Kv = &lab.consul;
    let key = keys::routed(&lab.app, &node(number));
    kv.put_cas(&key, asked.deploy_id.into_bytes(), 0).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_is_completed_when_the_last_node_serves_it() {
    let lab = Lab::new().await;
    for node in &lab.nodes {
        node.proxies.tell.store(true, Ordering::Relaxed);
    }
    // A first deployment, which nothing is under maintenance for.
    lab.accept(&id(1), &deploy(Some(2))).await;
    let first = id(1);
    let proxies = async {
        serves(&lab, 1).await;
        serves(&lab, 2).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(lab.record(&first).await.state, State::Running);
        serves(&lab, 3).await;
    };
    let (state, ()) = tokio::join!(lab.work(&first), proxies);
    assert_eq!(state, State::Completed);
    assert_eq!(lab.record(&first).await.warnings, [] as [&str; 0]);
    let left = async |key: &str| lab.consul.list(key).await.unwrap().entries.len();
    assert_eq!(left(keys::ROUTING).await + left(&keys::routed_prefix(&lab.app)).await, 0);
    // One that says nothing is named, and holds nobody up for ever.
    lab.push("v2", V2);
    let second = id(2);
    lab.accept(&second, &to(2, Some(1))).await;
    let proxies = async {
        let index = maintenance(&lab).await;
        for number in 1..=3 {
            says(&lab, number, index).await;
        }
        serves(&lab, 3).await;
        serves(&lab, 1).await;
    };
    let (state, ()) = tokio::join!(lab.work(&second), proxies);
    assert_eq!(state, State::Completed);
    let warnings = lab.record(&second).await.warnings;
    let named = |text: &String| text.contains("of node2 did not say that they serve it");
    assert!(warnings.iter().any(named), "{warnings:?}");
}

#[tokio::test(start_paused = true)]
async fn the_app_runs_until_the_last_node_has_heard() {
    let lab = moving_and_told().await;
    let id = id(2);
    let proxies = async {
        let index = maintenance(&lab).await;
        for number in 1..=2 {
            says(&lab, number, index).await;
        }
        // What a node has said of an earlier maintenance is not what is waited for.
        says(&lab, 3, index - 1).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let record = lab.record(&id).await;
        assert_eq!(status(&record, &Step::BeginMaintenance), Status::Running);
        assert_eq!(status(&record, &Step::Stop), Status::Pending);
        says(&lab, 3, index).await;
        for number in 1..=3 {
            serves(&lab, number).await;
        }
    };
    let (state, ()) = tokio::join!(lab.work(&id), proxies);
    assert_eq!(state, State::Completed);
    let warnings = lab.record(&id).await.warnings;
    assert!(!warnings.iter().any(|text| text.contains("did not say")), "{warnings:?}");
}

#[tokio::test(start_paused = true)]
async fn proxies_that_say_nothing_hold_nobody_up_for_long_and_are_named() {
    let lab = moving_and_told().await;
    let id = id(2);
    let proxies = async {
        let index = maintenance(&lab).await;
        says(&lab, 2, index).await;
    };
    let (state, ()) = tokio::join!(lab.work(&id), proxies);
    assert_eq!(state, State::Completed);
    let warnings = lab.record(&id).await.warnings;
    let named = |text: &String| {
        text.contains("did not say") && text.contains("node1, node3") && !text.contains("node2")
    };
    assert!(warnings.iter().any(named), "{warnings:?}");
}

#[tokio::test(start_paused = true)]
async fn whether_it_is_served_is_told_as_unknown_where_the_key_can_not_be_read() {
    let lab = Lab::new().await;
    for node in &lab.nodes {
        node.proxies.tell.store(true, Ordering::Relaxed);
    }
    lab.accept(&id(1), &deploy(Some(2))).await;
    let first = id(1);
    let (key, newer) = (keys::routing(&lab.app), r#"{"format":2}"#);
    let set = TxnOp::Set { key: key.clone(), value: newer.into() };
    let replace = move |consul: &MemoryConsul| {
        consul.transact(vec![set.clone()]).now_or_never().unwrap().unwrap();
    };
    let record = lab.record(&first).await;
    let register = record.steps.iter().find(|step| step.step == Step::Register).unwrap();
    lab.node(1).kv.inject(1, Fault::Meanwhile(Arc::new(replace)), begins(register));
    assert_eq!(lab.work(&first).await, State::Completed);
    let warnings = lab.record(&first).await.warnings;
    assert!(warnings.iter().any(|told| told.contains("can't be told")), "{warnings:?}");
    assert_eq!(lab.value(&key).await.as_deref(), Some(newer));
}
