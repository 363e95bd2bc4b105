//! What a master has that its slave has not.

use super::*;

#[tokio::test]
async fn a_master_keeps_what_its_slave_has_and_forgets_what_it_has_not() {
    let mut bench = Bench::of("node1").await;
    bench.add("v@2025-01-01", own("v@2025-01-01", 300));
    bench.fakes.volumes.receive(&name("v@2025-01-01@10.77.0.2"), "content");
    bench.fakes.volumes.receive(&name("v@2024-01-01@10.77.0.9"), "content");
    bench.look().await;
    assert_eq!(bench.kept(), ["v@2025-01-01"]);
    assert_eq!(
        bench.snapshots(),
        ["v@2025-01-01", "v@2025-01-01@10.77.0.2"],
        "the other mark is dead"
    );
    assert!(bench.check().is_none() && bench.published().await.is_none());

    let nothing = json!({"since": "2025-01-01T00:00:00Z", "period_minutes": 60, "volumes": {"v": null}, "late": ["v"]});
    bench.put(KEY, &nothing).await;
    bench.look().await;
    assert_eq!(bench.snapshots().len(), 2, "the slave's agent is away: its word is an old one");

    let info = json!({"version": "1", "address": "10.77.0.2", "since": "2025-01-01T00:00:00Z"});
    bench.put("tandem/nodes/node2", &info).await;
    bench.look().await;
    assert_eq!(bench.snapshots(), ["v@2025-01-01"]);
}

/// A master of which one snapshot is at the slave and a newer one is not, as after a replication that failed.
async fn master_with_an_unsent_snapshot() -> Bench {
    let bench = Bench::of("node1").await;
    bench.fakes.volumes.connect(&Arc::default(), "10.77.0.1");
    bench.fakes.machine.state().volumes.insert("v".to_owned(), "content".to_owned());
    for (text, minutes_ago) in [("v@2025-01-01", 90), ("v@2025-01-02", 30)] {
        bench.add(text, own(text, minutes_ago));
    }
    bench.fakes.volumes.receive(&name("v@2025-01-01@10.77.0.2"), "content");
    bench
}

impl Bench {
    async fn look_and_wait(&mut self) {
        self.look_at(entry("node1", Some("node2"), Utc::now() - TimeDelta::minutes(100))).await;
        // The send is a task of its own.
        tokio::task::yield_now().await;
        tokio::time::advance(INTERVAL).await;
    }

    fn sent(&self) -> usize {
        self.fakes.machine.state().sent.len()
    }

    async fn stalled(&self) -> Option<Value> {
        let key = format!("tandem/stalled/{APP}/node1");
        let entry = self.consul.get(&key).await.unwrap()?;
        Some(serde_json::from_slice(&entry.value).unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_schedule_did_not_send_is_sent() {
    let mut bench = master_with_an_unsent_snapshot().await;
    bench.look_and_wait().await;
    assert_eq!(bench.sent(), 0, "it may be on its way");
    bench.fakes.machine.state().sending.insert("v".to_owned());
    for _ in 0..3 {
        bench.look_and_wait().await;
    }
    assert_eq!(bench.sent(), 0, "it is on its way");
    bench.fakes.machine.state().sending.clear();
    bench.look_and_wait().await;
    assert_eq!(bench.sent(), 1);
    // Not the old one: the volume as it is now.
    let sent = bench.fakes.machine.state().sent[0].clone();
    assert!(sent.0 == "10.77.0.2" && sent.1 > name("v@2025-01-01"), "{sent:?}");
    assert!(bench.fakes.machine.calls().contains(&"snapshot v".to_owned()));
    assert_eq!(bench.stalled().await, None);
}

#[tokio::test(start_paused = true)]
async fn why_nothing_arrives_is_told_until_it_does() {
    let mut bench = master_with_an_unsent_snapshot().await;
    let refused = || VolumeError::Refused {
        operation: "send",
        subject: "v".to_owned(),
        why: "No space left on device".to_owned(),
    };
    bench.fakes.volumes.fail_next("send", refused());
    for _ in 0..3 {
        bench.look_and_wait().await;
    }
    let why = bench.stalled().await.unwrap()["volumes"]["v"]["why"].as_str().unwrap().to_owned();
    assert!(why.contains("No space left"), "{why}");
    assert_eq!(bench.sent(), 0);
    for _ in 0..2 {
        bench.look_and_wait().await;
    }
    assert_eq!(bench.sent(), 1, "it is tried again");
    assert_eq!(bench.stalled().await, None);

    // What an agent before this one said is taken back, too.
    let mut bench = master_with_an_unsent_snapshot().await;
    let said = json!({"to": "node2", "volumes": {}});
    bench.put(&format!("tandem/stalled/{APP}/node1"), &said).await;
    bench.look_and_wait().await;
    assert_eq!(bench.stalled().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_slave_that_is_away_is_named_and_not_tried() {
    let mut bench = master_with_an_unsent_snapshot().await;
    bench.consul.set_alive(&NodeName::parse("node2").unwrap(), false);
    for _ in 0..3 {
        bench.look_and_wait().await;
    }
    let said = bench.stalled().await.unwrap();
    assert_eq!(said["volumes"]["v"]["why"], "node2 is away");
    assert!(!bench.fakes.machine.calls().iter().any(|call| call.starts_with("send")));
}
