//! Transactions: all of their operations or none.

use serde::{Deserialize, Serialize};

use super::base64;
use super::error::ConsulError;
use super::kv::{Entry, WireEntry};
use super::transport::Reply;

/// The most operations that Consul takes in a transaction.
pub const MAX_OPS: usize = 64;
/// The largest value in bytes that Consul stores.
pub const MAX_VALUE: usize = 512 * 1024;
/// The largest transaction in bytes, as JSON with its values in base64: about 390,000 bytes of value in all.
pub const MAX_BODY: usize = 512 * 1024;

const CALL: &str = "PUT txn";

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of every operation")]
pub enum TxnOp {
    /// Sets a key, whoever holds it; the holder stays, its lock index starts at 0 again.
    Set { key: String, value: Vec<u8> },
    /// As `Set` if the key's modify index is `index`; 0: if it doesn't exist.
    Cas { key: String, value: Vec<u8>, index: u64 },
    /// Deletes a key, which need not exist.
    Delete { key: String },
    /// Deletes all keys that begin with `prefix`.
    DeleteTree { prefix: String },
    /// Deletes a key whose modify index is `index`; one that is gone is fine.
    DeleteCas { key: String, index: u64 },
    /// Refuses all unless the key's modify index is `index`.
    CheckIndex { key: String, index: u64 },
    /// Refuses all unless the session holds the key.
    CheckSession { key: String, session: String },
    /// Refuses all if the key exists.
    CheckNotExists { key: String },
    /// Sets a key and holds it; refused if another session holds it or its lock-delay isn't over.
    Lock { key: String, value: Vec<u8>, session: String },
    /// Sets a key and lets go of it; refused unless the session holds it.
    Unlock { key: String, value: Vec<u8>, session: String },
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Txn {
    /// All of it was done. One entry per operation other than the deleting ones and `CheckNotExists`, in order; those
    /// of writing operations come without values.
    Committed(Vec<Entry>),
    /// Nothing was done: why, one text per operation that failed.
    Refused(Vec<String>),
}

impl TxnOp {
    fn to_wire(&self) -> WireOp<'_> {
        let (verb, key) = match self {
            Self::Set { key, .. } => ("set", key),
            Self::Cas { key, .. } => ("cas", key),
            Self::Delete { key } => ("delete", key),
            Self::DeleteTree { prefix } => ("delete-tree", prefix),
            Self::DeleteCas { key, .. } => ("delete-cas", key),
            Self::CheckIndex { key, .. } => ("check-index", key),
            Self::CheckSession { key, .. } => ("check-session", key),
            Self::CheckNotExists { key } => ("check-not-exists", key),
            Self::Lock { key, .. } => ("lock", key),
            Self::Unlock { key, .. } => ("unlock", key),
        };
        WireOp {
            verb,
            key,
            value: self.value().map(base64::encode),
            index: self.index(),
            session: self.session(),
        }
    }

    fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Set { value, .. }
            | Self::Cas { value, .. }
            | Self::Lock { value, .. }
            | Self::Unlock { value, .. } => Some(value),
            Self::Delete { .. }
            | Self::DeleteTree { .. }
            | Self::DeleteCas { .. }
            | Self::CheckIndex { .. }
            | Self::CheckSession { .. }
            | Self::CheckNotExists { .. } => None,
        }
    }

    fn index(&self) -> Option<u64> {
        match self {
            Self::Cas { index, .. }
            | Self::DeleteCas { index, .. }
            | Self::CheckIndex { index, .. } => Some(*index),
            Self::Set { .. }
            | Self::Delete { .. }
            | Self::DeleteTree { .. }
            | Self::CheckSession { .. }
            | Self::CheckNotExists { .. }
            | Self::Lock { .. }
            | Self::Unlock { .. } => None,
        }
    }

    fn session(&self) -> Option<&str> {
        match self {
            Self::CheckSession { session, .. }
            | Self::Lock { session, .. }
            | Self::Unlock { session, .. } => Some(session),
            Self::Set { .. }
            | Self::Cas { .. }
            | Self::Delete { .. }
            | Self::DeleteTree { .. }
            | Self::DeleteCas { .. }
            | Self::CheckIndex { .. }
            | Self::CheckNotExists { .. } => None,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WireOp<'a> {
    verb: &'a str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
}

#[derive(Serialize)]
struct WireRequest<'a> {
    #[serde(rename = "KV")]
    kv: WireOp<'a>,
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), ConsulError> {
    if size <= limit {
        return Ok(());
    }
    Err(ConsulError::TooLarge { call: CALL.to_owned(), what, size, limit })
}

