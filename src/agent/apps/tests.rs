use super::*;
use crate::agent::testing::{self, Made};
use crate::consul::memory::MemoryConsul;
use crate::model::NodeName;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

fn entry(master: &str) -> Vec<u8> {
    let text =
        format!(r#"{{"repo_url":"https://h/a","branch":"b","deploy_id":"1","master":"{master}"}}"#);
    text.into_bytes()
}

async fn write(consul: &MemoryConsul, ops: Vec<TxnOp>) {
    let kv = consul.client(&NodeName::parse("node2").unwrap());
    kv.transact(ops).await.unwrap();
}

fn set(key: &str, value: Vec<u8>) -> TxnOp {
    TxnOp::Set { key: key.to_owned(), value }
}

/// Waits for the apps that count.
async fn count(apps: &mut Apps, wanted: &[&str]) {
    let mut is_so = async || {
        loop {
            let now = apps.entries.borrow_and_update().clone();
            let now: Vec<String> =
                now.iter().flat_map(|now| now.iter()).map(|item| item.key.to_string()).collect();
            if now == wanted {
                return;
            }
            apps.entries.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, is_so()).await.unwrap_or_else(|_| panic!("{wanted:?} in vain"));
}

async fn told(apps: &mut Apps, wanted: &str) {
    let is_so = |told: &Vec<Problem>| match wanted {
        "" => told.is_empty(),
        wanted => told.iter().any(|it| it.what.contains(wanted)),
    };
    let told = timeout(PATIENCE, apps.problems.wait_for(is_so)).await;
    assert!(told.is_ok(), "{wanted:?} in vain");
}

#[tokio::test(start_paused = true)]
async fn apps_that_are_missing_stay_until_somebody_says_so_also_for_another_process() {
    let Made { consul, context, dir, .. } = testing::context("node1").await;
    let kv = context.cluster.kv.clone();
    let folder = || dir.path().join("apps");
    let keys = ["app/a_b.12345", "app/c_feature/d.12345"];
    write(&consul, keys.map(|key| set(key, entry("n1"))).into()).await;
    let mut apps = follow(kv.clone(), folder());
    count(&mut apps, &keys).await;
    let kept = async || {
        while std::fs::read_dir(dir.path().join("apps")).map_or(0, |files| files.count()) < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, kept()).await.unwrap();
    write(&consul, vec![TxnOp::DeleteTree { prefix: "app/".into() }]).await;
    told(&mut apps, "no record says that they were destroyed").await;
    count(&mut apps, &keys).await;
    drop(apps);
    let mut apps = follow(kv, folder());
    told(&mut apps, "`tandem forget a_b.12345 c_feature/d.12345`").await;
    count(&mut apps, &keys).await;
    write(&consul, vec![set("tandem/gone/a_b.12345", Vec::new())]).await;
    count(&mut apps, &keys[1..]).await;
    write(&consul, vec![set(keys[1], entry("n2"))]).await;
    told(&mut apps, "").await;
    count(&mut apps, &keys[1..]).await;
}

#[tokio::test(start_paused = true)]
async fn a_newer_agents_record_may_say_that_an_app_was_not_destroyed_last() {
    let consul = MemoryConsul::new();
    let id = |text: &str| crate::model::DeployId::parse(text).unwrap();
    let mut record: serde_json::Value =
        serde_json::from_str(include_str!("../../records/samples/deployment.json")).unwrap();
    record["placement"] = serde_json::Value::Null;
    let destroy: Deployment = serde_json::from_value(record.clone()).unwrap();
    let name = destroy.request.app().name();
    let text = record.to_string().into_bytes();
    write(&consul, vec![set(&keys::deployment(&name, &id("1")), text)]).await;
    assert!(is_destroyed(&consul, &name).await.unwrap());
    let newer = set(&keys::deployment(&name, &id("2")), br#"{"format":9}"#.to_vec());
    write(&consul, vec![newer]).await;
    assert!(!is_destroyed(&consul, &name).await.unwrap());
}
