//! Says what a slave has: in KV under `tandem/replicas/`, and as a check of its own in Consul.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use tracing::{info, warn};

use super::duty::{Duties, Duty};
use super::lines::AllLines;
use super::looker::Surveys;
use crate::clock;
use crate::consul::ConsulError;
use crate::consul::catalog::Report;
use crate::consul::kv::Kv;
use crate::consul::txn::TxnOp;
use crate::exec::Context;
use crate::model::{AppName, NodeName, Role, keys};
use crate::records::{RecordError, encode, list, name_of};
use crate::replication::{Lines, ReplicaState, Standing};

/// The service that the checks of all replicas belong to.
const SERVICE: &str = "tandem-replica";
/// How many intervals the agent's word holds, beside the time that a look may take.
const INTERVALS: u32 = 5;
const LOOK: Duration = Duration::from_secs(60);

/// What the slaves have published; none for what can't be read.
pub(super) type Published = BTreeMap<(AppName, NodeName), Option<ReplicaState>>;

/// What the agents have told each other in KV.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) published: Published,
    pub(super) lines: AllLines,
    /// The apps of which something that counts here can't be read: nothing new is said of them, and nothing let go.
    pub(super) unseen: BTreeSet<AppName>,
}

impl Said {
    /// Reads it, for a node. Its own word that can't be read is said anew, unless a newer agent of it has said it.
    pub(super) async fn read(kv: &dyn Kv, me: &NodeName) -> Result<Self, ConsulError> {
        let (told, lines) = (list::<ReplicaState>(kv).await?, list::<Lines>(kv).await?);
        let mut unseen: BTreeSet<AppName> =
            lines.unreadable.iter().filter_map(|error| name_of::<Lines>(error.key())).collect();
        let mut published: Published =
            told.found.into_iter().map(|told| (told.name, Some(told.value))).collect();
        for error in told.unreadable {
            let Some((app, node)) = name_of::<ReplicaState>(error.key()) else { continue };
            if node == *me && matches!(error, RecordError::Newer { .. }) {
                unseen.insert(app.clone());
            }
            published.insert((app, node), None);
        }
        let lines = lines.found.into_iter();
        let lines = lines.map(|stored| (stored.name, (stored.value, stored.index))).collect();
        Ok(Self { published, lines, unseen })
    }

    pub(super) fn lines_of(&self, app: &AppName) -> Lines {
        self.lines.get(app).map(|(lines, _)| lines.clone()).unwrap_or_default()
    }
}

pub(super) struct Publisher {
    ctx: Arc<Context>,
    /// The checks that this agent has registered since it started, as its settings are now.
    registered: BTreeSet<String>,
}

impl Publisher {
    pub(super) fn new(ctx: Arc<Context>) -> Self {
        Self { ctx, registered: BTreeSet::new() }
    }

    /// Publishes what this node has as a slave, and takes back what it said where it is none any more.
    pub(super) async fn publish(
        &mut self,
        duties: &Duties,
        surveys: &Surveys,
        said: &Said,
    ) -> Result<(), ConsulError> {
        let me = self.ctx.me.clone();
        let mut own: BTreeMap<_, _> =
            said.published.iter().filter(|((_, node), _)| *node == me).collect();
        let left: BTreeSet<_> = duties.unreadable.iter().chain(&said.unseen).collect();
        own.retain(|(app, _), _| !left.contains(app));
        let mut reports: BTreeSet<String> = left.iter().map(|app| report_id(app)).collect();
        let replicas = duties.own.iter().filter(|duty| duty.role == Role::Replica);
        for duty in replicas.filter(|duty| !left.contains(&duty.app)) {
            let before = own.remove(&(duty.app.clone(), me.clone())).and_then(Option::as_ref);
            let state = self.state(duty, surveys, &said.lines_of(&duty.app), before);
            if before != Some(&state) {
                self.put(&duty.app, &state).await?;
            }
            reports.insert(self.report(&duty.app, &state).await?);
        }
        for (app, node) in own.into_keys() {
            self.ctx.cluster.kv.delete(&keys::replica(app, node)).await?;
        }
        self.retire(&reports).await
    }

    fn state(
        &self,
        duty: &Duty,
        surveys: &Surveys,
        lines: &Lines,
        before: Option<&ReplicaState>,
    ) -> ReplicaState {
        let now = clock::now();
        let volumes = duty.record.volumes.iter();
        let volumes = volumes.map(|volume| (volume.clone(), surveys.get(volume))).collect();
        let begun = || ReplicaState::new(deployed_at(&duty.record.deploy_date).unwrap_or(now));
        let before = before.cloned().unwrap_or_else(begun);
        before.next(&volumes, lines, self.ctx.config.volumes.replicate_minutes, now)
    }

    async fn put(&self, app: &AppName, state: &ReplicaState) -> Result<(), ConsulError> {
        let value = encode(state);
        let set = TxnOp::Set { key: keys::replica(app, &self.ctx.me), value };
        self.ctx.cluster.kv.transact(vec![set]).await.map(drop)
    }

    /// Renews the app's check, and returns its id.
    async fn report(&mut self, app: &AppName, state: &ReplicaState) -> Result<String, ConsulError> {
        let now = clock::now();
        let report = Report {
            id: report_id(app),
            service: SERVICE.to_owned(),
            name: format!("replica of {app}"),
            ttl: self.ctx.config.volumes.replica_interval * INTERVALS + LOOK,
            well: state.worst(now) != Standing::Late,
            text: state.describe(now),
        };
        if !report.well {
            warn!(%app, why = report.text, "the replica is late");
        }
        let catalog = &self.ctx.cluster.catalog;
        if !self.registered.contains(&report.id) || !catalog.renew_report(&report).await? {
            catalog.register_report(&report).await?;
            self.registered.insert(report.id.clone());
        }
        Ok(report.id)
    }

    /// Removes the checks of replicas that this node no longer has.
    async fn retire(&mut self, reports: &BTreeSet<String>) -> Result<(), ConsulError> {
        let catalog = &self.ctx.cluster.catalog;
        for (id, service) in catalog.services().await? {
            if service.name == SERVICE && !reports.contains(&id) {
                catalog.deregister_service(&id).await?;
                self.registered.remove(&id);
                info!(id, "no replica here any more");
            }
        }
        Ok(())
    }
}

fn report_id(app: &AppName) -> String {
    format!("{SERVICE}-{}", app.project())
}

/// When an app was deployed, as its entry says.
pub(super) fn deployed_at(text: &str) -> Option<DateTime<Utc>> {
    let parsed = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H%M%S%.f");
    parsed.ok().map(|time| time.and_utc())
}
