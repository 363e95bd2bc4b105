//! What hands do to a cluster: a volume put back as the manual says, an entry that names another master, records that
//! nobody can read; and a btrfs that can't tell.

use crate::deploy::body;
use crate::lost::App;
use crate::support::{Lab, NODES, told, until};
use crate::waits::until_begun;

const HOST: &str = "hello.test";

impl Lab {
    /// Runs commands as an operator types them.
    fn type_in(&self, node: &str, lines: &str) -> String {
        self.node(node, &["sh", "-e", "-c", lines])
    }
}

/// Word for word what docs/operating.md says of restoring a snapshot, of one that is kept from purges.
fn put_back(app: &App, node: &str) {
    let (lab, volume) = (&app.lab, &app.volume);
    app.write(node, "later");
    let name = app.repo.app();
    let id = lab.app(&app.repo).unwrap()["deploy_id"].as_str().unwrap().to_owned();
    let shown = lab.type_in(
        node,
        &format!("consul kv put maintenance/{name} yes; cd /deploy/{name}-{id}; docker compose down; buttervolume snapshots {volume}"),
    );
    let kept = shown.lines().map(str::trim).find(|line| line.ends_with("-kept"));
    let kept = kept.unwrap_or_else(|| panic!("no snapshot is kept: {shown}"));
    lab.type_in(
        node,
        &format!(
            "cd /deploy/{name}-{id}; buttervolume restore {kept} {volume}; docker compose up -d --no-build; \
             consul kv delete maintenance/{name}"
        ),
    );
    assert!(app.has(node, "copied") && !app.has(node, "later"));
    assert!(body(lab, "node3", HOST, "/").contains("hello"));
}

/// The entry says that the slave is the master, and both nodes run.
fn name_the_other_one(app: &App) {
    let (lab, repo) = (&app.lab, &app.repo);
    let key = format!("app/{}", repo.app());
    let right = lab.kv(&key).unwrap();
    let mut entry = lab.app(repo).unwrap();
    entry["master"] = "node2".into();
    entry["slave"] = "node1".into();
    entry["ip"] = lab.ip("node2").into();
    lab.kv_put(&key, &entry.to_string());
    let named = || lab.node("node3", &["tandem", "status"]).contains("runs on node1, too");
    until("the status to name it", || named().then_some(()));
    for (master, slave, why) in [
        ("node1", "node2", "runs on node1, but the app's entry names node2 as its master"),
        ("node2", "node1", "is gone from node2"),
        ("node3", "node1", "is gone from node2"),
    ] {
        let reason = app.refused(&repo.deploy(master, Some(slave)));
        assert!(reason.contains(why), "{reason}");
    }
    lab.kv_put(&key, &right);
    until("the status not to name it", || (!named()).then_some(()));
    assert!(body(lab, "node3", HOST, "/").contains("hello"));
    assert!(app.has("node1", "copied") && !app.has("node2", ""));
}

/// In place of btrfs in a node: says so many times, when no container of the project runs, that it can't say.
const CAN_NOT_TELL: &str = r#"#!/bin/bash
if [[ "$1 $2" == "subvolume show" && ${*: -1} == *VOLUME && -e /run/lab/show-fails ]] &&
    [ -z "$(docker ps -q --filter label=com.docker.compose.project=PROJECT)" ]; then
    echo once >>/run/lab/show-failed
    [ "$(wc -l </run/lab/show-failed)" -lt TIMES ] || rm -f /run/lab/show-fails
    echo "ERROR: cannot fork: on purpose" >&2
    exit 1
fi
exec /usr/bin/btrfs "$@"
"#;

