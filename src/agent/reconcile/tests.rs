use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::{AGAIN, GATHER, look, reconcile};
use crate::agent::testing::{self, Made};
use crate::consul::kv::Entry;
use crate::consul::txn::TxnOp;
use crate::exec::copies::{self, Sought};
use crate::exec::{Context, Findings};
use crate::host::docker::{Container, State};
use crate::model::{DeployId, NodeName, keys};
use crate::proxy::view::Item;
use crate::records::NodeInfo;

const APP: &str = "app_main.44dd7";
const PROJECT: &str = "appmain44dd7";

fn volume() -> String {
    format!("{PROJECT}_data")
}

/// node1 and node2 over one Consul; the agent of one of them.
struct Bench {
    made: Made,
    entry: Entry,
}

impl Bench {
    /// The app has its master on node1 and its slave on node2.
    async fn of(me: &str) -> Self {
        let made = testing::context(me).await;
        let record = json!({
            "repo_url": "file:///lab/git/app", "branch": "main", "deploy_id": "new", "previous_deploy_id": "old",
            "master": "node1", "slave": "node2", "volumes": [format!("{PROJECT}_data")],
            "urls": "http://app.test", "caddyfile": "app.test {\n}\n",
        });
        let value = serde_json::to_vec(&record).unwrap();
        let set = TxnOp::Set { key: format!("app/{APP}"), value };
        made.context.cluster.kv.transact(vec![set]).await.unwrap();
        let entry = made.context.cluster.kv.get(&format!("app/{APP}")).await.unwrap().unwrap();
        Self { made, entry }
    }

    fn ctx(&self) -> &Context {
        &self.made.context
    }

    async fn look(&self) -> Vec<String> {
        self.findings().await.problems
    }

    async fn findings(&self) -> Findings {
        look(self.ctx(), &[Arc::new(Item::read(self.entry.clone()))]).await.0
    }

    /// What the entry asks of its master is there.
    async fn well(me: &str) -> Self {
        let bench = Self::of(me).await;
        bench.run("new");
        bench.made.fakes.machine.state().volumes.insert(volume(), "rows".to_owned());
        bench
    }

    async fn set(&self, key: &str, value: &str) {
        let set = TxnOp::Set { key: key.to_owned(), value: value.as_bytes().to_vec() };
        self.ctx().cluster.kv.transact(vec![set]).await.unwrap();
    }

    fn schedules(&self) -> Vec<String> {
        let state = self.made.fakes.machine.state();
        let lines = state.schedules.iter().map(|s| format!("{} {}", s.action, s.minutes));
        lines.collect()
    }

    async fn is_registered(&self) -> bool {
        self.ctx().cluster.catalog.services().await.unwrap().contains_key(APP)
    }

    /// A container of a deployment runs.
    fn run(&self, deployment: &str) {
        let app = crate::model::AppName::parse(APP).unwrap();
        let id = DeployId::parse(deployment).unwrap();
        let dir = app.checkout(&self.ctx().config.deploy_dir, &id);
        let container = Container {
            restart: "always".to_owned(),
            working_dir: Some(dir.display().to_string()),
            ..Container::running("web")
        };
        let mut state = self.made.fakes.machine.state();
        state.containers.insert(PROJECT.to_owned(), vec![container]);
    }

    fn runs(&self) -> bool {
        let state = self.made.fakes.machine.state();
        state.containers[PROJECT].iter().any(|container| container.state == State::Running)
    }
}

#[tokio::test]
async fn an_emptied_table_and_a_lost_registration_are_put_back_on_the_master() {
    let bench = Bench::well("node1").await;
    assert_eq!(bench.look().await, Vec::<String>::new());
    assert_eq!(bench.schedules(), ["replicate:10.77.0.2 60", "purge:1h:1d:1w:4w:1y 1440"]);
    assert!(bench.is_registered().await);
    let calls = bench.made.fakes.machine.calls();
    assert_eq!(bench.look().await, Vec::<String>::new());
    assert_eq!(bench.made.fakes.machine.calls(), calls, "what is right is left alone");
}

