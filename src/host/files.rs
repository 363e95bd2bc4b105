//! Files: replaced in one step, removed only where that is meant.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::spawn_blocking;

use crate::model::Amount;

/// Why a file or directory could not be read, replaced or removed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// read, write, remove, measure.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A symbolic link, a folder or a device stands where a file of an app has to.
    #[error("{} has to be a plain file, and is a link or something else", path.display())]
    NotPlain {
        /// What is there.
        path: PathBuf,
    },
    /// The path is not below the directory that the work is confined to.
    #[error("refused to {action} {}: {why}", path.display())]
    Refused {
        /// remove, make.
        action: &'static str,
        /// The directory.
        path: PathBuf,
        /// The rule that it breaks.
        why: &'static str,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io { action, path, source }
}

/// Does work on files beside the runtime's threads, so that no task waits for a disk that others wait for.
///
/// A runtime of a single thread, as tests and the simulation have, does it at once: what happens in which order then
/// depends on nothing but the tasks.
pub async fn off_thread<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<FileError> + Send + 'static,
{
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(source) => {
            let (action, source) = ("work on", io::Error::other(source));
            Err(FileError::Io { action, path: PathBuf::new(), source }.into())
        }
    }
}

/// Replaces `path` by a file with these bytes and this mode: a reader sees the old or the new one, whole, and so does
/// the next boot after a power cut. A symbolic link at `path` is replaced, not followed.
pub async fn write_atomic(
    path: &Path,
    bytes: impl Into<Vec<u8>>,
    mode: u32,
) -> Result<(), FileError> {
    let (path, bytes) = (path.to_owned(), bytes.into());
    off_thread(move || replace(&path, &bytes, mode)).await
}

/// [`write_atomic`] on the thread of the caller.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let replace = || -> io::Result<()> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(dir)?.sync_all()
    };
    replace().map_err(failed("write", path))
}

/// The bytes of a file, or `None` if there is no such file.
pub async fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let path = path.to_owned();
    off_thread(move || read(&path)).await
}

/// [`read_optional`] on the thread of the caller.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("read", path)(source)),
    }
}

/// The beginning of a file of an app's repository, `limit` bytes and one more, or `None` if there is no such file. A
/// symbolic link is refused: it would lead to a file of the node.
pub fn read_plain(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, FileError> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match File::options().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
            return Err(FileError::NotPlain { path: path.to_owned() });
        }
        Err(source) => return Err(failed("read", path)(source)),
    };
    if !file.metadata().map_err(failed("read", path))?.is_file() {
        return Err(FileError::NotPlain { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).map_err(failed("read", path))?;
    Ok(Some(bytes))
}

/// Removes a file; one that is gone already is fine.
pub async fn remove(path: &Path) -> Result<(), FileError> {
    let path = path.to_owned();
    off_thread(move || match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", &path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    })
    .await
}

/// How many bytes can still be written where `path` is.
pub async fn free_bytes(path: &Path) -> Result<u64, FileError> {
    Ok(space(path).await?.free)
}

/// The size of the file system where `path` is, and how much can still be written there.
pub async fn space(path: &Path) -> Result<Amount, FileError> {
    let path = path.to_owned();
    off_thread(move || {
        let facts = nix::sys::statvfs::statvfs(&path)
            .map_err(|errno| failed("measure", &path)(errno.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(facts.fragment_size());
        Ok(Amount { free: bytes(facts.blocks_available()), total: bytes(facts.blocks()) })
    })
    .await
}

/// Removes the directory `path`, which is strictly below `root`, with everything in it, and the parents that this leaves
/// empty. What is gone already is fine. Symbolic links are removed inside it, never followed, and refused on the way to it.
pub async fn remove_dir(root: &Path, path: &Path) -> Result<(), FileError> {
    let (root, path) = (root.to_owned(), path.to_owned());
    off_thread(move || {
        let below = confined(&root, &path)?;
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &path)(error));
            }
            Ok(()) | Err(_) => {}
        }
        // An app's name may hold a slash (a branch "feature/x"): its directories go with the last checkout.
        for parent in below.ancestors().skip(1) {
            if parent.as_os_str().is_empty() || fs::remove_dir(root.join(parent)).is_err() {
                break;
            }
        }
        Ok(())
    })
    .await
}

