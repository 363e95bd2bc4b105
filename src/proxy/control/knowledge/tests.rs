use serde_json::json;

use super::*;

fn container(image: &str, address: &str) -> ContainerFacts {
    let addresses = address.parse().into_iter().collect();
    ContainerFacts { image: image.to_owned(), addresses, aliases: BTreeSet::new() }
}

/// Caddy, its check container, HAProxy.
fn node(caddy: &str, check: &str) -> [ContainerFacts; 3] {
    [container(caddy, "172.18.0.3"), container(check, ""), container("haproxy", "172.18.0.2")]
}

fn current() -> CaddyAbilities {
    CaddyAbilities {
        haproxy: ["172.18.0.2".parse().unwrap()].into(),
        caddy: ["172.18.0.3".parse().unwrap()].into(),
        apart: false,
    }
}

/// A stack that is older than the network of the two has names on the apps' network only.
#[tokio::test]
async fn the_two_meet_apart_when_both_are_there() {
    let mut known = Knowledge::default();
    let mut of = async |caddy: &[&str], haproxy: &[&str], image: &str| {
        let mut found = node("new", "new");
        found[0].aliases = caddy.iter().map(|alias| (*alias).to_owned()).collect();
        found[2].aliases = haproxy.iter().map(|alias| (*alias).to_owned()).collect();
        found[2].image = image.to_owned();
        known.take(&found, taken).await.unwrap().apart
    };
    assert!(!of(&["caddy"], &["haproxy"], "haproxy").await);
    assert!(!of(&["caddy", "tandem-caddy"], &["haproxy"], "haproxy").await);
    assert!(of(&["caddy", "tandem-caddy"], &["tandem-haproxy"], "haproxy").await);
    assert!(of(&["caddy", "tandem-caddy"], &[], "").await, "HAProxy is being made anew");
    assert!(!of(&["caddy"], &["haproxy"], "haproxy").await);
    let settings = |apart| crate::proxy::ProxySettings {
        caddy_abilities: CaddyAbilities { apart, ..CaddyAbilities::default() },
        ..Default::default()
    };
    assert_eq!(
        (settings(false).caddy_name(), settings(false).haproxy_name()),
        ("caddy", "haproxy")
    );
    let apart = settings(true);
    assert_eq!((apart.caddy_name(), apart.haproxy_name()), ("tandem-caddy", "tandem-haproxy"));
}

async fn taken() -> Result<Value, CheckError> {
    Ok(json!({}))
}

async fn refused() -> Result<Value, CheckError> {
    let what = "module not registered: caddy.listeners.proxy_protocol";
    Err(CheckError::Refused(what.to_owned()))
}

async fn never() -> Result<Value, CheckError> {
    panic!("this image was probed before")
}

#[tokio::test]
async fn an_image_is_probed_once_and_another_one_again() {
    let mut known = Knowledge::default();
    assert_eq!(known.take(&node("old", "old"), refused).await, Ok(CaddyAbilities::default()));
    assert_eq!(known.take(&node("old", "old"), never).await, Ok(CaddyAbilities::default()));
    assert_eq!(known.take(&node("new", "new"), taken).await, Ok(current()));
    assert_eq!(known.take(&node("new", "new"), never).await, Ok(current()));
    assert_eq!(known.take(&node("old", "old"), refused).await, Ok(CaddyAbilities::default()));
}

#[tokio::test(start_paused = true)]
async fn while_images_differ_nothing_is_known_and_then_the_least_is_assumed() {
    let mut known = Knowledge::default();
    known.take(&node("new", "new"), taken).await.unwrap();
    let differ = node("other", "new");
    known.take(&differ, never).await.unwrap_err();
    tokio::time::advance(GRACE / 2).await;
    known.take(&differ, never).await.unwrap_err();
    tokio::time::advance(GRACE).await;
    assert_eq!(known.take(&differ, never).await, Ok(CaddyAbilities::default()));
    assert_eq!(known.take(&node("other", "other"), taken).await, Ok(current()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_for_a_moment() {
    let mut known = Knowledge::default();
    assert_eq!(known.fresh(), None);
    known.take(&node("new", "new"), taken).await.unwrap();
    assert_eq!(known.fresh(), Some(current()));
    tokio::time::advance(FRESH).await;
    assert_eq!(known.fresh(), None);
}

#[tokio::test]
async fn a_check_that_could_not_be_made_is_no_answer() {
    let mut known = Knowledge::default();
    let slow = || async { Err(CheckError::Refused("the check took too long".to_owned())) };
    known.take(&node("new", "new"), slow).await.unwrap_err();
    let away = || async { Err(CheckError::Unavailable("no container".to_owned())) };
    known.take(&node("new", "new"), away).await.unwrap_err();
    known.take(&node("", "new"), never).await.unwrap_err();
    assert_eq!(known.take(&node("new", "new"), taken).await, Ok(current()));
}

#[tokio::test]
async fn addresses_are_followed_and_kept_while_a_container_is_down() {
    let mut known = Knowledge::default();
    let mut found = node("new", "new");
    found[2].addresses.clear();
    known.take(&found, taken).await.unwrap_err();
    known.take(&node("new", "new"), never).await.unwrap();
    assert_eq!(known.take(&found, never).await, Ok(current()));
    found[2] = container("haproxy", "172.18.0.9");
    let moved = known.take(&found, never).await.unwrap();
    assert_eq!(moved.haproxy, ["172.18.0.9".parse().unwrap()].into());
}
