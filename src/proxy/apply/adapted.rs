//! What Caddy makes of the apps' texts: in memory for those that are served, and on disk, so that an agent that starts
//! anew, and an app that comes back, ask Caddy nothing.
//!
//! A file is only Caddy's answer. What is read of one goes the same way as the answer itself, through the list of what is
//! allowed; one that is damaged is none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ring::digest::{Context, SHA256};
use serde_json::Value;
use tokio::time::Instant;

use crate::host::files::{FileError, off_thread, read_optional, write_atomic};
use crate::model::AppName;
use crate::proxy::caddy::AppRoutes;
use crate::proxy::control::{CheckError, ProxyControl};
use crate::proxy::render::AppSites;

/// Which Caddy answers is asked again after this, because its container may have been made anew. What another release
/// answered meanwhile does no harm: the running Caddy judges it when it is loaded.
const IDENTITY: Duration = Duration::from_secs(600);
/// So many files of texts that nobody uses stay, for apps that come back.
const SPARE: usize = 256;
/// The files are counted after so many new ones.
const OFTEN: usize = 64;

/// What became of an app's text.
pub(super) type Outcome = Result<Arc<AppRoutes>, String>;

/// The texts that are in use, and the directory.
pub(super) struct Adapted {
    known: BTreeMap<AppName, (Arc<AppSites>, Outcome)>,
    disk: Arc<Disk>,
}

/// The directory, and which Caddy its files are of.
pub(super) struct Disk {
    dir: PathBuf,
    identity: Mutex<Option<(Instant, String)>>,
    /// Files written since they were counted.
    written: AtomicUsize,
}

impl Adapted {
    pub(super) fn new(dir: PathBuf) -> Self {
        let disk = Disk { dir, identity: Mutex::new(None), written: AtomicUsize::new(OFTEN) };
        Self { known: BTreeMap::new(), disk: Arc::new(disk) }
    }

    pub(super) fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// What became of the text that an app has now, if that is known.
    pub(super) fn get(&self, app: &AppName, sites: &Arc<AppSites>) -> Option<Outcome> {
        let (of, outcome) = self.known.get(app)?;
        (of == sites).then(|| outcome.clone())
    }

    /// Notes what became of an app's text.
    pub(super) fn note(&mut self, app: &AppName, sites: &Arc<AppSites>, outcome: &Outcome) {
        self.known.insert(app.clone(), (sites.clone(), outcome.clone()));
    }

    /// Forgets the apps that are not in use; on disk only if all that is in use is known.
    pub(super) async fn keep_only(
        &mut self,
        is_used: impl Fn(&AppName) -> bool,
        is_complete: bool,
    ) {
        self.known.retain(|app, _| is_used(app));
        let is_due = is_complete && self.disk.written.load(Ordering::Relaxed) >= OFTEN;
        if let Some(identity) = self.disk.known_identity().filter(|_| is_due) {
            let good = self.known.values().filter(|(_, outcome)| outcome.is_ok());
            let used = good.map(|(sites, _)| file_name(&identity, &sites.text)).collect();
            if prune(self.disk.dir.clone(), used, SPARE).await.is_ok() {
                self.disk.written.store(0, Ordering::Relaxed);
            }
        }
    }
}

impl Disk {
    /// What Caddy makes of one app's text: its routes, or why they aren't used.
    pub(super) async fn outcome(
        &self,
        control: &dyn ProxyControl,
        sites: &AppSites,
    ) -> Result<Result<AppRoutes, String>, CheckError> {
        match self.adapt(control, &sites.text).await {
            Ok(adapted) => Ok(AppRoutes::take(&adapted, sites).map_err(|error| error.to_string())),
            Err(CheckError::Refused(what)) => Ok(Err(format!("Caddy refuses it: {what}"))),
            Err(error @ CheckError::Unavailable(_)) => Err(error),
        }
    }

    /// Caddy's answer about a text: the one that is kept, or a new one, which is kept then.
    pub(super) async fn adapt(
        &self,
        control: &dyn ProxyControl,
        text: &str,
    ) -> Result<Value, CheckError> {
        let identity = self.identity(control).await?;
        let path = self.dir.join(file_name(&identity, text));
        if let Some(answer) = read(&path).await {
            return Ok(answer);
        }
        let answer = control.adapt(text).await.inspect_err(|error| {
            if matches!(error, CheckError::Unavailable(_)) {
                *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        })?;
        // Without the file the text is adapted again after a start, and nothing else is lost.
        if self.write(&path, &answer).await.is_ok() {
            self.written.fetch_add(1, Ordering::Relaxed);
        }
        Ok(answer)
    }

    async fn write(&self, path: &Path, answer: &Value) -> Result<(), FileError> {
        let dir = self.dir.clone();
        let make = move || {
            let failed = |source| FileError::Io { action: "make", path: dir.clone(), source };
            std::fs::create_dir_all(&dir).map_err(failed)
        };
        off_thread(make).await?;
        let text = answer.to_string();
        write_atomic(path, format!("{}\n{text}", hex(&[&text])), 0o600).await
    }

    /// Which Caddy answers.
    async fn identity(&self, control: &dyn ProxyControl) -> Result<String, CheckError> {
        let known = self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, identity)) = known.filter(|(since, _)| since.elapsed() < IDENTITY) {
            return Ok(identity);
        }
        let identity = control.caddy_identity().await?;
        let now = (Instant::now(), identity.clone());
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        Ok(identity)
    }

    fn known_identity(&self) -> Option<String> {
        let known = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map(|(_, identity)| identity.clone())
    }
}

