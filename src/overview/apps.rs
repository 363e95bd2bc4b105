//! The apps that serve.

use std::collections::BTreeMap;

use super::Replica;
use crate::consul::ConsulError;
use crate::consul::health::Health;
use crate::consul::kv::Kv;
use crate::model::{AppName, AppRecord, HandOver, keys};
use crate::records::{Queue, name_of};

/// An app that serves.
#[derive(Debug, Clone)]
pub struct App {
    /// Its entry: pair, addresses, the deployment that serves.
    pub record: AppRecord,
    /// What runs and what waits, if anybody has deployed it since it was taken over.
    pub queue: Option<Queue>,
    /// How its checks stand; none: it has none.
    pub health: Option<Health>,
    /// Why it is under maintenance, if it is.
    pub maintenance: Option<Maintenance>,
    /// How its replica stands, if it has a slave and volumes.
    pub replica: Option<Replica>,
}

/// Who has put an app under maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintenance {
    /// A deployment, which hands it over.
    Deployment,
    /// An operator.
    Operator,
    /// A key without a value, as the older system may have left it.
    Unsaid,
}

/// The apps under maintenance.
pub(super) async fn maintenance(
    kv: &dyn Kv,
) -> Result<BTreeMap<AppName, Maintenance>, ConsulError> {
    let entries = kv.list(keys::MAINTENANCE).await?.entries.into_iter();
    let named = entries.filter_map(|entry| {
        let why = match entry.value.as_slice() {
            [] => Maintenance::Unsaid,
            value if HandOver::is(value) => Maintenance::Deployment,
            _ => Maintenance::Operator,
        };
        Some((name_of::<HandOver>(&entry.key)?, why))
    });
    Ok(named.collect())
}

/// Puts together what is known of each.
pub(super) fn all(
    records: BTreeMap<AppName, AppRecord>,
    mut queues: BTreeMap<AppName, Queue>,
    mut replicas: BTreeMap<AppName, Replica>,
    maintenance: &BTreeMap<AppName, Maintenance>,
    health: &BTreeMap<String, Health>,
) -> BTreeMap<AppName, App> {
    let app = |(name, record): (AppName, AppRecord)| {
        let app = App {
            record,
            queue: queues.remove(&name),
            health: health.get(name.as_str()).copied(),
            maintenance: maintenance.get(&name).copied(),
            replica: replicas.remove(&name),
        };
        (name, app)
    };
    records.into_iter().map(app).collect()
}
