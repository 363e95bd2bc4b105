//! Proxies of an earlier stack.

use super::*;
use crate::error::chain;
use crate::proxy::control::{Release, Unfit};

#[tokio::test]
async fn proxies_that_are_too_old_are_left_as_they_are_until_they_are_not() {
    let mut f = fixture();
    f.add("shop", "node1", &site("shop"), json!({}));
    f.apply().await;
    let everything = |f: &Fixture| {
        let state = f.control.state();
        let files = ["haproxy.cfg", "http.map", "https.map", "held.map"].map(|name| f.file(name));
        let caddy = std::fs::read(f.settings.caddy_file()).unwrap();
        (files, caddy, state.reloads, state.loads.len(), state.maps.clone())
    };
    let before = everything(&f);
    let blog = f.add("blog", "node1", &site("blog"), tcp("blog", 2222));
    f.control.state().unfit = Some(Unfit::old("Caddy", Release(2, 6), Release(2, 7)));
    let said = chain(&f.try_apply().await.unwrap_err());
    assert!(said.contains("Caddy 2.6 is too old: 2.7 or later is needed"), "{said}");
    assert!(everything(&f) == before, "nothing was changed");
    let record = f.view.apps[&blog].clone();
    let refused = f.proxies.checker().would_accept(&f.view, &record).await.unwrap_err();
    assert!(refused[0].what.contains("Caddy 2.6 is too old"), "{refused:?}");
    f.control.state().unfit = None;
    let applied = f.apply().await;
    assert!(applied.caddy_loaded && applied.haproxy_reloaded && applied.is_routed, "{applied:?}");
}
