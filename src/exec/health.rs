//! Waiting for an app to be healthy, with the settings of this node.

use super::context::Context;
use super::error::StepError;
use crate::host::docker;
use crate::model::ProjectName;
use crate::model::manifest::Manifest;

/// Containers run, their health checks pass, none restarts, for the settle time.
pub(super) async fn await_healthy(
    ctx: &Context,
    project: &ProjectName,
    manifest: &Manifest,
) -> Result<(), StepError> {
    let (settle, deadline) = (ctx.config.settle, ctx.config.deadlines.healthy);
    docker::await_healthy(ctx.host.containers.as_ref(), project, manifest, settle, deadline)
        .await
        .map_err(|error| StepError::from_error(&error))
}
