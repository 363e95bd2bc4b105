use std::collections::BTreeSet;

use super::super::catalog::{Catalog, HttpCheck, ServiceDefinition};
use super::super::event::Events;
use super::super::kv::Kv;
use super::super::session::Sessions;
use super::super::txn::{Txn, TxnOp};
use super::*;

const TTL: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_secs(60);

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

fn set(key: &str, value: &str) -> TxnOp {
    TxnOp::Set { key: key.into(), value: value.into() }
}

fn lock(key: &str, session: &str) -> TxnOp {
    TxnOp::Lock { key: key.into(), value: b"held".to_vec(), session: session.into() }
}

fn refused(txn: &Txn) -> bool {
    matches!(txn, Txn::Refused(_))
}

#[tokio::test]
async fn a_transaction_is_all_or_nothing() {
    let consul = MemoryConsul::new();
    let ops = vec![
        set("a", "1"),
        TxnOp::CheckIndex { key: "b".into(), index: 3 },
        TxnOp::CheckSession { key: "b".into(), session: "s".into() },
    ];
    let Txn::Refused(reasons) = consul.transact(ops).await.unwrap() else {
        panic!("it was committed");
    };
    assert_eq!(reasons.len(), 2);
    assert_eq!(consul.get("a").await.unwrap(), None);

    let ops = vec![TxnOp::CheckNotExists { key: "a".into() }, set("a", "1"), set("b", "2")];
    let Txn::Committed(entries) = consul.transact(ops.clone()).await.unwrap() else {
        panic!("it was refused");
    };
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].modify_index, entries[1].modify_index);
    assert!(refused(&consul.transact(ops).await.unwrap()));
}

#[tokio::test]
async fn check_and_set_knows_who_was_faster() {
    let consul = MemoryConsul::new();
    let kv: &dyn Kv = &consul;
    let first = kv.put_cas("a", b"1".to_vec(), 0).await.unwrap().unwrap();
    assert_eq!(first.value, b"1");
    assert_eq!(kv.put_cas("a", b"2".to_vec(), 0).await.unwrap(), None);
    let index = first.modify_index;
    let second = kv.put_cas("a", b"2".to_vec(), index).await.unwrap().unwrap();
    assert!(second.modify_index > index && second.create_index == first.create_index);
    assert_eq!(kv.put_cas("a", b"3".to_vec(), index).await.unwrap(), None);
    assert!(!kv.delete_cas("a", index).await.unwrap());
    assert!(kv.delete_cas("a", second.modify_index).await.unwrap());
    assert!(kv.delete_cas("a", 1).await.unwrap());
    kv.delete("a").await.unwrap();
}

#[tokio::test]
async fn the_same_value_is_no_change() {
    let consul = MemoryConsul::new();
    let kv: &dyn Kv = &consul;
    let first = kv.put_cas("a", b"1".to_vec(), 0).await.unwrap().unwrap();
    let again = kv.put_cas("a", b"1".to_vec(), first.modify_index).await.unwrap().unwrap();
    assert_eq!(again, first);
}

#[tokio::test]
async fn a_lock_is_advice_and_a_plain_write_loses_its_index() {
    let consul = MemoryConsul::new();
    let one = consul.create("one", TTL, Duration::ZERO).await.unwrap();
    let two = consul.create("two", TTL, Duration::ZERO).await.unwrap();
    assert!(!refused(&consul.transact(vec![lock("l", &one)]).await.unwrap()));
    assert!(!refused(&consul.transact(vec![lock("l", &one)]).await.unwrap()));
    assert!(refused(&consul.transact(vec![lock("l", &two)]).await.unwrap()));
    let held = consul.get("l").await.unwrap().unwrap();
    assert_eq!((held.lock_index, held.session), (1, Some(one.clone())));

    consul.transact(vec![set("l", "plain")]).await.unwrap();
    let held = consul.get("l").await.unwrap().unwrap();
    assert_eq!((held.lock_index, held.session), (0, Some(one.clone())));

    let unlock = |session: &str| TxnOp::Unlock {
        key: "l".into(),
        value: b"free".to_vec(),
        session: session.into(),
    };
    assert!(refused(&consul.transact(vec![unlock(&two)]).await.unwrap()));
    assert!(!refused(&consul.transact(vec![unlock(&one)]).await.unwrap()));
    consul.transact(vec![lock("l", &two)]).await.unwrap();
    let held = consul.get("l").await.unwrap().unwrap();
    assert_eq!((held.lock_index, held.session), (1, Some(two)));
    assert!(refused(&consul.transact(vec![lock("m", "gone")]).await.unwrap()));
}

