//! The operations of a transaction on the keys in memory, with Consul's own reasons for a refusal.

use std::collections::BTreeMap;

use super::super::super::kv::Entry;
use super::super::super::txn::TxnOp;
use super::{Store, below};
use crate::model::placement::NodeName;

type Sessions = BTreeMap<String, Option<NodeName>>;
type Applied = Result<Option<Entry>, String>;

/// A key as it was, and when it was last deleted.
pub(super) struct Before {
    key: String,
    entry: Option<Entry>,
    deleted: Option<u64>,
}

impl Store {
    /// What operations may change, as it is.
    pub(super) fn touched_by(&self, ops: &[TxnOp]) -> Vec<Before> {
        let before = |key: &String| Before {
            key: key.clone(),
            entry: self.entries.get(key).cloned(),
            deleted: self.deleted.get(key).copied(),
        };
        let touched = ops.iter().map(|op| match op {
            TxnOp::Set { key, .. }
            | TxnOp::Cas { key, .. }
            | TxnOp::Delete { key }
            | TxnOp::DeleteCas { key, .. }
            | TxnOp::Lock { key, .. }
            | TxnOp::Unlock { key, .. } => vec![before(key)],
            TxnOp::DeleteTree { prefix } => {
                below(&self.entries, prefix).map(|(key, _)| before(key)).collect()
            }
            TxnOp::CheckIndex { .. }
            | TxnOp::CheckSession { .. }
            | TxnOp::CheckNotExists { .. } => Vec::new(),
        });
        touched.flatten().collect()
    }

    /// Undoes what has become of keys.
    pub(super) fn put_back(&mut self, before: Vec<Before>) {
        for Before { key, entry, deleted } in before {
            match deleted {
                Some(index) => self.deleted.insert(key.clone(), index),
                None => self.deleted.remove(&key),
            };
            match entry {
                Some(entry) => self.entries.insert(key, entry),
                None => self.entries.remove(&key),
            };
        }
    }

    /// Carries out one operation at `index`; the entry is what the transaction returns for it.
    pub(super) fn apply(&mut self, op: &TxnOp, index: u64, sessions: &Sessions) -> Applied {
        match op {
            TxnOp::Set { key, value } => Ok(Some(self.set(key, value, index))),
            TxnOp::Cas { key, value, index: expected } => {
                if self.modify_index(key) != *expected {
                    return Err(format!("failed to set key {key:?}, index is stale"));
                }
                Ok(Some(self.set(key, value, index)))
            }
            TxnOp::Delete { key } => {
                self.remove(key, index);
                Ok(None)
            }
            TxnOp::DeleteTree { prefix } => {
                let keys: Vec<String> =
                    below(&self.entries, prefix).map(|(key, _)| key.clone()).collect();
                for key in keys {
                    self.remove(&key, index);
                }
                Ok(None)
            }
            TxnOp::DeleteCas { key, index: expected } => match self.modify_index(key) {
                0 => Ok(None),
                found if found == *expected => {
                    self.remove(key, index);
                    Ok(None)
                }
                _ => Err(format!("failed to delete key {key:?}, index is stale")),
            },
            TxnOp::CheckIndex { key, index } => self.check_index(key, *index),
            TxnOp::CheckSession { key, session } => self.check_session(key, session),
            TxnOp::CheckNotExists { key } if self.entries.contains_key(key) => {
                Err(format!("key {key:?} exists"))
            }
            TxnOp::CheckNotExists { .. } => Ok(None),
            TxnOp::Lock { key, value, session } => self.lock(key, value, session, index, sessions),
            TxnOp::Unlock { key, value, session } => self.unlock(key, value, session, index),
        }
    }

    /// Removes a key, if there is one.
    pub(super) fn remove(&mut self, key: &str, index: u64) {
        if self.entries.remove(key).is_some() {
            self.deleted.insert(key.to_owned(), index);
        }
    }

    fn modify_index(&self, key: &str) -> u64 {
        self.entries.get(key).map_or(0, |entry| entry.modify_index)
    }

    fn check_index(&self, key: &str, index: u64) -> Applied {
        match self.entries.get(key) {
            None => Err(format!("failed to check index, key {key:?} doesn't exist")),
            Some(entry) if entry.modify_index == index => Ok(Some(entry.clone())),
            Some(entry) => Err(format!(
                "current modify index {} of key {key:?} isn't {index}",
                entry.modify_index
            )),
        }
    }

    fn check_session(&self, key: &str, session: &str) -> Applied {
        match self.entries.get(key) {
            None => Err(format!("failed to check session, key {key:?} doesn't exist")),
            Some(entry) if entry.session.as_deref() == Some(session) => Ok(Some(entry.clone())),
            Some(_) => {
                Err(format!("failed session check for key {key:?}, it isn't held by {session:?}"))
            }
        }
    }

    /// Sets a key as a plain write does: whoever holds it still does, but its lock index is lost.
    fn set(&mut self, key: &str, value: &[u8], index: u64) -> Entry {
        let session = self.entries.get(key).and_then(|e| e.session.clone());
        self.write(key, value, index, 0, session)
    }

    fn lock(
        &mut self,
        key: &str,
        value: &[u8],
        session: &str,
        index: u64,
        sessions: &Sessions,
    ) -> Applied {
        if !sessions.contains_key(session) {
            return Err(format!("invalid session {session:?}"));
        }
        let current = self.entries.get(key);
        let locks = current.map_or(0, |entry| entry.lock_index);
        let locks = match current.and_then(|entry| entry.session.as_deref()) {
            Some(holder) if holder == session => locks,
            Some(_) => {
                return Err(format!("failed to lock key {key:?}, lock is already held"));
            }
            None => locks + 1,
        };
        Ok(Some(self.write(key, value, index, locks, Some(session.to_owned()))))
    }

    fn unlock(&mut self, key: &str, value: &[u8], session: &str, index: u64) -> Applied {
        match self.entries.get(key) {
            Some(entry) if entry.session.as_deref() == Some(session) => {
                let locks = entry.lock_index;
                Ok(Some(self.write(key, value, index, locks, None)))
            }
            Some(_) | None => Err(format!(
                "failed to unlock key {key:?}, lock isn't held, or is held by another session"
            )),
        }
    }

    /// Writes an entry. One that stays as it was keeps its modify index, as in Consul. Returns it without its value.
    fn write(
        &mut self,
        key: &str,
        value: &[u8],
        index: u64,
        lock_index: u64,
        session: Option<String>,
    ) -> Entry {
        let current = self.entries.get(key);
        let mut entry = Entry {
            key: key.to_owned(),
            value: value.to_vec(),
            create_index: current.map_or(index, |entry| entry.create_index),
            modify_index: current.map_or(index, |entry| entry.modify_index),
            lock_index,
            session,
        };
        if current != Some(&entry) {
            entry.modify_index = index;
            self.entries.insert(key.to_owned(), entry.clone());
        }
        entry.value.clear();
        entry
    }
}
