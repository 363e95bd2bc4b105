//! Parts that hang: they neither answer nor end, and come back as if nothing had happened.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::deploy::body;
use crate::support::{Asked, Lab, NODES, Repo, Steady, get, tls_status, until, within};
use crate::waits::until_begun;

/// How long something hangs.
const HANGS: Duration = Duration::from_secs(35);
const HOST: &str = "hello.test";

/// A part of a node that is stopped by a signal, and goes on when this ends.
struct Hung<'a> {
    lab: &'a Lab,
    node: &'a str,
    part: &'a str,
}

impl<'a> Hung<'a> {
    fn stop(lab: &'a Lab, node: &'a str, part: &'a str) -> Self {
        let hung = Self { lab, node, part };
        hung.signal("STOP");
        hung
    }

    fn signal(&self, signal: &str) {
        let line =
            format!("read -r pid started </run/lab/{}.pid; kill -{signal} \"$pid\"", self.part);
        self.lab.node(self.node, &["sh", "-c", &line]);
    }
}

impl Drop for Hung<'_> {
    fn drop(&mut self) {
        self.signal("CONT");
    }
}

/// The node whose Consul leads the others, and the other two.
fn leader_and_others(lab: &Lab) -> (&'static str, [&'static str; 2]) {
    let url = "http://127.0.0.1:8500/v1/status/leader";
    let leader = until("a leader", || {
        let address = lab.node("node1", &["curl", "-fsS", url]);
        NODES.into_iter().find(|node| address.contains(&format!("\"{}:", lab.ip(node))))
    });
    let mut others = NODES.into_iter().filter(|node| *node != leader);
    (leader, [others.next().unwrap(), others.next().unwrap()])
}

/// Consul's servers elect another leader. Who waits for an answer of the one that hangs asks again, on all nodes.
#[test]
fn a_deployment_goes_on_while_consuls_leader_hangs_and_its_requests_wait() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "hung-leader");
    let (leader, [from, to]) = leader_and_others(&lab);
    lab.deploy(&repo, from, Some(to));
    for node in [from, to] {
        body(&lab, node, HOST, "/");
    }
    let loads = [from, to].map(|node| Steady::start(&lab.ip(node), "http", HOST, 5));
    let id = lab.fire_on(from, "deploy", &repo.deploy(to, Some(from)));
    // The test's own look at the record goes by another node than the one that is about to hang.
    until_begun(&lab, &repo, &id, "stop");
    let hung = Hung::stop(&lab, leader, "consul");
    let since = Instant::now();
    let url = format!("http://127.0.0.1:8500/v1/kv/app/{}?raw", repo.app());
    within(HANGS, "the commit", || {
        let output = lab.try_node(to, &["curl", "-fsS", "--max-time", "2", &url]);
        let entry: Value = serde_json::from_slice(&output.stdout).ok()?;
        (entry["master"] == to).then_some(())
    });
    for node in [from, to] {
        within(HANGS.saturating_sub(since.elapsed()), "the app to be served", || {
            get(&lab.ip(node), HOST, "/").ok().filter(|reply| reply.status == 200)
        });
    }
    println!("served {:?} after the leader hung", since.elapsed());
    for load in loads {
        let (_, all) = load.end();
        let bad: Vec<&Asked> =
            all.iter().filter(|one| !matches!(one.status, Ok(200 | 503))).collect();
        assert!(bad.is_empty(), "{bad:#?}");
    }
    drop(hung);
    let record = lab.outcome(&id);
    assert_eq!(record["state"], "completed", "{record:#}");
    lab.destroy(&repo);
    assert_eq!(lab.leftovers(&repo), [""; 0]);
}

/// The new master's Docker hangs in *up*. The former version is stopped, so who comes is shown the page when their time to wait
/// is over, by TLS as well; and the deployment comes to its end when Docker goes on.
#[test]
fn clients_see_the_page_while_a_new_masters_docker_hangs() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "hung-docker");
    lab.deploy(&repo, "node1", Some("node2"));
    for node in NODES {
        body(&lab, node, HOST, "/");
        until("TLS", || tls_status(&lab.ip(node), HOST).ok());
    }
    let loads = NODES.map(|node| {
        let of = |scheme| Steady::start(&lab.ip(node), scheme, HOST, 5);
        (node, [of("http"), of("https")])
    });
    let id = lab.fire("deploy", &repo.deploy("node2", Some("node1")));
    until_begun(&lab, &repo, &id, "up");
    let hung = Hung::stop(&lab, "node2", "docker");
    within(HANGS * 2, "the page by TLS, through the node that hangs", || {
        tls_status(&lab.ip("node2"), HOST).err().filter(|error| error.starts_with("503"))
    });
    std::thread::sleep(HANGS);
    drop(hung);
    let record = lab.outcome(&id);
    assert!(["completed", "undone"].contains(&record["state"].as_str().unwrap()), "{record:#}");
    for (node, loads) in loads {
        for load in loads {
            let (_, all) = load.end();
            let seen = |status| all.iter().filter(|one| one.status == Ok(status)).count();
            let bad: Vec<&Asked> =
                all.iter().filter(|one| !matches!(one.status, Ok(200 | 503))).collect();
            assert!(bad.is_empty(), "{node}: {} of {}: {bad:#?}", bad.len(), all.len());
            assert!(seen(503) > 20 && seen(200) > 5, "{node}: {} {}", seen(503), seen(200));
        }
    }
    lab.destroy(&repo);
    assert_eq!(lab.leftovers(&repo), [""; 0]);
}
