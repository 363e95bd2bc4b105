//! The way back of an app whose master has lost its volumes: from the copies that another node holds.

use chrono::{DateTime, Utc};

use super::transfer::Announced;
use super::{StepContext, data};
use crate::clock;
use crate::exec::apply::Done;
use crate::exec::error::StepError;
use crate::host::volume::SnapshotName;
use crate::model::deployment::{Deployment, Step};
use crate::model::keys;
use crate::records;
use crate::replication::{CopyState, ReplicaState, age};

/// On the master: volumes of the app are gone for certain, and nothing of it runs. What is left of them stays, and is told.
pub(in crate::exec) async fn confirm_loss(step: &StepContext<'_>) -> Result<Done, StepError> {
    let (me, former) = (&step.ctx.me, step.former()?);
    let (mut here, mut gone) = (Vec::new(), 0);
    for volume in &former.volumes {
        match data::is_here(step, volume).await? {
            true => here.push(volume.clone()),
            false => gone += 1,
        }
    }
    if gone == 0 {
        return Err(StepError::Refused(vec![format!(
            "{me} still has every volume of the app: a deployment without from_replica takes the newest data along"
        )]));
    }
    let own = step.ctx.host.containers.of_project(&step.project).await;
    let own = own.map_err(|e| StepError::from_error(&e))?;
    if let Some(alive) = own.iter().find(|container| container.state.is_alive()) {
        let (name, project) = (&alive.name, &step.project);
        return Err(StepError::Refused(vec![format!(
            "{name} runs on {me} without all of the app's volumes: stop it first (docker compose --project-name \
             {project} down)"
        )]));
    }
    let stays = |volume: &String| {
        format!("volume {volume} stays on {me} as it is; the app goes on with a copy of it")
    };
    Ok(Done { warnings: here.iter().map(stays).collect(), ..Done::default() })
}

/// On the new master: the copies that its agent has told of are on the disk, whole, and of the origin that was told.
pub(in crate::exec) async fn recall(step: &StepContext<'_>) -> Result<Done, StepError> {
    let key = keys::replica(&step.app, &step.ctx.me);
    let state = records::read::<ReplicaState>(step.ctx.cluster.kv.as_ref(), &key).await;
    let state = state.map_err(|e| StepError::from_error(&e))?.map(|found| found.value);
    let state = state.ok_or_else(|| StepError::Failed(format!("{key} is gone")))?;
    let mut done = Done::default();
    let given_up = given_up(step).await?;
    for volume in &step.former()?.volumes {
        let copy = state.volumes.get(volume).and_then(Option::as_ref);
        let copy = copy.ok_or_else(|| {
            StepError::Failed(format!("{} has no verified copy of volume {volume}", step.ctx.me))
        })?;
        let announced = verified(step, copy).await?;
        let old = age(clock::now() - copy.taken_at);
        done.warnings.push(format!(
            "volume {volume} begins from {}, {old} old: what was written since is lost",
            announced.snapshot
        ));
        let meanwhile = given_up.iter().filter(|record| is_of_its_time(record, copy.taken_at));
        done.warnings.extend(meanwhile.map(|record| {
            format!(
                "{} was taken while deployment {} had the app in its hands, which was given up: it may hold what that \
                 version wrote",
                announced.snapshot, record.id
            )
        }));
        done.output.insert(volume.clone(), announced.to_string());
    }
    Ok(done)
}

/// The deployments of the app that were never committed, as far as their records are kept.
async fn given_up(step: &StepContext<'_>) -> Result<Vec<Deployment>, StepError> {
    let (kv, prefix) = (step.ctx.cluster.kv.as_ref(), keys::deployments(&step.app));
    let records = records::list_below::<Deployment>(kv, &prefix).await;
    let records = records.map_err(|e| StepError::from_error(&e))?.found.into_iter();
    let records = records.map(|record| record.value);
    Ok(records.filter(|record| !record.committed && record.id != step.deployment.id).collect())
}

/// Whether a deployment's version could write to the volumes at a time. buttervolume's schedule does not ask.
fn is_of_its_time(record: &Deployment, time: DateTime<Utc>) -> bool {
    let parse = |text: &String| DateTime::parse_from_rfc3339(text).ok();
    let starts = [Step::Update, Step::Up, Step::PostMigrate];
    let begun = record.steps.iter().filter(|step| starts.contains(&step.step));
    let begun = begun.filter_map(|step| step.started_at.as_ref().and_then(parse)).min();
    let ended = record.finished_at.as_ref().and_then(parse);
    begun.is_some_and(|begun| begun <= time) && ended.is_none_or(|ended| time <= ended)
}

async fn verified(step: &StepContext<'_>, copy: &CopyState) -> Result<Announced, StepError> {
    let snapshot = SnapshotName::parse(&copy.snapshot).map_err(|e| StepError::from_error(&e))?;
    let announced = Announced { snapshot, origin: copy.origin.clone() };
    let facts = step.ctx.host.volumes.facts(&announced.snapshot).await;
    let facts = facts.map_err(|e| StepError::from_error(&e))?;
    announced.verify(facts.as_ref()).map_err(|why| {
        let (snapshot, me) = (&announced.snapshot, &step.ctx.me);
        StepError::Failed(format!("{snapshot} on {me} is not the copy that was told of: {why}"))
    })?;
    Ok(announced)
}
