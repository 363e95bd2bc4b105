//! What is kept of apps changes nothing: rendering with it gives what rendering from nothing gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::{Cache, Templates, render, render_with};
use crate::model::{AppName, AppRecord, NodeName};
use crate::proxy::{ClusterView, Policy, ProxySettings};

const HOSTS: [&str; 8] = [
    "http://a.test",
    "https://a.test",
    "b.test",
    "https://*.b.test",
    "http://x.b.test/p",
    "{",
    "http://a.test, b.test",
    "a.test, http://c.test",
];
const POLICIES: [&str; 4] = [
    r#"{"repo": "https://git.test/0", "domains": ["a.test"]}"#,
    r#"{"repo": "https://git.test/0", "upstreams": ["other:80"]}"#,
    r#"{"repo": "https://git.test/0", "certificates": {"shop": ["a.test"]}}"#,
    r#"{"repo": "https://git.test/1", "domains": []}"#,
];

/// One change of the cluster.
#[derive(Debug, Clone)]
enum Change {
    Deploy { app: usize, host: usize, upstream: bool, port: Option<u16>, date: u8, page: bool },
    Move { app: usize, node: u8 },
    Remove(usize),
    Maintain { app: usize, is_held: bool },
    Serve(usize),
    Rule(usize),
    Unrule,
    Look(u8),
    Refuse(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let app = 0..4_usize;
    prop_oneof![
        4 => (app.clone(), 0..HOSTS.len(), any::<bool>(), prop::option::of(2000..2003_u16), 0..3_u8, any::<bool>())
            .prop_map(|(app, host, upstream, port, date, page)| Change::Deploy { app, host, upstream, port, date, page }),
        3 => (app.clone(), 1..4_u8).prop_map(|(app, node)| Change::Move { app, node }),
        1 => app.clone().prop_map(Change::Remove),
        2 => (app.clone(), any::<bool>()).prop_map(|(app, is_held)| Change::Maintain { app, is_held }),
        1 => app.clone().prop_map(Change::Serve),
        1 => (0..POLICIES.len()).prop_map(Change::Rule),
        1 => Just(Change::Unrule),
        1 => (1..3_u8).prop_map(Change::Look),
        1 => app.prop_map(Change::Refuse),
    ]
}

fn node(n: u8) -> NodeName {
    NodeName::parse(&format!("node{n}")).unwrap()
}

fn name(app: usize) -> AppName {
    AppName::parse(&format!("app{app}_main.0000{app}")).unwrap()
}

fn record(
    app: usize,
    host: usize,
    is_foreign: bool,
    port: Option<u16>,
    date: u8,
    page: bool,
) -> AppRecord {
    let upstream = if is_foreign { "other:80" } else { "web:80" };
    let haproxy = match port {
        Some(port) => json!({format!("tcp{port}"): {
            "frontend": {"mode": "tcp", "bind": [format!("*:{port}")]},
            "backends": [{"name": format!("tcp{app}"), "port": 22, "peer_port": port, "ct": "web"}],
        }}),
        None => json!({}),
    };
    let mut record = json!({
        "repo_url": format!("https://git.test/{app}"), "branch": "main", "deploy_id": "1", "master": "node1",
        "ip": "10.0.0.1", "deploy_date": format!("2026-01-0{date}"), "haproxy": haproxy, "ct": {"web": "web"},
        "caddyfile": format!("{} {{\n proxy / http://{upstream}\n}}\n", HOSTS[host]), "domains": ["c.test"],
    });
    if page {
        record["maintenance_page"] = json!(format!("<p>{app}"));
    }
    serde_json::from_value(record).unwrap()
}

fn make(view: &mut ClusterView, refused: &mut BTreeMap<String, String>, change: Change) {
    match change {
        Change::Deploy { app, host, upstream, port, date, page } => {
            view.apps.insert(name(app), Arc::new(record(app, host, upstream, port, date, page)));
        }
        Change::Move { app, node: to } => {
            if let Some(record) = view.apps.get_mut(&name(app)) {
                Arc::make_mut(record).master = node(to);
            }
        }
        Change::Remove(app) => {
            view.apps.remove(&name(app));
        }
        Change::Maintain { app, is_held } => {
            view.maintenance.insert(name(app));
            match is_held {
                true => view.held.insert(name(app)),
                false => view.held.remove(&name(app)),
            };
        }
        Change::Serve(app) => {
            view.maintenance.remove(&name(app));
            view.held.remove(&name(app));
        }
        Change::Rule(rule) => {
            let (repo, policy) = Policy::parse(POLICIES[rule].as_bytes()).unwrap();
            view.policies.insert(repo, policy);
        }
        Change::Unrule => view.policies = Default::default(),
        Change::Look(from) => view.me = node(from),
        Change::Refuse(app) => {
            let source = format!("app/{}", name(app));
            if refused.remove(&source).is_none() {
                refused.insert(source, "no".to_owned());
            }
        }
    }
}

proptest! {
    #[test]
    fn with_what_is_kept_the_same_is_rendered(changes in vec(change(), 1..24)) {
        let templates = Templates::built_in().unwrap();
        let settings = ProxySettings::default();
        let mut view = ClusterView::empty(node(1));
        view.nodes = [(node(1), "10.0.0.1".to_owned()), (node(2), "10.0.0.2".to_owned())].into();
        let (mut cache, mut refused) = (Cache::default(), BTreeMap::new());
        for change in changes {
            make(&mut view, &mut refused, change);
            let kept = render_with(&mut cache, &view, &settings, &templates, &refused).unwrap();
            let anew = render(&view, &settings, &templates, &refused).unwrap();
            prop_assert_eq!(kept, anew);
        }
    }
}

/// The text of an app is as it was; which of its hosts it has is another app's doing.
#[test]
fn a_host_that_another_app_takes_or_gives_back_changes_the_sites() {
    let templates = Templates::built_in().unwrap();
    let mut view = ClusterView::empty(node(1));
    let (both, one) = (HOSTS.len() - 1, 0);
    view.apps.insert(name(1), Arc::new(record(1, both, false, None, 2, false)));
    let mut cache = Cache::default();
    let mut hosts = |view: &ClusterView| {
        let settings = ProxySettings::default();
        let rendered = render_with(&mut cache, view, &settings, &templates, &BTreeMap::new());
        let sites = rendered.unwrap().caddy_sites.remove(&name(1)).unwrap();
        assert_eq!(sites.text.contains("a.test"), sites.hosts.len() == 2, "{}", sites.text);
        sites.hosts.keys().map(|(_, host)| host.clone()).collect::<Vec<_>>()
    };
    assert_eq!(hosts(&view), ["c.test", "a.test"]);
    // It was deployed earlier, so the host is its.
    view.apps.insert(name(0), Arc::new(record(0, one, false, None, 1, false)));
    assert_eq!(hosts(&view), ["c.test"]);
    view.apps.remove(&name(0));
    assert_eq!(hosts(&view), ["c.test", "a.test"]);
}
