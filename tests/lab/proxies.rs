//! What the proxies of the nodes do with real connections: addresses, upgrades, the PROXY protocol, swarm keys, and a
//! master whose Caddy is gone.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::deploy::body;
use crate::support::http::{Ask, ask};
use crate::support::{Lab, NODES, Repo, get, tls_status, told, until};

const UPGRADE: &str =
    "GET /socket HTTP/1.1\r\nHost: echo.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

impl Lab {
    fn socat(&self, node: &str, place: &str, text: &str) -> String {
        let output = self.node_with_stdin(node, &["socat", "-t5", "-", place], text.as_bytes());
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn haproxy(&self, node: &str, command: &str) -> String {
        self.socat(node, "UNIX-CONNECT:/run/tandem/haproxy/admin.sock", &format!("{command}\n"))
    }

    /// What is on a node's disk is what runs: after each change, within the time of one look again.
    fn in_place(&self, node: &str) {
        until(&format!("disk and proxies of {node} to be equal"), || {
            for map in ["http.map", "https.map", "http-wild.map", "https-wild.map", "held.map"] {
                let file = format!("/var/lib/tandem/haproxy/{map}");
                let shown = self.haproxy(node, &format!("show map {file}"));
                let running: Vec<_> =
                    shown.lines().filter_map(|line| Some(line.split_once(' ')?.1)).collect();
                let mut disk = self.node(node, &["cat", &file]);
                disk = disk.trim_end().to_owned();
                let mut wanted: Vec<_> = disk.lines().collect();
                let mut running = running.clone();
                wanted.sort_unstable();
                running.sort_unstable();
                if wanted != running {
                    return None;
                }
            }
            let config = self.node(node, &["cat", "/var/lib/tandem/haproxy/haproxy.cfg"]);
            let mark = config.lines().find_map(|line| line.trim().strip_prefix("description "));
            let info = self.haproxy(node, "show info");
            let running = info.lines().find_map(|line| line.strip_prefix("description: "));
            let answer = self.node(
                node,
                &[
                    "curl",
                    "-fsS",
                    "--unix-socket",
                    "/run/tandem/caddy/admin.sock",
                    "http://localhost/config/",
                ],
            );
            let caddy: Value = serde_json::from_str(&answer).ok()?;
            let file = self.node(node, &["cat", "/var/lib/tandem/caddy/caddy.json"]);
            let file: Value = serde_json::from_str(&file).ok()?;
            (mark.is_some() && mark == running && caddy == file).then_some(())
        });
    }
}

/// The value of a header that reached the app, from its answer.
fn header<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

#[test]
fn the_clients_address_and_upgraded_connections_pass_two_nodes() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "echo", "echo");
    lab.deploy(&repo, "node1", Some("node2"));
    let outside = lab.run(&["ip", "lab"]);
    for node in NODES {
        body(&lab, node, "echo.test", "/");
        until("TLS", || tls_status(&lab.ip(node), "echo.test").ok());
        lab.in_place(node);
        // What a client says of itself is not believed.
        let forged = Command::new("curl")
            .args(["-sS", "-m", "10", "-H", "X-Forwarded-For: 9.9.9.9", "-H", "X-Real-IP: 9.9.9.9"])
            .args(["--resolve", &format!("echo.test:80:{}", lab.ip(node)), "http://echo.test/a?b"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&forged.stdout).into_owned();
        assert!(text.starts_with("GET /a?b HTTP/1.1"), "{text}");
        assert!(!text.contains("9.9.9.9"), "through {node}: {text}");
        assert!(
            header(&text, "X-Forwarded-For").concat().contains(outside.trim()),
            "through {node}: {text}"
        );
        assert_eq!(header(&text, "X-Forwarded-Proto"), ["http"], "through {node}");
        // Past Caddy: by a condition, and by the frontend of its own.
        let text = body(&lab, node, "direct.test", "/");
        assert_eq!(header(&text, "Host"), ["direct.test"], "through {node}");
        let own = Ask { method: "GET", host: "any.test", path: "/own", body: "" };
        let own = until("port 8085", || ask(&lab.ip(node), 8085, own, Duration::from_secs(5)).ok());
        assert!(own.body.starts_with("GET /own"), "through {node}: {own:?}");
        plain_upgrade(&lab, node);
        tls_upgrade(&lab, node);
    }
    lab.destroy(&repo);
    for node in NODES {
        lab.in_place(node);
    }
}

