//! One checkout with libgit2, blocking.

mod refs;

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use git2::build::CheckoutBuilder;
use git2::{
    AutotagOption, Direction, FetchOptions, Oid, ProxyOptions, RemoteCallbacks, Repository,
    RepositoryInitOptions,
};
use tempfile::TempDir;

use super::access::{Access, Findings};
use super::classify::{Kind, classify};
use super::git::GitSettings;
use super::{Commit, Progress};
use crate::model::Branch;
use refs::{find, local_name};

const REPORT_EVERY: Duration = Duration::from_secs(1);
const PARTIAL: &str = ".partial";

/// Why a job ended without a checkout.
pub(super) enum Failure {
    NoSuchBranch { branches: Vec<String>, more: usize },
    Stopped,
    Disk(io::Error),
    Git(git2::Error, Findings),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl From<git2::Error> for Failure {
    fn from(error: git2::Error) -> Self {
        Self::Git(error, Findings::default())
    }
}

/// What the waiting side can tell the job, and the job the waiting side.
pub(super) struct Watch {
    stopped: AtomicBool,
    progress: Progress,
}

impl Watch {
    pub(super) fn new(progress: Progress) -> Self {
        Self { stopped: AtomicBool::new(false), progress }
    }

    /// Makes the job end at its next callback.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), Failure> {
        if self.is_stopped() { Err(Failure::Stopped) } else { Ok(()) }
    }
}

/// One checkout to make.
pub(super) struct Job {
    pub(super) url: String,
    pub(super) branch: Branch,
    pub(super) target: PathBuf,
    pub(super) settings: Arc<GitSettings>,
}

impl Job {
    pub(super) fn run(&self, watch: &Watch) -> Result<Commit, Failure> {
        let (parent, name) = match (self.target.parent(), self.target.file_name()) {
            (Some(parent), Some(name)) => (parent, name.to_string_lossy()),
            (_, _) => return Err(io::Error::from(io::ErrorKind::InvalidInput).into()),
        };
        fs::create_dir_all(parent)?;
        let prefix = format!(".{name}.");
        for left in leftovers(&self.target)? {
            fs::remove_dir_all(left)?;
        }
        match self.attempt(&self.url, parent, &prefix, watch) {
            // An app's repository is named without ".git"; file: and some web servers take names as they are.
            Err(Failure::Git(error, _)) if is_missing(&error) => {
                let with_suffix = format!("{}.git", self.url);
                let second = self.attempt(&with_suffix, parent, &prefix, watch);
                match second {
                    Err(Failure::Git(second, _)) if is_missing(&second) => Err(error.into()),
                    Ok(_) | Err(_) => second,
                }
            }
            first => first,
        }
    }

    fn attempt(
        &self,
        url: &str,
        parent: &Path,
        prefix: &str,
        watch: &Watch,
    ) -> Result<Commit, Failure> {
        watch.check()?;
        let new_dir = || tempfile::Builder::new().prefix(prefix).suffix(PARTIAL).tempdir_in(parent);
        let partial = new_dir()?;
        let access = Access::new(&self.settings, url);
        let fetched = self.fetch(url, partial.path(), &access, watch);
        let commit = match fetched {
            Ok(Some(commit)) => commit,
            Ok(None) => return Ok(Commit::new(head_of(&self.target)?)),
            Err(_) if watch.is_stopped() => return Err(Failure::Stopped),
            Err(Failure::Git(error, _)) => return Err(Failure::Git(error, access.findings())),
            Err(failure) => return Err(failure),
        };
        watch.check()?;
        self.install(partial, new_dir)?;
        Ok(Commit::new(commit))
    }

