//! Volumes and containers of apps that this node should have and does not, and volumes that it has and should not: a node
//! is the master when entry, volumes and containers agree. Told before anybody deploys.

use std::collections::{BTreeMap, BTreeSet};

use tracing::debug;

use super::{Known, still};
use crate::consul::ConsulError;
use crate::error::chain;
use crate::exec::Context;
use crate::exec::copies::{self, Sought};
use crate::host::docker::Container;
use crate::model::{AppName, NodeName};
use crate::records::{self, NodeInfo};

/// By app, the nodes that run it though another one is its master, each with its containers there.
type Elsewhere = BTreeMap<AppName, Vec<(NodeName, String)>>;

/// What is not as the entries have it, one line each.
pub(super) async fn look(ctx: &Context, known: &[Known]) -> Vec<String> {
    // Without buttervolume each volume is asked about.
    let listed: BTreeSet<String> = match ctx.host.volumes.list().await {
        Ok(listed) => listed.into_iter().collect(),
        Err(error) => {
            debug!(error = %chain(&error), "the volumes can't be listed");
            BTreeSet::new()
        }
    };
    let running = ctx.host.containers.running_projects().await.ok();
    let elsewhere = elsewhere(ctx).await.unwrap_or_default();
    let (here, others): (Vec<_>, Vec<_>) =
        known.iter().partition(|app| app.record.master == ctx.me);
    let own: BTreeSet<&String> = here.iter().flat_map(|app| &app.record.volumes).collect();
    let mut told = Vec::new();
    for app in here {
        let lacks = app.record.volumes.iter().any(|volume| !listed.contains(volume));
        let runs = running.as_ref().is_none_or(|all| all.contains(app.app.project().as_str()));
        if (lacks || !runs) && still(ctx, app).await.is_some() {
            let _busy = ctx.busy.with(&app.app).await;
            let mut lines = volumes(ctx, app, &listed).await;
            if !runs {
                lines.extend(containers(ctx, app, &elsewhere).await);
            }
            told.extend(confirmed(ctx, app, lines).await);
        }
    }
    for app in others {
        let mut volumes = app.record.volumes.iter();
        if volumes.any(|volume| listed.contains(volume) && !own.contains(volume))
            && still(ctx, app).await.is_some()
        {
            let _busy = ctx.busy.with(&app.app).await;
            let lines = left(ctx, app, &listed, &own).await;
            told.extend(confirmed(ctx, app, lines).await);
        }
    }
    told
}

/// What was found, if no deployment began meanwhile: it may be its doing.
async fn confirmed(ctx: &Context, app: &Known, lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() || still(ctx, app).await.is_none() {
        return Vec::new();
    }
    lines.into_iter().map(|line| format!("{}: {line}", app.app)).collect()
}

/// The volumes that the app's entry names and its master lacks, with who has copies of them.
async fn volumes(ctx: &Context, app: &Known, listed: &BTreeSet<String>) -> Vec<String> {
    let (mut gone, mut told) = (Vec::new(), Vec::new());
    for volume in app.record.volumes.iter().filter(|volume| !listed.contains(*volume)) {
        match ctx.host.volumes.find(volume).await {
            Ok(Some(_)) => {}
            Ok(None) => gone.push(volume.as_str()),
            Err(error) => told.push(format!(
                "whether its master {} has volume {volume} can't be told: {}",
                ctx.me,
                chain(&error)
            )),
        }
    }
    if !gone.is_empty() {
        let (repo, branch) = (&app.record.repo_url, &app.record.branch);
        told.extend(copies::tell(ctx, Sought { app: &app.app, repo, branch }, &gone).await);
    }
    told
}

/// That nothing of the app runs on its master, where another node runs it or nothing of it is there at all. An app whose
/// containers have ended may be a job, or was stopped by somebody.
async fn containers(ctx: &Context, app: &Known, elsewhere: &Elsewhere) -> Option<String> {
    let (me, name) = (&ctx.me, &app.app);
    let there = ctx.host.containers.of_project(&app.app.project()).await.ok()?;
    if there.iter().any(|container: &Container| container.state.is_alive()) {
        return None;
    }
    let nodes = elsewhere.get(name).filter(|nodes| !nodes.is_empty());
    if let Some(nodes) = nodes {
        let runs = nodes.iter().map(|(node, names)| format!("{node} does ({names})"));
        let runs = runs.collect::<Vec<_>>().join(", ");
        let node = nodes.first().map(|(node, _)| node.as_str()).unwrap_or_default();
        return Some(format!(
            "nothing of it runs on {me}, its master, and {runs}: if the data of {node} is what counts, make {node} \
             the master in app/{name}; if not, stop what runs there, and deploy"
        ));
    }
    there
        .is_empty()
        .then(|| format!("{me} is its master, and has no container of it: deploy it again"))
}

/// Volumes of an app that this node is not the master of, unless they are just what a snapshot holds.
async fn left(
    ctx: &Context,
    app: &Known,
    listed: &BTreeSet<String>,
    own: &BTreeSet<&String>,
) -> Vec<String> {
    let (me, name, master) = (&ctx.me, &app.app, &app.record.master);
    let volumes = app.record.volumes.iter();
    let mut told = Vec::new();
    for volume in volumes.filter(|volume| listed.contains(*volume) && !own.contains(volume)) {
        let Ok(Some(facts)) = ctx.host.volumes.find(volume).await else { continue };
        if facts.parent_uuid.is_some()
            && facts.generation.is_some()
            && facts.generation == facts.created_generation
        {
            continue;
        }
        let newest = match copies::newest_here(ctx, volume).await {
            Ok(Some(snapshot)) => format!("; the newest snapshot of it there is {snapshot}"),
            Ok(None) => String::new(),
            Err(error) => format!("; {}", copies::not_looked_at(&error)),
        };
        told.push(format!(
            "{me} has volume {volume}, too, and {master} is its master{newest}: if the data of {me} is what counts, \
             make {me} the master in app/{name}; if nobody needs it: docker volume rm {volume}"
        ));
    }
    told
}

/// What the other nodes' agents say of what runs there.
async fn elsewhere(ctx: &Context) -> Result<Elsewhere, ConsulError> {
    let mut found = Elsewhere::new();
    let nodes = records::list::<NodeInfo>(ctx.cluster.kv.as_ref()).await?.found.into_iter();
    for node in nodes.filter(|node| node.name != ctx.me) {
        for (app, names) in node.value.strays {
            found.entry(app).or_default().push((node.name.clone(), names));
        }
    }
    Ok(found)
}
