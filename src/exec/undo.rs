//! One match from a step to what undoes it. Every undo is idempotent and works on a step that did only a part.

use super::context::Context;
use super::error::StepError;
use super::journal::Phase;
use super::standing;
use super::steps::{StepContext, checkouts, images, keys, migrate, project, transfer, volumes};
use crate::model::deployment::{Deployment, Step};

/// Undoes the step with this index. Returns what is worth a warning.
pub(super) async fn undo(
    ctx: &Context,
    deployment: &Deployment,
    index: usize,
) -> Result<Vec<String>, StepError> {
    let step = StepContext::new(ctx, deployment, index)?;
    standing::require_not_past(&step, Phase::Turned).await?;
    if let Some(why) = standing::void_undo(&step).await? {
        return Ok(vec![format!("undoing {} on {}: {why}", step.record.step, step.ctx.me)]);
    }
    match &step.record.step {
        Step::Checkout => checkouts::discard(&step).await?,
        Step::KeepImages => {
            let gone = images::restore(&step).await?;
            images::release(&step).await?;
            return Ok(gone);
        }
        Step::Build => images::discard(&step).await?,
        Step::BeginMaintenance => {
            keys::end_maintenance(&step).await?;
        }
        Step::Stop => project::start_former(&step).await?,
        Step::Snapshot => return volumes::restore(&step).await,
        // update.sh may have started containers and made volumes, too.
        Step::PostMigrate | Step::Update | Step::Up => project::take_down(&step).await?,
        Step::Restore => transfer::take_back(&step).await?,
        // Here, because what is sent to this node is none of the sender's: it may have arrived in part or whole.
        Step::Match | Step::SnapshotSource => {
            migrate::drop_copies(&step).await?;
        }
        // A copy that arrived whole is worth keeping; a torn one is not.
        Step::ReceiveSeed | Step::Receive => transfer::drop_torn(&step).await?,
        // These leave nothing behind that another step's undo does not take away.
        Step::Check
        | Step::Probe { .. }
        | Step::ReceiveProbe
        | Step::ConfirmLoss
        | Step::Recall
        | Step::Measure
        | Step::Room
        | Step::Pull
        | Step::Seed { .. }
        | Step::Offer
        | Step::ReceiveCopy
        | Step::Copy { .. }
        | Step::Replace
        | Step::Compare
        | Step::Send { .. }
        | Step::AwaitHealthy => {}
        // Behind the commit nothing is undone; before it these have not run, or their transaction failed.
        Step::Commit
        | Step::Forget
        | Step::KeepRunning
        | Step::EndMaintenance
        | Step::Register
        | Step::Deregister
        | Step::Schedule
        | Step::Unschedule
        | Step::DropCopies
        | Step::Remove
        | Step::Leave
        | Step::RemoveCheckouts { .. }
        | Step::ReleaseImages => {}
    }
    Ok(Vec::new())
}
