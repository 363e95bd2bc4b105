//! A cluster with a bit of everything, for the tests of views.

use serde_json::{Value, json};

use crate::consul::catalog::Catalog;
use crate::consul::kv::Kv;
use crate::consul::memory::MemoryConsul;
use crate::consul::txn::TxnOp;
use crate::model::NodeName;

/// The app that serves, and has a slave.
pub(crate) const APP: &str = "hung-leader_master.5e249";
/// One that the older system has left under maintenance.
pub(crate) const OTHER: &str = "foobar_master.ddb14";
/// The deployment that serves.
pub(crate) const DONE: &str = "faada381-5510-3024-a934-e063d3466e9f";
/// The one that runs.
pub(crate) const RUNS: &str = "0b5d0a2c-3f2e-4a4f-9f3e-0d5f7a1b2c3d";

/// A record as an agent wrote it.
pub(crate) fn completed() -> Value {
    serde_json::from_str(include_str!("../records/samples/deployment.json")).unwrap()
}

/// The same when it is about to commit.
pub(crate) fn running() -> Value {
    let mut record = completed();
    (record["id"], record["state"]) = (RUNS.into(), "running".into());
    (record["committed"], record["finished_at"]) = (false.into(), Value::Null);
    for step in record["steps"].as_array_mut().unwrap() {
        if step["stage"].as_u64() >= Some(18) {
            let fields = step.as_object_mut().unwrap();
            fields.retain(|name, _| ["stage", "node", "step"].contains(&name.as_str()));
            fields.insert("status".to_owned(), "pending".into());
        }
    }
    record
}

pub(crate) async fn put(consul: &MemoryConsul, key: &str, value: impl ToString) {
    let set = TxnOp::Set { key: key.to_owned(), value: value.to_string().into_bytes() };
    consul.transact(vec![set]).await.unwrap();
}

/// Three nodes; node3 has no agent.
pub(crate) async fn cluster() -> MemoryConsul {
    let consul = MemoryConsul::new();
    let [node1, _, _] =
        ["node1", "node2", "node3"].map(|name| consul.client(&NodeName::parse(name).unwrap()));
    put(&consul, &format!("app/{APP}"), include_str!("../records/samples/app.json")).await;
    let other = json!({
        "repo_url": "https://gitlab.example.com/hosting/foobar", "branch": "master", "deploy_id": "1",
        "master": "node2", "slave": null, "urls": "http://foobar.test",
    });
    put(&consul, &format!("app/{OTHER}"), other).await;
    put(&consul, &format!("maintenance/{OTHER}"), "").await;
    let service = json!({"name": APP, "Checks": [
        {"HTTP": "http://hello.test", "Status": "passing"}, {"HTTP": "http://www.hello.test", "Status": "critical"},
    ]});
    node1.register_raw_service(service).await.unwrap();
    let agent = |problems: Value| json!({"version": "0.1.0", "address": "10.77.0.1", "since": "2026-11-29T16:47:21Z", "problems": problems});
    let mut failing = agent(json!(["app/x: is left out"]));
    failing["failing"] = json!({"since": "2026-11-29T16:50:00Z", "why": "HAProxy does not run"});
    put(&consul, "tandem/nodes/node1", failing).await;
    put(&consul, "tandem/nodes/node2", agent(json!([]))).await;
    put(&consul, "tandem/draining/node2", "new disk").await;
    put(&consul, &format!("tandem/deployments/{APP}/{DONE}"), completed()).await;
    put(&consul, &format!("tandem/deployments/{APP}/{RUNS}"), running()).await;
    put(&consul, &format!("tandem/deployments/{OTHER}/1"), "{").await;
    put(&consul, &format!("tandem/apps/{OTHER}"), r#"{"format":2}"#).await;
    let queue = json!({"epoch": 4, "running": RUNS, "waiting": null});
    put(&consul, &format!("tandem/apps/{APP}"), queue).await;
    let mut owed = completed();
    let step =
        owed["steps"].as_array_mut().unwrap().iter_mut().find(|step| step["node"] == "node2");
    let step = step.unwrap().as_object_mut().unwrap();
    step.insert("status".to_owned(), "owed".into());
    step.insert("error".to_owned(), "buttervolume does not answer".into());
    put(&consul, &format!("tandem/owed/node2/{APP}/{DONE}"), owed).await;
    let rejection = include_str!("../records/samples/rejection.json");
    put(&consul, "tandem/rejected/5b5d0a2c-3f2e-4a4f-9f3e-0d5f7a1b2c3d", rejection).await;
    consul
}
