//! Apps change masters and take their data along; volumes of one app go into another.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::deploy::body;
use crate::support::{Lab, NODES, Repo, Steady, tls_status, until};

const HOST: &str = "guestbook.test";
/// Volumes of other drivers have no copy and stay where they were; this app has none.
const WITHOUT_LOCAL: &[(&str, &str)] =
    &[("      - cache:/var/cache/guestbook\n", ""), ("  cache:\n    driver: local\n", "")];

/// Posts a row through a node, and expects it to be taken.
fn sign(lab: &Lab, node: &str, host: &str, number: i64) {
    let row = format!(r#"{{"n":{number},"text":"row {number}"}}"#);
    let url = format!("http://{}/api/rows", lab.ip(node));
    let header = format!("Host: {host}");
    lab.node("node1", &["curl", "-fsS", "-o", "/dev/null", "-H", &header, "-d", &row, &url]);
}

/// The numbers of the rows that the app tells through a node.
fn rows(lab: &Lab, node: &str, host: &str) -> BTreeSet<i64> {
    let rows: Value = serde_json::from_str(&body(lab, node, host, "/api/rows")).unwrap();
    rows.as_array().unwrap().iter().map(|row| row["n"].as_i64().unwrap()).collect()
}

/// Everything of an app but snapshots is where its roles say, and nowhere else.
fn assert_roles(lab: &Lab, repo: &Repo, master: &str, slave: Option<&str>) {
    for node in NODES {
        let (is_master, is_slave) = (node == master, Some(node) == slave);
        let running = lab.containers(node, repo);
        assert_eq!(running.len(), if is_master { 2 } else { 0 }, "{node}: {running:?}");
        assert_eq!(lab.volumes(node, repo).is_empty(), !is_master, "{node}");
        let checkouts = lab.checkouts(node, repo);
        assert_eq!(checkouts.len(), usize::from(is_master || is_slave), "{node}: {checkouts:?}");
        let mut schedules = BTreeSet::new();
        if is_master || is_slave {
            schedules.insert("purge:1h:1d:1w:4w:1y 1440".to_owned());
        }
        if is_master {
            schedules.insert(match slave {
                Some(slave) => format!("replicate:{} 60", lab.ip(slave)),
                None => "snapshot 60".to_owned(),
            });
        }
        assert_eq!(lab.schedules(node, repo), schedules, "{node}");
        assert_eq!(lab.services(node).contains(&repo.app()), is_master, "{node}");
    }
    let entry = lab.app(repo).unwrap();
    assert_eq!(entry["master"], master);
    assert_eq!(entry["slave"].as_str(), slave);
}

#[test]
fn an_app_goes_round_with_its_data() {
    let lab = Lab::get();
    let repo = Repo::publish_edited(&lab, "guestbook", "rounds", WITHOUT_LOCAL);
    lab.deploy(&repo, "node1", Some("node2"));
    let mut written = BTreeSet::new();
    let pairs =
        [("node2", Some("node1")), ("node3", Some("node1")), ("node1", None), ("node2", None)];
    for (number, (master, slave)) in (0..).zip(pairs) {
        sign(&lab, "node3", HOST, number);
        written.insert(number);
        lab.deploy(&repo, master, slave);
        for node in NODES {
            assert_eq!(rows(&lab, node, HOST), written, "on {master}, through {node}");
        }
        assert_roles(&lab, &repo, master, slave);
    }
    lab.destroy(&repo);
    assert_eq!(lab.leftovers(&repo), Vec::<String>::new());
}

#[test]
fn a_move_that_fails_leaves_the_app_where_it_is() {
    let lab = Lab::get();
    let repo = Repo::publish_edited(&lab, "guestbook", "stays", WITHOUT_LOCAL);
    lab.deploy(&repo, "node1", Some("node2"));
    sign(&lab, "node2", HOST, 1);
    let broken =
        [WITHOUT_LOCAL, &[("\"http://127.0.0.1:8080/healthz\"]\n", "\"http://127.0.0.1:1/\"]\n")]];
    Repo::publish_edited(&lab, "guestbook", "stays", &broken.concat());
    let record = lab.outcome(&lab.fire("deploy", &repo.deploy("node2", Some("node3"))));
    assert_eq!(record["state"], "undone", "{record:#}");
    assert!(record["reason"].as_str().unwrap().contains("await healthy on node2"), "{record:#}");
    assert_eq!(rows(&lab, "node3", HOST), [1].into());
    assert_roles(&lab, &repo, "node1", Some("node2"));
    Repo::publish_edited(&lab, "guestbook", "stays", WITHOUT_LOCAL);
    lab.deploy(&repo, "node2", Some("node3"));
    assert_eq!(rows(&lab, "node1", HOST), [1].into());
    assert_roles(&lab, &repo, "node2", Some("node3"));
    lab.destroy(&repo);
}

/// Its volumes go into another app, on another node and on the same one; the source serves on.
#[test]
fn a_migration_brings_the_rows_along() {
    let lab = Lab::get();
    let source = Repo::publish_edited(&lab, "guestbook", "source", WITHOUT_LOCAL);
    let edits = [WITHOUT_LOCAL, &[("guestbook.test", "target.test")]].concat();
    let target = Repo::publish_edited(&lab, "guestbook", "target", &edits);
    lab.deploy(&source, "node1", None);
    for (round, master) in (1..).zip(["node2", "node1"]) {
        sign(&lab, "node3", HOST, round);
        lab.deploy(&target, master, Some("node3"));
        sign(&lab, "node3", "target.test", 100);
        let event = format!(
            r#"{{"repo":"{}","branch":"master","target":{{"repo":"{}"}}}}"#,
            source.url, target.url
        );
        let record = lab.outcome(&lab.fire("migrate", &event));
        assert_eq!(record["state"], "completed", "{record:#}");
        let expected: BTreeSet<i64> = (1..=round).collect();
        assert_eq!(rows(&lab, "node3", "target.test"), expected, "the target is on {master}");
        assert_eq!(rows(&lab, "node2", HOST), expected);
        assert_roles(&lab, &target, master, Some("node3"));
        assert_roles(&lab, &source, "node1", None);
    }
    lab.destroy(&target);
    lab.destroy(&source);
    assert_eq!(lab.leftovers(&target), Vec::<String>::new());
}

/// A slave that was away for the destroy removes its part when it is back.
#[test]
fn a_slave_that_was_away_cleans_up_after_a_destroy() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "away");
    lab.deploy(&repo, "node1", Some("node2"));
    lab.run(&["kill", "node2", "agent"]);
    let record = lab.destroy(&repo);
    let warnings = record["warnings"].to_string();
    assert!(warnings.contains("node2 is left to it"), "{warnings}");
    assert_ne!(lab.checkouts("node2", &repo), Vec::<String>::new());
    lab.run(&["start", "node2", "agent"]);
    until("node2 to have cleaned up", || lab.leftovers(&repo).is_empty().then_some(()));
    until("the debt to be gone", || lab.kv_keys("tandem/owed/").is_empty().then_some(()));
}