fn plain_upgrade(lab: &Lab, node: &str) {
    let mut socket = TcpStream::connect((lab.ip(node), 80)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.write_all(UPGRADE.as_bytes()).unwrap();
    let reader = socket.try_clone().unwrap();
    echoes(BufReader::new(reader), socket, &format!("HTTP through {node}"));
}

fn tls_upgrade(lab: &Lab, node: &str) {
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-servername", "echo.test"])
        .args(["-connect", &format!("{}:443", lab.ip(node))])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = client.stdin.take().unwrap();
    input.write_all(UPGRADE.as_bytes()).unwrap();
    let output = BufReader::new(client.stdout.take().unwrap());
    echoes(output, input, &format!("TLS through {node}"));
    client.kill().unwrap();
    client.wait().unwrap();
}

fn echoes(mut from: impl BufRead, mut to: impl Write, what: &str) {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    assert!(line.contains(" 101 "), "{what}: {line}");
    while line != "\r\n" {
        line.clear();
        assert!(from.read_line(&mut line).unwrap() > 0, "{what}: ended in the headers");
    }
    for text in ["one\n", "two\n"] {
        to.write_all(text.as_bytes()).unwrap();
        to.flush().unwrap();
        line.clear();
        from.read_line(&mut line).unwrap();
        assert_eq!(line, text, "{what}");
    }
}

#[test]
fn only_nodes_may_say_by_the_proxy_protocol_who_their_client_is() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "echo", "echo-proxy");
    lab.deploy(&repo, "node1", None);
    body(&lab, "node1", "echo.test", "/");
    until("TLS", || tls_status(&lab.ip("node1"), "echo.test").ok());
    for (port, scheme) in [(1080, "http"), (1443, "https")] {
        let to = format!("echo.test:{port}:{}", lab.ip("node1"));
        let url = format!("{scheme}://echo.test:{port}/");
        let argv =
            ["curl", "-sSk", "-m", "10", "--http1.1", "--haproxy-protocol", "--resolve", &to, &url];
        let node = lab.try_node("node2", &argv);
        let text = String::from_utf8_lossy(&node.stdout).into_owned();
        assert!(text.starts_with("GET / HTTP/1.1"), "{port}: {}", told(&node));
        let outside = Command::new(argv[0]).args(&argv[1..]).output().unwrap();
        assert!(!outside.status.success(), "{port}: {}", told(&outside));
        // Without the protocol nobody is served there.
        let plain = ["curl", "-sSk", "-m", "10", "--http1.1", "--resolve", &to, &url];
        assert!(!lab.try_node("node2", &plain).status.success(), "{port}");
    }
    lab.destroy(&repo);
}

#[test]
fn an_apps_own_maintenance_page_is_shown_by_every_node() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "echo", "echo-page");
    lab.deploy(&repo, "node1", Some("node2"));
    for node in NODES {
        body(&lab, node, "echo.test", "/");
        until("TLS", || tls_status(&lab.ip(node), "echo.test").ok());
        lab.in_place(node);
    }
    let key = format!("maintenance/{}", repo.app());
    let loads = |node: &str| lab.agent_log(node).matches("caddy_loaded=true").count();
    let before = NODES.map(loads);
    lab.node("node2", &["consul", "kv", "put", &key, "new disk"]);
    for node in NODES {
        let reply = until("the page", || {
            get(&lab.ip(node), "echo.test", "/x").ok().filter(|reply| reply.status == 503)
        });
        assert!(reply.body.contains("<p>echo rests {for now}"), "through {node}: {reply:?}");
        assert!(reply.headers.to_lowercase().contains("retry-after"), "through {node}: {reply:?}");
        let to = format!("echo.test:443:{}", lab.ip(node));
        let text = until("the page by TLS", || {
            let output = Command::new("curl")
                .args(["-sSki", "--http1.1", "-m", "10", "--resolve", &to, "https://echo.test/x"])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.starts_with("HTTP/1.1 503").then_some(text)
        });
        assert!(text.contains("<p>echo rests {for now}"), "TLS through {node}: {text}");
        // A frontend of its own goes by a reload, which may wait for other changes.
        until("its port to be closed", || {
            TcpStream::connect((lab.ip(node), 8085)).is_err().then_some(())
        });
        lab.in_place(node);
    }
    assert_eq!(NODES.map(loads), before, "no Caddy was loaded");
    lab.node("node2", &["consul", "kv", "delete", &key]);
    for node in NODES {
        body(&lab, node, "echo.test", "/");
        until("TLS", || tls_status(&lab.ip(node), "echo.test").ok());
    }
    lab.destroy(&repo);
}

