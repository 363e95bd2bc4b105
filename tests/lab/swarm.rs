//! Keys below `swarm/`, written by hand.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::{Ask, ask};
use crate::support::{Lab, NODES, get, get_tls_of_anyone, until, within};

/// How long a key written by hand may take to be live.
const LIVE: Duration = Duration::from_secs(10);

const SWARM: &str = "{
    admin off
    skip_install_trust
    auto_https disable_redirects
}
:80 {
    respond swarm
}
https://swarm.test, https://*.swarm.test, https://alone.test, https://half.test, https://part.test {
    tls internal
    respond swarm
}
";

fn start_swarm(lab: &Lab) {
    let script = format!("echo '{SWARM}' | exec caddy run --config - --adapter caddyfile");
    for node in NODES {
        lab.try_node(node, &["docker", "rm", "-f", "swarm_reverse"]);
        let run = ["docker", "run", "-d", "--init", "--name", "swarm_reverse"];
        let image = ["--network", "cluster_default", "caddy:2", "sh", "-c", &script];
        lab.node(node, &[&run[..], &image].concat());
    }
    for node in NODES {
        let ask = ["curl", "-fsSk", "--resolve", "swarm.test:443:127.0.0.1", "https://swarm.test/"];
        let ask = [&["docker", "exec", "swarm_reverse"][..], &ask].concat();
        until("the swarm's own proxy", || lab.try_node(node, &ask).status.success().then_some(()));
    }
}

/// Writes a key by hand, on any node.
fn put(lab: &Lab, key: &str, value: &Value) {
    lab.node("node2", &["consul", "kv", "put", key, &value.to_string()]);
}

/// A frontend of a swarm key's own, on that port.
fn frontend(name: &str, port: u16) -> Value {
    json!({name: {
        "frontend": {"mode": "tcp", "bind": [format!("*:{port}")]},
        "backends": [{"name": name, "port": 80, "ct": "swarm_reverse"}],
    }})
}

/// By HTTP and by HTTPS the host leads to the swarm, through every node.
fn leads_to_swarm(lab: &Lab, host: &str) {
    for node in NODES {
        let reply = within(LIVE, &format!("http://{host} through {node}"), || {
            get(&lab.ip(node), host, "/").ok().filter(|reply| reply.status == 200)
        });
        assert_eq!(reply.body, "swarm", "http://{host} through {node}");
        let reply = within(LIVE, &format!("https://{host} through {node}"), || {
            get_tls_of_anyone(&lab.ip(node), host, "/").ok()
        });
        assert_eq!(reply.body, "swarm", "https://{host} through {node}");
    }
}

/// A port of a swarm key's own may wait for a reload that other changes wait for too.
fn port_leads_to_swarm(lab: &Lab, port: u16) {
    let any = Ask { method: "GET", host: "any.test", path: "/", body: "" };
    for node in NODES {
        let reply = until(&format!("port {port} of {node}"), || {
            ask(&lab.ip(node), port, any, Duration::from_secs(5)).ok()
        });
        assert_eq!(reply.body, "swarm", "port {port} of {node}");
    }
}

#[test]
fn swarm_keys_edited_by_hand_are_live_on_every_node() {
    let lab = Lab::get();
    start_swarm(&lab);
    put(&lab, "swarm/hosts", &json!({"domains": ["alone.test"]}));
    leads_to_swarm(&lab, "alone.test");
    // A frontend alone, and both. Of what is half wrong the other half counts, and of what is wrong nothing.
    for (key, value) in [
        ("swarm/port", json!({"haproxy": frontend("port", 2298)})),
        (
            "swarm/both",
            json!({"domains": ["swarm.test", "*.swarm.test"], "haproxy": frontend("service", 2299)}),
        ),
        (
            "swarm/half",
            json!({"domains": ["bad host", "half.test"], "haproxy": frontend("half", 2297)}),
        ),
        ("swarm/part", json!({"domains": ["part.test"], "haproxy": {"part": "x"}})),
        ("swarm/wrong", json!({"domains": "none.test"})),
    ] {
        put(&lab, key, &value);
    }
    for host in ["swarm.test", "a.swarm.test", "half.test", "part.test"] {
        leads_to_swarm(&lab, host);
    }
    for port in [2297, 2298, 2299] {
        port_leads_to_swarm(&lab, port);
    }
    for node in NODES {
        lab.in_place(node);
        let config = lab.node(node, &["cat", "/var/lib/tandem/haproxy/haproxy.cfg"]);
        for line in ["frontend swarm-front-service", "backend swarm-backend-service"] {
            assert!(config.contains(line), "{line} on {node}");
        }
        assert!(config.contains("server swarm_service swarm_reverse:80"), "on {node}");
    }
    let named = until("the wrong keys to be named", || {
        let text = lab.node("node3", &["tandem", "status"]);
        let wrong = ["swarm/wrong", "swarm/half", "swarm/part", "bad host"];
        wrong.iter().all(|words| text.contains(words)).then_some(text)
    });
    for key in ["swarm/both", "swarm/hosts", "swarm/port"] {
        assert!(!named.contains(key), "{named}");
    }
    for key in ["both", "hosts", "port", "half", "part", "wrong"] {
        lab.node("node1", &["consul", "kv", "delete", &format!("swarm/{key}")]);
    }
    for node in NODES {
        for host in ["swarm.test", "alone.test", "half.test", "part.test"] {
            within(LIVE, &format!("{host} to be gone from {node}"), || {
                (get(&lab.ip(node), host, "/").ok()?.status == 404).then_some(())
            });
        }
        for port in [2297, 2298, 2299] {
            until(&format!("port {port} of {node} to be closed"), || {
                TcpStream::connect((lab.ip(node), port)).is_err().then_some(())
            });
        }
        lab.node(node, &["docker", "rm", "-f", "swarm_reverse"]);
        lab.in_place(node);
    }
}
