//! One match from a step to the seam that carries it out; no decisions are made here.

use std::collections::BTreeMap;

use super::context::Context;
use super::error::StepError;
use super::journal::Phase;
use super::standing;
use super::steps::{
    StepContext, check, checkouts, compare, images, keys, migrate, mounts, probe, project, recall,
    services, transfer, volumes,
};
use crate::model::AppRecord;
use crate::model::deployment::{Deployment, Step};

/// What a step left for the record.
#[derive(Debug, Clone, Default)]
pub(super) struct Done {
    /// Notes for later steps and for the undo.
    pub(super) output: BTreeMap<String, String>,
    /// The KV entry that the commit will write.
    pub(super) prepared: Option<AppRecord>,
    /// What is worth telling without being a failure.
    pub(super) warnings: Vec<String>,
    /// Whether the step's own transaction has already marked it as done.
    pub(super) recorded: bool,
}

impl Done {
    /// A step that is not due any more.
    fn void(step: &StepContext<'_>, why: &str) -> Self {
        let warning = format!("{} on {}: {why}", step.record.step, step.ctx.me);
        Self { warnings: vec![warning], ..Self::default() }
    }
}

/// Carries out the step with this index.
pub(super) async fn apply(
    ctx: &Context,
    deployment: &Deployment,
    index: usize,
) -> Result<Done, StepError> {
    let step = StepContext::new(ctx, deployment, index)?;
    let phase = if deployment.committed { Phase::Committed } else { Phase::Forward };
    standing::require_not_past(&step, phase).await?;
    if let Some(why) = standing::void(&step).await? {
        return Ok(Done::void(&step, &why));
    }
    if deployment.former.is_none() && matches!(step.record.step, Step::Update | Step::Up) {
        standing::require_new(&step).await?;
    }
    match &step.record.step {
        Step::Checkout => checkouts::clone(&step).await,
        Step::Check => check::check(&step).await,
        Step::Probe { to } => probe::send(&step, to).await,
        Step::ReceiveProbe => probe::receive(&step).await,
        Step::ConfirmLoss => recall::confirm_loss(&step).await,
        Step::Recall => recall::recall(&step).await,
        Step::Measure => transfer::measure(&step).await,
        Step::Room => transfer::room(&step).await,
        Step::KeepImages => images::keep(&step).await,
        Step::Pull => project::pull(&step).await,
        Step::Build => {
            project::build(&step).await?;
            mounts::of_images(&step).await
        }
        Step::Seed { to } => transfer::seed(&step, to).await,
        Step::ReceiveSeed | Step::ReceiveCopy | Step::Receive => transfer::receive(&step).await,
        Step::Compare => compare::compare(&step).await,
        Step::Offer => migrate::offer(&step).await,
        Step::Match => migrate::match_volumes(&step).await,
        Step::SnapshotSource => migrate::snapshot_source(&step).await,
        Step::Copy { to } => migrate::copy(&step, to).await,
        Step::Replace => migrate::replace(&step).await,
        Step::PostMigrate => migrate::post_migrate(&step).await,
        Step::DropCopies => migrate::drop_copies(&step).await,
        Step::BeginMaintenance => keys::begin_maintenance(&step).await,
        Step::Stop => project::stop(&step).await,
        Step::Snapshot => {
            mounts::carry(&step).await?;
            volumes::snapshot(&step).await
        }
        Step::Send { to } => transfer::send(&step, to).await,
        Step::Restore => transfer::restore(&step).await,
        Step::Update => project::update(&step).await,
        Step::Up => project::up(&step).await,
        Step::AwaitHealthy => project::await_healthy(&step).await,
        Step::Commit => keys::commit(&step).await,
        Step::Forget => keys::forget(&step).await,
        Step::KeepRunning => project::keep_running(&step).await,
        Step::EndMaintenance => keys::end_maintenance(&step).await,
        Step::Register => services::register(&step).await,
        Step::Deregister => services::deregister(&step).await,
        Step::Schedule => volumes::schedule(&step).await,
        Step::Unschedule => volumes::unschedule(&step).await,
        Step::Remove => project::remove(&step).await,
        Step::Leave => project::leave(&step).await,
        Step::RemoveCheckouts { keep } => checkouts::remove(&step, keep.as_ref()).await,
        Step::ReleaseImages => images::release(&step).await,
    }
}
