//! What the proxies of the nodes do with real connections: addresses, upgrades, the PROXY protocol, and a master whose
//! Caddy is gone.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::deploy::{authority, body};
use crate::support::http::{Ask, ask};
use crate::support::{
    Lab, NODES, Repo, get, get_tls, get_tls_of_anyone, tls_status, told, until, within,
};

/// How long a node may take to find another one's proxies gone.
const DOWN: Duration = Duration::from_secs(15);
/// The same of a node that says nothing any more: three checks in vain, each of which waits for an answer.
const SILENT: Duration = Duration::from_secs(25);
const UPGRADE: &str =
    "GET /socket HTTP/1.1\r\nHost: echo.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

impl Lab {
    fn socat(&self, node: &str, place: &str, text: &str) -> String {
        let output = self.node_with_stdin(node, &["socat", "-t5", "-", place], text.as_bytes());
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn haproxy(&self, node: &str, command: &str) -> String {
        self.socat(node, "UNIX-CONNECT:/run/tandem/haproxy/admin.sock", &format!("{command}\n"))
    }

    /// What is on a node's disk is what runs: after each change, within the time of one look again.
    pub(crate) fn in_place(&self, node: &str) {
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
        until(&format!("no difference to what is rendered on {node}"), || {
            let output = self.try_node(node, &["tandem", "render", "--diff"]);
            (output.status.success() && output.stdout.is_empty()).then_some(())
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
        names_its_client(&text, outside.trim());
        let by_tls = get_tls_of_anyone(&lab.ip(node), "echo.test", "/").unwrap();
        names_its_client(&by_tls.body, outside.trim());
        assert_eq!(header(&text, "X-Forwarded-Proto"), ["http"], "through {node}");
        // Past Caddy: by a condition, and by the frontend of its own.
        let text = body(&lab, node, "direct.test", "/");
        assert_eq!(header(&text, "Host"), ["direct.test"], "through {node}");
        let own = Ask { method: "GET", host: "any.test", path: "/own", body: "" };
        let own = until("port 8085", || ask(&lab.ip(node), 8085, own, Duration::from_secs(5)).ok());
        assert!(own.body.starts_with("GET /own"), "through {node}: {own:?}");
        tls_of_its_own(&lab, node, outside.trim());
        two_services_share_a_frontend(&lab, node);
        plain_upgrade(&lab, node);
        tls_upgrade(&lab, node);
    }
    an_upgraded_connection_ends_when_the_app_moves(&lab, &repo);
    for node in NODES {
        tls_of_its_own(&lab, node, outside.trim());
    }
    lab.destroy(&repo);
    for node in NODES {
        lab.in_place(node);
    }
}

/// The app is told who its client is, and of nobody else.
fn names_its_client(told: &str, client: &str) {
    for name in ["X-Forwarded-For", "X-Real-IP"] {
        assert_eq!(header(told, name), [client], "{name}: {told}");
    }
}

/// The containers end TLS themselves, and learn their client's address by `send_proxy`.
fn tls_of_its_own(lab: &Lab, node: &str, client: &str) {
    let through = |host: &str| {
        until(&format!("https://{host} through {node}"), || {
            get_tls_of_anyone(&lab.ip(node), host, "/own").ok().map(|reply| reply.body)
        })
    };
    let text = through("tls.test");
    assert!(text.starts_with("GET /own HTTP/1.1"), "through {node}: {text}");
    assert_eq!(header(&text, "Host"), ["tls.test"], "through {node}");
    assert!(header(&text, "Proxy").is_empty(), "through {node}: {text}");
    let text = through("proxied.test");
    assert_eq!(header(&text, "Host"), ["proxied.test"], "through {node}");
    let said = header(&text, "Proxy").concat();
    assert!(said.starts_with(&format!("PROXY TCP4 {client} ")), "through {node}: {text}");
}

/// Both ports are of the one frontend, and each service has its paths.
fn two_services_share_a_frontend(lab: &Lab, node: &str) {
    let served_by = |port, path| {
        let asked = Ask { method: "GET", host: "any.test", path, body: "" };
        let reply = until(&format!("port {port} through {node}"), || {
            ask(&lab.ip(node), port, asked, Duration::from_secs(5)).ok()
        });
        assert!(reply.body.starts_with(&format!("GET {path} ")), "through {node}: {reply:?}");
        header(&reply.body, "Served-By").concat()
    };
    let (web, second) = (served_by(8085, "/own"), served_by(8085, "/second"));
    assert_ne!(web, second, "through {node}");
    assert_eq!((served_by(8086, "/own"), served_by(8086, "/second")), (web, second));
}

/// The client comes back by itself, and finds the new master.
fn an_upgraded_connection_ends_when_the_app_moves(lab: &Lab, repo: &Repo) {
    let mut open = plain_upgrade(lab, "node3");
    let before = header(&body(lab, "node3", "echo.test", "/"), "Served-By").concat();
    lab.deploy(repo, "node2", Some("node1"));
    let ended = open.read(&mut [0; 64]);
    let is_late =
        |error: &Error| [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind());
    assert!(!ended.as_ref().is_err_and(is_late), "it is still open");
    assert_eq!(ended.unwrap_or_default(), 0, "nothing more is said");
    plain_upgrade(lab, "node3");
    let after = header(&body(lab, "node3", "echo.test", "/"), "Served-By").concat();
    let there = lab.containers("node2", repo).concat();
    assert!(after != before && there.contains(&after), "{before}, {after}: {there}");
}

/// The connection, open.
fn plain_upgrade(lab: &Lab, node: &str) -> TcpStream {
    let mut socket = TcpStream::connect((lab.ip(node), 80)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    socket.write_all(UPGRADE.as_bytes()).unwrap();
    let reader = socket.try_clone().unwrap();
    echoes(BufReader::new(reader), &socket, &format!("HTTP through {node}"));
    socket
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
    let ca = authority(&lab, "node1");
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
        // With the host's own certificate, by the authority of the master's Caddy.
        let reply = until("the page by TLS", || {
            let reply = get_tls(&lab.ip(node), "echo.test", "/x", ca.path().to_str()?);
            reply.ok().filter(|reply| reply.status == 503)
        });
        assert!(reply.body.contains("<p>echo rests {for now}"), "TLS through {node}: {reply:?}");
        let headers = reply.headers.to_lowercase();
        assert!(headers.contains("retry-after"), "TLS through {node}: {reply:?}");
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

/// What stands in for the proxy of a swarm, by HTTP and by TLS.
#[test]
fn a_master_without_caddy_or_power_is_marked_down() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "hello-down");
    lab.deploy(&repo, "node1", Some("node2"));
    for node in NODES {
        body(&lab, node, "hello.test", "/");
        until("TLS", || tls_status(&lab.ip(node), "hello.test").ok());
    }
    let is_down = |node: &str, backend: &str| {
        let stat = lab.haproxy(node, "show stat -1 4 -1");
        let line = stat.lines().find(|line| line.starts_with(&format!("{backend},")))?;
        // A container that is gone has no name any more either.
        (line.contains(",DOWN") || line.contains(",MAINT")).then_some(())
    };
    lab.node("node1", &["docker", "stop", "caddy"]);
    for backend in ["http-node1", "https-node1"] {
        within(DOWN, "node1 to find its Caddy down", || is_down("node1", backend));
    }
    for node in NODES {
        assert_eq!(get(&lab.ip(node), "hello.test", "/").unwrap().status, 503, "through {node}");
        assert!(tls_status(&lab.ip(node), "hello.test").is_err(), "TLS through {node}");
    }
    lab.node("node1", &["docker", "start", "caddy"]);
    for node in NODES {
        body(&lab, node, "hello.test", "/");
        until("TLS", || tls_status(&lab.ip(node), "hello.test").ok());
    }
    lab.run(&["power-off", "node1"]);
    let off = Instant::now();
    for node in ["node2", "node3"] {
        for backend in ["http-node1", "https-node1"] {
            let left = SILENT.saturating_sub(off.elapsed());
            within(left, &format!("{node} to find node1 down"), || is_down(node, backend));
        }
        assert_eq!(get(&lab.ip(node), "hello.test", "/").unwrap().status, 503, "through {node}");
        assert!(tls_status(&lab.ip(node), "hello.test").is_err(), "TLS through {node}");
    }
    lab.run(&["power-on", "node1"]);
    body(&lab, "node3", "hello.test", "/");
    until("the agent to be back", || (lab.kv_keys("tandem/nodes/").len() == 3).then_some(()));
    lab.destroy(&repo);
}
