//! From which snapshot the changes of a send are counted, and what happens when the receiver can't count from it.

use async_trait::async_trait;
use tracing::warn;

use super::{SnapshotName, VolumeError};

/// How a snapshot went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent {
    /// The snapshot that the changes were counted from; none: all of it went, or it was there already.
    pub base: Option<SnapshotName>,
    /// Those that it could not be sent from, the newest first.
    pub refused: Vec<RefusedBase>,
}

/// A snapshot that both ends should have, and from which changes could not be sent all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedBase {
    /// The snapshot.
    pub base: SnapshotName,
    /// What either end said.
    pub why: String,
}

/// One sender and one receiver.
#[async_trait]
pub(super) trait Way: Send + Sync {
    /// Sends, as changes to what the newest mark names, or all of it if there is no mark.
    async fn send(&self) -> Result<(), VolumeError>;
    /// Removes a mark.
    async fn unmark(&self, mark: &SnapshotName) -> Result<(), VolumeError>;
    /// Makes a mark of a snapshot again.
    async fn mark_again(&self, base: &SnapshotName) -> Result<(), VolumeError>;
}

/// Sends as changes to the newest of the snapshots that are marked as being there, or else to the next, or else all of it.
///
/// What refuses changes can't be told by its words: btrfs before 6.10.1 does not find what it is to clone from when the
/// base came from the receiver, other ends have lost the base, and each says so in its own way. So whatever is said, the
/// next is tried, but for what would stop everything. Where that fails too, the marks are as they were.
pub(super) async fn send_from(
    way: &dyn Way,
    mut marks: Vec<SnapshotName>,
) -> Result<Sent, VolumeError> {
    marks.sort();
    let mut refused = Vec::new();
    loop {
        let error = match way.send().await {
            Ok(()) => return Ok(Sent { base: marks.last().map(SnapshotName::unmarked), refused }),
            Err(error) => error,
        };
        let (VolumeError::Refused { why, .. }, Some(mark)) = (&error, marks.last()) else {
            return Err(undone(way, &refused, error).await);
        };
        if stops_everything(why) {
            return Err(undone(way, &refused, error).await);
        }
        warn!(%mark, why, "changes to this are refused: sending more");
        let base = RefusedBase { base: mark.unmarked(), why: gist(why) };
        if let Err(error) = way.unmark(mark).await {
            return Err(undone(way, &refused, error).await);
        }
        marks.pop();
        refused.push(base);
    }
}

/// The error, after the marks were made again: what stood in the way was not what they name.
async fn undone(way: &dyn Way, refused: &[RefusedBase], error: VolumeError) -> VolumeError {
    for RefusedBase { base, .. } in refused {
        if let Err(error) = way.mark_again(base).await {
            warn!(%base, error = %crate::error::chain(&error), "the next send is of more than changes to this");
        }
    }
    error
}

/// Whether what was said would be said of everything too: the other end is not reached, or has no room.
fn stops_everything(why: &str) -> bool {
    [
        "ssh: ",
        "kex_exchange_identification",
        "Connection closed",
        "Connection reset",
        "Connection timed out",
        "Host key verification failed",
        "Permission denied (",
        "No space left on device",
        "No such snapshot",
    ]
    .iter()
    .any(|text| why.contains(text))
}

/// The line that says what went wrong.
fn gist(why: &str) -> String {
    let is_error = |line: &&str| line.contains("ERROR");
    let line = why.lines().find(is_error).or_else(|| why.lines().find(|line| !line.is_empty()));
    line.unwrap_or_default().trim().trim_start_matches("ERROR: ").to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const OLD: &str = "v@2025-01-01T00:00:00.000001";
    const NEW: &str = "v@2025-01-01T00:00:00.000002";
    const CLONE: &str = "At snapshot v@3\nERROR: clone: did not find source subvol\n";

    /// Gives prepared answers, and keeps the marks that are left.
    struct Told {
        answers: Mutex<Vec<Option<&'static str>>>,
        marks: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl Way for Told {
        async fn send(&self) -> Result<(), VolumeError> {
            match self.answers.lock().unwrap().remove(0) {
                None => Ok(()),
                Some(why) => Err(VolumeError::Refused {
                    operation: "send",
                    subject: "v@3".to_owned(),
                    why: why.to_owned(),
                }),
            }
        }

        async fn unmark(&self, mark: &SnapshotName) -> Result<(), VolumeError> {
            self.marks.lock().unwrap().retain(|other| other != mark.as_str());
            Ok(())
        }

        async fn mark_again(&self, base: &SnapshotName) -> Result<(), VolumeError> {
            self.marks.lock().unwrap().insert(0, format!("{base}@h"));
            Ok(())
        }
    }

    fn both() -> Vec<String> {
        [OLD, NEW].map(|name| format!("{name}@h")).into()
    }

    async fn sent(answers: &[Option<&'static str>]) -> (Result<Sent, VolumeError>, Vec<String>) {
        let way = Told { answers: Mutex::new(answers.to_vec()), marks: Mutex::new(both()) };
        let marks = both().iter().rev().map(|name| SnapshotName::parse(name).unwrap()).collect();
        let result = send_from(&way, marks).await;
        assert_eq!(way.answers.lock().unwrap().len(), 0, "it gave up early");
        let mut left = way.marks.into_inner().unwrap();
        left.sort();
        (result, left)
    }

    #[tokio::test]
    async fn what_is_refused_is_sent_from_the_next_snapshot_and_then_whole() {
        let name = |text| Some(SnapshotName::parse(text).unwrap());
        let (result, left) = sent(&[None]).await;
        assert_eq!(result.unwrap(), Sent { base: name(NEW), refused: Vec::new() });
        assert_eq!(left, both());

        let (result, left) = sent(&[Some(CLONE), None]).await;
        let result = result.unwrap();
        assert_eq!(result.base, name(OLD));
        let told: Vec<_> =
            result.refused.iter().map(|r| (r.base.as_str(), r.why.as_str())).collect();
        assert_eq!(told, [(NEW, "clone: did not find source subvol")]);
        assert_eq!(left, [format!("{OLD}@h")]);

        let (result, left) = sent(&[Some("words of a later release"), Some(CLONE), None]).await;
        let result = result.unwrap();
        assert_eq!((result.base, result.refused.len()), (None, 2));
        assert_eq!(result.refused[0].why, "words of a later release");
        assert!(left.is_empty());
    }

    #[tokio::test]
    async fn where_nothing_arrives_the_marks_are_as_they_were() {
        let away = "ssh: connect to host h port 1122: Connection refused";
        for answers in [vec![Some(away)], vec![Some(CLONE), Some(away)], vec![Some(CLONE); 3]] {
            let (result, left) = sent(&answers).await;
            assert!(result.is_err(), "{answers:?}");
            assert_eq!(left, both(), "{answers:?}");
        }
    }
}
