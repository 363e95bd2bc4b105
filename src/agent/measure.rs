//! Measures the room that this node has, and tells when it has changed by enough to matter.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tracing::warn;

use crate::clock;
use crate::error::chain;
use crate::host::resources::{ResourceError, Resources};
use crate::model::{Amount, Port};
use crate::records::Room;

const PERIOD: Duration = Duration::from_secs(30);
/// After how long the room is told anew though nothing has changed: what is old is not believed.
const ANEW: chrono::TimeDelta = chrono::TimeDelta::minutes(5);
/// Percent of the disk that matter.
const DISK_STEP: u64 = 1;
/// Percent of the memory that matter; it goes up and down by itself.
const MEMORY_STEP: u64 = 5;

/// From here on the kernel gives ports to whoever asks for any.
const EPHEMERAL: u16 = 32768;

/// Measures for ever. There is no deadline: on a disk that hangs this waits with it, and what was told last grows old.
pub(super) async fn measure(resources: &dyn Resources, told: watch::Sender<Option<Room>>) {
    let mut epoch = 0;
    let mut failing = false;
    loop {
        let before = told.borrow().clone();
        let room = match look(resources).await {
            Ok((disk, memory, listening)) => {
                failing = false;
                let now = clock::now();
                let is_still_so = |room: &Room| {
                    room.listening == listening && still_true(room, disk, memory, now)
                };
                before.filter(is_still_so).or_else(|| {
                    epoch += 1;
                    let at = now.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
                    Some(Room { epoch, at, disk, memory, listening })
                })
            }
            Err(error) => {
                if !failing {
                    warn!(error = %chain(&error), "this node's room can't be measured: no app is picked to go here");
                }
                failing = true;
                None
            }
        };
        told.send_if_modified(|told| std::mem::replace(told, room.clone()) != room);
        tokio::time::sleep(PERIOD).await;
    }
}

async fn look(
    resources: &dyn Resources,
) -> Result<(Amount, Amount, BTreeSet<Port>), ResourceError> {
    let mut listening = resources.listening().await?;
    // Those of UDP come and go with each question to a name server; those above are the kernel's to give.
    listening.retain(|port| port.by_tcp().is_some_and(|number| number < EPHEMERAL));
    Ok((resources.disk().await?, resources.memory().await?, listening))
}

/// Whether what was told last needs no telling anew.
fn still_true(told: &Room, disk: Amount, memory: Amount, now: DateTime<Utc>) -> bool {
    let fresh = DateTime::parse_from_rfc3339(&told.at)
        .is_ok_and(|at| (chrono::TimeDelta::zero()..ANEW).contains(&(now - at.to_utc())));
    fresh
        && !told.disk.differs_by(&disk, DISK_STEP)
        && !told.memory.differs_by(&memory, MEMORY_STEP)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::host::resources::FakeResources;

    fn of(free: u64) -> Amount {
        Amount { free, total: 1000 }
    }

    /// What is told after another look, if it was told anew.
    async fn next(told: &mut watch::Receiver<Option<Room>>) -> Option<Option<Room>> {
        let changed = tokio::time::timeout(PERIOD * 2, told.changed()).await;
        changed.is_ok().then(|| told.borrow_and_update().clone())
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_matters_is_told_anew() {
        let resources = Arc::new(FakeResources::default());
        resources.set(Some((of(500), of(500))));
        let (sender, mut told) = watch::channel(None);
        let machine = resources.clone();
        let measuring = tokio::spawn(async move { measure(machine.as_ref(), sender).await });
        let first = next(&mut told).await.unwrap().unwrap();
        assert_eq!((first.epoch, first.disk, first.memory), (1, of(500), of(500)));
        resources.set(Some((of(491), of(549))));
        assert_eq!(next(&mut told).await, None, "a byte of change");
        resources.set(Some((of(490), of(549))));
        let second = next(&mut told).await.unwrap().unwrap();
        assert_eq!((second.epoch, second.disk, second.memory), (2, of(490), of(549)));
        resources.set(None);
        assert_eq!(next(&mut told).await, Some(None), "it can't be told");
        resources.set(Some((of(490), of(549))));
        assert_eq!(next(&mut told).await.unwrap().unwrap().epoch, 3);
        measuring.abort();
    }

    #[test]
    fn what_is_old_or_of_the_future_is_told_anew() {
        let at = "2025-01-01T00:05:00Z";
        let room = Room {
            epoch: 1,
            at: at.to_owned(),
            disk: of(5),
            memory: of(5),
            listening: BTreeSet::new(),
        };
        let still = |now: &str| still_true(&room, of(5), of(5), now.parse().unwrap());
        assert!(still("2025-01-01T00:05:00Z") && still("2025-01-01T00:09:59Z"));
        assert!(!still("2025-01-01T00:10:00Z") && !still("2025-01-01T00:04:59Z"));
    }
}
