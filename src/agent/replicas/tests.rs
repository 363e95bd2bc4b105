mod lines;
mod unsent;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::looker::Looker;
use crate::agent::testing::{self, Made};
use crate::consul::kv::{Entry, Kv};
use crate::consul::memory::MemoryConsul;
use crate::consul::txn::TxnOp;
use crate::host::fake::FakeHost;
use crate::host::volume::{SnapshotName, Verified, VolumeError};
use crate::model::NodeName;
use crate::proxy::view::Item;
use crate::replication::ReplicaState;

const APP: &str = "app_main.44dd7";
const KEY: &str = "tandem/replicas/app_main.44dd7/node2";
const CHECK: &str = "tandem-replica-appmain44dd7";
/// The default of `replica-interval`.
const INTERVAL: Duration = Duration::from_secs(60);

/// node1 and node2 over one Consul; the agent of one of them.
struct Bench {
    consul: MemoryConsul,
    me: NodeName,
    fakes: FakeHost,
    looker: Looker,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn of(me: &str) -> Self {
        let Made { consul, fakes, context, dir } = testing::context(me).await;
        let me = context.me.clone();
        Self { consul, me, fakes, looker: Looker::new(Arc::new(context)), _dir: dir }
    }

    /// One look, with node1 as the app's master and node2 as its slave.
    async fn look_at(&mut self, entry: Entry) {
        self.looker.look(&[Arc::new(Item::read(entry))]).await;
    }

    async fn look(&mut self) {
        self.look_at(entry("node1", Some("node2"), Utc::now())).await;
    }

    fn add(&self, text: &str, facts: Verified) {
        let mut state = self.fakes.machine.state();
        state.facts.insert(name(text), facts);
        drop(state);
        self.fakes.volumes.receive(&name(text), "content");
    }

    /// A copy that arrived whole so many minutes ago.
    fn receive(&self, text: &str, minutes_ago: i64) {
        self.add(
            text,
            Verified { received_uuid: Some(format!("origin-{text}")), ..own(text, minutes_ago) },
        );
    }

    fn tear(&self, text: &str) {
        self.add(text, Verified { read_only: false, ..own(text, 5) });
    }

    fn snapshots(&self) -> Vec<String> {
        self.fakes.machine.state().snapshots.keys().map(SnapshotName::to_string).collect()
    }

    fn kept(&self) -> Vec<String> {
        self.fakes.machine.state().kept.iter().map(SnapshotName::to_string).collect()
    }

    async fn published(&self) -> Option<(ReplicaState, Entry)> {
        let entry = self.consul.get(KEY).await.unwrap()?;
        Some((serde_json::from_slice(&entry.value).unwrap(), entry))
    }

    async fn put(&self, key: &str, value: &Value) {
        let set = TxnOp::Set { key: key.to_owned(), value: value.to_string().into_bytes() };
        self.consul.transact(vec![set]).await.unwrap();
    }

    /// Status and text of the replica's check.
    fn check(&self) -> Option<(String, String)> {
        let services = self.consul.registrations(&self.me);
        let check = &services.get(CHECK)?["Checks"][0];
        let text = |key: &str| check[key].as_str().unwrap().to_owned();
        Some((text("Status"), text("Output")))
    }
}

fn name(text: &str) -> SnapshotName {
    SnapshotName::parse(text).unwrap()
}

fn own(text: &str, minutes_ago: i64) -> Verified {
    Verified {
        read_only: true,
        uuid: Some(format!("own-{text}")),
        created_at: Some(Utc::now() - TimeDelta::minutes(minutes_ago)),
        generation: Some(1),
        ..Verified::default()
    }
}

fn entry(master: &str, slave: Option<&str>, deployed: DateTime<Utc>) -> Entry {
    let record = json!({
        "repo_url": "file:///lab/git/app", "branch": "main", "deploy_id": "d1", "master": master, "slave": slave,
        "deploy_date": deployed.format("%Y-%m-%dT%H%M%S%.6f").to_string(), "volumes": ["v"],
    });
    Entry {
        key: format!("app/{APP}"),
        value: record.to_string().into_bytes(),
        create_index: 1,
        modify_index: 1,
        lock_index: 0,
        session: None,
    }
}

fn away() -> VolumeError {
    VolumeError::SchedulerPaused
}

#[tokio::test]
async fn a_slave_publishes_its_newest_whole_copy_and_writes_only_what_changed() {
    let mut bench = Bench::of("node2").await;
    bench.receive("v@2025-01-01", 20);
    bench.tear("v@2025-01-02");
    bench.look().await;
    let (state, first) = bench.published().await.unwrap();
    assert_eq!(state.volumes["v"].as_ref().unwrap().snapshot, "v@2025-01-01");
    assert_eq!(bench.kept(), ["v@2025-01-01"]);
    assert_eq!(bench.check().unwrap().0, "passing");

    bench.look().await;
    assert_eq!(bench.published().await.unwrap().1.modify_index, first.modify_index);

    bench.receive("v@2025-01-03", 0);
    bench.look().await;
    let (state, _) = bench.published().await.unwrap();
    assert_eq!(state.volumes["v"].as_ref().unwrap().snapshot, "v@2025-01-03");
    assert_eq!(bench.kept(), ["v@2025-01-03"]);
}

#[tokio::test]
async fn a_copy_that_is_no_longer_whole_is_not_believed_from_memory() {
    let mut bench = Bench::of("node2").await;
    bench.receive("v@2025-01-01", 20);
    bench.receive("v@2025-01-02", 10);
    bench.look().await;
    bench.tear("v@2025-01-02");
    bench.look().await;
    let (state, _) = bench.published().await.unwrap();
    assert_eq!(state.volumes["v"].as_ref().unwrap().snapshot, "v@2025-01-01");
}

