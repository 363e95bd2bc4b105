//! Broken versions: the former one goes on serving, the reason is on record and in the log, nothing is left over.

use serde_json::Value;

use crate::deploy::body;
use crate::support::{Lab, Repo, get, until};

/// Fixture, the outcome that it must have, and a part of the reason.
const BROKEN: [(&str, &str, &str); 8] = [
    ("broken-yaml", "refused", "yaml"),
    ("broken-caddyfile", "refused", "Caddy refuses it"),
    ("broken-caddyfile-syntax", "refused", "CADDYFILE"),
    ("broken-haproxy", "refused", "HAPROXY"),
    ("broken-pull", "refused", "pull"),
    ("broken-build", "refused", "build"),
    ("broken-exits", "undone", "await healthy"),
    ("broken-unhealthy", "undone", "unhealthy"),
];

fn expect_failure(lab: &Lab, repo: &Repo, fixture: &str, state: &str, part: &str) -> Value {
    let id = lab.fire("deploy", &repo.deploy("node1", Some("node2")));
    let record = lab.outcome(&id);
    assert_eq!(record["state"], state, "{fixture}: {record:#}");
    let reason = record["reason"].as_str().unwrap();
    assert!(reason.to_lowercase().contains(&part.to_lowercase()), "{fixture}: {reason}");
    until("the reason in the log", || {
        let log = lab.agent_log("node1");
        let line = log
            .lines()
            .rev()
            .find(|line| line.contains(&id) && line.contains("deployment ended"))?;
        line.contains(state).then_some(())
    });
    record
}

#[test]
fn a_broken_version_leaves_the_former_one_serving() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "hello-broken");
    lab.deploy(&repo, "node1", Some("node2"));
    let born = body(&lab, "node3", "hello.test", "/born.txt");
    for (fixture, state, part) in BROKEN {
        let entry = lab.app(&repo);
        let images = lab.networks_and_images("node1", &repo);
        let checkouts = (lab.checkouts("node1", &repo), lab.checkouts("node2", &repo));
        let schedules = lab.schedules("node1", &repo);
        Repo::publish(&lab, fixture, "hello-broken");
        expect_failure(&lab, &repo, fixture, state, part);

        assert_eq!(
            body(&lab, "node3", "hello.test", "/version.txt").trim(),
            "hello v1",
            "{fixture}"
        );
        assert_eq!(body(&lab, "node3", "hello.test", "/born.txt"), born, "{fixture}");
        assert_eq!(lab.app(&repo), entry, "{fixture}");
        assert_eq!(
            (lab.checkouts("node1", &repo), lab.checkouts("node2", &repo)),
            checkouts,
            "{fixture}"
        );
        assert_eq!(lab.networks_and_images("node1", &repo), images, "{fixture}");
        assert_eq!(lab.schedules("node1", &repo), schedules, "{fixture}");
        let containers = lab.containers("node1", &repo);
        assert!(
            containers.len() == 1 && containers[0].contains(" running "),
            "{fixture}: {containers:?}"
        );
        assert_eq!(lab.volumes("node1", &repo).len(), 1, "{fixture}");
        assert!(
            lab.kv_keys("maintenance/").is_empty() && lab.kv_keys("tandem/leases/").is_empty(),
            "{fixture}"
        );
    }
    // A deployment right after succeeds.
    Repo::publish(&lab, "hello-v2", "hello-broken");
    lab.deploy(&repo, "node1", Some("node2"));
    assert_eq!(body(&lab, "node3", "hello.test", "/version.txt").trim(), "hello v2");
    lab.destroy(&repo);
    assert_eq!(lab.leftovers(&repo), [""; 0]);
}

#[test]
fn a_broken_first_version_leaves_nothing() {
    let lab = Lab::get();
    for (fixture, state, part) in BROKEN {
        let repo = Repo::publish(&lab, fixture, &format!("new-{fixture}"));
        expect_failure(&lab, &repo, fixture, state, part);
        assert_eq!(lab.leftovers(&repo), [""; 0], "{fixture}");
        assert_eq!(get(&lab.ip("node1"), "hello.test", "/").unwrap().status, 404, "{fixture}");
    }
}

#[test]
fn a_url_that_another_app_serves_is_refused_naming_it() {
    let lab = Lab::get();
    let first = Repo::publish(&lab, "hello", "hello-first");
    let second = Repo::publish(&lab, "hello", "hello-second");
    lab.deploy(&first, "node1", None);
    let record = lab.outcome(&lab.fire("deploy", &second.deploy("node2", None)));
    assert_eq!(record["state"], "refused");
    let reason = record["reason"].as_str().unwrap();
    assert!(
        reason.contains(&format!("http://hello.test is served by {}", first.app())),
        "{reason}"
    );
    assert_eq!(lab.leftovers(&second), [""; 0]);
    lab.destroy(&first);
}

