//! Checkouts: cloned for a deployment, removed when their time is over.

use std::path::PathBuf;
use std::time::Duration;

use tracing::warn;

use super::StepContext;
use crate::error::chain;
use crate::exec::apply::Done;
use crate::exec::error::StepError;
use crate::host::repository::{Commit, Progress, leftovers};
use crate::host::{compose, files};
use crate::model::DeployId;

/// Tries of a clone whose failure may pass: a git server drops a connection now and then.
const TRIES: u32 = 3;
const RETRY: Duration = Duration::from_secs(1);

/// Clones the repository and lets plain compose commands work in the checkout.
pub(in crate::exec) async fn clone(step: &StepContext<'_>) -> Result<Done, StepError> {
    let commit = checkout(step).await?;
    compose::prepare_env(&step.new_project())
        .await
        .map_err(|error| StepError::from_error(&error))?;
    let output = [("commit".to_owned(), commit.to_string())].into();
    Ok(Done { output, ..Done::default() })
}

async fn checkout(step: &StepContext<'_>) -> Result<Commit, StepError> {
    let (app, target) = (step.deployment.request.app(), step.checkout());
    let repositories = &step.ctx.host.repositories;
    let mut tried = 0;
    loop {
        tried += 1;
        match repositories.checkout(app, &target, Progress::log()).await {
            Ok(commit) => return Ok(commit),
            Err(error) if error.is_transient() && tried < TRIES => {
                warn!(error = %chain(&error), "the clone failed; trying again");
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(StepError::from_error(&error)),
        }
    }
}

/// Undo of [`clone`]: no checkout, whole or in part, and no probe that came after it.
pub(in crate::exec) async fn discard(step: &StepContext<'_>) -> Result<(), StepError> {
    super::probe::drop_received(step).await?;
    super::transfer::drop_torn_of_strangers(step).await?;
    remove_whole(step, step.checkout()).await
}

/// Removes a checkout with what its clone may have left behind, in a node that lost its power.
async fn remove_whole(step: &StepContext<'_>, checkout: PathBuf) -> Result<(), StepError> {
    let left = leftovers(&checkout).map_err(|error| StepError::from_error(&error))?;
    for path in left.into_iter().chain([checkout]) {
        remove_dir(step, path).await?;
    }
    Ok(())
}

/// Removes the app's checkouts but the one to keep, and a probe that came before them.
pub(in crate::exec) async fn remove(
    step: &StepContext<'_>,
    keep: Option<&DeployId>,
) -> Result<Done, StepError> {
    super::probe::drop_received(step).await?;
    let kept = keep.map(|id| step.ctx.checkout(&step.app, id));
    for path in checkouts_of(step)? {
        if Some(&path) != kept.as_ref() {
            remove_dir(step, path).await?;
        }
    }
    Ok(Done::default())
}

async fn remove_dir(step: &StepContext<'_>, path: PathBuf) -> Result<(), StepError> {
    files::remove_dir(&step.ctx.config.deploy_dir, &path)
        .await
        .map_err(|error| StepError::from_error(&error))
}

/// The app's checkouts on this node. A name ends in an event's id: another app whose name merely begins alike
/// does not pass for one.
fn checkouts_of(step: &StepContext<'_>) -> Result<Vec<PathBuf>, StepError> {
    let sample = step.checkout();
    let (Some(parent), Some(name)) = (sample.parent(), sample.file_name()) else {
        return Ok(Vec::new());
    };
    let name = name.to_string_lossy();
    let prefix = name.trim_end_matches(step.deployment.id.as_str());
    let entries = match std::fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StepError::Failed(format!("{}: {error}", parent.display()))),
    };
    let former = step.deployment.former.as_ref().map(|former| former.deploy_id.as_str());
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_prefix(prefix));
            id.is_some_and(|id| is_uuid(id) || Some(id) == former)
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    Ok(found)
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}
