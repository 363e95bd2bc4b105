//! What is on disk is what runs, also where a proxy refuses, starts anew or is away in between. The comparison itself is
//! in [`Fixture::try_apply`](super::Fixture).

use serde_json::json;

use super::{Fixture, ProxyError, fixture, node, site, tcp};

impl Fixture {
    fn lead_all_to(&mut self, master: &str) {
        let records = self.view.apps.values_mut();
        records.for_each(|record| std::sync::Arc::make_mut(record).master = node(master));
    }
}

/// An app with a site and a port, in place.
async fn with_one() -> Fixture {
    let mut f = fixture();
    f.add("a", "node1", &site("a"), tcp("a", 2222));
    f.apply().await;
    f
}

#[tokio::test]
async fn a_restart_of_either_proxy_changes_nothing() {
    let mut f = with_one().await;
    f.control.state().start_haproxy();
    f.control.state().start_caddy();
    let applied = f.apply().await;
    assert!(!applied.haproxy_reloaded && !applied.caddy_loaded && applied.maps_changed == 0);
}

#[tokio::test]
async fn a_restart_after_a_refused_reload_reads_what_ran() {
    let mut f = with_one().await;
    let before = f.file("haproxy.cfg");
    f.add("b", "node1", &site("b"), tcp("b", 3333));
    f.control.state().reload_fails = true;
    assert!(f.try_apply().await.is_err());
    f.start();
    assert_eq!(f.control.state().haproxy_cfg.as_ref(), Some(&before));
    assert!(f.file("http.map").contains("b.test"), "its site is served");
    f.control.state().reload_fails = false;
    let applied = f.apply().await;
    assert_eq!(applied.problems.len(), 1, "its port is left out: {applied:?}");
}

#[tokio::test]
async fn a_reload_that_is_refused_again_and_again_leaves_the_first_good_file() {
    let mut f = with_one().await;
    let before = f.file("haproxy.cfg");
    f.control.state().reload_fails = true;
    for port in [3333, 3334, 3335] {
        f.add("b", "node1", "", tcp("b", port));
        assert!(matches!(f.try_apply().await, Err(ProxyError::Control(_))));
        assert_eq!(f.file("haproxy.cfg"), before);
    }
}

#[tokio::test]
async fn caddy_keeps_what_it_runs_while_haproxy_does_not_follow() {
    let mut f = with_one().await;
    // One app leaves and another comes: Caddy has both until HAProxy has followed, and HAProxy refuses to.
    f.lead_all_to("node2");
    f.add("b", "node1", &site("b"), tcp("b", 3333));
    f.control.state().reload_fails = true;
    assert!(f.try_apply().await.is_err());
    f.control.state().start_caddy();
    f.is_on_disk();
    f.control.state().reload_fails = false;
    f.apply().await;
    let caddy = std::fs::read_to_string(f.settings.caddy_file()).unwrap();
    assert!(caddy.contains("b.test"));
}

/// Whether Caddy runs an app's route.
fn runs(f: &Fixture, app: &str) -> bool {
    f.control.state().loads.last().unwrap().to_string().contains(&format!("{app}.test"))
}

#[tokio::test(start_paused = true)]
async fn what_caddy_refuses_to_load_is_not_what_it_starts_with() {
    let mut f = with_one().await;
    for name in ["b", "c", "d", "e"] {
        f.add(name, "node1", &site(name), json!({}));
    }
    f.control.state().load_refuses = vec!["b.test".to_owned()];
    let applied = f.apply().await;
    assert_eq!(applied.problems.len(), 1, "{applied:?}");
    assert!(applied.problems[0].source.starts_with("app/b_"));
    // All four, the half with it, and it alone.
    assert_eq!(f.control.state().refusals, 3);
    f.control.state().start_caddy();
    assert!(["a", "c", "d", "e"].iter().all(|app| runs(&f, app)) && !runs(&f, "b"));
    // It is known, and asked again only after some time, or when it changes.
    let known = f.apply().await;
    assert!(!known.caddy_loaded && known.problems == applied.problems, "{known:?}");
    assert_eq!(f.control.state().refusals, 3);
    f.control.state().load_refuses.clear();
    tokio::time::advance(known.later.unwrap()).await;
    assert!(f.apply().await.problems.is_empty() && runs(&f, "b"));
}

