//! What real compose files and the older system's entries hold, with the real Compose and the real proxies.

use serde_json::{Value, json};

use crate::support::{Lab, NODES, Repeat, Repo, get, tcp_line, until};

/// Publishes files as a repository; again: a later commit.
fn publish(lab: &Lab, name: &str, files: &[(&str, &str)]) -> Repo {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in files {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    lab.run(&["git-import", dir.path().to_str().unwrap(), name]);
    let url = lab.run(&["git-url", name, "git"]).trim().to_owned();
    Repo { name: name.to_owned(), url }
}

fn step<'a>(record: &'a Value, name: &str) -> &'a Value {
    let steps = record["steps"].as_array().unwrap();
    let found = steps.iter().find(|step| step["step"] == name);
    found.unwrap_or_else(|| panic!("no step {name}: {record:#}"))
}

fn serves(ip: &str, host: &str) -> Result<(), String> {
    match get(ip, host, "/") {
        Ok(reply) if reply.status == 200 => Ok(()),
        Ok(reply) => Err(format!("{} {}", reply.status, reply.body)),
        Err(error) => Err(error),
    }
}

/// The database is on the default network only because nobody says otherwise, and that network is declared nowhere.
#[test]
fn an_unchanged_redeploy_touches_nothing_whatever_networks_are_written() {
    let lab = Lab::get();
    let edits = [("  default: {}\n", "")];
    let repo = Repo::publish_edited(&lab, "guestbook", "texts-same", &edits);
    lab.deploy(&repo, "node1", Some("node2"));
    let before = lab.containers("node1", &repo);
    until("the app serves", || serves(&lab.ip("node1"), "guestbook.test").ok());
    let client = Repeat::start(&lab.ip("node1"), |ip| serves(ip, "guestbook.test"));
    let record = lab.deploy(&repo, "node1", Some("node2"));
    let (good, bad) = client.end();
    assert!(good > 0 && bad.is_empty(), "{good} good, {bad:?}");
    assert_eq!(step(&record, "compare").get("output"), None, "{record:#}");
    for name in ["stop", "up", "snapshot", "begin_maintenance", "end_maintenance"] {
        assert_eq!(step(&record, name)["status"], "skipped", "{name}: {record:#}");
    }
    assert_eq!(lab.containers("node1", &repo), before);
    lab.destroy(&repo);
}

const WEB: &str = r#"
services:
  web:
    image: debian:bookworm
    init: true
    restart: unless-stopped
    stop_grace_period: 2s
    command: [sh, -c, "mkdir -p /www && echo v1 >/www/index.html && exec busybox httpd -f -p 80 -h /www"]
    environment:
      CADDYFILE: |
        http://${DOMAIN} {
            proxy / http://$CONTAINER:80
        }
    networks: [cluster_default]
"#;
const JOBS: &str = r#"
  retried:
    image: debian:bookworm
    restart: on-failure
    command: ["true"]
  once:
    image: debian:bookworm
    restart: "no"
    command: [sh, -c, "exit 0"]
  unsaid:
    image: debian:bookworm
    command: ["true"]
"#;
const NETWORKS: &str = "\nnetworks:\n  cluster_default:\n    external: true\n";

fn warnings(record: &Value) -> String {
    record["warnings"].to_string()
}

