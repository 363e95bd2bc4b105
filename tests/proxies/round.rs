//! Two nodes whose maps name each other: what a client sends comes to an end at once, and takes no node's connections.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::json;
use tandem::model::NodeName;
use tandem::proxy::render::{Rendered, Templates, render};
use tandem::proxy::{ClusterView, ProxySettings};

use super::binary;
use super::hold::client_hello;
use super::maintenance::free_ports;
use super::nodes::{EDGE, MASTER, Node, PATIENCE, shared};

const HOST: &str = "shop.test";
/// So many at once, again and again for as long as [`LONG`].
const CLIENTS: usize = 8;
const LONG: Duration = Duration::from_secs(1);

/// An app with a host and a port of its own, as a node sees it that takes another one for its master.
fn rendered(node: &Node, me: &str, master: &str, port: u16) -> Rendered {
    let container = "shopmain12345_web_1";
    let record = json!({
        "repo_url": "https://git.test/shop", "branch": "main", "deploy_id": "1", "master": master,
        "ip": "127.0.0.1", "ct": {"web": container},
        "caddyfile": format!("https://{HOST} {{\n reverse_proxy http://{container}:80\n}}\n"),
        "haproxy": {"shop": {
            "frontend": {"mode": "tcp", "bind": [format!("*:{port}")]},
            "backends": [{"name": "shop", "port": 22, "peer_port": port, "ct": container}],
        }},
    });
    let record = record.to_string().into_bytes();
    let name = |name: &str| NodeName::parse(name).unwrap();
    let nodes = [("node1", MASTER), ("node3", EDGE)];
    let nodes = nodes.map(|(node, ip)| (name(node), Ipv4Addr::from(ip).to_string()));
    let entries = [("app/shop_main.12345", record.as_slice())];
    let (view, problems) = ClusterView::from_entries(name(me), nodes.into(), entries);
    let templates = Templates::built_in().unwrap();
    let rendered = render(&view, &node.settings, &templates, &BTreeMap::new()).unwrap();
    assert!(problems.is_empty() && rendered.problems.is_empty(), "{:?}", rendered.problems);
    rendered
}

/// What came back within the time; nothing of a connection that was closed.
fn answer(ip: Ipv4Addr, port: u16, asks: &[u8]) -> String {
    let began = Instant::now();
    let mut connection = TcpStream::connect((ip, port)).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    // A reset says no less than an end.
    let _ = connection.write_all(asks).and_then(|()| connection.read_to_string(&mut text));
    assert!(began.elapsed() < Duration::from_secs(5), "{port}: {:?}", began.elapsed());
    text
}

fn get() -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n").into_bytes()
}

/// How many connections the clients of HAProxy, the other node among them, have.
fn connections(settings: &ProxySettings) -> usize {
    let mut socket = UnixStream::connect(settings.runtime_socket()).unwrap();
    socket.write_all(b"show info\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("CurrConns: "));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_request_that_two_nodes_send_to_each_other_ends() {
    let (caddy, haproxy) = (binary("caddy"), binary("haproxy"));
    let shared = ProxySettings { max_connections: 1000, ..shared() };
    let [port] = free_ports();
    let one = Node::new(MASTER, &shared, &caddy);
    let other = Node::new(EDGE, &shared, &caddy);
    let _one = one.haproxy(&haproxy, &rendered(&one, "node1", "node3", port));
    let _other = other.haproxy(&haproxy, &rendered(&other, "node3", "node1", port));
    each_knows_the_other(&one, &other, shared.http_port);
    for (node, at) in [(&one, "node3"), (&other, "node1")] {
        let text = answer(node.ip, shared.http_port, &get());
        assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
        assert!(text.contains(&format!("is not on {at}, where another node sent")), "{text}");
        assert_eq!(answer(node.ip, shared.https_port, &client_hello(HOST)), "");
        assert_eq!(answer(node.ip, port, b"hello\n"), "", "its own port");
    }
    many(&one, [shared.http_port, shared.https_port, port]);
    let began = Instant::now();
    while [&one, &other].iter().any(|node| connections(&node.settings) > 5) {
        assert!(began.elapsed() < Duration::from_secs(5), "they are still taken");
        std::thread::sleep(Duration::from_millis(20));
    }
    what_waited_follows_its_app_once(&one, &other, &shared);
}

/// The first to start has found the other one away: it sends nothing there until it has looked again.
fn each_knows_the_other(one: &Node, other: &Node, port: u16) {
    let began = Instant::now();
    while [one, other].iter().any(|node| answer(node.ip, port, &get()).contains("No server")) {
        assert!(began.elapsed() < PATIENCE, "they don't find each other");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Clients that ask for all three at once never take more than a share of the connections.
fn many(node: &Node, ports: [u16; 3]) {
    let asks = [get(), client_hello(HOST), b"hello\n".to_vec()];
    let (began, mut most) = (Instant::now(), 0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while began.elapsed() < LONG {
                    ports
                        .iter()
                        .zip(&asks)
                        .for_each(|(port, asks)| drop(answer(node.ip, *port, asks)));
                }
            });
        }
        while began.elapsed() < LONG {
            most = most.max(connections(&node.settings));
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let limit = node.settings.node_limit() as usize;
    assert!(most <= 2 * (limit + CLIENTS + 5), "{most} connections with a limit of {limit}");
}

/// In a hand-over another node's requests wait like all others, and then go where the app is: there they are answered, or
/// refused.
fn what_waited_follows_its_app_once(one: &Node, other: &Node, shared: &ProxySettings) {
    other.flip("http.map", "hold");
    let client = std::thread::spawn({
        let (ip, port) = (one.ip, shared.http_port);
        move || answer(ip, port, &get())
    });
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(300));
    assert!(!client.is_finished(), "it waits");
    other.flip("http.map", "node1");
    let text = client.join().unwrap();
    assert!(text.contains("is not on node1, where another node sent"), "{text}");
    assert!(began.elapsed() < PATIENCE);
    other.flip("http.map", "maint");
    let text = answer(one.ip, shared.http_port, &get());
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("<html"), "{text}");
    other.flip("http.map", "node1");
}
