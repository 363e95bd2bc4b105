//! A host, a name and a port are one app's in the whole cluster, however they are written.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Rendered, Templates, render};
use crate::model::NodeName;
use crate::proxy::{ClusterView, ProxySettings};

const FIRST: &str = "app/first_main.11111";
const SECOND: &str = "app/second_main.22222";

fn rendered(entries: &[(&str, Value)]) -> Rendered {
    let node = |name| NodeName::parse(name).unwrap();
    let nodes = [("node1", "10.0.0.1"), ("node2", "10.0.0.2")];
    let nodes = nodes.map(|(name, ip)| (node(name), ip.to_owned()));
    let bytes: Vec<_> =
        entries.iter().map(|(key, value)| (*key, value.to_string().into_bytes())).collect();
    let entries = bytes.iter().map(|(key, value)| (*key, value.as_slice()));
    let (view, problems) = ClusterView::from_entries(node("node1"), nodes.into(), entries);
    assert!(problems.is_empty(), "{problems:?}");
    let templates = Templates::built_in().unwrap();
    render(&view, &ProxySettings::default(), &templates, &BTreeMap::new()).unwrap()
}

fn app(date: &str, master: &str, caddyfile: &str, haproxy: Value) -> Value {
    json!({
        "repo_url": "https://git.test/x", "branch": "main", "deploy_id": "1", "master": master, "ip": "10.0.0.1",
        "deploy_date": date, "caddyfile": caddyfile, "haproxy": haproxy, "ct": {"web": "web"},
    })
}

fn site(address: &str) -> String {
    format!("{address} {{\n proxy / web:80\n}}\n")
}

fn tcp(config: &str, backend: &str, bind: &str) -> Value {
    json!({config: {
        "frontend": {"mode": "tcp", "bind": [bind]},
        "backends": [{"name": backend, "port": 22, "peer_port": 2222, "ct": "web"}],
    }})
}

/// The problems of the app that came second, which are all that there are.
fn problems_of_second(rendered: &Rendered, source: &str) -> Vec<String> {
    let problems = &rendered.problems;
    assert!(problems.iter().all(|problem| problem.source == source), "{problems:?}");
    problems.iter().map(|problem| problem.what.clone()).collect()
}

#[test]
fn a_host_is_one_apps_however_it_is_written() {
    for (first, second, is_same) in [
        ("http://h.test", "http://H.Test", true),
        ("http://h.test", "http://h.test:80", true),
        ("http://h.test", "h.test:80", true),
        ("http://h.test", "HTTP://h.test:http/", true),
        ("http://h.test", "http://h.test.", true),
        ("http://h.test", "http://h.test/path", true),
        ("h.test", "https://h.test", true),
        ("h.test", "https://h.test.:443", true),
        ("https://h.test:443", "H.TEST", true),
        ("http://bücher.test", "http://xn--bcher-kva.test", true),
        ("http://xn--bcher-kva.test", "http://BÜCHER.test", true),
        ("http://h.test", "http://ｈ.test", true),
        ("http://*.h.test", "http://*.H.test.", true),
        ("*.h.test", "https://*.h.test:443", true),
        // Both schemes are one app's.
        ("http://h.test", "https://h.test", true),
        ("h.test", "http://H.test:80", true),
        ("http://*.h.test", "*.h.test", true),
        // The more exact one takes what it names, as in Caddy.
        ("http://*.h.test", "http://x.h.test", false),
        ("*.h.test", "http://x.h.test", false),
        ("http://x.h.test", "http://*.h.test", false),
        ("http://*.h.test", "http://*.x.h.test", false),
        ("http://*.h.test", "http://h.test", false),
        ("http://h.test", "http://xh.test", false),
    ] {
        for (one, other) in [("node1", "node2"), ("node2", "node1"), ("node1", "node1")] {
            let rendered = rendered(&[
                (FIRST, app("2026-01-01", one, &site(first), json!({}))),
                (SECOND, app("2026-01-02", other, &site(second), json!({}))),
            ]);
            // Where neither is this node's, its Caddy has none of them, and HAProxy leads both to the same place.
            let problems = problems_of_second(&rendered, SECOND);
            assert_eq!(
                !problems.is_empty(),
                is_same,
                "{first} {second} {one} {other}: {problems:?}"
            );
            let is_led = rendered.routes().iter().any(|route| route.source == SECOND);
            assert_eq!(!is_led, is_same, "{first} {second}: {:?}", rendered.routes());
            // Caddy would ask an authority for what it has a site of.
            let has_site = rendered.caddy_sites.keys().any(|app| SECOND.ends_with(app.as_str()));
            assert_eq!(has_site, !is_same && other == "node1", "{first} {second} {one} {other}");
        }
    }
}

