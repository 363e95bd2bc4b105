//! What the nodes of the pair have to have, or have already, and what others ask for at the same time: known before
//! anything is stopped.

use super::apps::{app, deploy, id, node};
use super::lab::Lab;
use crate::consul::kv::Kv;
use crate::consul::txn::TxnOp;
use crate::exec::claims;
use crate::model::deployment::State;
use crate::model::{AppName, AppRecord, Port, keys};

const WEB: &str = r#"
services:
  web:
    image: "registry:5000/db:1"
    networks: [cluster_default, other]
    ports: [{target: 80, published: "8080"}]
networks: {cluster_default: {external: true}, other: {external: true}}
"#;

/// The reason for which a version is refused; nothing of it is left.
async fn refused(lab: &Lab, number: u32) -> String {
    assert_eq!(lab.run(&id(number), &deploy(Some(2))).await, State::Refused);
    assert_eq!(lab.value(&keys::claims(&lab.app)).await, None);
    lab.record(&id(number)).await.reason.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_up_would_stumble_over_is_refused_by_the_check() {
    let lab = Lab::new().await;
    lab.push("web", WEB);
    lab.node(1).fakes.machine.state().missing_networks.insert("other".to_owned());
    let reason = refused(&lab, 1).await;
    assert!(reason.contains("the external network other is not on node1"), "{reason}");
    lab.node(1).fakes.machine.state().missing_networks.clear();
    let port = Port::tcp(8080);
    let info = serde_json::json!({
        "version": "1", "address": "10.77.0.2", "since": "", "room": {
            "epoch": 1, "at": "", "disk": {"free": 1, "total": 1}, "memory": {"free": 1, "total": 1},
            "listening": [port],
        },
    });
    let key = keys::node(&node(2));
    let session = lab.node(2).session();
    let lock = TxnOp::Lock { key, value: info.to_string().into_bytes(), session };
    lab.consul.transact(vec![lock]).await.unwrap();
    let reason = refused(&lab, 2).await;
    assert!(
        reason.contains("service web: the port 8080/tcp is taken: something on node2"),
        "{reason}"
    );
    lab.node(1).fakes.resources.listen(port);
    let reason = refused(&lab, 3).await;
    assert!(
        reason.contains("service web: the port 8080/tcp is taken: something on node1"),
        "{reason}"
    );
}

/// Compose looks at Docker's version when it makes the container: the former version would not run any more.
#[tokio::test(start_paused = true)]
async fn what_the_nodes_docker_is_too_old_for_is_refused_by_the_check() {
    let lab = Lab::new().await;
    let check = "\n    healthcheck: {test: [CMD, \"true\"], start_interval: 1s}";
    lab.push("web", &WEB.replace("other]", &format!("other]{check}")));
    let reason = refused(&lab, 1).await;
    assert!(reason.contains("service web: the Docker on node1 is too old for"), "{reason}");
}

/// Docker makes no container without the file of a secret.
#[tokio::test(start_paused = true)]
async fn a_secret_whose_file_nobody_has_is_refused_by_the_check() {
    let lab = Lab::new().await;
    let web = WEB.replace("other]", "other]\n    secrets: [{source: key}]")
        + "secrets: {key: {file: /no/such/key.txt}}\n";
    lab.push("web", &web);
    let reason = refused(&lab, 1).await;
    let expected = "there is no file /no/such/key.txt on node1 (the secret key)";
    assert!(reason.contains(expected), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn of_two_on_their_way_at_once_the_one_that_was_noted_first_has_what_both_want() {
    let lab = Lab::new().await;
    lab.accept(&id(1), &deploy(None)).await;
    let context = lab.node(1).context();
    let entry = |id: &str| -> AppRecord {
        serde_json::from_value(serde_json::json!({
            "repo_url": app().repo.as_str(), "branch": "main", "deploy_id": id, "master": "node1",
            "caddyfile": "x", "claims": {"volumes": ["shop-data"]},
        }))
        .unwrap()
    };
    let first = claims::announce(&context, &lab.app, &entry(id(1).as_str())).await.unwrap();
    assert!(first.is_empty());
    let other = AppName::parse("other_main.11111").unwrap();
    let second = claims::announce(&context, &other, &entry("2")).await.unwrap();
    assert_eq!(second.len(), 1);
    let (name, asked) = &second[0];
    assert_eq!((name, asked.caddyfile.as_str()), (&lab.app, ""));
    assert!(asked.claims.volumes.contains("shop-data"));
    // The first one looks again: what came after it is none of its business.
    assert!(claims::announce(&context, &lab.app, &entry(id(1).as_str())).await.unwrap().is_empty());
    // A note that nothing runs for counts for nobody.
    let third = AppName::parse("third_main.11111").unwrap();
    let seen = claims::announce(&context, &third, &entry("3")).await.unwrap();
    assert_eq!(seen.iter().map(|(name, _)| name).collect::<Vec<_>>(), [&lab.app]);
}
