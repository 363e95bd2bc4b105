//! The commands that look on: status and follow, from any node.

use serde_json::Value;

use crate::support::{Lab, Repo, told};

#[test]
fn status_and_follow_tell_what_happened_from_any_node() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "plain", "plain-status");
    let id = lab.fire("deploy", &repo.deploy("node1", Some("node2")));
    let followed = lab.try_node("node3", &["tandem", "follow", &id[..8], "--json"]);
    assert!(followed.status.success(), "{}", told(&followed));
    let lines: Vec<Value> = String::from_utf8_lossy(&followed.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.last().unwrap()["state"], "completed");
    assert!(lines.iter().any(|line| line["step"] == "up" && line["status"] == "done"), "{lines:?}");

    let status: Value =
        serde_json::from_str(&lab.node("node3", &["tandem", "status", "--json"])).unwrap();
    let app =
        status["apps"].as_array().unwrap().iter().find(|app| app["name"] == repo.app()).unwrap();
    assert_eq!((app["master"].as_str(), app["slave"].as_str()), (Some("node1"), Some("node2")));
    assert_eq!(status["nodes"].as_array().unwrap().len(), 3);
    assert!(status["nodes"].as_array().unwrap().iter().all(|node| node["agent"].is_string()));

    // A wrong value is named; the others are served.
    lab.kv_put("app/wrong_main.00000", "{");
    lab.kv_put("swarm/wrong", "[");
    let named = crate::support::until("the wrong values in the status", || {
        let text = lab.node("node2", &["tandem", "status"]);
        (text.contains("app/wrong_main.00000") && text.contains("swarm/wrong")).then_some(text)
    });
    assert!(named.contains("PROBLEMS"));
    assert!(crate::deploy::body(&lab, "node3", "plain.test", "/").contains("plain"));
    for key in ["app/wrong_main.00000", "swarm/wrong"] {
        lab.node("node1", &["consul", "kv", "delete", key]);
    }
    lab.destroy(&repo);

    let unknown = lab.try_node("node1", &["tandem", "follow", "ffffffff", "--wait", "0"]);
    assert_eq!(unknown.status.code(), Some(4));
}
