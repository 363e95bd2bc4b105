//! The compose files of this node's checkouts, as they were read last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::model::manifest::Manifest;

/// Compose takes long to read a file, and while an app stands still each reading is part of its downtime.
#[derive(Debug, Default)]
pub struct Manifests(Mutex<BTreeMap<PathBuf, Manifest>>);

impl Manifests {
    /// Remembers what was read of a checkout, and forgets the checkouts that are gone.
    pub(super) fn note(&self, checkout: &Path, manifest: &Manifest) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|checkout, _| checkout.is_dir());
        known.insert(checkout.to_owned(), manifest.clone());
    }

    /// What was read of a checkout last, if this agent has read it.
    pub(super) fn of(&self, checkout: &Path) -> Option<Manifest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(checkout).cloned()
    }
}
