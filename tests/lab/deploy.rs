//! First deployments with and without a slave, a redeploy on the same pair, and destroy.

use serde_json::Value;

use crate::support::{Lab, NODES, Repo, get, get_tls, tcp_line, until};

/// The certificate of the master's own authority, on this machine.
pub(crate) fn authority(lab: &Lab, master: &str) -> tempfile::NamedTempFile {
    let path = "/var/lib/tandem/caddy-data/caddy/pki/authorities/local/root.crt";
    let text = lab.node(master, &["cat", path]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

pub(crate) fn body(lab: &Lab, node: &str, host: &str, path: &str) -> String {
    until(&format!("http://{host}{path} through {node}"), || {
        get(&lab.ip(node), host, path)
            .ok()
            .filter(|reply| reply.status == 200)
            .map(|reply| reply.body)
    })
}

/// A host's map for TLS is changed after that for HTTP.
fn tls(lab: &Lab, node: &str, host: &str, path: &str, ca: &tempfile::NamedTempFile) {
    until(&format!("https://{host}{path} through {node}"), || {
        let reply = get_tls(&lab.ip(node), host, path, ca.path().to_str()?).ok()?;
        (reply.status == 200).then_some(())
    });
}

#[test]
fn a_first_deployment_with_a_slave_serves_through_every_node() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "guestbook", "guestbook");
    let record = lab.deploy(&repo, "node1", Some("node2"));
    assert_eq!(record["transitions"]["node1"], serde_json::json!({"from":"nothing","to":"master"}));
    assert_eq!(record["transitions"]["node2"], serde_json::json!({"from":"nothing","to":"slave"}));

    let ca = authority(&lab, "node1");
    for node in NODES {
        assert!(body(&lab, node, "guestbook.test", "/").contains("<form"), "through {node}");
        tls(&lab, node, "guestbook.test", "/healthz", &ca);
    }
    let unknown = get(&lab.ip("node3"), "nobody.test", "/").unwrap();
    assert_eq!(unknown.status, 404);

    let entry = lab.app(&repo).unwrap();
    for key in [
        "repo_url",
        "branch",
        "deploy_id",
        "previous_deploy_id",
        "deploy_date",
        "master",
        "slave",
        "ip",
        "domains",
        "urls",
        "caddyfile",
        "haproxy",
        "ct",
        "volumes",
    ] {
        assert!(entry.get(key).is_some(), "{key} is missing");
    }
    assert_eq!(entry["previous_deploy_id"], Value::Null);
    assert_eq!(entry["domains"], serde_json::json!(["guestbook.test"]));
    assert_eq!(entry["urls"], "http://guestbook.test, https://guestbook.test");
    assert_eq!(entry["ip"], lab.ip("node1"));
    assert_eq!(entry["ct"]["app"], format!("{}_app_1", repo.project()));
    assert!(
        entry["caddyfile"]
            .as_str()
            .unwrap()
            .contains(&format!("http://{}_app_1:8080", repo.project()))
    );

    let replicate = format!("replicate:{} 60", lab.ip("node2"));
    let purge = "purge:1h:1d:1w:4w:1y 1440";
    assert_eq!(
        lab.schedules("node1", &repo),
        [replicate.as_str(), purge].map(str::to_owned).into()
    );
    assert_eq!(lab.schedules("node2", &repo), [purge.to_owned()].into());
    for node in ["node1", "node2"] {
        let id = record["id"].as_str().unwrap();
        assert_eq!(lab.checkouts(node, &repo), [format!("{}-{id}", repo.app())]);
    }
    assert!(lab.containers("node2", &repo).is_empty() && lab.volumes("node2", &repo).is_empty());
    assert_eq!(lab.volumes("node1", &repo).len(), 3);
    assert!(lab.services("node1").contains(&repo.app()));
    assert!(!lab.services("node2").contains(&repo.app()));
    let checks: Value = serde_json::from_str(
        &lab.node("node1", &["curl", "-fsS", "http://127.0.0.1:8500/v1/agent/checks"]),
    )
    .unwrap();
    let checks = checks.as_object().unwrap().values();
    let urls: Vec<_> = checks.filter(|check| check["ServiceID"] == repo.app()).collect();
    assert_eq!(urls.len(), 3, "two URLs of the CADDYFILE and one of CONSUL_CHECK_URLS: {urls:?}");
    assert!(lab.kv_keys("tandem/leases/").is_empty());

    // A plain compose command works in the checkout.
    let dir = format!("/deploy/{}-{}", repo.app(), record["id"].as_str().unwrap());
    let listed =
        lab.node("node1", &["docker", "compose", "--project-directory", &dir, "ps", "--services"]);
    assert_eq!(listed.split_whitespace().count(), 2, "{listed}");

    let before = lab.snapshots("node1", &repo);
    lab.destroy(&repo);
    assert_eq!(lab.leftovers(&repo), [""; 0]);
    let after = lab.snapshots("node1", &repo);
    let new: Vec<_> = after.iter().filter(|name| !before.contains(name)).collect();
    for volume in ["attachments", "database"] {
        let prefix = format!("{}_{volume}@", repo.project());
        assert!(
            new.iter().any(|name| name.starts_with(&prefix)),
            "of {volume} none stays: {new:?}"
        );
    }
    let gone = until("the app to be unknown", || {
        get(&lab.ip("node3"), "guestbook.test", "/").ok().filter(|reply| reply.status == 404)
    });
    assert_eq!(gone.status, 404);
}

