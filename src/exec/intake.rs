//! Facts for the planner, and the record of what could not be understood.

use std::collections::{BTreeMap, BTreeSet};

use super::context::{Context, now};
use super::error::ExecError;
use super::nodes::node_facts;
use crate::consul::kv::Kv;
use crate::consul::txn::TxnOp;
use crate::event::RawEvent;
use crate::model::{AppName, AppRecord, NodeName, Request, keys};
use crate::plan::Facts;
use crate::records::{self, Failing, ReadError, RecordError, Rejection, Stored, encode, name_of};
use crate::replication::ReplicaState;

/// Rejections kept, all events together.
const REJECTIONS_KEPT: usize = 50;
/// How much of a wrong payload is shown.
const EXCERPT: usize = 200;

/// What an agent finds amiss on its node beside the proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is left to an operator, one line each.
    pub problems: Vec<String>,
    /// As [`NodeInfo::strays`](crate::records::NodeInfo::strays).
    pub strays: BTreeMap<AppName, String>,
}

/// What a node says of its proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyReport {
    /// What they left out, one line each.
    pub problems: Vec<String>,
    /// That they do not have what they should have.
    pub failing: Option<Failing>,
}

/// Gathers the facts that a plan for a request is made from. Reads only.
pub async fn gather(ctx: &Context, request: &Request) -> Result<Facts, ExecError> {
    let (kv, app) = (ctx.cluster.kv.as_ref(), request.app().name());
    let nodes = node_facts(kv, ctx.cluster.catalog.as_ref(), Some(&app)).await?;
    let mut facts = Facts { nodes, ..Facts::default() };
    let source = match request.source() {
        Some(source) => entry_of(kv, &source.name()).await?,
        None => Ok(None),
    };
    match (entry_of(kv, &app).await?, source) {
        (Ok(app), Ok(source)) => (facts.app, facts.source) = (app, source),
        (Err(error), _) | (_, Err(error)) => facts.unreadable = Some(error),
    }
    if request.is_from_replica() {
        let told = records::list::<ReplicaState>(kv).await?;
        facts.copies = holders(told.found, &app, facts.app.as_ref());
        let is_of_app = |error: &RecordError| {
            name_of::<ReplicaState>(error.key()).is_some_and(|(of, _)| of == app)
        };
        let master = request.master();
        if master.is_none_or(|master| !facts.copies.contains(master))
            && let Some(error) = told.unreadable.into_iter().find(is_of_app)
        {
            return Err(error.into());
        }
    }
    Ok(facts)
}

/// The nodes that have told of verified copies of all the app's volumes.
fn holders(
    told: Vec<Stored<ReplicaState>>,
    app: &AppName,
    entry: Option<&AppRecord>,
) -> BTreeSet<NodeName> {
    let volumes = entry.map(|entry| entry.volumes.as_slice()).unwrap_or_default();
    let holder = |told: Stored<ReplicaState>| {
        let (of, node) = told.name;
        let has = |volume: &String| told.value.volumes.get(volume).is_some_and(Option::is_some);
        (of == *app && !volumes.is_empty() && volumes.iter().all(has)).then_some(node)
    };
    told.into_iter().filter_map(holder).collect()
}

/// An app's entry, or why it can't be read.
async fn entry_of(
    kv: &dyn Kv,
    app: &AppName,
) -> Result<Result<Option<AppRecord>, String>, ExecError> {
    match records::read::<AppRecord>(kv, &keys::app(app)).await {
        Ok(found) => Ok(Ok(found.map(|found| found.value))),
        Err(ReadError::Record(RecordError::Unreadable { source, .. })) => {
            Ok(Err(source.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes a rejection down where the sender can see it; the first node that does so wins.
pub async fn reject(ctx: &Context, event: &RawEvent, reason: String) -> Result<(), ExecError> {
    let excerpt: String = String::from_utf8_lossy(&event.payload)
        .chars()
        .take(EXCERPT)
        .flat_map(char::escape_default)
        .collect();
    let rejection = Rejection {
        event: event.name.chars().take(EXCERPT).flat_map(char::escape_default).collect(),
        reason,
        payload: excerpt,
        node: ctx.me.clone(),
        at: now(),
    };
    let key = keys::rejected(&event.id);
    let op = TxnOp::Cas { key, value: encode(&rejection), index: 0 };
    ctx.cluster.kv.transact(vec![op]).await?;
    prune_rejections(ctx).await
}

async fn prune_rejections(ctx: &Context) -> Result<(), ExecError> {
    let mut entries = ctx.cluster.kv.list(keys::REJECTED).await?.entries;
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.create_index));
    for entry in entries.into_iter().skip(REJECTIONS_KEPT) {
        let op = TxnOp::DeleteCas { key: entry.key, index: entry.modify_index };
        ctx.cluster.kv.transact(vec![op]).await?;
    }
    Ok(())
}
