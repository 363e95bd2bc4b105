//! Deployments, and what became of events.

use crate::consul::ConsulError;
use crate::consul::kv::{Entry, Kv};
use crate::model::deployment::Deployment;
use crate::model::keys::{DEPLOYMENTS, REJECTED};
use crate::records::{RecordError, Rejection, Stored, decode};

/// What runs or waits, and then outcomes, the newest first by when Consul took them: the nodes' clocks may differ.
pub(super) fn in_order(found: Vec<Stored<Deployment>>) -> Vec<Deployment> {
    let (mut all, mut ended): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|stored| !stored.value.state.is_final());
    ended.sort_by_key(|stored| std::cmp::Reverse(stored.index));
    all.extend(ended);
    all.into_iter().map(|stored| stored.value).collect()
}

/// What became of an event.
#[derive(Debug)]
pub enum Found {
    /// A deployment, and its record's key.
    Deployment(String, Box<Deployment>),
    /// It could not be decoded, or depends on what can't be read.
    Rejection(Rejection),
    /// A record that can't be read, and why.
    Unreadable(RecordError),
}

/// Finds what became of an event by its id, or a part of it from the beginning; without one, the newest deployment.
///
/// # Errors
/// Any of [`ConsulError`].
pub async fn find(kv: &dyn Kv, id: Option<&str>) -> Result<Option<Found>, ConsulError> {
    let mut entries = kv.list(DEPLOYMENTS).await?.entries;
    entries.sort_by_key(|entry| entry.create_index);
    let matches = |entry: &&Entry| {
        let name = entry.key.rsplit('/').next().unwrap_or_default();
        id.is_none_or(|id| name.starts_with(id))
    };
    if let Some(entry) = entries.iter().rev().find(matches) {
        return Ok(Some(match decode(entry) {
            Ok(deployment) => Found::Deployment(entry.key.clone(), Box::new(deployment)),
            Err(error) => Found::Unreadable(error),
        }));
    }
    let Some(id) = id else { return Ok(None) };
    let rejected = kv.list(&format!("{REJECTED}{id}")).await?.entries;
    Ok(rejected.first().map(|entry| match decode(entry) {
        Ok(rejection) => Found::Rejection(rejection),
        Err(error) => Found::Unreadable(error),
    }))
}
