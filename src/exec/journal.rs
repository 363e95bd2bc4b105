//! What this node remembers on disk: the events that it has handled and the highest epoch seen per app.

mod past;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tokio::sync::Mutex;

pub(super) use past::{Past, Phase};

use crate::host::files::{self, FileError};
use crate::model::{AppName, DeployId};

/// Consul keeps 256 events per agent; a few times that covers a node that hears of them late.
const HANDLED_KEPT: usize = 1024;

/// The journal can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file of the journal.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the journal, as the file helpers report it.
    #[error("the journal can't be written")]
    Write(#[from] FileError),
    /// The epochs are not what was written.
    #[error("{path} is damaged; remove it to start afresh")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// KV tells of a deployment as it was before this node has seen it committed or given up.
    #[error(
        "this node has seen the deployment of epoch {epoch} of {app} go further than KV says: Consul was restored to an older state; nothing is done for it here"
    )]
    WentBack {
        /// The app.
        app: AppName,
        /// The deployment's epoch.
        epoch: u64,
    },
    /// A deployment from before one that this node has already seen.
    #[error("epoch {offered} of {app} is older than {seen}, which this node has seen")]
    Stale {
        /// The app.
        app: AppName,
        /// The epoch on offer.
        offered: u64,
        /// The highest seen.
        seen: u64,
    },
}

impl JournalError {
    /// Whether this node has seen a later deployment of the app.
    pub(super) fn is_stale(&self) -> bool {
        matches!(self, Self::Stale { .. })
    }
}

/// The node's memory, below the data directory: `epochs.json`, and one empty file per handled event, so that the
/// agent and `tandem handle` can share it.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    is_new: bool,
    epochs: Mutex<BTreeMap<String, u64>>,
    past: Past,
}

impl Journal {
    /// Opens the journal below `dir`, creating it.
    pub async fn open(dir: &Path) -> Result<Self, JournalError> {
        let dir = dir.to_owned();
        files::off_thread(move || {
            let handled = dir.join("handled");
            let is_new = !fs::exists(&handled).map_err(at(&handled))?;
            fs::create_dir_all(&dir).map_err(at(&dir))?;
            let epochs = read_epochs(&dir)?;
            let past = Past::open(&dir)?;
            Ok(Self { dir, is_new, epochs: Mutex::new(epochs), past })
        })
        .await
    }

    /// Whether this node never handled an event before: what Consul still lists is then history, not news.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Notes that this node has seen what Consul lists: from now on an event that is not noted is news, also after a
    /// restart.
    pub async fn settle(&self) -> Result<(), JournalError> {
        let handled = self.folder();
        files::off_thread(move || fs::create_dir_all(&handled).map_err(at(&handled))).await
    }

    /// Whether the event has been handled.
    pub async fn is_handled(&self, id: &DeployId) -> bool {
        let path = self.folder().join(id.as_str());
        let exists = files::off_thread(move || fs::exists(&path).map_err(at(&path))).await;
        exists.unwrap_or(false)
    }

    /// Notes an event as handled, on disk before this returns; false if somebody did so before.
    pub async fn claim(&self, id: &DeployId) -> Result<bool, JournalError> {
        let (folder, id) = (self.folder(), id.clone());
        files::off_thread(move || claim(&folder, &id)).await
    }

    /// How far this node has seen deployments.
    pub(super) fn past(&self) -> &Past {
        &self.past
    }

    /// The highest epoch seen for an app; 0 for none.
    pub async fn epoch(&self, app: &AppName) -> u64 {
        self.epochs.lock().await.get(app.as_str()).copied().unwrap_or(0)
    }

    /// Notes an epoch, on disk before this returns; refuses one below what was seen.
    pub async fn raise_epoch(&self, app: &AppName, offered: u64) -> Result<(), JournalError> {
        let mut epochs = self.epochs.lock().await;
        let seen = epochs.get(app.as_str()).copied().unwrap_or(0);
        if offered < seen {
            return Err(JournalError::Stale { app: app.clone(), offered, seen });
        }
        if offered == seen {
            return Ok(());
        }
        let mut raised = epochs.clone();
        raised.insert(app.to_string(), offered);
        let path = self.dir.join("epochs.json");
        let text = serde_json::to_vec(&raised)
            .map_err(|source| JournalError::Damaged { path: path.clone(), source })?;
        files::write_atomic(&path, text, 0o600).await?;
        *epochs = raised;
        Ok(())
    }

    fn folder(&self) -> PathBuf {
        self.dir.join("handled")
    }
}

fn read_epochs(dir: &Path) -> Result<BTreeMap<String, u64>, JournalError> {
    let path = dir.join("epochs.json");
    match files::read(&path)? {
        Some(bytes) => {
            serde_json::from_slice(&bytes).map_err(|source| JournalError::Damaged { path, source })
        }
        None => Ok(BTreeMap::new()),
    }
}

fn claim(folder: &Path, id: &DeployId) -> Result<bool, JournalError> {
    fs::create_dir_all(folder).map_err(at(folder))?;
    let path = folder.join(id.as_str());
    match fs::OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => file.sync_all().map_err(at(&path))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(source) => return Err(JournalError::File { path, source }),
    }
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(&path))?;
    forget_oldest(folder)?;
    Ok(true)
}

fn forget_oldest(folder: &Path) -> Result<(), JournalError> {
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let modified = entry.metadata().and_then(|facts| facts.modified());
        found.push((modified.map_err(at(folder))?, entry.path()));
    }
    found.sort();
    let spare = found.len().saturating_sub(HANDLED_KEPT);
    for (_, path) in found.into_iter().take(spare) {
        fs::remove_file(&path).map_err(at(&path))?;
    }
    Ok(())
}

fn at(path: &Path) -> impl Fn(io::Error) -> JournalError + use<> {
    let path = path.to_owned();
    move |source| JournalError::File { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn handled_events_and_epochs_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let id = DeployId::parse("0a1b").unwrap();
        let app = AppName::parse("hello_main.12345").unwrap();
        let journal = Journal::open(dir.path()).await.unwrap();
        assert!(journal.is_new() && !journal.is_handled(&id).await);
        let journal = Journal::open(dir.path()).await.unwrap();
        assert!(journal.is_new(), "nothing was listed yet");
        assert!(journal.claim(&id).await.unwrap());
        assert!(!journal.claim(&id).await.unwrap(), "claimed twice");
        journal.raise_epoch(&app, 3).await.unwrap();

        let journal = Journal::open(dir.path()).await.unwrap();
        assert!(!journal.is_new() && journal.is_handled(&id).await);
        assert_eq!(journal.epoch(&app).await, 3);
        let stale = journal.raise_epoch(&app, 2).await;
        assert!(matches!(stale, Err(JournalError::Stale { seen: 3, .. })));
        journal.raise_epoch(&app, 3).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_handled_does_not_pile_up() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).await.unwrap();
        journal.settle().await.unwrap();
        for n in 0..HANDLED_KEPT {
            std::fs::write(dir.path().join("handled").join(format!("id{n}")), "").unwrap();
        }
        let newest = DeployId::parse("newest").unwrap();
        assert!(journal.claim(&newest).await.unwrap());
        assert_eq!(std::fs::read_dir(dir.path().join("handled")).unwrap().count(), HANDLED_KEPT);
        assert!(journal.is_handled(&newest).await);
    }
}
