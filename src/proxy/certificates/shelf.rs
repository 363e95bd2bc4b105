//! The certificates that an admin has put on this node, and the copies of them that Caddy reads.
//!
//! Caddy never sees the admin's files: a pair that has passed all checks is copied to `caddy/given/NAME-TAG.crt` and
//! `.key`, and Caddy's configuration names the copies. So a file that is removed or replaced by a wrong one changes
//! nothing of what is served, a renewed one changes the configuration, and a key is in no configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use caddyfile::Scheme;
use chrono::{DateTime, Utc};

use super::bundle::{BundleError, MAX_TEXT};
use super::pair::{CertificateName, Pair};
use super::{CertificateHost, Storage};
use crate::error::chain;
use crate::host::files::{FileError, make_private_dirs, off_thread, read_plain, replace};
use crate::proxy::ProxySettings;
use crate::proxy::render::AppSites;
use crate::proxy::tls::{Given, TlsSource};

/// Below `data-dir`.
const COPIES: &str = "caddy/given";
/// The key first: a copy is one when both are there.
const ENDINGS: [&str; 2] = ["key", "crt"];

/// Why an admin's files are not used.
#[derive(Debug, thiserror::Error)]
enum GivenError {
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    #[error("{} can be read by others: `chmod 600` it", .0.display())]
    Open(PathBuf),
    #[error("{} is larger than 64 KiB, or no text", .0.display())]
    Text(PathBuf),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Pair(#[from] BundleError),
}

/// Tells whether an admin's files have changed.
type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

/// What was found last, by name; why not, as text.
type Known = BTreeMap<CertificateName, (Stamp, Result<Pair, String>)>;

/// The certificates of a node that are given by policies.
#[derive(Debug)]
pub struct Shelf {
    dir: PathBuf,
    data: PathBuf,
    caddys: Storage,
    known: Mutex<Known>,
}

/// What there is for a host.
struct Found {
    pair: Option<Pair>,
    problem: Option<String>,
}

impl Shelf {
    /// That of the node with these settings.
    pub fn new(settings: &ProxySettings) -> Self {
        Self {
            dir: settings.certificate_dir.clone(),
            data: settings.data_dir.clone(),
            caddys: Storage::new(&settings.data_dir),
            known: Mutex::default(),
        }
    }

    /// Says of each host of an app that a policy gives a certificate which one Caddy shall show. Tells what is wrong.
    ///
    /// What can't be used gives way to what was used before; where there is nothing, to what Caddy itself has been
    /// issued for the host; where there is neither, the host has no certificate: nobody else is asked for one.
    pub async fn settle(&self, sites: &mut AppSites, now: DateTime<Utc>) -> Vec<String> {
        let mut problems = Vec::new();
        for (host, name) in sites.given.clone() {
            let mut found = self.find(&name, &host, now).await;
            let given = match found.pair {
                None => None,
                Some(pair) => match self.put(&name, &pair).await {
                    Ok(given) => Some(given),
                    Err(error) => {
                        found.problem = Some(chain(&error));
                        None
                    }
                },
            };
            let is_kept = given.is_none() && self.is_issued(&host).await;
            let mut told = found.problem;
            if given.is_none() {
                let rest = match is_kept {
                    true => "it keeps the one that Caddy was issued",
                    false => "it has none",
                };
                told = told.map(|what| format!("{what}; {rest}"));
            }
            problems.extend(told.map(|what| format!("the certificate {name} of {host}: {what}")));
            if !is_kept {
                sites.hosts.insert((Scheme::Https, host), TlsSource::Given(given.map(Box::new)));
            }
        }
        problems
    }

    /// What keeps hosts of an app from having the certificates that policies give them. Writes nothing.
    pub async fn lacks(&self, sites: &AppSites, now: DateTime<Utc>) -> Vec<String> {
        let mut lacks = Vec::new();
        for (host, name) in &sites.given {
            if let Found { pair: None, problem: Some(what) } = self.find(name, host, now).await {
                lacks.push(format!("the certificate {name} of {host}: {what}"));
            }
        }
        lacks
    }

    /// Removes the copies that nothing names any more.
    pub async fn keep_only(&self, used: BTreeSet<PathBuf>) -> Result<(), FileError> {
        let copies = self.data.join(COPIES);
        off_thread(move || remove_others(&copies, &used)).await
    }

    async fn find(&self, name: &CertificateName, host: &str, now: DateTime<Utc>) -> Found {
        let pair = self.read(name).await;
        let fits = pair.and_then(|pair| pair.check(host, now).map(|()| pair));
        match fits {
            Ok(pair) => {
                let end = pair.ends_soon(now);
                let problem = end.map(|end| {
                    format!("it ends on {}: replace its files on every node", end.format("%F"))
                });
                Found { pair: Some(pair), problem }
            }
            Err(what) => {
                let former = self.former(name, host).await;
                let rest = former.as_ref().map_or("", |_| "; the one from before stays");
                Found { pair: former, problem: Some(format!("{what}{rest}")) }
            }
        }
    }

