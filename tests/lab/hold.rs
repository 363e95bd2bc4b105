//! Requests wait while an app is handed over, and none is lost.

use std::time::{Duration, Instant};

use crate::deploy::body;
use crate::support::{
    KeptTls, Lab, Load, NODES, Repeat, Repo, Said, Steady, get, tcp_line, tls_status, until, within,
};

/// The setting's default.
const HOLD: Duration = Duration::from_secs(10);

/// Requests a second, by HTTP and as many by HTTPS, through a node that the app neither leaves nor goes to.
const RATE: u32 = 50;

#[test]
fn no_request_fails_while_an_app_moves_or_changes() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "hello-hold");
    lab.deploy(&repo, "node1", Some("node2"));
    for node in NODES {
        body(&lab, node, "hello.test", "/");
        until("TLS", || tls_status(&lab.ip(node), "hello.test").ok());
    }
    for (what, master, slave, through) in [
        ("to the slave", "node2", "node1", "node3"),
        ("to a third node", "node3", "node2", "node1"),
        ("a new version", "node3", "node2", "node1"),
    ] {
        if what == "a new version" {
            Repo::publish(&lab, "hello-v2", "hello-hold");
        }
        let steady = ["http", "https"]
            .map(|scheme| (scheme, Steady::start(&lab.ip(through), scheme, "hello.test", RATE)));
        let plain = NODES.map(|node| Load::start(&lab.ip(node), "hello.test", "/", 20));
        let others = NODES.into_iter().filter(|node| *node != through);
        let tls = others
            .map(|node| (node, Repeat::start(&lab.ip(node), |ip| tls_status(ip, "hello.test"))));
        let tls: Vec<_> = tls.collect();
        let record = lab.deploy(&repo, master, Some(slave));
        let warnings = record["warnings"].as_array().cloned().unwrap_or_default();
        assert!(warnings.is_empty(), "{what}: {warnings:?}");
        for (scheme, load) in steady {
            all_are_served(load, &format!("{what}, {scheme} through {through}"));
        }
        for (load, node) in plain.into_iter().zip(NODES) {
            let (good, bad) = load.end();
            assert!(good > 15 && bad.is_empty(), "{what}, {node}: {good} succeeded, {bad:?}");
        }
        for (node, load) in tls {
            let (good, bad) = load.end();
            assert!(good > 5 && bad.is_empty(), "{what}, TLS, {node}: {good} succeeded, {bad:?}");
        }
    }
    assert_eq!(body(&lab, "node1", "hello.test", "/version.txt").trim(), "hello v2");
    lab.destroy(&repo);
    until("nothing to be heard any more", || lab.kv_keys("tandem/heard/").is_empty().then_some(()));
}

/// Every request was answered by the app, as many as were due were sent, and some waited for it.
fn all_are_served(load: Steady, what: &str) {
    let (seconds, all) = load.end();
    let bad: Vec<_> = all.iter().filter(|one| one.status != Ok(200)).collect();
    assert!(bad.is_empty(), "{what}: {} of {} failed: {bad:?}", bad.len(), all.len());
    let due = seconds * RATE as usize * 4 / 5;
    assert!(all.len() >= due, "{what}: {} in {seconds} s", all.len());
    let waited = all.iter().filter(|one| one.took > Duration::from_millis(500));
    assert!(waited.count() >= 10, "{what}: the app was never away");
}

#[test]
fn an_operators_maintenance_shows_its_page_at_once() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "hello-by-hand");
    lab.deploy(&repo, "node1", Some("node2"));
    body(&lab, "node3", "hello.test", "/");
    until("TLS", || tls_status(&lab.ip("node3"), "hello.test").ok());
    let kept =
        ["--http1.1", "--http2"].map(|kind| KeptTls::start(&lab.ip("node3"), "hello.test", kind));
    let says = |load: &KeptTls, status: &str| {
        until(&format!("{status} on a connection from before"), || {
            load.so_far().last().is_some_and(|one| one.status == status).then_some(())
        });
    };
    kept.iter().for_each(|load| says(load, "200"));
    let key = format!("maintenance/{}", repo.app());
    lab.node("node2", &["consul", "kv", "put", &key, "new disk"]);
    until("the maintenance page", || {
        let reply = get(&lab.ip("node3"), "hello.test", "/").ok()?;
        (reply.status == 503 && reply.headers.to_lowercase().contains("retry-after")).then_some(())
    });
    kept.iter().for_each(|load| says(load, "503"));
    lab.node("node2", &["consul", "kv", "delete", &key]);
    kept.iter().for_each(|load| says(load, "200"));
    for said in kept.map(KeptTls::end) {
        let other = said.iter().find(|one| !["200", "503"].contains(&one.status.as_str()));
        assert!(other.is_none(), "{other:?}");
    }
    until("the app", || {
        (get(&lab.ip("node3"), "hello.test", "/").ok()?.status == 200).then_some(())
    });
    lab.destroy(&repo);
}

