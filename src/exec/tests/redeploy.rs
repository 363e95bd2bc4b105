//! New versions on the same master, replicas that come and go, and the end of an app.

use super::apps::{V1, V2, app, deploy, destroy, id, node, update};
use super::lab::Lab;
use super::scenarios::When;
use super::world::World;
use crate::consul::kv::Kv;
use crate::consul::txn::TxnOp;
use crate::host::volume::SnapshotName;
use crate::model::deployment::{State, Step};
use crate::model::{Role, keys};

async fn deployed(replica: Option<usize>) -> Lab {
    let lab = Lab::new().await;
    assert_eq!(lab.run(&id(1), &deploy(replica)).await, State::Completed);
    lab.push("v2", V2);
    lab
}

impl Lab {
    fn checkout(&self, number: u32) -> String {
        format!("{}-{}", self.app, id(number))
    }

    /// The actions on schedule for `data` on a node.
    fn actions(&self, number: usize) -> Vec<String> {
        let schedules = self.node(number).world(self).schedules;
        let data = self.app.project().volume("data");
        schedules.into_iter().filter(|s| s.0 == data).map(|s| s.1).collect()
    }

    /// A snapshot of `data` that the schedule has sent to a node.
    fn receive(&self, number: usize) -> SnapshotName {
        let name = format!("{}@2024-12-31T00:00:00.000001", self.app.project().volume("data"));
        let name = SnapshotName::parse(&name).unwrap();
        self.node(number).fakes.volumes.receive(&name, "v1;");
        name
    }

    fn has_snapshot(&self, number: usize, name: &SnapshotName) -> bool {
        self.node(number).fakes.machine.state().snapshots.contains_key(name)
    }

    async fn put(&self, key: String, value: &str) {
        let op = TxnOp::Set { key, value: value.into() };
        self.consul.transact(vec![op]).await.unwrap();
    }
}

const PURGE: &str = "purge:1h:1d:1w:4w:1y";

