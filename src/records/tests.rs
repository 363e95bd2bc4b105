use super::*;
use crate::consul::memory::MemoryConsul;
use crate::model::deployment::Deployment;
use crate::model::{AppName, AppRecord, HandOver, NodeName, Routing, keys};
use crate::proxy::certificates::Published;
use crate::replication::{ReplicaState, Stalled};

fn entry(key: &str, value: &str) -> Entry {
    Entry {
        key: key.to_owned(),
        value: value.into(),
        create_index: 1,
        modify_index: 7,
        lock_index: 0,
        session: None,
    }
}

/// What a build wrote can be read, and is written as it was.
fn sample<T: Record>(key: &str, text: &str) -> T::Name {
    let value: T = decode(&entry(key, text)).unwrap_or_else(|error| {
        panic!("{key}: {}", crate::error::chain(&error));
    });
    let written: serde_json::Value = serde_json::from_slice(&encode(&value)).unwrap();
    let read: serde_json::Value = serde_json::from_str(text).unwrap();
    for (field, value) in read.as_object().unwrap() {
        assert_eq!(written.get(field), Some(value), "{key}: {field}");
    }
    name_of::<T>(key).unwrap_or_else(|| panic!("{key} is no key of its type"))
}

/// Samples of the build that formats began with; they are never changed.
#[test]
fn what_an_earlier_build_wrote_is_read() {
    let app = AppName::parse("shop_feature/x.12345").unwrap();
    let node = NodeName::parse("node1").unwrap();
    let text = include_str!("samples/app.json");
    assert_eq!(sample::<AppRecord>("app/shop_feature/x.12345", text), app);
    assert_eq!(sample::<Asked>("tandem/claims/shop_feature/x.12345", text), app);
    let text = include_str!("samples/queue.json");
    assert_eq!(sample::<Queue>("tandem/apps/shop_feature/x.12345", text), app);
    let text = include_str!("samples/deployment.json");
    let key = "tandem/deployments/shop_feature/x.12345/5b5d0a2c-3f2e-4a4f-9f3e-0d5f7a1b2c3d";
    assert_eq!(sample::<Deployment>(key, text).0, app);
    let key = "tandem/owed/node1/shop_feature/x.12345/5b5d0a2c-3f2e-4a4f-9f3e-0d5f7a1b2c3d";
    let debt = sample::<Owed>(key, text);
    assert_eq!((debt.node, debt.app), (node.clone(), app.clone()));
    let text = include_str!("samples/node.json");
    assert_eq!(sample::<NodeInfo>("tandem/nodes/node1", text), node);
    let text = include_str!("samples/replica.json");
    let key = "tandem/replicas/shop_feature/x.12345/node1";
    assert_eq!(sample::<ReplicaState>(key, text), (app.clone(), node.clone()));
    let text = include_str!("samples/stalled.json");
    let key = "tandem/stalled/shop_feature/x.12345/node1";
    assert_eq!(sample::<Stalled>(key, text), (app.clone(), node));
    let text = include_str!("samples/lease.json");
    assert_eq!(sample::<LeaseInfo>("tandem/leases/shop_feature/x.12345", text), app);
    let text = include_str!("samples/project.json");
    sample::<Claim>("tandem/projects/shopfeaturex12345", text);
    let text = include_str!("samples/rejection.json");
    sample::<Rejection>("tandem/rejected/5b5d0a2c-3f2e-4a4f-9f3e-0d5f7a1b2c3d", text);
    let text = include_str!("samples/certificate.json");
    let host = sample::<Published>("tandem/certificates/wildcard_.shop.test", text);
    assert_eq!(host.as_str(), "*.shop.test");
    let text = r#"{"deploy_id": "5b5d0a2c-3f2e-4a4f-9f3e-0d5f7a1b2c3d"}"#;
    assert_eq!(sample::<HandOver>("maintenance/shop_feature/x.12345", text), app);
    let text = r#"{"deploy_id": "5b5d0a2c-3f2e-4a4f-9f3e-0d5f7a1b2c3d", "is_gone": false}"#;
    assert_eq!(sample::<Routing>("tandem/routing/shop_feature/x.12345", text), app);
}