    /// Fetches and checks out into `dir`; `None` if the target holds that commit already.
    fn fetch(
        &self,
        url: &str,
        dir: &Path,
        access: &Access<'_>,
        watch: &Watch,
    ) -> Result<Option<Oid>, Failure> {
        let mut init = RepositoryInitOptions::new();
        // Without this, hooks would be copied from the machine's template directory.
        init.external_template(false);
        let repo = Repository::init_opts(dir, &init)?;
        let mut remote = repo.remote("origin", url)?;
        let mut connection = remote.connect_auth(
            Direction::Fetch,
            Some(callbacks(access, watch)),
            Some(proxies()),
        )?;
        let found = find(connection.list()?, &self.branch)?;
        if head_of(&self.target).is_ok_and(|head| head == found.commit) {
            return Ok(None);
        }
        let local = local_name(&found.name);
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(callbacks(access, watch))
            .proxy_options(proxies())
            .download_tags(AutotagOption::None)
            .update_fetchhead(false);
        if !url.starts_with("file:") {
            // libgit2's transport for local paths has no shallow fetch.
            options.depth(1);
        }
        let spec = format!("+{}:{local}", found.name);
        connection.remote().fetch(&[spec.as_str()], Some(&mut options), None)?;
        drop(connection);
        let stats = remote.stats();
        let (objects, kib) = (stats.received_objects(), stats.received_bytes() / 1024);
        watch.progress.report(&format!("received {objects} objects, {kib} KiB"));
        watch.check()?;
        check_out(&repo, &found.name, &local).map(Some)
    }

    /// Puts the finished checkout in its place, in one step as seen from outside, a former one aside.
    fn install(
        &self,
        partial: TempDir,
        new_dir: impl Fn() -> io::Result<TempDir>,
    ) -> Result<(), Failure> {
        // Containers read bind-mounted files with users of their own.
        fs::set_permissions(partial.path(), Permissions::from_mode(0o755))?;
        // After a power cut a checkout in its place must be complete.
        nix::unistd::syncfs(File::open(partial.path())?).map_err(io::Error::from)?;
        let former = new_dir()?;
        if fs::symlink_metadata(&self.target).is_ok() {
            fs::rename(&self.target, former.path().join("former"))?;
        }
        fs::rename(partial.keep(), &self.target)?;
        Ok(())
    }
}

/// What clones to this target left behind whose agent died: directories beside it.
///
/// # Errors
/// If the directory can't be read; one that is missing holds nothing.
pub fn leftovers(target: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        return Ok(Vec::new());
    };
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let prefix = format!(".{}.", name.to_string_lossy());
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&prefix) && name.ends_with(PARTIAL) {
            found.push(path);
        }
    }
    Ok(found)
}

fn is_missing(error: &git2::Error) -> bool {
    classify(error.code(), error.class(), error.message()) == Kind::NoSuchRepository
}

fn head_of(dir: &Path) -> Result<Oid, git2::Error> {
    Ok(Repository::open(dir)?.head()?.peel_to_commit()?.id())
}

fn proxies() -> ProxyOptions<'static> {
    let mut options = ProxyOptions::new();
    options.auto();
    options
}

fn callbacks<'a>(access: &'a Access<'_>, watch: &'a Watch) -> RemoteCallbacks<'a> {
    let mut callbacks = RemoteCallbacks::new();
    callbacks.credentials(|_, user, allowed| access.credential(user, allowed));
    callbacks.certificate_check(|cert, _| access.certificate(cert));
    callbacks.sideband_progress(|_| !watch.is_stopped());
    let mut last = Instant::now();
    callbacks.transfer_progress(move |transfer| {
        if last.elapsed() >= REPORT_EVERY {
            last = Instant::now();
            let (got, all) = (transfer.received_objects(), transfer.total_objects());
            let kib = transfer.received_bytes() / 1024;
            watch.progress.report(&format!("{got} of {all} objects, {kib} KiB"));
        }
        !watch.is_stopped()
    });
    callbacks
}

fn check_out(repo: &Repository, remote_ref: &str, local: &str) -> Result<Oid, Failure> {
    let commit = repo.find_reference(local)?.peel_to_commit()?.id();
    if remote_ref.starts_with("refs/heads/") {
        repo.reference(remote_ref, commit, true, "checkout")?;
        repo.set_head(remote_ref)?;
    } else {
        repo.set_head_detached(commit)?;
    }
    let mut how = CheckoutBuilder::new();
    how.force().disable_filters(true);
    repo.checkout_head(Some(&mut how))?;
    Ok(commit)
}
