//! An app's scripts: how they are run, and whether they can be.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The longest first line that is looked at, as in the kernel.
const MAX_LINE: u64 = 256;

/// How a script is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    /// By itself.
    Directly,
    /// By `sh`, as the older system ran all of them: it is not executable, or names no interpreter.
    BySh,
}

/// How the script of this path is run, `None` if there is none, or why it can't be run at all.
pub(super) fn how(path: &Path) -> io::Result<Option<Run>> {
    let facts = match std::fs::metadata(path) {
        Ok(facts) => facts,
        // A link that leads nowhere is not nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if !facts.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut start = Vec::new();
    File::open(path)?.take(MAX_LINE).read_to_end(&mut start)?;
    if facts.permissions().mode() & 0o111 == 0 {
        return Ok(Some(Run::BySh));
    }
    match interpreter(&start) {
        Some(program) if Path::new(&program).exists() => Ok(Some(Run::Directly)),
        Some(program) => Err(io::Error::other(format!("there is no {program} on this node"))),
        None if start.starts_with(b"\x7fELF") => Ok(Some(Run::Directly)),
        None => Ok(Some(Run::BySh)),
    }
}

/// The program that the first line names.
fn interpreter(start: &[u8]) -> Option<String> {
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    line.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn of(text: &str, mode: u32) -> Result<Option<Run>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("update.sh");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        how(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_script_is_run_by_what_it_names_or_by_sh() {
        assert_eq!(of("#!/bin/sh\nexit 0\n", 0o755), Ok(Some(Run::Directly)));
        assert_eq!(of("#! /bin/sh -e\nexit 0\n", 0o755), Ok(Some(Run::Directly)));
        assert_eq!(of("\x7fELF", 0o755), Ok(Some(Run::Directly)));
        assert_eq!(of("exit 0\n", 0o755), Ok(Some(Run::BySh)));
        assert_eq!(of("", 0o755), Ok(Some(Run::BySh)));
        assert_eq!(of("#!/bin/sh\nexit 0\n", 0o644), Ok(Some(Run::BySh)));
        assert_eq!(of("#!/no/such\n", 0o644), Ok(Some(Run::BySh)));
    }

    #[test]
    fn what_can_not_be_run_is_told() {
        assert_eq!(
            of("#!/no/such -x\n", 0o755),
            Err("there is no /no/such on this node".to_owned())
        );
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(how(dir.path()).unwrap_err().to_string(), "it is not a file");
        assert!(matches!(how(&dir.path().join("none")), Ok(None)));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(how(&link).is_err());
    }
}
