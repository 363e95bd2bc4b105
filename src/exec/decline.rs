//! A node that can't remember a deployment, or has seen a later one, takes no part in it and says so in the record:
//! everyone else would wait for it.

use tracing::warn;

use super::context::{Context, now};
use super::error::ExecError;
use super::journal::JournalError;
use super::{queue, store};
use crate::error::chain;
use crate::model::AppName;
use crate::model::deployment::Deployment;

/// Says in the record why this node takes no part, if it has not done so.
///
/// # Errors
/// The journal's own error, of a deployment that the app's queue does not name: it is over, whatever its record says.
pub(super) async fn decline(
    ctx: &Context,
    app: &AppName,
    deployment: &Deployment,
    error: JournalError,
) -> Result<(), ExecError> {
    if queue::index_if_running(ctx, app, &deployment.id).await?.is_none() {
        return Err(error.into());
    }
    if let JournalError::Stale { seen, .. } = &error {
        queue::raise_epoch(ctx, app, *seen).await?;
    }
    let is_stale = error.is_stale();
    if !deployment.has_to_decline(&ctx.me, is_stale) {
        return Ok(());
    }
    let why = match is_stale {
        true => format!("{}; fire the event again", chain(&error)),
        false => format!("{} can't note that it takes part: {}", ctx.me, chain(&error)),
    };
    warn!(app = %app, deployment = %deployment.id, why, "takes no part");
    let at = now();
    store::update(ctx, app, &deployment.id, |record| record.decline(&ctx.me, &why, is_stale, &at))
        .await
        .map(|_| ())
}