#[tokio::test]
async fn an_old_copy_is_critical_and_so_is_none_two_periods_after_the_deployment() {
    let mut bench = Bench::of("node2").await;
    let deployed = Utc::now() - TimeDelta::minutes(119);
    bench.look_at(entry("node1", Some("node2"), deployed)).await;
    assert_eq!(bench.check().unwrap().0, "passing");
    bench.receive("v@2025-01-01", 119);
    bench.look_at(entry("node1", Some("node2"), deployed)).await;
    assert_eq!(bench.check().unwrap().0, "passing");

    let mut bench = Bench::of("node2").await;
    let deployed = Utc::now() - TimeDelta::minutes(121);
    bench.look_at(entry("node1", Some("node2"), deployed)).await;
    let (status, text) = bench.check().unwrap();
    assert_eq!(status, "critical");
    assert!(text.starts_with("v: no verified copy, 2 h 1 min after"), "{text}");
    assert!(bench.published().await.unwrap().0.late.contains("v"));
    // A redeploy of the same pair is no excuse.
    bench.receive("v@2025-01-01", 121);
    bench.look().await;
    assert_eq!(bench.check().unwrap().0, "critical");
    bench.receive("v@2025-01-02", 1);
    bench.look().await;
    assert_eq!(bench.check().unwrap().0, "passing");
    assert!(bench.published().await.unwrap().0.late.is_empty());
}

#[tokio::test]
async fn what_was_published_goes_when_the_role_ends() {
    let mut bench = Bench::of("node2").await;
    bench.receive("v@2025-01-01", 1);
    bench.look().await;
    assert!(bench.check().is_some() && bench.published().await.is_some());
    bench.look_at(entry("node1", None, Utc::now())).await;
    assert!(bench.check().is_none() && bench.published().await.is_none());
    assert_eq!(bench.kept(), [""; 0]);
    assert_eq!(bench.snapshots(), ["v@2025-01-01"]);
}

#[tokio::test]
async fn an_entry_that_can_not_be_read_ends_nothing() {
    let mut bench = Bench::of("node2").await;
    bench.receive("v@2025-01-01", 1);
    bench.look().await;
    let mut broken = entry("node1", Some("node2"), Utc::now());
    broken.value = b"{".to_vec();
    bench.look_at(broken).await;
    assert!(bench.check().is_some() && bench.published().await.is_some());
    assert_eq!(bench.kept(), ["v@2025-01-01"]);
}

#[tokio::test]
async fn what_can_not_be_asked_about_changes_nothing_for_the_others() {
    let mut bench = Bench::of("node2").await;
    bench.receive("v@2025-01-01", 20);
    bench.receive("v@2025-01-02", 10);
    bench.look().await;
    let before = bench.published().await.unwrap();
    bench.fakes.volumes.fail_next("facts", away());
    bench.look().await;
    assert_eq!(bench.published().await.unwrap(), before);
    assert_eq!(bench.kept(), ["v@2025-01-02"]);
}

#[tokio::test]
async fn a_buttervolume_that_is_away_changes_nothing_but_the_age() {
    let mut bench = Bench::of("node2").await;
    bench.receive("v@2025-01-01", 100);
    bench.look().await;
    let before = bench.published().await.unwrap();
    bench.fakes.volumes.fail_next("snapshots", away());
    bench.look().await;
    assert_eq!(bench.published().await.unwrap(), before);
    assert_eq!(bench.kept(), ["v@2025-01-01"]);
}

#[tokio::test]
async fn without_consul_the_newest_copy_is_kept_all_the_same() {
    let mut bench = Bench::of("node2").await;
    bench.consul.set_reachable(&bench.me, false);
    bench.receive("v@2025-01-01", 1);
    bench.look().await;
    assert_eq!(bench.kept(), ["v@2025-01-01"]);
}

#[tokio::test(start_paused = true)]
async fn a_torn_copy_is_removed_when_it_is_certain_that_nobody_completes_it() {
    let mut bench = Bench::of("node2").await;
    bench.receive("v@2025-01-01", 20);
    bench.tear("v@2025-01-02");
    bench.fakes.machine.state().receptions = vec![Utc::now() - TimeDelta::hours(1)];
    for _ in 0..5 {
        bench.look().await;
        tokio::time::advance(INTERVAL).await;
    }
    assert_eq!(bench.snapshots().len(), 2, "it may be arriving");

    bench.fakes.machine.state().receptions.clear();
    let queue = json!({"epoch": 1, "running": "d2", "waiting": null});
    bench.put(&format!("tandem/apps/{APP}"), &queue).await;
    bench.look().await;
    assert_eq!(bench.snapshots().len(), 2, "a deployment is at work");

    let kv: &dyn Kv = &bench.consul;
    kv.delete(&format!("tandem/apps/{APP}")).await.unwrap();
    bench.look().await;
    assert_eq!(bench.snapshots(), ["v@2025-01-01"]);
}

#[tokio::test(start_paused = true)]
async fn a_torn_copy_of_an_app_that_has_moved_to_another_pair_is_removed_as_well() {
    let mut bench = Bench::of("node3").await;
    bench.receive("v@2025-01-01", 20);
    bench.tear("v@2025-01-02");
    bench.tear("w@2025-01-02");
    for _ in 0..3 {
        assert_eq!(bench.snapshots().len(), 3, "it may be arriving");
        bench.look().await;
        tokio::time::advance(INTERVAL).await;
    }
    // Of a volume that is no known app's, nothing is known.
    assert_eq!(bench.snapshots(), ["v@2025-01-01", "w@2025-01-02"]);
    assert!(bench.kept().is_empty() && bench.published().await.is_none());
}
