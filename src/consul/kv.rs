//! The key-value store: reading, waiting for changes, and writing by transactions alone.

mod changes;

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;

use super::transport::{Call, Reply};
use super::txn::{self, Txn, TxnOp};
use super::{Client, ConsulError, base64};

pub use changes::{Changes, IsKnown, Seen, read_changes};

/// A key's value and its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The whole key.
    pub key: String,
    /// The value, as bytes.
    pub value: Vec<u8>,
    /// The index at which the key came to be.
    pub create_index: u64,
    /// The index of its last change, for check-and-set. Writing the same value again is no change.
    pub modify_index: u64,
    /// How many times it was locked since it was last set by other means: a plain set or check-and-set, even by the
    /// holder, starts it at 0 again, so it is no epoch unless the key is written by `Lock` and `Unlock` alone.
    pub lock_index: u64,
    /// The session that holds it.
    pub session: Option<String>,
}

/// The entries below a prefix, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// What to wait from. It can go backwards (a restored snapshot, reaped tombstones): see [`super::watcher::Watcher`].
    pub index: u64,
    /// The entries, none for a prefix that has none.
    pub entries: Vec<Entry>,
}

/// Consul's KV store. Keys and prefixes are plain text: encoding is the implementation's matter.
#[async_trait]
pub trait Kv: Send + Sync {
    /// Reads one key, never stale.
    ///
    /// # Errors
    /// Any of [`ConsulError`]; a missing key is none.
    async fn get(&self, key: &str) -> Result<Option<Entry>, ConsulError>;

    /// Reads all keys that begin with `prefix` (not only whole path segments), never stale.
    ///
    /// # Errors
    /// Any of [`ConsulError`]; a prefix without keys is none.
    async fn list(&self, prefix: &str) -> Result<Listing, ConsulError>;

    /// As [`Kv::list`], once the index is another one than `after` or `wait` is over; without `after` at once. The
    /// index may have moved with nothing changed below the prefix.
    ///
    /// # Errors
    /// Any of [`ConsulError`].
    async fn watch(
        &self,
        prefix: &str,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<Listing, ConsulError>;

    /// As [`Kv::watch`], without the values that are known: what did not change costs no copy.
    ///
    /// # Errors
    /// Any of [`ConsulError`].
    async fn watch_changes(
        &self,
        prefix: &str,
        after: Option<u64>,
        wait: Duration,
        known: &IsKnown<'_>,
    ) -> Result<Changes, ConsulError> {
        Ok(Changes::of(self.watch(prefix, after, wait).await?, known))
    }

    /// Carries out all of `ops` or none, in order.
    ///
    /// # Errors
    /// [`ConsulError::TooLarge`] for more than [`txn::MAX_OPS`] operations or [`txn::MAX_VALUE`] bytes, and before that
    /// when all of it encoded is more than [`txn::MAX_BODY`]. After [`ConsulError::Timeout`] or
    /// [`ConsulError::Unreachable`] it is not known whether the writes happened: read again.
    async fn transact(&self, ops: Vec<TxnOp>) -> Result<Txn, ConsulError>;
}

impl dyn Kv + '_ {
    /// Sets `key` if its modify index is still `index` (0: if it doesn't exist) and returns the new entry, or None if
    /// someone else was faster.
    ///
    /// # Errors
    /// As [`Kv::transact`].
    pub async fn put_cas(
        &self,
        key: &str,
        value: Vec<u8>,
        index: u64,
    ) -> Result<Option<Entry>, ConsulError> {
        let op = TxnOp::Cas { key: key.to_owned(), value: value.clone(), index };
        match self.transact(vec![op]).await? {
            Txn::Committed(entries) => match entries.into_iter().next() {
                // A transaction's entries come without their values.
                Some(entry) => Ok(Some(Entry { value, ..entry })),
                None => Err(ConsulError::decode("PUT txn", "it has no entry for cas")),
            },
            Txn::Refused(_) => Ok(None),
        }
    }

    /// Deletes `key`, which need not exist.
    ///
    /// # Errors
    /// As [`Kv::transact`].
    pub async fn delete(&self, key: &str) -> Result<(), ConsulError> {
        let op = TxnOp::Delete { key: key.to_owned() };
        match self.transact(vec![op]).await? {
            Txn::Committed(_) => Ok(()),
            Txn::Refused(reasons) => Err(ConsulError::Api {
                call: "PUT txn".to_owned(),
                code: 409,
                message: reasons.join("; "),
            }),
        }
    }

    /// Deletes `key` if its modify index is still `index`; false if it changed. A key that is gone counts as deleted.
    ///
    /// # Errors
    /// As [`Kv::transact`].
    pub async fn delete_cas(&self, key: &str, index: u64) -> Result<bool, ConsulError> {
        let op = TxnOp::DeleteCas { key: key.to_owned(), index };
        match self.transact(vec![op]).await? {
            Txn::Committed(_) => Ok(true),
            Txn::Refused(_) => Ok(false),
        }
    }
}