#[test]
fn a_newer_format_is_told_and_nothing_else_is_made_of_it() {
    let key = "tandem/apps/shop_main.12345";
    let newer = entry(key, r#"{"format": 2, "epoch": 1, "running": null, "waiting": null}"#);
    let error = decode::<Queue>(&newer).unwrap_err();
    assert!(matches!(error, RecordError::Newer { format: 2, .. }), "{error}");
    assert!(error.to_string().starts_with(key), "{error}");
    // Its shape may be another one altogether.
    let other = decode::<Queue>(&entry(key, r#"{"format": 3, "lanes": []}"#)).unwrap_err();
    assert!(matches!(other, RecordError::Newer { format: 3, .. }), "{other}");
    // Apps' entries have other writers, whose keys mean nothing here.
    let shared = r#"{"format": 9, "deploy_id": "x"}"#;
    assert!(decode::<HandOver>(&entry("maintenance/a_b.12345", shared)).is_ok());
}

#[tokio::test]
async fn what_can_not_be_read_is_told_apart_and_hides_nothing() {
    let consul = MemoryConsul::new();
    let good = encode(&Queue { epoch: 3, ..Queue::default() });
    for (key, value) in [
        ("tandem/apps/shop_main.12345", good.as_slice()),
        ("tandem/apps/shop_other.12345", b"{".as_slice()),
        ("tandem/apps/not an app", good.as_slice()),
    ] {
        let kv: &dyn Kv = &consul;
        kv.put_cas(key, value.to_vec(), 0).await.unwrap();
    }
    let listed = list::<Queue>(&consul).await.unwrap();
    let found: Vec<_> =
        listed.found.iter().map(|queue| (queue.name.as_str(), queue.value.epoch)).collect();
    assert_eq!(found, [("shop_main.12345", 3)]);
    assert_eq!(listed.unreadable.len(), 1);
    let key = keys::queue(&AppName::parse("shop_other.12345").unwrap());
    assert!(listed.unreadable[0].to_string().starts_with(&key));
    assert!(read::<Queue>(&consul, &key).await.is_err());
    assert!(read::<Queue>(&consul, "tandem/apps/gone_main.12345").await.unwrap().is_none());
}

#[tokio::test]
async fn a_change_is_tried_again_while_others_are_faster_and_not_for_ever() {
    let consul = MemoryConsul::new();
    let kv: &dyn Kv = &consul;
    let key = "tandem/apps/shop_main.12345";
    let raise = |queue: Option<Queue>| {
        let queue = queue.unwrap_or_default();
        (queue.epoch < 3).then(|| Queue { epoch: queue.epoch + 1, ..queue })
    };
    for epoch in [1, 2, 3, 3] {
        update::<Queue, Failed>(kv, key, raise).await.unwrap();
        assert_eq!(read::<Queue>(kv, key).await.unwrap().unwrap().value.epoch, epoch);
    }
    // What can't be read is not written over.
    let newer = br#"{"format":2}"#.to_vec();
    let index = kv.get(key).await.unwrap().unwrap().modify_index;
    kv.put_cas(key, newer.clone(), index).await.unwrap().unwrap();
    let told = update::<Queue, Failed>(kv, key, raise).await.unwrap_err();
    assert!(told.0.contains("has format 2"), "{}", told.0);
    assert_eq!(kv.get(key).await.unwrap().unwrap().value, newer);
    // Somebody is always faster.
    let tries = std::cell::Cell::new(0);
    let never: Result<(), Failed> = contend(key, |before| {
        assert_eq!(before, tries.replace(before + 1));
        async { Ok(None) }
    })
    .await;
    assert!(never.unwrap_err().0.contains("gave up after 20 tries") && tries.get() == 20);
}

#[derive(Debug)]
struct Failed(String);

impl From<ReadError> for Failed {
    fn from(error: ReadError) -> Self {
        Self(error.to_string())
    }
}

impl From<Contended> for Failed {
    fn from(error: Contended) -> Self {
        Self(error.to_string())
    }
}
