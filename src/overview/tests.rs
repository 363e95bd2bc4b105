use std::time::Duration;

use super::testing::{APP, DONE, OTHER, RUNS, cluster, put};
use super::*;
use crate::consul::event::{Events, UserEvent};
use crate::consul::health::Health;
use crate::consul::memory::MemoryConsul;
use crate::event::{Decoded, decode};
use crate::model::{AppId, Branch, Repo, Request, Wanted};

fn app(name: &str) -> AppName {
    AppName::parse(name).unwrap()
}

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

#[tokio::test]
async fn apps_are_seen_with_pair_health_replica_and_maintenance() {
    let seen = look(&cluster().await, &cluster().await).await.unwrap();
    assert_eq!(seen.apps.keys().collect::<Vec<_>>(), [&app(OTHER), &app(APP)]);
    let one = &seen.apps[&app(APP)];
    assert_eq!((one.health, one.maintenance), (Some(Health::Critical), None));
    let queue = one.queue.as_ref().unwrap();
    assert_eq!(queue.running.as_ref().map(|id| id.as_str()), Some(RUNS));
    // Its slave has not said anything.
    assert!(one.replica.as_ref().is_some_and(|replica| replica.standing.is_none()));
    let other = &seen.apps[&app(OTHER)];
    assert_eq!((other.health, other.maintenance), (None, Some(Maintenance::Unsaid)));
    assert!(other.replica.is_none() && other.queue.is_none());
}

#[tokio::test]
async fn an_operators_maintenance_is_told_from_a_deployments() {
    let consul = cluster().await;
    for (value, why) in
        [(r#"{"deploy_id":"1"}"#, Maintenance::Deployment), ("until noon", Maintenance::Operator)]
    {
        put(&consul, &format!("maintenance/{OTHER}"), value).await;
        let seen = look(&consul, &consul).await.unwrap();
        assert_eq!(seen.apps[&app(OTHER)].maintenance, Some(why));
        assert!(!seen.problems.iter().any(|problem| matches!(problem, Problem::Unsaid(_))));
    }
}

#[tokio::test]
async fn nodes_are_seen_with_their_roles_what_fails_there_and_what_they_owe() {
    let seen = look(&cluster().await, &cluster().await).await.unwrap();
    let one = &seen.nodes[&node("node1")];
    assert_eq!((one.masters.as_slice(), one.slaves.len()), ([app(APP)].as_slice(), 0));
    assert!(one.agent.as_ref().is_some_and(|agent| agent.failing.is_some()));
    let two = &seen.nodes[&node("node2")];
    assert_eq!(two.facts.draining.as_deref(), Some("new disk"));
    let debts: Vec<_> =
        two.debts.iter().map(|debt| (&debt.app, debt.deployment.as_str())).collect();
    assert_eq!(debts, [(&app(APP), DONE)]);
    let three = &seen.nodes[&node("node3")];
    assert!(three.agent.is_none() && three.debts.is_empty());
    assert_eq!(three.slaves, [app(APP)]);
}

#[tokio::test]
async fn what_runs_comes_before_outcomes_and_those_in_the_order_in_which_consul_took_them() {
    let consul = cluster().await;
    let mut older = testing::completed();
    older["id"] = "1b5d0a2c-3f2e-4a4f-9f3e-0d5f7a1b2c3d".into();
    put(&consul, "tandem/deployments/a_b.12345/1b5d0a2c-3f2e-4a4f-9f3e-0d5f7a1b2c3d", &older).await;
    let seen = look(&consul, &consul).await.unwrap();
    let ids: Vec<_> = seen.deployments.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, [RUNS, "1b5d0a2c-3f2e-4a4f-9f3e-0d5f7a1b2c3d", DONE]);
}

#[tokio::test]
async fn whatever_can_not_be_read_is_a_problem_with_its_key() {
    let consul = cluster().await;
    let broken = [
        "app/a_b.12345",
        "tandem/replicas/a_b.12345/node1",
        "tandem/stalled/a_b.12345/node1",
        "tandem/lines/a_b.12345",
        "tandem/nodes/node3",
        "tandem/owed/node1/a_b.12345/1",
        "tandem/projects/ab12345",
        "tandem/leases/a_b.12345",
        "tandem/rejected/1",
    ];
    for key in broken {
        put(&consul, key, "{").await;
    }
    let seen = look(&consul, &consul).await.unwrap();
    let keys: Vec<_> = seen
        .problems
        .iter()
        .filter_map(|problem| {
            let Problem::Unreadable { key, why } = problem else { return None };
            why.starts_with(key).then_some(key.as_str())
        })
        .collect();
    let of_cluster = [format!("tandem/apps/{OTHER}"), format!("tandem/deployments/{OTHER}/1")];
    for key in broken.into_iter().chain(of_cluster.iter().map(String::as_str)) {
        assert!(keys.contains(&key), "{key}: {keys:?}");
    }
    assert_eq!(keys.len(), broken.len() + of_cluster.len(), "{keys:?}");
}

fn request(repo: &str, branch: &str) -> Request {
    let app = AppId { repo: Repo::parse(repo).unwrap(), branch: Branch::parse(branch).unwrap() };
    let replica = Wanted::Node(node("node2"));
    Request::Deploy { app, master: Some(node("node1")), replica, update: true, from_replica: false }
}

/// The only event that was fired.
async fn fired(consul: &MemoryConsul) -> UserEvent {
    let (_, events) = consul.watch_events(None, Duration::ZERO).await.unwrap();
    assert_eq!(events.len(), 1);
    events.into_iter().next().unwrap()
}

#[tokio::test]
async fn an_event_is_fired_whole_where_it_fits() {
    let consul = MemoryConsul::new().client(&node("node1"));
    let request = request("https://h.test/a", "main");
    let id = fire(&consul, &consul, &request).await.unwrap();
    let event = fired(&consul).await;
    assert_eq!(event.id, id);
    assert_eq!(decode(&event.name, &event.payload).unwrap(), Decoded::Request(request));
    assert!(consul.list(keys::REQUESTS).await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn an_event_that_is_too_long_goes_by_the_short_form() {
    let consul = MemoryConsul::new().client(&node("node1"));
    let request = request(&format!("https://h.test/{}", "a".repeat(280)), &"b".repeat(120));
    let id = fire(&consul, &consul, &request).await.unwrap();
    let event = fired(&consul).await;
    assert_eq!(event.id, id);
    let Decoded::Reference(reference) = decode(&event.name, &event.payload).unwrap() else {
        panic!("{:?}", String::from_utf8_lossy(&event.payload));
    };
    let text = consul.get(&keys::request(&reference)).await.unwrap().unwrap().value;
    assert_eq!(decode("deploy", &text).unwrap(), Decoded::Request(request));
}