/// Consul's limits, without the work of [`encode`] where it is clear that they are kept.
#[cfg(any(test, feature = "testing"))]
pub(super) fn check_size(ops: &[TxnOp]) -> Result<(), ConsulError> {
    let bytes: usize = ops.iter().filter_map(TxnOp::value).map(<[u8]>::len).sum();
    if ops.len() <= MAX_OPS && bytes < MAX_BODY / 2 {
        return Ok(());
    }
    encode(ops).map(drop)
}

/// The request's body, within Consul's limits.
pub(super) fn encode(ops: &[TxnOp]) -> Result<Vec<u8>, ConsulError> {
    within("operations", ops.len(), MAX_OPS)?;
    for value in ops.iter().filter_map(TxnOp::value) {
        within("a value in bytes", value.len(), MAX_VALUE)?;
    }
    let requests: Vec<_> = ops.iter().map(|op| WireRequest { kv: op.to_wire() }).collect();
    let body = serde_json::to_vec(&requests)
        .map_err(|error| ConsulError::argument(CALL, error.to_string()))?;
    within("a transaction in bytes", body.len(), MAX_BODY)?;
    Ok(body)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireReply {
    results: Option<Vec<WireResult>>,
    errors: Option<Vec<WireError>>,
}

#[derive(Deserialize)]
struct WireResult {
    #[serde(rename = "KV")]
    kv: WireEntry,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireError {
    what: String,
}

/// The outcome; status 409 is a refusal and no error.
pub(super) fn decode(reply: Reply) -> Result<Txn, ConsulError> {
    if reply.status == 409 {
        let wire: WireReply = reply.json()?;
        let errors = wire.errors.unwrap_or_default();
        return Ok(Txn::Refused(errors.into_iter().map(|e| e.what).collect()));
    }
    let reply = reply.success()?;
    let wire: WireReply = reply.json()?;
    wire.results
        .unwrap_or_default()
        .into_iter()
        .map(|result| result.kv.decode(reply.call()))
        .collect::<Result<_, _>>()
        .map(Txn::Committed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(bytes: usize) -> TxnOp {
        TxnOp::Set { key: "k".into(), value: vec![0; bytes] }
    }

    #[test]
    fn operations_are_encoded_as_consul_reads_them() {
        let ops = [
            TxnOp::Lock { key: "a".into(), value: b"x".to_vec(), session: "s".into() },
            TxnOp::Cas { key: "b".into(), value: vec![], index: 0 },
            TxnOp::DeleteTree { prefix: "c/".into() },
        ];
        assert_eq!(
            String::from_utf8(encode(&ops).unwrap()).unwrap(),
            concat!(
                r#"[{"KV":{"Verb":"lock","Key":"a","Value":"eA==","Session":"s"}},"#,
                r#"{"KV":{"Verb":"cas","Key":"b","Value":"","Index":0}},"#,
                r#"{"KV":{"Verb":"delete-tree","Key":"c/"}}]"#
            )
        );
    }

    #[test]
    fn limits_are_refused_before_sending() {
        assert!(encode(&vec![set(0); MAX_OPS]).is_ok());
        assert!(encode(&[set(390_000)]).is_ok());
        for ops in [vec![set(0); MAX_OPS + 1], vec![set(MAX_VALUE + 1)], vec![set(400_000)]] {
            let error = encode(&ops).unwrap_err();
            assert!(matches!(error, ConsulError::TooLarge { .. }), "{error}");
        }
    }
}
