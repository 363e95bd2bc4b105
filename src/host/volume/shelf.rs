//! The directory of the snapshots, where some are kept from purges by another name.
//!
//! Renaming is the one thing that protects a snapshot and leaves it what it is: buttervolume's purge passes over a name
//! whose time it can't read, whoever asks for the purge and whether an agent runs or not; its sends still find the
//! snapshot by the mark, which is renamed with it; and `btrfs receive` knows it by its id.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::SnapshotName;

/// The snapshots of this node by the names that they have on the disk.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    dir: PathBuf,
    in_use: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// While it lives, no snapshot of the volume changes its name.
pub(super) struct Hold<'a> {
    shelf: &'a Shelf,
    volume: String,
}

impl Shelf {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, in_use: Arc::default() }
    }

    /// Keeps the names of a volume's snapshots as they are for a call that uses one.
    pub(super) fn hold(&self, volume: &str) -> Hold<'_> {
        *self.users().entry(volume.to_owned()).or_default() += 1;
        Hold { shelf: self, volume: volume.to_owned() }
    }

    /// Renames a snapshot and its marks, one after the other. Whoever dies in between does it again. While a call uses
    /// one of the volume's, nothing happens.
    pub(super) fn set_kept(&self, snapshot: &SnapshotName, keep: bool) -> io::Result<()> {
        let users = self.users();
        if users.contains_key(snapshot.volume()) {
            return Ok(());
        }
        for (file, name) in self.files()? {
            let right = if keep { name.kept() } else { name.as_str().to_owned() };
            if name.unmarked() != snapshot.unmarked() || file == right {
                continue;
            }
            if self.dir.join(&right).try_exists()? {
                // It was sent again. A purge sees to the one that is not kept.
                tracing::debug!(file, right, "there are two of this snapshot; left alone");
                continue;
            }
            std::fs::rename(self.dir.join(&file), self.dir.join(&right))?;
        }
        Ok(())
    }

    /// The snapshots that are kept, or whose marks are.
    pub(super) fn kept(&self) -> io::Result<BTreeSet<SnapshotName>> {
        let files = self.files()?.into_iter();
        Ok(files.filter(|(file, name)| *file == name.kept()).map(|(_, n)| n.unmarked()).collect())
    }

    /// The volumes whose snapshots, or whose snapshots' marks, lie there.
    pub(super) fn volumes(&self) -> io::Result<BTreeSet<String>> {
        Ok(self.files()?.into_iter().map(|(_, name)| name.volume().to_owned()).collect())
    }

    fn files(&self) -> io::Result<Vec<(String, SnapshotName)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            // Whatever else lies there is no snapshot of ours.
            if let Ok(file) = entry?.file_name().into_string()
                && let Ok(name) = SnapshotName::parse(&file)
            {
                files.push((file, name));
            }
        }
        Ok(files)
    }

    fn users(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold<'_> {
    /// The name that a snapshot has on the disk.
    pub(super) fn file(&self, snapshot: &SnapshotName) -> String {
        let kept = snapshot.kept();
        let is_kept = self.shelf.dir.join(&kept).try_exists().unwrap_or(false);
        if is_kept { kept } else { snapshot.as_str().to_owned() }
    }

    /// Where a mark of a snapshot is on the disk: it is kept as the snapshot is.
    pub(super) fn path_of_mark(&self, snapshot: &SnapshotName, host: &str) -> PathBuf {
        self.shelf.dir.join(format!("{}@{host}", self.file(snapshot)))
    }

    /// Where a snapshot is on the disk.
    pub(super) fn path(&self, snapshot: &SnapshotName) -> PathBuf {
        self.shelf.dir.join(self.file(snapshot))
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut users = self.shelf.users();
        if let Some(count) = users.get_mut(&self.volume) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.volume);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKEN: &str = "v@2025-01-01T00:00:00.000001";

    fn shelf(files: &[&str]) -> (tempfile::TempDir, Shelf) {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            std::fs::create_dir(dir.path().join(file)).unwrap();
        }
        let shelf = Shelf::new(dir.path().to_owned());
        (dir, shelf)
    }

    fn files(dir: &tempfile::TempDir) -> Vec<String> {
        let names = std::fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn name(text: &str) -> SnapshotName {
        SnapshotName::parse(text).unwrap()
    }

    #[test]
    fn a_snapshot_is_kept_with_its_marks_and_released_with_them() {
        let mark = format!("{TAKEN}@10.77.0.2");
        let (other, stranger) = ("v@2025-01-01T00:00:00.000002", "notes");
        let (dir, shelf) = shelf(&[TAKEN, &mark, other, stranger]);
        let before = files(&dir);
        shelf.set_kept(&name(TAKEN), true).unwrap();
        shelf.set_kept(&name(TAKEN), true).unwrap();
        let kept = format!("{TAKEN}-kept");
        assert_eq!(files(&dir), [stranger, &kept, &format!("{kept}@10.77.0.2"), other]);
        assert_eq!(shelf.kept().unwrap(), [name(TAKEN)].into());
        assert_eq!(shelf.hold("v").file(&name(&mark)), format!("{kept}@10.77.0.2"));
        assert_eq!(shelf.hold("v").file(&name(other)), other);
        shelf.set_kept(&name(&mark), false).unwrap();
        assert_eq!(files(&dir), before);
        assert!(shelf.kept().unwrap().is_empty());
    }

    #[test]
    fn what_a_death_left_half_done_is_completed() {
        let (dir, shelf) = shelf(&[&format!("{TAKEN}-kept"), &format!("{TAKEN}@10.77.0.2")]);
        shelf.set_kept(&name(TAKEN), true).unwrap();
        assert!(files(&dir).iter().all(|file| file.contains("-kept")), "{:?}", files(&dir));
    }

    #[test]
    fn nothing_is_renamed_over_another_or_while_it_is_in_use() {
        let (dir, shelf) = shelf(&[&format!("{TAKEN}-kept"), TAKEN]);
        let before = files(&dir);
        shelf.set_kept(&name(TAKEN), false).unwrap();
        shelf.set_kept(&name(TAKEN), true).unwrap();
        assert_eq!(files(&dir), before);
        std::fs::remove_dir(dir.path().join(TAKEN)).unwrap();
        let hold = shelf.hold("v");
        shelf.set_kept(&name(TAKEN), false).unwrap();
        assert_eq!(files(&dir), [format!("{TAKEN}-kept")]);
        drop(hold);
        shelf.set_kept(&name(TAKEN), false).unwrap();
        assert_eq!(files(&dir), [TAKEN]);
    }
}
