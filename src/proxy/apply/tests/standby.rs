//! A move changes the maps, and Caddy is not loaded for it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::certificates::Asked;
use super::{Fixture, app, fixture, node, site};
use crate::model::AppName;
use crate::proxy::{Issuer, Proxies};

const AWHILE: Duration = Duration::from_secs(301);

fn loaded(f: &Fixture) -> String {
    f.control.state().loads.last().unwrap().to_string()
}

fn knows(f: &Fixture, name: &AppName) -> bool {
    f.proxies.served.apps.contains_key(name)
}

fn mark(f: &Fixture, name: &AppName) -> bool {
    f.settings.held_dir().join(name.file_name()).exists()
}

impl Fixture {
    fn pair(&mut self, name: &AppName, master: &str, slave: Option<&str>) {
        let record = self.record(name);
        (record.master, record.slave) = (node(master), slave.map(node));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pair_swaps_its_roles_again_and_again() {
    let mut f = fixture();
    let name = f.add("a", "node2", &site("a"), json!({}));
    f.pair(&name, "node2", Some("node1"));
    assert!(f.apply().await.caddy_loaded, "the slave's Caddy knows the app");
    assert!(loaded(&f).contains("a.test") && mark(&f, &name));
    assert_eq!(f.file("http.map"), "a.test node2\n");
    for _ in 0..3 {
        f.pair(&name, "node1", Some("node2"));
        let flipped = f.apply().await;
        assert!(!flipped.caddy_loaded && flipped.maps_changed == 1, "{flipped:?}");
        assert!(!mark(&f, &name));
        f.pair(&name, "node2", Some("node1"));
        let flipped = f.apply().await;
        assert!(!flipped.caddy_loaded && flipped.maps_changed == 1, "{flipped:?}");
        assert!(mark(&f, &name));
        tokio::time::advance(AWHILE).await;
        assert!(!f.apply().await.caddy_loaded);
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_left_stays_for_a_while_and_what_is_gone_does_not() {
    let mut f = fixture();
    let name = f.add("a", "node1", &site("a"), json!({}));
    f.add("b", "node1", &site("b"), json!({}));
    f.apply().await;
    f.pair(&name, "node2", None);
    let left = f.apply().await;
    assert!(!left.caddy_loaded && left.later.is_some_and(|later| later < AWHILE), "{left:?}");
    assert!(loaded(&f).contains("a.test") && mark(&f, &name));
    tokio::time::advance(AWHILE).await;
    assert!(f.apply().await.caddy_loaded);
    assert!(!loaded(&f).contains("a.test") && !mark(&f, &name));
    // Another app has its host.
    f.pair(&name, "node1", None);
    f.apply().await;
    f.pair(&name, "node2", None);
    f.record(&name).caddyfile = String::new();
    let other = f.add("c", "node1", &site("a").replace("a_web", "c_web"), json!({}));
    assert!(f.apply().await.caddy_loaded);
    assert!(!knows(&f, &name) && knows(&f, &other));
    // It is destroyed.
    f.view.apps.retain(|name, _| name.as_str().starts_with('b'));
    assert!(f.apply().await.caddy_loaded);
    assert!(!loaded(&f).contains("a.test"));
}

#[tokio::test(start_paused = true)]
async fn what_a_deployment_brings_here_is_known_before_it_is_committed() {
    let mut f = fixture();
    f.apply().await;
    let name = f.add("a", "node2", &site("a"), json!({}));
    let mut coming = f.view.apps[&name].as_ref().clone();
    (coming.master, coming.deploy_id) = (node("node1"), "2".to_owned());
    coming.caddyfile.push('\n');
    coming.caddyfile.push_str(&site("more").replace("more_web", "a_web"));
    f.proxies.checker().would_accept(&f.view, &coming).await.unwrap();
    let known = f.apply().await;
    assert!(known.caddy_loaded && known.maps_changed == 1, "{known:?}");
    assert!(loaded(&f).contains("more.test"));
    assert_eq!(f.file("http.map"), "a.test node2\n");
    // What it lists of containers is known only when they run.
    coming.ct.insert("db".to_owned(), "a_db".into());
    f.view.apps.insert(name.clone(), Arc::new(coming));
    let committed = f.apply().await;
    assert!(!committed.caddy_loaded && committed.maps_changed == 2, "{committed:?}");
    assert!(!mark(&f, &name));

    // One that is undone is forgotten, and so is one whose host another app was given meanwhile.
    let (other, coming) = app("b", "node1", &site("b"), json!({}));
    f.proxies.checker().would_accept(&f.view, &coming).await.unwrap();
    f.add("c", "node1", &site("b").replace("b_web", "c_web"), json!({}));
    f.apply().await;
    assert!(!knows(&f, &other));
    f.view.apps.retain(|name, _| !name.as_str().starts_with('c'));
    assert!(f.apply().await.caddy_loaded && knows(&f, &other) && mark(&f, &other));
    tokio::time::advance(Duration::from_secs(3601)).await;
    f.apply().await;
    assert!(!knows(&f, &other) && !mark(&f, &other));
}

#[tokio::test(start_paused = true)]
async fn what_comes_to_another_node_is_not_expected_here() {
    let mut f = fixture();
    f.apply().await;
    let (_, coming) = app("a", "node2", &site("a"), json!({}));
    f.proxies.checker().would_accept(&f.view, &coming).await.unwrap();
    assert!(!f.apply().await.caddy_loaded);
}

#[tokio::test(start_paused = true)]
async fn many_new_ones_do_not_keep_the_maps_waiting_and_are_one_load() {
    let mut f = fixture();
    f.apply().await;
    f.control.state().adapting = Duration::from_millis(5);
    let loads = f.control.state().loads.len();
    let own = f.add("own", "node1", &site("own"), json!({}));
    for n in 0..20 {
        let name = f.add(&format!("a{n:02}"), "node2", &site(&format!("a{n:02}")), json!({}));
        f.pair(&name, "node2", Some("node1"));
    }
    let first = f.apply().await;
    let look = Some(Duration::from_secs(2));
    assert_eq!(first.later, look, "{first:?}");
    assert_eq!(f.control.state().adaptations, 11);
    assert!(loaded(&f).contains("own.test") && !loaded(&f).contains("a00.test"));
    // The others go on beside all else, and no look at the maps adds to them.
    f.control.state().adapting = Duration::from_secs(1);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let began = tokio::time::Instant::now();
    assert_eq!(f.apply().await.later, look);
    assert_eq!(began.elapsed(), Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let last = f.apply().await;
    assert!(last.caddy_loaded && last.later.is_none(), "{last:?}");
    let state = f.control.state().clone();
    assert_eq!((state.adaptations, state.loads.len()), (21, loads + 2));
    assert!(!mark(&f, &own));
}

#[tokio::test(start_paused = true)]
async fn what_is_adapted_beside_all_else_is_tried_again_when_its_checks_are_back() {
    let mut f = fixture();
    f.apply().await;
    f.control.state().adapting = Duration::from_millis(60);
    for n in 0..4 {
        let name = f.add(&format!("a{n}"), "node2", &site(&format!("a{n}")), json!({}));
        f.pair(&name, "node2", Some("node1"));
    }
    f.apply().await;
    f.control.state().no_checks = true;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(f.apply().await.later, Some(Duration::from_secs(10)));
    f.control.state().no_checks = false;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!f.apply().await.caddy_loaded);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let last = f.apply().await;
    assert!(last.caddy_loaded && last.later.is_none(), "{last:?}");
    assert!(["a0.test", "a3.test"].iter().all(|host| loaded(&f).contains(host)));
}

#[tokio::test(start_paused = true)]
async fn without_its_checks_a_flip_is_a_flip() {
    let mut f = fixture();
    let name = f.add("a", "node2", &site("a"), json!({}));
    f.pair(&name, "node2", Some("node1"));
    f.apply().await;
    f.control.state().no_checks = true;
    f.pair(&name, "node1", Some("node2"));
    let flipped = f.apply().await;
    assert!(flipped.unchecked.is_empty() && flipped.maps_changed == 1, "{flipped:?}");
    f.add("b", "node2", &site("b"), json!({}));
    let name = f.add("c", "node2", &site("c"), json!({}));
    f.pair(&name, "node2", Some("node1"));
    let applied = f.apply().await;
    assert!(applied.unchecked.is_empty(), "its master sees to it: {applied:?}");
    assert_eq!(
        applied.later,
        Some(Duration::from_secs(10)),
        "and this node asks no more than now and then"
    );
    f.control.state().no_checks = false;
    assert!(f.apply().await.caddy_loaded && loaded(&f).contains("c.test"));
}

/// A slave's Caddy asks no authority: its certificate is a copy of the master's.
#[tokio::test(start_paused = true)]
async fn an_app_with_a_public_certificate_is_known_once_that_is_there() {
    let mut f = fixture();
    f.settings.issuer = Issuer::Acme(Some("admin@x.test".to_owned()));
    let source = Asked::new(f.control.clone());
    let text = "https://a.test, https://b.test {\n proxy / http://a_web:80\n}";
    let name = f.add("a", "node2", text, json!({}));
    f.pair(&name, "node2", Some("node1"));
    f.proxies = Proxies::new(f.settings.clone(), f.control.clone()).unwrap();
    f.apply().await;
    assert!(!loaded(&f).contains("a.test"), "nobody shares certificates: {}", loaded(&f));
    f.proxies = Proxies::new(f.settings.clone(), f.control.clone())
        .unwrap()
        .with_certificates(source.clone());
    source.there.lock().unwrap().insert("a.test".to_owned());
    f.apply().await;
    assert!(!knows(&f, &name), "one is not there");
    source.there.lock().unwrap().insert("b.test".to_owned());
    assert!(!f.apply().await.caddy_loaded, "not asked again at once");
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(f.apply().await.caddy_loaded);
    let policies = |f: &Fixture| {
        let config = f.control.state().loads.last().unwrap().clone();
        config["apps"]["tls"]["automation"]["policies"].clone()
    };
    let usual = json!({"issuers": [{"module": "acme", "email": "admin@x.test"}]});
    let mut lent = usual.clone();
    lent["subjects"] = json!(["a.test", "b.test"]);
    lent["renewal_window_ratio"] = json!(0.01);
    assert_eq!(policies(&f), json!([lent, usual]));
    assert!(!source.log.lock().unwrap().last().unwrap().contains("a.test"), "not this node's");

    f.pair(&name, "node1", Some("node2"));
    let flipped = f.apply().await;
    assert!(!flipped.caddy_loaded && flipped.maps_changed > 0, "{flipped:?}");
    assert!(source.log.lock().unwrap().last().unwrap().ends_with("routed a.test b.test"));
    tokio::time::advance(AWHILE).await;
    assert!(f.apply().await.caddy_loaded, "now it renews them itself");
    assert_eq!(policies(&f), Value::Array(vec![usual]));
}