/// The whole reconciler, with a buttervolume that does not answer the first time, or does not schedule what it is told to.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_looked_at_or_mended_is_looked_at_again_soon() {
    for operation in ["schedules", "schedule"] {
        let Bench { made, entry } = Bench::well("node1").await;
        let fails = crate::host::volume::VolumeError::SchedulerPaused;
        made.fakes.volumes.fail_next(operation, fails);
        let (sender, entries) = watch::channel(None);
        sender.send_replace(Some([Arc::new(Item::read(entry))].into()));
        let (findings, _told) = watch::channel(Findings::default());
        let context = Arc::new(made.context);
        assert!(GATHER + AGAIN < context.config.volumes.replica_interval);
        tokio::select! {
            () = reconcile(context, entries, findings) => panic!("it ended"),
            () = tokio::time::sleep(GATHER + AGAIN + Duration::from_secs(1)) => {}
        }
        let schedules = made.fakes.machine.state().schedules.len();
        assert_eq!(schedules, 2, "after {operation} had failed");
    }
}

#[tokio::test]
async fn a_slave_has_its_purge_and_no_registration() {
    let bench = Bench::of("node2").await;
    bench.look().await;
    assert_eq!(bench.schedules(), ["purge:1h:1d:1w:4w:1y 1440"]);
    assert!(!bench.is_registered().await);
}

