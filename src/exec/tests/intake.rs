//! Events become records once, on whichever node they arrive and however often.

use std::sync::Arc;
use std::time::Duration;

use super::apps::{id, node};
use super::lab::{Lab, Node};
use super::seams::{Fault, changes};
use crate::agent::Intake;
use crate::consul::event::UserEvent;
use crate::consul::kv::Kv;
use crate::consul::txn::TxnOp;
use crate::model::deployment::State;
use crate::model::keys;
use crate::records::Rejection;

const DEPLOY: &str =
    r#"{"repo":"https://git.example/hello","branch":"main","master":"node1","slave":"node2"}"#;

fn event(number: u32, payload: &str) -> UserEvent {
    UserEvent {
        id: id(number).to_string(),
        name: "deploy".to_owned(),
        payload: payload.as_bytes().to_vec(),
        ltime: u64::from(number),
    }
}

impl Node {
    /// Takes events in and waits until nothing of it goes on beside.
    async fn take_in(&self, events: Vec<UserEvent>) {
        let intake = Arc::new(Intake { ctx: self.context() });
        for task in intake.take_in(events, false).await {
            task.await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_arrives_again_is_one_deployment() {
    let lab = Lab::new().await;
    let twice = || vec![event(1, DEPLOY), event(1, DEPLOY)];
    lab.node(1).take_in(twice()).await;
    for node in &lab.nodes {
        node.take_in(twice()).await;
        assert!(node.context().journal.is_handled(&id(1)).await, "{}", node.name);
    }
    let record = lab.record(&id(1)).await;
    assert_eq!((record.epoch, record.accepted_by), (1, node(1)));
    assert_eq!(lab.work(&id(1)).await, State::Completed);
    lab.node(1).restart().await;
    lab.node(1).take_in(twice()).await;
    assert_eq!(lab.queue().await.epoch, 1);
    lab.assert_idle("again").await;
}

#[tokio::test(start_paused = true)]
async fn another_node_takes_an_event_in_when_the_master_does_not() {
    let lab = Lab::new().await;
    let started = tokio::time::Instant::now();
    lab.node(3).take_in(vec![event(1, DEPLOY)]).await;
    assert!(started.elapsed() >= Duration::from_secs(3));
    assert_eq!(lab.record(&id(1)).await.accepted_by, node(3));
    assert_eq!(lab.work(&id(1)).await, State::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_payload_is_written_down_once_and_changes_nothing() {
    let lab = Lab::new().await;
    let wrong = r#"{"repo":"https://git.example/$(id)","branch":"main"}"#;
    for node in &lab.nodes {
        node.take_in(vec![event(1, wrong)]).await;
    }
    let text = lab.value(&keys::rejected(&id(1))).await.unwrap();
    let rejection: Rejection = serde_json::from_str(&text).unwrap();
    assert_eq!((rejection.node, rejection.event.as_str()), (node(1), "deploy"));
    assert!(rejection.reason.contains("`repo`"), "{}", rejection.reason);
    assert!(lab.consul.list("tandem/deployments/").await.unwrap().entries.is_empty());
    assert!(lab.nodes.iter().all(|node| node.fakes.machine.calls().is_empty()));
}

#[tokio::test(start_paused = true)]
async fn rejections_do_not_pile_up() {
    let lab = Lab::new().await;
    lab.node(1).take_in((1..=60).map(|number| event(number, "nonsense")).collect()).await;
    let kept = lab.consul.list(keys::REJECTED).await.unwrap().entries;
    assert_eq!(kept.len(), 50);
    assert!(kept.iter().any(|entry| entry.key == keys::rejected(&id(60))));
}

#[tokio::test(start_paused = true)]
async fn an_event_is_written_down_when_consul_is_back() {
    let lab = Lab::new().await;
    lab.consul.set_reachable(&node(1), false);
    let returns = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(!lab.node(1).context().journal.is_handled(&id(1)).await);
        lab.consul.set_reachable(&node(1), true);
    };
    tokio::join!(lab.node(1).take_in(vec![event(1, DEPLOY)]), returns);
    assert_eq!(lab.work(&id(1)).await, State::Completed);
}

/// Consul's own rules for keys can be stricter than ours.
#[tokio::test(start_paused = true)]
async fn an_event_that_consul_refuses_holds_up_none_behind_it() {
    let lab = Lab::new().await;
    lab.node(1).kv.inject(1, Fault::Refuse, changes(keys::QUEUES));
    lab.node(1).take_in(vec![event(1, DEPLOY), event(2, DEPLOY)]).await;
    let text = lab.value(&keys::rejected(&id(1))).await.unwrap();
    let rejection: Rejection = serde_json::from_str(&text).unwrap();
    assert!(rejection.reason.contains("Consul does not take it"), "{}", rejection.reason);
    assert!(lab.node(1).context().journal.is_handled(&id(1)).await);
    assert_eq!(lab.work(&id(2)).await, State::Completed);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_depends_on_a_newer_record_is_left_to_newer_agents_and_then_refused() {
    let lab = Lab::new().await;
    let put = async |key: String, value: &str| {
        let set = TxnOp::Set { key, value: value.as_bytes().to_vec() };
        lab.consul.transact(vec![set]).await.unwrap();
    };
    let queue = r#"{"format":2,"lanes":[]}"#;
    put(keys::queue(&lab.app), queue).await;
    lab.node(1).take_in(vec![event(1, DEPLOY)]).await;
    let text = lab.value(&keys::rejected(&id(1))).await.unwrap();
    let rejection: Rejection = serde_json::from_str(&text).unwrap();
    assert!(rejection.reason.contains("has format 2"), "{}", rejection.reason);
    assert!(lab.node(1).context().journal.is_handled(&id(1)).await);
    assert_eq!(lab.value(&keys::queue(&lab.app)).await.as_deref(), Some(queue));
    // Meanwhile a newer agent may have taken it.
    let takes = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        put(keys::deployment(&lab.app, &id(2)), r#"{"format":9}"#).await;
    };
    tokio::join!(lab.node(1).take_in(vec![event(2, DEPLOY)]), takes);
    assert_eq!(lab.value(&keys::rejected(&id(2))).await, None);
    assert!(lab.node(1).context().journal.is_handled(&id(2)).await);
}

#[tokio::test(start_paused = true)]
async fn a_short_event_waits_for_consul_and_not_for_a_text_that_is_not_there() {
    let lab = Lab::new().await;
    let set = TxnOp::Set { key: keys::request(&id(9)), value: DEPLOY.into() };
    lab.consul.transact(vec![set]).await.unwrap();
    let short = |number| event(number, &format!(r#"{{"request":"{}"}}"#, id(number + 8)));
    lab.consul.set_reachable(&node(1), false);
    let returns = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        lab.consul.set_reachable(&node(1), true);
    };
    tokio::join!(lab.node(1).take_in(vec![short(1)]), returns);
    assert_eq!(lab.value(&keys::rejected(&id(1))).await, None);
    assert_eq!(lab.work(&id(1)).await, State::Completed);
    lab.node(1).take_in(vec![short(2)]).await;
    let text = lab.value(&keys::rejected(&id(2))).await.unwrap();
    assert!(text.contains("does not exist"), "{text}");
}
