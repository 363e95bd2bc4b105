//! A HAProxy that can't start for one app's sake starts without that part.

use std::time::Duration;

use super::*;

async fn down_with(port: u16) -> (Fixture, AppName) {
    let mut f = fixture();
    let a = f.add("a", "node1", &site("a"), tcp("a", 2222));
    f.add("b", "node1", &site("b"), tcp("b", 3333));
    f.apply().await;
    f.control.state().is_down = true;
    f.control.state().taken = [port].into();
    (f, a)
}

#[tokio::test(start_paused = true)]
async fn the_part_whose_port_is_taken_is_left_out_until_it_is_free() {
    let (mut f, a) = down_with(2222).await;
    f.apply().await;
    assert!(f.file("haproxy.cfg").contains("*:2222"), "it may only be starting");
    f.proxies.haproxy_stays_away();
    let applied = f.apply().await;
    let of = |app: &AppName| applied.problems.iter().find(|it| it.source == format!("app/{app}"));
    assert!(of(&a).unwrap().what.contains("listens on its port 2222"), "{applied:?}");
    assert!(!f.file("haproxy.cfg").contains("*:2222") && f.file("haproxy.cfg").contains("*:3333"));
    f.start();
    let applied = f.apply().await;
    assert!(applied.is_routed && applied.later.is_some(), "{applied:?}");
    let is_back = async |f: &mut Fixture| {
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(16)).await;
            f.apply().await;
        }
        f.file("haproxy.cfg").contains("*:2222")
    };
    assert!(!is_back(&mut f).await);
    f.control.state().taken.clear();
    assert!(is_back(&mut f).await);
    assert!(f.apply().await.problems.is_empty());
}

#[tokio::test]
async fn what_another_image_refuses_is_left_out_when_it_does_not_start() {
    let (mut f, a) = down_with(9).await;
    f.control.state().haproxy_refuses = vec!["front-a-tcp".to_owned()];
    f.apply().await;
    assert!(f.file("haproxy.cfg").contains("front-a-tcp"), "known to be accepted");
    f.proxies.haproxy_stays_away();
    let applied = f.apply().await;
    assert!(applied.problems.iter().any(|it| it.source == format!("app/{a}")), "{applied:?}");
    assert!(!f.file("haproxy.cfg").contains("front-a-tcp"));
    assert!(f.file("haproxy.cfg").contains("front-b-tcp"));
}

#[tokio::test]
async fn a_port_of_the_proxies_own_that_is_taken_is_named() {
    let (mut f, _) = down_with(443).await;
    f.proxies.haproxy_stays_away();
    let applied = f.apply().await;
    assert!(
        applied.problems.iter().any(|it| it.what.contains("listens on port 443")),
        "{applied:?}"
    );
    assert!(f.file("haproxy.cfg").contains("*:2222"));
}
