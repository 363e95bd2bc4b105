//! The client's address, through two real HAProxys and a real Caddy to an app, and what a client may say of itself.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tandem::proxy::control::{Effect, LocalControl, ProxyControl as _};
use tokio::net::TcpSocket;

use super::nodes::{
    CLIENT, EDGE, FORGED, MASTER, Node, PATIENCE, Runner, ask, header, shared, told,
};
use super::{binary, echo};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";

/// All that comes back when bytes are sent from an address; an end of the connection is an answer, too.
async fn raw(from: [u8; 4], at: SocketAddr, text: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    // Whoever is not wanted may be told so before the connection is taken for made.
    let Ok(stream) = socket.connect(at).await else { return String::new() };
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut stream, mut answer) = (stream, Vec::new());
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).to_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_is_told_who_its_client_is_through_two_nodes() {
    let upstream = echo::start();
    let (caddy, haproxy) = (binary("caddy"), binary("haproxy"));
    let shared = shared();
    let master = Node::new(MASTER, &shared, &caddy);
    let edge = Node::new(EDGE, &shared, &caddy);
    let on_master = master.rendered("node1", "node1", upstream);
    let _caddy = master.caddy(&on_master);
    let _master = master.haproxy(&haproxy, &on_master);
    let _edge = edge.haproxy(&haproxy, &edge.rendered("node3", "node1", upstream));
    let at = |ip: [u8; 4], port| SocketAddr::from((ip, port));
    let client = "127.0.0.5";
    for (scheme, port) in [("http", shared.http_port), ("https", shared.https_port)] {
        for node in [EDGE, MASTER] {
            let told = told(CLIENT, scheme, at(node, port), &master.root()).await;
            let names = ["x-forwarded-for", "x-real-ip"];
            let addresses = names.map(|name| header(&told, name).join(";"));
            let expected = [client; 2].map(str::to_owned);
            assert_eq!(addresses, expected, "{scheme} {node:?}");
        }
    }
    let log = master.log("caddy");
    let logged = log.matches("\"remote_ip\":\"127.0.0.5\"").count();
    assert_eq!(logged, 4);
    forged_headers_count_for_nothing(&master).await;
    // The pages that Caddy has are reached in the same way.
    for (map, to, scheme, port) in [
        ("http.map", "page", "http", shared.http_port),
        ("https.map", "maint", "https", shared.https_port),
    ] {
        master.flip(map, to);
        let answer = ask(CLIENT, scheme, at(MASTER, port), &master.root()).await;
        assert_eq!(answer, Err("status 503".to_owned()), "{scheme}");
    }
}

/// The PROXY protocol from whoever is not one of the nodes' HAProxys.
async fn forged_headers_count_for_nothing(node: &Node) {
    let settings = &node.settings;
    let text = format!("PROXY TCP4 {FORGED} 127.0.0.1 1 2\r\n{REQUEST}");
    let at = |ip: Ipv4Addr, port| SocketAddr::from((ip, port));
    let edge = raw(CLIENT, at(node.ip, settings.http_port), &text).await;
    assert!(edge.starts_with("http/1.1 400") && !edge.contains(FORGED), "{edge}");
    for port in [settings.peer_http_port, settings.front_door_port] {
        let answer = raw(CLIENT, at(node.ip, port), &text).await;
        assert_eq!(answer, "", "only for nodes, and for Caddy");
    }
    // An app's container reaches Caddy itself: it is served, as who it is.
    let container = [127, 0, 0, 66];
    let caddy = at(Ipv4Addr::LOCALHOST, settings.caddy_http_port);
    let answer = raw(container, caddy, &text).await;
    assert!(!answer.contains(FORGED), "{answer}");
    assert_eq!(header(&answer, "x-forwarded-for"), ["127.0.0.66"]);
    // HAProxy without the header, as that of an earlier build.
    let [a, b, c, d] = node.ip.octets();
    let plain = raw([a, b, c, d], caddy, REQUEST).await;
    assert!(plain.starts_with("http/1.1 200"), "{plain}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_lives_on_over_a_load() {
    let upstream = echo::start();
    let (caddy, haproxy) = (binary("caddy"), binary("haproxy"));
    let shared = shared();
    let node = Node::new(MASTER, &shared, &caddy);
    let rendered = node.rendered("node1", "node1", upstream);
    let (_caddy, _haproxy) = (node.caddy(&rendered), node.haproxy(&haproxy, &rendered));
    let mut stream = std::net::TcpStream::connect((node.ip, shared.http_port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    let is_open = |stream: &mut std::net::TcpStream| {
        let mut echoed = [0; 4];
        let sent = stream.write_all(b"ping");
        sent.and_then(|()| stream.read_exact(&mut echoed)).is_ok() && &echoed == b"ping"
    };
    assert!(is_open(&mut stream));
    let mut changed = node.settings.clone();
    changed.front_door_port = 1;
    let changed = node.config(&rendered, &changed);
    let runner = Runner(caddy.clone());
    let control = LocalControl::new(node.settings.clone(), Arc::new(runner));
    assert_eq!(control.load_caddy(&changed).await.unwrap(), Effect::Changed(1));
    assert!(is_open(&mut stream));
}