/// An app that takes longer to stop than Docker gives by itself, and writes at its very end.
const SLOW_END: (&str, &str) = (
    "    stop_grace_period: 5s\n",
    concat!(
        "    stop_grace_period: 90s\n",
        "    entrypoint: [\"sh\", \"-c\", \"trap 'sleep 12; echo whole >/srv/pages/ended; exit 0' TERM; ",
        "echo slow >/srv/pages/index.html; busybox httpd -f -p 80 -h /srv/pages & while :; do wait; done\"]\n",
    ),
);

/// What an app writes while it stops goes along: the time that its compose file gives it is waited for. That is longer than
/// requests are held: they wait, then there is the maintenance page, then the new master.
#[test]
fn an_app_that_takes_its_time_to_stop_is_given_it() {
    let lab = Lab::get();
    let repo = Repo::publish_edited(&lab, "hello", "slow-end", &[SLOW_END]);
    lab.deploy(&repo, "node1", Some("node2"));
    body(&lab, "node3", "hello.test", "/");
    until("TLS", || tls_status(&lab.ip("node3"), "hello.test").ok());
    let loads = ["http", "https"]
        .map(|scheme| (scheme, Steady::start(&lab.ip("node3"), scheme, "hello.test", 2)));
    lab.deploy(&repo, "node2", Some("node1"));
    assert_eq!(body(&lab, "node3", "hello.test", "/ended").trim(), "whole");
    until("TLS", || tls_status(&lab.ip("node3"), "hello.test").ok());
    // As many as show that it lasts.
    std::thread::sleep(Duration::from_secs(2));
    for (scheme, load) in loads {
        let (_, all) = load.end();
        let mut seen: Vec<_> = all.iter().map(|one| one.status.clone()).collect();
        seen.dedup();
        assert_eq!(seen, [Ok(200), Ok(503), Ok(200)], "{scheme}: {all:?}");
        let pages = all.iter().filter(|one| one.status == Ok(503));
        assert!(pages.clone().all(|one| one.retry_after), "{scheme}: {all:?}");
        let waited = pages.map(|one| one.took).max();
        assert!(waited > Some(Duration::from_secs(5)), "{scheme}: none waited: {all:?}");
    }
    lab.destroy(&repo);
    assert_eq!(lab.leftovers(&repo), Vec::<String>::new());
}
