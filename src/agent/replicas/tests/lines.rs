//! Whose data a copy holds, and what a newer agent says of it.

use super::*;
use crate::replication::{Line, Lines};

const LINES: &str = "tandem/lines/app_main.44dd7";

/// A volume with that id, and what it was made of.
fn volume(uuid: &str) -> Verified {
    Verified { uuid: Some(uuid.to_owned()), ..Verified::default() }
}

impl Bench {
    /// The volume is the one with that id, and has a snapshot.
    fn take_of(&self, uuid: &str, text: &str, minutes_ago: i64) {
        let parent_uuid = Some(uuid.to_owned());
        self.add(text, Verified { parent_uuid, ..own(text, minutes_ago) });
        let mut state = self.fakes.machine.state();
        state.volumes.insert("v".to_owned(), "rows".to_owned());
        state.volume_facts.insert("v".to_owned(), volume(uuid));
    }

    async fn forget(&self, key: &str) {
        self.consul.transact(vec![TxnOp::Delete { key: key.to_owned() }]).await.unwrap();
    }

    async fn line(&self) -> Line {
        let entry = self.consul.get(LINES).await.unwrap().unwrap();
        serde_json::from_slice::<Lines>(&entry.value).unwrap().remove("v").unwrap()
    }
}

#[tokio::test]
async fn a_master_knows_its_volume_and_keeps_what_it_was_when_somebody_makes_it_anew() {
    let mut bench = Bench::of("node1").await;
    bench.take_of("V", "v@2025-01-01", 9);
    bench.look().await;
    let line = bench.line().await;
    assert_eq!(
        (line.made, line.vouched),
        (vec!["V".to_owned()], vec!["own-v@2025-01-01".to_owned()])
    );
    bench.take_of("W", "v@2025-01-02", 1);
    bench.look().await;
    let line = bench.line().await;
    assert_eq!(line.vouched, ["own-v@2025-01-01"]);
    assert_eq!(line.strange.unwrap().uuid, "W");
    assert_eq!(bench.kept(), ["v@2025-01-01"]);
    // An operator's word.
    bench.forget(LINES).await;
    bench.look().await;
    assert_eq!(bench.line().await.made, ["W"]);
    assert_eq!(bench.kept(), [""; 0]);
}

#[tokio::test]
async fn a_slave_gives_up_no_copy_for_one_that_its_master_does_not_know() {
    let mut bench = Bench::of("node2").await;
    let vouched = |text: &str| json!({"v": {"made": ["V"], "vouched": [format!("origin-{text}")]}});
    bench.put(LINES, &vouched("v@2025-01-01")).await;
    bench.receive("v@2025-01-01", 20);
    bench.look().await;
    assert_eq!(bench.kept(), ["v@2025-01-01"]);
    for (text, age) in [("v@2025-01-02", 10), ("v@2025-01-03", 5)] {
        bench.receive(text, age);
        bench.look().await;
        assert_eq!(bench.kept(), ["v@2025-01-01", text]);
    }
    bench.forget(LINES).await;
    bench.look().await;
    assert_eq!(bench.kept(), ["v@2025-01-01", "v@2025-01-03"], "what was known is remembered");
    bench.put(LINES, &vouched("v@2025-01-03")).await;
    bench.look().await;
    assert_eq!(bench.kept(), ["v@2025-01-03"]);
}

#[tokio::test]
async fn what_a_newer_agent_has_said_is_left_alone_and_so_is_what_depends_on_it() {
    let mut bench = Bench::of("node2").await;
    bench.receive("v@2025-01-01", 20);
    bench.look().await;
    let (before, kept) = (bench.published().await.unwrap(), bench.kept());
    // Whose data the copies are.
    bench.put("tandem/lines/app_main.44dd7", &json!({"format": 2, "all": "new"})).await;
    bench.receive("v@2025-01-02", 10);
    bench.look().await;
    assert_eq!(bench.published().await.unwrap(), before);
    assert!(kept.iter().all(|snapshot| bench.kept().contains(snapshot)));
    assert!(bench.check().is_some());
    bench.forget("tandem/lines/app_main.44dd7").await;
    bench.look().await;
    assert_ne!(bench.published().await.unwrap(), before);
    // Its own word.
    let newer = json!({"format": 2, "all": "new"});
    bench.put(KEY, &newer).await;
    bench.look().await;
    let said = bench.consul.get(KEY).await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&said.value).unwrap(), newer);
    // What nobody can read it says anew.
    bench.put(KEY, &json!("x")).await;
    bench.look().await;
    assert!(bench.published().await.unwrap().0.late.is_empty());
}
