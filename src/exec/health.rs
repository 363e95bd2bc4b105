//! Waiting for an app to be healthy, with the settings of this node.

use std::time::Duration;

use super::context::Context;
use super::error::StepError;
use crate::host::docker;
use crate::model::ProjectName;
use crate::model::manifest::Manifest;

/// For so long a service of a version that takes the place of another one may end and be started again: it waits for its
/// database, or it is broken, and the app is away.
const PATIENCE: Duration = Duration::from_secs(15);

/// Containers run, their health checks pass, none restarts, for the settle time. Of an app that is new nobody misses
/// anything: its services may wait for each other for as long as it may take.
pub(super) async fn await_healthy(
    ctx: &Context,
    project: &ProjectName,
    manifest: &Manifest,
    is_new: bool,
) -> Result<(), StepError> {
    let (settle, deadline) = (ctx.config.settle, ctx.config.deadlines.healthy);
    let patience = if is_new { deadline } else { PATIENCE };
    let containers = ctx.host.containers.as_ref();
    docker::await_healthy(containers, project, manifest, settle, deadline, patience)
        .await
        .map_err(|error| StepError::from_error(&error))
}
