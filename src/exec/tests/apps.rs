//! The app of the tests in its versions, and events about it.

use crate::model::{AppId, Branch, DeployId, NodeName, Repo, Request};

/// One built and one pulled image, a BTRFS and a local volume.
pub(super) const V1: &str = r#"
services:
  web:
    build: {context: .}
    restart: always
    networks: [cluster_default]
    environment: {CADDYFILE: "http://hello.example {\n proxy / http://$$CONTAINER:80\n}"}
  db: {image: "registry:5000/db:1", restart: unless-stopped}
networks: {cluster_default: {external: true}}
volumes:
  data: {driver: "anybox/buttervolume:latest"}
  scratch: {}
"#;

/// With one more service and one more volume of each kind.
pub(super) const V2: &str = r#"
services:
  web:
    build: {context: .}
    restart: always
    networks: [cluster_default]
    environment: {CADDYFILE: "http://hello.example {\n proxy / http://$$CONTAINER:80\n}"}
  db: {image: "registry:5000/db:1", restart: unless-stopped}
  worker: {build: {context: worker}, restart: unless-stopped}
networks: {cluster_default: {external: true}}
volumes:
  data: {driver: "anybox/buttervolume:latest"}
  extra: {driver: "anybox/buttervolume:latest"}
  scratch: {}
  cache: {}
"#;

pub(super) fn app() -> AppId {
    AppId {
        repo: Repo::parse("https://git.example/hello").unwrap(),
        branch: Branch::parse("main").unwrap(),
    }
}

pub(super) fn node(number: usize) -> NodeName {
    NodeName::parse(&format!("node{number}")).unwrap()
}

/// The id of the nth event.
pub(super) fn id(number: u32) -> DeployId {
    DeployId::parse(&format!("00000000-0000-4000-8000-{number:012}")).unwrap()
}

/// A deploy on node1.
pub(super) fn deploy(replica: Option<usize>) -> Request {
    to(1, replica)
}

/// A deploy on another pair.
pub(super) fn to(master: usize, replica: Option<usize>) -> Request {
    let (master, replica) = (Some(node(master)), replica.map(node).into());
    Request::Deploy { app: app(), master, replica, update: false, from_replica: false }
}

/// A deploy on node1 and node2 with `update.sh`.
pub(super) fn update() -> Request {
    Request::Deploy {
        app: app(),
        master: Some(node(1)),
        replica: Some(node(2)).into(),
        update: true,
        from_replica: false,
    }
}

pub(super) fn destroy() -> Request {
    Request::Destroy { app: app() }
}
