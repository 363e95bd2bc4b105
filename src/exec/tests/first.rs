//! An app's first deployment.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt;

use super::apps::{app, deploy, id, node, update};
use super::lab::Lab;
use super::seams::{Fault, begins, changes};
use super::world::World;
use crate::consul::kv::Kv;
use crate::consul::memory::MemoryConsul;
use crate::consul::txn::TxnOp;
use crate::model::deployment::{State, Status, Step};
use crate::model::keys;

fn texts<const N: usize>(texts: [&str; N]) -> BTreeSet<String> {
    texts.map(str::to_owned).into()
}

#[tokio::test(start_paused = true)]
async fn with_a_slave_it_serves_on_the_master_and_is_checked_out_on_both() {
    let lab = Lab::new().await;
    assert_eq!(lab.run(&id(1), &deploy(Some(2))).await, State::Completed);
    let record = lab.record(&id(1)).await;
    assert!(record.committed && record.finished_at.is_some() && record.reason.is_none());
    assert!(record.steps.iter().all(|step| step.status == Status::Done));
    assert!(record.warnings.is_empty(), "{:?}", record.warnings);

    let (project, checkout) = (lab.app.project(), format!("{}-{}", lab.app, id(1)));
    let [master, slave, third] = lab.worlds().try_into().unwrap();
    let running: Vec<_> =
        master.containers.iter().map(|(name, _, up)| (name.as_str(), *up)).collect();
    let (db, web) = (project.container("db"), project.container("web"));
    assert_eq!(running, [(db.as_str(), true), (web.as_str(), true)]);
    let data = project.volume("data");
    assert_eq!(master.volumes, [(data.clone(), "v1;".to_owned())].into());
    assert_eq!(master.checkouts, texts([&checkout]));
    let replicate = (data.clone(), "replicate:10.77.0.2".to_owned(), 60);
    let purge = (data.clone(), "purge:1h:1d:1w:4w:1y".to_owned(), 1440);
    assert_eq!(master.schedules, [replicate, purge.clone()].into());
    let service = &master.services[lab.app.as_str()];
    assert_eq!(service["Checks"][0]["HTTP"], "http://hello.example", "{service}");
    let expected =
        World { checkouts: texts([&checkout]), schedules: [purge].into(), ..World::default() };
    assert_eq!(slave, expected);
    assert_eq!(third, World::default());
    for number in [1, 2] {
        let path = lab.node(number).dir.path().join("deploy").join(&checkout).join(".env");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(&format!("COMPOSE_PROJECT_NAME={project}\n")), "{text}");
    }
    lab.assert_idle("first").await;
}

#[tokio::test(start_paused = true)]
async fn without_a_slave_snapshots_are_scheduled() {
    let lab = Lab::new().await;
    assert_eq!(lab.run(&id(1), &deploy(None)).await, State::Completed);
    let [master, slave, _] = lab.worlds().try_into().unwrap();
    let data = lab.app.project().volume("data");
    let snapshot = (data.clone(), "snapshot".to_owned(), 60);
    let purge = (data, "purge:1h:1d:1w:4w:1y".to_owned(), 1440);
    assert_eq!(master.schedules, [snapshot, purge].into());
    assert_eq!(slave, World::default());
    lab.assert_idle("first").await;
}

