use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::consul::kv::Entry;
use crate::consul::memory::MemoryConsul;
use crate::consul::txn::TxnOp;
use crate::proxy::certificates::testing::{bundle, day};
use crate::proxy::certificates::{Bundle, Published};
use crate::records::decode;

struct Node {
    dir: tempfile::TempDir,
    name: NodeName,
    kv: MemoryConsul,
    certificates: Arc<Certificates>,
    publisher: Publisher,
}

fn node_with(consul: &MemoryConsul, name: &str, digit: &str) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let name = NodeName::parse(name).unwrap();
    let kv = consul.client(&name);
    let key = SharedKey::parse(&digit.repeat(64)).unwrap();
    let certificates = Arc::new(Certificates::new(Arc::new(kv.clone()), key, dir.path()));
    let publisher = Publisher::new(certificates.clone(), name.clone());
    Node { dir, name, kv, certificates, publisher }
}

fn node(consul: &MemoryConsul, name: &str) -> Node {
    node_with(consul, name, "a")
}

fn hosts(names: &[&str]) -> BTreeSet<CertificateHost> {
    names.iter().map(|name| CertificateHost::parse(name).unwrap()).collect()
}

impl Node {
    /// Caddy was issued this.
    async fn issued(&self, bundle: &Bundle) {
        self.certificates.storage.put(bundle).await.unwrap();
    }

    async fn look(&mut self, now: &str) {
        let served = hosts(&["app.test"]);
        self.certificates.routed(served.clone());
        self.publisher.look(&served, day(now)).await;
    }

    async fn place(&self, now: &str) -> bool {
        place::place(&self.certificates, &hosts(&["app.test"]), day(now)).await
    }

    async fn has(&self) -> Option<Bundle> {
        let host = CertificateHost::parse("app.test").unwrap();
        self.certificates.storage.find(&host).await.unwrap().newest
    }

    async fn published(&self) -> Option<Entry> {
        self.kv.get(KEY).await.unwrap()
    }

    fn file(&self, ending: &str) -> PathBuf {
        let folder = "caddy-data/caddy/certificates/ca.test-directory/app.test";
        self.dir.path().join(folder).join(format!("app.test.{ending}"))
    }

    fn problem(&self) -> String {
        let all: Vec<_> = self.certificates.problems().into_iter().map(|p| p.what).collect();
        all.join("\n")
    }
}

const KEY: &str = "tandem/certificates/app.test";

#[tokio::test]
async fn a_certificate_goes_there_and_back_and_a_renewed_one_too() {
    let consul = MemoryConsul::new();
    let (mut one, mut two) = (node(&consul, "node1"), node(&consul, "node2"));
    let first = bundle("app.test", "2026-01-01", "2026-04-01");
    one.issued(&first).await;
    one.look("2026-01-02").await;
    assert!(two.place("2026-01-02").await);
    assert_eq!(two.has().await.as_ref(), Some(&first));
    let before = two.published().await;
    two.look("2026-01-02").await;
    assert_eq!(two.published().await, before, "the same one is not published again");
    let renewed = bundle("app.test", "2026-03-01", "2026-06-01");
    two.issued(&renewed).await;
    two.look("2026-03-02").await;
    assert!(one.place("2026-03-02").await);
    assert_eq!(one.has().await, Some(renewed));
    assert_eq!(one.problem() + &two.problem(), "");
}

#[tokio::test]
async fn an_older_one_never_takes_the_place_of_a_newer_one() {
    let consul = MemoryConsul::new();
    let (mut one, mut two) = (node(&consul, "node1"), node(&consul, "node2"));
    let old = bundle("app.test", "2026-01-01", "2026-04-01");
    let new = bundle("app.test", "2026-03-01", "2026-06-01");
    one.issued(&old).await;
    two.issued(&new).await;
    two.look("2026-03-02").await;
    one.look("2026-03-02").await;
    one.publisher = Publisher::new(one.certificates.clone(), one.name.clone());
    one.look("2026-03-02").await;
    let key = SharedKey::parse(&"a".repeat(64)).unwrap();
    let there = decode::<Published>(&one.published().await.unwrap()).unwrap();
    assert_eq!(there.open(&key, new.host()).unwrap(), new);
    assert!(two.place("2026-03-02").await);
    assert_eq!(two.has().await, Some(new));
}

#[tokio::test(start_paused = true)]
async fn half_replaced_files_are_not_published_and_give_way() {
    let consul = MemoryConsul::new();
    let (mut one, two) = (node(&consul, "node1"), node(&consul, "node2"));
    let first = bundle("app.test", "2026-01-01", "2026-04-01");
    let second = bundle("app.test", "2026-03-01", "2026-06-01");
    one.issued(&first).await;
    fs::write(one.file("key"), &second.texts().key).unwrap();
    one.look("2026-03-02").await;
    assert_eq!(one.published().await, None);
    assert!(one.problem().contains("another certificate"), "{}", one.problem());
    one.issued(&second).await;
    one.look("2026-03-02").await;
    assert_eq!(one.problem(), "");
    two.issued(&first).await;
    fs::write(two.file("crt"), "torn").unwrap();
    assert!(two.place("2026-03-02").await);
    assert_eq!(two.has().await, Some(second));
}