    /// The admin's pair; files that are as they were are not read again.
    async fn read(&self, name: &CertificateName) -> Result<Pair, String> {
        let files = ENDINGS.map(|ending| self.dir.join(format!("{name}.{ending}")));
        let of = files.clone();
        let stamp = off_thread(move || Ok::<_, FileError>(stamp(&of))).await;
        let stamp = stamp.map_err(|error| chain(&error))?;
        if let Some((known, found)) = self.known().get(name)
            && *known == stamp
        {
            return found.clone();
        }
        let found = off_thread(move || admins(&files)).await.map_err(|error| chain(&error));
        self.known().insert(name.clone(), (stamp, found.clone()));
        found
    }

    /// The newest copy that is for a host.
    async fn former(&self, name: &CertificateName, host: &str) -> Option<Pair> {
        let (copies, name, host) = (self.data.join(COPIES), name.clone(), host.to_owned());
        let all = off_thread(move || of_name(&copies, &name)).await.unwrap_or_default();
        all.into_iter().find(|pair| pair.is_for(&host))
    }

    /// Copies a pair for Caddy, unless that is done.
    async fn put(&self, name: &CertificateName, pair: &Pair) -> Result<Given, FileError> {
        let (data, name, pair) = (self.data.clone(), name.clone(), pair.clone());
        off_thread(move || {
            let copies = make_private_dirs(&data, Path::new(COPIES))?;
            let [key, certificate] = ENDINGS.map(|end| copies.join(file(&name, pair.tag(), end)));
            for (path, text) in [(&key, pair.key()), (&certificate, pair.certificate())] {
                let there = read_plain(path, text.len()).ok().flatten();
                if there.as_deref() != Some(text.as_bytes()) {
                    replace(path, text.as_bytes(), 0o600)?;
                }
            }
            Ok(Given { tag: pair.tag().to_owned(), certificate, key })
        })
        .await
    }

    /// Whether Caddy was issued a certificate for a host, by whomever.
    async fn is_issued(&self, host: &str) -> bool {
        match CertificateHost::parse(host) {
            Ok(host) => self.caddys.has_any(&host).await,
            Err(_) => false,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file(name: &CertificateName, tag: &str, ending: &str) -> String {
    format!("{name}-{tag}.{ending}")
}

fn stamp(files: &[PathBuf]) -> Stamp {
    let one = |path: &PathBuf| {
        let facts = fs::symlink_metadata(path).ok()?;
        // This time tells of a new mode too.
        Some((facts.len(), facts.ino(), facts.ctime(), facts.ctime_nsec()))
    };
    files.iter().map(one).collect()
}

/// An admin's files: plain ones, the key for its owner alone.
fn admins([key, certificate]: &[PathBuf; 2]) -> Result<Pair, GivenError> {
    let texts = (text(certificate)?, text(key)?);
    let facts = fs::symlink_metadata(key).map_err(|source| FileError::Io {
        action: "read",
        path: key.clone(),
        source,
    })?;
    if facts.permissions().mode() & 0o077 != 0 {
        return Err(GivenError::Open(key.clone()));
    }
    Ok(Pair::new(&texts.0, &texts.1)?)
}

fn text(path: &Path) -> Result<String, GivenError> {
    let most = usize::try_from(MAX_TEXT).unwrap_or(usize::MAX);
    let bytes = read_plain(path, most)?.ok_or_else(|| GivenError::Missing(path.to_owned()))?;
    let text = String::from_utf8(bytes).ok().filter(|text| text.len() <= most);
    text.ok_or_else(|| GivenError::Text(path.to_owned()))
}

/// The files in the directory of the copies, by name; none if there is no directory.
fn copies_in(copies: &Path) -> Result<Vec<String>, FileError> {
    let failed = |source| FileError::Io { action: "read", path: copies.to_owned(), source };
    let entries = match fs::read_dir(copies) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>().map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    Ok(entries.iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// The copies of a name, the newest first.
fn of_name(copies: &Path, name: &CertificateName) -> Result<Vec<Pair>, FileError> {
    let mut found = Vec::new();
    for file_name in copies_in(copies)? {
        let stem = file_name.strip_suffix(".crt");
        // No tag has a dash, and a name may have some.
        let of = stem.and_then(|stem| stem.rsplit_once('-'));
        let Some((stem, _)) = stem.zip(of).filter(|(_, (of, _))| *of == name.as_str()) else {
            continue;
        };
        let files = ENDINGS.map(|ending| copies.join(format!("{stem}.{ending}")));
        let written = fs::symlink_metadata(&files[1]).and_then(|facts| facts.modified());
        if let (Ok(pair), Ok(written)) = (admins(&files), written) {
            found.push((written, pair));
        }
    }
    found.sort_by_key(|(written, pair)| std::cmp::Reverse((*written, pair.facts().not_before)));
    Ok(found.into_iter().map(|(_, pair)| pair).collect())
}

fn remove_others(copies: &Path, used: &BTreeSet<PathBuf>) -> Result<(), FileError> {
    for path in copies_in(copies)?.into_iter().map(|name| copies.join(name)) {
        if !used.contains(&path) {
            fs::remove_file(&path).map_err(|source| FileError::Io {
                action: "remove",
                path,
                source,
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
