//! One deployment per app at a time, and each request written down once.

use std::sync::Arc;

use super::apps::{V2, deploy, destroy, id, node};
use super::lab::Lab;
use super::scenarios::{Scenario, TESTED};
use super::seams::{Fault, changes};
use super::world::World;
use crate::consul::kv::Kv;
use crate::consul::memory::MemoryConsul;
use crate::exec::{Acceptance, accept, promote};
use crate::model::deployment::State;
use crate::model::keys;

#[tokio::test(start_paused = true)]
async fn the_newest_waits_and_runs_with_the_facts_of_its_moment() {
    let lab = Lab::new().await;
    assert_eq!(lab.accept(&id(1), &deploy(Some(2))).await, State::Running);
    assert_eq!(lab.accept(&id(2), &deploy(None)).await, State::Waiting);
    assert_eq!(lab.accept(&id(3), &deploy(Some(3))).await, State::Waiting);
    let second = lab.record(&id(2)).await;
    assert_eq!(second.state, State::Superseded);
    assert!(second.reason.unwrap().contains(id(3).as_str()) && second.finished_at.is_some());
    assert_eq!(lab.work(&id(1)).await, State::Completed);
    let third = lab.record(&id(3)).await;
    assert_eq!(third.state, State::Running);
    assert_eq!(third.former.unwrap().deploy_id, id(1).as_str());
    assert!(third.epoch > lab.record(&id(1)).await.epoch);
    assert_eq!(lab.work(&id(3)).await, State::Completed);
    let entry = lab.entry().await.unwrap();
    assert_eq!((entry.deploy_id.as_str(), entry.slave), (id(3).as_str(), Some(node(3))));
    assert_eq!(lab.record(&id(2)).await.state, State::Superseded);
    assert_eq!(lab.node(2).world(&lab), World::default());
    lab.assert_idle("queue").await;
}

/// An operator deletes the record of a deployment that waits for a node that will not come back.
#[tokio::test(start_paused = true)]
async fn what_waits_behind_a_deleted_record_is_begun() {
    let lab = Lab::new().await;
    lab.accept(&id(1), &deploy(None)).await;
    assert_eq!(lab.accept(&id(2), &deploy(None)).await, State::Waiting);
    promote(&lab.node(3).context(), &lab.app).await.unwrap();
    assert_eq!(lab.record(&id(2)).await.state, State::Waiting);
    let kv: &dyn Kv = &lab.consul;
    kv.delete(&keys::deployment(&lab.app, &id(1))).await.unwrap();
    promote(&lab.node(3).context(), &lab.app).await.unwrap();
    assert_eq!(lab.work(&id(2)).await, State::Completed);
    lab.assert_idle("deleted").await;
}

#[tokio::test(start_paused = true)]
async fn a_destroy_waits_for_the_deploy_before_it() {
    let lab = Lab::new().await;
    lab.accept(&id(1), &deploy(Some(2))).await;
    assert_eq!(lab.accept(&id(2), &destroy()).await, State::Waiting);
    assert_eq!(lab.work(&id(1)).await, State::Completed);
    assert_eq!(lab.work(&id(2)).await, State::Completed);
    assert_eq!(lab.entry().await, None);
    assert_eq!(lab.node(2).world(&lab), World::default());
    assert!(lab.node(1).world(&lab).volumes.is_empty());
    lab.assert_idle("destroy").await;
}

#[tokio::test(start_paused = true)]
async fn a_destroy_behind_a_deploy_that_failed_finds_nothing() {
    let lab = Lab::new().await;
    *lab.node(1).proxies.refusal.lock().unwrap() = Some("no".to_owned());
    lab.accept(&id(1), &deploy(Some(2))).await;
    lab.accept(&id(2), &destroy()).await;
    assert_eq!(lab.work(&id(1)).await, State::Refused);
    assert_eq!(lab.record(&id(2)).await.state, State::Refused);
    lab.assert_idle("nothing").await;
}

#[tokio::test(start_paused = true)]
async fn two_nodes_that_hear_of_an_event_write_one_record() {
    let lab = Lab::new().await;
    let (request, id) = (deploy(Some(2)), id(1));
    let contexts = [lab.node(1).context(), lab.node(2).context(), lab.node(3).context()];
    let accepts = contexts.iter().map(|context| accept(context, &id, &request));
    let outcomes = futures_util::future::join_all(accepts).await;
    let accepted: Vec<_> =
        outcomes.iter().filter(|o| matches!(o, Ok(Acceptance::Accepted(_)))).collect();
    let known = outcomes.iter().filter(|o| matches!(o, Ok(Acceptance::Known))).count();
    assert_eq!((accepted.len(), known), (1, 2));
    assert_eq!(lab.record(&id).await.epoch, 1);
    assert_eq!(lab.work(&id).await, State::Completed);
}

