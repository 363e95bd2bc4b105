//! The files by which Caddy knows, without a new configuration, which apps it must not lead requests to: those that are
//! under maintenance (handed over, or an operator's), and those of other nodes. Empty, named after the app.
//!
//! A file that can't be made or removed is that app's problem: Caddy goes on to lead what comes on open connections to
//! where the app was, and everything else about all apps goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::standby::Wanted;
use super::{Applied, ClusterView, Proxies};
use crate::host::files::{FileError, off_thread};
use crate::model::AppName;
use crate::proxy::Problem;

impl Proxies {
    /// Makes the files of the apps under maintenance, before HAProxy holds their requests or shows their page, and of the
    /// apps of other nodes, before Caddy is told of them.
    pub(super) async fn mark_held(
        &self,
        view: &ClusterView,
        wanted: Option<&Wanted>,
        applied: &mut Applied,
    ) {
        let others = wanted
            .into_iter()
            .flat_map(|Wanted { own, all }| all.keys().filter(|name| !own.contains_key(*name)));
        let elsewhere = marks(view.maintenance.iter().chain(others));
        let dir = self.settings.held_dir();
        let make = move || {
            let there = files(&dir).unwrap_or_default();
            let missing = elsewhere.into_iter().filter(|(file, _)| !there.contains(file));
            // Nothing is lost with one that a crash takes away: it is made again.
            let made = missing.filter_map(|(file, app)| {
                let error = std::fs::write(dir.join(&file), "").err()?;
                let what = format!("Caddy can't be told that it is not served here: {error}");
                Some(Problem::new(format!("app/{app}"), what))
            });
            Ok::<_, FileError>(made.collect::<Vec<_>>())
        };
        applied.problems.extend(off_thread(make).await.unwrap_or_else(|error| {
            vec![Problem::new("caddy", format!("its marks can't be made: {error}"))]
        }));
    }

    /// Removes the files of the others, once Caddy no longer leads requests to where they were, and whatever else is
    /// there: an earlier release may have named files in another way.
    pub(super) async fn unmark_held(&self, view: &ClusterView, applied: &mut Applied) {
        let is_own =
            |app: &AppName| view.apps.get(app).is_some_and(|record| record.master == view.me);
        let served = self.served.apps.keys().filter(|app| !is_own(app));
        let elsewhere = marks(view.maintenance.iter().chain(served));
        let dir = self.settings.held_dir();
        let remove = move || {
            let there = files(&dir)?;
            let over = there.into_iter().filter(|file| !elsewhere.contains_key(file));
            Ok::<_, FileError>(over.filter_map(|file| removed(&dir.join(file))).collect::<Vec<_>>())
        };
        let failed = off_thread(remove).await.unwrap_or_else(|error| vec![error.to_string()]);
        let of = |what| Problem::new("caddy", format!("a connection may be led astray: {what}"));
        applied.problems.extend(failed.into_iter().map(of));
    }
}

/// The files of apps.
fn marks<'a>(apps: impl Iterator<Item = &'a AppName>) -> BTreeMap<String, AppName> {
    apps.map(|app| (app.file_name(), app.clone())).collect()
}

/// Removes a file; what kept it.
fn removed(path: &Path) -> Option<String> {
    let gone = match path.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    };
    gone.err().map(|error| format!("{} can't be removed: {error}", path.display()))
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
