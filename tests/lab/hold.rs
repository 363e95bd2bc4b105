//! Requests wait while an app is handed over, and none is lost.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::deploy::body;
use crate::support::{Lab, Load, NODES, Repo, get, until};

/// Asks by HTTPS, on a new connection each time, until it is stopped: how often it succeeded, and each failure. Any
/// certificate will do: each node has an authority of its own.
struct TlsLoad {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<(usize, Vec<String>)>,
}

impl TlsLoad {
    fn start(ip: &str, host: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, at) = (stop.clone(), format!("{host}:443:{ip}"));
        let url = format!("https://{host}/");
        let worker = std::thread::spawn(move || {
            let (mut good, mut bad) = (0, Vec::new());
            while !flag.load(Ordering::Relaxed) {
                let output = Command::new("curl")
                    .args(["-sSk", "-m", "15", "-o", "/dev/null", "-w", "%{http_code}"])
                    .args(["--resolve", &at, &url])
                    .output()
                    .unwrap();
                match String::from_utf8_lossy(&output.stdout).as_ref() {
                    "200" => good += 1,
                    code => bad.push(format!("{code} {}", String::from_utf8_lossy(&output.stderr))),
                }
            }
            (good, bad)
        });
        Self { stop, worker }
    }

    fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.join().unwrap()
    }
}

#[test]
fn no_request_fails_while_an_app_moves_or_changes() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "hello-hold");
    lab.deploy(&repo, "node1", Some("node2"));
    for node in NODES {
        body(&lab, node, "hello.test", "/");
    }
    for (what, master, slave) in [
        ("to the slave", "node2", "node1"),
        ("to a third node", "node3", "node2"),
        ("a new version", "node3", "node2"),
    ] {
        if what == "a new version" {
            Repo::publish(&lab, "hello-v2", "hello-hold");
        }
        let plain = NODES.map(|node| Load::start(&lab.ip(node), "hello.test", "/", 50));
        let tls = NODES.map(|node| TlsLoad::start(&lab.ip(node), "hello.test"));
        let record = lab.deploy(&repo, master, Some(slave));
        let warnings = record["warnings"].as_array();
        assert!(warnings.is_none_or(Vec::is_empty), "{what}: {warnings:?}");
        let ends = plain.map(Load::end).into_iter().zip(tls.map(TlsLoad::end)).zip(NODES);
        for (((good, bad), (good_tls, bad_tls)), node) in ends {
            assert!(good > 30 && bad.is_empty(), "{what}, {node}: {good} succeeded, {bad:?}");
            assert!(
                good_tls > 5 && bad_tls.is_empty(),
                "{what}, TLS, {node}: {good_tls} succeeded, {bad_tls:?}"
            );
        }
    }
    assert_eq!(body(&lab, "node1", "hello.test", "/version.txt").trim(), "hello v2");
    lab.destroy(&repo);
    until("nothing to be heard any more", || lab.kv_keys("tandem/heard/").is_empty().then_some(()));
}

#[test]
fn an_operators_maintenance_shows_its_page_at_once() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "plain", "plain-hold");
    lab.deploy(&repo, "node1", Some("node2"));
    body(&lab, "node3", "plain.test", "/");
    let key = format!("maintenance/{}", repo.app());
    lab.node("node2", &["consul", "kv", "put", &key, "new disk"]);
    until("the maintenance page", || {
        let reply = get(&lab.ip("node3"), "plain.test", "/").ok()?;
        (reply.status == 503 && reply.headers.to_lowercase().contains("retry-after")).then_some(())
    });
    lab.node("node2", &["consul", "kv", "delete", &key]);
    until("the app", || {
        (get(&lab.ip("node3"), "plain.test", "/").ok()?.status == 200).then_some(())
    });
    lab.destroy(&repo);
}
