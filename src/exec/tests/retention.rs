//! What stays in KV of apps that are gone.

use super::apps::node;
use super::lab::Lab;
use crate::consul::kv::Kv;
use crate::consul::txn::TxnOp;
use crate::exec::retention::{KEPT, apply};
use crate::model::{AppName, DeployId, keys};
use crate::records::Queue;

#[tokio::test(start_paused = true)]
async fn the_records_of_the_last_apps_that_are_gone_stay() {
    let lab = Lab::new().await;
    let (consul, context) = (&lab.consul, lab.node(1).context());
    let app = |number: usize| AppName::parse(&format!("a_{number}.12345")).unwrap();
    let id = DeployId::parse("1").unwrap();
    let put = async |key: String, value: &str| {
        let op = TxnOp::Set { key, value: value.as_bytes().to_vec() };
        consul.transact(vec![op]).await.unwrap();
    };
    for number in 0..KEPT + 5 {
        let name = app(number);
        let (mut text, mut entry) = (r#"{"epoch":7,"recent":["1"]}"#, false);
        match number {
            0 => entry = true,
            1 => text = r#"{"epoch":7,"running":"1","recent":["1"]}"#,
            2 => {
                put(keys::owed(&node(1), &name, &id), "{}").await;
            }
            _ => {}
        }
        if entry {
            put(keys::app(&name), "{}").await;
        }
        put(keys::deployment(&name, &id), "{}").await;
        put(format!("{}other/1", keys::deployments(&name)), "{}").await;
        put(keys::queue(&name), text).await;
    }
    for _ in 0..2 {
        apply(&context).await.unwrap();
    }
    let there = async |key: String| consul.get(&key).await.unwrap().is_some();
    for number in 0..KEPT + 5 {
        let name = app(number);
        let is_kept = !(3..5).contains(&number);
        assert_eq!(there(keys::deployment(&name, &id)).await, is_kept, "{name}");
        assert!(there(format!("{}other/1", keys::deployments(&name))).await, "{name}");
        let queue = consul.get(&keys::queue(&name)).await.unwrap().unwrap();
        let queue = serde_json::from_slice::<Queue>(&queue.value).unwrap();
        assert_eq!((queue.epoch, queue.recent.len(), queue.tidied), (7, 1, !is_kept), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_agents_record_of_an_app_that_is_gone_stays_with_what_names_it() {
    let lab = Lab::new().await;
    let app = |number: usize| AppName::parse(&format!("a_{number}.12345")).unwrap();
    let put = async |key: String, value: &str| {
        let op = TxnOp::Set { key, value: value.as_bytes().to_vec() };
        lab.consul.transact(vec![op]).await.unwrap();
    };
    let newer = keys::deployment(&app(0), &DeployId::parse("1").unwrap());
    put(newer.clone(), r#"{"format":9}"#).await;
    for number in 0..KEPT + 2 {
        put(keys::queue(&app(number)), r#"{"epoch":7,"recent":["1"]}"#).await;
    }
    apply(&lab.node(1).context()).await.unwrap();
    assert!(lab.value(&newer).await.is_some());
    assert!(!lab.value(&keys::queue(&app(0))).await.unwrap().contains("tidied"));
    assert!(lab.value(&keys::queue(&app(1))).await.unwrap().contains("tidied"));
}
