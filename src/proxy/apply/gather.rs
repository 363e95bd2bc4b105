//! Changes that need a reload or a load are gathered: the first is made at once, those that come soon after wait for each
//! other.

use std::time::Duration;

use tokio::time::Instant;

/// How long a reload of HAProxy, or a load of Caddy, waits after the one before. Maps and servers never wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gathering {
    /// At least this long.
    pub least: Duration,
    /// As long as the one before took, up to this.
    pub most: Duration,
}

/// One proxy's turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    gathering: Option<Gathering>,
    next: Option<Instant>,
}

impl Turn {
    pub(super) fn of(gathering: Gathering) -> Self {
        Self { gathering: Some(gathering), next: None }
    }

    /// How long a change has to wait; none if it may be made now.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let left = self.next?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// A change was made.
    pub(super) fn taken(&mut self, began: Instant, ended: Instant) {
        if let Some(Gathering { least, most }) = self.gathering {
            let took = ended.saturating_duration_since(began);
            self.next = Some(ended + took.min(most).max(least));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_made_at_once_and_the_next_within_the_bound() {
        let seconds = Duration::from_secs;
        let limits = Gathering { least: seconds(1), most: seconds(2) };
        let start = Instant::now();
        for (took, wait) in [(0, 1), (1, 1), (2, 2), (9, 2)] {
            let mut turn = Turn::of(limits);
            assert_eq!(turn.wait(start), None);
            let ended = start + seconds(took);
            turn.taken(start, ended);
            assert_eq!(turn.wait(ended), Some(seconds(wait)), "{took}");
            assert_eq!(turn.wait(ended + seconds(wait)), None, "{took}");
        }
        let mut free = Turn::default();
        free.taken(start, start + seconds(9));
        assert_eq!(free.wait(start + seconds(9)), None);
    }
}
