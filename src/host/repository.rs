//! The apps' repositories: one shallow checkout per deployment.

mod access;
mod classify;
mod endpoint;
mod fetch;
mod git;
mod known_hosts;
mod lfs;
mod tracked;

#[cfg(any(test, feature = "testing"))]
mod fake;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::{AppId, Branch, Repo};

#[cfg(any(test, feature = "testing"))]
pub use fake::FakeRepositories;
pub use fetch::leftovers;
pub use git::{GitRepositories, GitSettings, HostKeyPolicy};
pub use lfs::lfs_warning;
pub use tracked::{in_checkout, in_work_tree};

/// Where checkouts come from.
#[async_trait]
pub trait Repositories: Send + Sync {
    /// Makes `target` a checkout of the app's branch, or of its tag if there is no such branch, and tells the commit.
    ///
    /// Idempotent: a target that holds this commit already is left as it is, another one is replaced. `target` appears
    /// complete or not at all. Submodules are not followed, and nothing of the repository is executed.
    async fn checkout(
        &self,
        app: &AppId,
        target: &Path,
        progress: Progress,
    ) -> Result<Commit, RepositoryError>;
}

/// The id of a commit: 40 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit(String);

impl Commit {
    pub(crate) fn new(id: impl fmt::Display) -> Self {
        Self(id.to_string())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a checkout tells how far it is, at most once a second.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(&str) + Send + Sync>);

impl Progress {
    /// Logs at info, in the span that is current now (the work itself runs on a thread of its own).
    pub fn log() -> Self {
        let span = tracing::Span::current();
        Self::to(move |text| {
            span.in_scope(|| tracing::info!(target: "tandem::repository", "{text}"));
        })
    }

    /// Hands each line to a function.
    pub fn to(report: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(report))
    }

    pub(crate) fn report(&self, text: &str) {
        (self.0)(text);
    }
}

/// Why there is no checkout.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The host answers, but has no such repository (or does not say so to strangers).
    #[error("no repository at {repo} ({said})")]
    NoSuchRepository {
        /// The repository.
        repo: Repo,
        /// What the host or the system said.
        said: String,
    },
    /// The repository has neither a branch nor a tag of that name.
    #[error("{repo} has no branch or tag {branch}; {}", there_are(branches, *more))]
    NoSuchBranch {
        /// The repository.
        repo: Repo,
        /// The name asked for.
        branch: Branch,
        /// Up to ten branches that it has.
        branches: Vec<String>,
        /// How many it has beyond those.
        more: usize,
    },
    /// The host's name does not resolve, or nobody listens there.
    #[error("cannot reach {host} for {repo}: {said}")]
    HostUnreachable {
        /// The repository.
        repo: Repo,
        /// The host, with its port.
        host: String,
        /// What the system said.
        said: String,
    },
    /// The host wants credentials, or other ones.
    #[error("{repo} refused access; tried {}", tried_text(tried))]
    Authentication {
        /// The repository.
        repo: Repo,
        /// The credentials that were offered, without secrets.
        tried: Vec<String>,
    },
    /// The host's SSH key or certificate is not the expected one.
    #[error("the identity of {repo}'s host is in doubt: {said}")]
    HostKey {
        /// The repository.
        repo: Repo,
        /// What is wrong with the key.
        said: String,
    },
    /// The deadline passed.
    #[error("no checkout of {repo} within {after:?}")]
    TimedOut {
        /// The repository.
        repo: Repo,
        /// The deadline.
        after: Duration,
    },
    /// Something else failed, in git or on this node's disk.
    #[error("cannot check out {repo}")]
    Other {
        /// The repository.
        repo: Repo,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl RepositoryError {
    /// Whether the next try may go well: the network, or a server that was busy or restarting.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::HostUnreachable { .. } | Self::Other { .. })
    }
}

fn there_are(branches: &[String], more: usize) -> String {
    match (branches, more) {
        ([], _) => "it has no branches".to_owned(),
        (some, 0) => format!("it has {}", some.join(", ")),
        (some, more) => format!("it has {} and {more} more", some.join(", ")),
    }
}

fn tried_text(tried: &[String]) -> String {
    if tried.is_empty() {
        "nothing: no key or token for it is set".to_owned()
    } else {
        tried.join(", ")
    }
}
