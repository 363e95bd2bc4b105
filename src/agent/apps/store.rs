//! The entries that count, on disk: what an agent goes by that starts while Consul shows none. One file for each app.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Entries;
use crate::error::chain;
use crate::host::files::{FileError, off_thread, write_atomic};
use crate::model::{AppName, AppRecord, keys};
use crate::proxy::view::Item;

/// A folder of them.
pub(super) struct Store {
    folder: PathBuf,
    /// What is in it, by file.
    written: BTreeMap<String, Arc<Item>>,
}

/// A file's text.
#[derive(Serialize, Deserialize)]
struct Kept<R> {
    app: AppName,
    entry: R,
}

impl Store {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, written: BTreeMap::new() }
    }

    /// What an earlier process left; what can't be read is passed over.
    pub(super) async fn load(&self) -> Vec<Arc<Item>> {
        let folder = self.folder.clone();
        let read = off_thread(move || Ok::<_, FileError>(read(&folder)));
        read.await.unwrap_or_default()
    }

    /// Keeps what counts, for as long as anybody says so.
    pub(super) async fn follow(mut self, mut entries: Entries<Item>) {
        self.written = by_file(&self.load().await);
        while entries.changed().await.is_ok() {
            let now = entries.borrow_and_update().clone();
            if let Some(now) = now
                && let Err(error) = self.keep(by_file(&now)).await
            {
                warn!(error = %chain(&error), "the apps' entries can't be kept for the agent's next start");
            }
        }
    }

    async fn keep(&mut self, now: BTreeMap<String, Arc<Item>>) -> Result<(), FileError> {
        let files: BTreeSet<String> = self.written.keys().chain(now.keys()).cloned().collect();
        for file in files {
            let (path, item) = (self.folder.join(&file), now.get(&file));
            let is_kept = |known: &Arc<Item>| item.is_some_and(|item| is_same(known, item));
            if self.written.get(&file).is_some_and(is_kept) {
                continue;
            }
            match item.and_then(|item| Some((item, text(item)?))) {
                Some((item, text)) => {
                    make(&self.folder).await?;
                    write_atomic(&path, text, 0o600).await?;
                    self.written.insert(file, item.clone());
                }
                None => {
                    remove(&path).await?;
                    self.written.remove(&file);
                }
            }
        }
        Ok(())
    }
}

fn is_same(one: &Arc<Item>, other: &Arc<Item>) -> bool {
    Arc::ptr_eq(one, other) || one.app() == other.app()
}

fn by_file(items: &[Arc<Item>]) -> BTreeMap<String, Arc<Item>> {
    let readable = items.iter().filter_map(|item| {
        let (name, record) = item.app()?;
        record.map(|_| (name.file_name(), item.clone()))
    });
    readable.collect()
}

fn text(item: &Item) -> Option<Vec<u8>> {
    let (app, record) = item.app()?;
    serde_json::to_vec(&Kept { app, entry: record? }).ok()
}

fn read(folder: &Path) -> Vec<Arc<Item>> {
    let files = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let texts = files.filter_map(|file| std::fs::read(file.path()).ok());
    let kept = texts.filter_map(|text| serde_json::from_slice::<Kept<AppRecord>>(&text).ok());
    let items = kept.filter_map(|Kept { app, entry }| {
        let value = serde_json::to_vec(&entry).ok()?;
        Some(Arc::new(Item::of(&keys::app(&app), &value)))
    });
    items.collect()
}

async fn make(folder: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::Io { action: "make", path: folder.to_owned(), source };
    tokio::fs::create_dir_all(folder).await.map_err(failed)
}

async fn remove(path: &Path) -> Result<(), FileError> {
    match tokio::fs::remove_file(path).await {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::Io { action: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, master: &str) -> Arc<Item> {
        let value = format!(
            r#"{{"repo_url":"https://h/a","branch":"b","deploy_id":"1","master":"{master}"}}"#
        );
        Arc::new(Item::of(&format!("app/{name}"), value.as_bytes()))
    }

    #[tokio::test]
    async fn what_counts_is_there_for_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::new(dir.path().join("apps"));
        assert!(store.load().await.is_empty());
        let all = [item("shop_feature/x.12345", "n1"), item("b_main.12345", "n1")];
        store.keep(by_file(&all)).await.unwrap();
        let mut loaded = Store::new(dir.path().join("apps")).load().await;
        loaded.sort_by_key(|item| std::cmp::Reverse(item.key.clone()));
        assert_eq!(loaded, all);
        let left = [item("b_main.12345", "n2")];
        store.keep(by_file(&left)).await.unwrap();
        std::fs::write(dir.path().join("apps/other"), "{").unwrap();
        assert_eq!(store.load().await, left);
    }
}