/// Whether the volume is there can't be told when it is to be snapshotted: that is not its absence.
fn what_can_not_be_told_in_a_move(app: &App) {
    let (lab, repo) = (&app.lab, &app.repo);
    let path = "/usr/local/sbin/btrfs";
    for times in ["1", "4"] {
        let volume = format!("volumes/{}", app.volume);
        let script = CAN_NOT_TELL.replace("VOLUME", &volume).replace("TIMES", times);
        let script = script.replace("PROJECT", &repo.project());
        lab.node_with_stdin("node1", &["tee", path], script.as_bytes());
        lab.type_in(
            "node1",
            &format!("chmod 755 {path}; touch /run/lab/show-fails; : >/run/lab/show-failed"),
        );
        let record = lab.outcome(&lab.fire("deploy", &repo.deploy("node2", Some("node1"))));
        let failed = lab.node("node1", &["cat", "/run/lab/show-failed"]);
        lab.type_in("node1", &format!("rm -f {path} /run/lab/show-fails /run/lab/show-failed"));
        assert!(failed.contains("once"), "nothing failed: {record:#}");
        assert!(["completed", "undone"].contains(&record["state"].as_str().unwrap()), "{record:#}");
        let master = lab.app(repo).unwrap()["master"].as_str().unwrap().to_owned();
        assert!(app.has(&master, "copied"), "{record:#}");
        assert!(body(lab, "node3", HOST, "/").contains("hello"));
        if master != "node1" {
            lab.deploy(repo, "node1", Some("node2"));
        }
    }
}

fn record_key(app: &App, id: &str) -> String {
    format!("tandem/deployments/{}/{id}", app.repo.app())
}

/// In the middle of a move: who worked on it knows what the record said.
fn a_record_is_overwritten(app: &App) {
    let (lab, repo) = (&app.lab, &app.repo);
    let id = lab.fire("deploy", &repo.deploy("node2", Some("node1")));
    until_begun(lab, repo, &id, "stop");
    lab.kv_put(&record_key(app, &id), "{garbage");
    let followed = lab.try_node("node3", &["tandem", "follow", &id]);
    assert!(followed.status.success(), "{}", told(&followed));
    let record = lab.outcome(&id);
    assert_eq!(record["state"], "completed", "{record:#}");
    assert!(record["warnings"].to_string().contains("has put it back"), "{record:#}");
    assert!(app.has("node2", "copied"));
    assert!(body(lab, "node3", HOST, "/").contains("hello"));
}

/// Nobody who knew lives: the way on is named, and leads there.
fn a_record_is_lost(app: &App) {
    let (lab, repo) = (&app.lab, &app.repo);
    let id = lab.fire("deploy", &repo.deploy("node1", Some("node2")));
    until_begun(lab, repo, &id, "stop");
    for node in NODES {
        lab.run(&["kill", node, "agent"]);
    }
    let key = record_key(app, &id);
    lab.kv_put(&key, "{garbage");
    for node in NODES {
        lab.run(&["start", node, "agent"]);
    }
    let way_on = format!("consul kv delete {key}");
    until("the status to name the way on", || {
        lab.node("node3", &["tandem", "status"]).contains(&way_on).then_some(())
    });
    let followed = lab.try_node("node3", &["tandem", "follow", &id]);
    assert!(
        followed.status.code() == Some(1) && told(&followed).contains(&way_on),
        "{}",
        told(&followed)
    );
    lab.type_in("node3", &way_on);
    lab.deploy(repo, "node1", Some("node2"));
    assert!(app.has("node1", "copied"));
    assert!(body(lab, "node3", HOST, "/").contains("hello"));
    assert_eq!(lab.kv_keys("maintenance/"), [""; 0]);
}

#[test]
fn a_snapshot_put_back_an_entry_and_records_written_over_by_hand() {
    let app = App::deploy_on("by-hand", "node1");
    put_back(&app, "node1");
    name_the_other_one(&app);
    what_can_not_be_told_in_a_move(&app);
    a_record_is_overwritten(&app);
    a_record_is_lost(&app);
    app.lab.destroy(&app.repo);
    assert_eq!(app.lab.leftovers(&app.repo), [""; 0]);
}

