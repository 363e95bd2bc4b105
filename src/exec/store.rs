//! Deployment records in KV: every change is a check-and-set against what was read.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ExecError;
use super::owed;
use crate::consul::kv::{Entry, Kv};
use crate::consul::txn::{Txn, TxnOp};
use crate::model::deployment::{Deployment, FORMAT, Illegal};
use crate::model::{AppName, DeployId, keys};

/// How often a contended check-and-set is tried: a record has at most a handful of writers.
const TRIES: u32 = 20;

/// A value with the index that a check-and-set needs.
#[derive(Debug, Clone)]
pub(super) struct Versioned<T> {
    pub(super) value: T,
    pub(super) index: u64,
}

/// Reads a JSON value; none if the key does not exist.
pub(super) async fn read<T: DeserializeOwned>(
    kv: &dyn Kv,
    key: &str,
) -> Result<Option<Versioned<T>>, ExecError> {
    kv.get(key).await?.map(|entry| decode(&entry)).transpose()
}

/// Decodes an entry's JSON value.
pub(super) fn decode<T: DeserializeOwned>(entry: &Entry) -> Result<Versioned<T>, ExecError> {
    let value = serde_json::from_slice(&entry.value)
        .map_err(|source| ExecError::Unreadable { key: entry.key.clone(), source })?;
    Ok(Versioned { value, index: entry.modify_index })
}

/// A value's JSON; the types stored here always have one.
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// Reads a deployment's record.
pub(super) async fn load(
    kv: &dyn Kv,
    app: &AppName,
    id: &DeployId,
) -> Result<Versioned<Deployment>, ExecError> {
    let key = keys::deployment(app, id);
    let found: Versioned<Deployment> = read(kv, &key).await?.ok_or(ExecError::Gone(key.clone()))?;
    if found.value.format > FORMAT {
        return Err(ExecError::Newer(key, found.value.format));
    }
    Ok(found)
}

/// Changes a record by check-and-set, reading it anew as long as others are faster. What a node comes to owe is noted
/// for it in the same transaction.
pub(super) async fn update(
    kv: &dyn Kv,
    app: &AppName,
    id: &DeployId,
    change: impl Fn(&mut Deployment) -> Result<(), Illegal>,
) -> Result<Deployment, ExecError> {
    let key = keys::deployment(app, id);
    for _ in 0..TRIES {
        let Versioned { mut value, index } = load(kv, app, id).await?;
        let before = owed::debts(&value);
        change(&mut value)?;
        let mut ops = vec![TxnOp::Cas { key: key.clone(), value: encode(&value), index }];
        ops.extend(owed::notes(app, &value, &before));
        if let Txn::Committed(_) = kv.transact(ops).await? {
            return Ok(value);
        }
    }
    Err(ExecError::Contended(key, TRIES))
}