#[tokio::test(start_paused = true)]
async fn a_new_version_takes_over_the_data_of_the_moment_of_the_stop() {
    let lab = deployed(Some(2)).await;
    assert_eq!(lab.run(&id(2), &deploy(Some(2))).await, State::Completed);
    let entry = lab.entry().await.unwrap();
    assert_eq!(entry.deploy_id, id(2).as_str());
    assert_eq!(entry.previous_deploy_id.as_deref(), Some(id(1).as_str()));
    let project = lab.app.project();
    assert_eq!(entry.volumes, [project.volume("data"), project.volume("extra")]);
    let master = lab.node(1).world(&lab);
    assert_eq!(master.containers.len(), 3);
    assert!(master.containers.iter().all(|(_, _, runs)| *runs));
    let web = master.containers.iter().find(|c| c.0 == project.container("web")).unwrap();
    assert_eq!(Some(&web.1), master.images.get(&format!("{project}_web:latest")));
    assert_eq!(master.volumes[&project.volume("data")], "v1;last;v2;");
    assert_eq!(lab.node(1).snapshots(&lab, "data"), ["v1;last;"]);
    for number in [1, 2] {
        let world = lab.node(number).world(&lab);
        assert_eq!(world.checkouts, [lab.checkout(2)].into(), "node{number}");
        assert!(world.schedules.contains(&(project.volume("extra"), PURGE.to_owned(), 1440)));
    }
    lab.assert_idle("redeploy").await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_comes() {
    let lab = deployed(None).await;
    assert_eq!(lab.run(&id(2), &deploy(Some(2))).await, State::Completed);
    assert_eq!(lab.actions(1), [PURGE, "replicate:10.77.0.2"]);
    assert_eq!(lab.actions(2), [PURGE]);
    assert_eq!(lab.node(2).world(&lab).checkouts, [lab.checkout(2)].into());
    assert_eq!(lab.entry().await.unwrap().slave, Some(node(2)));
}

#[tokio::test(start_paused = true)]
async fn a_replica_goes_and_its_snapshots_stay() {
    let lab = deployed(Some(2)).await;
    let received = lab.receive(2);
    assert_eq!(lab.run(&id(2), &deploy(None)).await, State::Completed);
    assert_eq!(lab.actions(1), [PURGE, "snapshot"]);
    assert_eq!(lab.node(2).world(&lab), World::default());
    assert!(lab.has_snapshot(2, &received));
    assert_eq!(lab.entry().await.unwrap().slave, None);
}

#[tokio::test(start_paused = true)]
async fn another_replica_takes_the_place_of_the_former() {
    let lab = deployed(Some(2)).await;
    let received = lab.receive(2);
    assert_eq!(lab.run(&id(2), &deploy(Some(3))).await, State::Completed);
    assert_eq!(lab.actions(1), [PURGE, "replicate:10.77.0.3"]);
    assert_eq!(lab.node(2).world(&lab), World::default());
    assert!(lab.has_snapshot(2, &received));
    assert_eq!(lab.actions(3), [PURGE]);
    assert_eq!(lab.node(3).world(&lab).checkouts, [lab.checkout(2)].into());
    let record = lab.record(&id(2)).await;
    let roles = |number| record.transitions[&node(number)];
    assert_eq!((roles(2).from, roles(2).to), (Role::Replica, Role::Bystander));
    assert_eq!((roles(3).from, roles(3).to), (Role::Bystander, Role::Replica));
}

#[tokio::test(start_paused = true)]
async fn a_destroy_leaves_the_snapshots_and_nothing_else() {
    let lab = deployed(Some(2)).await;
    let received = lab.receive(2);
    assert_eq!(lab.run(&id(2), &destroy()).await, State::Completed);
    for node in &lab.nodes {
        assert_eq!(node.world(&lab).images.len(), usize::from(node.name == super::apps::node(1)));
        let world = World { images: node.world(&lab).images, ..World::default() };
        assert_eq!(node.world(&lab), world, "{}", node.name);
    }
    assert_eq!(lab.node(1).snapshots(&lab, "data"), ["v1;last;"]);
    assert!(lab.has_snapshot(2, &received));
    assert_eq!(lab.value(&keys::app(&lab.app)).await, None);
    lab.assert_idle("destroy").await;
}

#[tokio::test(start_paused = true)]
async fn what_was_never_there_can_t_be_destroyed() {
    let lab = Lab::new().await;
    assert_eq!(lab.run(&id(1), &destroy()).await, State::Refused);
    assert!(lab.record(&id(1)).await.reason.unwrap().contains("no such app"));
    lab.assert_idle("refused").await;
}

#[tokio::test(start_paused = true)]
async fn an_operators_maintenance_outlives_a_deployment_but_not_the_app() {
    let lab = deployed(Some(2)).await;
    let key = keys::maintenance(&lab.app);
    lab.put(key.clone(), "until tuesday").await;
    lab.push("v2", V2);
    assert_eq!(lab.run(&id(2), &deploy(Some(2))).await, State::Completed);
    let warnings = lab.record(&id(2)).await.warnings;
    let told = |warning: &String| warning.contains("the app stays under maintenance");
    assert!(warnings.iter().any(told), "{warnings:?}");
    assert_eq!(lab.value(&key).await.as_deref(), Some("until tuesday"));
    assert_eq!(lab.run(&id(3), &destroy()).await, State::Completed);
    assert_eq!(lab.value(&key).await, None);
}

#[tokio::test(start_paused = true)]
async fn what_others_wrote_into_the_entry_stays() {
    let lab = deployed(None).await;
    let text = lab.value(&keys::app(&lab.app)).await.unwrap();
    let mut entry: serde_json::Value = serde_json::from_str(&text).unwrap();
    entry["note"] = "mine".into();
    lab.put(keys::app(&lab.app), &entry.to_string()).await;
    lab.run(&id(2), &deploy(None)).await;
    assert_eq!(lab.entry().await.unwrap().other["note"], "mine");
}

/// `update.sh` starts containers, as `docker compose run` does, and then fails.
#[tokio::test(start_paused = true)]
async fn what_a_failed_update_started_is_taken_down() {
    for before in [false, true] {
        let lab = if before { deployed(Some(2)).await } else { Lab::new().await };
        lab.push("v2", V2);
        let mut expected = lab.worlds();
        *lab.node(1).compose.untidy_update.lock().unwrap() = true;
        lab.accept(&id(2), &update()).await;
        let record = lab.record(&id(2)).await;
        let step = record.steps.iter().find(|step| step.step == Step::Update).unwrap();
        lab.fail(step, 1, When::After);
        assert_eq!(lab.work(&id(2)).await, State::Undone);
        for (node, expected) in lab.nodes.iter().zip(&mut expected) {
            let mut world = node.world(&lab);
            world.images.clone_from(&expected.images);
            for content in expected.volumes.values_mut() {
                content.push_str("last;v1;");
            }
            assert_eq!(world, *expected, "{}", node.name);
        }
        lab.assert_idle("update").await;
        assert_eq!(lab.run(&id(3), &deploy(Some(2))).await, State::Completed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_maintenance_page_comes_and_goes_with_its_file() {
    let lab = Lab::new().await;
    let push = |page: Option<&str>| {
        for node in &lab.nodes {
            let files = [("docker-compose.yml", V1)].into_iter();
            let files: Vec<_> = files.chain(page.map(|page| ("maintenance.html", page))).collect();
            node.fakes.repositories.put(&app(), "v", &files);
        }
    };
    push(Some("<p>Back at nine {env.HOME}"));
    assert_eq!(lab.run(&id(1), &deploy(Some(2))).await, State::Completed);
    let page = lab.entry().await.unwrap().maintenance_page;
    assert_eq!(page.as_deref(), Some("<p>Back at nine {env.HOME}"));
    push(Some(&"x".repeat(32 * 1024 + 1)));
    assert_eq!(lab.run(&id(2), &deploy(Some(2))).await, State::Refused);
    let reason = lab.record(&id(2)).await.reason.unwrap();
    assert!(reason.contains("maintenance.html is larger than 32 KiB"), "{reason}");
    assert_eq!(lab.entry().await.unwrap().maintenance_page, page);
    push(None);
    assert_eq!(lab.run(&id(3), &deploy(Some(2))).await, State::Completed);
    let text = lab.value(&keys::app(&lab.app)).await.unwrap();
    assert!(!text.contains("maintenance_page"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_admins_policy_is_asked_by_the_check() {
    let mail = r#"
services:
  web:
    image: x
    environment:
      HAPROXY: '{"mail": {"frontend": {"mode": "tcp", "bind": ["*:2525"], "options": ["maxconn 9"]},
        "backends": [{"name": "mail", "port": 25, "peer_port": 2525, "ct": "mail.test"}]}}'
"#;
    let lab = Lab::new().await;
    lab.push("mail", mail);
    assert_eq!(lab.run(&id(1), &deploy(None)).await, State::Refused);
    let reason = lab.record(&id(1)).await.reason.unwrap();
    assert!(reason.contains("a policy has to name \"maxconn\""), "{reason}");
    let policy = r#"{"repo": "https://git.example/hello.git", "upstreams": ["mail.test:25"],
        "haproxy_keywords": ["maxconn"]}"#;
    lab.put(format!("{}hello", keys::POLICIES), policy).await;
    assert_eq!(lab.run(&id(2), &deploy(None)).await, State::Completed);
    let entry = lab.entry().await.unwrap();
    assert_eq!(entry.haproxy["mail"]["backends"][0]["ct"], "mail.test");
    lab.put(format!("{}hello", keys::POLICIES), "{}").await;
    assert_eq!(lab.run(&id(3), &deploy(None)).await, State::Refused, "a wrong one is none");
}
