//! A deadline for what may take hours: that it gets on.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::host::volume::progress;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Ends when the processes that send a snapshot have been seen and have got nowhere for so long. The time that the receiver
/// takes after them counts as theirs.
pub(super) async fn of_send(proc: &Path, snapshot: &str, patience: Duration) {
    let mut last = None;
    let mut since = Instant::now();
    loop {
        sleep(LOOK).await;
        let (dir, name) = (proc.to_owned(), snapshot.to_owned());
        let seen = tokio::task::spawn_blocking(move || progress::of_send(&dir, &name)).await;
        let seen = seen.ok().flatten();
        if seen.is_some() && seen != last {
            last = seen;
            since = Instant::now();
        }
        if last.is_some() && since.elapsed() >= patience {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(300);

    fn write(proc: &Path, file: &str, text: &str) {
        std::fs::create_dir_all(proc.join("7")).unwrap();
        std::fs::write(proc.join("7").join(file), text).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_gets_on_is_waited_for_and_what_does_not_is_given_up() {
        let proc = tempfile::tempdir().unwrap();
        write(proc.path(), "cmdline", "btrfs\0send\0/s/p@1\0");
        let started = Instant::now();
        let grows = async {
            for n in 0..100 {
                write(proc.path(), "io", &format!("wchar: {n}\n"));
                sleep(Duration::from_secs(60)).await;
            }
        };
        tokio::join!(of_send(proc.path(), "p@1", PATIENCE), grows);
        let took = started.elapsed();
        let grew = Duration::from_secs(99 * 60);
        assert!(took >= grew + PATIENCE && took < grew + PATIENCE * 2, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_t_be_seen_is_not_judged() {
        let proc = tempfile::tempdir().unwrap();
        let end = tokio::time::timeout(PATIENCE * 20, of_send(proc.path(), "p@1", PATIENCE)).await;
        assert!(end.is_err());
    }
}
