//! The commands that look on: status and follow, from any node.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::deploy::body;
use crate::support::http::{Ask, ask};
use crate::support::{Lab, Load, NODES, Repo, get, told, until};

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
    // As the older system leaves them.
    let maintenance = format!("maintenance/{}", repo.app());
    lab.node("node1", &["consul", "kv", "put", &maintenance]);
    let named = until("the wrong values in the status", || {
        let text = lab.node("node2", &["tandem", "status"]);
        (text.contains("app/wrong_main.00000") && text.contains("swarm/wrong")).then_some(text)
    });
    assert!(named.contains(&format!("consul kv delete {maintenance} ends it")), "{named}");
    lab.node("node1", &["consul", "kv", "delete", &maintenance]);
    assert!(named.contains("PROBLEMS"));
    until("the app is back", || {
        get(&lab.ip("node3"), "plain.test", "/").ok().filter(|page| page.status == 200)
    });
    for key in ["app/wrong_main.00000", "swarm/wrong"] {
        lab.node("node1", &["consul", "kv", "delete", key]);
    }
    what_only_the_proxies_refuse_is_left_out_until_it_is_right(&lab, &repo);
    lab.destroy(&repo);

    let unknown = lab.try_node("node1", &["tandem", "follow", "ffffffff", "--wait", "0"]);
    assert_eq!(unknown.status.code(), Some(4));
}

/// The lists of what apps may write let both through: an expression that is none, and a time that is too long.
fn what_only_the_proxies_refuse_is_left_out_until_it_is_right(lab: &Lab, served: &Repo) {
    let container = format!("{}_web_1", served.project());
    let [routed_app, bound_app] = ["routed", "bound"]
        .map(|name| Repo { name: name.to_owned(), url: format!("https://git.test/{name}") });
    let entry = |app: &Repo, caddyfile: &str, haproxy: Value| {
        json!({
            "repo_url": app.url, "branch": "master", "deploy_id": "1",
            "master": "node1", "ip": lab.ip("node1"), "ct": {"web": container},
            "caddyfile": caddyfile, "haproxy": haproxy,
        })
    };
    let routed = |expression: &str| {
        let site = format!(
            "http://routed.test {{\n  @old path_regexp old {expression}\n  redir @old /new 301\n  \
             reverse_proxy http://{container}:80\n}}\n"
        );
        entry(&routed_app, &site, json!({}))
    };
    let bound = |time: &str| {
        let frontend = json!({
            "mode": "tcp", "bind": ["*:2296"], "options": [format!("timeout client {time}")],
        });
        let backend = json!({"name": "bound", "port": 80, "peer_port": 2296, "ct": container});
        entry(&bound_app, "", json!({"bound": {"frontend": frontend, "backends": [backend]}}))
    };
    let [routed_key, bound_key] = [&routed_app, &bound_app].map(|app| format!("app/{}", app.app()));
    let (routed_key, bound_key) = (routed_key.as_str(), bound_key.as_str());
    let put = |key: &str, value: Value| lab.kv_put(key, &value.to_string());
    let load = Load::start(&lab.ip("node3"), "plain.test", "/", 20);

    put(routed_key, routed("^/old/(.*"));
    put(bound_key, bound("999999999d"));
    // Caddy of the master alone is asked, and HAProxy of every node.
    let names = |node: &str, key: &str, proxy: &str| {
        until(&format!("{node} to name {key}"), || {
            let node: Value =
                serde_json::from_str(&lab.kv(&format!("tandem/nodes/{node}"))?).ok()?;
            let mut lines = node["problems"].as_array()?.iter().filter_map(Value::as_str);
            let refuses = format!("{proxy} refuses it");
            lines.any(|line| line.starts_with(key) && line.contains(&refuses)).then_some(())
        });
    };
    names("node1", routed_key, "Caddy");
    for node in NODES {
        names(node, bound_key, "HAProxy");
    }
    until("both in the status", || {
        let status = lab.node("node2", &["tandem", "status"]);
        (status.contains(routed_key) && status.contains(bound_key)).then_some(())
    });
    for node in NODES {
        assert!(body(lab, node, "plain.test", "/").contains("plain"), "through {node}");
        assert!(TcpStream::connect((lab.ip(node), 2296)).is_err(), "port 2296 of {node}");
    }

    put(routed_key, routed("^/old/(.*)"));
    put(bound_key, bound("1d"));
    let any = Ask { method: "GET", host: "any.test", path: "/", body: "" };
    for node in NODES {
        assert!(body(lab, node, "routed.test", "/").contains("plain"), "through {node}");
        let reply = until(&format!("port 2296 of {node}"), || {
            ask(&lab.ip(node), 2296, any, Duration::from_secs(5)).ok()
        });
        assert!(reply.body.contains("plain"), "port 2296 of {node}: {reply:?}");
        until("nothing to be named any more", || {
            let said = lab.kv(&format!("tandem/nodes/{node}"))?;
            (!said.contains(routed_key) && !said.contains(bound_key)).then_some(())
        });
    }
    for key in [routed_key, bound_key] {
        lab.node("node1", &["consul", "kv", "delete", key]);
    }
    let (good, bad) = load.end();
    assert!(good > 20 && bad.is_empty(), "{good} succeeded, {bad:?}");
}
