//! What is in KV: a type per record, what its keys begin with, and how it is read.
//!
//! **Formats.** A record may hold a number, `format`; one without it has format 1. A build reads what earlier ones wrote:
//! fields that came later have a default. What a later build wrote in a newer format is not taken for something else: it
//! is told as [`RecordError::Newer`], and left alone. The entries of apps and the keys of maintenance are shared with other
//! writers, and have no format.

mod app;
mod deployment;
mod lease;
mod named;
mod node;
mod project;
mod queue;
mod rejection;
mod replica;
#[cfg(test)]
mod tests;
mod update;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::consul::ConsulError;
use crate::consul::kv::{Entry, Kv};

pub use app::Asked;
pub use deployment::{Debt, Owed};
pub use lease::LeaseInfo;
pub use named::Named;
pub use node::{Failing, NodeInfo, Room};
pub use project::Claim;
pub use queue::Queue;
pub use rejection::Rejection;
pub use update::{Contended, contend, update};

/// A type whose values are in KV.
pub trait Record: Serialize + DeserializeOwned {
    /// What the keys begin with.
    const PREFIX: &'static str;
    /// The newest format that this build knows; none: the shape is shared with other writers.
    const FORMAT: Option<u32> = Some(1);
    /// What the rest of a key names.
    type Name: Named;
}

/// Why a value in KV is no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It does not hold what it should.
    #[error("{key} can't be read")]
    Unreadable {
        /// The key.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A newer version of the agent wrote it.
    #[error(
        "{key} has format {format}, which this version does not know: upgrade this node's agent"
    )]
    Newer {
        /// The key.
        key: String,
        /// Its format.
        format: u32,
    },
}

impl RecordError {
    /// The key.
    pub fn key(&self) -> &str {
        match self {
            Self::Unreadable { key, .. } | Self::Newer { key, .. } => key,
        }
    }
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Consul does not answer or refuses.
    #[error("Consul")]
    Consul(#[from] ConsulError),
    /// What is there is none.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A value with the index that a check-and-set needs.
#[derive(Debug, Clone)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// The key's modify index.
    pub index: u64,
}

/// A record and what its key names.
#[derive(Clone)]
pub struct Stored<T: Record> {
    /// The rest of the key.
    pub name: T::Name,
    /// The value.
    pub value: T,
    /// The key's modify index.
    pub index: u64,
}

/// The records below a prefix.
pub struct Listed<T: Record> {
    /// What can be read, in the order of the keys.
    pub found: Vec<Stored<T>>,
    /// What can't. Keys that are no record's are not among them.
    pub unreadable: Vec<RecordError>,
}

/// Reads an entry's value.
///
/// # Errors
/// [`RecordError`]: it is none of this type, or one of a newer format.
pub fn decode<T: Record>(entry: &Entry) -> Result<T, RecordError> {
    if let Some(format) = newer_format::<T>(&entry.value) {
        return Err(RecordError::Newer { key: entry.key.clone(), format });
    }
    serde_json::from_slice(&entry.value)
        .map_err(|source| RecordError::Unreadable { key: entry.key.clone(), source })
}

/// The format of a value that this build is too old for.
fn newer_format<T: Record>(value: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Shape {
        format: u32,
    }
    let known = T::FORMAT?;
    let shape = serde_json::from_slice::<Shape>(value).ok()?;
    (shape.format > known).then_some(shape.format)
}

/// A record's text; the types that are stored always have one.
pub fn encode<T: Record>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// What a key below the type's prefix names.
pub fn name_of<T: Record>(key: &str) -> Option<T::Name> {
    T::Name::parse(key.strip_prefix(T::PREFIX)?)
}

/// An entry's name and value; none if it is no record, or can't be read.
pub fn readable<T: Record>(entry: &Entry) -> Option<Stored<T>> {
    let name = name_of::<T>(&entry.key)?;
    Some(Stored { name, value: decode(entry).ok()?, index: entry.modify_index })
}

/// Reads one record; none if its key does not exist.
///
/// # Errors
/// [`ReadError`].
pub async fn read<T: Record>(kv: &dyn Kv, key: &str) -> Result<Option<Versioned<T>>, ReadError> {
    let Some(entry) = kv.get(key).await? else { return Ok(None) };
    Ok(Some(Versioned { value: decode(&entry)?, index: entry.modify_index }))
}

/// Reads all records of a type.
///
/// # Errors
/// Any of [`ConsulError`]; what can't be read is told apart.
pub async fn list<T: Record>(kv: &dyn Kv) -> Result<Listed<T>, ConsulError> {
    list_below(kv, T::PREFIX).await
}

/// Reads the records of a type whose keys begin with `prefix`, which begins with the type's own.
///
/// # Errors
/// As [`list`].
pub async fn list_below<T: Record>(kv: &dyn Kv, prefix: &str) -> Result<Listed<T>, ConsulError> {
    Ok(listed(&kv.list(prefix).await?.entries))
}

/// The records among entries.
pub fn listed<'a, T: Record>(entries: impl IntoIterator<Item = &'a Entry>) -> Listed<T> {
    let mut listed = Listed { found: Vec::new(), unreadable: Vec::new() };
    for entry in entries {
        let Some(name) = name_of::<T>(&entry.key) else { continue };
        match decode(entry) {
            Ok(value) => listed.found.push(Stored { name, value, index: entry.modify_index }),
            Err(error) => listed.unreadable.push(error),
        }
    }
    listed
}
