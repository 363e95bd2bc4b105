//! Looks at Consul from outside, at once.

use futures_util::FutureExt;
use serde::de::DeserializeOwned;
use tandem::consul::kv::{Entry, Kv};
use tandem::consul::memory::MemoryConsul;

pub(crate) fn entry(consul: &MemoryConsul, key: &str) -> Option<Entry> {
    consul.get(key).now_or_never().expect("memory answers at once").expect("it is never cut off")
}

/// The JSON value of a key, if it is there and can be read.
pub(crate) fn read<T: DeserializeOwned>(consul: &MemoryConsul, key: &str) -> Option<T> {
    serde_json::from_slice(&entry(consul, key)?.value).ok()
}

pub(crate) fn list(consul: &MemoryConsul, prefix: &str) -> Vec<Entry> {
    let listing = consul.list(prefix).now_or_never().expect("memory answers at once");
    listing.expect("it is never cut off").entries
}
