//! The transfers that this node receives or sends now, as its processes tell.

use std::io;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};

/// In what `/proc` counts time, on every architecture.
const TICKS_PER_SECOND: i64 = 100;
/// Where a process's start stands in its `stat`, counted from behind its name.
const START: usize = 19;

/// When each `btrfs receive` began. A process that ends meanwhile is left out.
pub(super) fn receptions(proc: &Path) -> io::Result<Vec<DateTime<Utc>>> {
    let no_boot = || io::Error::other("/proc/stat has no btime");
    let boot = boot(&std::fs::read_to_string(proc.join("stat"))?).ok_or_else(no_boot)?;
    let mut began = Vec::new();
    for entry in std::fs::read_dir(proc)? {
        let dir = entry?.path();
        let is_process = dir.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        if is_process.is_none() {
            continue;
        }
        let Ok(argv) = std::fs::read(dir.join("cmdline")) else { continue };
        if is_receive(&argv)
            && let Ok(stat) = std::fs::read_to_string(dir.join("stat"))
        {
            // One whose start can't be told may be any.
            began.push(start(&stat).map_or(DateTime::UNIX_EPOCH, |since| boot + since));
        }
    }
    Ok(began)
}

/// Whether a process sends a snapshot of a volume, or has one of its own do so: a shell has the whole command as a word.
pub(super) fn sends(proc: &Path, volume: &str) -> io::Result<bool> {
    let snapshot = format!("/{volume}@");
    for entry in std::fs::read_dir(proc)? {
        let Ok(argv) = std::fs::read(entry?.path().join("cmdline")) else { continue };
        let argv = String::from_utf8_lossy(&argv).replace('\0', " ");
        if argv.contains("btrfs send ") && argv.contains(&snapshot) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_receive(argv: &[u8]) -> bool {
    let mut words = argv.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    let name = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name == b"btrfs" && words.any(|word| word == b"receive")
}

fn boot(stat: &str) -> Option<DateTime<Utc>> {
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    DateTime::from_timestamp(seconds.trim().parse().ok()?, 0)
}

/// The time from the machine's start to the process's. Its name stands in brackets and may hold anything.
fn start(stat: &str) -> Option<TimeDelta> {
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: i64 = rest.split_whitespace().nth(START)?.parse().ok()?;
    TimeDelta::try_milliseconds(ticks.checked_mul(1000 / TICKS_PER_SECOND)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Linux tells of a receiving process.
    const STAT: &str = "720 (btr) fs) R 716 720 720 0 -1 4194560 421 0 0 0 3 52 0 0 20 0 1 0 1213848 5099520 743 184467";

    #[test]
    fn receptions_are_found_among_the_processes() {
        let proc = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = proc.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("stat", "cpu  1 2 3\nbtime 1795246155\nprocesses 5\n");
        write("self/cmdline", "btrfs\0receive\0/s\0");
        write("720/cmdline", "/usr/bin/btrfs\0receive\0/s\0");
        write("720/stat", STAT);
        write("721/cmdline", "btrfs\0send\0/s\0");
        write("722/cmdline", "bash\0-c\0btrfs receive /s\0");
        write("723/cmdline", "");
        let began = receptions(proc.path()).unwrap();
        assert_eq!(
            began,
            [DateTime::from_timestamp_millis(1_795_246_155_000 + 12_138_480).unwrap()]
        );
        write("724/cmdline", "btrfs\0receive\0");
        write("724/stat", "724 (btrfs) S 1");
        assert!(receptions(proc.path()).unwrap().contains(&DateTime::UNIX_EPOCH));
    }

    #[test]
    fn sends_of_a_volume_are_found_among_the_processes() {
        let proc = tempfile::tempdir().unwrap();
        let write = |process: &str, argv: &str| {
            let dir = proc.path().join(process);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("cmdline"), argv).unwrap();
        };
        let of = |volume| sends(proc.path(), volume).unwrap();
        write("720", "btrfs\0receive\0/s\0");
        write("721", "btrfs\0send\0-p\0/s/v@1\0/s/v@2\0");
        write("722", "/bin/sh\0-c\0btrfs send \"/s/w@2\" | ssh -p 1122 h \"btrfs receive /s\"\0");
        write("723", "btrfs\0subvolume\0show\0/s/x@1\0");
        assert!(of("v") && of("w"));
        assert!(!of("x") && !of("vv") && !of(""));
    }

    #[test]
    fn this_machine_can_be_asked() {
        let began = receptions(Path::new("/proc")).unwrap();
        assert!(began.iter().all(|began| *began <= Utc::now()), "{began:?}");
    }
}
