//! The files by which Caddy knows, without a new configuration, which apps it must not lead requests to: those that are
//! under maintenance (handed over, or an operator's), and those of other nodes. Empty, named after the app.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::standby::Wanted;
use super::{ClusterView, Proxies, ProxyError};
use crate::host::files::{FileError, off_thread};
use crate::model::AppName;

impl Proxies {
    /// Makes the files of the apps under maintenance, before HAProxy holds their requests or shows their page, and of the
    /// apps of other nodes, before Caddy is told of them.
    pub(super) async fn mark_held(
        &self,
        view: &ClusterView,
        wanted: Option<&Wanted>,
    ) -> Result<(), ProxyError> {
        let maintained = view.maintenance.iter();
        let others = wanted
            .into_iter()
            .flat_map(|Wanted { own, all }| all.keys().filter(|name| !own.contains_key(*name)));
        let elsewhere: BTreeSet<_> =
            maintained.chain(others).map(|app| app.as_str().to_owned()).collect();
        let dir = self.settings.held_dir();
        let make = move || {
            let there = files(&dir)?;
            for path in elsewhere.difference(&there).map(|name| dir.join(name)) {
                // Nothing is lost with one that a crash takes away: it is made again.
                std::fs::write(&path, "").map_err(failed("write", &path))?;
            }
            Ok::<(), FileError>(())
        };
        Ok(off_thread(make).await?)
    }

    /// Removes the files of the others, once Caddy no longer leads requests to where they were.
    pub(super) async fn unmark_held(&self, view: &ClusterView) -> Result<(), ProxyError> {
        let is_own =
            |app: &AppName| view.apps.get(app).is_some_and(|record| record.master == view.me);
        let served = self.served.apps.keys().filter(|app| !is_own(app));
        let maintained = view.maintenance.iter();
        let elsewhere: BTreeSet<_> =
            maintained.chain(served).map(|app| app.as_str().to_owned()).collect();
        let dir = self.settings.held_dir();
        let remove = move || {
            for path in files(&dir)?.difference(&elsewhere).map(|name| dir.join(name)) {
                std::fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
            Ok::<(), FileError>(())
        };
        Ok(off_thread(remove).await?)
    }
}

fn files(dir: &Path) -> Result<BTreeSet<String>, FileError> {
    let entries = std::fs::read_dir(dir).map_err(failed("read", dir))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect::<Result<_, _>>().map_err(failed("read", dir))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FileError {
    let path: PathBuf = path.to_owned();
    move |source| FileError::Io { action, path, source }
}
