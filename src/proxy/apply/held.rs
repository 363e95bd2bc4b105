//! The files by which Caddy knows, without a new configuration, which apps are not here: those that are handed over, and
//! those of other nodes. Empty, named after the app.

use super::standby::Wanted;
use super::{ClusterView, Proxies, ProxyError};
use crate::host::files::{FileError, remove, write_atomic};
use crate::model::AppName;

impl Proxies {
    /// Makes the files of the apps that are held, before HAProxy holds their requests, and of the apps of other nodes,
    /// before Caddy is told of them.
    pub(super) async fn mark_held(
        &self,
        view: &ClusterView,
        wanted: Option<&Wanted>,
    ) -> Result<(), ProxyError> {
        let dir = self.settings.held_dir();
        let mut elsewhere = view.held.clone();
        if let Some(Wanted { own, all }) = wanted {
            elsewhere.extend(all.keys().filter(|name| !own.contains_key(*name)).cloned());
        }
        for app in elsewhere {
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
            let app = name.to_str().and_then(|name| AppName::parse(name).ok());
            let is_own =
                |app: &AppName| view.apps.get(app).is_some_and(|record| record.master == view.me);
            let is_elsewhere = |app: &AppName| {
                view.held.contains(app) || self.served.apps.contains_key(app) && !is_own(app)
            };
            if !app.as_ref().is_some_and(is_elsewhere) {
                remove(&file.path()).await?;
            }
        }
        Ok(())
    }
}
