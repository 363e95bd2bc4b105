//! Removes torn copies that nobody will complete.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{info, warn};

use super::duty::{Duties, Duty};
use super::looker::Surveys;
use crate::agent::keeper::is_being_deployed;
use crate::error::chain;
use crate::exec::Context;
use crate::host::volume::VolumeError;
use crate::model::AppName;
use crate::replication::{Held, Sightings, Survey};

/// A torn copy is abandoned when it has been the same for so many intervals: the file system commits in between.
const INTERVALS: u32 = 2;

pub(super) struct Cleaner {
    ctx: Arc<Context>,
    sightings: Sightings,
}

impl Cleaner {
    pub(super) fn new(ctx: Arc<Context>) -> Self {
        Self { ctx, sightings: Sightings::default() }
    }

    /// Removes what is abandoned, of apps that no deployment is working on.
    pub(super) async fn clear(
        &mut self,
        duties: &Duties,
        surveys: &Surveys,
    ) -> Result<(), VolumeError> {
        let torn: Vec<_> = surveys.values().flat_map(Survey::torn).collect();
        let receptions = match torn.as_slice() {
            [] => Vec::new(),
            _ => self.ctx.host.volumes.receptions().await?,
        };
        let patience = self.ctx.config.volumes.replica_interval * INTERVALS;
        let abandoned = self.sightings.abandoned(&torn, &receptions, patience, Instant::now());
        for held in torn.into_iter().filter(|held| abandoned.contains(&held.name)) {
            let of_it = |duty: &&Duty| duty.record.volumes.iter().any(|v| v == held.name.volume());
            if let Some(duty) = duties.own.iter().chain(&duties.others).find(of_it)
                && !is_being_deployed(self.ctx.cluster.kv.as_ref(), &duty.app).await
                && let Err(error) = self.remove(&duty.app, held).await
            {
                warn!(app = %duty.app, copy = %held.name, error = %chain(&error), "a torn copy stays");
            }
        }
        Ok(())
    }

    /// Removes a torn copy if it is still the one that was seen: buttervolume may be sending it again.
    async fn remove(&self, app: &AppName, held: &Held) -> Result<(), VolumeError> {
        let seam = &self.ctx.host.volumes;
        if seam.facts(&held.name).await?.as_ref() != Some(&held.facts) {
            return Ok(());
        }
        seam.remove_snapshot(&held.name).await?;
        info!(%app, copy = %held.name, "a torn copy was removed");
        Ok(())
    }
}
