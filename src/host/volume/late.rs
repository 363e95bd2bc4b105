//! Whether a volume holds anything else than a snapshot of it.
//!
//! The generation that the file system counts moves with reads and with further snapshots, too, and only when it commits.
//! So it decides alone only where it has not moved after a commit. Otherwise two things have to agree: no data is newer
//! than the snapshot (`find-new`, which commits first), and every file is the very one that the snapshot has. A snapshot
//! shares the inodes' numbers and times, and nobody can set the time of an inode's last change: files that were removed,
//! renamed, or got other owners, modes or attributes show there. Only the attributes of the root itself do not.

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

/// What was written to the volume since the snapshot of it was made: the first that is found, for people.
pub(super) async fn change(volume: &Path, snapshot: &Path) -> Result<Option<String>, LateError> {
    let made = btrfs::show(snapshot).await?.created_generation.ok_or(LateError::Unknown)?;
    let find = Command::new("btrfs").args(["subvolume", "find-new", "--"]).arg(volume);
    let found = find.arg((made + 1).to_string()).run(DEADLINE).await?.stdout;
    if let Some(newer) = newer_file(&found) {
        return Ok(Some(format!("{newer} has newer data")));
    }
    // All that was written until then has been committed.
    if btrfs::show(volume).await?.generation.is_some_and(|generation| generation <= made) {
        return Ok(None);
    }
    let (volume, snapshot) = (volume.to_owned(), snapshot.to_owned());
    let end = Instant::now() + DEADLINE;
    let walked = tokio::task::spawn_blocking(move || differ(&volume, &snapshot, end)).await;
    Ok(walked.unwrap_or_else(|error| Err(io::Error::other(error)))?)
}

/// The last line is `transid marker was N`; before it there is one for each piece of a file, which ends in flags and the
/// file's path.
fn newer_file(found: &str) -> Option<&str> {
    let piece =
        found.lines().find(|line| !line.is_empty() && !line.starts_with("transid marker"))?;
    let path = piece.split_once(" flags ").and_then(|(_, end)| end.split_once(' '));
    Some(path.map_or(piece, |(_, path)| path))
}

/// How two trees, one a snapshot of the other, differ first. That a directory's own time moved is told only where nothing
/// in it says more.
fn differ(volume: &Path, snapshot: &Path, end: Instant) -> io::Result<Option<String>> {
    let mut left = vec![PathBuf::new()];
    let mut of_directory = None;
    while let Some(below) = left.pop() {
        let (ours, theirs) = (volume.join(&below), snapshot.join(&below));
        let facts = (fs::symlink_metadata(&ours)?, fs::symlink_metadata(&theirs)?);
        if below.as_os_str().is_empty() {
            of_directory =
                root_change(&facts.0, &facts.1).map(|what| format!("its root has {what}"));
        } else {
            of_directory = of_directory.or_else(|| told(&below, &facts.0, &facts.1));
        }
        let names = names(&ours)?;
        if let Some(name) = names.symmetric_difference(&self::names(&theirs)?).next() {
            return Ok(Some(format!("{} came or went", below.join(name).display())));
        }
        for name in names {
            if Instant::now() >= end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let (path, facts) = (below.join(&name), fs::symlink_metadata(ours.join(&name))?);
            if facts.is_dir() {
                left.push(path);
                continue;
            }
            let change = told(&path, &facts, &fs::symlink_metadata(theirs.join(&name))?);
            if change.is_some() {
                return Ok(change);
            }
        }
    }
    Ok(of_directory)
}

fn told(path: &Path, a: &Metadata, b: &Metadata) -> Option<String> {
    change_of(a, b).map(|what| format!("{} has {what}", path.display()))
}

fn names(dir: &Path) -> io::Result<BTreeSet<OsString>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// What tells two files apart that should be one inode, unchanged. When it was read does not count.
fn change_of(a: &Metadata, b: &Metadata) -> Option<&'static str> {
    let changed = |of: &Metadata| (of.ctime(), of.ctime_nsec());
    let by_time = (changed(a) != changed(b)).then_some("another time of its last change");
    root_change(a, b).or(by_time)
}

/// As [`change_of`], without the time of the last change: a snapshot that is kept from purges, or left to them again, is
/// moved, and that counts as a change of its root.
fn root_change(a: &Metadata, b: &Metadata) -> Option<&'static str> {
    let owner = |of: &Metadata| (of.uid(), of.gid(), of.mode(), of.rdev());
    let written = |of: &Metadata| (of.mtime(), of.mtime_nsec());
    let differences = [
        (a.ino() != b.ino(), "another inode"),
        (a.len() != b.len(), "another size"),
        (a.nlink() != b.nlink(), "another number of links"),
        (owner(a) != owner(b), "another owner or mode"),
        (written(a) != written(b), "another time of its last write"),
    ];
    differences.into_iter().find_map(|(differs, what)| differs.then_some(what))
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
        assert_eq!(newer_file(&format!("{line}{marker}")), Some("b"));
        assert_eq!(newer_file("something else"), Some("something else"));
        assert!(newer_file(marker).is_none() && newer_file("").is_none());
    }

    #[test]
    fn files_are_the_same_when_they_are_the_same_inodes_with_the_same_times() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for tree in [&a, &b] {
            fs::create_dir_all(tree.join("deep")).unwrap();
            fs::write(tree.join("deep/file"), "content").unwrap();
        }
        assert_eq!(differ(&a, &a, soon()).unwrap(), None);
        assert_eq!(differ(&a, &b, soon()).unwrap().as_deref(), Some("deep/file has another inode"));
        let before = fs::metadata(a.join("deep/file")).unwrap();
        assert_eq!(change_of(&before, &fs::metadata(a.join("deep/file")).unwrap()), None);
        fs::write(a.join("deep/file"), "CONTENT").unwrap();
        let after = fs::metadata(a.join("deep/file")).unwrap();
        assert_eq!(change_of(&before, &after), Some("another time of its last write"));
    }

    #[test]
    fn a_snapshot_that_was_moved_is_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        let before = fs::metadata(&from).unwrap();
        // Until the clock that the file system goes by has moved on.
        let end = soon();
        let after = loop {
            fs::rename(&from, &to).unwrap();
            fs::rename(&to, &from).unwrap();
            let after = fs::metadata(&from).unwrap();
            if change_of(&before, &after).is_some() {
                break after;
            }
            assert!(Instant::now() < end, "a rename counts as a change");
        };
        assert_eq!(root_change(&before, &after), None);
        fs::write(from.join("file"), "").unwrap();
        assert!(root_change(&before, &fs::metadata(&from).unwrap()).is_some());
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
