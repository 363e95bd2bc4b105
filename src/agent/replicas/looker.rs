//! One look at everything that this node has a part in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::{debug, warn};

use super::clear::Cleaner;
use super::duty::{Duties, Duty};
use super::lines::Judge;
use super::memory::Memory;
use super::mend::mend;
use super::publish::{Publisher, Said};
use super::resend::Resender;
use crate::clock;
use crate::consul::ConsulError;
use crate::error::chain;
use crate::exec::Context;
use crate::host::volume::{SnapshotName, VolumeError};
use crate::model::{NodeName, Role};
use crate::proxy::view::Item;
use crate::replication::{Held, OtherEnd, ReplicaState, Survey, worth_keeping};

/// Why a part of a look could not be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    #[error(transparent)]
    Consul(#[from] ConsulError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

/// What is remembered from one look to the next.
pub(super) struct Looker {
    ctx: Arc<Context>,
    memory: Memory,
    cleaner: Cleaner,
    peers: Peers,
    judge: Judge,
    /// What the agents told last; none: not known yet.
    said: Option<Said>,
    publisher: Publisher,
    resender: Resender,
}

/// The nodes, as Consul knew them last.
#[derive(Debug, Default)]
pub(super) struct Peers {
    pub(super) addresses: BTreeMap<NodeName, String>,
    alive: BTreeSet<NodeName>,
}

impl Peers {
    pub(super) fn address(&self, node: &NodeName) -> Option<&str> {
        self.addresses.get(node).map(String::as_str)
    }

    pub(super) fn is_alive(&self, node: &NodeName) -> bool {
        self.alive.contains(node)
    }
}

/// The volumes that could be looked at.
pub(super) type Surveys = BTreeMap<String, Survey>;

impl Looker {
    pub(super) fn new(ctx: Arc<Context>) -> Self {
        Self {
            memory: Memory::default(),
            cleaner: Cleaner::new(ctx.clone()),
            peers: Peers::default(),
            judge: Judge::new(ctx.clone()),
            said: None,
            publisher: Publisher::new(ctx.clone()),
            resender: Resender::new(ctx.clone()),
            ctx,
        }
    }

    /// Looks, with the entries of all apps. What can't be done now is done at the next look.
    pub(super) async fn look(&mut self, entries: &[Arc<Item>]) {
        let duties = Duties::read(&self.ctx.me, entries);
        let surveys = self.survey(&duties).await;
        self.learn_addresses().await;
        let heard = self.hear(&duties, &surveys).await;
        if let Err(error) = self.keep(&duties, &surveys).await {
            warn!(error = %chain(&error), "the common snapshots can't be kept from purges");
        }
        if let Err(error) = self.cleaner.clear(&duties, &surveys).await {
            warn!(error = %chain(&error), "torn copies can't be removed");
        }
        let told = match heard {
            Ok(()) => self.tell(&duties, &surveys).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = told {
            warn!(error = %chain(&error), "the replicas can't be published");
        }
        if let Err(error) = self.resender.look(&duties, &surveys, &self.peers).await {
            warn!(error = %chain(&error), "what is not replicated can't be told");
        }
    }

    /// Learns what the agents say of volumes and copies, and says so of the volumes that this node is the master of.
    async fn hear(&mut self, duties: &Duties, surveys: &Surveys) -> Result<(), ConsulError> {
        let kv = self.ctx.cluster.kv.as_ref();
        let mut said = Said::read(kv, &self.ctx.me).await?;
        let judged = self.judge.judge(duties, surveys, &mut said).await;
        self.said = Some(said);
        judged
    }

    async fn tell(&mut self, duties: &Duties, surveys: &Surveys) -> Result<(), LookError> {
        let Some(said) = &self.said else { return Ok(()) };
        self.publisher.publish(duties, surveys, said).await?;
        mend(&self.ctx, &duties.own, surveys, &self.peers.addresses, &said.published).await
    }

    /// The newest snapshot of a volume that is known to be the app's, where what is newer may not be: a slave has no other
    /// word for that than its master's, and a master knows when the volume was made anew.
    fn newest_own<'a>(&self, duty: &Duty, volume: &str, survey: &'a Survey) -> Option<&'a Held> {
        let said = self.said.as_ref()?;
        let lines = said.lines_of(&duty.app);
        let line = lines.get(volume);
        match duty.role {
            Role::Replica => {
                let key = (duty.app.clone(), self.ctx.me.clone());
                let state = said.published.get(&key).and_then(Option::as_ref);
                let begun = ReplicaState::new(clock::now());
                state.unwrap_or(&begun).newest_own(volume, survey, line)
            }
            Role::Master => line.filter(|line| line.strange.is_some())?.newest_own(survey, None),
            Role::Bystander => None,
        }
    }

    /// Looks at the volumes of this node's apps, and at what is here of the others'.
    async fn survey(&mut self, duties: &Duties) -> Surveys {
        let seam = self.ctx.host.volumes.as_ref();
        let left = seam.snapshotted().await.unwrap_or_else(|error| {
            warn!(error = %chain(&error), "what other pairs' apps left can't be looked at");
            BTreeSet::new()
        });
        let others = volumes_of(&duties.others).filter(|volume| left.contains(*volume));
        let volumes: Vec<&str> = volumes_of(&duties.own).chain(others).collect();
        self.memory.retain(&volumes);
        let mut surveys = Surveys::new();
        for volume in volumes {
            match self.memory.survey(seam, volume).await {
                Ok(survey) => {
                    surveys.insert(volume.to_owned(), survey);
                }
                Err(error) => {
                    warn!(volume, error = %chain(&error), "its copies can't be looked at");
                    if matches!(
                        error,
                        VolumeError::Unreachable { .. } | VolumeError::TimedOut { .. }
                    ) {
                        // It was waited for, and is as far away for the others.
                        return surveys;
                    }
                }
            }
        }
        surveys
    }

    /// Addresses outlast Consul: they are needed most when the other end is away.
    async fn learn_addresses(&mut self) {
        match self.ctx.cluster.catalog.members().await {
            Ok(members) => {
                let alive = members.iter().filter(|member| member.alive);
                self.peers.alive = alive.map(|member| member.name.clone()).collect();
                let named = members.into_iter().map(|member| (member.name, member.address));
                self.peers.addresses = named.collect();
            }
            Err(error) => debug!(error = %chain(&error), "the addresses known last are used"),
        }
    }

    fn other_end(&self, duty: &Duty) -> OtherEnd {
        match duty.other() {
            None => OtherEnd::None,
            Some(node) => match self.peers.address(node) {
                Some(address) => OtherEnd::At(address.to_owned()),
                None => OtherEnd::Unknown,
            },
        }
    }

    /// Keeps what has to be kept, and releases the rest, but for what may belong to a volume that could not be looked at.
    async fn keep(&self, duties: &Duties, surveys: &Surveys) -> Result<(), VolumeError> {
        let seam = self.ctx.host.volumes.as_ref();
        let mut worth = BTreeSet::new();
        let mut unseen = BTreeSet::new();
        for duty in &duties.own {
            for volume in &duty.record.volumes {
                match surveys.get(volume) {
                    Some(survey) => {
                        let own = self.newest_own(duty, volume, survey);
                        let other = self.other_end(duty);
                        worth.extend(worth_keeping(duty.role, &other, survey, own));
                    }
                    None => {
                        unseen.insert(volume.as_str());
                    }
                }
            }
        }
        for snapshot in &worth {
            told(snapshot, seam.keep(snapshot).await);
        }
        for snapshot in seam.kept().await?.difference(&worth) {
            // Before the agents have been heard, nothing tells whose data is newer.
            let heard = self.said.as_ref().is_some_and(|said| said.unseen.is_empty());
            if heard && duties.unreadable.is_empty() && !unseen.contains(snapshot.volume()) {
                told(snapshot, seam.release(snapshot).await);
            }
        }
        Ok(())
    }
}

fn volumes_of(duties: &[Duty]) -> impl Iterator<Item = &str> {
    duties.iter().flat_map(|duty| duty.record.volumes.iter().map(String::as_str))
}

/// What fails for one snapshot is done for the others.
fn told(snapshot: &SnapshotName, result: Result<(), VolumeError>) {
    if let Err(error) = result {
        warn!(%snapshot, error = %chain(&error), "whether purges take it can't be changed");
    }
}
