//! Whether a copy of a directory is what it was made of: by type, mode, size and content. What is no file, directory or
//! link has no content: a socket is a socket. Nothing is followed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

const BLOCK: usize = 1 << 16;

/// The first difference between two directories, if there is one.
pub(in crate::host) fn difference(original: &Path, copy: &Path) -> io::Result<Option<String>> {
    let mut left = vec![PathBuf::new()];
    while let Some(below) = left.pop() {
        let (names, copies) = (names(&original.join(&below))?, names(&copy.join(&below))?);
        if let Some(name) = names.symmetric_difference(&copies).next() {
            return Ok(Some(format!("{} is in one of them only", below.join(name).display())));
        }
        for name in names {
            let path = below.join(name);
            let (a, b) = (original.join(&path), copy.join(&path));
            let facts = fs::symlink_metadata(&a)?;
            if let Some(what) = differ(&a, &facts, &b, &fs::symlink_metadata(&b)?)? {
                return Ok(Some(format!("{} has another {what}", path.display())));
            }
            if facts.is_dir() {
                left.push(path);
            }
        }
    }
    Ok(None)
}

fn names(dir: &Path) -> io::Result<BTreeSet<OsString>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// What tells two files of the same name apart.
pub(in crate::host) fn differ(
    a: &Path,
    facts: &Metadata,
    b: &Path,
    others: &Metadata,
) -> io::Result<Option<&'static str>> {
    let kind = facts.file_type();
    if kind != others.file_type() {
        return Ok(Some("type"));
    }
    if kind.is_symlink() {
        return Ok((fs::read_link(a)? != fs::read_link(b)?).then_some("target"));
    }
    if facts.mode() != others.mode() {
        return Ok(Some("mode"));
    }
    if (facts.uid(), facts.gid()) != (others.uid(), others.gid()) {
        return Ok(Some("owner"));
    }
    let is_device = kind.is_block_device() || kind.is_char_device();
    if is_device && facts.rdev() != others.rdev() {
        return Ok(Some("device"));
    }
    if !kind.is_file() {
        return Ok(None);
    }
    if facts.len() != others.len() {
        return Ok(Some("size"));
    }
    Ok((!same_content(File::open(a)?, File::open(b)?)?).then_some("content"))
}

fn same_content(a: File, b: File) -> io::Result<bool> {
    let (mut first, mut second) = (Vec::with_capacity(BLOCK), Vec::with_capacity(BLOCK));
    let (mut a, mut b) = (a, b);
    loop {
        first.clear();
        second.clear();
        let block = u64::try_from(BLOCK).unwrap_or(u64::MAX);
        a.by_ref().take(block).read_to_end(&mut first)?;
        b.by_ref().take(block).read_to_end(&mut second)?;
        if first != second {
            return Ok(false);
        }
        if first.is_empty() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::command::Command;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    async fn copied() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir_all(a.join("deep/er")).unwrap();
        fs::create_dir(&b).unwrap();
        fs::write(a.join("deep/er/file"), vec![7; BLOCK + 1]).unwrap();
        fs::write(a.join("empty"), "").unwrap();
        symlink("nowhere", a.join("link")).unwrap();
        UnixListener::bind(a.join("socket")).unwrap();
        let pipe = Command::new("mkfifo").arg(a.join("pipe"));
        pipe.run(Duration::from_secs(10)).await.unwrap();
        super::super::btrfs::fill(&b, &a).await.unwrap();
        (dir, a, b)
    }

    #[tokio::test]
    async fn sockets_and_pipes_are_copied_as_what_they_are() {
        let (_dir, a, b) = copied().await;
        let kind = |name: &str| fs::symlink_metadata(b.join(name)).unwrap().file_type();
        assert!(kind("socket").is_socket() && kind("pipe").is_fifo());
        assert_eq!(difference(&a, &b).unwrap(), None);
    }

    #[tokio::test]
    async fn every_difference_is_told() {
        type Change = fn(&Path);
        let changes: [(Change, &str); 7] = [
            (|b| fs::remove_file(b.join("empty")).unwrap(), "empty is in one of them only"),
            (|b| fs::write(b.join("more"), "").unwrap(), "more is in one of them only"),
            (|b| fs::write(b.join("empty"), "x").unwrap(), "empty has another size"),
            (
                |b| {
                    let mut content = vec![7; BLOCK + 1];
                    content[BLOCK] = 8;
                    fs::write(b.join("deep/er/file"), content).unwrap();
                },
                "deep/er/file has another content",
            ),
            (
                |b| {
                    fs::remove_file(b.join("link")).unwrap();
                    symlink("elsewhere", b.join("link")).unwrap();
                },
                "link has another target",
            ),
            (
                |b| {
                    fs::remove_file(b.join("pipe")).unwrap();
                    fs::write(b.join("pipe"), "").unwrap();
                },
                "pipe has another type",
            ),
            (
                |b| {
                    let mode = fs::Permissions::from_mode(0o700);
                    fs::set_permissions(b.join("deep"), mode).unwrap();
                },
                "deep has another mode",
            ),
        ];
        for (change, expected) in changes {
            let (_dir, a, b) = copied().await;
            change(&b);
            assert_eq!(difference(&a, &b).unwrap().as_deref(), Some(expected));
        }
    }
}