#[async_trait]
impl Kv for Client {
    async fn get(&self, key: &str) -> Result<Option<Entry>, ConsulError> {
        if plain_part(key) != key {
            let listing = self.list(key).await?;
            return Ok(listing.entries.into_iter().find(|entry| entry.key == key));
        }
        let call = Call::get(format!("kv/{key}")).consistent();
        let entries = decode_entries(self.send(call).await?)?;
        Ok(entries.into_iter().next())
    }

    async fn list(&self, prefix: &str) -> Result<Listing, ConsulError> {
        list(self, prefix, Call::consistent).await
    }

    async fn watch(
        &self,
        prefix: &str,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<Listing, ConsulError> {
        list(self, prefix, |call| call.blocking(after, wait)).await
    }

    async fn watch_changes(
        &self,
        prefix: &str,
        after: Option<u64>,
        wait: Duration,
        known: &IsKnown<'_>,
    ) -> Result<Changes, ConsulError> {
        let call = recurse(prefix).blocking(after, wait);
        let name = call.name();
        let reply = self.send(call).await?;
        let index = list_index(&reply)?;
        let entries = match reply.status {
            404 => Vec::new(),
            _ => read_changes(reply.success()?.body(), prefix, known)
                .map_err(|error| ConsulError::decode(&name, error))?,
        };
        Ok(Changes { index, entries })
    }

    async fn transact(&self, ops: Vec<TxnOp>) -> Result<Txn, ConsulError> {
        let body = txn::encode(&ops)?;
        txn::decode(self.send(Call::put("txn", body)).await?)
    }
}

async fn list(
    client: &Client,
    prefix: &str,
    mode: impl FnOnce(Call) -> Call,
) -> Result<Listing, ConsulError> {
    let reply = client.send(mode(recurse(prefix))).await?;
    let index = list_index(&reply)?;
    let mut entries = decode_entries(reply)?;
    entries.retain(|entry| entry.key.starts_with(prefix));
    Ok(Listing { index, entries })
}

fn recurse(prefix: &str) -> Call {
    Call::get(format!("kv/{}", plain_part(prefix))).query("recurse=")
}

fn list_index(reply: &Reply) -> Result<u64, ConsulError> {
    match reply.status {
        200 | 404 => reply.index(),
        _ => Ok(0),
    }
}

/// The longest part of a key that every Consul release reads alike from a path: releases differ in how often they
/// decode a `%`, and all of them clean `//`, `.` and `..` away. What follows is filtered on this side.
fn plain_part(key: &str) -> &str {
    let mut start = 0;
    for segment in key.split_inclusive('/') {
        let percent = segment.find('%');
        let name = segment[..percent.unwrap_or(segment.len())].trim_end_matches('/');
        if matches!(name, "." | "..") || (name.is_empty() && segment == "/") {
            return &key[..start];
        }
        if let Some(at) = percent {
            return &key[..start + at];
        }
        start += segment.len();
    }
    key
}

fn decode_entries(reply: Reply) -> Result<Vec<Entry>, ConsulError> {
    if reply.status == 404 {
        return Ok(Vec::new());
    }
    let reply = reply.success()?;
    let entries: Vec<WireEntry> = reply.json()?;
    entries.into_iter().map(|entry| entry.decode(reply.call())).collect()
}

/// An entry as Consul writes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WireEntry {
    key: String,
    value: Option<String>,
    create_index: u64,
    modify_index: u64,
    #[serde(default)]
    lock_index: u64,
    session: Option<String>,
}

impl WireEntry {
    pub(super) fn decode(self, call: &str) -> Result<Entry, ConsulError> {
        Ok(Entry {
            value: base64::decode(self.value.as_deref())
                .map_err(|error| ConsulError::decode(call, error))?,
            key: self.key,
            create_index: self.create_index,
            modify_index: self.modify_index,
            lock_index: self.lock_index,
            session: self.session.filter(|session| !session.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_written_or_by_its_plain_beginning() {
        for (key, plain) in [
            ("app/foobar_master.ddb14", "app/foobar_master.ddb14"),
            ("app/", "app/"),
            ("", ""),
            ("app/a b", "app/a b"),
            ("app/a%20b", "app/a"),
            ("app/%20b", "app/"),
            ("a//b", "a/"),
            ("/a", ""),
            ("a/../b", "a/"),
            ("a/.", "a/"),
            ("a/.%", "a/"),
            ("a/.x", "a/.x"),
        ] {
            assert_eq!(plain_part(key), plain, "{key}");
        }
    }

    #[test]
    fn an_entry_is_decoded() {
        let wire: WireEntry = serde_json::from_str(
            r#"{"LockIndex":2,"Key":"a","Flags":0,"Value":"eA==","Session":"s","CreateIndex":1,"ModifyIndex":9}"#,
        )
        .unwrap();
        let entry = wire.decode("GET kv/a").unwrap();
        assert_eq!(entry.value, b"x");
        assert_eq!((entry.lock_index, entry.modify_index), (2, 9));
        assert_eq!(entry.session.as_deref(), Some("s"));

        let wire: WireEntry = serde_json::from_str(
            r#"{"Key":"a","Value":null,"CreateIndex":1,"ModifyIndex":9,"LockIndex":0}"#,
        )
        .unwrap();
        assert_eq!(wire.decode("GET kv/a").unwrap().value, b"");
    }
}
