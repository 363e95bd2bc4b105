//! What is asked of the disk, because buttervolume does not say it.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::host::volume::VolumeError;

/// The inode of a subvolume's root, in every btrfs.
const ROOT_INODE: u64 = 256;

/// The subvolumes in a directory, without asking the file system about each; none where there is no directory.
pub(super) fn subvolumes(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let facts = entry.metadata()?;
        if facts.is_dir()
            && facts.ino() == ROOT_INODE
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// Works on the directory of the snapshots, apart from the tasks that must not wait.
pub(super) async fn on_disk<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, VolumeError> {
    blocking(work).await.map_err(|source| VolumeError::Shelf { operation, source })
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
