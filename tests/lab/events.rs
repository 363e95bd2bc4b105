//! An event is handled once, however often it arrives, and none is missed.

use serde_json::json;

use crate::deploy::body;
use crate::support::{Lab, NODES, Repo, told, until};

/// What `consul watch` passes to a handler.
fn watch_list(id: &str, name: &str, payload: &str) -> Vec<u8> {
    let base64 = |text: &str| {
        let mut child = std::process::Command::new("base64")
            .arg("-w0")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    let event = json!({
        "ID": id, "Name": name, "Payload": base64(payload), "NodeFilter": "", "ServiceFilter": "", "TagFilter": "",
        "Version": 1, "LTime": 5,
    });
    serde_json::to_vec(&json!([event])).unwrap()
}

fn records_of(lab: &Lab, repo: &Repo) -> usize {
    lab.kv_keys(&format!("tandem/deployments/{}/", repo.app())).len()
}

#[test]
fn an_event_delivered_twice_and_after_a_restart_is_one_deployment() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "plain", "plain-twice");
    let before = records_of(&lab, &repo);
    let payload = repo.deploy("node1", Some("node2"));
    let id = lab.fire("deploy", &payload);
    let record = lab.outcome(&id);
    assert_eq!(record["state"], "completed");
    let containers = lab.containers("node1", &repo);
    let list = watch_list(&id, "deploy", &payload);
    for node in NODES {
        let output = lab.node_with_stdin(node, &["tandem", "handle"], &list);
        assert!(output.status.success(), "{}", told(&output));
        lab.run(&["kill", node, "agent"]);
        lab.run(&["start", node, "agent"]);
    }
    until("the agents to be back", || (lab.kv_keys("tandem/nodes/").len() == 3).then_some(()));
    // A later event has been handled by every node: so have been the ones before it.
    let marker = lab.fire("deploy", "marker");
    until("the marker", || lab.kv(&format!("tandem/rejected/{marker}")));
    for node in NODES {
        until("each node to have handled the marker", || {
            lab.try_node(node, &["ls", &format!("/var/lib/tandem/handled/{marker}")])
                .status
                .success()
                .then_some(())
        });
    }
    assert_eq!(records_of(&lab, &repo), before + 1);
    assert_eq!(lab.record(&id), Some(record), "the record was not touched again");
    assert_eq!(lab.containers("node1", &repo), containers, "no container was made anew");
    lab.destroy(&repo);
}

#[test]
fn an_event_handed_over_by_a_watch_is_a_deployment() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "plain", "plain-watch");
    let id = "0f0e0d0c-0000-4000-8000-000000000001"
        .replace("000001", &format!("{:06}", std::process::id() % 1_000_000));
    let list = watch_list(&id, "deploy", &repo.deploy("node2", None));
    let output = lab.node_with_stdin("node3", &["tandem", "handle"], &list);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(lab.outcome(&id)["state"], "completed");
    assert!(body(&lab, "node1", "plain.test", "/").contains("plain"));
    let garbage = lab.node_with_stdin("node3", &["tandem", "handle"], b"{not a list");
    assert_eq!(garbage.status.code(), Some(2));
    lab.destroy(&repo);
}

#[test]
fn consuls_own_watch_hands_events_over() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "plain", "plain-consul-watch");
    let before = records_of(&lab, &repo);
    // Without its agent, only the watch can take an event in on this node.
    lab.run(&["stop", "node3", "agent"]);
    let watch = ["consul", "watch", "-type=event", "tandem", "handle"];
    let mut watch = lab.spawn("node3", &watch);
    let id = lab.fire("deploy", &repo.deploy("node1", None));
    until("node3 to have handled the event", || {
        let handled = format!("/var/lib/tandem/handled/{id}");
        lab.try_node("node3", &["ls", &handled]).status.success().then_some(())
    });
    lab.node("node3", &["pkill", "-f", "^consul watch"]);
    watch.wait().unwrap();
    lab.run(&["start", "node3", "agent"]);
    assert_eq!(lab.outcome(&id)["state"], "completed");
    assert_eq!(records_of(&lab, &repo), before + 1);
    lab.destroy(&repo);
}

#[test]
fn an_event_fired_while_agents_were_down_is_caught_up() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "plain", "plain-missed");
    for node in NODES {
        lab.run(&["kill", node, "agent"]);
    }
    let id = lab.fire("deploy", &repo.deploy("node1", Some("node2")));
    assert!(lab.record(&id).is_none(), "nobody can have accepted it");
    for node in NODES {
        lab.run(&["start", node, "agent"]);
    }
    assert_eq!(lab.outcome(&id)["state"], "completed");
    assert!(body(&lab, "node3", "plain.test", "/").contains("plain"));
    lab.destroy(&repo);
}

#[test]
fn a_slave_whose_agent_was_down_does_its_part_when_it_is_back() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "plain", "plain-slave");
    lab.run(&["kill", "node2", "agent"]);
    let id = lab.fire("deploy", &repo.deploy("node1", Some("node2")));
    until("the deployment to be accepted", || lab.record(&id));
    lab.run(&["start", "node2", "agent"]);
    assert_eq!(lab.outcome(&id)["state"], "completed");
    assert_eq!(lab.checkouts("node2", &repo).len(), 1);
    lab.destroy(&repo);
}

#[test]
fn a_second_event_waits_and_a_newer_one_replaces_it() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "hello-queue");
    let ids: Vec<String> =
        (0..3).map(|_| lab.fire("deploy", &repo.deploy("node1", Some("node2")))).collect();
    let states: Vec<String> =
        ids.iter().map(|id| lab.outcome(id)["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states, ["completed", "superseded", "completed"]);
    assert_eq!(lab.app(&repo).unwrap()["deploy_id"], ids[2]);
    lab.destroy(&repo);
}
