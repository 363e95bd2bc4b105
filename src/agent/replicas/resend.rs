//! Replicates what the schedule did not, on the master, and tells why where that fails too.
//!
//! buttervolume's scheduler takes a snapshot and sends it, and logs that as done whatever became of it. What it leaves is
//! a snapshot without the mark of the other end. When that stays so and nothing is on its way, the agent takes a snapshot
//! and sends it by the way that falls back to an older common one, or to everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::duty::{Duties, Duty};
use super::looker::{Peers, Surveys};
use super::publish::deployed_at;
use crate::agent::keeper::is_being_deployed;
use crate::consul::ConsulError;
use crate::consul::txn::TxnOp;
use crate::error::chain;
use crate::exec::Context;
use crate::host::volume::{Sent, VolumeError};
use crate::model::{AppName, NodeName, Role, keys};
use crate::records::{decode, encode, name_of};
use crate::replication::{Stall, Stalled, unsent};

/// Between a snapshot and the process that sends it, the file system commits.
const PATIENCE: Duration = Duration::from_secs(15);
/// Looks at which a snapshot has to be unsent.
const LOOKS: u32 = 2;
/// Between two tries there is an interval of looks at first, then twice that each time, and this at last.
const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 60);

/// A volume whose newest snapshot the slave does not have.
struct Sighting {
    app: AppName,
    slave: NodeName,
    /// When that snapshot was taken.
    since: DateTime<Utc>,
    seen_at: Instant,
    looks: u32,
    /// Why the newest try failed, if there was one.
    why: Option<String>,
    tries: u32,
    again_at: Instant,
}

/// A send that is under way: one at a time, as those of the schedule are.
struct Work {
    volume: String,
    handle: JoinHandle<Result<Sent, VolumeError>>,
}

pub(super) struct Resender {
    ctx: Arc<Context>,
    sightings: BTreeMap<String, Sighting>,
    work: Option<Work>,
    /// What is published; none: not known yet, an agent before this one may have.
    told: Option<BTreeMap<AppName, Stalled>>,
}

impl Resender {
    pub(super) fn new(ctx: Arc<Context>) -> Self {
        Self { ctx, sightings: BTreeMap::new(), work: None, told: None }
    }

    /// Notes what is unsent, sends some of it, and tells what can't be sent.
    pub(super) async fn look(
        &mut self,
        duties: &Duties,
        surveys: &Surveys,
        peers: &Peers,
    ) -> Result<(), ConsulError> {
        self.end_work().await;
        self.note(duties, surveys, peers);
        if self.work.is_none() {
            self.begin_work(peers).await;
        }
        self.tell(duties).await
    }

    /// Takes the result of a send that has ended.
    async fn end_work(&mut self) {
        let Some(work) = self.work.take_if(|work| work.handle.is_finished()) else { return };
        let volume = work.volume;
        let why = match work.handle.await {
            Ok(Ok(sent)) => {
                let base = sent.base.map(|base| base.to_string());
                info!(
                    volume,
                    base,
                    refused = sent.refused.len(),
                    "replicated in place of the schedule"
                );
                self.sightings.remove(&volume);
                return;
            }
            Ok(Err(error)) => chain(&error),
            Err(error) => error.to_string(),
        };
        warn!(volume, why, "what the schedule did not replicate can't be sent");
        if let Some(sighting) = self.sightings.get_mut(&volume) {
            sighting.why = Some(why);
            sighting.tries += 1;
            let interval = self.ctx.config.volumes.replica_interval;
            sighting.again_at = Instant::now() + pause(interval, sighting.tries);
        }
    }

    fn note(&mut self, duties: &Duties, surveys: &Surveys, peers: &Peers) {
        let mut known = std::mem::take(&mut self.sightings);
        for duty in duties.own.iter().filter(|duty| duty.role == Role::Master) {
            let Some(slave) = duty.other() else { continue };
            for volume in &duty.record.volumes {
                let before = known.remove(volume).filter(|seen| seen.slave == *slave);
                if let Some(sighting) = sighting(duty, slave, volume, before, surveys, peers) {
                    self.sightings.insert(volume.clone(), sighting);
                }
            }
        }
    }

