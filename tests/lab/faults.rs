//! Consul and Docker gone and back; an agent killed in the middle of a deployment.

use std::time::{Duration, Instant};

use crate::deploy::body;
use crate::support::{Lab, Load, NODES, Repeat, Repo, get, tls_status, until};

/// How long Consul is away.
const AWAY: Duration = Duration::from_secs(30);

#[test]
fn consul_gone_for_thirty_seconds_and_back() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "hello-consul");
    lab.deploy(&repo, "node1", Some("node2"));
    for node in NODES {
        body(&lab, node, "hello.test", "/");
        until("TLS", || tls_status(&lab.ip(node), "hello.test").ok());
    }
    let load = Load::start(&lab.ip("node3"), "hello.test", "/", 20);
    for node in NODES {
        lab.run(&["kill", node, "consul"]);
    }
    let since = Instant::now();
    let serves_for = |time: Duration| {
        while since.elapsed() < time {
            assert_eq!(get(&lab.ip("node2"), "hello.test", "/").unwrap().status, 200);
            std::thread::sleep(Duration::from_millis(500));
        }
    };
    serves_for(AWAY / 2);
    let (good, bad) = load.end();
    assert!(good > 200 && bad.is_empty(), "{good} succeeded, {bad:?}");
    // What was good last is on the disk: all of the master's starts with it.
    for part in ["agent", "stack"] {
        lab.run(&["kill", "node1", part]);
    }
    lab.run(&["start", "node1", "agent"]);
    for node in NODES {
        body(&lab, node, "hello.test", "/");
        until("TLS", || tls_status(&lab.ip(node), "hello.test").ok());
    }
    assert!(!lab.try_node("node1", &["consul", "kv", "get", "x"]).status.success());
    let load = Load::start(&lab.ip("node3"), "hello.test", "/", 20);
    let tls = Repeat::start(&lab.ip("node1"), |ip| tls_status(ip, "hello.test"));
    serves_for(AWAY);
    for node in NODES {
        lab.run(&["start", node, "consul"]);
    }
    until("the agents to be back in KV", || {
        (lab.kv_keys("tandem/nodes/").len() == 3).then_some(())
    });
    for (good, bad) in [load.end(), tls.end()] {
        assert!(good > 10 && bad.is_empty(), "{good} succeeded, {bad:?}");
    }
    Repo::publish(&lab, "hello-v2", "hello-consul");
    lab.deploy(&repo, "node1", Some("node2"));
    assert_eq!(body(&lab, "node3", "hello.test", "/version.txt").trim(), "hello v2");
    lab.destroy(&repo);
}

#[test]
fn docker_gone_and_back() {
    let lab = Lab::get();
    let served = Repo::publish(&lab, "hello", "hello-docker");
    lab.deploy(&served, "node1", Some("node2"));
    let repo = Repo::publish(&lab, "plain", "plain-docker");
    lab.run(&["kill", "node1", "docker"]);
    let record = lab.outcome(&lab.fire("deploy", &repo.deploy("node1", None)));
    assert!(
        ["refused", "undone", "stuck"].contains(&record["state"].as_str().unwrap()),
        "{record:#}"
    );
    lab.run(&["start", "node1", "docker"]);
    until("Docker", || lab.try_node("node1", &["docker", "info"]).status.success().then_some(()));
    // Docker takes the containers that outlived it for stopped by hand; the agent brings them back.
    let reply = body(&lab, "node3", "hello.test", "/");
    assert!(reply.contains("hello"), "{reply}");
    until("the deployment right after", || {
        let record = lab.outcome(&lab.fire("deploy", &repo.deploy("node1", None)));
        (record["state"] == "completed").then_some(())
    });
    assert!(body(&lab, "node2", "plain.test", "/").contains("plain"));
    lab.destroy(&repo);
    lab.destroy(&served);
}

#[test]
fn an_agent_killed_in_the_middle_resumes() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "hello-killed");
    let id = lab.fire("deploy", &repo.deploy("node1", Some("node2")));
    until("the build to begin", || {
        let record = lab.record(&id)?;
        let steps = record["steps"].as_array()?.clone();
        steps
            .iter()
            .any(|step| step["step"] == "build" && step["status"] != "pending")
            .then_some(())
    });
    lab.run(&["kill", "node1", "agent"]);
    lab.run(&["start", "node1", "agent"]);
    let record = lab.outcome(&id);
    assert_eq!(record["state"], "completed", "{record:#}");
    assert!(body(&lab, "node3", "hello.test", "/").contains("hello"));
    lab.destroy(&repo);
    assert_eq!(lab.leftovers(&repo), [""; 0]);
}

#[test]
fn a_node_without_power_comes_back_serving() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "hello-power");
    lab.deploy(&repo, "node1", Some("node2"));
    let born = body(&lab, "node2", "hello.test", "/born.txt");
    lab.run(&["power-off", "node1"]);
    lab.run(&["power-on", "node1"]);
    assert_eq!(body(&lab, "node2", "hello.test", "/born.txt"), born);
    assert_eq!(body(&lab, "node1", "hello.test", "/born.txt"), born);
    until("the agent to be back", || (lab.kv_keys("tandem/nodes/").len() == 3).then_some(()));
    lab.destroy(&repo);
}
