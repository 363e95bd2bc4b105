//! Malformed and hostile payloads change nothing and run nothing.

use std::collections::BTreeMap;

use crate::support::{Lab, NODES, until};

/// Event and payload.
fn payloads() -> Vec<(&'static str, String)> {
    let deploy = |repo: &str, branch: &str| {
        serde_json::json!({"repo": repo, "branch": branch, "master": "node1"}).to_string()
    };
    let url = "git://10.0.0.1/app";
    let mut payloads = vec![
        ("deploy", "not JSON".to_owned()),
        ("deploy", "[]".to_owned()),
        ("deploy", "{}".to_owned()),
        ("deploy", "{\"repo\":".to_owned()),
        ("deploy", format!("{{\"repo\":\"{url}\"}}")),
        ("deploy", r#"{"branch":"main","master":"node1"}"#.to_owned()),
        (
            "deploy",
            format!("{{\"repo\":7,\"branch\":\"main\",\"master\":\"node1\",\"x\":\"{url}\"}}"),
        ),
        ("deploy", format!("{{\"repo\":\"{url}\",\"branch\":[\"main\"],\"master\":\"node1\"}}")),
        (
            "deploy",
            format!(
                "{{\"repo\":\"{url}\",\"branch\":\"main\",\"master\":\"node1\",\"slave\":\"node1\"}}"
            ),
        ),
        ("deploy", format!("{{\"repo\":\"{url}\",\"branch\":\"main\",\"master\":\"../node1\"}}")),
        (
            "deploy",
            format!(
                "{{\"repo\":\"{url}\",\"branch\":\"main\",\"update\":\"$(touch /tmp/pwned)\"}}"
            ),
        ),
        ("destroy", "{}".to_owned()),
        ("migrate", format!("{{\"repo\":\"{url}\",\"branch\":\"main\",\"target\":{{}}}}")),
        // As many bytes as Consul 1.8 takes.
        ("deploy", "x".repeat(404)),
    ];
    for repo in [
        "git://h/a'; touch /tmp/pwned; '",
        "git://h/a\"b",
        "git://h/a;touch /tmp/pwned",
        "git://h/$(touch /tmp/pwned)",
        "-oProxyCommand=touch /tmp/pwned",
        "ext::sh -c touch% /tmp/pwned",
        "git://h/../../etc",
        "git://h/a\nb",
        "git://h/`id`",
        "--upload-pack=touch /tmp/pwned",
        "ssh://-oProxyCommand=x/a",
    ] {
        payloads.push(("deploy", deploy(repo, "main")));
    }
    for branch in [
        "main'",
        "a\"b",
        "a;b",
        "$(touch /tmp/pwned)",
        "-b",
        "../../etc",
        "a..b",
        "a\nb",
        "--upload-pack=x",
    ] {
        payloads.push(("deploy", deploy(url, branch)));
        payloads.push(("destroy", deploy(url, branch)));
    }
    payloads
}

/// Everything in KV save the rejections and what agents say of themselves, and what is in the places where a
/// hostile text might have left something.
fn everything(lab: &Lab) -> BTreeMap<String, String> {
    let text = lab.node("node1", &["consul", "kv", "export"]);
    let keys: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let mut found: BTreeMap<String, String> = keys
        .into_iter()
        .map(|entry| (entry["key"].as_str().unwrap().to_owned(), entry["value"].to_string()))
        .filter(|(key, _)| {
            !key.starts_with("tandem/rejected/") && !key.starts_with("tandem/nodes/")
        })
        .collect();
    for node in NODES {
        for argv in [
            vec!["ls", "/tmp", "/deploy"],
            vec!["docker", "ps", "-a", "--format", "{{.ID}} {{.State}}"],
        ] {
            found.insert(format!("{node} {argv:?}"), lab.node(node, &argv));
        }
    }
    found
}

#[test]
fn payloads_that_are_wrong_change_nothing_and_are_on_record() {
    let lab = Lab::get();
    let before = everything(&lab);
    let mut ids = Vec::new();
    for (event, payload) in payloads() {
        ids.push((lab.fire(event, &payload), event, payload));
    }
    for (id, event, payload) in &ids {
        let rejection = until(&format!("the rejection of {event} {payload:?}"), || {
            lab.kv(&format!("tandem/rejected/{id}"))
        });
        let rejection: serde_json::Value = serde_json::from_str(&rejection).unwrap();
        assert!(!rejection["reason"].as_str().unwrap().is_empty());
        assert!(
            rejection["payload"].as_str().unwrap().chars().all(|c| (' '..='~').contains(&c)),
            "{rejection}"
        );
    }
    let told = lab.try_node("node2", &["tandem", "follow", &ids[0].0]);
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stderr).contains("not a JSON object"));
    assert_eq!(everything(&lab), before);
}

#[test]
fn an_unknown_event_runs_its_handler_once_with_the_payload_on_stdin() {
    let lab = Lab::get();
    let script = "#!/bin/sh\ncat >>/tmp/handler.out\necho \" $TANDEM_EVENT_NAME $TANDEM_NODE\" >>/tmp/handler.out\n";
    lab.node("node2", &["mkdir", "-p", "/etc/tandem/handlers"]);
    let put =
        lab.node_with_stdin("node2", &["tee", "/etc/tandem/handlers/back-up"], script.as_bytes());
    assert!(put.status.success());
    lab.node("node2", &["chmod", "755", "/etc/tandem/handlers/back-up"]);
    let payload = "$(touch /tmp/pwned) '; \"x";
    lab.fire("back-up", payload);
    let out = until("the handler's output", || {
        let output = lab.try_node("node2", &["cat", "/tmp/handler.out"]);
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
            .filter(|text| text.contains("node2"))
    });
    assert_eq!(out.trim_end(), format!("{payload} back-up node2"));
    until("the other nodes to say that they have no handler", || {
        lab.agent_log("node1").contains("no handler for this event").then_some(())
    });
    // Restarted, the agent sees the event in Consul's list again.
    lab.run(&["kill", "node2", "agent"]);
    lab.run(&["start", "node2", "agent"]);
    until("the agent to be back", || (lab.kv_keys("tandem/nodes/").len() == 3).then_some(()));
    assert_eq!(lab.node("node2", &["cat", "/tmp/handler.out"]).lines().count(), 1);
    lab.node("node2", &["rm", "-f", "/etc/tandem/handlers/back-up", "/tmp/handler.out"]);
    assert!(!lab.try_node("node2", &["ls", "/tmp/pwned"]).status.success());
}