    /// Begins to send the volume that has waited longest.
    async fn begin_work(&mut self, peers: &Peers) {
        let now = Instant::now();
        let due = self.sightings.iter_mut().filter(|(_, seen)| {
            seen.looks >= LOOKS && now >= seen.seen_at + PATIENCE && now >= seen.again_at
        });
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(_, seen)| seen.again_at);
        for (volume, seen) in due {
            let Some(host) = peers.address(&seen.slave).filter(|_| peers.is_alive(&seen.slave))
            else {
                seen.why = Some(format!("{} is away", seen.slave));
                continue;
            };
            let volumes = self.ctx.host.volumes.clone();
            let is_busy = volumes.is_sending(volume).await.unwrap_or(true);
            if is_busy || is_being_deployed(self.ctx.cluster.kv.as_ref(), &seen.app).await {
                continue;
            }
            warn!(app = %seen.app, volume, slave = %seen.slave, "the schedule's snapshot has not arrived: sending one");
            let (name, host) = (volume.clone(), host.to_owned());
            let send = async move { volumes.send(&volumes.snapshot(&name).await?, &host).await };
            self.work = Some(Work { volume: volume.clone(), handle: tokio::spawn(send) });
            return;
        }
    }

    /// Publishes what can't be replicated, and takes back what is over.
    async fn tell(&mut self, duties: &Duties) -> Result<(), ConsulError> {
        // Where this ends early, what is published is read again.
        let mut told = match self.told.take() {
            Some(told) => told,
            None => self.told_before().await?,
        };
        let stalled = self.stalled();
        let kv = self.ctx.cluster.kv.as_ref();
        for app in told.keys().cloned().collect::<Vec<_>>() {
            // Of an app whose entry can't be read, the last word stays.
            if !stalled.contains_key(&app) && !duties.unreadable.contains(&app) {
                kv.delete(&keys::stalled(&app, &self.ctx.me)).await?;
                told.remove(&app);
            }
        }
        for (app, now) in stalled {
            if told.get(&app) != Some(&now) {
                let value = encode(&now);
                let set = TxnOp::Set { key: keys::stalled(&app, &self.ctx.me), value };
                kv.transact(vec![set]).await?;
                told.insert(app, now);
            }
        }
        self.told = Some(told);
        Ok(())
    }

    fn stalled(&self) -> BTreeMap<AppName, Stalled> {
        let mut stalled = BTreeMap::<AppName, Stalled>::new();
        for (volume, seen) in &self.sightings {
            if let Some(why) = &seen.why {
                let of_app = stalled.entry(seen.app.clone());
                let of_app = of_app.or_insert_with(|| Stalled {
                    to: seen.slave.clone(),
                    volumes: BTreeMap::new(),
                });
                let stall = Stall { since: seen.since, why: why.clone() };
                of_app.volumes.insert(volume.clone(), stall);
            }
        }
        stalled
    }

    /// What the agent before this one has published.
    async fn told_before(&self) -> Result<BTreeMap<AppName, Stalled>, ConsulError> {
        let entries = self.ctx.cluster.kv.list(keys::STALLED).await?.entries;
        let own = entries.iter().filter_map(|entry| {
            let (app, node) = name_of::<Stalled>(&entry.key)?;
            let empty = || Stalled { to: node.clone(), volumes: BTreeMap::new() };
            let said = decode(entry).unwrap_or_else(|_| empty());
            (node == self.ctx.me).then_some((app, said))
        });
        Ok(own.collect())
    }
}

/// What is to be remembered of a volume; none if nothing of it is unsent. Where it could not be looked at, what was known.
fn sighting(
    duty: &Duty,
    slave: &NodeName,
    volume: &str,
    before: Option<Sighting>,
    surveys: &Surveys,
    peers: &Peers,
) -> Option<Sighting> {
    let (Some(survey), Some(host)) = (surveys.get(volume), peers.address(slave)) else {
        return before;
    };
    let deployed = deployed_at(&duty.record.deploy_date).unwrap_or_default();
    let newest = unsent(survey, host, deployed)?;
    let now = Instant::now();
    let new = || Sighting {
        app: duty.app.clone(),
        slave: slave.clone(),
        since: newest.facts.created_at.unwrap_or_default(),
        seen_at: now,
        looks: 0,
        why: None,
        tries: 0,
        again_at: now,
    };
    let seen = before.unwrap_or_else(new);
    Some(Sighting { looks: seen.looks.saturating_add(1), ..seen })
}

fn pause(interval: Duration, tries: u32) -> Duration {
    let factor = 1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX);
    interval.saturating_mul(factor).min(LONGEST_PAUSE)
}
