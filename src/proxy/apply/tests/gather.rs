//! Reloads and loads that follow each other closely are one; maps never wait, and nobody is led to a Caddy that does not
//! have the app yet.

use std::time::Duration;

use serde_json::json;

use super::{Fixture, Proxies, fixture, node, site, tcp};
use crate::proxy::apply::Gathering;

const LEAST: Duration = Duration::from_secs(1);

/// An app on each node, in place, with gathering; the first change is made already.
async fn gathering() -> Fixture {
    let mut f = fixture();
    let gathering = Gathering { least: LEAST, most: LEAST * 2 };
    f.proxies =
        Proxies::new(f.settings.clone(), f.control.clone()).unwrap().with_gathering(gathering);
    f.add("a", "node1", &site("a"), tcp("a", 2222));
    f.add("b", "node2", &site("b"), json!({}));
    let first = f.apply().await;
    assert!(first.haproxy_reloaded && first.caddy_loaded && first.later.is_none(), "{first:?}");
    f
}

#[tokio::test(start_paused = true)]
async fn what_comes_soon_after_is_made_in_one() {
    let mut f = gathering().await;
    let before = f.control.state().clone();
    for (name, port) in [("c", 3333), ("d", 4444), ("e", 5555)] {
        f.add(name, "node1", &site(name), tcp(name, port));
        let applied = f.apply().await;
        assert!(!applied.haproxy_reloaded && !applied.caddy_loaded, "{applied:?}");
        assert!(applied.later.unwrap() <= LEAST, "{applied:?}");
    }
    let checks = f.control.state().haproxy_checks;
    tokio::time::advance(LEAST).await;
    let applied = f.apply().await;
    assert!(applied.haproxy_reloaded && applied.caddy_loaded && applied.later.is_none());
    let after = f.control.state().clone();
    assert_eq!(after.reloads, before.reloads + 1);
    assert_eq!(after.loads.len(), before.loads.len() + 1);
    assert_eq!(after.haproxy_checks, checks + 1, "only what is to run is checked");
    assert_eq!(f.file("http.map").matches(" node1\n").count(), 4);
    tokio::time::advance(LEAST * 2).await;
    f.add("g", "node1", &site("g"), json!({}));
    assert!(f.apply().await.caddy_loaded, "after a quiet time at once");
}

#[tokio::test(start_paused = true)]
async fn maps_do_not_wait_and_requests_do_until_caddy_has_the_app() {
    let mut f = gathering().await;
    let loads = f.control.state().loads.len();
    let [a, b] = ["a", "b"]
        .map(|name| f.view.apps.keys().find(|app| app.as_str().starts_with(name)).unwrap().clone());
    // One leaves, at once; the other comes, and waits for Caddy.
    f.record(&a).master = node("node2");
    f.record(&b).master = node("node1");
    f.view.maintenance.insert(a.clone());
    f.view.held.insert(a.clone());
    f.apply().await;
    let mark = f.settings.held_dir().join(a.file_name());
    assert!(mark.exists());
    f.view.maintenance.clear();
    f.view.held.clear();
    let applied = f.apply().await;
    assert!(!applied.caddy_loaded && applied.later.is_some(), "{applied:?}");
    assert_eq!(f.file("http.map"), "a.test node2\nb.test hold\n");
    assert!(mark.exists(), "Caddy still leads requests to where the app was");
    tokio::time::advance(LEAST).await;
    let applied = f.apply().await;
    assert!(applied.caddy_loaded, "{applied:?}");
    assert_eq!(f.file("http.map"), "a.test node2\nb.test node1\n");
    assert!(mark.exists(), "it has the first one still");
    assert_eq!(f.control.state().loads.len(), loads + 1);
    // What runs here already goes on while its new routes wait.
    f.record(&b).caddyfile = site("b").replace("b_web:80", "b_web:81");
    assert!(f.apply().await.later.is_some());
    assert_eq!(f.file("http.map"), "a.test node2\nb.test node1\n");
}

#[tokio::test(start_paused = true)]
async fn a_caddy_that_runs_something_else_does_not_wait() {
    let mut f = gathering().await;
    f.control.state().loads.push(json!({"admin": {}}));
    let applied = f.proxies.apply(&f.view).await.unwrap();
    assert!(applied.caddy_loaded && applied.later.is_none(), "{applied:?}");
    f.is_on_disk();
}

#[tokio::test]
async fn an_agent_that_starts_anew_adapts_nothing() {
    let mut f = fixture();
    f.add("a", "node1", &site("a"), json!({}));
    f.add("b", "node1", &site("b"), json!({}));
    f.apply().await;
    assert_eq!(f.control.state().adaptations, 2);
    f.proxies = Proxies::new(f.settings.clone(), f.control.clone()).unwrap();
    let applied = f.apply().await;
    assert!(!applied.caddy_loaded, "{applied:?}");
    assert_eq!(f.control.state().adaptations, 2);
    // What a candidate's check asked serves its deployment.
    let (name, record) = super::app("c", "node1", &site("c"), json!({}));
    assert_eq!(f.proxies.checker().would_accept(&f.view, &record).await, Ok(()));
    f.view.apps.insert(name, std::sync::Arc::new(record));
    assert!(f.apply().await.caddy_loaded);
    assert_eq!(f.control.state().adaptations, 3);
}

/// What Caddy would do with another app's upstream is refused, whoever says that it came from Caddy.
#[tokio::test]
async fn the_disk_is_trusted_no_more_than_caddy() {
    let mut f = fixture();
    f.add("a", "node1", &site("a"), json!({}));
    f.apply().await;
    let path = std::fs::read_dir(f.settings.adapted_dir()).unwrap().next().unwrap().unwrap().path();
    let foreign = json!({"apps": {"http": {"servers": {"http": {"listen": [":80"], "routes": [
        {"match": [{"host": ["b.test"]}], "terminal": true},
    ]}}}}})
    .to_string();
    let digest = ring::digest::digest(&ring::digest::SHA256, foreign.as_bytes());
    let hash: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(path, format!("{hash}\n{foreign}")).unwrap();
    f.proxies = Proxies::new(f.settings.clone(), f.control.clone()).unwrap();
    let applied = f.apply().await;
    assert!(applied.problems[0].what.contains("a route is for the host"), "{applied:?}");
    assert!(!f.control.state().loads.last().unwrap().to_string().contains("b.test"));
}
