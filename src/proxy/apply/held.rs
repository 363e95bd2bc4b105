//! The files by which Caddy knows, without a new configuration, which apps are handed over: empty, named after the app.

use super::{ClusterView, Proxies, ProxyError};
use crate::host::files::{FileError, remove, write_atomic};

impl Proxies {
    /// Makes the files of the apps that are held, before HAProxy holds their requests.
    pub(super) async fn mark_held(&self, view: &ClusterView) -> Result<(), ProxyError> {
        let dir = self.settings.held_dir();
        for app in &view.held {
            let path = dir.join(app.as_str());
            if !tokio::fs::try_exists(&path).await.unwrap_or(false) {
                write_atomic(&path, "", 0o644).await?;
            }
        }
        Ok(())
    }

    /// Removes the files of the others, once Caddy no longer leads requests to where they were.
    pub(super) async fn unmark_held(&self, view: &ClusterView) -> Result<(), ProxyError> {
        let dir = self.settings.held_dir();
        let fail = |source| FileError::Io { action: "read", path: dir.clone(), source };
        let mut files = tokio::fs::read_dir(&dir).await.map_err(fail)?;
        while let Some(file) = files.next_entry().await.map_err(fail)? {
            let name = file.file_name();
            if !view.held.iter().any(|app| Some(app.as_str()) == name.to_str()) {
                remove(&file.path()).await?;
            }
        }
        Ok(())
    }
}
