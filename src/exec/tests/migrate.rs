//! The volumes of one app go into another; whatever fails, the target is as it was.

use std::time::Duration;

use tokio::time::sleep;

use super::apps::{V1, app, deploy, id, to};
use super::lab::Lab;
use super::scenarios::When;
use super::world::World;
use crate::consul::kv::Kv;
use crate::consul::txn::TxnOp;
use crate::model::deployment::{State, Status, Step};
use crate::model::{AppId, Branch, DeployId, Request, keys};
use crate::records::Queue;

/// With a volume that may not leave it.
const SOURCE: &str = r#"
services:
  web: {image: "registry:5000/db:1"}
volumes:
  data: {driver: "anybox/buttervolume:latest"}
  keys:
    driver: "anybox/buttervolume:latest"
    labels: {com.github.mlfmonde.cluster.nonmigrable: "true"}
"#;
const TARGET: &str = r#"
services:
  web: {image: "registry:5000/db:1"}
volumes:
  data: {driver: "anybox/buttervolume:latest"}
  keys: {driver: "anybox/buttervolume:latest"}
  own: {driver: "anybox/buttervolume:latest"}
"#;
const TESTED: u32 = 5;

fn source() -> AppId {
    AppId { branch: Branch::parse("source").unwrap(), ..app() }
}

fn migrate() -> Request {
    Request::Migrate { app: source(), target: app(), update: true }
}

/// The source on one node, the target on another or the same one.
async fn lab(source_on: usize, target_on: usize) -> Lab {
    let mut lab = Lab::new().await;
    let files = |compose: &'static str, version| {
        [
            ("docker-compose.yml", compose),
            ("VERSION", version),
            ("update.sh", "#!/bin/sh\n"),
            ("post_migrate.sh", "#!/bin/sh\n"),
        ]
    };
    for node in &lab.nodes {
        node.fakes.repositories.put(&source(), "s", &files(SOURCE, "source"));
        node.fakes.repositories.put(&app(), "t", &files(TARGET, "target"));
    }
    let target = std::mem::replace(&mut lab.app, source().name());
    let Request::Deploy { master, .. } = to(source_on, None) else { unreachable!() };
    let request = Request::Deploy {
        app: source(),
        master,
        replica: Some(super::apps::node(2)).filter(|_| source_on != 2).into(),
        update: false,
        from_replica: false,
    };
    assert_eq!(lab.run(&id(1), &request).await, State::Completed);
    lab.app = target;
    assert_eq!(lab.run(&id(2), &to(target_on, None)).await, State::Completed);
    lab
}

fn data(lab: &Lab, number: usize, app: &AppId, volume: &str) -> Option<String> {
    let name = app.name().project().volume(volume);
    lab.node(number).fakes.machine.state().volumes.get(&name).cloned()
}