/// Makes the directories `below` a `root` that exists, step by step, for their owner alone; those that are there stay as
/// they are. A symbolic link on the way is refused: whoever may write below `root` could lead elsewhere by it.
pub fn make_private_dirs(root: &Path, below: &Path) -> Result<PathBuf, FileError> {
    let refuse = |why| FileError::Refused { action: "make", path: root.join(below), why };
    if !below.components().all(|step| matches!(step, Component::Normal(_))) {
        return Err(refuse("it is not below the directory for it"));
    }
    let mut step = root.to_owned();
    for name in below.components() {
        step.push(name);
        match DirBuilder::new().mode(0o700).create(&step) {
            Ok(()) => continue,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(failed("make", &step)(source)),
        }
        if !is_plain_dir(&step)? {
            return Err(refuse("a symbolic link or a file stands in its way"));
        }
    }
    Ok(step)
}

/// Whether `path` is a directory, and no symbolic link to one.
pub fn is_plain_dir(path: &Path) -> Result<bool, FileError> {
    match fs::symlink_metadata(path) {
        Ok(facts) => Ok(facts.is_dir()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(failed("read", path)(source)),
    }
}

/// The text of a plain file of at most `most` bytes; none if there is no file, an error if it is larger, a symbolic link
/// or no text.
pub fn read_text(path: &Path, most: u64) -> Result<Option<String>, FileError> {
    let wrong = |why| failed("read", path)(io::Error::other(why));
    match fs::symlink_metadata(path) {
        Ok(facts) if !facts.is_file() => return Err(wrong("it is no plain file")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed("read", path)(source)),
    }
    let mut text = String::new();
    let mut file = File::open(path).map_err(failed("read", path))?.take(most + 1);
    file.read_to_string(&mut text).map_err(failed("read", path))?;
    if text.len() as u64 > most {
        return Err(wrong("it is too large"));
    }
    Ok(Some(text))
}

/// The part of `path` below `root`, if every step of it is a plain directory (or missing).
fn confined(root: &Path, path: &Path) -> Result<PathBuf, FileError> {
    let refuse = |why| FileError::Refused { action: "remove", path: path.to_owned(), why };
    let below =
        path.strip_prefix(root).map_err(|_| refuse("it is outside the directory for it"))?;
    let plain = |step: Component<'_>| matches!(step, Component::Normal(_));
    if below.as_os_str().is_empty() || !below.components().all(plain) {
        return Err(refuse("it is not strictly below the directory for it"));
    }
    let mut step = root.to_owned();
    for name in below.components() {
        step.push(name);
        match fs::symlink_metadata(&step) {
            Ok(facts) if facts.is_dir() => {}
            Ok(facts) if facts.is_symlink() => return Err(refuse("a symbolic link leads to it")),
            Ok(_) => return Err(refuse("it is not a directory")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(source) => return Err(failed("remove", &step)(source)),
        }
    }
    Ok(below.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[tokio::test]
    async fn a_file_is_replaced_with_its_mode_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert_eq!(read_optional(&path).await.unwrap(), None);
        write_atomic(&path, "one", 0o644).await.unwrap();
        write_atomic(&path, "two", 0o600).await.unwrap();
        assert_eq!(read_optional(&path).await.unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_link_is_replaced_and_its_target_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "kept").unwrap();
        symlink(&target, &link).unwrap();
        write_atomic(&link, "new", 0o644).await.unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
        assert_eq!(fs::read_to_string(&link).unwrap(), "new");
    }

    #[tokio::test]
    async fn a_failed_write_names_the_file() {
        let error = write_atomic(Path::new("/no/such/dir/f"), "x", 0o644).await;
        assert_eq!(error.unwrap_err().to_string(), "cannot write /no/such/dir/f");
    }

    #[test]
    fn a_file_of_an_app_is_read_to_its_limit_and_never_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), "12345").unwrap();
        fs::create_dir(path("folder")).unwrap();
        symlink(path("file"), path("link")).unwrap();
        symlink(path("nowhere"), path("dangling")).unwrap();
        assert_eq!(read_plain(&path("file"), 5).unwrap().unwrap(), b"12345");
        assert_eq!(read_plain(&path("file"), 2).unwrap().unwrap(), b"123");
        assert_eq!(read_plain(&path("none"), 5).unwrap(), None);
        for name in ["folder", "link", "dangling"] {
            let refused = read_plain(&path(name), 5);
            assert!(matches!(refused, Err(FileError::NotPlain { .. })), "{name}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn room_is_told() {
        let room = space(Path::new("/")).await.unwrap();
        assert!(0 < room.free && room.free <= room.total);
        assert!(free_bytes(Path::new("/")).await.unwrap() > 0);
        assert!(free_bytes(Path::new("/no/such/dir")).await.is_err());
    }

    #[test]
    fn directories_are_made_for_their_owner_and_not_through_links() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let made = make_private_dirs(root.path(), Path::new("a/b")).unwrap();
        assert_eq!(made, root.path().join("a/b"));
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
        make_private_dirs(root.path(), Path::new("a/b")).unwrap();
        symlink(outside.path(), root.path().join("link")).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        for below in ["link", "link/x", "file", "../x", "/x", "a/../../x", "./x"] {
            let refused = make_private_dirs(root.path(), Path::new(below));
            assert!(matches!(refused, Err(FileError::Refused { .. })), "{below}");
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_text_is_a_plain_file_of_a_limited_size() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("f"), dir.path().join("link"));
        assert_eq!(read_text(&path, 3).unwrap(), None);
        fs::write(&path, "abc").unwrap();
        assert_eq!(read_text(&path, 3).unwrap().as_deref(), Some("abc"));
        symlink(&path, &link).unwrap();
        assert!(read_text(&path, 2).is_err() && read_text(&link, 3).is_err());
        assert!(read_text(dir.path(), 3).is_err());
    }

    #[tokio::test]
    async fn a_directory_goes_with_its_empty_parents_and_again_is_fine() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("app_feature/x.12345-id");
        let sibling = root.path().join("other");
        fs::create_dir_all(path.join("deep/er")).unwrap();
        fs::create_dir(&sibling).unwrap();
        remove_dir(root.path(), &path).await.unwrap();
        assert!(!root.path().join("app_feature").exists() && sibling.exists());
        remove_dir(root.path(), &path).await.unwrap();
        assert!(root.path().exists());
    }

    #[tokio::test]
    async fn a_link_inside_is_removed_and_its_target_kept() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "").unwrap();
        let path = root.path().join("app");
        fs::create_dir(&path).unwrap();
        symlink(outside.path(), path.join("link")).unwrap();
        remove_dir(root.path(), &path).await.unwrap();
        assert!(!path.exists() && outside.path().join("precious").exists());
    }

    #[tokio::test]
    async fn nothing_outside_of_the_root_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir_all(outside.path().join("dir")).unwrap();
        symlink(outside.path(), root.path().join("link")).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let dotted = root.path().join("x/..");
        let climbing = root.path().join("..").join(outside.path().file_name().unwrap());
        for path in [
            root.path(),
            outside.path(),
            &dotted,
            &climbing,
            &root.path().join("link"),
            &root.path().join("link/dir"),
            &root.path().join("file"),
        ] {
            let refused = remove_dir(root.path(), path).await;
            assert!(matches!(refused, Err(FileError::Refused { .. })), "{}", path.display());
        }
        assert!(outside.path().join("dir").exists() && root.path().exists());
    }
}