fn file_name(identity: &str, text: &str) -> String {
    hex(&[identity, "\0", text])
}

fn hex(parts: &[&str]) -> String {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part.as_bytes()));
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The answer in a file; none if it is not what was written.
async fn read(path: &Path) -> Option<Value> {
    let text = String::from_utf8(read_optional(path).await.ok()??).ok()?;
    let (hash, answer) = text.split_once('\n')?;
    if hash != hex(&[answer]) {
        return None;
    }
    serde_json::from_str(answer).ok()
}

/// Removes the oldest of the files that nobody uses, but for some.
async fn prune(dir: PathBuf, used: BTreeSet<String>, spare: usize) -> Result<(), FileError> {
    let work = move || {
        let failed = |source| FileError::Io { action: "read", path: dir.clone(), source };
        let mut unused = Vec::new();
        let files = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            files => files.map_err(failed)?,
        };
        for file in files {
            let file = file.map_err(failed)?;
            if !file.file_name().to_str().is_some_and(|name| used.contains(name)) {
                let time = file.metadata().and_then(|facts| facts.modified());
                unused.push((time.unwrap_or(SystemTime::UNIX_EPOCH), file.path()));
            }
        }
        unused.sort();
        unused.truncate(unused.len().saturating_sub(spare));
        for (_, path) in unused {
            let failed = |source| FileError::Io { action: "remove", path: path.clone(), source };
            std::fs::remove_file(&path).map_err(failed)?;
        }
        Ok(())
    };
    off_thread(work).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::control::FakeControl;

    const TEXT: &str = "http://a.test {\n}\n";

    fn files(disk: &Disk) -> Vec<PathBuf> {
        let all = std::fs::read_dir(&disk.dir).unwrap().map(|file| file.unwrap().path());
        all.collect()
    }

    fn disk(dir: &Path) -> Arc<Disk> {
        Adapted::new(dir.join("adapted")).disk
    }

    #[tokio::test]
    async fn an_answer_is_kept_for_the_text_and_the_caddy_that_gave_it() {
        let dir = tempfile::tempdir().unwrap();
        let control = FakeControl::default();
        let answer = disk(dir.path()).adapt(&control, TEXT).await.unwrap();
        // As after a start.
        assert_eq!(disk(dir.path()).adapt(&control, TEXT).await.unwrap(), answer);
        assert_eq!(control.state().adaptations, 1);
        let other = TEXT.replace("a.test", "b.test");
        disk(dir.path()).adapt(&control, &other).await.unwrap();
        assert_eq!(control.state().adaptations, 2);
        control.state().caddy_version = "v2.99".to_owned();
        disk(dir.path()).adapt(&control, TEXT).await.unwrap();
        assert_eq!(control.state().adaptations, 3);
        control.state().caddy_refuses = vec!["a.test".to_owned()];
        control.state().caddy_version = "v3".to_owned();
        assert!(disk(dir.path()).adapt(&control, TEXT).await.is_err());
        assert_eq!(files(&disk(dir.path())).len(), 3, "a refusal is asked for again");
    }

    #[tokio::test]
    async fn a_damaged_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let control = FakeControl::default();
        let answer = disk(dir.path()).adapt(&control, TEXT).await.unwrap();
        let path = files(&disk(dir.path())).pop().unwrap();
        let good = std::fs::read(&path).unwrap();
        let mut changed = good.clone();
        *changed.last_mut().unwrap() = b' ';
        for (count, bad) in [&good[..good.len() / 2], b"", &changed].into_iter().enumerate() {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(disk(dir.path()).adapt(&control, TEXT).await.unwrap(), answer);
            assert_eq!(control.state().adaptations, count + 2);
        }
        assert_eq!(std::fs::read(&path).unwrap(), good, "it is put right");
    }

    #[tokio::test]
    async fn what_nobody_uses_goes_but_for_some_of_late() {
        let dir = tempfile::tempdir().unwrap();
        let used: BTreeSet<String> = ["0", "1"].map(str::to_owned).into();
        for n in 0..6 {
            let path = dir.path().join(n.to_string());
            std::fs::write(&path, "").unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + n);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        prune(dir.path().to_owned(), used, 2).await.unwrap();
        let left = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name());
        let mut left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["0", "1", "4", "5"]);
        prune(dir.path().join("nowhere"), BTreeSet::new(), 0).await.unwrap();
    }
}
