//! Transactions in words.

use tandem::consul::ConsulError;
use tandem::consul::txn::{Txn, TxnOp};
use tandem::model::deployment::Deployment;
use tandem::model::keys;

use crate::apps::mark;
use crate::kv;
use crate::world::World;

pub(crate) fn ops(world: &World, ops: &[TxnOp]) -> String {
    ops.iter().map(|op| told(world, op)).collect::<Vec<_>>().join(", ")
}

fn told(world: &World, op: &TxnOp) -> String {
    match op {
        TxnOp::Set { key, value } => format!("set {key}{}", value_of(world, key, value)),
        TxnOp::Cas { key, value, .. } => format!("cas {key}{}", value_of(world, key, value)),
        TxnOp::Delete { key } => format!("delete {key}"),
        TxnOp::DeleteTree { prefix } => format!("delete-tree {prefix}"),
        TxnOp::DeleteCas { key, .. } => format!("delete-cas {key}"),
        TxnOp::CheckIndex { key, .. } => format!("if {key} is as read"),
        TxnOp::CheckSession { key, .. } => format!("if {key} is still held"),
        TxnOp::CheckNotExists { key } => format!("unless {key} exists"),
        TxnOp::Lock { key, .. } => format!("lock {key}"),
        TxnOp::Unlock { key, .. } => format!("unlock {key}"),
    }
}

fn value_of(world: &World, key: &str, value: &[u8]) -> String {
    if key.starts_with(keys::DEPLOYMENTS) {
        return serde_json::from_slice(value)
            .map_or_else(|error| format!(" {error}"), |record| changes(world, key, &record));
    }
    if key.starts_with(keys::QUEUES) || key.starts_with(keys::MAINTENANCE) {
        return format!(" {}", String::from_utf8_lossy(value));
    }
    String::new()
}

/// What a record says that it did not say before.
fn changes(world: &World, key: &str, record: &Deployment) -> String {
    let before: Option<Deployment> = kv::read(&world.consul, key);
    let mut told = vec![format!(" {}:", mark(&record.id))];
    if before.as_ref().map(|before| before.state) != Some(record.state) {
        let reason = record.reason.as_deref().map(|why| format!(" ({why})"));
        told.push(format!("{}{}", record.state, reason.unwrap_or_default()));
    }
    for (index, step) in record.steps.iter().enumerate() {
        let former = before.as_ref().and_then(|before| before.steps.get(index));
        if former.is_none_or(|former| former.status == step.status) {
            continue;
        }
        let error = step.error.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
        told.push(format!(
            "[{} {} on {}] {}{error}",
            step.stage, step.step, step.node, step.status
        ));
    }
    let known = before.as_ref().map_or(0, |before| before.warnings.len());
    told.extend(record.warnings.iter().skip(known).map(|warning| format!("warning: {warning}")));
    if told.len() == 1 {
        told.push("nothing new".to_owned());
    }
    told.join(" ")
}

pub(crate) fn outcome(result: &Result<Txn, ConsulError>) -> String {
    match result {
        Ok(Txn::Committed(_)) => String::new(),
        Ok(Txn::Refused(why)) => format!(" REFUSED: {}", why.join("; ")),
        Err(error) => format!(" FAILED: {error}"),
    }
}