#[test]
fn connections_that_were_open_before_a_hand_over_lose_nothing_and_then_follow_the_app() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "hello-kept");
    lab.deploy(&repo, "node1", Some("node2"));
    for (what, master) in [("the same pair", "node1"), ("to the slave", "node2")] {
        for node in NODES {
            until("TLS", || tls_status(&lab.ip(node), "hello.test").ok());
        }
        if what == "the same pair" {
            Repo::publish(&lab, "hello-v2", "hello-kept");
        }
        let slave = if master == "node1" { "node2" } else { "node1" };
        let loads = NODES.map(|node| {
            ["--http1.1", "--http2"].map(|kind| KeptTls::start(&lab.ip(node), "hello.test", kind))
        });
        lab.deploy(&repo, master, Some(slave));
        let flipped = Instant::now();
        let names = NODES.map(|node| [(node, "HTTP/1.1"), (node, "HTTP/2")]).concat();
        for (load, name) in loads.into_iter().flatten().zip(names) {
            // Requests go on, at a move by another connection than before. Nothing waits longer than the hold.
            let follows = |said: &[Said]| {
                let connections: usize = said.iter().map(|one| one.connects).sum();
                let is_after = |one: &Said| one.at > flipped + Duration::from_secs(1);
                said.last().is_some_and(is_after) && (what == "the same pair" || connections > 1)
            };
            within(HOLD, &format!("{what}, {name:?}: the load to follow the app"), || {
                follows(&load.so_far()).then_some(())
            });
            let said = load.end();
            let (good, bad): (Vec<_>, Vec<_>) = said.iter().partition(|one| one.status == "200");
            let connections: usize = said.iter().map(|one| one.connects).sum();
            let told = format!("{what}, {name:?}: {} by {connections}, {bad:?}", good.len());
            assert!(good.len() > 30 && bad.is_empty() && connections < 10, "{told}");
        }
    }
    lab.destroy(&repo);
}

#[test]
fn connections_to_a_port_of_an_apps_own_wait_and_need_no_reload() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "tcp", "tcp-hold");
    lab.deploy(&repo, "node1", Some("node2"));
    let said = NODES.map(|node| until("the port", || tcp_line(&lab.ip(node), 2222).ok()));
    let reloads = || NODES.map(|node| lab.haproxy_reloads(node));
    let before = reloads();
    for (what, master, slave) in
        [("to the slave", "node2", "node1"), ("to a third node", "node3", "node1")]
    {
        let loads =
            NODES.map(|node| Repeat::start(&lab.ip(node), |ip| tcp_line(ip, 2222).map(|_| ())));
        lab.deploy(&repo, master, Some(slave));
        for (load, node) in loads.into_iter().zip(NODES) {
            let (good, mut bad) = load.end();
            // One may have been with the app already, and not yet answered, when the app was stopped.
            if bad.len() == 1 {
                bad.retain(|error| !error.starts_with("closed") && !error.contains("reset"));
            }
            assert!(good > 20 && bad.is_empty(), "{what}, {node}: {good} succeeded, {bad:?}");
        }
    }
    assert_eq!(reloads(), before, "no HAProxy was reloaded");
    for (node, said) in NODES.into_iter().zip(said) {
        assert_ne!(tcp_line(&lab.ip(node), 2222).unwrap(), said, "another container answers");
    }
    let key = format!("maintenance/{}", repo.app());
    lab.node("node2", &["consul", "kv", "put", &key, "new disk"]);
    for node in NODES {
        until("the port to be closed", || tcp_line(&lab.ip(node), 2222).is_err().then_some(()));
    }
    lab.node("node2", &["consul", "kv", "delete", &key]);
    for node in NODES {
        until("the port to be open", || tcp_line(&lab.ip(node), 2222).ok());
    }
    lab.destroy(&repo);
}
