//! Brings this node's apps back when Docker returns: a Docker that died without a word ends the containers that lived
//! on when it starts again, and takes those with `restart: unless-stopped` for stopped by hand.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::consul::kv::Kv;
use crate::error::chain;
use crate::exec::{Context, Queue};
use crate::host::compose::Project;
use crate::host::files;
use crate::model::{AppName, AppRecord, DeployId, keys};

const RETRY: Duration = Duration::from_secs(1);
/// A Docker that just returned goes on ending what outlived it for a moment: one look is not enough.
const LOOKS: u32 = 5;
const BETWEEN: Duration = Duration::from_secs(2);
/// How often an app that does not start is tried once more: a minute. Then it is left to its operator, as it would be
/// if it failed while Docker runs.
const TRIES: u32 = 30;
/// The file that tells the next agent on this node that Docker was gone and its apps have not been brought back yet.
const MARK: &str = "docker-gone";

/// Looks after Docker for ever. What is stopped while Docker runs was stopped by somebody, and is left alone.
pub(super) async fn keep(ctx: Arc<Context>) {
    let containers = &ctx.host.containers;
    let mark = ctx.config.data_dir.join(MARK);
    loop {
        if !matches!(files::read_optional(&mark).await, Ok(Some(_))) {
            containers.until_gone().await;
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
            bring_back(&ctx).await;
            tokio::time::sleep(BETWEEN).await;
        }
        settle(&ctx).await;
        if let Err(error) = files::remove(&mark).await {
            warn!(error = %chain(&error), "Docker is taken for gone once more");
        }
    }
}

/// How far an app, or all of them, are back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// Nothing is left to do.
    Settled,
    /// It could not be started.
    Failing,
    /// It can't be told yet: a deployment is at work, or Docker or Consul does not answer.
    Unknown,
}

/// Looks until every app is back: what a deployment is at work on may have to be started when that has ended.
async fn settle(ctx: &Context) {
    let mut failures = 0;
    loop {
        match bring_back(ctx).await {
            Found::Settled => return,
            Found::Failing if failures >= TRIES => {
                warn!("not all apps could be started again after Docker's return");
                return;
            }
            Found::Failing => failures += 1,
            Found::Unknown => {}
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// Starts the containers of every app whose master this node is and that no deployment is working on.
async fn bring_back(ctx: &Context) -> Found {
    let entries = match ctx.cluster.kv.list(keys::APPS).await {
        Ok(listing) => listing.entries,
        Err(error) => {
            warn!(error = %chain(&error), "Consul does not tell which apps run here");
            return Found::Unknown;
        }
    };
    let mut found = Found::Settled;
    for entry in entries {
        let name = entry.key.strip_prefix(keys::APPS).and_then(|name| AppName::parse(name).ok());
        let record = serde_json::from_slice::<AppRecord>(&entry.value).ok();
        if let (Some(app), Some(record)) = (name, record)
            && record.master == ctx.me
        {
            found = found.max(start(ctx, &app, &record).await);
        }
    }
    found
}

async fn start(ctx: &Context, app: &AppName, record: &AppRecord) -> Found {
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
    if containers.iter().all(|container| container.state.is_alive()) {
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
    match kv.get(&keys::queue(app)).await {
        Ok(None) => false,
        Ok(Some(entry)) => serde_json::from_slice::<Queue>(&entry.value)
            .map_or(true, |queue| queue.running.is_some()),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agent::testing::{self, Made};
    use crate::host::compose::ComposeError;
    use crate::host::docker::{Container, DockerError, State};

    const PROJECT: &str = "appmain44dd7";

    /// An app of node1 whose container ended with Docker.
    async fn made() -> Made {
        let made = testing::context("node1").await;
        let entry = json!({"repo_url": "file:///lab/git/app", "branch": "main", "master": "node1",
            "deploy_id": "11111111-2222-3333-4444-555555555555"});
        let kv: &dyn Kv = &made.consul;
        let value = entry.to_string().into_bytes();
        kv.put_cas("app/app_main.44dd7", value, 0).await.unwrap().unwrap();
        let ended = Container { state: State::Exited(137), ..Container::running("db") };
        made.fakes.machine.state().containers.insert(PROJECT.to_owned(), vec![ended]);
        made
    }

    fn runs(made: &Made) -> bool {
        made.fakes.machine.state().containers[PROJECT].iter().all(|c| c.state.is_alive())
    }

    #[tokio::test(start_paused = true)]
    async fn a_docker_that_does_not_answer_at_once_is_asked_again() {
        let made = made().await;
        for _ in 0..3 {
            let error = DockerError::TimedOut { operation: "list".into(), after: RETRY };
            made.fakes.containers.fail_next("of_project", error);
        }
        settle(&made.context).await;
        assert!(runs(&made));
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_that_does_not_start_is_tried_again_and_given_up_in_the_end() {
        let made = made().await;
        let fails = || ComposeError::Invalid { why: "the test".to_owned() };
        made.fakes.compose.fail_next("start", fails());
        settle(&made.context).await;
        assert!(runs(&made));
        made.fakes.machine.state().containers.get_mut(PROJECT).unwrap()[0].state = State::Exited(1);
        (0..=TRIES).for_each(|_| made.fakes.compose.fail_next("start", fails()));
        settle(&made.context).await;
        assert!(!runs(&made));
    }
}