/// By hand, as docs/operating.md has it: the slave goes on with its copy. The lost master is back after all, with its
/// containers and its stale volume, and becomes the slave and the master again.
#[test]
fn a_master_that_was_given_up_by_hand_comes_back() {
    let app = App::deploy_on("given-up", "node3");
    let (lab, repo, volume) = (&app.lab, &app.repo, &app.volume);
    app.write("node3", "stale");
    lab.run(&["power-off", "node3"]);
    // Consul may need a new leader.
    let (copy, name) = (until("the copy", || app.copy()), repo.app());
    lab.type_in("node2", &format!("buttervolume restore {copy}-kept {volume}"));
    let mut entry = lab.app(repo).unwrap();
    entry["master"] = "node2".into();
    entry["slave"] = serde_json::Value::Null;
    entry["ip"] = lab.ip("node2").into();
    lab.kv_put(&format!("app/{name}"), &entry.to_string());
    lab.deploy(repo, "node2", None);
    assert!(app.has("node2", "copied") && !app.has("node2", "stale"));
    assert!(body(lab, "node1", HOST, "/").contains("hello"));
    app.write("node2", "newer");

    lab.run(&["power-on", "node3"]);
    until("the stale copy to be stopped", || {
        let all = lab.containers("node3", repo);
        (!all.is_empty() && all.iter().all(|one| !one.contains(" running "))).then_some(())
    });
    until("nothing stale to be replicated", || {
        lab.schedules("node3", repo).is_empty().then_some(())
    });
    assert!(app.has("node3", "stale"), "what it has may be wanted");
    for node in NODES {
        assert!(body(lab, node, HOST, "/").contains("hello"), "through {node}");
    }
    lab.deploy(repo, "node2", Some("node3"));
    let record = lab.deploy(repo, "node3", Some("node2"));
    assert!(app.has("node3", "newer") && !app.has("node3", "stale"));
    let kept = record["warnings"].to_string();
    assert!(kept.contains(&format!("{volume}@")), "what was replaced is named: {kept}");
    println!("{kept}");
    lab.destroy(repo);
    assert_eq!(lab.leftovers(repo), [""; 0]);
}

/// Node1 owes the *leave* of a move, because a stranger holds its volume. Then node2 is lost, and an operator goes on with
/// what node1 has: the debt is of a time that is over.
#[test]
fn what_a_node_owed_from_before_removes_nothing_that_was_made_the_apps_by_hand() {
    let app = App::deploy_on("old-debt", "node1");
    let (lab, repo, volume) = (&app.lab, &app.repo, &app.volume);
    let id = lab.fire("deploy", &repo.deploy("node2", Some("node1")));
    until_begun(lab, repo, &id, "restore");
    let image = format!("{}_web", repo.project());
    let hold =
        format!("docker run -d --name holder -v {volume}:/v:ro --entrypoint sleep {image} 600");
    lab.type_in("node1", &hold);
    assert_eq!(lab.outcome(&id)["state"], "completed");
    let debts = lab.kv_keys("tandem/owed/node1/");
    assert!(!debts.is_empty(), "node1 could leave: the volume was not held in time");
    assert!(app.has("node1", "copied") && app.has("node2", "copied"));

    lab.run(&["stop", "node1", "agent"]);
    lab.run(&["power-off", "node2"]);
    let taken = until("Consul without node2, and the app's entry", || {
        lab.type_in("node1", "docker rm -f holder");
        let shown = lab.type_in("node1", &format!("buttervolume snapshots {volume}"));
        // Not the marks of what was sent.
        let own = shown.lines().map(str::trim).filter(|line| line.matches('@').count() == 1);
        let taken = own.max()?.to_owned();
        lab.app(repo).is_some().then_some(taken)
    });
    lab.type_in("node1", &format!("buttervolume restore {taken} {volume}"));
    app.write("node1", "by-hand");
    let mut entry = lab.app(repo).unwrap();
    entry["master"] = "node1".into();
    entry["slave"] = serde_json::Value::Null;
    entry["ip"] = lab.ip("node1").into();
    lab.kv_put(&format!("app/{}", repo.app()), &entry.to_string());
    lab.run(&["start", "node1", "agent"]);
    lab.deploy(repo, "node1", None);
    assert!(app.has("node1", "copied") && app.has("node1", "by-hand"));
    assert!(body(lab, "node3", HOST, "/").contains("hello"));
    until("the debt to be over", || lab.kv_keys("tandem/owed/node1/").is_empty().then_some(()));
    let warnings = lab.record(&id).unwrap()["warnings"].to_string();
    assert!(warnings.contains("leave on node1: no longer due"), "{warnings}");

    lab.run(&["power-on", "node2"]);
    until("what ran on node2 to be stopped", || {
        let all = lab.containers("node2", repo);
        (!all.is_empty() && all.iter().all(|one| !one.contains(" running "))).then_some(())
    });
    lab.deploy(repo, "node1", Some("node2"));
    lab.deploy(repo, "node2", Some("node1"));
    assert!(app.has("node2", "copied") && app.has("node2", "by-hand") && !app.has("node1", ""));
    lab.destroy(repo);
    assert_eq!(lab.leftovers(repo), [""; 0]);
}
