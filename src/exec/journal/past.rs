//! How far this node has seen the newest deployment of each app: `past.json`. What is in KV may go back, when Consul is
//! restored from a backup; the volumes and containers of this node don't.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::JournalError;
use crate::host::files;
use crate::model::AppName;

/// How far a deployment has come; it never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::exec) enum Phase {
    /// It works towards its commit.
    Forward,
    /// It was given up, and is being undone.
    Turned,
    /// It was committed.
    Committed,
}

/// The newest epoch of an app that has come further than [`Phase::Forward`], and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    epoch: u64,
    phase: Phase,
}

/// The phases that this node has seen, by app.
#[derive(Debug)]
pub(in crate::exec) struct Past {
    path: PathBuf,
    seen: Mutex<BTreeMap<String, Seen>>,
}

impl Past {
    pub(super) fn open(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join("past.json");
        let seen = match files::read(&path)? {
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| JournalError::Damaged { path: path.clone(), source })?,
            None => BTreeMap::new(),
        };
        Ok(Self { path, seen: Mutex::new(seen) })
    }

    /// Notes that a deployment has come so far, on disk before this returns; refuses one that was further here.
    pub(in crate::exec) async fn reach(
        &self,
        app: &AppName,
        epoch: u64,
        phase: Phase,
    ) -> Result<(), JournalError> {
        let mut seen = self.seen.lock().await;
        let known = seen.get(app.as_str()).copied();
        if let Some(known) = known.filter(|known| known.epoch == epoch)
            && known.phase > phase
        {
            return Err(JournalError::WentBack { app: app.clone(), epoch });
        }
        let now = Seen { epoch, phase };
        // What is owed may be of an older one.
        if phase == Phase::Forward || known.is_some_and(|known| known == now || known.epoch > epoch)
        {
            return Ok(());
        }
        let mut noted = seen.clone();
        noted.insert(app.to_string(), now);
        let text = serde_json::to_vec(&noted)
            .map_err(|source| JournalError::Damaged { path: self.path.clone(), source })?;
        files::write_atomic(&self.path, text, 0o600).await?;
        *seen = noted;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deployment_does_not_go_back_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let app = AppName::parse("hello_main.12345").unwrap();
        let past = Past::open(dir.path()).unwrap();
        let reach = async |past: &Past, epoch, phase| past.reach(&app, epoch, phase).await.is_ok();
        for (phase, expected) in [
            (Phase::Forward, true),
            (Phase::Turned, true),
            (Phase::Forward, false),
            (Phase::Committed, true),
            (Phase::Turned, false),
        ] {
            assert_eq!(reach(&past, 3, phase).await, expected, "{phase:?}");
        }
        let past = Past::open(dir.path()).unwrap();
        assert!(!reach(&past, 3, Phase::Forward).await);
        assert!(reach(&past, 2, Phase::Turned).await, "a debt of an older one");
        assert!(!reach(&past, 3, Phase::Forward).await, "which changes nothing");
        assert!(reach(&past, 4, Phase::Forward).await);
    }
}
