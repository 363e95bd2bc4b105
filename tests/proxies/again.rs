//! Requests on connections from before their app was handed over, through the real proxies of two nodes.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tandem::proxy::control::{LocalControl, ProxyControl as _};

use super::maintenance::Running;
use super::nodes::{
    APP, CLIENT, EDGE, MASTER, Node, PATIENCE, Runner, client, header, shared, told,
};
use super::{binary, echo};

/// An app that has left one node for another, and a client whose connection ends where it was.
struct Moved {
    former: Node,
    _next: Node,
    _running: [Running; 4],
}

impl Moved {
    /// `left` is what answers at the former node, still.
    async fn start((caddy, haproxy): &(PathBuf, PathBuf), left: u16, upstream: u16) -> Self {
        let shared = shared();
        let former = Node::new(MASTER, &shared, caddy);
        let next = Node::new(EDGE, &shared, caddy);
        let on_next = next.rendered("node3", "node3", upstream);
        let running = [
            next.caddy(&on_next),
            next.haproxy(haproxy, &on_next),
            former.caddy(&former.rendered("node1", "node1", left)),
            former.haproxy(haproxy, &former.rendered("node1", "node3", upstream)),
        ];
        Self { former, _next: next, _running: running }
    }

    fn mark(&self) -> PathBuf {
        self.former.settings.held_dir().join(APP)
    }

    /// Where HAProxy had led the connection, before.
    fn direct(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.former.settings.caddy_https_port))
    }

    /// What becomes of a request with a body of five bytes: the status, and the text in lower case.
    async fn post(&self) -> (u16, String) {
        let client = client(CLIENT, self.direct(), &self.former.root()).unwrap();
        let url = format!("https://shop.test:{}/", self.direct().port());
        let answer = client.post(url).body("hello").send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap().to_lowercase())
    }
}

/// Before an app is stopped, its answers are waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_counts_until_it_is_answered() {
    let caddy = binary("caddy");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let node = Node::new(MASTER, &shared(), &caddy);
    let _caddy = node.caddy(&node.rendered("node1", "node1", address.port()));
    let control = LocalControl::new(node.settings.clone(), Arc::new(Runner(caddy.clone())));
    let count = async || control.caddy_requests().await.unwrap().get(&address.to_string()).copied();
    assert_eq!(count().await.unwrap_or(0), 0, "{}", caddy.display());
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, node.settings.caddy_https_port));
    let client = client(CLIENT, at, &node.root()).unwrap();
    let url = format!("https://shop.test:{}/", at.port());
    // Caddy listens before it has a certificate.
    let request = tokio::spawn(async move {
        let began = Instant::now();
        loop {
            match client.get(&url).send().await {
                Ok(answer) => return answer,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let accepted = tokio::task::spawn_blocking(move || listener.accept());
    let accepted = tokio::time::timeout(PATIENCE, accepted).await.expect("no request comes");
    let (mut app, _) = accepted.unwrap().unwrap();
    assert_eq!(count().await, Some(1), "{}", caddy.display());
    app.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(request.await.unwrap().status().as_u16(), 204);
    let began = Instant::now();
    while count().await != Some(0) {
        assert!(began.elapsed() < PATIENCE, "{}", caddy.display());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The container is still there, as it is before it is stopped, or as a new version that may yet be given up.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_to_a_container_whose_app_is_handed_over() {
    let upstream = echo::start();
    let binaries = (binary("caddy"), binary("haproxy"));
    let moved = Moved::start(&binaries, upstream, upstream).await;
    let root = moved.former.root();
    let told_at = || told(CLIENT, "https", moved.direct(), &root);
    assert_eq!(header(&told_at().await, "x-tandem-again"), [""; 0], "not handed over");
    fs::write(moved.mark(), "").unwrap();
    let told = told_at().await;
    let addresses = header(&told, "x-forwarded-for").join(";");
    assert_eq!(addresses, "127.0.0.5", "still its client's");
    assert_eq!(header(&told, "x-tandem-again"), ["1"]);
    let (status, told) = moved.post().await;
    assert_eq!((status, header(&told, "x-tandem-again")), (200, vec!["1"]), "{told}");
    assert!(told.ends_with("5 bytes\n"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_did_not_answer_any_more_is_asked_for_again_if_it_may_be() {
    let upstream = echo::start();
    let binaries = (binary("caddy"), binary("haproxy"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let left = listener.local_addr().unwrap().port();
    let moved = Moved::start(&binaries, left, upstream).await;
    let mark = moved.mark();
    std::thread::spawn({
        let mark = mark.clone();
        move || stopped_meanwhile(&listener, &mark)
    });
    let told = told(CLIENT, "https", moved.direct(), &moved.former.root()).await;
    assert_eq!(header(&told, "x-tandem-again"), ["1"]);
    fs::remove_file(&mark).unwrap();
    // It may have been acted upon: only the client knows whether it may be sent twice.
    assert_eq!(moved.post().await.0, 502);
    assert!(mark.exists(), "it came to the container");
}

/// An app that is handed over and stopped while it has a request.
fn stopped_meanwhile(listener: &TcpListener, mark: &Path) {
    for mut connection in listener.incoming().flatten() {
        let _ = connection.read(&mut [0; 4096]);
        fs::write(mark, "").unwrap();
    }
}
