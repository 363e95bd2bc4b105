//! Caddy's storage: `certificates/ISSUER/HOST/HOST.crt`, `.key` and `.json`, below `caddy-data` as the stack has it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::bundle::{Bundle, MAX_TEXT, Texts};
use super::host::{CertificateHost, IssuerName};
use crate::error::chain;
use crate::host::files::{
    FileError, is_plain_dir, make_private_dirs, off_thread, read_text, replace,
};

/// Below `caddy-data`, which is the container's XDG_DATA_HOME.
const CERTIFICATES: &str = "caddy/certificates";
/// A node has one authority or two.
const MAX_ISSUERS: usize = 32;
/// The key first: Caddy takes a certificate for one when all three are there.
const ENDINGS: [&str; 3] = ["key", "crt", "json"];

/// Caddy's storage on this node.
#[derive(Debug, Clone)]
pub struct Storage {
    data: PathBuf,
}

/// What stands there for a host.
#[derive(Debug, Default)]
pub struct Found {
    /// The newest certificate of all authorities.
    pub newest: Option<Bundle>,
    /// What is no certificate, by authority.
    pub wrong: Vec<String>,
}

/// Tells whether a host's files have changed: their paths, sizes and times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamp(Vec<(PathBuf, u64, SystemTime)>);

impl Stamp {
    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Storage {
    /// That of the node with this `data-dir`.
    pub fn new(data_dir: &Path) -> Self {
        Self { data: data_dir.join("caddy-data") }
    }

    /// The newest certificate of a host.
    pub async fn find(&self, host: &CertificateHost) -> Result<Found, FileError> {
        let (root, host) = (self.data.join(CERTIFICATES), host.clone());
        off_thread(move || find(&root, &host)).await
    }

    /// What tells changes of a host's files apart, without reading them.
    pub async fn stamp(&self, host: &CertificateHost) -> Result<Stamp, FileError> {
        let (root, host) = (self.data.join(CERTIFICATES), host.clone());
        off_thread(move || stamp(&root, &host)).await
    }

    /// Whether there is anything for a host, of any authority, Caddy's own included.
    pub async fn has_any(&self, host: &CertificateHost) -> bool {
        let (root, name) = (self.data.join(CERTIFICATES), host.file_name());
        let any = off_thread(move || {
            let entries = fs::read_dir(root).into_iter().flatten().flatten();
            let folders = entries.map(|entry| entry.path().join(&name).join(format!("{name}.crt")));
            Ok::<_, FileError>(folders.into_iter().any(|path| path.is_file()))
        });
        any.await.unwrap_or(false)
    }

    /// Puts a certificate where Caddy looks for it, for nobody but root to read.
    pub async fn put(&self, bundle: &Bundle) -> Result<(), FileError> {
        let (data, bundle) = (self.data.clone(), bundle.clone());
        off_thread(move || put(&data, &bundle)).await
    }
}

/// The authorities that have a directory, but Caddy's own.
fn issuers(root: &Path) -> Result<Vec<IssuerName>, FileError> {
    if !is_plain_dir(root)? {
        return Ok(Vec::new());
    }
    let failed = |source| FileError::Io { action: "read", path: root.to_owned(), source };
    let entries = fs::read_dir(root).map_err(failed)?;
    let entries = entries.collect::<io::Result<Vec<_>>>().map_err(failed)?;
    let name = |entry: &fs::DirEntry| IssuerName::parse(entry.file_name().to_str()?).ok();
    let mut names: Vec<_> = entries.iter().filter_map(name).collect();
    names.sort();
    names.truncate(MAX_ISSUERS);
    Ok(names)
}

/// The directories of a host, by authority. Links are passed over.
fn folders(root: &Path, host: &CertificateHost) -> Result<Vec<(IssuerName, PathBuf)>, FileError> {
    let mut folders = Vec::new();
    for issuer in issuers(root)? {
        let above = root.join(issuer.as_str());
        let folder = above.join(host.file_name());
        if is_plain_dir(&above)? && is_plain_dir(&folder)? {
            folders.push((issuer, folder));
        }
    }
    Ok(folders)
}

fn file(folder: &Path, host: &CertificateHost, ending: &str) -> PathBuf {
    folder.join(format!("{}.{ending}", host.file_name()))
}

fn find(root: &Path, host: &CertificateHost) -> Result<Found, FileError> {
    let mut found = Found::default();
    for (issuer, folder) in folders(root, host)? {
        let place = issuer.as_str().to_owned();
        let bundle = match read(&folder, host) {
            Ok(None) => continue,
            Ok(Some(texts)) => {
                Bundle::new(host.clone(), issuer, texts).map_err(|error| chain(&error))
            }
            Err(error) => Err(chain(&error)),
        };
        match bundle {
            Ok(bundle) => {
                let is_newer = found.newest.as_ref().is_none_or(|it| bundle.is_newer_than(it));
                found.newest = if is_newer { Some(bundle) } else { found.newest };
            }
            Err(what) => found.wrong.push(format!("{place}: {what}")),
        }
    }
    Ok(found)
}

/// The three files; none if one is not there.
fn read(folder: &Path, host: &CertificateHost) -> Result<Option<Texts>, FileError> {
    let [key, certificate, metadata] =
        ENDINGS.map(|ending| read_text(&file(folder, host, ending), MAX_TEXT));
    let (Some(key), Some(certificate), Some(metadata)) = (key?, certificate?, metadata?) else {
        return Ok(None);
    };
    Ok(Some(Texts { certificate, key, metadata }))
}

fn stamp(root: &Path, host: &CertificateHost) -> Result<Stamp, FileError> {
    let mut stamp = Stamp::default();
    for (_, folder) in folders(root, host)? {
        for path in ENDINGS.map(|ending| file(&folder, host, ending)) {
            let facts = match fs::symlink_metadata(&path) {
                Ok(facts) => facts,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(FileError::Io { action: "read", path, source }),
            };
            stamp.0.push((path, facts.len(), facts.modified().unwrap_or(SystemTime::UNIX_EPOCH)));
        }
    }
    Ok(stamp)
}

fn put(data: &Path, bundle: &Bundle) -> Result<(), FileError> {
    // Mounted into Caddy's container, which can change what is below it and not what it is.
    fs::create_dir_all(data).map_err(|source| FileError::Io {
        action: "make",
        path: data.to_owned(),
        source,
    })?;
    let host = bundle.host();
    let below = Path::new(CERTIFICATES).join(bundle.issuer().as_str()).join(host.file_name());
    let folder = make_private_dirs(data, &below)?;
    let Texts { certificate, key, metadata } = bundle.texts();
    for (ending, text) in ENDINGS.into_iter().zip([key, certificate, metadata]) {
        replace(&file(&folder, host, ending), text.as_bytes(), 0o600)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::super::testing::{bundle, bundle_of};
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn what_was_put_is_found_where_caddy_looks_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::new(dir.path());
        let bundle = bundle("*.app.test", "2026-01-01", "2026-04-01");
        assert!(storage.find(bundle.host()).await.unwrap().newest.is_none());
        assert!(storage.stamp(bundle.host()).await.unwrap().is_empty());
        storage.put(&bundle).await.unwrap();
        let found = storage.find(bundle.host()).await.unwrap();
        assert_eq!(found.newest, Some(bundle.clone()));
        assert!(found.wrong.is_empty());
        let folder = "caddy-data/caddy/certificates/ca.test-directory/wildcard_.app.test";
        let folder = dir.path().join(folder);
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("wildcard_.app.test.key")), 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
        let before = storage.stamp(bundle.host()).await.unwrap();
        assert_eq!(before, storage.stamp(bundle.host()).await.unwrap());
        fs::write(folder.join("wildcard_.app.test.json"), "{}").unwrap();
        assert_ne!(before, storage.stamp(bundle.host()).await.unwrap());
        let found = storage.find(bundle.host()).await.unwrap();
        assert!(found.newest.is_none() && found.wrong[0].contains("does not name the host"));
    }

