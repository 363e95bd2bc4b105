//! [`Repositories`] by libgit2.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use git2::ErrorCode;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::classify::{Kind, classify};
use super::endpoint::Endpoint;
use super::fetch::{Failure, Job, Watch};
use super::{Commit, Progress, Repositories, RepositoryError};
use crate::model::AppId;

/// How long a host may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(15);

/// What to do about a git host's SSH key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostKeyPolicy {
    /// A host that is not on file is put there; one whose key changed is refused.
    #[default]
    AcceptNew,
    /// Only hosts on file, in Tandem's own file or in `~/.ssh/known_hosts`.
    Strict,
    /// Any key will do.
    Off,
}

/// How to get at repositories.
#[derive(Clone)]
pub struct GitSettings {
    /// The private key for ssh; those in `~/.ssh` when absent. An SSH agent is asked after that.
    pub ssh_key: Option<PathBuf>,
    /// The key's passphrase.
    pub ssh_passphrase: Option<String>,
    /// What to do about unknown hosts.
    pub host_keys: HostKeyPolicy,
    /// Tandem's own file of hosts, in the format of OpenSSH; read, and appended to by `AcceptNew`.
    pub known_hosts: PathBuf,
    /// The token for https; never sent over plain http.
    pub https_token: Option<String>,
    /// The hosts, `name:port` in lower case, that the token is for.
    pub https_hosts: Vec<String>,
    /// The user that the token belongs to.
    pub https_user: String,
    /// The deadline for one checkout.
    pub timeout: Duration,
}

impl Default for GitSettings {
    fn default() -> Self {
        Self {
            ssh_key: None,
            ssh_passphrase: None,
            host_keys: HostKeyPolicy::default(),
            known_hosts: PathBuf::from("/var/lib/tandem/known_hosts"),
            https_token: None,
            https_hosts: Vec::new(),
            https_user: "oauth2".to_owned(),
            timeout: Duration::from_secs(600),
        }
    }
}

/// Clones with libgit2, on threads of their own.
pub struct GitRepositories {
    settings: Arc<GitSettings>,
}

impl GitRepositories {
    /// Repositories reached with these settings.
    pub fn new(settings: GitSettings) -> Self {
        Self { settings: Arc::new(settings) }
    }

    async fn work(
        &self,
        app: &AppId,
        target: &Path,
        watch: Arc<Watch>,
    ) -> Result<Commit, RepositoryError> {
        reach(app).await?;
        let job = Job {
            url: app.repo.as_str().to_owned(),
            branch: app.branch.clone(),
            target: target.to_owned(),
            settings: Arc::clone(&self.settings),
        };
        match spawn_blocking(move || job.run(&watch)).await {
            Ok(Ok(commit)) => Ok(commit),
            Ok(Err(failure)) => Err(explain(app, failure, self.settings.timeout)),
            Err(panic) => {
                Err(RepositoryError::Other { repo: app.repo.clone(), source: panic.into() })
            }
        }
    }
}

#[async_trait]
impl Repositories for GitRepositories {
    async fn checkout(
        &self,
        app: &AppId,
        target: &Path,
        progress: Progress,
    ) -> Result<Commit, RepositoryError> {
        let after = self.settings.timeout;
        let watch = Arc::new(Watch::new(progress));
        // A thread in libgit2 can't be ended: it ends itself at its next callback, and leaves no target behind.
        let _stop = StopOnDrop(Arc::clone(&watch));
        match timeout(after, self.work(app, target, watch)).await {
            Ok(result) => result,
            Err(_) => Err(RepositoryError::TimedOut { repo: app.repo.clone(), after }),
        }
    }
}

struct StopOnDrop(Arc<Watch>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Opens a connection and closes it again: libgit2 would wait minutes for a host that drops packets, without a way to
/// call it back.
async fn reach(app: &AppId) -> Result<(), RepositoryError> {
    let url = app.repo.as_str();
    let Some(endpoint) = Endpoint::of(url).filter(|_| !by_proxy(url)) else {
        return Ok(());
    };
    let connect = TcpStream::connect((endpoint.host.as_str(), endpoint.port));
    let said = match timeout(CONNECT, connect).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {CONNECT:?}"),
    };
    Err(RepositoryError::HostUnreachable {
        repo: app.repo.clone(),
        host: endpoint.to_string(),
        said,
    })
}

/// Whether a proxy may stand between, which then knows better where the host is.
fn by_proxy(url: &str) -> bool {
    let names: &[&str] = if url.starts_with("https://") {
        &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    } else if url.starts_with("http://") {
        &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
    } else {
        &[]
    };
    names.iter().any(|name| std::env::var_os(name).is_some())
}

fn explain(app: &AppId, failure: Failure, after: Duration) -> RepositoryError {
    let repo = app.repo.clone();
    let (error, findings) = match failure {
        Failure::NoSuchBranch { branches, more } => {
            return RepositoryError::NoSuchBranch {
                repo,
                branch: app.branch.clone(),
                branches,
                more,
            };
        }
        Failure::Stopped => return RepositoryError::TimedOut { repo, after },
        Failure::Disk(source) => {
            let source = source.into();
            return RepositoryError::Other { repo, source };
        }
        Failure::Git(error, findings) => (error, findings),
    };
    let said = error.message().trim().to_owned();
    match classify(error.code(), error.class(), &said) {
        Kind::NoSuchRepository => RepositoryError::NoSuchRepository { repo, said },
        Kind::HostUnreachable => {
            let host = Endpoint::of(repo.as_str()).map_or_else(String::new, |e| e.to_string());
            RepositoryError::HostUnreachable { repo, host, said }
        }
        Kind::Authentication => {
            let mut tried = findings.tried;
            if let Some(last) = tried.last_mut().filter(|_| error.code() != ErrorCode::Auth) {
                // The key itself is the trouble: missing, or locked by a passphrase.
                *last = format!("{last} ({said})");
            }
            RepositoryError::Authentication { repo, tried }
        }
        Kind::HostKey => RepositoryError::HostKey { repo, said: findings.host_key.unwrap_or(said) },
        Kind::TimedOut => RepositoryError::TimedOut { repo, after },
        Kind::Other => RepositoryError::Other { repo, source: Box::new(error) },
    }
}

#[cfg(test)]
mod tests;