#[tokio::test]
async fn under_another_key_it_is_named_and_the_masters_own_takes_its_place() {
    let consul = MemoryConsul::new();
    let mut one = node_with(&consul, "node1", "a");
    let mut two = node_with(&consul, "node2", "b");
    one.issued(&bundle("app.test", "2026-01-01", "2026-04-01")).await;
    one.look("2026-01-02").await;
    assert!(two.place("2026-01-02").await);
    two.look("2026-01-02").await;
    assert_eq!(two.has().await, None);
    assert!(two.problem().contains("written by node1"), "{}", two.problem());
    let own = bundle("app.test", "2025-12-31", "2026-03-31");
    two.issued(&own).await;
    two.look("2026-01-02").await;
    assert_eq!(two.problem(), "");
    let there = decode::<Published>(&two.published().await.unwrap()).unwrap();
    assert_eq!(there.open(&two.certificates.key, own.host()).unwrap(), own);
}

#[tokio::test]
async fn what_is_wrong_or_newer_is_named_and_changes_no_file() {
    let consul = MemoryConsul::new();
    let mut one = node(&consul, "node1");
    for value in ["{", r#"{"format":2}"#] {
        let op = TxnOp::Set { key: KEY.to_owned(), value: value.into() };
        one.kv.transact(vec![op]).await.unwrap();
        assert!(one.place("2026-01-02").await);
        assert!(!one.problem().is_empty() && one.has().await.is_none(), "{value}");
    }
    one.issued(&bundle("app.test", "2026-01-01", "2026-04-01")).await;
    one.look("2026-01-02").await;
    assert!(one.problem().contains("has format 2"), "{}", one.problem());
    assert_eq!(one.published().await.unwrap().value, br#"{"format":2}"#);
}

#[tokio::test]
async fn what_has_ended_is_neither_published_nor_placed_and_goes_in_the_end() {
    let consul = MemoryConsul::new();
    let (mut one, two) = (node(&consul, "node1"), node(&consul, "node2"));
    one.issued(&bundle("app.test", "2026-01-01", "2026-04-01")).await;
    one.look("2026-04-02").await;
    assert_eq!(one.published().await, None);
    one.publisher = Publisher::new(one.certificates.clone(), one.name.clone());
    one.look("2026-03-31").await;
    assert!(two.place("2026-04-02").await);
    assert_eq!(two.has().await, None);
    two.publisher.remove_ended(day("2026-04-02")).await;
    assert!(two.published().await.is_some(), "a day for clocks that differ");
    two.publisher.remove_ended(day("2026-04-03")).await;
    assert_eq!(two.published().await, None);
}

#[tokio::test(start_paused = true)]
async fn files_that_change_are_published_within_half_a_minute() {
    let consul = MemoryConsul::new();
    let one = node(&consul, "node1");
    clock::testing::start(day("2026-03-02"));
    let task = tokio::spawn(one.certificates.clone().publish(one.name.clone()));
    one.certificates.routed(hosts(&["app.test"]));
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(one.published().await, None);
    one.issued(&bundle("app.test", "2026-01-01", "2026-04-01")).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(one.published().await.is_some(), "a new host's is published soon");
    one.issued(&bundle("app.test", "2026-02-01", "2026-05-01")).await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    let first = one.published().await.unwrap();
    assert!(String::from_utf8_lossy(&first.value).contains("2026-05-01"));
    let kv: &dyn Kv = &one.kv;
    kv.delete(KEY).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3700)).await;
    assert!(one.published().await.unwrap().modify_index > first.modify_index, "put back");
    task.abort();
}

#[tokio::test]
async fn without_consul_nothing_is_placed_and_it_is_said() {
    let consul = MemoryConsul::new();
    let one = node(&consul, "node1");
    consul.set_reachable(&one.name, false);
    assert!(!one.place("2026-01-02").await);
}

#[tokio::test]
async fn many_hosts_are_read_at_once() {
    let consul = MemoryConsul::new();
    let (mut one, two) = (node(&consul, "node1"), node(&consul, "node2"));
    let names: Vec<String> = (0..20).map(|i| format!("a{i}.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for name in &names {
        one.issued(&bundle(name, "2026-01-01", "2026-04-01")).await;
    }
    one.publisher.look(&hosts(&names), day("2026-01-02")).await;
    consul.fail_after(&two.name, 1);
    assert!(place::place(&two.certificates, &hosts(&names), day("2026-01-02")).await);
    for host in hosts(&names) {
        assert!(two.certificates.storage.find(&host).await.unwrap().newest.is_some(), "{host}");
    }
}
