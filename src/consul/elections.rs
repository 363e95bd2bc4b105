//! Who leads Consul's servers. A server that hangs, or was cut off, keeps what it was asked until its connections are
//! given up, which takes a minute. The others have a leader of their own within seconds: whoever waits for an answer of
//! the former one is told, and asks again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use consulrs::client::ConsulClient;
use tokio::sync::watch;

use super::transport::{self, Call};

/// How often the local agent is asked, which knows it without asking others.
const LOOK: Duration = Duration::from_secs(2);

/// Follows the leader from the first call on, as long as the client lives.
#[derive(Debug)]
pub(super) struct Elections {
    seen: Arc<watch::Sender<u32>>,
    is_followed: AtomicBool,
}

impl Elections {
    pub(super) fn new() -> Self {
        Self { seen: Arc::new(watch::Sender::new(0)), is_followed: AtomicBool::new(false) }
    }

    /// Changes when there is another leader than before.
    pub(super) fn follow(&self, http: &Arc<ConsulClient>) -> watch::Receiver<u32> {
        if !self.is_followed.swap(true, Ordering::Relaxed) {
            tokio::spawn(look(Arc::downgrade(http), self.seen.clone()));
        }
        self.seen.subscribe()
    }
}

async fn look(http: Weak<ConsulClient>, seen: Arc<watch::Sender<u32>>) {
    let mut last = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(http) = http.upgrade() else { return };
        let asked = transport::send(&http, Call::get("status/leader"));
        let Ok(Ok(reply)) = tokio::time::timeout(LOOK, asked).await else { continue };
        let leader = reply.success().and_then(|reply| reply.json::<String>());
        // While they elect one there is none.
        let Some(leader) = leader.ok().filter(|leader| !leader.is_empty()) else { continue };
        if is_another(last.as_ref(), &leader) {
            seen.send_modify(|count| *count = count.wrapping_add(1));
        }
        last = Some(leader);
    }
}

fn is_another(last: Option<&String>, leader: &String) -> bool {
    last.is_some_and(|last| last != leader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_leader_seen_is_no_change() {
        let (one, other) = ("10.0.0.1:8300".to_owned(), "10.0.0.2:8300".to_owned());
        assert!(!is_another(None, &one) && !is_another(Some(&one), &one));
        assert!(is_another(Some(&one), &other));
    }
}
