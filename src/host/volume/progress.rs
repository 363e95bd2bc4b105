//! How far a transfer is, as the sender's processes tell: what they have read, written and computed so far.

use std::path::Path;

/// Sums up what the processes that send a snapshot have done: it grows as long as any of them gets on. None if there is no
/// such process: it may not have begun, or not be visible from here.
pub(super) fn of_send(proc: &Path, snapshot: &str) -> Option<u64> {
    let mut sum: Option<u64> = None;
    for entry in std::fs::read_dir(proc).ok()?.flatten() {
        let dir = entry.path();
        if !dir.file_name().is_some_and(|name| name.to_str().is_some_and(is_number)) {
            continue;
        }
        let Ok(argv) = std::fs::read(dir.join("cmdline")) else { continue };
        if sends(&argv, snapshot.as_bytes()) {
            sum = Some(sum.unwrap_or(0).saturating_add(done(&dir)));
        }
    }
    sum
}

fn is_number(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// `btrfs send … /path/of/snapshots/SNAPSHOT`, started by whomever.
fn sends(argv: &[u8], snapshot: &[u8]) -> bool {
    let mut words = argv.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    let name = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if name != b"btrfs" || words.next() != Some(b"send") {
        return false;
    }
    let is_it = |word: &[u8]| word.rsplit(|byte| *byte == b'/').next() == Some(snapshot);
    argv.split(|byte| *byte == 0).any(is_it)
}

fn done(dir: &Path) -> u64 {
    let io = std::fs::read_to_string(dir.join("io")).unwrap_or_default();
    let counted = ["rchar", "wchar", "read_bytes", "write_bytes"];
    let bytes = io.lines().filter_map(|line| {
        let (key, value) = line.split_once(": ")?;
        counted.contains(&key).then(|| value.trim().parse::<u64>().ok())?
    });
    // The kernel writes into the pipe on behalf of the process, and looks through what is not to be sent: its time counts.
    let stat = std::fs::read_to_string(dir.join("stat")).unwrap_or_default();
    let times = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks = times.split_whitespace().skip(11).take(2).filter_map(|word| word.parse().ok());
    bytes.chain(ticks).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNAPSHOT: &str = "p_data@2025-01-31T10:00:00.000001";

    #[test]
    fn a_send_is_found_by_its_snapshot_and_grows_with_what_it_does() {
        let proc = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = proc.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let parent = "/s/p_data@2025-01-30T10:00:00.000001";
        write("720/cmdline", &format!("btrfs\0send\0-c\0{parent}\0/s/{SNAPSHOT}\0"));
        assert_eq!(of_send(proc.path(), SNAPSHOT), Some(0));
        write("720/io", "rchar: 10\nwchar: 5\nsyscr: 1000\nread_bytes: 3\nwrite_bytes: 0\n");
        write(
            "720/stat",
            "720 (btr) fs) R 716 720 720 0 -1 4194560 421 0 0 0 30 52 0 0 20 0 1 0 9",
        );
        assert_eq!(of_send(proc.path(), SNAPSHOT), Some(18 + 82));
        assert_eq!(of_send(proc.path(), "p_data@2025-01-31T10:00:00.000002"), None);
        write("721/cmdline", &format!("btrfs\0receive\0/s/{SNAPSHOT}\0"));
        write("722/cmdline", &format!("ssh\0send\0/s/{SNAPSHOT}\0"));
        assert_eq!(of_send(proc.path(), SNAPSHOT), Some(100));
    }
}
