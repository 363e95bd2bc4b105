//! Caddy's abilities come and go: who is told first, and what is left alone.

use super::*;
use crate::proxy::caddy::CaddyAbilities;

const SENDS: &str = "server caddy caddy:443 send-proxy-v2";

fn current(haproxy: &str) -> CaddyAbilities {
    CaddyAbilities {
        haproxy: [haproxy.parse().unwrap()].into(),
        caddy: ["172.18.0.3".parse().unwrap()].into(),
        apart: false,
    }
}

impl Fixture {
    fn caddy_expects(&self) -> bool {
        CaddyAbilities::are_used_by(&serde_json::from_str(&self.caddy_file()).unwrap())
    }

    fn caddy_file(&self) -> String {
        std::fs::read_to_string(self.settings.caddy_file()).unwrap()
    }

    fn becomes(&self, abilities: CaddyAbilities) {
        self.control.state().caddy_abilities = abilities;
    }

    /// What was done so far: reloads of HAProxy, loads of Caddy.
    fn done(&self) -> (usize, usize) {
        let state = self.control.state();
        (state.reloads, state.loads.len())
    }
}

async fn with_an_app() -> Fixture {
    let mut f = fixture();
    f.add("shop", "node1", &site("shop"), json!({}));
    f.apply().await;
    f
}

#[tokio::test]
async fn caddy_is_told_first_and_ceases_last() {
    let mut f = with_an_app().await;
    assert!(!f.caddy_expects() && !f.file("haproxy.cfg").contains(SENDS));
    let before = f.done();
    f.becomes(current("172.18.0.2"));
    f.apply().await;
    assert!(f.caddy_expects() && f.file("haproxy.cfg").contains(SENDS));
    assert_eq!(f.done(), (before.0 + 1, before.1 + 1), "one reload, one load");
    f.apply().await;
    assert_eq!(f.done(), (before.0 + 1, before.1 + 1), "and no more");
    f.becomes(CaddyAbilities::default());
    f.add("blog", "node1", &site("blog"), json!({}));
    f.apply().await;
    assert!(!f.caddy_expects() && !f.file("haproxy.cfg").contains(SENDS));
    assert!(f.caddy_file().contains("blog.test"));
    assert!(!f.control.state().is_misled);
}

#[tokio::test]
async fn a_caddy_that_does_not_take_it_is_not_sent_anything() {
    let mut f = with_an_app().await;
    f.control.state().load_refuses = vec!["listener_wrappers".to_owned()];
    f.becomes(current("172.18.0.2"));
    f.try_apply().await.unwrap_err();
    assert!(!f.caddy_expects() && !f.file("haproxy.cfg").contains(SENDS));
    // Nor one that does not run, and begins with what it took last.
    f.control.state().load_refuses.clear();
    f.control.state().is_down = true;
    f.apply().await;
    assert!(!f.caddy_expects() && !f.file("haproxy.cfg").contains(SENDS));
}

#[tokio::test]
async fn an_older_caddy_finds_a_file_that_it_can_start_with() {
    let mut f = with_an_app().await;
    f.becomes(current("172.18.0.2"));
    f.apply().await;
    // It was made anew from an older image, and ends at once.
    f.becomes(CaddyAbilities::default());
    f.control.state().is_down = true;
    assert!(f.apply().await.caddy_is_down);
    assert!(!f.caddy_expects() && !f.file("haproxy.cfg").contains(SENDS));
    assert!(f.caddy_file().contains("shop.test"));
    // HAProxy goes on sending while its configuration can't be checked; Caddy is not changed before it.
    let mut f = with_an_app().await;
    f.becomes(current("172.18.0.2"));
    f.apply().await;
    f.becomes(CaddyAbilities::default());
    f.control.state().haproxy_refuses = vec!["server caddy caddy:443 resolvers".to_owned()];
    f.try_apply().await.unwrap_err();
    assert!(f.caddy_expects() && f.file("haproxy.cfg").contains(SENDS));
    assert!(!f.control.state().is_misled);
}

#[tokio::test]
async fn an_agent_that_begins_while_docker_is_away_changes_nothing() {
    let mut f = with_an_app().await;
    f.becomes(current("172.18.0.2"));
    f.apply().await;
    let before = f.done();
    f.control.state().no_checks = true;
    f.proxies = Proxies::new(f.settings.clone(), f.control.clone()).unwrap();
    f.apply().await;
    assert_eq!(f.done(), before);
    f.control.state().no_checks = false;
    f.apply().await;
    assert_eq!(f.done(), before);
    assert!(f.caddy_expects() && f.file("haproxy.cfg").contains(SENDS));
}

#[tokio::test]
async fn a_haproxy_with_another_address_is_believed_by_a_load_alone() {
    let mut f = with_an_app().await;
    f.becomes(current("172.18.0.2"));
    f.apply().await;
    let before = f.done();
    f.becomes(current("172.18.0.9"));
    f.apply().await;
    assert_eq!(f.done(), (before.0, before.1 + 1));
    assert!(f.caddy_file().contains("172.18.0.9/32") && !f.caddy_file().contains("172.18.0.2"));
}

#[tokio::test(start_paused = true)]
async fn neither_waits_for_other_changes_to_be_gathered() {
    let mut f = with_an_app().await;
    let second = std::time::Duration::from_secs(1);
    let gathering = crate::proxy::apply::Gathering { least: second, most: second };
    f.proxies =
        Proxies::new(f.settings.clone(), f.control.clone()).unwrap().with_gathering(gathering);
    f.add("blog", "node1", &site("blog"), tcp("blog", 2222));
    let applied = f.apply().await;
    assert!(applied.haproxy_reloaded && applied.caddy_loaded, "{applied:?}");
    // Both have had their turns just now.
    let before = f.done();
    f.becomes(current("172.18.0.2"));
    f.apply().await;
    assert!(f.caddy_expects() && f.file("haproxy.cfg").contains(SENDS));
    f.becomes(CaddyAbilities::default());
    f.apply().await;
    assert!(!f.caddy_expects() && !f.file("haproxy.cfg").contains(SENDS));
    assert_eq!(f.done(), (before.0 + 2, before.1 + 2));
    assert!(!f.control.state().is_misled);
}