#[test]
fn what_else_an_app_has_is_served_without_the_host_that_is_taken() {
    let both = format!("{}{}", site("https://h.test"), site("https://own.test"));
    let rendered = rendered(&[
        (FIRST, app("2026-01-01", "node2", &site("http://h.test"), json!({}))),
        (SECOND, app("2026-01-02", "node1", &both, json!({}))),
    ]);
    let problems = problems_of_second(&rendered, SECOND);
    assert_eq!(problems, ["the host h.test is taken by app/first_main.11111"]);
    let sites = rendered.caddy_sites.values().next().unwrap();
    let hosts: Vec<_> = sites.hosts.keys().map(|(_, host)| host.as_str()).collect();
    assert_eq!(hosts, ["own.test"]);
    assert_eq!(rendered.maps["http.map"], "h.test node2\nown.test node1\n");
}

#[test]
fn a_host_of_an_app_is_no_swarm_keys_and_no_conditions() {
    let first = || (FIRST, app("2026-01-01", "node1", &site("http://bücher.test"), json!({})));
    for domain in ["bücher.test", "BÜCHER.test.", "XN--bcher-kva.test"] {
        let rendered = rendered(&[first(), ("swarm/x", json!({"domains": [domain]}))]);
        assert_eq!(problems_of_second(&rendered, "swarm/x").len(), 1, "{domain}");
        assert_eq!(rendered.maps["http.map"], "xn--bcher-kva.test node1\n");
    }
    for literal in ["xn--bcher-kva.test", "XN--BCHER-KVA.TEST", "Xn--Bcher-Kva.test."] {
        let condition = format!("if {{ hdr(host) -i {literal} }}");
        let haproxy = json!({"http-in": {"backends": [{
            "name": "thief", "use_backend_option": condition, "port": 80, "peer_port": 80, "ct": "web",
        }]}});
        let second = app("2026-01-02", "node2", "", haproxy);
        let rendered = rendered(&[first(), (SECOND, second)]);
        assert_eq!(problems_of_second(&rendered, SECOND).len(), 1, "{literal}");
    }
}

#[test]
fn a_port_is_one_apps_at_whatever_address() {
    for (second, is_same) in [
        ("*:2222", true),
        (":2222", true),
        ("0.0.0.0:2222", true),
        ("127.0.0.1:2222", true),
        ("10.0.0.1:2222 accept-proxy", true),
        ("*:02222", true),
        ("*:2223", false),
    ] {
        let rendered = rendered(&[
            (FIRST, app("2026-01-01", "node1", "", tcp("one", "one", "*:2222"))),
            (SECOND, app("2026-01-02", "node2", "", tcp("two", "two", second))),
        ]);
        assert_eq!(!problems_of_second(&rendered, SECOND).is_empty(), is_same, "{second}");
    }
    // The nodes' own, and what is not one port at one address.
    let own = ["*:80", ":80", "0.0.0.0:443", "*:01080", "127.0.0.1:1443", "*:22"];
    for bind in
        own.into_iter().chain(["[::]:2222", ":::2222", "*:2222-2223", "*:2000-3000", "*:2222,*:80"])
    {
        let rendered =
            rendered(&[(SECOND, app("2026-01-02", "node2", "", tcp("two", "two", bind)))]);
        assert_eq!(problems_of_second(&rendered, SECOND).len(), 1, "{bind}");
        assert!(rendered.haproxy_parts.is_empty(), "{bind}");
    }
}

#[test]
fn a_name_is_one_apps_in_any_case() {
    for (config, backend, is_same) in [
        ("ssh", "other", true),
        ("SSH", "other", true),
        ("Ssh", "other", true),
        ("other", "one", true),
        ("other", "ONE", true),
        ("ssh-", "one-", false),
        ("s.sh", "o.ne", false),
        ("s_sh", "o-ne", false),
    ] {
        let rendered = rendered(&[
            (FIRST, app("2026-01-01", "node1", "", tcp("ssh", "one", "*:2222"))),
            (SECOND, app("2026-01-02", "node2", "", tcp(config, backend, "*:2223"))),
        ]);
        assert_eq!(
            !problems_of_second(&rendered, SECOND).is_empty(),
            is_same,
            "{config} {backend}"
        );
    }
    // What stands in http-in is of another kind.
    let standard = json!({"http-in": {"backends": [{
        "name": "one", "use_backend_option": "if { hdr(host) -i h.test }", "port": 80, "peer_port": 80, "ct": "web",
    }]}});
    let both = rendered(&[
        (FIRST, app("2026-01-01", "node1", "", tcp("ssh", "one", "*:2222"))),
        (SECOND, app("2026-01-02", "node2", "", standard)),
    ]);
    assert_eq!(both.problems, []);
    // A key of the swarm has names of its own, and so have the nodes' own backends.
    let rendered = rendered(&[
        (FIRST, app("2026-01-01", "node1", "", tcp("http-node1", "http-node1", "*:2222"))),
        ("swarm/x", json!({"haproxy": tcp("http-node1", "http-node1", "*:2223")})),
    ]);
    assert_eq!(rendered.problems, []);
}
