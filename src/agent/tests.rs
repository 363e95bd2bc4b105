//! What an agent as a whole does and does not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::testing::{self, Made};
use super::{ProxyReport, SessionKeeper, parts};
use crate::consul::event::Events;
use crate::consul::kv::Kv;
use crate::consul::session::Sessions;
use crate::consul::txn::TxnOp;
use crate::exec::Journal;
use crate::model::keys;
use crate::records::{NodeInfo, encode};

const TTL: Duration = Duration::from_secs(15);

/// An agent of node1 that starts when an event for it is there already; true if it ends within some seconds.
async fn ends(made: Made, holder: Option<&str>) -> (bool, BTreeMap<String, u64>) {
    let Made { consul, mut context, dir, .. } = made;
    context.journal.settle().await.unwrap();
    // What is there when an agent first comes to a node is history; this one was there before.
    context.journal = Journal::open(&context.config.data_dir).await.unwrap();
    let client = consul.client(&context.me);
    if let Some(address) = holder {
        let session = client.create("other", TTL, Duration::ZERO).await.unwrap();
        let info = NodeInfo { address: address.to_owned(), ..NodeInfo::default() };
        let value = encode(&info);
        let lock = TxnOp::Lock { key: keys::node(&context.me), value, session };
        client.transact(vec![lock]).await.unwrap();
    }
    let event = br#"{"repo":"https://git.example/app","branch":"main","master":"node1"}"#;
    client.fire("deploy", event).await.unwrap();
    let (sessions, memory) = (context.cluster.sessions.clone(), dir.path().join("session"));
    let (keeper, session) = SessionKeeper::new(sessions, &context.me, TTL, memory);
    context.session = session;
    let (_problems, report) = watch::channel(ProxyReport::default());
    let context = Arc::new(context);
    let mut parts = parts(&context, keeper, report);
    let ended = tokio::time::timeout(Duration::from_secs(8), parts.join_next()).await;
    let queues = client.list(keys::QUEUES).await.unwrap().entries;
    let queues = queues.into_iter().map(|entry| (entry.key, entry.modify_index)).collect();
    (ended.is_ok(), queues)
}

#[tokio::test(start_paused = true)]
async fn an_agent_whose_name_another_machine_has_takes_no_event_in_and_ends() {
    let (has_ended, queues) = ends(testing::context("node1").await, Some("10.0.0.9")).await;
    assert!(has_ended, "it goes on under another machine's name");
    assert!(queues.is_empty(), "{queues:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_has_its_name_takes_events_in() {
    let (has_ended, queues) = ends(testing::context("node1").await, None).await;
    assert!(!has_ended);
    assert_eq!(queues.len(), 1);
}