#[test]
fn a_first_deployment_without_a_slave_takes_snapshots_instead() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "hello-alone").by_ssh(&lab);
    let record = lab.deploy(&repo, "node2", None);
    assert_eq!(record["transitions"].as_object().unwrap().len(), 1);
    let ca = authority(&lab, "node2");
    for node in NODES {
        assert!(body(&lab, node, "hello.test", "/").contains("hello"), "through {node}");
        let www = get(&lab.ip(node), "www.hello.test", "/x?y=1").unwrap();
        assert_eq!(www.status, 301, "Caddy 1's default");
        assert!(www.headers.contains("http://hello.test/x?y=1"), "{}", www.headers);
        tls(&lab, node, "hello.test", "/version.txt", &ca);
    }
    let purge = "purge:1h:1d:1w:4w:1y 1440";
    assert_eq!(lab.schedules("node2", &repo), ["snapshot 60", purge].map(str::to_owned).into());
    assert!(lab.checkouts("node1", &repo).is_empty() && lab.checkouts("node3", &repo).is_empty());
    lab.destroy(&repo);
    assert_eq!(lab.leftovers(&repo), [""; 0]);
}

#[test]
fn a_redeploy_on_the_same_pair_brings_the_new_version_with_the_old_data() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "hello-again");
    let first = lab.deploy(&repo, "node1", Some("node3"));
    let born = body(&lab, "node2", "hello.test", "/born.txt");
    Repo::publish(&lab, "hello-v2", "hello-again");
    let second = lab.deploy(&repo, "node1", Some("node3"));

    assert_eq!(body(&lab, "node2", "hello.test", "/version.txt").trim(), "hello v2");
    assert_eq!(body(&lab, "node2", "hello.test", "/born.txt"), born, "the volume is the same");
    assert_eq!(lab.app(&repo).unwrap()["previous_deploy_id"], first["id"]);
    assert!(second["epoch"].as_u64() > first["epoch"].as_u64());
    for node in ["node1", "node3"] {
        let id = second["id"].as_str().unwrap();
        assert_eq!(lab.checkouts(node, &repo), [format!("{}-{id}", repo.app())]);
    }
    assert_eq!(lab.containers("node1", &repo).len(), 1);
    let kept = lab.node("node1", &["docker", "images", "--format", "{{.Repository}}"]);
    assert!(!kept.contains("tandem-kept"), "{kept}");
    assert!(lab.kv_keys("maintenance/").is_empty() && lab.kv_keys("tandem/leases/").is_empty());

    // The pair loses its slave: its schedules and checkout go, and snapshots take the place of replication.
    lab.deploy(&repo, "node1", None);
    assert!(lab.checkouts("node3", &repo).is_empty() && lab.schedules("node3", &repo).is_empty());
    assert!(lab.schedules("node1", &repo).contains("snapshot 60"));
    assert_eq!(body(&lab, "node2", "hello.test", "/born.txt"), born);
    lab.destroy(&repo);
    assert_eq!(lab.leftovers(&repo), [""; 0]);
}

#[test]
fn an_app_with_a_port_of_its_own_answers_on_every_node() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "tcp", "tcp");
    lab.deploy(&repo, "node3", Some("node1"));
    for node in NODES {
        let said = until(&format!("port 2222 of {node}"), || tcp_line(&lab.ip(node), 2222).ok());
        assert!(!said.trim().is_empty(), "through {node}");
    }
    let services: Value = serde_json::from_str(
        &lab.node("node3", &["curl", "-fsS", "http://127.0.0.1:8500/v1/agent/services"]),
    )
    .unwrap();
    assert_eq!(
        services[repo.app()]["ID"],
        repo.app(),
        "service.json is registered under the app's name"
    );
    lab.destroy(&repo);
    assert_eq!(lab.leftovers(&repo), [""; 0]);
    until("the port to be closed", || tcp_line(&lab.ip("node2"), 2222).is_err().then_some(()));
}