#[tokio::test]
async fn an_ended_session_takes_its_keys_along() {
    let consul = MemoryConsul::new();
    let client = consul.client(&node("node1"));
    let check = |session: &str| TxnOp::CheckSession { key: "l".into(), session: session.into() };
    for end in ["destroy", "expire", "death"] {
        let id = client.create("x", TTL, Duration::ZERO).await.unwrap();
        client.transact(vec![lock("l", &id), set("kept", end)]).await.unwrap();
        assert!(!refused(&client.transact(vec![check(&id)]).await.unwrap()));
        match end {
            "destroy" => client.destroy(&id).await.unwrap(),
            "expire" => consul.expire_session(&id),
            _ => consul.set_alive(&node("node1"), false),
        }
        assert_eq!(consul.get("l").await.unwrap(), None, "{end}");
        assert!(consul.get("kept").await.unwrap().is_some());
        assert!(!client.renew(&id).await.unwrap() && !client.exists(&id).await.unwrap());
        assert!(refused(&client.transact(vec![check(&id)]).await.unwrap()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_wakes_for_its_prefix_and_for_deletions() {
    let consul = MemoryConsul::new();
    consul.transact(vec![set("app/a", "1")]).await.unwrap();
    let first = consul.watch("app/", None, WAIT).await.unwrap();
    consul.transact(vec![set("other", "1")]).await.unwrap();
    let still = consul.watch("app/", Some(first.index), WAIT).await.unwrap();
    assert_eq!(still, first);

    let writer = consul.clone();
    let write = async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let prefix = "app/".to_owned();
        writer.transact(vec![TxnOp::DeleteTree { prefix }]).await
    };
    let start = Instant::now();
    let (woken, _) = tokio::join!(consul.watch("app/", Some(first.index), WAIT), write);
    let woken = woken.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    assert!(woken.entries.is_empty() && woken.index > first.index);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_fails_even_while_it_waits() {
    let consul = MemoryConsul::new();
    let client = consul.client(&node("node1"));
    let other = consul.client(&node("node2"));
    let start = client.watch("", None, WAIT).await.unwrap().index;
    let cut = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        consul.set_reachable(&node("node1"), false);
    };
    let (result, ()) = tokio::join!(client.watch("", Some(start), WAIT), cut);
    assert!(result.unwrap_err().is_transient());
    assert!(client.get("a").await.is_err() && other.get("a").await.is_ok());
}

#[tokio::test]
async fn failures_can_be_placed() {
    let consul = MemoryConsul::new();
    let client = consul.client(&node("node1"));
    consul.fail_after(&node("node1"), 2);
    assert!(client.get("a").await.is_ok());
    assert!(client.transact(vec![set("a", "1")]).await.is_ok());
    assert!(client.transact(vec![set("b", "1")]).await.is_err());
    assert_eq!(consul.get("b").await.unwrap(), None);

    consul.set_reachable(&node("node1"), true);
    consul.lose_next_answer(&node("node1"));
    let lost = client.transact(vec![set("b", "1")]).await.unwrap_err();
    assert!(matches!(lost, ConsulError::Timeout { .. }));
    assert!(client.get("b").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn events_reach_whoever_can_be_reached() {
    let consul = MemoryConsul::new();
    let (one, two) = (consul.client(&node("node1")), consul.client(&node("node2")));
    let (before, none) = one.watch_events(None, WAIT).await.unwrap();
    assert!(none.is_empty());
    consul.set_reachable(&node("node2"), false);
    let id = one.fire("deploy", b"{}").await.unwrap();
    let (after, events) = one.watch_events(Some(before), WAIT).await.unwrap();
    assert_eq!((events[0].id.as_str(), events.len()), (id.as_str(), 1));
    assert_eq!(one.watch_events(Some(after), WAIT).await.unwrap().0, after);
    consul.set_reachable(&node("node2"), true);
    assert!(two.watch_events(None, WAIT).await.unwrap().1.is_empty());
    assert!(matches!(one.fire("deploy", &[0; 420]).await, Err(ConsulError::TooLarge { .. })));
}

#[tokio::test]
async fn an_event_index_has_no_order() {
    let consul = MemoryConsul::new();
    let mut seen = BTreeSet::new();
    let mut last = 0;
    let mut backwards = false;
    for _ in 0..300 {
        consul.fire("x", b"").await.unwrap();
        let (index, events) = consul.watch_events(None, WAIT).await.unwrap();
        assert!(seen.insert(index) && events.len() <= 256);
        backwards |= index < last;
        last = index;
    }
    assert!(backwards);
}

#[tokio::test(start_paused = true)]
async fn members_and_services_are_those_of_the_nodes() {
    let consul = MemoryConsul::new();
    let (one, two) = (consul.client(&node("node1")), consul.client(&node("node2")));
    let (index, members) = one.watch_members(None, WAIT).await.unwrap();
    assert_eq!(members[1].address, "10.77.0.2");
    consul.set_alive(&node("node2"), false);
    let (_, members) = one.watch_members(Some(index), WAIT).await.unwrap();
    assert!(members[0].alive && !members[1].alive);
    assert_eq!(one.own_name().await.unwrap().0, node("node1"));

    let service = ServiceDefinition {
        id: "a/b".into(),
        name: "a".into(),
        address: None,
        checks: vec![HttpCheck {
            name: "c".into(),
            url: "http://a".into(),
            interval: TTL,
            timeout: TTL,
            skip_tls_verify: false,
        }],
        tags: vec![],
    };
    one.register_service(&service).await.unwrap();
    assert_eq!(one.services().await.unwrap()["a/b"].name, "a");
    assert!(two.services().await.unwrap().is_empty());
    assert_eq!(consul.registrations(&node("node1"))["a/b"]["Checks"][0]["HTTP"], "http://a");
    one.deregister_service("a/b").await.unwrap();
    one.deregister_service("a/b").await.unwrap();
    let raw = serde_json::json!({"Name": "raw"});
    assert_eq!(one.register_raw_service(raw).await.unwrap(), "raw");
}
