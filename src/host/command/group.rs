//! The process group of a child, so that nothing it starts outlives it.

use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::timeout;

/// Between TERM and KILL.
const TERM_GRACE: Duration = Duration::from_secs(5);

/// The process group of a running child; killed when dropped before [`Group::forget`].
pub(super) struct Group(Option<Pid>);

impl Group {
    pub(super) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // An error says that the group is gone already.
            let _ = killpg(pid, signal);
        }
    }

    pub(super) async fn end(self, child: &mut Child) {
        self.signal(Signal::SIGTERM);
        // The leader's end is no proof of its children's: those get the KILL in any case, by the drop.
        let _ = timeout(TERM_GRACE, child.wait()).await;
        self.signal(Signal::SIGKILL);
        let _ = timeout(TERM_GRACE, child.wait()).await;
    }

    /// Kills what the leader left behind.
    pub(super) fn kill_rest(&self) {
        self.signal(Signal::SIGKILL);
    }

    pub(super) fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}
