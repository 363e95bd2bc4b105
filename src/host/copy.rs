//! Copies of directories that are compared before they count.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::{Command, CommandError};
use super::files::{FileError, off_thread};
use super::volume::compare::{differ, difference};

/// There may be millions of files.
const WALK: Duration = Duration::from_secs(600);

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It could not be made.
    #[error("{from} can't be copied to {to}")]
    Copy {
        /// What was to be copied.
        from: PathBuf,
        /// Where.
        to: PathBuf,
        /// The cause.
        source: CommandError,
    },
    /// A file could not be read.
    #[error("{path} can't be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The copy is another one.
    #[error("{path} differs from what it is a copy of: {what}")]
    Differs {
        /// The copy.
        path: PathBuf,
        /// In what.
        what: String,
    },
    /// The comparison broke off.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Copies a file or a directory, with owners, modes, links and attributes, in place of what an earlier try left, and
/// compares the copy by its content. Nothing may write to it meanwhile.
pub async fn whole(from: &Path, to: &Path) -> Result<(), CopyError> {
    let failed = |source| CopyError::Copy { from: from.to_owned(), to: to.to_owned(), source };
    let parent = to.parent().unwrap_or(to);
    let make = Command::new("mkdir").args(["--parents", "--"]).arg(parent);
    make.run(WALK).await.map_err(failed)?;
    let clear = Command::new("rm").args(["--recursive", "--force", "--one-file-system", "--"]);
    clear.arg(to).run(WALK).await.map_err(failed)?;
    let copy = Command::new("cp");
    let copy = copy.args(["--archive", "--reflink=auto", "--no-target-directory", "--"]);
    copy.arg(from).arg(to).run(WALK).await.map_err(failed)?;
    let (from, to) = (from.to_owned(), to.to_owned());
    off_thread(move || compare(&from, &to)).await
}

/// Passes if two files or trees hold the same.
fn compare(from: &Path, to: &Path) -> Result<(), CopyError> {
    let read = |path: &Path, source| CopyError::Read { path: path.to_owned(), source };
    let look = |path: &Path| fs::symlink_metadata(path).map_err(|source| read(path, source));
    let (one, other) = (look(from)?, look(to)?);
    let found = match differ(from, &one, to, &other) {
        Ok(None) if one.is_dir() => difference(from, to),
        Ok(what) => Ok(what.map(|what| format!("it has another {what}"))),
        Err(error) => Err(error),
    };
    match found.map_err(|source| read(to, source))? {
        None => Ok(()),
        Some(what) => Err(CopyError::Differs { path: to.to_owned(), what }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn tree() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("a/to"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::write(from.join("sub/file"), vec![7; 200_000]).unwrap();
        fs::set_permissions(from.join("sub/file"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("/nowhere", from.join("link")).unwrap();
        nix::unistd::mkfifo(&from.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        (dir, from, to)
    }

    #[tokio::test]
    async fn what_is_copied_is_the_same_and_an_earlier_try_is_no_part_of_it() {
        let (_dir, from, to) = tree();
        fs::create_dir_all(to.join("torn")).unwrap();
        whole(&from, &to).await.unwrap();
        compare(&from, &to).unwrap();
        assert!(!to.join("torn").exists());
        // A single file.
        whole(&from.join("sub/file"), &to.join("one")).await.unwrap();
        assert_eq!(fs::read(to.join("one")).unwrap().len(), 200_000);
    }

    #[tokio::test]
    async fn a_copy_that_differs_in_anything_is_none() {
        type Change = fn(&Path);
        let changes: [Change; 5] = [
            |to| fs::write(to.join("sub/file"), vec![8; 200_000]).unwrap(),
            |to| fs::write(to.join("sub/more"), "").unwrap(),
            |to| fs::remove_file(to.join("fifo")).unwrap(),
            |to| {
                let mode = fs::Permissions::from_mode(0o600);
                fs::set_permissions(to.join("sub/file"), mode).unwrap();
            },
            |to| {
                fs::remove_file(to.join("link")).unwrap();
                symlink("/elsewhere", to.join("link")).unwrap();
            },
        ];
        for change in changes {
            let (_dir, from, to) = tree();
            whole(&from, &to).await.unwrap();
            change(&to);
            assert!(compare(&from, &to).is_err());
        }
    }
}