#[tokio::test]
async fn nothing_is_touched_while_a_deployment_works_or_when_the_entry_has_changed() {
    let bench = Bench::of("node1").await;
    bench
        .set(&format!("{}{APP}", keys::QUEUES), r#"{"epoch":1,"running":"x","waiting":null}"#)
        .await;
    bench.look().await;
    assert!(bench.schedules().is_empty() && !bench.is_registered().await);
    let bench = Bench::of("node1").await;
    let changed =
        String::from_utf8(bench.entry.value.clone()).unwrap().replace("\"new\"", "\"newer\"");
    bench.set(&format!("app/{APP}"), &changed).await;
    bench.look().await;
    assert!(bench.schedules().is_empty() && !bench.is_registered().await);
}

#[tokio::test]
async fn a_second_copy_of_an_older_deployment_is_stopped_while_the_master_is_there() {
    let bench = Bench::of("node2").await;
    bench.run("old");
    let told = bench.look().await;
    assert!(
        told[0].contains("runs on node2, too") && bench.runs(),
        "no agent on the master: {told:?}"
    );
    bench.set(&keys::node(&NodeName::parse("node1").unwrap()), "{}").await;
    let told = bench.look().await;
    assert!(told[0].contains("of an older deployment, and stopped here"), "{told:?}");
    assert!(!bench.runs());
    assert_eq!(bench.look().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_may_be_an_operators_work_is_only_reported() {
    for deployment in ["new", "unknown"] {
        let bench = Bench::of("node2").await;
        bench.set(&keys::node(&NodeName::parse("node1").unwrap()), "{}").await;
        bench.run(deployment);
        let told = bench.look().await;
        assert!(told[0].contains("its master is node1") && bench.runs(), "{deployment}: {told:?}");
    }
}

/// What the slave has told of its copies.
async fn told_of_a_copy(bench: &Bench) {
    let copy = json!({
        "snapshot": format!("{}@2025-06-01T10:00:00.000000", volume()), "origin": "o",
        "taken_at": crate::clock::now() - chrono::TimeDelta::minutes(7), "verified_at": crate::clock::now(), "bases": [],
    });
    let state = json!({
        "since": crate::clock::now(), "period_minutes": 60, "volumes": {volume(): copy}, "late": [],
    });
    bench.set(&format!("{}{APP}/node2", keys::REPLICAS), &state.to_string()).await;
}

#[tokio::test]
async fn a_master_that_lost_its_volumes_says_who_has_them_and_how_to_go_on() {
    let bench = Bench::of("node1").await;
    told_of_a_copy(&bench).await;
    let told = bench.look().await;
    assert_eq!(
        told[0],
        format!(
            "{APP}: volume {0} is gone from node1: its newest verified copy is \
             {0}@2025-06-01T10:00:00.000000 on node2, 7 min old",
            volume()
        )
    );
    assert!(
        told[1].contains("from_replica") && told[1].contains("\"master\":\"node2\""),
        "{told:?}"
    );
    assert!(told[2].contains("node1 is its master, and has no container of it"), "{told:?}");
    assert_eq!(told.len(), 3, "{told:?}");

    // What can't be told is neither there nor gone.
    let gone = || crate::host::volume::VolumeError::Volumes(std::io::ErrorKind::NotFound.into());
    bench.made.fakes.volumes.fail_next("find", gone());
    let told = bench.look().await;
    assert!(told[0].contains("can't be told"), "{told:?}");

    // A deployment will say more.
    bench
        .set(&format!("{}{APP}", keys::QUEUES), r#"{"epoch":1,"running":"x","waiting":null}"#)
        .await;
    assert_eq!(bench.look().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_master_that_runs_nothing_says_which_node_does() {
    let other = Bench::of("node2").await;
    other.run("new");
    let strays = other.findings().await.strays;
    assert_eq!(strays.values().collect::<Vec<_>>(), ["p_web_1"]);

    let bench = Bench::well("node1").await;
    bench.made.fakes.machine.state().containers.clear();
    let node2 = NodeName::parse("node2").unwrap();
    let info = serde_json::to_string(&NodeInfo { strays, ..NodeInfo::default() }).unwrap();
    bench.set(&keys::node(&node2), &info).await;
    let told = bench.look().await;
    let expected =
        format!("{APP}: nothing of it runs on node1, its master, and node2 does (p_web_1)");
    assert!(told.len() == 1 && told[0].starts_with(&expected), "{told:?}");
    assert!(told[0].contains(&format!("make node2 the master in app/{APP}")), "{told:?}");
}

#[tokio::test]
async fn a_volume_on_another_node_is_told_unless_nothing_was_written_to_it() {
    let bench = Bench::well("node2").await;
    bench.made.fakes.machine.state().containers.clear();
    let told = bench.look().await;
    let expected = format!("{APP}: node2 has volume {}, too, and node1 is its master", volume());
    assert!(told.len() == 1 && told[0].starts_with(&expected), "{told:?}");
    let copy = crate::host::volume::Verified {
        parent_uuid: Some("copy".to_owned()),
        generation: Some(7),
        created_generation: Some(7),
        ..Default::default()
    };
    bench.made.fakes.machine.state().volume_facts.insert(volume(), copy);
    assert_eq!(bench.look().await, Vec::<String>::new());
}

#[tokio::test]
async fn that_nobody_could_be_asked_is_not_that_nobody_has_a_copy() {
    let volume = volume();
    let sought = Sought {
        app: &crate::model::AppName::parse(APP).unwrap(),
        repo: "file:///lab/git/app",
        branch: "main",
    };
    let bench = Bench::of("node1").await;
    let tell = async || copies::tell(bench.ctx(), sought, &[&volume]).await;
    let told = tell().await;
    assert!(
        told[0].contains("no other node has told of a copy, and there is no snapshot"),
        "{told:?}"
    );
    assert!(told[1].contains("to begin empty"), "{told:?}");
    // The snapshots here.
    let away = || crate::host::volume::VolumeError::Volumes(std::io::ErrorKind::NotFound.into());
    bench.made.fakes.volumes.fail_next("snapshots", away());
    let told = tell().await;
    assert!(told[0].contains("which snapshots are here could not be asked"), "{told:?}");
    assert!(told[1].contains("look again") && !told[1].contains("empty"), "{told:?}");
    // A newer agent's word.
    let key = format!("{}{APP}/node2", keys::REPLICAS);
    bench.set(&key, r#"{"format":2}"#).await;
    let told = tell().await;
    assert!(told[0].contains("could not be told") && told[0].contains(&key), "{told:?}");
    assert!(!told[1].contains("empty"), "{told:?}");
    // Consul.
    bench.made.consul.set_reachable(&bench.ctx().me, false);
    let told = tell().await;
    assert!(told[0].contains("who has a copy could not be asked"), "{told:?}");
    assert!(!told[1].contains("empty"), "{told:?}");
    let newest = copies::newest(bench.ctx(), sought.app, &volume).await;
    assert!(newest.contains("could not be asked"), "{newest}");
}
