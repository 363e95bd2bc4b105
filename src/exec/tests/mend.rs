//! A running deployment's record is overwritten with something that nobody can read.

use std::sync::Arc;

use futures_util::FutureExt;

use super::apps::id;
use super::scenarios::{Scenario, TESTED};
use super::seams::{Fault, marks};
use crate::consul::kv::Kv;
use crate::consul::memory::MemoryConsul;
use crate::consul::txn::TxnOp;
use crate::exec::concerns;
use crate::model::deployment::{FORMAT, State, Status, Step};
use crate::model::keys;

fn overwrite(consul: &MemoryConsul, key: &str, value: &[u8]) {
    let op = TxnOp::Set { key: key.to_owned(), value: value.to_vec() };
    consul.transact(vec![op]).now_or_never().unwrap().unwrap();
}

/// Just before a step is marked as running, or as done.
async fn overwritten(scenario: Scenario, index: usize, status: Status) {
    let what = format!("{scenario:?}, step {index} {status}");
    let lab = scenario.lab().await;
    let before = lab.entry().await;
    let planned = scenario.accepted(&lab).await;
    let key = keys::deployment(&lab.app, &id(TESTED));
    let hand = Arc::new(move |consul: &MemoryConsul| overwrite(consul, &key, b"{garbage"));
    for node in &lab.nodes {
        node.kv.inject(1, Fault::Meanwhile(hand.clone()), marks(index, status));
    }
    let state = lab.work(&id(TESTED)).await;
    let record = lab.record(&id(TESTED)).await;
    let told = record.warnings.iter().filter(|text| text.contains("has put it back"));
    assert!(told.count() > 0, "{what}: {:?}", record.warnings);
    let master = lab.node(scenario.master());
    if state == State::Completed {
        assert_eq!(master.volume(&lab, "data"), scenario.content(), "{what}");
    } else {
        // A commit is for just the record that it has read.
        let decides = matches!(planned.steps[index].step, Step::Commit | Step::Forget);
        assert!(decides && state == State::Undone, "{what}: {state} {:?}", record.reason);
        assert_eq!(lab.entry().await, before, "{what}");
        let content = lab.node(1).volume(&lab, "data");
        assert!(content.is_some_and(|content| content.starts_with("v1;last;")), "{what}");
    }
    lab.assert_idle(&what).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_put_back_whenever_that_happens_and_the_deployment_goes_on() {
    for (scenario, status) in [(Scenario::Swap, Status::Done), (Scenario::Destroy, Status::Running)]
    {
        let steps = scenario.accepted(&scenario.lab().await).await.steps.len();
        for index in 0..steps {
            overwritten(scenario, index, status).await;
        }
    }
}

/// A version that is newer may have written it, and who has seen nothing of the deployment knows nothing to put back.
#[tokio::test(start_paused = true)]
async fn what_a_newer_version_wrote_and_what_nobody_knows_is_left_alone() {
    let lab = Scenario::Swap.lab().await;
    let mut record = Scenario::Swap.accepted(&lab).await;
    record.format = FORMAT + 1;
    let mut newer = serde_json::to_value(&record).unwrap();
    newer["state"] = "unheard of".into();
    let key = keys::deployment(&lab.app, &id(TESTED));
    let context = lab.node(1).context();
    assert!(concerns(&context, &lab.app, &id(TESTED)).await.unwrap());
    for value in [newer.to_string(), "{garbage".to_owned()] {
        overwrite(&lab.consul, &key, value.as_bytes());
        let error = concerns(&context, &lab.app, &id(TESTED)).await.unwrap_err();
        let told = error.to_string();
        assert!(told.contains("can't be read") || told.contains("does not know"), "{told}");
        let left = lab.consul.get(&key).await.unwrap().unwrap().value;
        assert_eq!(left, value.as_bytes());
    }
}