#[test]
fn a_repository_that_can_not_be_cloned_says_why() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "plain", "plain-clone");
    let missing =
        Repo { name: "none".into(), url: repo.url.replace("plain-clone", "no-such-repository") };
    let record = lab.outcome(&lab.fire("deploy", &missing.deploy("node1", None)));
    assert_eq!(record["state"], "refused");
    let reason = record["reason"].as_str().unwrap().to_lowercase();
    assert!(reason.contains("repository"), "{reason}");

    let branch =
        repo.deploy("node1", None).replace("master\",\"master", "no-such-branch\",\"master");
    let record = lab.outcome(&lab.fire("deploy", &branch));
    assert_eq!(record["state"], "refused");
    assert!(record["reason"].as_str().unwrap().contains("no-such-branch"), "{record:#}");

    lab.run(&["cut-git", "node2"]);
    let record = lab.outcome(&lab.fire("deploy", &repo.deploy("node1", Some("node2"))));
    lab.run(&["restore-git", "node2"]);
    assert_eq!(record["state"], "refused", "the slave can't clone");
    assert!(record["reason"].as_str().unwrap().contains("node2"), "{record:#}");
    assert_eq!(lab.leftovers(&repo), [""; 0]);
}

/// `web` ends until `db` answers, which takes its time when it begins with nothing.
const SLOW_DATABASE: &str = r#"
services:
  web:
    image: debian:bookworm
    init: true
    restart: unless-stopped
    command: [sh, -c, "busybox wget -q -O /dev/null http://db:5432/hostname || { echo the database does not answer; exit 1; }; exec busybox httpd -f -p 80 -h /etc"]
    environment:
      CADDYFILE: "http://slow-db.test {\n reverse_proxy $CONTAINER:80\n}"
    networks: [default, cluster_default]
  db:
    image: debian:bookworm
    init: true
    restart: unless-stopped
    command: [sh, -c, "[ -e /data/made ] || sleep 8; touch /data/made; sleep 2; exec busybox httpd -f -p 5432 -h /etc"]
    volumes: ["data:/data"]
volumes:
  data: {driver: btrfs}
networks:
  cluster_default: {external: true}
"#;

#[test]
fn a_service_that_ends_until_its_database_answers_is_waited_for() {
    let lab = Lab::get();
    let dir = tempfile::tempdir().unwrap();
    let publish = |text: &str| {
        std::fs::write(dir.path().join("docker-compose.yml"), text).unwrap();
        lab.run(&["git-import", dir.path().to_str().unwrap(), "slow-db"]);
    };
    publish(SLOW_DATABASE);
    let url = lab.run(&["git-url", "slow-db", "git"]).trim().to_owned();
    let repo = Repo { name: "slow-db".to_owned(), url };
    lab.deploy(&repo, "node1", Some("node2"));
    assert!(body(&lab, "node2", "slow-db.test", "/hostname").len() > 1);
    // A move, where Docker is not to start anything by itself yet.
    lab.deploy(&repo, "node2", Some("node1"));
    assert!(body(&lab, "node1", "slow-db.test", "/hostname").len() > 1);
    publish(&SLOW_DATABASE.replace("sleep 2;", "sleep 1000;"));
    let record = lab.outcome(&lab.fire("deploy", &repo.deploy("node2", Some("node1"))));
    assert_eq!(record["state"], "undone", "{record:#}");
    let reason = record["reason"].as_str().unwrap();
    for part in ["service web", "condition: service_healthy", "the database does not answer"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    lab.destroy(&repo);
}

/// Compose gives up, and its containers are taken down: what they said is on record.
#[test]
fn a_first_version_whose_database_is_never_healthy_tells_what_it_said() {
    let lab = Lab::get();
    let dir = tempfile::tempdir().unwrap();
    let text = "services:\n  web:\n    image: debian:bookworm\n    restart: unless-stopped\n    command: sleep inf\n    \
                depends_on: {db: {condition: service_healthy}}\n  db:\n    image: debian:bookworm\n    restart: unless-stopped\n    \
                command: [sh, -c, \"echo no such role; exec sleep inf\"]\n    \
                healthcheck: {test: [CMD, 'false'], interval: 1s, retries: 2}\n";
    std::fs::write(dir.path().join("docker-compose.yml"), text).unwrap();
    lab.run(&["git-import", dir.path().to_str().unwrap(), "never-healthy"]);
    let url = lab.run(&["git-url", "never-healthy", "git"]).trim().to_owned();
    let repo = Repo { name: "never-healthy".to_owned(), url };
    let record = lab.outcome(&lab.fire("deploy", &repo.deploy("node1", None)));
    let reason = record["reason"].as_str().unwrap();
    assert!(reason.contains("its last lines: no such role"), "{reason}");
    assert_eq!(lab.leftovers(&repo), [""; 0]);
}
