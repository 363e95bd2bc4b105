//! Connections that are held by the real HAProxy go on when the map says where to, also on a machine that is busy.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tandem::proxy::ProxySettings;

use super::binary;
use super::maintenance::Place;

const HOST: &str = "shop.test";
const CONNECTIONS: usize = 300;
/// Longer than the test holds them, and than it waits for the last one.
const HOLD: Duration = Duration::from_secs(40);
const PATIENCE: Duration = Duration::from_secs(20);

/// How clients ask, and where from.
struct Kind {
    map: &'static str,
    port: fn(&ProxySettings) -> u16,
    app_port: fn(&ProxySettings) -> u16,
    asks: fn() -> Vec<u8>,
    answer: &'static [u8],
}

const TLS: Kind = Kind {
    map: "https.map",
    port: |settings| settings.https_port,
    app_port: |settings| settings.caddy_https_port,
    asks: || client_hello(HOST),
    answer: b"hello",
};

const HTTP: Kind = Kind {
    map: "http.map",
    port: |settings| settings.http_port,
    app_port: |settings| settings.caddy_http_port,
    asks: || format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").into_bytes(),
    answer: b"HTTP/1.1 200 ",
};

#[test]
fn every_held_connection_goes_on_at_the_flip_however_busy_the_machine_is() {
    every_one_goes_on(&TLS);
}

#[test]
fn every_held_request_goes_on_at_the_flip_however_busy_the_machine_is() {
    every_one_goes_on(&HTTP);
}

/// So many wait for one host at most, of as many as have come in all.
const SHARE: usize = 20;
const CROWD: usize = 30;

#[test]
fn one_hosts_clients_take_no_more_than_their_share_of_the_connections() {
    let binary = binary("haproxy");
    for kind in [&HTTP, &TLS] {
        let place = Place::with(|settings| {
            settings.hold = HOLD;
            settings.max_connections = 4 * SHARE as u32;
        });
        let _haproxy = place.haproxy_with(&binary, |dir| {
            fs::write(dir.join(kind.map), format!("{HOST} hold\n")).unwrap();
        });
        let port = (kind.port)(&place.settings);
        let crowd = (0..CROWD).map(|_| knock(port, &(kind.asks)())).collect::<Vec<_>>();
        let (began, of) = (Instant::now(), (kind.map, binary.display()));
        // The others are shown the page, which is Caddy's by TLS, and not there.
        let waiting = || crowd.iter().filter(|connection| !is_answered(connection)).count();
        while waiting() > SHARE {
            assert!(began.elapsed() < PATIENCE, "{of:?}: {} wait", waiting());
        }
        let looked = Instant::now();
        while looked.elapsed() < Duration::from_secs(1) {
            assert_eq!(waiting(), SHARE, "{of:?}");
        }
        let mut other =
            knock((HTTP.port)(&place.settings), b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n");
        let mut answer = [0; 12];
        other.set_read_timeout(Some(PATIENCE)).unwrap();
        other.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 404", "{of:?}");
    }
}

fn every_one_goes_on(kind: &Kind) {
    let binary = binary("haproxy");
    let place = Place::with(|settings| {
        settings.hold = HOLD;
        settings.max_connections = 4 * CONNECTIONS as u32;
    });
    let app = TcpListener::bind(("127.0.0.1", (kind.app_port)(&place.settings))).unwrap();
    let is_http = kind.map == HTTP.map;
    std::thread::spawn(move || {
        for connection in app.incoming().map_while(Result::ok) {
            std::thread::spawn(move || greet(connection, is_http));
        }
    });
    let map = place.settings.haproxy_dir().join(kind.map);
    let _haproxy = place.haproxy_with(&binary, |dir| {
        fs::write(dir.join(kind.map), format!("{HOST} hold\n")).unwrap();
    });
    let busy = Busy::start();
    let port = (kind.port)(&place.settings);
    let held = (0..CONNECTIONS).map(|_| knock(port, &(kind.asks)())).collect::<Vec<_>>();
    // Each has looked at the map many times by then: as often as something could go wrong.
    let looked = Instant::now();
    while looked.elapsed() < Duration::from_secs(4) {
        held.iter().for_each(|connection| assert!(!is_answered(connection), "held"));
    }
    place.command(&format!("set map {} {HOST} node1", map.display()));
    let flipped = Instant::now();
    let mut late = Vec::new();
    for (number, mut connection) in held.into_iter().enumerate() {
        let left = PATIENCE.saturating_sub(flipped.elapsed()).max(Duration::from_millis(1));
        connection.set_read_timeout(Some(left)).unwrap();
        let mut answer = vec![0; kind.answer.len()];
        match connection.read_exact(&mut answer) {
            Ok(()) => assert_eq!(answer, kind.answer),
            Err(error) => late.push(format!("{number}: {error}")),
        }
    }
    assert!(late.is_empty(), "{}: {late:?}", binary.display());
    drop(busy);
}

/// What a Caddy would be.
fn greet(mut connection: TcpStream, is_http: bool) {
    // One that HAProxy only looks with is closed at once.
    if is_http && connection.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
        let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    } else if !is_http {
        let _ = connection.write_all(b"hello");
    }
}

/// A connection that has said which host it wants.
fn knock(port: u16, asks: &[u8]) -> TcpStream {
    let mut connection = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    connection.write_all(asks).unwrap();
    connection
}

fn is_answered(connection: &TcpStream) -> bool {
    connection.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    connection.peek(&mut [0]).is_ok()
}

/// The smallest one with a name: RFC 8446, section 4.1.2, and RFC 6066, section 3.
pub(super) fn client_hello(host: &str) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let name = sized(&[&[0], sized(host.as_bytes()).as_slice()].concat());
    let extensions = sized(&[&[0, 0], sized(&name).as_slice()].concat());
    let body = [&[3, 3], &[7; 32][..], &[0], &[0, 2, 0x13, 1], &[1, 0], &extensions].concat();
    let length = (body.len() as u32).to_be_bytes();
    let handshake = [&[1], &length[1..], &body].concat();
    [&[22, 3, 1], sized(&handshake).as_slice()].concat()
}

/// Keeps every processor busy until it is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..8 {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(stop)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
