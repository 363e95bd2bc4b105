//! Brings this node's apps back when Docker returns: a Docker that died without a word ends the containers that lived
//! on when it starts again, and takes those with `restart: unless-stopped` for stopped by hand.
//!
//! An agent that was away for all of that tells it by when the containers ended: while Docker started.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tracing::{info, warn};

use crate::clock;
use crate::consul::kv::Kv;
use crate::error::chain;
use crate::exec::Context;
use crate::host::compose::Project;
use crate::host::docker::{Container, State};
use crate::host::files;
use crate::model::{AppName, AppRecord, DeployId, keys};
use crate::records::{self, Queue, name_of};

const RETRY: Duration = Duration::from_secs(1);
/// A Docker that just returned goes on ending what outlived it for a moment: one look is not enough.
const LOOKS: u32 = 5;
const BETWEEN: Duration = Duration::from_secs(2);
/// How often an app that does not start is tried once more: a minute. Then it is left to its operator, as it would be
/// if it failed while Docker runs.
const TRIES: u32 = 30;
/// For so long a Docker that was started goes on ending what outlived the one before.
const STARTING: TimeDelta = TimeDelta::seconds(30);
/// The file that tells the next agent on this node that Docker was gone and its apps have not been brought back yet.
const MARK: &str = "docker-gone";