#[tokio::test(start_paused = true)]
async fn an_answer_lost_when_accepting_does_no_harm() {
    let lab = Lab::new().await;
    lab.consul.lose_next_answer(&node(1));
    let context = lab.node(1).context();
    assert!(accept(&context, &id(1), &deploy(Some(2))).await.is_err());
    assert_eq!(accept(&context, &id(1), &deploy(Some(2))).await.unwrap(), Acceptance::Known);
    assert_eq!(lab.work(&id(1)).await, State::Completed);
    lab.assert_idle("accept").await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_lost_when_superseding_leaves_nobody_waiting() {
    let lab = Lab::new().await;
    lab.accept(&id(1), &deploy(Some(2))).await;
    lab.accept(&id(2), &deploy(None)).await;
    lab.consul.lose_next_answer(&node(1));
    let context = lab.node(1).context();
    assert!(accept(&context, &id(3), &deploy(Some(2))).await.is_err());
    assert_eq!(accept(&context, &id(3), &deploy(Some(2))).await.unwrap(), Acceptance::Known);
    assert_eq!(lab.record(&id(2)).await.state, State::Superseded);
    assert_eq!(lab.work(&id(1)).await, State::Completed);
    assert_eq!(lab.work(&id(3)).await, State::Completed);
    assert_eq!(lab.record(&id(2)).await.state, State::Superseded);
    lab.assert_idle("supersede").await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_lost_at_the_commit_does_no_harm() {
    let lab = Scenario::Redeploy.lab().await;
    Scenario::Redeploy.accepted(&lab).await;
    let lose = |consul: &MemoryConsul| consul.lose_next_answer(&node(1));
    lab.node(1).kv.inject(1, Fault::Meanwhile(Arc::new(lose)), changes(keys::APPS));
    assert_eq!(lab.work(&id(TESTED)).await, State::Completed);
    assert!(lab.node(1).kv.spent());
    let record = lab.record(&id(TESTED)).await;
    assert!(record.warnings.is_empty() && record.reason.is_none(), "{record:#?}");
    assert_eq!(lab.node(1).volume(&lab, "data"), Scenario::Redeploy.content());
    assert_eq!(lab.entry().await.unwrap().deploy_id, id(TESTED).as_str());
    lab.assert_idle("commit").await;
}

/// The agent that ends a deployment dies before it begins the one that waits.
async fn orphaned() -> Lab {
    let lab = Lab::new().await;
    lab.accept(&id(1), &deploy(Some(2))).await;
    lab.accept(&id(2), &deploy(None)).await;
    lab.push("v2", V2);
    lab.node(1).kv.inject(1, Fault::DieAfter, changes(keys::LEASES));
    assert_eq!(lab.work(&id(1)).await, State::Completed);
    let queue = lab.queue().await;
    assert_eq!((queue.running, queue.waiting), (None, Some(id(2))));
    lab
}

#[tokio::test(start_paused = true)]
async fn any_node_begins_what_waits_behind_nothing() {
    let lab = orphaned().await;
    promote(&lab.node(3).context(), &lab.app).await.unwrap();
    promote(&lab.node(2).context(), &lab.app).await.unwrap();
    assert_eq!(lab.work(&id(2)).await, State::Completed);
    lab.assert_idle("orphan").await;
}

#[tokio::test(start_paused = true)]
async fn a_newer_event_replaces_what_waits_behind_nothing() {
    let lab = orphaned().await;
    assert_eq!(lab.accept(&id(3), &deploy(Some(3))).await, State::Running);
    assert_eq!(lab.work(&id(3)).await, State::Completed);
    assert_eq!(lab.record(&id(2)).await.state, State::Superseded);
    assert_eq!(lab.entry().await.unwrap().deploy_id, id(3).as_str());
    lab.assert_idle("newer").await;
}

#[tokio::test(start_paused = true)]
async fn a_newer_event_that_is_refused_leaves_the_waiting_one_alone() {
    let lab = orphaned().await;
    lab.consul.set_alive(&node(3), false);
    assert_eq!(lab.accept(&id(3), &deploy(Some(3))).await, State::Refused);
    assert_eq!(lab.record(&id(2)).await.state, State::Waiting);
    promote(&lab.node(2).context(), &lab.app).await.unwrap();
    assert_eq!(lab.work(&id(2)).await, State::Completed);
    lab.assert_idle("refused").await;
}

#[tokio::test(start_paused = true)]
async fn only_the_newest_records_are_kept() {
    let lab = Lab::new().await;
    let kept = lab.node(1).context().config.keep_records;
    let last = u32::try_from(kept).unwrap() + 3;
    for number in 1..=last {
        lab.run(&id(number), &deploy(None)).await;
    }
    let records = lab.consul.list(&keys::deployments(&lab.app)).await.unwrap().entries;
    assert_eq!(records.len(), kept);
    assert!(records.iter().any(|entry| entry.key.ends_with(id(last).as_str())));
    assert!(!records.iter().any(|entry| entry.key.ends_with(id(1).as_str())));
}
