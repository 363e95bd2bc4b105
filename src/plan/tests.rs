use super::*;
use crate::model::deployment::Step;
use crate::model::{AppId, AppRecord, Branch, Repo};

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

fn facts(app: Option<(&str, Option<&str>)>) -> Facts {
    let there = NodeFacts { alive: true, agent: true, ..NodeFacts::default() };
    let nodes = ["node1", "node2", "node3"].map(|name| (node(name), there.clone()));
    Facts {
        nodes: nodes.into(),
        app: app.map(|(master, slave)| record(master, slave)),
        ..Facts::default()
    }
}

fn record(master: &str, slave: Option<&str>) -> AppRecord {
    serde_json::from_value(serde_json::json!({
        "repo_url": "git://h/app", "branch": "main", "deploy_id": "former", "master": master, "slave": slave,
    }))
    .unwrap()
}

fn app() -> AppId {
    AppId { repo: Repo::parse("git://h/app").unwrap(), branch: Branch::parse("main").unwrap() }
}

fn deploy(master: Option<&str>, replica: Option<&str>, update: bool) -> Request {
    Request::Deploy {
        app: app(),
        master: master.map(node),
        replica: replica.map(node).into(),
        update,
    }
}

fn planned(request: &Request, facts: &Facts) -> Result<Plan, Refusal> {
    plan(&DeployId::parse("new").unwrap(), request, facts)
}

/// Every placement that a redeploy with a staying master can start from or lead to.
fn replicas() -> [Option<&'static str>; 3] {
    [None, Some("node2"), Some("node3")]
}

#[test]
fn a_redeploy_commits_once_and_removes_only_afterwards() {
    for old in replicas() {
        for new in replicas() {
            let plan =
                planned(&deploy(Some("node1"), new, true), &facts(Some(("node1", old)))).unwrap();
            let position =
                |wanted: &Step| plan.steps.iter().position(|s| s.step == *wanted).unwrap();
            assert_eq!(plan.steps.iter().filter(|s| s.step == Step::Commit).count(), 1);
            let removals = plan.steps.iter().position(|s| {
                matches!(
                    s.step,
                    Step::RemoveCheckouts { .. }
                        | Step::Unschedule
                        | Step::ReleaseImages
                        | Step::Remove
                )
            });
            assert!(removals.unwrap() > position(&Step::Commit));
            let order = [
                Step::Checkout,
                Step::Check,
                Step::KeepImages,
                Step::Pull,
                Step::Build,
                Step::BeginMaintenance,
                Step::Stop,
                Step::Snapshot,
                Step::Update,
                Step::Up,
                Step::AwaitHealthy,
                Step::Commit,
            ];
            let positions: Vec<_> = order.iter().map(position).collect();
            assert!(positions.is_sorted(), "{positions:?}");
        }
    }
}

#[test]
fn a_slave_that_leaves_is_cleaned_and_one_that_comes_gets_a_checkout() {
    let plan = planned(
        &deploy(Some("node1"), Some("node3"), false),
        &facts(Some(("node1", Some("node2")))),
    )
    .unwrap();
    let of = |name: &str| -> Vec<String> {
        plan.steps.iter().filter(|s| s.node.as_str() == name).map(|s| s.step.to_string()).collect()
    };
    assert_eq!(of("node2"), ["unschedule", "remove checkouts"]);
    assert_eq!(of("node3"), ["checkout", "receive probe", "schedule", "remove checkouts"]);
    assert!(
        plan.steps.iter().any(|s| {
            s.node.as_str() == "node2" && s.step == Step::RemoveCheckouts { keep: None }
        })
    );
}

#[test]
fn a_destroy_takes_snapshots_and_forgets_the_app_before_it_removes_anything() {
    let plan =
        planned(&Request::Destroy { app: app() }, &facts(Some(("node1", Some("node2"))))).unwrap();
    let names: Vec<_> = plan.steps.iter().map(|s| format!("{} {}", s.node, s.step)).collect();
    assert_eq!(
        names,
        [
            "node1 begin maintenance",
            "node1 stop",
            "node1 snapshot",
            "node1 forget",
            "node1 deregister",
            "node1 unschedule",
            "node2 unschedule",
            "node1 remove",
            "node1 remove checkouts",
            "node2 remove checkouts",
            "node1 end maintenance",
        ]
    );
}

#[test]
fn refusals_say_what_is_wrong() {
    let here = facts(None);
    let mut dead = facts(None);
    dead.nodes.get_mut(&node("node2")).unwrap().alive = false;
    let mut left = facts(Some(("node1", None)));
    left.nodes.get_mut(&node("node1")).unwrap().alive = false;
    let unreadable = Facts { unreadable: Some("bad".to_owned()), ..facts(None) };
    for (request, facts, expected) in [
        (
            deploy(Some("node9"), None, false),
            &here,
            "no node named node9 (there are node1, node2, node3)",
        ),
        (deploy(Some("node2"), None, false), &dead, "Consul does not reach it"),
        (deploy(None, None, false), &here, "no node can be picked as the master: node1 "),
        (deploy(Some("node2"), None, false), &left, "newest data is on its master node1"),
        (Request::Destroy { app: app() }, &here, "no such app"),
        (deploy(Some("node1"), None, false), &unreadable, "can't be read: bad"),
    ] {
        let refusal = planned(&request, facts).unwrap_err().to_string();
        assert!(refusal.contains(expected), "{refusal}");
    }
}