/// Looks after Docker for ever. What is stopped while Docker runs was stopped by somebody, and is left alone.
pub(super) async fn keep(ctx: Arc<Context>) {
    let containers = &ctx.host.containers;
    let mark = ctx.config.data_dir.join(MARK);
    let mut is_new = true;
    loop {
        if !matches!(files::read_optional(&mark).await, Ok(Some(_))) {
            let missed = async {
                if is_new {
                    catch_up(&ctx).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                biased;
                () = containers.until_gone() => {}
                () = missed => {}
            }
            is_new = false;
            warn!("Docker is gone");
            if let Err(error) = files::write_atomic(&mark, "", 0o600).await {
                warn!(error = %chain(&error), "an agent that starts now will not know of it");
            }
        }
        while containers.ping().await.is_err() {
            tokio::time::sleep(RETRY).await;
        }
        info!("Docker is back");
        for _ in 0..LOOKS {
            bring_back(&ctx, all(&ctx).await, &mut Round::default()).await;
            tokio::time::sleep(BETWEEN).await;
        }
        let is_gone_again = tokio::select! {
            biased;
            () = containers.until_gone() => true,
            () = settle(&ctx) => false,
        };
        if is_gone_again {
            continue;
        }
        if let Err(error) = files::remove(&mark).await {
            warn!(error = %chain(&error), "Docker is taken for gone once more");
        }
    }
}

async fn all(ctx: &Context) -> Which {
    Which::All(ctx.host.containers.running_since().await)
}

/// Which of the apps that don't run are brought back.
#[derive(Debug, Clone, Copy)]
enum Which {
    /// All but the jobs that are done: Docker was seen to go and to return. When it was started, if that can be told.
    All(Option<DateTime<Utc>>),
    /// Those of which Docker, started at that time, ended a container that it would have kept running.
    EndedBy(DateTime<Utc>),
}

impl Which {
    /// Whether this container is a reason to start its app.
    fn counts(self, container: &Container) -> bool {
        match self {
            _ if container.state.is_alive() => false,
            Self::All(since) => !is_done(container, since),
            Self::EndedBy(since) => ended_by(container, since),
        }
    }
}

/// Whether a container ended while the Docker that was started then was still busy with what it had found, or could not be
/// started by it: what it needs, a volume's driver for instance, comes later at a boot, and Docker tries once. One that was
/// stopped by hand ended before, or will have to later; one that a hand-off stopped has lost its policy.
fn ended_by(container: &Container, since: DateTime<Utc>) -> bool {
    let is_kept = ["always", "unless-stopped"].contains(&container.restart.as_str());
    if is_kept && container.error.is_some() {
        return true;
    }
    let ended = container.finished_at.as_deref().map(DateTime::parse_from_rfc3339);
    let Some(Ok(ended)) = ended else { return false };
    is_kept && (since..=since + STARTING).contains(&ended.to_utc())
}

/// Whether a container has done its work by itself: it ended well, nothing is to start it again, and the Docker that
/// answers now did not end it. That one may have, if it found it running.
fn is_done(container: &Container, since: Option<DateTime<Utc>>) -> bool {
    let is_kept = ["always", "unless-stopped"].contains(&container.restart.as_str());
    if container.state != State::Exited(0) || is_kept {
        return false;
    }
    let is_before = |time: &Option<String>, since: DateTime<Utc>| {
        let time = time.as_deref().map(DateTime::parse_from_rfc3339);
        matches!(time, Some(Ok(time)) if time.to_utc() < since)
    };
    let was_found = |since| {
        is_before(&container.started_at, since) && !is_before(&container.finished_at, since)
    };
    !since.is_some_and(was_found)
}

/// Brings back what a Docker ended that died and returned while no agent was there to see it.
async fn catch_up(ctx: &Context) {
    let mut failures = 0;
    loop {
        let Some(since) = ctx.host.containers.running_since().await else { return };
        match bring_back(ctx, Which::EndedBy(since), &mut Round::default()).await {
            // Until then it may end more of them.
            Found::Settled if clock::now() > since + STARTING => return,
            Found::Failing if failures >= TRIES => {
                warn!("not all apps that Docker ended when it started could be started again");
                return;
            }
            Found::Failing => failures += 1,
            Found::Settled | Found::Unknown => {}
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// How far an app, or all of them, are back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// Nothing is left to do.
    Settled,
    /// It could not be started.
    Failing,
    /// It can't be told yet: a deployment is at work, the entry can't be read, or Docker or Consul does not answer.
    Unknown,
}

/// What came of each app in the looks since Docker's return. That may be many: one that is waited for may take hours, and
/// what somebody stops meanwhile of those that are back is left alone.
#[derive(Debug, Default)]
struct Round {
    done: BTreeSet<AppName>,
    failures: BTreeMap<AppName, u32>,
}

impl Round {
    /// Notes what came of an app; one that fails again and again is done, too.
    fn note(&mut self, app: &AppName, found: Found) -> Found {
        match found {
            Found::Unknown => return found,
            Found::Failing => {
                let failures = self.failures.entry(app.clone()).or_default();
                *failures += 1;
                if *failures <= TRIES {
                    return found;
                }
                warn!(app = %app, "it could not be started again after Docker's return");
            }
            Found::Settled => {}
        }
        self.done.insert(app.clone());
        Found::Settled
    }
}

/// Looks until every app is back: what a deployment is at work on may have to be started when that has ended, and that
/// whose entry can't be read, when it can.
async fn settle(ctx: &Context) {
    let mut round = Round::default();
    while bring_back(ctx, all(ctx).await, &mut round).await != Found::Settled {
        tokio::time::sleep(BETWEEN).await;
    }
}

/// Starts the containers of every app whose master this node is and that no deployment is working on, but of those that the
/// round is done with.
async fn bring_back(ctx: &Context, which: Which, round: &mut Round) -> Found {
    let listed = match records::list::<AppRecord>(ctx.cluster.kv.as_ref()).await {
        Ok(listed) => listed,
        Err(error) => {
            warn!(error = %chain(&error), "Consul does not tell which apps run here");
            return Found::Unknown;
        }
    };
    let mut found = Found::Settled;
    for entry in listed.found {
        if entry.value.master == ctx.me && !round.done.contains(&entry.name) {
            let own = start(ctx, &entry.name, &entry.value, which).await;
            found = found.max(round.note(&entry.name, own));
        }
    }
    for app in listed.unreadable.iter().filter_map(|error| name_of::<AppRecord>(error.key())) {
        if !round.done.contains(&app) && may_have_to_start(ctx, &app, which).await {
            found = Found::Unknown;
        }
    }
    found
}

/// Whether something has ended here of an app whose entry does not say where it belongs.
async fn may_have_to_start(ctx: &Context, app: &AppName, which: Which) -> bool {
    match ctx.host.containers.of_project(&app.project()).await {
        Ok(containers) => containers.iter().any(|container| which.counts(container)),
        Err(_) => true,
    }
}

async fn start(ctx: &Context, app: &AppName, record: &AppRecord, which: Which) -> Found {
    // An entry that names no deployment has no checkout to start from.
    let Ok(id) = DeployId::parse(&record.deploy_id) else { return Found::Settled };
    let project = Project { name: app.project(), dir: app.checkout(&ctx.config.deploy_dir, &id) };
    // No step of a deployment that is accepted from here on meets this.
    let _busy = ctx.busy.with(app).await;
    if is_being_deployed(ctx.cluster.kv.as_ref(), app).await {
        return Found::Unknown;
    }
    let containers = match ctx.host.containers.of_project(&project.name).await {
        Ok(containers) => containers,
        Err(error) => {
            warn!(app = %app, error = %chain(&error), "Docker does not tell what runs");
            return Found::Unknown;
        }
    };
    if !containers.iter().any(|container| which.counts(container)) {
        return Found::Settled;
    }
    match ctx.host.compose.start(&project).await {
        Ok(()) => {
            info!(app = %app, "started again after Docker's return");
            Found::Settled
        }
        Err(error) => {
            warn!(app = %app, error = %chain(&error), "could not be started again");
            Found::Failing
        }
    }
}

/// Whether a deployment may be at work; what can't be told counts as yes, because whoever asks would work against it:
/// starting what it just stopped would write to volumes behind its snapshot.
pub(super) async fn is_being_deployed(kv: &dyn Kv, app: &AppName) -> bool {
    match records::read::<Queue>(kv, &keys::queue(app)).await {
        Ok(queue) => queue.is_some_and(|queue| queue.value.running.is_some()),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests;
