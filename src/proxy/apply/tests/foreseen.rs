//! What a deployment's check has asked Caddy is not asked again when it is committed.

use std::sync::Arc;

use serde_json::json;

use super::{Fixture, app, fixture, site};

/// A node whose Caddy serves another app, the only one that was adapted.
async fn serving() -> Fixture {
    let mut fixture = fixture();
    fixture.add("first", "node1", &site("first"), json!({}));
    fixture.apply().await;
    assert_eq!(fixture.control.state().adaptations, 1);
    fixture
}

#[tokio::test]
async fn what_a_deployment_asked_about_is_adapted_once() {
    let mut fixture = serving().await;
    let (name, record) = app("shop", "node1", &site("shop"), json!({}));
    fixture.proxies.checker().would_accept(&fixture.view, &record).await.unwrap();
    assert_eq!(fixture.control.state().adaptations, 2);
    // Other changes come and go before the commit.
    fixture.add("blog", "node1", &site("blog"), json!({}));
    fixture.apply().await;
    assert_eq!(fixture.control.state().adaptations, 3);

    fixture.view.apps.insert(name.clone(), Arc::new(record));
    let committed = fixture.apply().await;
    assert!(!committed.caddy_loaded && committed.maps_changed == 1, "{committed:?}");
    assert_eq!(fixture.control.state().adaptations, 3);
    let loaded = fixture.control.state().loads.last().unwrap().to_string();
    assert!(loaded.contains("shop.test") && loaded.contains("blog.test"), "{loaded}");
    // It is known as any other is.
    fixture.add("third", "node1", &site("third"), json!({}));
    fixture.apply().await;
    assert_eq!(fixture.control.state().adaptations, 4);
}

#[tokio::test]
async fn another_text_than_the_one_asked_about_is_adapted() {
    let mut fixture = serving().await;
    let (_, record) = app("shop", "node1", &site("shop"), json!({}));
    fixture.proxies.checker().would_accept(&fixture.view, &record).await.unwrap();
    let other = format!("{}\nhttp://more.test {{\n proxy / http://shop_web:81\n}}", site("shop"));
    fixture.add("shop", "node1", &other, json!({}));
    fixture.apply().await;
    assert_eq!(fixture.control.state().adaptations, 3);
    let loaded = fixture.control.state().loads.last().unwrap().to_string();
    assert!(loaded.contains("more.test"), "{loaded}");
}

#[tokio::test]
async fn what_caddy_refused_is_asked_again() {
    let mut fixture = serving().await;
    let (name, record) = app("shop", "node1", &site("shop"), json!({}));
    fixture.control.state().caddy_refuses = vec!["shop.test".to_owned()];
    fixture.proxies.checker().would_accept(&fixture.view, &record).await.unwrap_err();
    fixture.control.state().caddy_refuses.clear();
    fixture.view.apps.insert(name, Arc::new(record));
    let applied = fixture.apply().await;
    assert!(applied.problems.is_empty() && applied.caddy_loaded, "{applied:?}");
}