#[tokio::test(start_paused = true)]
async fn the_entry_has_every_key_that_the_older_system_reads() {
    let lab = Lab::new().await;
    lab.run(&id(1), &deploy(Some(2))).await;
    let text = lab.value(&keys::app(&lab.app)).await.unwrap();
    let entry: serde_json::Value = serde_json::from_str(&text).unwrap();
    let project = lab.app.project();
    for (key, expected) in [
        ("repo_url", serde_json::json!(app().repo.as_str())),
        ("branch", "main".into()),
        ("deploy_id", id(1).as_str().into()),
        ("previous_deploy_id", serde_json::Value::Null),
        ("master", node(1).as_str().into()),
        ("slave", node(2).as_str().into()),
        ("ip", "10.77.0.1".into()),
        ("domains", serde_json::json!(["hello.example"])),
        ("urls", "http://hello.example".into()),
        ("haproxy", serde_json::json!({})),
        ("volumes", serde_json::json!([project.volume("data")])),
        ("ct", serde_json::json!({"db": project.container("db"), "web": project.container("web")})),
    ] {
        assert_eq!(entry[key], expected, "{key}");
    }
    let caddyfile = entry["caddyfile"].as_str().unwrap();
    let target = format!("http://{}:80", project.container("web"));
    assert!(caddyfile.contains(&target), "{caddyfile}");
    let date = entry["deploy_date"].as_str().unwrap();
    let parsed = chrono::NaiveDateTime::parse_from_str(date, "%Y-%m-%dT%H%M%S.%f");
    assert!(parsed.is_ok(), "{date}");
}

#[tokio::test(start_paused = true)]
async fn data_that_no_record_knows_is_neither_mounted_nor_removed() {
    let lab = Lab::new().await;
    let data = lab.app.project().volume("data");
    let machine = &lab.node(1).fakes.machine;
    machine.state().volumes.insert(data.clone(), "precious".to_owned());
    assert_eq!(lab.run(&id(1), &deploy(Some(2))).await, State::Refused);
    assert!(lab.record(&id(1)).await.reason.unwrap().contains(&data));
    assert_eq!(machine.state().volumes[&data], "precious");
    assert!(lab.worlds().iter().all(|world| world.checkouts.is_empty()));
    lab.assert_idle("refused").await;
}

/// A first deployment during which somebody puts the app's entry back, which names a master: when this one is announced, or
/// with the transaction of the commit.
async fn put_back(master: usize, when: Option<Step>) -> Lab {
    let lab = Lab::new().await;
    lab.accept(&id(1), &update()).await;
    let record = lab.record(&id(1)).await;
    let entry = serde_json::json!({
        "repo_url": app().repo.as_str(), "branch": "main", "deploy_id": id(9).as_str(),
        "master": node(master).as_str(), "volumes": [lab.app.project().volume("data")],
    });
    let set = TxnOp::Set { key: keys::app(&lab.app), value: entry.to_string().into_bytes() };
    let act = move |consul: &MemoryConsul| {
        consul.transact(vec![set.clone()]).now_or_never().unwrap().unwrap();
    };
    let act = Fault::Meanwhile(Arc::new(act));
    match when {
        Some(step) => {
            let step = record.steps.iter().find(|planned| planned.step == step).unwrap();
            lab.node(1).kv.inject(1, act, begins(step));
        }
        None => lab.node(1).kv.inject(1, act, changes(keys::APPS)),
    }
    assert_eq!(lab.work(&id(1)).await, State::Undone);
    assert_eq!(lab.entry().await.unwrap().deploy_id, id(9).as_str());
    lab.assert_idle("put back").await;
    lab
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_in_the_place_of_an_app_whose_entry_is_put_back() {
    for master in [1, 2] {
        for step in [Step::Update, Step::Up] {
            let lab = put_back(master, Some(step)).await;
            let reason = lab.record(&id(1)).await.reason.unwrap();
            assert!(reason.contains("the app has an entry again"), "{reason}");
            assert!(reason.contains(&format!("serves from node{master}")), "{reason}");
            assert!(lab.node(1).world(&lab).containers.is_empty(), "it was started");
            assert_eq!(lab.node(1).volume(&lab, "data"), None, "it was begun with an empty one");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_put_back_right_before_the_commit_stays() {
    let lab = put_back(2, None).await;
    let reason = lab.record(&id(1)).await.reason.unwrap();
    assert!(reason.ends_with("the app's entry changed during the commit"), "{reason}");
    assert!(lab.node(1).world(&lab).containers.is_empty(), "it still runs");
}
