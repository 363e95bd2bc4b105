//! Whether a volume holds anything else than a snapshot of it.
//!
//! The generation that the file system counts moves with reads and with further snapshots, too, and only when it commits.
//! So it decides alone only where it has not moved after a commit. Otherwise two things have to agree: no data is newer
//! than the snapshot (`find-new`, which commits first), and every file is the very one that the snapshot has. A snapshot
//! shares the inodes' numbers and times, and nobody can set the time of an inode's last change: files that were removed,
//! renamed, or got other owners, modes or attributes show there.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::btrfs;
use crate::host::command::{Command, CommandError};

/// How long the file system may look for newer data, and how long two trees may be walked.
const DEADLINE: Duration = Duration::from_secs(120);

/// Why it can't be told.
#[derive(Debug, thiserror::Error)]
pub enum LateError {
    /// The file system did not say.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The files could not be looked at, or not in time.
    #[error("its files can't be compared with the snapshot's")]
    Walk(#[from] io::Error),
    /// The snapshot does not say when it was made.
    #[error("the snapshot does not say when it was made")]
    Unknown,
}

/// Whether anything was written to the volume since the snapshot of it was made.
pub(super) async fn is_changed(volume: &Path, snapshot: &Path) -> Result<bool, LateError> {
    let made = btrfs::show(snapshot).await?.created_generation.ok_or(LateError::Unknown)?;
    let find = Command::new("btrfs").args(["subvolume", "find-new", "--"]).arg(volume);
    let found = find.arg((made + 1).to_string()).run(DEADLINE).await?.stdout;
    if names_a_file(&found) {
        return Ok(true);
    }
    // All that was written until then has been committed.
    if btrfs::show(volume).await?.generation.is_some_and(|generation| generation <= made) {
        return Ok(false);
    }
    let (volume, snapshot) = (volume.to_owned(), snapshot.to_owned());
    let end = Instant::now() + DEADLINE;
    let walked = tokio::task::spawn_blocking(move || differ(&volume, &snapshot, end)).await;
    Ok(walked.unwrap_or_else(|error| Err(io::Error::other(error)))?)
}

/// The last line is `transid marker was N`; before it there is one for each piece of a file.
fn names_a_file(found: &str) -> bool {
    found.lines().any(|line| !line.is_empty() && !line.starts_with("transid marker"))
}

/// Whether two trees, one a snapshot of the other, have other files.
fn differ(volume: &Path, snapshot: &Path, end: Instant) -> io::Result<bool> {
    let mut left = vec![PathBuf::new()];
    while let Some(below) = left.pop() {
        let (ours, theirs) = (volume.join(&below), snapshot.join(&below));
        if !is_same(&fs::symlink_metadata(&ours)?, &fs::symlink_metadata(&theirs)?) {
            return Ok(true);
        }
        let names = names(&ours)?;
        if names != self::names(&theirs)? {
            return Ok(true);
        }
        for name in names {
            if Instant::now() >= end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let facts = fs::symlink_metadata(ours.join(&name))?;
            if !is_same(&facts, &fs::symlink_metadata(theirs.join(&name))?) {
                return Ok(true);
            }
            if facts.is_dir() {
                left.push(below.join(name));
            }
        }
    }
    Ok(false)
}

fn names(dir: &Path) -> io::Result<BTreeSet<OsString>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// Whether two files are one inode, unchanged. When it was read does not count.
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    let facts = |of: &Metadata| {
        let owner = (of.uid(), of.gid(), of.mode(), of.rdev());
        let times = (of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec());
        (of.ino(), of.len(), of.nlink(), owner, times)
    };
    facts(a) == facts(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn data_that_is_newer_is_a_line_before_the_marker() {
        let line = "inode 258 file offset 0 len 5 disk start 0 offset 0 gen 10 flags INLINE b\n";
        let marker = "transid marker was 10\n";
        assert!(names_a_file(&format!("{line}{marker}")));
        assert!(!names_a_file(marker) && !names_a_file(""));
    }

    #[test]
    fn files_are_the_same_when_they_are_the_same_inodes_with_the_same_times() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for tree in [&a, &b] {
            fs::create_dir_all(tree.join("deep")).unwrap();
            fs::write(tree.join("deep/file"), "content").unwrap();
        }
        assert!(!differ(&a, &a, soon()).unwrap());
        assert!(differ(&a, &b, soon()).unwrap(), "other inodes");
        let before = fs::metadata(a.join("deep/file")).unwrap();
        assert!(is_same(&before, &fs::metadata(a.join("deep/file")).unwrap()));
        fs::write(a.join("deep/file"), "CONTENT").unwrap();
        assert!(!is_same(&before, &fs::metadata(a.join("deep/file")).unwrap()));
    }

    #[test]
    fn what_takes_too_long_or_can_not_be_read_is_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let late = differ(dir.path(), dir.path(), Instant::now()).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert!(differ(dir.path(), &dir.path().join("gone"), soon()).is_err());
    }
}