/// Stands in for the proxy of a swarm.
fn start_swarm(lab: &Lab) {
    let script = "mkdir /www && echo swarm >/www/index.html && exec busybox httpd -f -p 80 -h /www";
    for node in NODES {
        lab.try_node(node, &["docker", "rm", "-f", "swarm_reverse"]);
        let run = ["docker", "run", "-d", "--init", "--name", "swarm_reverse"];
        let image = ["--network", "cluster_default", "debian:bookworm", "sh", "-c", script];
        lab.node(node, &[&run[..], &image].concat());
    }
}

#[test]
fn swarm_keys_edited_by_hand_are_live_on_every_node() {
    let lab = Lab::get();
    start_swarm(&lab);
    let put = |key: &str, value: &str| {
        lab.node("node2", &["consul", "kv", "put", key, value]);
    };
    let own = r#"{"service": {"frontend": {"mode": "tcp", "bind": ["*:2299"]},
                  "backends": [{"name": "service", "port": 80, "ct": "swarm_reverse"}]}}"#;
    put(
        "swarm/both",
        &format!(r#"{{"domains": ["swarm.test", "*.swarm.test"], "haproxy": {own}}}"#),
    );
    put("swarm/wrong", r#"{"domains": "none.test"}"#);
    for node in NODES {
        for host in ["swarm.test", "a.swarm.test"] {
            let reply =
                until(host, || get(&lab.ip(node), host, "/").ok().filter(|r| r.status == 200));
            assert_eq!(reply.body, "swarm\n", "{host} through {node}");
        }
        let any = Ask { method: "GET", host: "any.test", path: "/", body: "" };
        let reply =
            until("port 2299", || ask(&lab.ip(node), 2299, any, Duration::from_secs(5)).ok());
        assert_eq!(reply.body, "swarm\n", "port 2299 of {node}");
        lab.in_place(node);
        let config = lab.node(node, &["cat", "/var/lib/tandem/haproxy/haproxy.cfg"]);
        for line in ["frontend swarm-front-service", "backend swarm-backend-service"] {
            assert!(config.contains(line), "{line} on {node}");
        }
        assert!(config.contains("server swarm_service swarm_reverse:80"), "on {node}");
    }
    until("the wrong key to be named", || {
        let text = lab.node("node3", &["tandem", "status"]);
        (text.contains("swarm/wrong") && !text.contains("swarm/both")).then_some(())
    });
    for key in ["swarm/both", "swarm/wrong"] {
        lab.node("node1", &["consul", "kv", "delete", key]);
    }
    for node in NODES {
        until("the domain to be gone", || {
            (get(&lab.ip(node), "swarm.test", "/").ok()?.status == 404).then_some(())
        });
        until("the port to be closed", || {
            TcpStream::connect((lab.ip(node), 2299)).is_err().then_some(())
        });
        lab.node(node, &["docker", "rm", "-f", "swarm_reverse"]);
        lab.in_place(node);
    }
}

#[test]
fn a_master_without_caddy_or_power_is_marked_down() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "hello-down");
    lab.deploy(&repo, "node1", Some("node2"));
    for node in NODES {
        body(&lab, node, "hello.test", "/");
    }
    let is_down = |node: &str, backend: &str| {
        let stat = lab.haproxy(node, "show stat -1 4 -1");
        let line = stat.lines().find(|line| line.starts_with(&format!("{backend},")))?;
        // A container that is gone has no name any more either.
        (line.contains(",DOWN") || line.contains(",MAINT")).then_some(())
    };
    lab.node("node1", &["docker", "stop", "caddy"]);
    until("node1 to find its Caddy down", || is_down("node1", "http-node1"));
    for node in NODES {
        assert_eq!(get(&lab.ip(node), "hello.test", "/").unwrap().status, 503, "through {node}");
    }
    lab.node("node1", &["docker", "start", "caddy"]);
    for node in NODES {
        body(&lab, node, "hello.test", "/");
    }
    lab.run(&["power-off", "node1"]);
    for node in ["node2", "node3"] {
        until("node1 to be found down", || is_down(node, "http-node1"));
        assert_eq!(get(&lab.ip(node), "hello.test", "/").unwrap().status, 503, "through {node}");
    }
    lab.run(&["power-on", "node1"]);
    body(&lab, "node3", "hello.test", "/");
    until("the agent to be back", || (lab.kv_keys("tandem/nodes/").len() == 3).then_some(()));
    lab.destroy(&repo);
}