    #[tokio::test]
    async fn the_newest_of_all_authorities_counts_but_caddys_own() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::new(dir.path());
        let old = bundle_of("a.test-directory", "app.test", "2026-01-01", "2026-06-01");
        let new = bundle_of("b.test-directory", "app.test", "2026-03-01", "2026-04-01");
        storage.put(&new).await.unwrap();
        storage.put(&old).await.unwrap();
        let root = dir.path().join("caddy-data/caddy/certificates");
        fs::rename(root.join("b.test-directory"), root.join("local")).unwrap();
        let found = storage.find(old.host()).await.unwrap();
        assert_eq!(found.newest.as_ref(), Some(&old));
        storage.put(&new).await.unwrap();
        assert_eq!(storage.find(old.host()).await.unwrap().newest, Some(new));
    }

    #[tokio::test]
    async fn links_lead_nowhere() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let storage = Storage::new(dir.path());
        let bundle = bundle("app.test", "2026-01-01", "2026-04-01");
        let root = dir.path().join("caddy-data/caddy/certificates");
        let folder = root.join("ca.test-directory");
        for link in [root.clone(), folder.clone(), folder.join("app.test")] {
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(outside.path(), &link).unwrap();
            assert!(storage.put(&bundle).await.is_err(), "{}", link.display());
            assert!(storage.find(bundle.host()).await.unwrap().newest.is_none());
            fs::remove_file(&link).unwrap();
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        storage.put(&bundle).await.unwrap();
        let key = folder.join("app.test/app.test.key");
        fs::rename(&key, outside.path().join("key")).unwrap();
        symlink(outside.path().join("key"), &key).unwrap();
        let found = storage.find(bundle.host()).await.unwrap();
        assert!(found.newest.is_none() && found.wrong[0].contains("no plain file"), "{found:?}");
        storage.put(&bundle).await.unwrap();
        assert!(!key.is_symlink(), "it is replaced, not followed");
    }
}
