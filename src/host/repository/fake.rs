//! [`Repositories`] in memory, writing real files into the target.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;

use super::{Commit, Progress, Repositories, RepositoryError};
use crate::host::fake::{Failures, FakeMachine, lock};
use crate::model::AppId;

type Files = BTreeMap<String, String>;

/// Repositories that are maps of files; the only real thing is the checkout.
#[derive(Default)]
pub struct FakeRepositories {
    machine: FakeMachine,
    /// Failures to come; the operation is `checkout`.
    pub failures: Failures<RepositoryError>,
    apps: Mutex<BTreeMap<AppId, (Commit, Files)>>,
}

impl FakeRepositories {
    /// No repositories yet.
    pub fn new(machine: FakeMachine) -> Self {
        Self { machine, ..Self::default() }
    }

    /// Makes a branch hold these files at this commit.
    pub fn put(&self, app: &AppId, commit: &str, files: &[(&str, &str)]) {
        let files =
            files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        lock(&self.apps).insert(app.clone(), (Commit::new(commit), files));
    }

    /// Makes the next checkout fail.
    pub fn fail_next(&self, error: RepositoryError) {
        self.failures.push("checkout", error);
    }
}

#[async_trait]
impl Repositories for FakeRepositories {
    async fn checkout(
        &self,
        app: &AppId,
        target: &Path,
        progress: Progress,
    ) -> Result<Commit, RepositoryError> {
        self.machine.note(format!("checkout {}", app.name()));
        self.failures.take("checkout")?;
        let repo = app.repo.clone();
        let Some((commit, files)) = lock(&self.apps).get(app).cloned() else {
            let said = "not put there".to_owned();
            return Err(RepositoryError::NoSuchRepository { repo, said });
        };
        let write = || -> io::Result<()> {
            fs::create_dir_all(target)?;
            for (name, text) in &files {
                let path = target.join(name);
                if let Some(dir) = path.parent() {
                    fs::create_dir_all(dir)?;
                }
                fs::write(path, text)?;
            }
            Ok(())
        };
        write().map_err(|error| RepositoryError::Other { repo, source: error.into() })?;
        progress.report("received from memory");
        Ok(commit)
    }
}