/// The snapshots of the source's volumes on a node.
fn foreign(lab: &Lab, number: usize) -> Vec<String> {
    let (state, own) = (lab.node(number).fakes.machine.state(), source().name().project());
    let names = state.snapshots.keys().filter(|name| name.volume().starts_with(&own.volume("")));
    names.map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn what_both_have_is_copied_and_the_source_goes_on() {
    for (from, to) in [(1, 1), (1, 3), (1, 2)] {
        let lab = lab(from, to).await;
        let state = lab.run(&id(TESTED), &migrate()).await;
        let record = lab.record(&id(TESTED)).await;
        assert_eq!(state, State::Completed, "{record:#?}");
        let seen = |volume| data(&lab, to, &app(), volume).unwrap();
        assert_eq!(seen("data"), "source;updated;target;", "{from} {to}");
        assert_eq!(seen("keys"), "target;last;updated;target;", "not to be migrated");
        assert_eq!(seen("own"), "target;last;updated;target;", "the source has none");
        assert_eq!(data(&lab, from, &source(), "data").unwrap(), "source;", "never stopped");
        let calls = lab.node(to).fakes.machine.calls();
        let position = |part: &str| calls.iter().rposition(|call| call.contains(part)).unwrap();
        assert!(position("post_migrate.sh -R") < position("update.sh -r"));
        lab.assert_idle("migrated").await;
        // The source's own node and its slave have snapshots of it anyway.
        let copies = foreign(&lab, to);
        assert_eq!(copies.is_empty(), to == 3, "{copies:#?}");
    }
}

async fn fail_at(lab: &Lab, failed: usize, when: When) -> bool {
    let before = lab.worlds();
    assert_eq!(lab.accept(&id(TESTED), &migrate()).await, State::Running);
    let accepted = lab.record(&id(TESTED)).await;
    let step = &accepted.steps[failed];
    if step.step == Step::Commit {
        return false;
    }
    let what = format!("{} on {} fails, {when:?}", step.step, step.node);
    if step.step == Step::AwaitHealthy {
        use crate::host::docker::{Health, State as Run};
        lab.node_of(step).fakes.compose.set_outcome("web", Run::Exited(1), Health::None);
    } else {
        lab.fail(step, 1, when);
    }
    // The former version is healthy again.
    let heal = async {
        while lab.record(&id(TESTED)).await.state == State::Running {
            sleep(Duration::from_millis(100)).await;
        }
        lab.node_of(step).fakes.compose.set_outcome(
            "web",
            crate::host::docker::State::Running,
            crate::host::docker::Health::None,
        );
    };
    let tested = id(TESTED);
    let (state, ()) = tokio::join!(lab.work(&tested), heal);
    assert!(matches!(state, State::Undone | State::Refused), "{what}: {state}");
    lab.assert_idle(&what).await;
    for (node, before) in lab.nodes.iter().zip(&before) {
        let mut now = node.world(lab);
        for content in now.volumes.values_mut() {
            *content = content.replace("last;target;", "");
        }
        assert_eq!(now, World { ..before.clone() }, "{what}: {}", node.name);
    }
    assert_eq!(foreign(lab, 3), Vec::<String>::new(), "{what}: copies are left");
    lab.mend();
    assert_eq!(lab.run(&id(TESTED + 1), &migrate()).await, State::Completed, "{what}");
    true
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_the_target_is_as_it_was() {
    for when in [When::Before, When::After] {
        let mut failed = 0;
        while fail_at(&lab(1, 3).await, failed, when).await {
            failed += 1;
        }
        assert!(failed > 10, "{failed} steps only");
    }
}

#[tokio::test(start_paused = true)]
async fn apps_without_a_common_volume_are_refused() {
    let lab = lab(1, 3).await;
    for node in &lab.nodes {
        node.fakes.repositories.put(&app(), "v1", &[("docker-compose.yml", V1)]);
    }
    let mut plain = V1.replace("data:", "other:");
    plain.push('\n');
    for node in &lab.nodes {
        node.fakes.repositories.put(&app(), "v2", &[("docker-compose.yml", plain.as_str())]);
    }
    assert_eq!(lab.run(&id(3), &deploy(None)).await, State::Completed);
    assert_eq!(lab.run(&id(TESTED), &migrate()).await, State::Refused);
    let reason = lab.record(&id(TESTED)).await.reason.unwrap();
    assert!(reason.contains("no BTRFS volume of the same name"), "{reason}");
}

/// Data that a deployment of the source may still take back is not migrated.
#[tokio::test(start_paused = true)]
async fn a_source_that_is_being_deployed_is_waited_for() {
    let lab = lab(1, 3).await;
    let key = keys::queue(&source().name());
    let queue = |running: Option<DeployId>| {
        let value = serde_json::to_vec(&Queue { epoch: 1, running, ..Queue::default() });
        TxnOp::Set { key: key.clone(), value: value.unwrap() }
    };
    // Its first deployment, with all its steps begun, is at work again.
    lab.consul.transact(vec![queue(Some(id(1)))]).await.unwrap();
    assert_eq!(lab.accept(&id(TESTED), &migrate()).await, State::Running);
    let tested = id(TESTED);
    let over = async {
        sleep(Duration::from_secs(60)).await;
        let record = lab.record(&tested).await;
        let takes = record.steps.iter().find(|record| record.step == Step::SnapshotSource);
        assert_eq!(takes.unwrap().status, Status::Running);
        let taken = format!("snapshot {}", source().name().project().volume("data"));
        assert!(!lab.node(1).fakes.machine.calls().contains(&taken));
        lab.consul.transact(vec![queue(None)]).await.unwrap();
    };
    let (state, ()) = tokio::join!(lab.work(&tested), over);
    assert_eq!(state, State::Completed);
}