#[tokio::test(start_paused = true)]
async fn two_that_caddy_refuses_are_both_found_and_a_changed_one_is_tried_at_once() {
    let mut f = with_one().await;
    let names = ["b", "c", "d", "e", "f", "g"];
    let apps = names.map(|name| f.add(name, "node1", &site(name), json!({})));
    f.control.state().load_refuses = ["b.test", "f.test"].map(str::to_owned).to_vec();
    let applied = f.apply().await;
    let sources: Vec<_> = applied.problems.iter().map(|p| p.source.clone()).collect();
    assert_eq!(sources, [&apps[0], &apps[4]].map(|app| format!("app/{app}")));
    assert!(["a", "c", "d", "e", "g"].iter().all(|app| runs(&f, app)));
    f.record(&apps[0]).caddyfile = site("h").replace("h_web", "b_web");
    assert_eq!(f.apply().await.problems.len(), 1);
    assert!(runs(&f, "h") && !runs(&f, "f"));
}

/// It has told Caddy nothing yet: what Caddy runs it knows by the file.
#[tokio::test]
async fn an_agent_that_starts_anew_takes_nothing_away_for_what_caddy_refuses() {
    let mut f = with_one().await;
    f.add("b", "node1", &site("b"), json!({}));
    f.apply().await;
    f.add("c", "node1", &site("c"), json!({}));
    f.add("d", "node1", &site("d"), json!({}));
    f.control.state().load_refuses = vec!["c.test".to_owned()];
    f.proxies = super::Proxies::new(f.settings.clone(), f.control.clone()).unwrap();
    let before = f.control.state().loads.len();
    let applied = f.apply().await;
    assert_eq!(applied.problems.len(), 1, "{applied:?}");
    let loads = f.control.state().loads.clone();
    let never_without = loads.iter().skip(before).map(ToString::to_string);
    assert!(
        never_without.into_iter().all(|load| load.contains("a.test") && load.contains("b.test"))
    );
    assert!(runs(&f, "d") && !runs(&f, "c"));
}

#[tokio::test]
async fn proxies_that_were_away_start_with_what_was_to_run() {
    let mut f = with_one().await;
    f.control.state().is_down = true;
    f.lead_all_to("node2");
    f.add("b", "node2", &site("b"), tcp("b", 3333));
    f.apply().await;
    f.start();
    assert!(f.control.state().haproxy_cfg.as_ref().unwrap().contains("*:3333"));
    assert_eq!(f.control.state().maps["http.map"], "a.test node2\nb.test node2\n");
    f.apply().await;
}

#[tokio::test]
async fn an_agent_that_starts_anew_finds_what_runs() {
    let mut f = with_one().await;
    f.proxies = super::Proxies::new(f.settings.clone(), f.control.clone()).unwrap();
    let applied = f.apply().await;
    assert!(!applied.haproxy_reloaded && !applied.caddy_loaded, "{applied:?}");
    f.view.apps.clear();
    f.proxies = super::Proxies::new(f.settings.clone(), f.control.clone()).unwrap();
    assert!(f.apply().await.haproxy_reloaded);
    assert_eq!(f.file("http.map"), "");
}

#[tokio::test]
async fn without_checks_what_runs_stays_on_disk() {
    let mut f = with_one().await;
    f.control.state().no_checks = true;
    f.add("b", "node1", &site("b"), tcp("b", 3333));
    f.apply().await;
    f.start();
    assert!(!f.control.state().haproxy_cfg.as_ref().unwrap().contains("*:3333"));
}

#[tokio::test]
async fn a_file_that_somebody_changed_is_put_right() {
    let mut f = with_one().await;
    let good = f.file("haproxy.cfg");
    for name in ["haproxy.cfg", "http.map"] {
        std::fs::write(f.settings.haproxy_dir().join(name), "").unwrap();
    }
    std::fs::write(f.settings.caddy_file(), "{}").unwrap();
    f.apply().await;
    assert_eq!(f.file("haproxy.cfg"), good);
}