/// Jobs that end, a variable that goes, a script without its bit.
#[test]
fn jobs_are_done_when_they_end_and_a_variable_that_goes_is_named() {
    let lab = Lab::get();
    let compose = format!("{WEB}{JOBS}{NETWORKS}");
    let env = (".env", "DOMAIN=texts.test\n");
    let script = ("update.sh", "#!/bin/sh\necho \"$@\" >updated\n");
    let publish = |files: &[(&str, &str)]| publish(&lab, "texts-jobs", files);
    let repo = publish(&[("docker-compose.yml", &compose), env, script]);
    let event = repo.deploy("node1", None).replace('{', r#"{"update":"true","#);
    let record = lab.outcome(&lab.fire("deploy", &event));
    assert_eq!(record["state"], "completed", "{record:#}");
    let told = warnings(&record);
    assert!(told.contains("service unsaid has ended with code 0"), "{told}");
    let others = ["retried", "once"].map(|service| format!("service {service} has ended"));
    assert!(!others.iter().any(|other| told.contains(other)), "{told}");
    let checkout = lab.checkouts("node1", &repo).remove(0);
    let updated = lab.node("node1", &["cat", &format!("/deploy/{checkout}/updated")]);
    assert!(updated.starts_with("-r git://") && updated.ends_with("-b master\n"), "{updated}");

    // Nothing changed: what has ended is not run again.
    let before = lab.containers("node1", &repo);
    let record = lab.deploy(&repo, "node1", None);
    assert_eq!(step(&record, "compare").get("output"), None, "{record:#}");
    assert_eq!(lab.containers("node1", &repo), before);

    // A job that fails is a failure, and its former self none of the undo's.
    let broken = compose.replace("exit 0", "exit 1");
    publish(&[("docker-compose.yml", &broken), env, script]);
    let record = lab.outcome(&lab.fire("deploy", &repo.deploy("node1", None)));
    assert_eq!(record["state"], "undone", "{record:#}");
    assert!(record["reason"].to_string().contains("service once"), "{record:#}");

    publish(&[("docker-compose.yml", &compose), script]);
    let record = lab.outcome(&lab.fire("deploy", &repo.deploy("node1", None)));
    assert_ne!(record["state"], "completed", "{record:#}");
    let reason = record["reason"].to_string();
    assert!(reason.contains("service web, CADDYFILE: the variable DOMAIN is not set"), "{reason}");
    until("the former version serves", || serves(&lab.ip("node3"), "texts.test").ok());
    lab.destroy(&repo);
}

/// An entry as the older system wrote it: backends without names, one name in both standard frontends, an empty slave.
#[test]
fn an_entry_of_the_older_system_is_served_and_redeployed() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "tcp", "texts-old");
    lab.deploy(&repo, "node1", None);
    let mut entry = lab.app(&repo).unwrap();
    let container = format!("{}_greeter_1", repo.project());
    entry["slave"] = json!("");
    entry["previous_deploy_id"] = Value::Null;
    entry["caddyfile"] = Value::Null;
    entry["haproxy"]["tcp-greeter"]["backends"][0].as_object_mut().unwrap().remove("name");
    let standard = |condition: &str, port: u16| {
        json!({"backends": [{"name": "both.test", "use_backend_option": condition, "port": 7000,
            "peer_port": port, "ct": container}]})
    };
    entry["haproxy"]["http-in"] = standard("if { hdr(host) -i both.test }", 80);
    entry["haproxy"]["https-in"] = standard("if { req_ssl_sni -i both.test }", 443);
    lab.kv_put(&format!("app/{}", repo.app()), &entry.to_string());
    let named = format!("backend backend-{container}");
    for node in NODES {
        until(&format!("the backends on {node}"), || {
            let text = lab.node(node, &["cat", "/var/lib/tandem/haproxy/haproxy.cfg"]);
            let has = |line: &str| text.lines().any(|known| known == line);
            let both =
                ["http-in", "https-in"].map(|kind| format!("backend backend.{kind}.both.test"));
            (has(&named) && both.iter().all(|line| has(line))).then_some(())
        });
        let said = until(&format!("port 2222 of {node}"), || tcp_line(&lab.ip(node), 2222).ok());
        assert!(!said.trim().is_empty(), "through {node}");
    }
    let record = lab.deploy(&repo, "node1", Some("node2"));
    assert_eq!(record["former"]["slave"], Value::Null, "{record:#}");
    lab.destroy(&repo);
    assert_eq!(lab.leftovers(&repo), [""; 0]);
}
